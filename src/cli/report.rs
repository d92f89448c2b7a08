//! `--report FILE.html`: the page of a run, as a file that appears whole or not at all.
//!
//! In: a path, checked before the first model is read; what became of the models. Out: the page. A report replaces an
//! earlier report, because a run that is repeated or resumed has one; it never replaces anything else, not even with
//! `--force`, which is about models.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use bnfold_gpu::error::shown;
use bnfold_gpu::output::{Replace, write_whole};
use bnfold_gpu::report::{Outcome, RunReport, html};
use bnfold_gpu::store;

/// Why a report cannot be written; nothing was lost.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}; pass another --report", shown(&path.to_string_lossy()))]
pub(crate) struct ReportError {
    path: PathBuf,
    problem: String,
}

/// A report under way: what became of the models so far.
pub(crate) struct Report<'a> {
    path: Option<&'a Path>,
    began: (SystemTime, Instant),
    models: Vec<Outcome>,
}

impl<'a> Report<'a> {
    /// Checks that a report may be written to `path`, before any work is done; without a path nothing is gathered.
    pub(crate) fn begin(path: Option<&'a Path>) -> Result<Report<'a>, ReportError> {
        path.map(may_be_written).transpose()?;
        Ok(Report { path, began: (SystemTime::now(), Instant::now()), models: Vec::new() })
    }

    /// Adds a model; `outcome` is only made if there will be a report.
    pub(crate) fn add(&mut self, outcome: impl FnOnce() -> Outcome) {
        if self.path.is_some() {
            self.models.push(outcome());
        }
    }

    /// Writes what was gathered. A run that was stopped before its first model leaves an earlier report as it is.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Some(path) = self.path.filter(|_| !self.models.is_empty()) else { return Ok(()) };
        let command = std::env::args_os().map(|word| store::redacted(&word.to_string_lossy())).collect();
        let (started, since) = self.began;
        let run = RunReport {
            version: env!("CARGO_PKG_VERSION"),
            command,
            started,
            took: since.elapsed(),
            models: self.models,
        };
        write(path, &run)
    }
}

/// Writes the page of `run` to `path`.
pub(crate) fn write(path: &Path, run: &RunReport) -> anyhow::Result<()> {
    // A file that appears from now on is not replaced, whatever it is.
    let replace = if may_be_written(path)? { Replace::Always } else { Replace::Never };
    Ok(write_whole(path, replace, |mut out| html::render(run, &mut out))?)
}

/// Whether there is an earlier report at `path`, to be replaced; an error if there is anything else.
fn may_be_written(path: &Path) -> Result<bool, ReportError> {
    let refuse = |problem: String| Err(ReportError { path: path.to_owned(), problem });
    if store::is_url(path) {
        return refuse("is a URL, and a report is a file of this machine".to_owned());
    }
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => refuse(format!("nothing can be written there: {error}")),
        // A link is never written through, and to replace it is hardly what is wanted.
        Ok(metadata) if !metadata.is_file() => refuse("is there already, and is no regular file".to_owned()),
        Ok(_) => match is_report(path) {
            Ok(true) => Ok(true),
            Ok(false) => refuse("is there already, and is no report of this program, so it is not replaced".to_owned()),
            Err(error) => refuse(format!("is there already and cannot be read: {error}")),
        },
    }
}

fn is_report(path: &Path) -> std::io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(html::BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == html::BEGINNING.as_bytes())
}
