//! STORE: blocks of remote objects, fetched once and kept for a while.
//!
//! In: reads of any size, from many threads. Out: the same from aligned blocks of [`BLOCK`] bytes, so that small reads
//! cost no request each. All objects share one cache of [`CAPACITY`] blocks, whatever their number and size; the block
//! that was not asked for longest goes first. Who reads on from one block into the next finds it on its way already.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::bucket::runtime;
use crate::error::Result;

/// Bytes of a block: enough that the time to its first byte does not matter.
pub(super) const BLOCK: u64 = 8 << 20;

/// Blocks kept, of all objects together: 256 MiB.
const CAPACITY: usize = 32;

/// Blocks fetched ahead of a reader.
const AHEAD: u64 = 2;

// Each of the readers has the block that it reads and those ahead of it.
const _: () = assert!(super::READERS as u64 * (1 + AHEAD) <= CAPACITY as u64);

/// A block, there or on its way. The bytes or what went wrong.
pub(super) type Block = Arc<OnceLock<object_store::Result<Vec<u8>>>>;

/// Object and number of the block.
type Key = (u64, u64);

struct Cache<T> {
    blocks: BTreeMap<Key, (T, u64)>,
    clock: u64,
}

/// One for the process: the bound is one on its memory, however many models and objects are open.
static CACHE: Mutex<Cache<Block>> = Mutex::new(Cache::new());

fn cache() -> MutexGuard<'static, Cache<Block>> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The block of that number of `object`, which has `count` blocks. `fetch` gets the bytes of one.
pub(super) fn get<F, R>(object: u64, number: u64, count: u64, fetch: F) -> Result<Block>
where
    F: Fn(u64) -> R,
    R: Future<Output = object_store::Result<Vec<u8>>> + Send + 'static,
{
    let runtime = runtime()?;
    let start = |number| {
        let (block, fetch) = (Block::default(), fetch(number));
        let filled = Arc::clone(&block);
        runtime.spawn(async move {
            // A task of its own: should it panic, those who wait are told.
            let fetched = tokio::spawn(fetch).await.unwrap_or_else(|panic| Err(panic.into()));
            let _ = filled.set(fetched);
        });
        block
    };
    let mut cache = cache();
    let reads_on = number > 0 && cache.blocks.contains_key(&(object, number - 1));
    let block = cache.get((object, number), || start(number));
    if reads_on {
        for next in (number + 1..count).take(usize::try_from(AHEAD).unwrap_or(0)) {
            cache.get((object, next), || start(next));
        }
    }
    Ok(block)
}

/// Forgets a block, so that it is fetched anew: it could not be fetched.
pub(super) fn forget(object: u64, number: u64) {
    cache().blocks.remove(&(object, number));
}

/// Forgets everything of an object.
pub(super) fn forget_all(object: u64) {
    cache().blocks.retain(|&(other, _), _| other != object);
}

impl<T: Clone> Cache<T> {
    const fn new() -> Cache<T> {
        Cache { blocks: BTreeMap::new(), clock: 0 }
    }

    /// What is kept under `key`, or what `make` makes of it.
    fn get(&mut self, key: Key, make: impl FnOnce() -> T) -> T {
        self.clock += 1;
        if let Some((block, used)) = self.blocks.get_mut(&key) {
            *used = self.clock;
            return block.clone();
        }
        while self.blocks.len() >= CAPACITY {
            let oldest = self.blocks.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            oldest.map(|key| self.blocks.remove(&key));
        }
        let block = make();
        self.blocks.insert(key, (block.clone(), self.clock));
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::new();
        let mut made = Vec::new();
        for number in 0..100 {
            for wanted in [0, number] {
                cache.get((7, wanted), || made.push(wanted));
            }
        }
        assert_eq!(made, (0..100).collect::<Vec<_>>(), "block 0 is used all the time and stays");
        assert_eq!(cache.blocks.len(), CAPACITY);
        cache.get((7, 1), || made.push(1));
        assert_eq!(made.last(), Some(&1), "what was not used for long is gone");
    }
}
