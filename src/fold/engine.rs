//! 3 FOLD: the two engines behind one face, and what happens when the GPU fails.
//!
//! In: pieces. Out: the pieces that remain for the CPU. A GPU that fails, in whatever way, is given up for good: what was
//! under way and all that follows is left to the CPU, and said so. What it delivered before stays, since every element of it
//! was held against the CPU's.

#[cfg(feature = "gpu")]
use std::sync::Arc;

use super::gate::Gate;
use super::shifts::Shifted;
use super::{FoldStats, Piece, cpu};
use crate::error::Result;
use crate::warning::Warning;

/// What multiplies.
#[derive(Clone, Default)]
pub enum Engine {
    /// The CPU path.
    #[default]
    Cpu,
    /// The GPU path, on a device that other models may be folded on at the same time.
    #[cfg(feature = "gpu")]
    Gpu(Arc<super::gpu::GpuEngine>),
}

impl Engine {
    /// `cpu` or `gpu`.
    pub fn device(&self) -> &'static str {
        match self {
            Engine::Cpu => "cpu",
            #[cfg(feature = "gpu")]
            Engine::Gpu(_) => "gpu",
        }
    }

    /// The adapter's name, if there is one.
    pub fn adapter(&self) -> Option<String> {
        match self {
            Engine::Cpu => None,
            #[cfg(feature = "gpu")]
            Engine::Gpu(gpu) => Some(gpu.adapter().name.clone()),
        }
    }

    /// The shift of every channel: `moved + beta`. Of a GPU, what passes the check of `Shifted::checked`; a GPU that
    /// does not pass it is given up, and the shifts are the CPU's.
    pub fn shift(&mut self, moved: &[f32], beta: &[f32], warnings: &mut Vec<Warning>) -> Shifted {
        let twin = cpu::shift(moved, beta);
        #[cfg(feature = "gpu")]
        if let Engine::Gpu(gpu) = self
            && !moved.is_empty()
        {
            let shifted = gpu.shift(moved, beta).map_err(|error| error.to_string());
            match shifted.and_then(|values| Shifted::checked(values, &twin, moved, beta)) {
                Ok(shifted) => return shifted,
                Err(reason) => self.give_up(&reason, warnings),
            }
        }
        #[cfg(not(feature = "gpu"))]
        let _ = warnings;
        Shifted { values: twin, differ: 0 }
    }

    /// Folds what the GPU can fold; returns what is left for the CPU.
    #[cfg(not(feature = "gpu"))]
    pub(super) fn fold_on_gpu(&mut self, pieces: Vec<Piece>, _: &Gate<'_>, _: &mut FoldStats) -> Result<Vec<Piece>> {
        Ok(pieces)
    }

    /// Whether it is the CPU path, or a device that has not failed.
    #[cfg(not(feature = "gpu"))]
    pub(crate) fn is_usable(&self) -> bool {
        true
    }
}

#[cfg(feature = "gpu")]
impl Engine {
    /// Folds what the GPU can fold; returns what is left for the CPU. Whatever happens, nothing of this model is under
    /// way on the GPU afterwards.
    pub(super) fn fold_on_gpu(
        &mut self,
        pieces: Vec<Piece>,
        gate: &Gate<'_>,
        stats: &mut FoldStats,
    ) -> Result<Vec<Piece>> {
        let Engine::Gpu(gpu) = self else { return Ok(pieces) };
        let (pieces, mut left): (Vec<_>, Vec<_>) =
            pieces.into_iter().partition(|piece| super::gpu::can_fold(&gate.jobs[piece.job]));
        let flown = gpu.fold(pieces.into(), gate)?;
        stats.merge(flown.stats);
        left.extend(flown.left);
        if let Some(reason) = gpu.failure().map(str::to_owned) {
            self.give_up(&reason, &mut stats.warnings);
        }
        Ok(left)
    }

    /// Whether it is the CPU path, or a device that has not failed.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Engine::Cpu => true,
            Engine::Gpu(gpu) => gpu.failure().is_none(),
        }
    }

    /// The GPU is not to be trusted any more, by anyone.
    fn give_up(&mut self, reason: &str, warnings: &mut Vec<Warning>) {
        let adapter = self.adapter().unwrap_or_default();
        warnings.push(Warning::GpuFailed { adapter, reason: reason.to_owned() });
        if let Engine::Gpu(gpu) = std::mem::take(self) {
            gpu.fail(reason);
            // Dropping what belongs to a broken device may panic in its driver.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(gpu)));
        }
    }
}
