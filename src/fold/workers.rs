//! 3 FOLD: all cores at work on a list of pieces.
//!
//! In: pieces and what to do with one. Out: the workers' statistics, or the error of the first piece that failed; which
//! error that is does not depend on the threads' timing as long as only one piece fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{FoldStats, PIECE_BYTES};
use crate::error::Result;

/// What a thread keeps from piece to piece: buffers, reused, and statistics. Buffers are made of `u64`, so that elements
/// of every type are aligned in them.
#[derive(Debug)]
pub(super) struct Worker {
    stored: Vec<u64>,
    folded: Vec<u64>,
    pub(super) stats: FoldStats,
}

impl Worker {
    pub(super) fn new() -> Worker {
        Worker { stored: vec![0; PIECE_BYTES / 8], folded: vec![0; PIECE_BYTES / 8], stats: FoldStats::default() }
    }

    /// Room for `stored` and `folded` bytes of a piece.
    pub(super) fn buffers(&mut self, stored: usize, folded: usize) -> (&mut [u8], &mut [u8], &mut FoldStats) {
        // A conversion to a wider type needs more room than a stored piece takes.
        self.folded.resize(self.folded.len().max(folded.div_ceil(8)), 0);
        let Worker { stored: stored_buffer, folded: folded_buffer, stats } = self;
        let stored = &mut bytemuck::cast_slice_mut(stored_buffer)[..stored];
        (stored, &mut bytemuck::cast_slice_mut(folded_buffer)[..folded], stats)
    }
}

/// Runs `work` on every piece, on `threads` threads.
pub(super) fn run<P: Sync>(
    pieces: &[P],
    threads: usize,
    work: impl Fn(&mut Worker, &P) -> Result<()> + Sync,
) -> Result<FoldStats> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let one = || {
        let mut worker = Worker::new();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(index) else { break };
            if let Err(error) = work(&mut worker, piece) {
                stop.store(true, Ordering::Relaxed);
                return Err((index, error));
            }
        }
        Ok(worker.stats)
    };
    let threads = threads.min(pieces.len());
    let results = match threads {
        0 => Vec::new(),
        // A thread less to start: most small models are done before a second one would be.
        1 => vec![one()],
        _ => std::thread::scope(|scope| {
            let others = (1..threads).map(|_| scope.spawn(one)).collect::<Vec<_>>();
            let mut results = vec![one()];
            results.extend(
                others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            results
        }),
    };
    let mut stats = FoldStats::default();
    let mut failed: Option<(usize, crate::Error)> = None;
    for result in results {
        match result {
            Ok(worker) => stats.merge(worker),
            Err(error) if failed.as_ref().is_none_or(|(index, _)| error.0 < *index) => failed = Some(error),
            Err(_) => {}
        }
    }
    match failed {
        Some((_, error)) => Err(error),
        None => Ok(stats),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn every_piece_is_worked_on_once() {
        for threads in [1, 2, 7] {
            let pieces = (0..1000u64).collect::<Vec<_>>();
            let stats = run(&pieces, threads, |worker, piece| {
                worker.stats.elements += piece;
                Ok(())
            });
            assert_eq!(stats.unwrap().elements, 999 * 1000 / 2, "{threads} threads");
        }
        assert_eq!(run(&[0u64; 0], 4, |_, _| Err(Error::Interrupted)).unwrap(), FoldStats::default());
    }

    #[test]
    fn an_error_ends_the_run() {
        let pieces = (0..100usize).collect::<Vec<_>>();
        let failing = |_: &mut Worker, piece: &usize| if *piece == 40 { Err(Error::Interrupted) } else { Ok(()) };
        assert!(matches!(run(&pieces, 3, failing), Err(Error::Interrupted)));
    }
}
