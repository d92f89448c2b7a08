//! The library's face: one model, its options, and what can be done with it.
//!
//! In: a path and [`Options`]. Out: a plan, a folded file or a verdict on one, exactly as the command gives them: the
//! `config.json` beside the checkpoint is read, the device chosen, every result checked. [`Zoo`] does the same for many
//! models.

mod builder;
mod config;
mod device;
mod misstated;
mod options;
mod plan_file;
#[cfg(feature = "gpu")]
pub mod rates;
mod zoo;

pub use device::{Device, Note, Opened};
pub use options::Options;
pub use zoo::Zoo;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::Model;
use crate::plan::{self, Explanation, Plan, Planned};
use crate::report::ModelReport;
use crate::store::Location;
use crate::verify::{self, VerifyReport};
use builder::forward_options;

/// Told how far a model is; called from several threads.
pub trait Progress: Sync {
    /// The model is planned, and its files have `bytes` bytes.
    fn begin(&self, bytes: u64) {
        let _ = bytes;
    }

    /// `bytes` more of them are done.
    fn advance(&self, bytes: u64);
}

/// Nobody is told.
struct Silent;

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

/// One model to fold.
///
/// ```
/// # fn main() -> bnfold_gpu::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let output = folder.path().join("folded.safetensors");
/// use bnfold_gpu::{Device, Job, Style};
///
/// let job = Job::new("tests/data/digits-resnet.safetensors").style(Style::DropIn).device(Device::Cpu);
/// let report = job.write(&output)?;
/// assert_eq!((report.layers.folded, report.layers.kept), (12, 0));
/// assert!(job.verify(&output)?.ok);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Job<'a> {
    input: Location,
    options: Options,
    progress: &'a dyn Progress,
}

impl<'a> Job<'a> {
    /// The model at `input`, a `.safetensors` file or the index of a sharded checkpoint, with the default options. Nothing
    /// is read yet.
    pub fn new(input: impl Into<Location>) -> Job<'a> {
        Job::with(input, Options::default())
    }

    /// The same with these options.
    pub fn with(input: impl Into<Location>, options: Options) -> Job<'a> {
        Job { input: input.into(), options, progress: &Silent }
    }

    /// Tells `progress` how far [`Job::write`] is.
    #[must_use]
    pub fn progress(self, progress: &'a dyn Progress) -> Job<'a> {
        Job { progress, ..self }
    }

    /// What would be done with every norm, and why. Nothing is written. The plan can be edited, saved ([`Plan::save`]) and
    /// followed ([`Job::follow`]).
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be read, or the plan to follow does not fit it.
    pub fn plan(&self) -> Result<Plan> {
        Ok(self.planned(None)?.plan)
    }

    /// The plan with the folds it stands for and what the user should be warned of. `result`, if there is one already, is
    /// no other checkpoint that a `config.json` could be about.
    ///
    /// # Errors
    ///
    /// As [`Job::plan`].
    #[doc(hidden)]
    pub fn planned(&self, result: Option<&Location>) -> Result<Planned> {
        let checkpoint = Checkpoint::open(&self.input)?;
        Ok(Model::plan(checkpoint, self.options.settings(&self.input, result)?)?.into_planned())
    }

    /// How `norm` came to be folded or kept: every proposal, objection and measurement; `None` if there is no such norm. A
    /// plan to follow takes no part.
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be read.
    pub fn explain(&self, norm: &str) -> Result<Option<Explanation>> {
        let checkpoint = Checkpoint::open(&self.input)?;
        plan::explain(&checkpoint, &self.options.settings(&self.input, None)?.planning, norm)
    }

    /// Folds the model into `output`: a file, or for a sharded model the index, beside which its shards go under their
    /// own names.
    ///
    /// # Errors
    ///
    /// Nothing is left at `output` then. The checkpoint cannot be read; the plan does not fit it; a warning or remark is
    /// denied ([`Options::deny`], [`Options::strict`], or by default); a value cannot be folded; `output` exists or cannot
    /// be written; no such device; the run was cancelled.
    pub fn write(&self, output: impl Into<Location>) -> Result<ModelReport> {
        let output = output.into();
        let checkpoint = Checkpoint::open(&self.input)?;
        let model = Model::plan(checkpoint, self.options.settings(&self.input, Some(&output))?)?;
        model.check()?;
        let Opened { engines, warning, .. } = self.options.device.open(model.bytes())?;
        let mut engine = engines.into_iter().next().unwrap_or_default();
        self.progress.begin(model.bytes());
        let progress = |bytes| self.progress.advance(bytes);
        let mut report = model.fold_into(output, &mut engine, self.options.fold_options(&progress))?;
        report.warnings.extend(warning);
        Ok(report)
    }

    /// Compares the checkpoint at `folded`, whoever made it, with this one folded; accepted are errors that a right fold may
    /// have in the types at hand: 8 units in the last place of an F32 or F64, one rounding of an F16 or BF16.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or the plan does not fit the original. What differs is in the report.
    pub fn verify(&self, folded: impl Into<Location>) -> Result<VerifyReport> {
        let folded = folded.into();
        let (original, planned) = (Checkpoint::open(&self.input)?, self.planned(Some(&folded))?);
        verify::verify(&original, &Checkpoint::open(&folded)?, &planned, None)
    }
}

forward_options!(Job<'_>);
