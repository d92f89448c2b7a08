//! One model: what is reported of it.
//!
//! In: what every stage found. Out: a [`ModelReport`], complete but for the time that publishing takes.

use std::path::Path;
use std::time::Duration;

use super::Model;
use crate::fold::{FoldStats, FoldedLayer, ShiftStats};
use crate::report::layer::layer_reports;
use crate::report::{KeptNorm, Layers, ModelReport, Seconds, Sqnr, Verification, assumed_eps};
use crate::warning::Warning;

/// What was done, stage by stage.
pub(super) struct Work<'w> {
    /// What the work began on: `cpu` or `gpu`.
    pub(super) device: &'static str,
    /// The adapter's name, if there is one.
    pub(super) adapter: Option<String>,
    /// The layers, folded.
    pub(super) layers: &'w [FoldedLayer<'w>],
    /// What checking their shifts found.
    pub(super) shifts: ShiftStats,
    /// What folding their weights found, with the warnings of all stages.
    pub(super) weights: FoldStats,
    /// Time that everything took that is not folded.
    pub(super) copy: Duration,
}

impl Model<'_> {
    /// The report on a result of `bytes` bytes at `output`.
    pub(super) fn report(&self, output: &Path, bytes: u64, work: Work<'_>, verified: bool) -> ModelReport {
        let (folded, kept) = self.planned.plan.counts();
        let (layers, lints) = layer_reports(work.layers);
        let warnings = Model::warnings(&work);
        ModelReport {
            input: self.checkpoint.path().to_owned(),
            output: output.to_owned(),
            elements: work.weights.elements,
            elements_on_gpu: work.weights.elements_on_gpu,
            style: self.settings.style,
            layers: Layers { folded, kept },
            kept: self.planned.plan.kept().map(|(norm, reason)| KeptNorm::new(norm, reason)).collect(),
            folded: layers,
            sqnr_db: Sqnr::of_all(work.layers),
            lints,
            bytes_in: self.checkpoint.bytes(),
            bytes_out: bytes,
            seconds: work.seconds(self.plan_time),
            verification: verified.then(|| work.verification()),
            assumed_eps: assumed_eps(&warnings),
            warnings,
            device: work.device.into(),
            adapter: work.adapter,
        }
    }

    /// What the user should know about the result.
    fn warnings(work: &Work<'_>) -> Vec<Warning> {
        let mut warnings = work.weights.warnings.clone();
        let count = work.weights.non_finite + work.shifts.non_finite;
        if count > 0 {
            warnings.push(Warning::NonFinite { count });
        }
        warnings
    }
}

impl Work<'_> {
    fn verification(&self) -> Verification {
        Verification {
            elements: self.weights.compared + self.shifts.compared,
            differ: self.weights.differ + self.shifts.differ,
            worst_ulp: self.weights.worst_ulp,
            worst_shift_ulp: self.shifts.worst_ulp,
        }
    }

    /// Stages that are over before the result is published.
    fn seconds(&self, plan: Duration) -> Seconds {
        let weights = &self.weights;
        Seconds {
            plan: plan.as_secs_f64(),
            read: weights.read.as_secs_f64(),
            copy: self.copy.as_secs_f64(),
            fold: weights.compute.as_secs_f64(),
            kernel: weights.kernel.map(|kernel| kernel.as_secs_f64()),
            verify: weights.verify.as_secs_f64(),
            write: weights.write.as_secs_f64(),
            commit: 0.0,
            total: 0.0,
        }
    }
}
