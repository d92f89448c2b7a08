//! ZOO: a part of a zoo, for one of several machines.
//!
//! In: `--shard I/N` and a model's place. Out: whether it is this run's. The place alone decides, by a hash that is the
//! same everywhere, so that N runs that know nothing of each other fold every model once.

use std::path::Path;
use std::str::FromStr;

/// Part `index` of `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    index: u64,
    count: u64,
}

impl Share {
    /// Whether the model or file at `place` (relative to the output folder) belongs to this part.
    pub fn holds(self, place: &Path) -> bool {
        // Separators differ between systems, components do not.
        let mut hasher = blake3::Hasher::new();
        for component in place.components() {
            hasher.update(component.as_os_str().as_encoded_bytes());
            hasher.update(b"/");
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first) % self.count == self.index
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let expected = || "expected I/N with I from 0 to N-1, for example 0/8".to_owned();
        let (index, count) = text.split_once('/').ok_or_else(expected)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
        let share = Share { index: number(index)?, count: number(count)? };
        if share.index < share.count { Ok(share) } else { Err(expected()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_parsed_or_refused() {
        assert_eq!("2/3".parse(), Ok(Share { index: 2, count: 3 }));
        for wrong in ["3/3", "0/0", "1", "a/2", "-1/2", "1/", ""] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_model_belongs_to_one_part_and_parts_are_even() {
        let places = (0..1000).map(|n| format!("zoo/model-{n}.safetensors")).collect::<Vec<_>>();
        let sizes = (0..4).map(|index| {
            let share = Share { index, count: 4 };
            places.iter().filter(|place| share.holds(Path::new(place))).count()
        });
        let sizes = sizes.collect::<Vec<_>>();
        assert_eq!(sizes.iter().sum::<usize>(), 1000);
        assert!(sizes.iter().all(|size| (200..300).contains(size)), "{sizes:?}");
    }

    /// A job array may run on machines of several kinds, and be continued years later.
    #[test]
    fn the_hash_is_fixed() {
        let part = |place: &str| (0..8).find(|&index| Share { index, count: 8 }.holds(Path::new(place)));
        assert_eq!(["a.safetensors", "x/b.safetensors", "x/y/c.safetensors"].map(part), [Some(6), Some(5), Some(3)]);
    }
}
