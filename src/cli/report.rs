//! `--report FILE.html`, and `report`: the page of a run, or of several, as a file that appears whole or not at all.
//!
//! In: a path, checked before the first model is read; what became of the models. Out: the page. A report replaces an
//! earlier report, because a run that is repeated or resumed has one; it never replaces anything else, not even with
//! `--force`, which is about models.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bnfold_gpu::Error;
use bnfold_gpu::output::{Replace, folder_of, write_whole};
use bnfold_gpu::report::{Ended, Outcome, RunReport, html};
use bnfold_gpu::store::{Location, redacted};
use bnfold_gpu::text::shown;

use super::hints;

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
    /// When the run began, for people and for a clock that is never set.
    started: SystemTime,
    since: Instant,
    models: Vec<Outcome>,
}

impl<'a> Report<'a> {
    /// Checks that a report can be written to `location`, before any work is done, and that it is none of the `outputs`;
    /// without one nothing is gathered.
    pub(crate) fn begin(
        location: Option<&'a Location>,
        outputs: impl Iterator<Item = Location>,
    ) -> Result<Report<'a>, ReportError> {
        let path = location.map(of_this_machine).transpose()?;
        if let Some(path) = path {
            may_be_written(path)?;
            takes_a_file(path)?;
            is_no_output(path, outputs)?;
        }
        Ok(Report { path, started: SystemTime::now(), since: Instant::now(), models: Vec::new() })
    }

    /// Adds a model; `outcome` is only made if there will be a report.
    pub(crate) fn add(&mut self, outcome: impl FnOnce() -> Outcome) {
        if self.path.is_some() {
            self.models.push(outcome());
        }
    }

    /// Writes what was gathered; `error` is what ended the run early. A run that could not even begin, as without the
    /// adapter that was asked for, leaves an earlier report as it is.
    pub(crate) fn finish(self, error: Option<&Error>) -> anyhow::Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        let ended = error.map(|error| match error {
            Error::Interrupted => Ended::Interrupted,
            error => Ended::Error(hints::described(error)),
        });
        let has_begun = self.models.iter().any(|model| !matches!(model, Outcome::NotReached { .. }));
        if !has_begun && ended != Some(Ended::Interrupted) {
            return Ok(());
        }
        let took = Some(self.since.elapsed());
        write(path, &run_report(self.started, took, self.models, ended))
    }

    /// Writes the page of `models`, of which runs before this one have told.
    pub(crate) fn put_together(self, models: Vec<Outcome>) -> anyhow::Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        write(path, &run_report(self.started, None, models, None))
    }
}

fn run_report(started: SystemTime, took: Option<Duration>, models: Vec<Outcome>, ended: Option<Ended>) -> RunReport {
    let command = std::env::args_os().map(|word| redacted(&word.to_string_lossy())).collect();
    RunReport { version: env!("CARGO_PKG_VERSION"), command, started, took, models, ended }
}

/// Writes the page of `run` to `path`.
fn write(path: &Path, run: &RunReport) -> anyhow::Result<()> {
    // A file that appears from now on is not replaced, whatever it is.
    let replace = if may_be_written(path)? { Replace::Always } else { Replace::Never };
    Ok(write_whole(path, replace, |mut out| html::render(run, &mut out))?)
}

fn of_this_machine(location: &Location) -> Result<&Path, ReportError> {
    location.as_file().ok_or_else(|| ReportError {
        path: location.path().to_owned(),
        problem: "is a URL, and a report is a file of this machine".to_owned(),
    })
}

/// Whether there is an earlier report at `path`, to be replaced; an error if there is anything else.
fn may_be_written(path: &Path) -> Result<bool, ReportError> {
    let refuse = |problem: String| Err(ReportError { path: path.to_owned(), problem });
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

/// The folder of `path`, or the one that it would be made in, takes a file: tried with one that has no name or loses it
/// at once.
fn takes_a_file(path: &Path) -> Result<(), ReportError> {
    let there = folder_of(path).ancestors().find(|folder| folder.symlink_metadata().is_ok());
    // The empty path that ends a relative one's ancestors is the current folder.
    let folder = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refuse = |error| {
        let problem = format!("nothing can be written to {}: {error}", shown(&folder.to_string_lossy()));
        ReportError { path: path.to_owned(), problem }
    };
    tempfile::tempfile_in(folder).map(drop).map_err(refuse)
}

/// No result, and no file that is copied, has the report's name or needs it for a folder.
fn is_no_output(path: &Path, mut outputs: impl Iterator<Item = Location>) -> Result<(), ReportError> {
    let own = Location::File(path.to_owned()).absolute();
    match outputs.find(|output| output.absolute().path().starts_with(own.path())) {
        Some(output) => {
            let problem = match output.absolute() == own {
                true => "is where a result of this run goes".to_owned(),
                false => format!("would have to be a folder for {}", shown(&output.to_string())),
            };
            Err(ReportError { path: path.to_owned(), problem })
        }
        None => Ok(()),
    }
}

fn is_report(path: &Path) -> std::io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(html::BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == html::BEGINNING.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page at the end of a run that `error` ended before its first model was done, over an earlier page.
    fn page_of_nothing_done(error: &Error) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.html");
        std::fs::write(&path, format!("{}earlier", html::BEGINNING)).unwrap();
        let location = Location::from(&path);
        let mut report = Report::begin(Some(&location), std::iter::empty()).unwrap();
        report.add(|| Outcome::NotReached { input: "m.safetensors".into() });
        report.finish(Some(error)).unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn an_interrupted_run_has_a_page_even_if_nothing_was_done() {
        let page = page_of_nothing_done(&Error::Interrupted);
        assert!(page.contains("<h1>interrupted, 0 of 1 model done</h1>"), "{page}");
    }

    #[test]
    fn a_run_that_could_not_begin_leaves_an_earlier_page() {
        let error = Error::NoAdapter { wanted: "gpu".to_owned(), reason: "there is none".to_owned() };
        assert!(page_of_nothing_done(&error).ends_with("earlier"));
    }
}
