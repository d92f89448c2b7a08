//! Plans on disk.
//!
//! In: a plan, or the path of one. Out: the file that `bnfold-gpu plan --format json` prints and `--plan` takes, and the
//! plan in it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::output::{Replace, write_whole};
use crate::plan::{Plan, VERSION};

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

    /// Reads a plan as [`Plan::save`] writes it. What a user may leave out of a plan file is filled in from the checkpoint;
    /// to follow such a file, give its path to [`Job::follow`](crate::Job::follow).
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no complete plan, or is of another version; the line is named.
    pub fn load(path: impl AsRef<Path>) -> Result<Plan> {
        let path = path.as_ref();
        let refuse = |line, problem| Error::PlanFile { path: path.to_owned(), line, problem };
        let text = std::fs::read_to_string(path).map_err(Error::io("read the plan", path))?;
        let plan = serde_json::from_str::<Plan>(&text)
            .map_err(|error| refuse(error.line(), format!("not a complete plan: {error}")))?;
        match plan.version {
            VERSION => Ok(plan),
            found => Err(refuse(1, format!("a plan of version {found}, and this program reads version {VERSION}"))),
        }
    }
}
