//! `bnfold-gpu info`: what a checkpoint is, and, of a result, how it was made.

use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::report::info::Info;

use super::arguments::InfoArguments;
use super::values::Format;
use super::{Status, console, hints, repositories};

pub(crate) fn run(arguments: &InfoArguments) -> anyhow::Result<Status> {
    let mut status = Status::Done;
    for path in &arguments.paths {
        match repositories::checkpoint(path, false).and_then(Checkpoint::open) {
            Ok(checkpoint) => {
                let info = Info::of(&checkpoint);
                match arguments.format {
                    Format::Human => console::lines(&info.to_string())?,
                    Format::Json => console::json(&info, false)?,
                }
            }
            Err(error) => {
                console::error(&hints::described(&error));
                status = Status::Failed;
            }
        }
    }
    Ok(status)
}
