//! HUB: which repository is meant.
//!
//! In: an object whose URL begins with `hf://`. Out: a [`Repository`], whose parts may become parts of paths and of URLs: no
//! name leads out of the cache.

use std::fmt;
use std::path::PathBuf;

use super::HubProblem;
use crate::error::{Error, Result};
use crate::store::Object;

/// The branch that is meant where none is named.
#[cfg(any(feature = "hub", test))]
const MAIN: &str = "main";

/// What git allows in no name of a branch or tag, and no path on Windows.
const NEVER_IN_REVISIONS: &[char] = &[' ', '~', '^', ':', '?', '*', '[', '\\', '@', '"', '<', '>', '|'];

/// A repository of models, and one of its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
    revision: Option<String>,
}

impl Repository {
    /// The repository that a URL names.
    ///
    /// # Errors
    ///
    /// It is not of the form `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`.
    pub fn of(object: &Object) -> Result<Repository> {
        let text = object.path().to_string_lossy();
        let parsed = if object.has_secret() { Err(HubProblem::Form) } else { parse(&text) };
        parsed.map_err(|problem| Error::Hub { path: object.path().to_owned(), problem })
    }

    /// The user or organisation that it belongs to.
    #[cfg(feature = "hub")]
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Its name without that of its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the Hub's own program is told which one it is.
    #[cfg(not(feature = "hub"))]
    pub(super) fn arguments(&self) -> String {
        let Repository { owner, name, revision } = self;
        let revision = revision.as_ref().map(|revision| format!(" --revision {revision}"));
        format!("{owner}/{name}{}", revision.unwrap_or_default())
    }

    /// The branch, tag or commit.
    #[cfg(any(feature = "hub", test))]
    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether a revision was named.
    #[cfg(feature = "hub")]
    pub(super) fn names_revision(&self) -> bool {
        self.revision.is_some()
    }

    /// What is wrong with it.
    pub(super) fn error(&self, problem: HubProblem) -> Error {
        Error::Hub { path: PathBuf::from(self.to_string()), problem }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}/{}", self.owner, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

fn parse(url: &str) -> Result<Repository, HubProblem> {
    let rest = url.strip_prefix("hf://").ok_or(HubProblem::Form)?.trim_end_matches('/');
    let (id, revision) = match rest.split_once('@') {
        Some((id, revision)) => (id, Some(revision.to_owned())),
        None => (rest, None),
    };
    let mut parts = id.split('/');
    let (Some(owner), Some(name)) = (parts.next(), parts.next()) else { return Err(HubProblem::Form) };
    if !is_name(owner) || !is_name(name) {
        return Err(HubProblem::Form);
    }
    let within = parts.next().is_some() || revision.as_deref().is_some_and(names_file);
    if within {
        return Err(HubProblem::Within { repository: format!("{owner}/{name}") });
    }
    if !revision.as_deref().is_none_or(is_revision) {
        return Err(HubProblem::Revision);
    }
    Ok(Repository { owner: owner.to_owned(), name: name.to_owned(), revision })
}

/// The Hub's own rule for names. Two hyphens stand between owner and name in the cache.
fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(is_allowed)
        && !name.contains("--")
        && !name.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    revision.split('/').all(is_part) && !revision.contains(|c: char| c.is_control() || NEVER_IN_REVISIONS.contains(&c))
}

/// As a path behind a revision does.
fn names_file(revision: &str) -> bool {
    revision.contains('/') && [".safetensors", ".json"].iter().any(|ending| revision.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Repository, String> {
        Repository::of(&Object::parse(url).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn repositories_are_named_by_owner_name_and_revision() {
        for (url, id, revision) in [
            ("hf://timm/resnet50.a1_in1k", "timm/resnet50.a1_in1k", "main"),
            ("hf://a/b/", "a/b", "main"),
            ("hf://a/b@v1.0", "a/b", "v1.0"),
            ("hf://a/b@refs/pr/3", "a/b", "refs/pr/3"),
            ("hf://a/_b@0123456789012345678901234567890123456789", "a/_b", "0123456789012345678901234567890123456789"),
        ] {
            let repository = of(url).unwrap();
            assert_eq!(
                (format!("{}/{}", repository.owner, repository.name), repository.revision()),
                (id.to_owned(), revision)
            );
            assert_eq!(repository.to_string(), url.trim_end_matches('/'));
        }
    }

    /// Parts of it become parts of paths in the cache.
    #[test]
    fn what_names_no_repository_or_would_lead_elsewhere_is_refused() {
        for url in ["hf://", "hf://gpt2", "hf://a/", "hf:///b", "hf://a/..", "hf://../b", "hf://a/b c", "hf://a--b/c"] {
            assert!(of(url).unwrap_err().contains("expected hf://ORG/NAME"), "{url}");
        }
        for url in ["hf://a/b@", "hf://a/b@../../x", "hf://a/b@x/../y", "hf://a/b@x\\y", "hf://a/b@/x", "hf://a/b@a:b"]
        {
            assert!(of(url).unwrap_err().contains("no name of a branch"), "{url}");
        }
        for url in ["hf://a/b/m.safetensors", "hf://a/b@main/m.safetensors", "hf://a/b/sub/folder"] {
            assert!(of(url).unwrap_err().contains("within the repository"), "{url}");
        }
        assert!(!of("hf://hf_secret@a/b").unwrap_err().contains("secret"));
    }
}
