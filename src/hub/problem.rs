//! HUB: why a repository cannot be had.
//!
//! In: what was asked for and what came. Out: a reason, to which [`Error::Hub`](crate::Error::Hub) adds the repository.

use std::path::PathBuf;

use crate::text::shown;

/// What is wrong with a repository of the Hub, or with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubProblem {
    /// This build cannot fetch any.
    #[error(
        "this program was built without the Hugging Face Hub; build it with `--features hub`, or download the repository \
         (`hf download {arguments}`, earlier `huggingface-cli download {arguments}`) and name the folder that this prints"
    )]
    Absent {
        /// What the Hub's own program is to be told.
        arguments: String,
    },
    /// The URL names none.
    #[error("no repository: expected hf://ORG/NAME or hf://ORG/NAME@REVISION")]
    Form,
    /// What follows the `@` cannot be a revision.
    #[error("what follows the @ is no name of a branch or tag, and no commit")]
    Revision,
    /// The URL goes on behind the repository.
    #[error("it names something within the repository, which is fetched as a whole; pass hf://{repository}")]
    Within {
        /// Owner and name.
        repository: String,
    },
    /// The Hub knows none of this name, or does not tell.
    #[error(
        "there is no such repository, or it is private: check the name; for a private one set HF_TOKEN to a token that may \
         read it"
    )]
    NotThere,
    /// The Hub knows the repository and does not give it out.
    #[error(
        "access denied ({}): accept the repository's terms on its page if it has any, and set HF_TOKEN to a token that may \
         read it",
        shown(answer)
    )]
    Denied {
        /// What it said.
        answer: String,
    },
    /// The repository has no such revision.
    #[error("it has no revision `{revision}`; name a branch, a tag or a commit behind the @")]
    NoRevision {
        /// What was asked for.
        revision: String,
    },
    /// There is nothing to fold.
    #[error("no .safetensors file in it{}", instead.as_deref().map(|instead| format!("; there is {}", shown(instead))).unwrap_or_default())]
    NoCheckpoint {
        /// What is there in its place, and how it becomes a checkpoint.
        instead: Option<String>,
    },
    /// The network is not to be used, and the cache does not have it.
    #[error(
        "HF_HUB_OFFLINE is set, and {} has no checkpoint of revision `{revision}`; fetch it once without HF_HUB_OFFLINE",
        cache.display()
    )]
    NotCached {
        /// The cache.
        cache: PathBuf,
        /// What was asked for.
        revision: String,
    },
    /// The Hub does not answer.
    #[error("the Hub cannot be reached ({cause}); try again, or set HF_HUB_OFFLINE=1 to take what the cache has")]
    Unreachable {
        /// Why not.
        cause: String,
    },
    /// A download ended early, again and again.
    #[error("the download ended early ({cause}); nothing half is kept, try again")]
    Cut {
        /// Why.
        cause: String,
    },
    /// A file has another length than the Hub says.
    #[error("{}: {found} bytes came, expected {expected}; nothing of it is kept, try again", shown(file))]
    Length {
        /// The file.
        file: String,
        /// What the Hub says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Nothing came for a long time.
    #[error("nothing came for {seconds} s; nothing half is kept, try again")]
    Stalled {
        /// How long.
        seconds: u64,
    },
    /// The Hub answered something that cannot be used.
    #[error("the Hub answered {}; try again later", shown(answer))]
    Answer {
        /// What.
        answer: String,
    },
    /// A file of the repository would be written to somewhere else.
    #[error("the Hub lists a file `{}`, whose name leads out of its folder; nothing was fetched", shown(file))]
    LeadsOut {
        /// Its name.
        file: String,
    },
    /// The environment names no server.
    #[error("HF_ENDPOINT is no URL ({cause}); expected one such as https://huggingface.co")]
    Endpoint {
        /// Why not.
        cause: String,
    },
}
