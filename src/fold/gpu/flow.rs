//! 3 FOLD, GPU: a model's way through the engine, on all threads.
//!
//! In: the pieces of one model. Out: the folded pieces, through the gate; what is left for the CPU, and why, if the device
//! failed. The threads live for the length of the fold. Each of them does what is most urgent: fill a slot that is free (read,
//! upload, submit), so that the device is never idle, or else settle the oldest batch (wait, check against the CPU, write).
//! Nothing of the model is under way on the device afterwards, whatever happened.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::batch::Batch;
use super::slot::Slot;
use super::{GpuEngine, UnderWay};
use crate::error::Result;
use crate::fold::gate::Gate;
use crate::fold::workers::{self, Worker};
use crate::fold::{FoldStats, Piece};

/// What became of the pieces.
pub(in crate::fold) struct Flown {
    /// What the threads found.
    pub(in crate::fold) stats: FoldStats,
    /// Pieces that did not reach the gate, since the device failed.
    pub(in crate::fold) left: Vec<Piece>,
}

/// A model on its way.
struct Flow<'a> {
    engine: &'a GpuEngine,
    gate: &'a Gate<'a>,
    /// The most bytes of a batch.
    most: usize,
    /// Locked after the engine's free slots where both are.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is still to be read.
    queue: VecDeque<Piece>,
    /// Batches that are being read.
    filling: usize,
    /// Batches on the device, the oldest first.
    under_way: VecDeque<UnderWay>,
    /// Pieces of batches that the device failed with.
    left: Vec<Piece>,
    /// A thread failed, and the model with it.
    stopped: bool,
}

/// What a thread does next.
enum Step {
    Fill(Slot, Batch),
    Settle(UnderWay),
    Leave,
}

impl GpuEngine {
    /// Folds `pieces`, all of them of weights that it can fold. An `Err` is the model's; a failure of the device is in
    /// [`GpuEngine::failure`] afterwards.
    pub(in crate::fold) fn fold(&self, pieces: VecDeque<Piece>, gate: &Gate<'_>) -> Result<Flown> {
        let bytes: usize = pieces.iter().map(|piece| piece.elements * gate.jobs[piece.job].to.bytes()).sum();
        let most = self.batch_bytes(bytes);
        let flow = Flow { engine: self, gate, most, state: Mutex::new(State { queue: pieces, ..State::default() }) };
        let threads = gate.options.threads.clamp(1, bytes.div_ceil(most).max(1));
        let found = workers::run(&vec![(); threads], threads, |worker, ()| flow.work(worker));
        let left = flow.land();
        Ok(Flown { stats: found?.per_thread(threads), left })
    }
}

impl Flow<'_> {
    /// One thread's work, from the first step to the last.
    fn work(&self, worker: &mut Worker) -> Result<()> {
        // Whatever ends this thread early, a panic too, ends the others, who may be waiting for it.
        let stop = Stop(self);
        loop {
            match self.next() {
                Step::Fill(slot, batch) => self.fill(worker, slot, batch)?,
                Step::Settle(under_way) => self.settle(worker, under_way)?,
                Step::Leave => break,
            }
        }
        std::mem::forget(stop);
        Ok(())
    }

    /// Waits until there is something to do.
    fn next(&self) -> Step {
        let mut free = self.engine.free();
        loop {
            let mut state = self.state();
            if state.stopped || self.engine.failure().is_some() {
                return Step::Leave;
            }
            if !state.queue.is_empty()
                && let Some(slot) = free.pop()
            {
                state.filling += 1;
                return Step::Fill(slot, Batch::take(&mut state.queue, self.gate.jobs, self.most));
            }
            if let Some(oldest) = state.under_way.pop_front() {
                return Step::Settle(oldest);
            }
            if state.queue.is_empty() && state.filling == 0 {
                return Step::Leave;
            }
            drop(state);
            free = self.engine.wait(free);
        }
    }

    /// Reads a batch into a slot and submits it.
    fn fill(&self, worker: &mut Worker, slot: Slot, batch: Batch) -> Result<()> {
        self.gate.options.check_cancelled()?;
        let started = Instant::now();
        let mut reading = std::time::Duration::ZERO;
        let read = |piece: Piece, stored: &mut [u8]| {
            let started = Instant::now();
            let read = piece.read(self.gate.checkpoint, self.gate.jobs, stored);
            reading += started.elapsed();
            read
        };
        let submitted = self.engine.submit(slot, batch, self.gate.jobs, read);
        worker.stats.read += reading;
        worker.stats.compute += started.elapsed().saturating_sub(reading);
        let mut state = self.state();
        state.filling -= 1;
        match submitted? {
            Ok(under_way) => state.under_way.push_back(under_way),
            Err(batch) => state.left.extend(batch.places().map(|(piece, _)| piece)),
        }
        drop(state);
        self.engine.wake();
        Ok(())
    }

    /// Waits for a batch and hands its pieces to the gate.
    fn settle(&self, worker: &mut Worker, under_way: UnderWay) -> Result<()> {
        let started = Instant::now();
        let result = self.engine.collect(&under_way);
        worker.stats.compute += started.elapsed();
        let UnderWay { slot, batch, .. } = under_way;
        let Some(result) = result else {
            self.state().left.extend(batch.places().map(|(piece, _)| piece));
            return Ok(());
        };
        let kernel = slot.kernel_time(&result);
        worker.stats.add_kernel(kernel);
        let mut differs = false;
        let settled = batch.places().try_for_each(|(piece, range)| {
            let (stored, folded) = (&slot.stored()[range.clone()], &result[range]);
            differs |= !self.gate.gpu_piece(worker, &piece, stored, folded)?;
            Ok(())
        });
        drop(result);
        if differs {
            self.engine.fail("its results differ from the CPU's");
        }
        self.engine.release(slot);
        settled
    }

    /// Waits for what is still on the device after an error, and returns the pieces that the gate did not see.
    fn land(self) -> Vec<Piece> {
        let State { queue, under_way, mut left, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        left.extend(queue);
        for under_way in under_way {
            left.extend(under_way.batch.places().map(|(piece, _)| piece));
            if self.engine.collect(&under_way).is_some() {
                self.engine.release(under_way.slot);
            }
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the other threads' waiting when it is dropped.
struct Stop<'a, 'f>(&'a Flow<'f>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.engine.wake();
    }
}
