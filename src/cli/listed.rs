//! `--dry-run`: the models and the places of their results, found and checked as for folding.
//!
//! In: tasks, and what cannot be a model. Out: a line each, which the run that folds would begin with.

use std::path::PathBuf;

use bnfold_gpu::Error;
use bnfold_gpu::report::Outcome;
use bnfold_gpu::zoo::Task;
use serde::Serialize;

use super::hints::failed;
use super::settings::shown_location;
use super::values::Format;
use super::{Status, console};

/// A model that would be folded.
#[derive(Serialize)]
struct Listed {
    status: &'static str,
    input: String,
    output: String,
    /// Below the output folder; what `--only` takes.
    place: String,
    /// Of the original.
    bytes: u64,
}

/// Prints what there is to fold.
pub(super) fn tell(tasks: &[Task], failures: &[(PathBuf, Error)], format: Format) -> anyhow::Result<Status> {
    for Task { source, output, .. } in tasks {
        match format {
            Format::Human => {
                console::lines(&format!("{} -> {}\n", shown_location(&source.input), shown_location(output)))?;
            }
            Format::Json => {
                let [input, output] = [&source.input, output].map(|place| place.path().to_string_lossy().into_owned());
                let place = source.place.to_string_lossy().into_owned();
                console::json(&Listed { status: "found", input, output, place, bytes: source.bytes }, false)?;
            }
        }
    }
    for (path, error) in failures {
        let outcome = failed(path, error);
        let Outcome::Failed(failure) = &outcome else { continue };
        console::error(&failure.error);
        if format == Format::Json {
            console::json(&outcome, false)?;
        }
    }
    Ok(if failures.is_empty() { Status::Done } else { Status::Failed })
}
