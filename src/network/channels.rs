//! Channel maps: which output channel an element of a weight belongs to, for every layout a checkpoint can hold.
//!
//! In: an [`Axis`], a shape and the number of output channels. Out: a [`ChannelMap`], three numbers that say it all:
//!
//! ```text
//! channel(i) = (i / (inner * row * repeats)) * row + (i / inner) % row
//! ```
//!
//! where `i` is the element's flat index (row-major). `inner` neighbours share a channel, `row` channels follow each
//! other, and the row is repeated `repeats` times before the next `row` channels begin.

/// Where a framework keeps a weight's output channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// `[O, ...]`: convolutions and linears of PyTorch, candle, MLX, burn; depthwise and grouped ones too.
    First,
    /// `[I, O/g, k...]`: transposed convolutions of PyTorch. Channel = group * (O/g) + index on the second axis.
    SecondGrouped,
    /// `[k..., I, O]`: convolutions and dense layers of Keras, TF, Flax, Haiku.
    Last,
    /// `[k..., C, M]`: depthwise convolutions of Keras and TF. Channel = c * M + m.
    LastTwo,
    /// `[k..., O, I]`: transposed convolutions of Keras.
    SecondLast,
}

impl Axis {
    /// All of them.
    pub const ALL: [Axis; 5] = [Axis::First, Axis::SecondGrouped, Axis::Last, Axis::LastTwo, Axis::SecondLast];
}

/// From flat index to output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelMap {
    /// Neighbouring elements of one channel.
    pub inner: u64,
    /// Channels that follow each other.
    pub row: u64,
    /// How often the row comes again before the next channels begin.
    pub repeats: u64,
    /// Groups of a transposed convolution (1 for everything else).
    pub groups: u64,
}

impl ChannelMap {
    /// The map of a weight of `shape` with its output channels on `axis`; `None` if it cannot have `channels` of them.
    pub fn new(axis: Axis, shape: &[u64], channels: u64) -> Option<ChannelMap> {
        let product = |dims: &[u64]| dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let map = |inner, row, repeats, groups| ChannelMap { inner, row, repeats, groups };
        match (axis, shape) {
            (Axis::First, &[out, ref rest @ ..]) if out == channels => Some(map(product(rest)?, out, 1, 1)),
            (Axis::SecondGrouped, &[input, per_group, ref kernel @ ..]) if !kernel.is_empty() => {
                let groups = channels.checked_div(per_group).filter(|&groups| groups > 0)?;
                let fits = groups * per_group == channels && input % groups == 0;
                fits.then_some(map(product(kernel)?, per_group, input / groups, groups))
            }
            (Axis::Last, &[ref rest @ .., out]) if out == channels => Some(map(1, out, product(rest)?, 1)),
            (Axis::LastTwo, &[ref kernel @ .., input, multiplier]) if !kernel.is_empty() => {
                let fits = input.checked_mul(multiplier)? == channels;
                fits.then_some(map(1, channels, product(kernel)?, 1))
            }
            (Axis::SecondLast, &[ref kernel @ .., out, input]) if out == channels && !kernel.is_empty() => {
                Some(map(input, out, product(kernel)?, 1))
            }
            _ => None,
        }
    }

    /// The output channel of element `index`. For single look-ups; loops walk rows instead.
    pub fn channel(&self, index: u64) -> u64 {
        let block = self.inner * self.row * self.repeats;
        index / block * self.row + index / self.inner % self.row
    }

    /// Elements of a whole run.
    pub fn run_len(&self) -> u64 {
        if self.inner == 1 { self.row } else { self.inner }
    }

    /// The elements `first .. first + elements` as runs: neighbours of one channel, or of consecutive channels where
    /// each element has its own (`inner` = 1).
    pub fn runs(self, first: u64, elements: usize) -> impl Iterator<Item = Run> {
        let moving = self.inner == 1;
        let [inner, row, repeats] = [self.inner, self.row, self.repeats].map(|n| n.max(1));
        // Only the first run costs divisions: short ones would be dearer to find than to multiply.
        let rows = first / (inner * row);
        let (mut step, mut repeat, mut base) = (first / inner % row, rows % repeats, rows / repeats * row);
        let mut rest = if moving { row - step } else { inner - first % inner };
        let mut left = elements;
        std::iter::from_fn(move || {
            let len = left.min(usize::try_from(rest).unwrap_or(usize::MAX));
            let run = Run { channel: usize::try_from(base + step).unwrap_or(usize::MAX), len, moving };
            (rest, left) = (if moving { row } else { inner }, left - len);
            step += 1;
            // A moving run ends with its row.
            if moving || step == row {
                (step, repeat) = (0, repeat + 1);
            }
            if repeat == repeats {
                (repeat, base) = (0, base + row);
            }
            (len > 0).then_some(run)
        })
    }
}

/// Neighbouring elements whose channels follow a simple rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Channel of the first element.
    pub channel: usize,
    /// Number of elements.
    pub len: usize,
    /// Whether the channel grows by one with each element; otherwise all share it.
    pub moving: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channel of the element at `coordinates`, as the table of layouts words it.
    fn by_definition(axis: Axis, shape: &[u64], at: &[u64], channels: u64) -> u64 {
        let n = shape.len();
        match axis {
            Axis::First => at[0],
            Axis::SecondGrouped => {
                let groups = channels / shape[1];
                at[0] / (shape[0] / groups) * shape[1] + at[1]
            }
            Axis::Last => at[n - 1],
            Axis::LastTwo => at[n - 2] * shape[n - 1] + at[n - 1],
            Axis::SecondLast => at[n - 2],
        }
    }

    #[test]
    fn every_layout_agrees_with_its_definition() {
        let cases: &[(Axis, &[u64], u64)] = &[
            (Axis::First, &[6, 3, 3, 2], 6),
            (Axis::First, &[5, 7], 5),
            (Axis::First, &[4, 1, 3, 5, 2], 4),
            (Axis::SecondGrouped, &[4, 6, 2, 3], 6),
            (Axis::SecondGrouped, &[6, 2, 3], 6),
            (Axis::SecondGrouped, &[8, 1, 3, 3], 8),
            (Axis::SecondGrouped, &[4, 2, 1, 1], 8),
            (Axis::Last, &[3, 3, 2, 5], 5),
            (Axis::Last, &[7, 5], 5),
            (Axis::LastTwo, &[3, 2, 4, 3], 12),
            (Axis::SecondLast, &[2, 3, 5, 4], 5),
        ];
        for &(axis, shape, channels) in cases {
            let map = ChannelMap::new(axis, shape, channels).unwrap_or_else(|| panic!("{axis:?} {shape:?} must fit"));
            let mut seen = vec![0; channels as usize];
            for index in 0..shape.iter().product() {
                let mut rest = index;
                let mut at = vec![0; shape.len()];
                for (coordinate, &dim) in at.iter_mut().zip(shape).rev() {
                    (*coordinate, rest) = (rest % dim, rest / dim);
                }
                let channel = map.channel(index);
                assert_eq!(channel, by_definition(axis, shape, &at, channels), "{axis:?} {shape:?} at {at:?}");
                seen[channel as usize] += 1;
            }
            assert!(seen.iter().all(|&n| n == seen[0] && n > 0), "{axis:?} {shape:?}: {seen:?}");
        }
    }

    #[test]
    fn runs_are_the_channels_one_by_one_wherever_they_begin() {
        let map = |inner, row, repeats, groups| ChannelMap { inner, row, repeats, groups };
        for map in [map(9, 5, 1, 1), map(1, 7, 3, 2), map(4, 3, 2, 3), map(1, 1, 5, 4), map(6, 1, 1, 1)] {
            let elements = map.inner * map.row * map.repeats * map.groups;
            for first in 0..elements {
                let len = (elements - first) as usize;
                let channels = map.runs(first, len).flat_map(|Run { channel, len, moving }| {
                    (0..len).map(move |step| channel + if moving { step } else { 0 })
                });
                let expected = (first..elements).map(|index| map.channel(index) as usize);
                assert!(channels.eq(expected), "{map:?} from {first}");
                assert_eq!(map.runs(first, 0).count(), 0, "no elements, no runs");
            }
        }
    }

    #[test]
    fn shapes_that_cannot_fit_are_refused() {
        assert_eq!(ChannelMap::new(Axis::First, &[8, 4, 3, 3], 4), None);
        assert_eq!(ChannelMap::new(Axis::SecondGrouped, &[8, 4], 4), None, "no kernel: a linear, not a convolution");
        assert_eq!(ChannelMap::new(Axis::SecondGrouped, &[5, 2, 3, 3], 4), None, "5 inputs in 2 groups");
        assert_eq!(ChannelMap::new(Axis::SecondGrouped, &[4, 0, 3, 3], 4), None, "no channels per group");
        assert_eq!(ChannelMap::new(Axis::LastTwo, &[3, 3, 4, 2], 4), None);
        assert_eq!(ChannelMap::new(Axis::First, &[4, u64::MAX, 2], 4), None, "overflow");
        assert_eq!(ChannelMap::new(Axis::First, &[], 1), None);
    }
}
