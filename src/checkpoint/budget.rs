//! 1 READ: how many bytes of headers are in memory at a time, over all models under way.
//!
//! In: what a model's headers take. Out: a [`Share`], for as long as the model is open. Indexes have a budget of their own: one
//! has to be read before it is known how long the headers of its shards are. Who holds a share of the headers never waits
//! for another one, and who holds a share of the indexes only waits for such a one, so that somebody always goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::HEADER_LIMIT;

/// The budgets of a run.
#[derive(Debug, Clone)]
pub struct HeaderBudget {
    pub(super) indexes: Arc<Pool>,
    pub(super) headers: Arc<Pool>,
}

impl Default for HeaderBudget {
    /// As much as one model may take: those of thousands of real ones.
    fn default() -> HeaderBudget {
        HeaderBudget { indexes: Arc::new(Pool::new(HEADER_LIMIT)), headers: Arc::new(Pool::new(HEADER_LIMIT)) }
    }
}

/// Bytes that are shared.
#[derive(Debug)]
pub(super) struct Pool {
    limit: u64,
    taken: Mutex<u64>,
    returned: Condvar,
}

impl Pool {
    fn new(limit: u64) -> Pool {
        Pool { limit, taken: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until `bytes` are free. Who wants more than there is waits until all others have given theirs back.
    pub(super) fn take(self: &Arc<Pool>, bytes: u64) -> Share {
        let mut taken = self.taken();
        while *taken > 0 && taken.saturating_add(bytes) > self.limit {
            taken = self.returned.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = taken.saturating_add(bytes);
        Share { pool: self.clone(), bytes }
    }

    fn taken(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.pool.taken();
        *taken = taken.saturating_sub(self.bytes);
        drop(taken);
        self.pool.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_but_by_one_alone() {
        let (pool, now, most) = (Arc::new(Pool::new(10)), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (pool, now, most) = (&pool, &now, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = if (thread, round % 50) == (3, 0) { 25 } else { 1 + (thread + round) % 4 };
                        let share = pool.take(bytes);
                        let taken = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(taken <= 10 || taken == 25, "{taken} of 10 bytes are taken");
                        most.fetch_max(taken, Ordering::SeqCst);
                        now.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), *pool.taken()), (25, 0), "who wants too much has its turn");
    }
}
