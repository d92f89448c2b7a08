//! Several threads at work on one list; no stage of its own.
//!
//! In: items and what to do with one. Out: what the threads made of them, or the error of the first item that failed;
//! which error that is does not depend on the threads' timing as long as only one item fails.

use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, Result};

/// As many threads as the process may run at once. Asked once: the system's answer takes files of several control groups.
pub(crate) fn all_cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Does both, at the same time if there are at least two `threads` and the system starts another one.
pub(crate) fn both<A, B: Send>(threads: usize, one: impl FnOnce() -> A, other: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let started = (threads > 1).then(|| thread::Builder::new().spawn_scoped(scope, &other).ok()).flatten();
        let first = one();
        let second = match started {
            Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => other(),
        };
        (first, second)
    })
}

/// Does `work` on every item, on at most `threads` threads. Each of them takes the next item when it is done with one, and
/// keeps a state of its own, made by `state`; the states are returned, in no order.
pub(crate) fn each<'t, T: Sync, S: Send>(
    items: &'t [T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &'t T) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let one = || {
        let mut state = state();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            if let Err(error) = work(&mut state, index, item) {
                stop.store(true, Ordering::Relaxed);
                return Err((index, error));
            }
        }
        Ok(state)
    };
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let results = thread::scope(|scope| {
        // Where the system starts no more of them, fewer do the work.
        let start = |_| thread::Builder::new().spawn_scoped(scope, one).ok();
        let others = (1..threads.min(items.len())).map_while(start).collect::<Vec<_>>();
        // This thread works, too: most small models are done before another one would have begun.
        let mut results = vec![one()];
        results.extend(others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        results
    });
    let mut states = Vec::new();
    let mut failed: Option<(usize, Error)> = None;
    for result in results {
        match result {
            Ok(state) => states.push(state),
            Err(error) if failed.as_ref().is_none_or(|(index, _)| error.0 < *index) => failed = Some(error),
            Err(_) => {}
        }
    }
    match failed {
        Some((_, error)) => Err(error),
        None => Ok(states),
    }
}

/// What `work` makes of every item, in the order of the items.
pub(crate) fn map<'t, T: Sync, R: Send>(
    items: &'t [T],
    threads: usize,
    work: impl Fn(&'t T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let states = each(items, threads, Vec::new, |made, index, item| {
        made.push((index, work(item)?));
        Ok(())
    })?;
    let mut made = states.into_iter().flatten().collect::<Vec<_>>();
    made.sort_unstable_by_key(|&(index, _)| index);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_its_place() {
        let items = (0..1000u64).collect::<Vec<_>>();
        let squares = items.iter().map(|item| item * item).collect::<Vec<_>>();
        for threads in [0, 1, 2, 7] {
            assert_eq!(map(&items, threads, |item| Ok(item * item)).unwrap(), squares, "{threads} threads");
            let sums = each(
                &items,
                threads,
                || 0,
                |sum, _, item| {
                    *sum += item;
                    Ok(())
                },
            );
            assert_eq!(sums.unwrap().into_iter().sum::<u64>(), 999 * 1000 / 2, "{threads} threads");
        }
        assert_eq!(map(&[0u64; 0], 4, |_| Err::<(), _>(Error::Interrupted)).unwrap(), []);
    }

    #[test]
    fn results_of_threads_that_take_turns_are_in_the_items_order() {
        // Nobody takes the next item before the other one has had its own.
        let both = std::sync::Barrier::new(2);
        let turns = |&item: &usize| {
            both.wait();
            Ok(item)
        };
        let items = (0..100).collect::<Vec<_>>();
        assert_eq!(map(&items, 2, turns).unwrap(), items);
    }

    #[test]
    fn both_are_done_whatever_the_threads() {
        let here = thread::current().id();
        let who = || thread::current().id();
        assert_eq!(both(1, who, who), (here, here));
        let (one, other) = both(2, who, who);
        assert_eq!(one, here);
        assert_ne!(other, here, "there was a thread for it");
    }

    #[test]
    fn an_error_ends_the_work() {
        let items = (0..100usize).collect::<Vec<_>>();
        let failing = |item: &usize| if *item == 40 { Err(Error::Interrupted) } else { Ok(()) };
        assert!(matches!(map(&items, 3, failing), Err(Error::Interrupted)));
    }
}
