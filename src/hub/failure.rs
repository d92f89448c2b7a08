//! HUB: what goes wrong between here and the Hub.
//!
//! In: an error of the library that downloads, and where the cache is. Out: one of ours, in one line and without secrets.

use std::path::Path;

use hf_hub::HFError;

use super::{HubProblem, Repository};
use crate::error::Error;
use crate::store::{one_line, redacted};

/// An error of the library as one of ours.
pub(super) fn described(repository: &Repository, cache: &Path, error: HFError) -> Error {
    match error {
        HFError::Io(source) => Error::Io { action: "keep what is downloaded", path: cache.to_owned(), source },
        error => repository.error(problem(repository, &error)),
    }
}

/// Whether another attempt may succeed where the connection was there and broke.
pub(super) fn may_pass(error: &HFError) -> bool {
    match error {
        HFError::Request { source, .. } => !source.is_connect() && !source.is_builder(),
        HFError::Xet { .. } => true,
        _ => false,
    }
}

fn problem(repository: &Repository, error: &HFError) -> HubProblem {
    if let Some(answer) = Answer::of(error) {
        return answer.problem(repository);
    }
    match error {
        HFError::Url(cause) => HubProblem::Endpoint { cause: cause.to_string() },
        HFError::RepoNotFound { .. } => HubProblem::NotThere,
        HFError::RevisionNotFound { .. } => no_revision(repository),
        error if may_pass(error) => HubProblem::Cut { cause: one_line(error) },
        HFError::Request { .. } => HubProblem::Unreachable { cause: one_line(error) },
        error => HubProblem::Answer { answer: one_line(error) },
    }
}

/// A server's answer that is a refusal.
struct Answer<'a> {
    status: u16,
    /// The Hub's own code, which other servers do not send.
    code: Option<&'a str>,
    text: String,
}

impl Answer<'_> {
    fn of(error: &HFError) -> Option<Answer<'_>> {
        let context = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. } => context,
            HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => context.as_ref()?,
            _ => return None,
        };
        let words = context.server_message.as_deref().map(|words| format!(": {words}")).unwrap_or_default();
        let text = redacted(&format!("{}{words}", context.status));
        Some(Answer { status: context.status.as_u16(), code: context.error_code.as_deref(), text })
    }

    fn problem(self, repository: &Repository) -> HubProblem {
        match (self.code, self.status) {
            (Some("RepoNotFound"), _) => HubProblem::NotThere,
            (Some("RevisionNotFound"), _) => no_revision(repository),
            (_, 401 | 403) => HubProblem::Denied { answer: self.text },
            // Without a code it may be either.
            (None, 404) if repository.names_revision() => no_revision(repository),
            (None, 404) => HubProblem::NotThere,
            _ => HubProblem::Answer { answer: self.text },
        }
    }
}

fn no_revision(repository: &Repository) -> HubProblem {
    HubProblem::NoRevision { revision: repository.revision().to_owned() }
}
