//! 6 REPORT: a whole run: every model that was asked for, whatever became of it.
//!
//! In: what the command line gathers as it goes. Out: a [`RunReport`], which [`super::html`] turns into a page.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{FailureReport, ModelReport, lossy};
use crate::output::Figures;

/// One run of the program.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The program's version.
    pub version: &'static str,
    /// The command line, word by word, as the user typed it.
    pub command: Vec<String>,
    /// When it began.
    pub started: SystemTime,
    /// How long it took; `None` where it is put together from what several runs printed.
    pub took: Option<Duration>,
    /// One entry a model, in the order of the work; those that were not reached come last.
    pub models: Vec<Outcome>,
    /// What ended it before all of its work was done.
    pub ended: Option<Ended>,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The user stopped it; the same command goes on.
    Interrupted,
    /// This error, which no model's own is.
    Error(String),
}

/// What became of one model; in JSON its own object with a key `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// There is a result, made now.
    Folded(Box<ModelReport>),
    /// Nothing was to be folded: the result was there, or could be copied.
    Skipped {
        /// The original.
        #[serde(serialize_with = "lossy")]
        input: PathBuf,
        /// Where its result is.
        #[serde(serialize_with = "lossy")]
        output: PathBuf,
        /// Why not.
        reason: String,
        /// What the result says of itself.
        earlier: Box<Earlier>,
    },
    /// There is no result.
    Failed(FailureReport),
    /// The run ended before, or while, it was this one's turn; there is no new result.
    NotReached {
        /// The original.
        #[serde(serialize_with = "lossy")]
        input: PathBuf,
    },
}

/// A result that a run came upon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// It stood at its place before the run; otherwise it was copied from another model's of the same files.
    pub done_before: bool,
    /// What its metadata say of how it was made; `null` in results of versions that did not say it.
    pub figures: Option<Figures>,
    /// Size of the original.
    pub bytes_in: u64,
    /// Size of the result.
    pub bytes_out: u64,
    /// When the result was written, in seconds since 1970; `null` where that is not known, as of an object under a URL.
    pub finished_unix: Option<u64>,
}

impl Outcome {
    /// The original.
    pub fn input(&self) -> &Path {
        match self {
            Outcome::Folded(report) => &report.input,
            Outcome::Skipped { input, .. } | Outcome::NotReached { input } => input,
            Outcome::Failed(failure) => &failure.input,
        }
    }
}

impl Outcome {
    /// Where the result is, if there is one.
    pub fn output(&self) -> Option<&Path> {
        match self {
            Outcome::Folded(report) => Some(&report.output),
            Outcome::Skipped { output, .. } => Some(output),
            Outcome::Failed(_) | Outcome::NotReached { .. } => None,
        }
    }
}

/// Sums over the models of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Models with a new result.
    pub folded: usize,
    /// Models with nothing to fold.
    pub skipped: usize,
    /// Those of them whose result was there before the run.
    pub done_before: usize,
    /// Norms folded and norms kept in results that were there, as far as these say it.
    pub norms_before: (usize, usize),
    /// Norms, in folded models, whose eps nobody states although another one would make a difference.
    pub assumed: usize,
    /// Models without a result.
    pub failed: usize,
    /// Models that the run did not come to.
    pub not_reached: usize,
    /// Norms folded and norms kept, in folded models.
    pub norms: (usize, usize),
    /// Numerical remarks.
    pub lints: usize,
    /// Bytes of the originals and of the results, of folded models.
    pub bytes: (u64, u64),
    /// Values that were compared with the reference.
    pub compared: u64,
    /// Folded models that were not verified.
    pub unverified: usize,
    /// Folded models in which an eps that makes a difference is only assumed.
    pub assumed_models: usize,
    /// Largest error of a weight, in ulp.
    pub worst_ulp: f64,
    /// Largest error of a bias, in ulp of its largest addend.
    pub worst_shift_ulp: f64,
}

impl RunReport {
    /// Sums over all models.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.models.iter().for_each(|outcome| totals.count(outcome));
        totals
    }
}

impl Totals {
    /// Counts one more model.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Folded(report) => self.add(report),
            Outcome::Skipped { earlier, .. } => self.add_earlier(earlier),
            Outcome::Failed(_) => self.failed += 1,
            Outcome::NotReached { .. } => self.not_reached += 1,
        }
    }

    fn add_earlier(&mut self, earlier: &Earlier) {
        self.skipped += 1;
        self.done_before += usize::from(earlier.done_before);
        if let Some(figures) = &earlier.figures {
            self.norms_before.0 += figures.folded;
            self.norms_before.1 += figures.kept;
        }
    }

    fn add(&mut self, report: &ModelReport) {
        self.folded += 1;
        self.norms.0 += report.layers.folded;
        self.norms.1 += report.layers.kept;
        self.lints += report.lints.len();
        let assumed = report.assumed_eps;
        self.assumed += assumed;
        self.assumed_models += usize::from(assumed > 0);
        self.bytes.0 += report.bytes_in;
        self.bytes.1 += report.bytes_out;
        match &report.verification {
            Some(verification) => {
                self.compared += verification.elements;
                self.worst_ulp = self.worst_ulp.max(verification.worst_ulp);
                self.worst_shift_ulp = self.worst_shift_ulp.max(verification.worst_shift_ulp);
            }
            None => self.unverified += 1,
        }
    }
}
