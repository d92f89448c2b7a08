//! HUB: repositories of the Hugging Face Hub, as folders of this machine.
//!
//! In: a [`Repository`], as `hf://ORG/NAME@REVISION` names one. Out: its folder in the Hub's usual cache, with the files that
//! folding needs, all of them whole; to everything else it is a folder like any other. Where the cache is, and what else
//! programs agree upon, comes from the environment: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` (or the file that
//! a login leaves), `HF_HUB_OFFLINE`. Without the feature `hub` there is nothing behind [`fetch`] but an error that says so.

mod problem;
mod repository;

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod home;
#[cfg(feature = "hub")]
mod wanted;
#[cfg(feature = "hub")]
mod watched;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

pub use problem::HubProblem;
pub use repository::Repository;

use crate::error::Result;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Files that are downloaded; those that the cache has are not.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
    /// Bytes that have come.
    pub done: u64,
}

/// Downloads what folding needs of `repository`, unless the cache has it; returns the folder. `observe` is told several times a
/// second how far it is. Once `cancelled` is set, the call returns; what was under way ends with the process at the latest.
///
/// # Errors
///
/// The repository, its revision or a checkpoint in it is not there or not for everybody, the Hub cannot be reached, or what
/// came was not whole; the cache cannot be written to; it was cancelled.
#[cfg(feature = "hub")]
pub fn fetch(repository: &Repository, cancelled: &AtomicBool, observe: &dyn Fn(Transfer)) -> Result<PathBuf> {
    client::Client::new(repository)?.fetch(cancelled, observe)
}

/// Says that there is no such thing in this build.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "hub"))]
pub fn fetch(repository: &Repository, _cancelled: &AtomicBool, _observe: &dyn Fn(Transfer)) -> Result<PathBuf> {
    Err(repository.error(HubProblem::Absent { arguments: repository.arguments() }))
}
