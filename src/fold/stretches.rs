//! 3 FOLD: a weight's elements in stretches that one loop can take, each with the scales that belong to it.
//!
//! In: the runs of a weight, from whoever tells its channels, and one scale per channel. Out: calls of [`Take::take`],
//! which together cover every element once, in order. The CPU path and the quick check both walk like this; their runs
//! come from different sources (the channel map, the oracle's coordinates), so that one does not judge itself.

use std::ops::Range;

use crate::network::channels::Run;

/// Elements that are given a scale each at a time: the scales stay in the innermost cache.
pub(super) const CHUNK: usize = 1024;

/// Runs shorter than this (those of depthwise and transposed convolutions) are not taken one by one.
const SHORT: usize = 32;

/// The scales of neighbouring elements.
#[derive(Debug, Clone, Copy)]
pub(super) enum Factors<'a, S> {
    /// One for all of them.
    All(S),
    /// One each.
    Each(&'a [S]),
}

/// What is done with neighbouring elements.
pub(super) trait Take<S> {
    /// `elements` counts from the first element that is walked over.
    fn take(&mut self, elements: Range<usize>, factors: Factors<'_, S>);
}

/// Walks over `runs`, of which a whole one has `run_len` elements. All of it is inlined, to be compiled with its caller for
/// several processors.
#[inline(always)]
pub(super) fn walk<S: Copy + Default>(
    runs: impl Iterator<Item = Run>,
    run_len: u64,
    scales: &[S],
    work: &mut impl Take<S>,
) {
    if run_len < SHORT as u64 { gathered(runs, scales, work) } else { one_by_one(runs, scales, work) }
}

#[inline(always)]
fn one_by_one<S: Copy>(runs: impl Iterator<Item = Run>, scales: &[S], work: &mut impl Take<S>) {
    let mut begin = 0;
    for Run { channel, len, moving } in runs {
        match moving {
            true => work.take(begin..begin + len, Factors::Each(&scales[channel..channel + len])),
            false => work.take(begin..begin + len, Factors::All(scales[channel])),
        }
        begin += len;
    }
}

/// Gathers runs until they make a chunk, with the scale of every element beside it.
#[inline(always)]
fn gathered<S: Copy + Default>(runs: impl Iterator<Item = Run>, scales: &[S], work: &mut impl Take<S>) {
    let mut each = [S::default(); CHUNK + 2 * SHORT];
    let (mut begin, mut filled) = (0, 0);
    for Run { channel, len, moving } in runs {
        match moving {
            true => each[filled..filled + len].copy_from_slice(&scales[channel..channel + len]),
            // More than the run takes, so that the compiler knows the length; the next run overwrites it.
            false => each[filled..filled + SHORT].fill(scales[channel]),
        }
        filled += len;
        if filled >= CHUNK {
            work.take(begin..begin + filled, Factors::Each(&each[..filled]));
            (begin, filled) = (begin + filled, 0);
        }
    }
    work.take(begin..begin + filled, Factors::Each(&each[..filled]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::channels::ChannelMap;

    /// Writes down the scale of every element.
    struct Seen(Vec<usize>);

    impl Take<usize> for Seen {
        fn take(&mut self, elements: Range<usize>, factors: Factors<'_, usize>) {
            assert_eq!(elements.start, self.0.len(), "elements come in order, and each once");
            match factors {
                Factors::All(scale) => self.0.extend(elements.map(|_| scale)),
                Factors::Each(scales) => {
                    assert_eq!(scales.len(), elements.len());
                    self.0.extend(scales);
                }
            }
        }
    }

    #[test]
    fn every_element_comes_once_with_the_scale_of_its_channel() {
        let map = |inner, row, repeats| ChannelMap { inner, row, repeats, groups: 1 };
        let maps = [
            map(9, 300, 1),
            map(1, 31, 70),
            map(31, 40, 3),
            map(32, 40, 3),
            map(33, 5, 1),
            map(1, 32, 70),
            map(1, 2000, 2),
            map(4608, 2, 1),
            map(1, 1, CHUNK as u64),
            map(16, CHUNK as u64 / 8, 1),
        ];
        for map in maps {
            let all = map.inner * map.row * map.repeats;
            let scales = (0..map.row as usize).map(|channel| 1000 + channel).collect::<Vec<_>>();
            for first in [0, 1, 30, all / 2, all - 1, all] {
                let mut seen = Seen(Vec::new());
                walk(map.runs(first, (all - first) as usize), map.run_len(), &scales, &mut seen);
                let expected = (first..all).map(|index| scales[map.channel(index) as usize]);
                assert!(seen.0.iter().copied().eq(expected), "{map:?} from {first}");
            }
        }
    }
}
