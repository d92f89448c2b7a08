//! 3 FOLD: the two engines behind one face, and what happens when the GPU fails.
//!
//! In: pieces. Out: the pieces that remain for the CPU. A GPU that fails, in whatever way, is given up for good: what was
//! under way and all that follows is left to the CPU, and said so.

#[cfg(feature = "gpu")]
use std::collections::VecDeque;
#[cfg(feature = "gpu")]
use std::time::Instant;

use super::gate::Gate;
use super::shifts::Shifted;
use super::{FoldStats, Piece, cpu};
#[cfg(feature = "gpu")]
use super::{gpu::Batch, workers};
use crate::error::Result;
use crate::warning::Warning;

/// What multiplies.
#[derive(Default)]
pub enum Engine {
    /// The CPU path.
    #[default]
    Cpu,
    /// The GPU path.
    #[cfg(feature = "gpu")]
    Gpu(Box<super::gpu::GpuEngine>),
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
                Err(reason) => drop(self.give_up(&reason, warnings)),
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
}

#[cfg(feature = "gpu")]
impl Engine {
    /// Folds what the GPU can fold; returns what is left for the CPU. Whatever happens, nothing of this model is under
    /// way on the GPU afterwards: a batch that came back during the next model would be taken for one of its own.
    pub(super) fn fold_on_gpu(
        &mut self,
        pieces: Vec<Piece>,
        gate: &Gate<'_>,
        stats: &mut FoldStats,
    ) -> Result<Vec<Piece>> {
        if matches!(self, Engine::Cpu) {
            return Ok(pieces);
        }
        let left = self.run_batches(pieces, gate, stats);
        if let Engine::Gpu(gpu) = self {
            stats.kernel = gpu.take_kernel_time();
        }
        if let Engine::Gpu(gpu) = self
            && !gpu.drain()
        {
            // It broke while nobody needed its results: they are not missed, and the next model is folded on the CPU.
            self.give_up("it was lost after the last result", &mut stats.warnings);
        }
        left
    }

    fn run_batches(&mut self, pieces: Vec<Piece>, gate: &Gate<'_>, stats: &mut FoldStats) -> Result<Vec<Piece>> {
        let (queue, mut left): (Vec<_>, Vec<_>) =
            pieces.into_iter().partition(|piece| super::gpu::can_fold(&gate.jobs[piece.job]));
        let mut queue = VecDeque::from(queue);
        while let Engine::Gpu(gpu) = self {
            if !queue.is_empty() && gpu.has_room() {
                gate.options.check_cancelled()?;
                let batch = Batch::fill(gpu.spare(), &mut queue, gate, stats)?;
                let started = Instant::now();
                let submitted = gpu.submit(batch, gate.jobs);
                stats.compute += started.elapsed();
                if let Err(refused) = submitted {
                    left.extend(refused.batch.into_pieces());
                    left.extend(self.give_up(&refused.error.to_string(), &mut stats.warnings));
                }
                continue;
            }
            let started = Instant::now();
            let collected = gpu.collect();
            stats.compute += started.elapsed();
            match collected {
                Ok(None) => break,
                Ok(Some((batch, folded))) => {
                    let trusted = gate_batch(gate, &batch, &folded, stats)?;
                    stats.elements_on_gpu += batch.places().map(|(piece, _)| piece.elements as u64).sum::<u64>();
                    gpu.recycle(batch, folded);
                    if !trusted {
                        left.extend(self.give_up("its results differ from the CPU's", &mut stats.warnings));
                    }
                }
                Err(error) => left.extend(self.give_up(&error.to_string(), &mut stats.warnings)),
            }
        }
        left.extend(queue);
        Ok(left)
    }

    /// The GPU is not to be trusted any more; returns the pieces that were under way on it.
    fn give_up(&mut self, reason: &str, warnings: &mut Vec<Warning>) -> Vec<Piece> {
        let adapter = self.adapter().unwrap_or_default();
        warnings.push(Warning::GpuFailed { adapter, reason: reason.to_owned() });
        let Engine::Gpu(gpu) = std::mem::take(self) else { return Vec::new() };
        gpu.abandon()
    }
}

/// Settles a batch that came back, on all cores; `false` if the GPU's results are not to be trusted.
#[cfg(feature = "gpu")]
fn gate_batch(gate: &Gate<'_>, batch: &Batch, folded: &[u8], stats: &mut FoldStats) -> Result<bool> {
    let untrusted = std::sync::atomic::AtomicBool::new(false);
    let places = batch.places().collect::<Vec<_>>();
    let threads = gate.options.threads;
    let passed = workers::run(&places, threads, |worker, (piece, range)| {
        let (stored, folded) = (&batch.stored()[range.clone()], &folded[range.clone()]);
        if !gate.gpu_piece(worker, piece, stored, folded)? {
            untrusted.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    })?;
    stats.merge(passed.per_thread(threads));
    Ok(!untrusted.into_inner())
}
