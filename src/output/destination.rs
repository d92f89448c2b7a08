//! 4 WRITE: where an output goes.

use std::sync::Arc;

use super::claims::Known;
use super::target::Replace;
use crate::store::{Location, Same};

/// Where an output goes, and what may stand there already.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The file, or the index if the original is sharded.
    pub at: &'a Location,
    /// What becomes of files that exist.
    pub replace: Replace,
    /// Which of these stay, whatever `replace` says.
    pub same: Same<'a>,
    /// What is known of folders.
    pub known: &'a Arc<Known>,
    /// Folders that are made are on disk before anything is in them.
    pub sync: bool,
}
