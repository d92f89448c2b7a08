//! 3 FOLD: all cores at work on a list of pieces.
//!
//! In: pieces and what to do with one. Out: the workers' statistics, or the error of the first piece that failed.

use super::{FoldStats, PIECE_BYTES};
use crate::error::Result;
use crate::parallel;

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
    let workers = parallel::each(pieces, threads, Worker::new, |worker, _, piece| work(worker, piece))?;
    let mut stats = FoldStats::default();
    workers.into_iter().for_each(|worker| stats.merge(worker.stats));
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_all_workers_are_added_up() {
        for threads in [1, 2, 7] {
            let pieces = (0..1000u64).collect::<Vec<_>>();
            let stats = run(&pieces, threads, |worker, piece| {
                worker.stats.elements += piece;
                Ok(())
            });
            assert_eq!(stats.unwrap().elements, 999 * 1000 / 2, "{threads} threads");
        }
    }
}
