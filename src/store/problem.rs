//! STORE: why a URL cannot be used.
//!
//! In: a URL and what was to be done with it. Out: a reason, to which [`Error::Url`](crate::Error::Url) adds the URL.

/// What is wrong with a URL, or with what was to be done there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// User and password stand in it.
    #[error("a user or password in it is not used; credentials come from the environment")]
    Credentials,
    /// Nothing follows the scheme.
    #[error("it names no bucket")]
    NoBucket,
    /// It breaks the rules of URLs, or of keys.
    #[error("{0}")]
    Malformed(String),
    /// Web servers answer for one file at a time.
    #[error("a web server cannot be listed; name the files in it one by one")]
    NotListable,
    /// Results go to stores and folders only.
    #[error("web addresses can be read, not written")]
    NotWritable,
    /// The same of a repository.
    #[error("repositories of the Hugging Face Hub can be read, not written")]
    RepositoryNotWritable,
    /// A repository is no place to read from.
    #[error("a repository of the Hugging Face Hub has to be fetched into a folder first (`hf download`)")]
    NotFetched,
}
