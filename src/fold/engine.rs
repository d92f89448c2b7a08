//! 3 FOLD: the two engines behind one face, and what happens when the GPU fails.
//!
//! In: batches. Out: the same batches with their results, in order, handed to the settling stage. A GPU that fails, in
//! whatever way, is given up for good: what was under way and all that follows is folded on the CPU, and said so.

use std::time::Instant;

use super::settle::Settle;
use super::{Batch, Job, cpu};
use crate::error::Result;

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

    /// The shift of every channel: `moved + beta`. Falls back to the CPU as [`Engine::run`] does.
    pub fn shift(&mut self, moved: &[f32], beta: &[f32], warnings: &mut Vec<String>) -> Vec<f32> {
        let twin = cpu::shift(moved, beta);
        #[cfg(feature = "gpu")]
        if let Engine::Gpu(gpu) = self
            && !moved.is_empty()
        {
            // Bits may differ only where a device flushes subnormals; the CPU's are the ones taken.
            let tiny = |value: f32| value == 0.0 || cpu::is_subnormal(value);
            let same = |(((ours, theirs), moved), beta): (((&f32, &f32), &f32), &f32)| {
                ours.to_bits() == theirs.to_bits() || tiny(*ours) || tiny(*moved) || tiny(*beta)
            };
            let complaint = match gpu.shift(moved, beta) {
                Ok(shifted) if shifted.len() != twin.len() => Some("it returned too few shifts".to_owned()),
                Ok(shifted) if twin.iter().zip(&shifted).zip(moved).zip(beta).all(same) => None,
                Ok(_) => Some("its shifts differ from the CPU's".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(complaint) = complaint {
                let under_way = self.give_up(&complaint, warnings);
                debug_assert!(under_way.is_empty(), "shifts come before the first batch");
            }
        }
        twin
    }

    /// Folds a batch, or starts to; batches that are done go to `settle`.
    pub(super) fn run(&mut self, batch: Batch, jobs: &[Job<'_>], settle: &mut Settle<'_>) -> Result<()> {
        if batch.pieces.is_empty() {
            return Ok(());
        }
        #[cfg(feature = "gpu")]
        if matches!(self, Engine::Gpu(_)) {
            if batch.on_gpu(jobs) {
                return self.run_on_gpu(batch, jobs, settle);
            }
            // Order does not matter to the sink, but a batch of another kind is rare: keep it simple.
            self.finish(jobs, settle)?;
        }
        run_on_cpu(&batch, jobs, settle)
    }

    /// Waits for everything that is under way.
    pub(super) fn finish(&mut self, jobs: &[Job<'_>], settle: &mut Settle<'_>) -> Result<()> {
        #[cfg(feature = "gpu")]
        while self.collect(jobs, settle)? {}
        #[cfg(not(feature = "gpu"))]
        let _ = (jobs, settle);
        Ok(())
    }
}

fn run_on_cpu(batch: &Batch, jobs: &[Job<'_>], settle: &mut Settle<'_>) -> Result<()> {
    for piece in &batch.pieces {
        let job = &jobs[piece.job];
        let stored = &batch.stored[piece.at..piece.at + piece.elements * batch.float.bytes()];
        let started = Instant::now();
        let mut folded = vec![0; piece.elements * job.to.bytes()];
        cpu::scale(piece.map, &job.scales, piece.first, (batch.float, stored), (job.to, &mut folded));
        settle.stats.compute += started.elapsed();
        settle.piece(piece, stored, &folded)?;
    }
    Ok(())
}

#[cfg(feature = "gpu")]
impl Engine {
    /// The GPU is not to be trusted any more; returns what was under way on it.
    fn give_up(&mut self, reason: &str, warnings: &mut Vec<String>) -> Vec<Batch> {
        let adapter = self.adapter().unwrap_or_default();
        warnings.push(format!("GPU {adapter} failed ({reason}); the rest was folded on the CPU"));
        let Engine::Gpu(gpu) = std::mem::take(self) else { return Vec::new() };
        let mut batches = Vec::new();
        // Dropping a broken device may panic in its driver.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches = gpu.abandon()));
        batches
    }

    fn run_on_gpu(&mut self, batch: Batch, jobs: &[Job<'_>], settle: &mut Settle<'_>) -> Result<()> {
        while matches!(self, Engine::Gpu(gpu) if !gpu.has_room()) {
            self.collect(jobs, settle)?;
        }
        let Engine::Gpu(gpu) = self else { return run_on_cpu(&batch, jobs, settle) };
        let started = Instant::now();
        let scales = super::BatchScales::of(&batch, jobs);
        let submitted = gpu.submit(batch, &scales);
        settle.stats.compute += started.elapsed();
        let Err(refused) = submitted else { return Ok(()) };
        let under_way = self.give_up(&refused.error.to_string(), &mut settle.stats.warnings);
        under_way.iter().chain([&refused.batch]).try_for_each(|batch| run_on_cpu(batch, jobs, settle))
    }

    /// Takes the oldest batch off the GPU and settles it; `false` if there is none.
    fn collect(&mut self, jobs: &[Job<'_>], settle: &mut Settle<'_>) -> Result<bool> {
        let Engine::Gpu(gpu) = self else { return Ok(false) };
        let started = Instant::now();
        let collected = gpu.collect();
        settle.stats.compute += started.elapsed();
        match collected {
            Ok(None) => Ok(false),
            Ok(Some((batch, folded))) => {
                let trusted = settle.gpu_batch(&batch, &folded)?;
                if !trusted {
                    let reason = "its results differ from the CPU's";
                    let under_way = self.give_up(reason, &mut settle.stats.warnings);
                    under_way.iter().try_for_each(|batch| run_on_cpu(batch, jobs, settle))?;
                }
                Ok(true)
            }
            Err(error) => {
                let under_way = self.give_up(&error.to_string(), &mut settle.stats.warnings);
                under_way.iter().try_for_each(|batch| run_on_cpu(batch, jobs, settle))?;
                Ok(false)
            }
        }
    }
}
