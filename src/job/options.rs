//! Everything that can be said of how models are folded.
//!
//! In: the caller's wishes, field by field or as a chain of methods. Out: [`Options`], and what the stages take: settings
//! of one model, with the `config.json` beside it, and options of the folding itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use globset::Glob;

use super::Device;
use super::config::{ModelClass, config_beside};
use super::misstated::is_meant;
use crate::checkpoint::Float;
use crate::error::Result;
use crate::fold::{FoldOptions, Style};
use crate::model::{Denied, PlanSource, Recording, Settings};
use crate::output::{Known, Replace};
use crate::parallel;
use crate::plan::{EpsSettings, EvidenceLevel, PlanSettings};
use crate::store::Location;
use crate::zoo::Source;

/// How models are folded; the default is the command's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How folded norms are stored; `None` for [`Style::DropIn`] where a `config.json` says that transformers is to load the
    /// result, and [`Style::Strip`] elsewhere.
    pub style: Option<Style>,
    /// The float type of the output; `None` keeps every tensor's.
    pub dtype: Option<Float>,
    /// What computes.
    pub device: Device,
    /// The eps of every norm; a checkpoint does not store it.
    pub eps: Option<f64>,
    /// The eps of norms whose name matches a glob; the first that matches wins, and goes before [`Options::eps`].
    pub eps_for: Vec<(Glob, f64)>,
    /// The architecture, as its library calls it: `timm/tf_efficientnet_b0`.
    pub arch: Option<String>,
    /// The architecture of models whose path, file name or folder matches a glob; the first that matches wins, and goes
    /// before [`Options::arch`].
    pub arch_for: Vec<(Glob, String)>,
    /// How far values may speak for or against a pair.
    pub evidence: EvidenceLevel,
    /// A plan to follow instead of planning.
    pub plan: Option<PlanSource>,
    /// Of a plan file only the plan whose `input` is the checkpoint: the same options are for several models.
    pub one_of_several: bool,
    /// Which warnings and remarks make a model fail.
    pub denied: Denied,
    /// Whether results get a copy of what lies beside their originals, which is for the caller to make.
    pub copies_sidecars: bool,
    /// Compare every result with the reference.
    pub verify: bool,
    /// Write results that are not finite instead of refusing them.
    pub allow_non_finite: bool,
    /// Gather the ranges of the weights, for the report.
    pub ranges: bool,
    /// Find out what rounding the weights to 8 bits would cost, for the report; needs `ranges`.
    pub quantization: bool,
    /// What becomes of an output that exists.
    pub replace: Replace,
    /// Whether results say in their metadata where they come from.
    pub record: bool,
    /// Flush the output to disk before it gets its name.
    pub sync: bool,
    /// Threads to use; `None` for one per core.
    pub threads: Option<usize>,
    /// What is known of folders: thousands of models in one ask the same.
    #[doc(hidden)]
    pub known: Arc<Known>,
    /// Set from outside to stop; what is under way leaves nothing behind.
    pub cancelled: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            style: None,
            dtype: None,
            device: Device::default(),
            eps: None,
            eps_for: Vec::new(),
            arch: None,
            arch_for: Vec::new(),
            evidence: EvidenceLevel::default(),
            plan: None,
            one_of_several: false,
            denied: Denied::default(),
            copies_sidecars: false,
            verify: true,
            allow_non_finite: false,
            ranges: false,
            quantization: false,
            replace: Replace::default(),
            record: true,
            sync: true,
            threads: None,
            known: Arc::default(),
            cancelled: Arc::default(),
        }
    }
}

impl Options {
    /// The architecture that is stated for the model at `input`, which is found at `place` below a folder.
    #[doc(hidden)]
    pub fn arch_of(&self, input: &Location, place: &Path) -> Option<&str> {
        let mut globs = self.arch_for.iter();
        let meant = globs.find(|(glob, _)| is_meant(&glob.compile_matcher(), input, place));
        meant.map(|(_, name)| name).or(self.arch.as_ref()).map(String::as_str)
    }

    /// How the model at `input` is planned and written. `result`, where it goes or is, is no other checkpoint that a
    /// `config.json` beside `input` could be about.
    ///
    /// # Errors
    ///
    /// There is a `config.json` that cannot be read: what it says about eps and the model's class is not known.
    #[doc(hidden)]
    pub fn settings(&self, input: &Location, result: Option<&Location>) -> Result<Settings<'_>> {
        let beside = config_beside(input, result, &self.known.listings)?;
        let class = beside.config.as_ref().and_then(ModelClass::of);
        let is_for_transformers = class.as_ref().is_some_and(|class| class.is_of_transformers);
        let eps = EpsSettings {
            for_norms: self.eps_for.clone(),
            all: self.eps,
            arch: self.arch_of(input, Path::new("")).map(str::to_owned),
            config: beside.config,
        };
        Ok(Settings {
            planning: PlanSettings {
                eps,
                evidence: self.evidence,
                is_one_of_several: self.one_of_several,
                below: None,
                threads: self.threads_or_all(),
            },
            warnings: beside.ignored.into_iter().collect(),
            plan: self.plan.as_ref(),
            style: self.style.unwrap_or(if is_for_transformers { Style::DropIn } else { Style::Strip }),
            style_is_chosen: self.style.is_none(),
            model_class: class.map(|class| class.name),
            copies_config: self.copies_sidecars,
            dtype: self.dtype,
            denied: self.denied.clone(),
            replace: self.replace,
            sync: self.sync,
            known: Arc::clone(&self.known),
            root: None,
            record: if self.record { Recording::Sampled } else { Recording::None },
        })
    }

    /// The same for a model of a zoo.
    ///
    /// # Errors
    ///
    /// As [`Options::settings`].
    #[doc(hidden)]
    pub fn settings_of(&self, source: &Source, result: Option<&Location>) -> Result<Settings<'_>> {
        let mut settings = self.settings(&source.input, result)?;
        settings.planning.below.clone_from(&source.below);
        settings.planning.eps.arch = self.arch_of(&source.input, &source.place).map(str::to_owned);
        Ok(settings)
    }

    /// How weights are folded; `progress` is told how many bytes are done.
    #[doc(hidden)]
    pub fn fold_options<'a>(&'a self, progress: &'a (dyn Fn(u64) + Sync)) -> FoldOptions<'a> {
        FoldOptions {
            verify: self.verify,
            allow_non_finite: self.allow_non_finite,
            ranges: self.ranges,
            quantization: self.quantization,
            threads: self.threads_or_all(),
            cancelled: &self.cancelled,
            progress,
        }
    }

    fn threads_or_all(&self) -> usize {
        self.threads.unwrap_or_else(parallel::all_cores).max(1)
    }
}
