//! `--output -`: the folded file on standard output.
//!
//! In: a command line that names one checkpoint. Out: a place for its result in a temporary folder, and its bytes on
//! stdout once it is whole: what fails on the way prints nothing. What is otherwise said on stdout goes to stderr.

use std::fs::File;
use std::io::IsTerminal;

use bnfold_gpu::checkpoint::is_index;
use bnfold_gpu::store::Location;
use tempfile::TempDir;

use super::arguments::FoldArguments;
use super::settings::{UsageError, is_zoo};
use super::values::Format;

/// Where the result waits until it is whole.
pub(super) struct StandardOutput(TempDir);

impl StandardOutput {
    /// Its place, if `--output -` is given.
    pub(super) fn asked_for(inputs: &[Location], arguments: &FoldArguments) -> anyhow::Result<Option<StandardOutput>> {
        if !arguments.writes_to_stdout() {
            return Ok(None);
        }
        let refusal = if is_zoo(inputs)? || inputs.iter().any(|input| is_index(input.path())) {
            Some("one file fits on standard output, and these are several; pass --output DIR")
        } else if arguments.format == Format::Json {
            Some("the result goes to standard output, where --format json prints too; leave one out")
        } else if arguments.zoo.copy_sidecars {
            Some("--copy-sidecars has no folder to copy to beside standard output")
        } else if arguments.zoo.shard.is_some() {
            Some("--shard deals out several models, and one goes to standard output; leave one out")
        } else if std::io::stdout().is_terminal() {
            Some("a checkpoint is no text for a terminal; redirect standard output, or pass --output FILE")
        } else {
            None
        };
        match refusal {
            Some(refusal) => Err(UsageError(format!("--output -: {refusal}")).into()),
            None => Ok(Some(StandardOutput(tempfile::tempdir().map_err(Self::error)?))),
        }
    }

    /// Where the result is written to.
    pub(super) fn location(&self) -> Location {
        Location::File(self.0.path().join("standard-output.safetensors"))
    }

    /// Prints the result, which is there.
    pub(super) fn print(self) -> anyhow::Result<()> {
        let mut file = File::open(self.location().path()).map_err(Self::error)?;
        std::io::copy(&mut file, &mut std::io::stdout().lock()).map_err(Self::error)?;
        Ok(())
    }

    fn error(error: std::io::Error) -> anyhow::Error {
        anyhow::anyhow!("standard output: cannot write: {error}")
    }
}
