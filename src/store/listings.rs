//! STORE: what stands in folders, remembered for a moment.
//!
//! In: a folder. Out: the names in it that models ask for. Thousands of models of one folder ask the same within a second,
//! and a folder takes the longer to read the more of them there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Location, is_index};
use crate::error::Result;

/// How long an answer holds. What others do to a folder within that time could as well happen after any look at it.
const MOMENT: Duration = Duration::from_secs(1);

/// Names in one folder, sorted.
#[derive(Debug, Default)]
pub struct Names {
    /// Those of `.safetensors` files.
    pub checkpoints: Vec<String>,
    /// Those of indices of sharded checkpoints.
    pub indices: Vec<String>,
}

/// What one answer was about, by what it is asked for.
#[derive(Debug)]
pub(crate) struct Remembered<T>(Mutex<HashMap<Location, (Instant, Arc<T>)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Remembered<T> {
        Remembered(Mutex::default())
    }
}

impl<T> Remembered<T> {
    /// The answer for `place`: that of a moment ago, or what `find` finds. Who asks meanwhile waits for it.
    pub(crate) fn get(&self, place: &Location, find: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = known.get(place).filter(|(at, _)| at.elapsed() < MOMENT) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(find()?);
        known.insert(place.clone(), (Instant::now(), Arc::clone(&answer)));
        Ok(answer)
    }
}

/// Folders that were read a moment ago.
#[derive(Debug, Default)]
pub struct Listings(Remembered<Names>);

impl Listings {
    /// The names in `folder`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn names(&self, folder: &Location) -> Result<Arc<Names>> {
        self.0.get(folder, || {
            let mut found = Names::default();
            for name in folder.names()? {
                if is_index(name.as_ref()) {
                    found.indices.push(name);
                } else if name.ends_with(".safetensors") {
                    found.checkpoints.push(name);
                }
            }
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_once_in_a_moment_and_again_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (listings, place) = (Listings::default(), Location::from(folder.path()));
        let count = || listings.names(&place).unwrap().checkpoints.len();
        let began = Instant::now();
        assert_eq!(count(), 0);
        std::fs::write(folder.path().join("a.safetensors"), "").unwrap();
        while count() == 0 {
            assert!(began.elapsed() < 30 * MOMENT);
            std::thread::sleep(MOMENT / 20);
        }
        assert!(began.elapsed() >= MOMENT);
        let gone = Location::from(folder.path().join("none"));
        assert!(listings.names(&gone).is_err() && listings.names(&gone).is_err());
    }
}
