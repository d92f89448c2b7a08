//! Plans on disk.
//!
//! In: a plan, or the path of one. Out: the file that `bnfold-gpu plan --format json` prints and `--plan` takes, and the
//! plan in it.

use std::path::Path;

use crate::error::Result;
use crate::output::{Replace, write_whole};
use crate::plan::{self, Plan};

impl Plan {
    /// Writes the plan to `path` as JSON, whole or not at all; a file that is there is replaced.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), Replace::Always, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// Reads a plan as [`Plan::save`] writes it. A user may leave more out of a plan file, which is filled in from the
    /// checkpoint; to follow such a file, give its path to [`Job::follow`](crate::Job::follow).
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no plan or not a complete one, holds several, or is of another version; the line is named.
    pub fn load(path: impl AsRef<Path>) -> Result<Plan> {
        plan::load(path.as_ref())
    }
}
