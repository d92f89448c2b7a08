//! 6 REPORT: one number per channel, in short.
//!
//! In: a number of every channel of a layer. Out: their [`Spread`], and the [`Channels`] for which something holds.

use serde::{Deserialize, Serialize};

use super::read;

/// Channels that are listed by number; their count is always whole.
const LISTED: usize = 32;

/// Magnitudes of one number per channel. A value that is not finite is `null` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Smallest.
    #[serde(deserialize_with = "read::number")]
    pub min: f64,
    /// Median: the upper one of an even number.
    #[serde(deserialize_with = "read::number")]
    pub median: f64,
    /// Largest.
    #[serde(deserialize_with = "read::number")]
    pub max: f64,
}

/// Some channels of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Channels {
    /// How many.
    pub count: u64,
    /// The first of them, by number.
    pub first: Vec<u64>,
}

impl Spread {
    /// Of the magnitudes of `values`; zeros if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values = values.into_iter().map(f64::abs).collect::<Vec<_>>();
        if values.is_empty() {
            return Spread { min: 0.0, median: 0.0, max: 0.0 };
        }
        let middle = values.len() / 2;
        let (below, &mut median, above) = values.select_nth_unstable_by(middle, f64::total_cmp);
        let min = below.iter().copied().fold(median, f64::min);
        Spread { min, median, max: above.iter().copied().fold(median, f64::max) }
    }
}

impl Channels {
    /// The channels of `values` that `are` such.
    pub fn that<T: Copy>(values: impl IntoIterator<Item = T>, are: impl Fn(T) -> bool) -> Channels {
        let mut found = Channels::default();
        for (channel, _) in (0..).zip(values).filter(|&(_, value)| are(value)) {
            found.count += 1;
            if found.first.len() < LISTED {
                found.first.push(channel);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_magnitudes() {
        assert_eq!(Spread::of([-3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, -2.0, 3.0]), Spread { min: 1.0, median: 3.0, max: 4.0 });
        assert_eq!(Spread::of([]), Spread { min: 0.0, median: 0.0, max: 0.0 });
    }

    #[test]
    fn channels_are_counted_whole_and_listed_in_part() {
        let channels = Channels::that(0..100, |channel| channel % 2 == 1);
        assert_eq!((channels.count, channels.first.len(), channels.first[1]), (50, LISTED, 3));
    }
}
