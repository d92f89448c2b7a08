//! `bnfold-gpu report MANIFEST... --output FILE.html`: one page from what runs have printed.
//!
//! In: files of JSON lines, as `fold --format json` prints them. Out: the page that `--report` would have written had it been
//! one run. A line that cannot be read ends it: a page without that model would look whole.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bnfold_gpu::report::{Merged, Outcome, Totals};
use bnfold_gpu::text::shown;

use super::arguments::ReportArguments;
use super::report::Report;
use super::{Status, console};

/// A manifest that cannot be read.
#[derive(Debug, thiserror::Error)]
enum ManifestError {
    #[error("{}: cannot read: {source}", shown(&path.to_string_lossy()))]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "{}:{line}: expected a line as `fold --format json` of this version prints it, found something else ({problem}); if a run \
         was killed while it wrote this line, remove the line and repeat the run",
        shown(&path.to_string_lossy())
    )]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{}: no line about any model", shown(&path.to_string_lossy()))]
    Empty { path: PathBuf },
}

pub(crate) fn run(arguments: &ReportArguments) -> anyhow::Result<Status> {
    let report = Report::begin(Some(&arguments.output), std::iter::empty())?;
    let mut merged = Merged::default();
    arguments.manifests.iter().try_for_each(|path| read(path, &mut merged))?;
    let models = merged.into_models();
    let mut totals = Totals::default();
    models.iter().for_each(|model| totals.count(model));
    report.put_together(models)?;
    console::lines(&format!("{}: {totals}\n", arguments.output))?;
    Ok(Status::Done)
}

/// Reads the lines of one manifest.
fn read(path: &Path, merged: &mut Merged) -> anyhow::Result<()> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let wrong = |line, problem| ManifestError::Line { path: path.to_owned(), line, problem };
    let mut lines = 0;
    for (line, text) in (1..).zip(BufReader::new(File::open(path).map_err(unreadable)?).lines()) {
        let text = text.map_err(unreadable)?;
        if text.trim().is_empty() {
            continue;
        }
        let outcome = Outcome::from_json(&text).map_err(|error| wrong(line, error.to_string()))?;
        merged.add(outcome).map_err(|error| wrong(line, error.to_string()))?;
        lines += 1;
    }
    match lines {
        0 => Err(ManifestError::Empty { path: path.to_owned() }.into()),
        _ => Ok(()),
    }
}
