//! How many files may be open at once; no stage of its own.
//!
//! In: the system's limit. Out: a higher one, where the system lets a process choose; a budget, of which every model takes
//! its part for as long as it is under way, so that many at a time do not take the files from each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Open files that nobody has counted: a listing, a lock, what a driver needs.
const MARGIN: u64 = 4;

/// What a process may choose on macOS, whatever it is told.
#[cfg(unix)]
const MOST: u64 = 10_240;

/// Raises the limit as far as the system lets a process choose: 1024, or 256 on macOS, are defaults for programs that wait on
/// their files by numbers below that. Where it cannot be raised, it stays.
pub fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let set = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum });
        let Some(current) = current else { return };
        if set(maximum).is_err() {
            let most = maximum.map_or(MOST, |maximum| maximum.min(MOST)).max(current);
            let _ = set(Some(most));
        }
    }
}

/// Files that may be open at once, shared by the models under way.
#[derive(Debug)]
pub(crate) struct Budget {
    all: u64,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    free: u64,
    /// Who comes next, and the number of the next one to come: a model of many files is not passed by for ever.
    next: u64,
    last: u64,
}

impl Budget {
    /// What this process may still open.
    pub(crate) fn of_process() -> Budget {
        Budget::new(limit().saturating_sub(open_now() + MARGIN))
    }

    fn new(all: u64) -> Budget {
        let state = Mutex::new(State { free: all, next: 0, last: 0 });
        Budget { all, state, returned: Condvar::new() }
    }

    /// Waits for `wanted` files. Who needs more than there are gets all of them, and finds out.
    pub(crate) fn take(&self, wanted: u64) -> Part<'_> {
        let is_enough = wanted <= self.all;
        let wanted = wanted.min(self.all);
        let mut state = self.state();
        let number = state.last;
        state.last += 1;
        while state.next != number || state.free < wanted {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.next += 1;
        state.free -= wanted;
        drop(state);
        self.returned.notify_all();
        Part { budget: self, files: wanted, is_enough }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the budget, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Part<'b> {
    budget: &'b Budget,
    files: u64,
    /// Whether it is as much as was wanted: only then waiting helps whom files fail all the same.
    pub(crate) is_enough: bool,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.budget.state().free += self.files;
        self.budget.returned.notify_all();
    }
}

/// The limit in force.
#[cfg(unix)]
fn limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
fn limit() -> u64 {
    u64::MAX
}

/// Files that are open, as far as the system tells.
fn open_now() -> u64 {
    let names = crate::store::names_in(std::path::Path::new("/proc/self/fd"));
    names.map_or(8, |names| names.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_nobody_is_passed_by() {
        let budget = Budget::new(10);
        let (taken, most, served) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for wanted in [3, 10, 99, 1, 4].repeat(20) {
                let (budget, taken, most, served) = (&budget, &taken, &most, &served);
                scope.spawn(move || {
                    let part = budget.take(wanted);
                    let now = taken.fetch_add(part.files, Ordering::SeqCst) + part.files;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    taken.fetch_sub(part.files, Ordering::SeqCst);
                    served.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!((most.into_inner(), served.into_inner()), (10, 100));
        assert_eq!(budget.state().free, 10);
    }
}
