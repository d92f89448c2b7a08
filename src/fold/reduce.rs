//! 3 FOLD: sums of a weight's elements and of their squares, channel by channel. Twin of `shaders/reduce.wgsl`.
//!
//! In: neighbouring elements of a weight. Out: [`Sums`], which are integers and therefore the same on every device and in
//! every order, and what makes numbers of them. The planner takes them as evidence, and a plan must not depend on a device.
//!
//! A weight is cut into parts of [`PART_ELEMENTS`]. In each of them a channel has a unit of its own, 2^(e - 13) if its
//! largest element lies between 2^e and 2^(e + 1):
//!
//! ```text
//! q[i]       = round(x[i] / unit[c])    c = channel(i), |q[i]| <= 2^14, ties away from zero
//! values[c]  = sum of q[i]              the sum of the elements is off by at most half a unit an element:
//! squares[c] = sum of q[i]^2            2^-14 of the channel's largest, far less than what evidence can tell
//! ```

use std::ops::Range;

use bytemuck::cast_slice;
use half::{bf16, f16};

use super::Engine;
use super::bits::Bits;
use crate::checkpoint::Float;
use crate::network::channels::{ChannelMap, Run};

/// Elements of a part: so few that no sum of 32 bits overflows, as the shader's head proves.
pub const PART_ELEMENTS: usize = 1 << 16;

/// Digits that an element keeps: |q| <= 2^14.
const DIGITS: i32 = 14;

/// Runs shorter than this are not added up one by one where that can be helped: the CPU's widest vectors hold 16 elements.
const SHORT: u64 = 32;

/// Squares are added up in two halves: so many lower bits, and the others.
pub(super) const LOW_BITS: u32 = 14;

/// Neighbouring elements of a weight, from a multiple of [`PART_ELEMENTS`] on.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// Type of the elements.
    pub float: Float,
    /// Their channels.
    pub map: ChannelMap,
    /// Flat index of the first of them in the weight.
    pub first: u64,
    /// How many there are.
    pub elements: usize,
    /// Their bytes, as words, so that every type is aligned; the last word may hold less.
    pub words: &'a [u64],
}

impl<'a> Stretch<'a> {
    /// Its parts, in order.
    ///
    /// # Panics
    ///
    /// If there are fewer words than the elements take.
    pub fn parts(self) -> impl Iterator<Item = Part<'a>> {
        let Stretch { float, map, first, elements, words } = self;
        let bytes = &cast_slice::<u64, u8>(words)[..elements * float.bytes()];
        let firsts = (0..).map(move |n| first + n * PART_ELEMENTS as u64);
        let parts = bytes.chunks(PART_ELEMENTS * float.bytes());
        firsts.zip(parts).map(move |(first, stored)| Part { float, map, first, stored })
    }
}

/// At most [`PART_ELEMENTS`] of a weight.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Part<'a> {
    /// Type of the elements.
    pub float: Float,
    /// Their channels.
    pub map: ChannelMap,
    /// Flat index of the first of them in the weight.
    pub first: u64,
    /// Their bytes, aligned for the type.
    pub stored: &'a [u8],
}

impl<'a> Part<'a> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.stored.len() / self.float.bytes()
    }

    /// Finds the unit of every channel; `None` if an element is infinite or not a number.
    pub fn measure(self) -> Option<Measured<'a>> {
        let channels = self.map.span(self.first, self.elements());
        let tops = match self.float {
            Float::F16 => self.tops::<f16>(channels.clone()),
            Float::Bf16 => self.tops::<bf16>(channels.clone()),
            Float::F32 => self.tops::<f32>(channels.clone()),
            Float::F64 => self.tops::<f64>(channels.clone()),
        }?;
        Some(Measured { part: self, channels, tops })
    }

    /// The exponent of every channel's largest element; `None` if it is that of an infinity.
    fn tops<T: Bits>(&self, channels: Range<usize>) -> Option<Vec<u32>> {
        let (map, places) = self.places();
        let mut largest = vec![0; channels.len() * places];
        let (base, elements) = (channels.start * places, cast_slice::<u8, T>(self.stored));
        pulp::Arch::new().dispatch(Largest { map, first: self.first, base, elements, largest: &mut largest });
        let of_channel = largest.chunks_exact(places).map(|places| places.iter().copied().max().unwrap_or_default());
        let tops = of_channel.map(|largest| (largest >> T::FRACTION).max(1)).collect::<Vec<_>>();
        tops.iter().all(|&top| top < T::INFINITE).then_some(tops)
    }

    /// What is added up apart first, and how many such places a channel has. Short runs (those of transposed convolutions)
    /// are dear to walk one by one: where a row comes again, so that it pays, each place in a row is taken for a channel of its own, and
    /// neighbouring elements for those of different channels.
    fn places(&self) -> (ChannelMap, usize) {
        let map @ ChannelMap { inner, row, repeats, .. } = self.map;
        let is_short = (2..SHORT).contains(&inner);
        match usize::try_from(inner) {
            Ok(places) if is_short && repeats > 1 && 2 * inner * row <= self.elements() as u64 => {
                (ChannelMap { inner: 1, row: inner * row, ..map }, places)
            }
            _ => (map, 1),
        }
    }
}

/// A part whose channels have units.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Measured<'a> {
    /// The elements.
    pub part: Part<'a>,
    /// The channels that they may belong to.
    pub channels: Range<usize>,
    /// For each of these channels the exponent of its largest element, as its bits have it; that of the subnormals is 1.
    pub tops: Vec<u32>,
}

/// Sums of a part, an entry a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// In units of the channel.
    pub values: Vec<i32>,
    /// Of the squares, in squares of these units.
    pub squares: Vec<u64>,
}

impl Measured<'_> {
    /// Adds its elements up.
    pub fn sums(&self) -> Sums {
        match self.part.float {
            Float::F16 => self.add::<f16>(),
            Float::Bf16 => self.add::<bf16>(),
            Float::F32 => self.add::<f32>(),
            Float::F64 => self.add::<f64>(),
        }
    }

    fn add<T: Bits>(&self) -> Sums {
        let Part { first, stored, .. } = self.part;
        let (map, places) = self.part.places();
        let tops = self.tops.iter().flat_map(|&top| std::iter::repeat_n(top, places)).collect::<Vec<_>>();
        let (mut low, mut high, mut values) = (vec![0; tops.len()], vec![0; tops.len()], vec![0; tops.len()]);
        let (base, elements) = (self.channels.start * places, cast_slice::<u8, T>(stored));
        let sums = (&mut values[..], &mut low[..], &mut high[..]);
        pulp::Arch::new().dispatch(Add { map, first, base, elements, tops: &tops, sums });
        let squares = low.chunks_exact(places).zip(high.chunks_exact(places));
        let squares = squares.map(|(low, high)| joined(low.iter().sum(), high.iter().sum()));
        let values = values.chunks_exact(places).map(|places| places.iter().sum());
        Sums { values: values.collect(), squares: squares.collect() }
    }

    /// What `sums` stand for: of every channel its number, the sum of its elements and that of their squares.
    pub fn rows(&self, sums: &Sums) -> impl Iterator<Item = (usize, f64, f64)> {
        let float = self.part.float;
        let sums = sums.values.iter().zip(&sums.squares);
        self.channels.clone().zip(&self.tops).zip(sums).map(move |((channel, &top), (&values, &squares))| {
            let unit = unit(float, top);
            // Powers of two, apart from subnormal results: exact.
            (channel, f64::from(values) * unit, squares as f64 * unit * unit)
        })
    }
}

/// A sum of squares of which the lower and the other bits were added up apart.
pub(super) fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) + (u64::from(high) << LOW_BITS)
}

/// The unit of a channel whose largest element has the exponent `top`.
fn unit(float: Float, top: u32) -> f64 {
    let smallest = float.min_exponent() + 1 - DIGITS;
    let exponent = i32::try_from(top).unwrap_or(i32::MAX) - 1 + smallest;
    // In halves: that of a subnormal f64 is no normal number.
    let power = |exponent: i32| f64::from_bits(u64::try_from(exponent + 1023).unwrap_or(0) << 52);
    power(exponent / 2) * power(exponent - exponent / 2)
}

/// What adds up the rows of a model's weights, and what the user should know about it.
pub struct Reducer<'e> {
    engine: &'e mut Engine,
    /// What went wrong, sentence by sentence.
    pub warnings: Vec<String>,
}

impl<'e> Reducer<'e> {
    /// Reduces on `engine`.
    pub fn new(engine: &'e mut Engine) -> Reducer<'e> {
        Reducer { engine, warnings: Vec::new() }
    }

    /// Whether no device takes part.
    pub fn is_cpu(&self) -> bool {
        matches!(self.engine, Engine::Cpu)
    }

    /// Elements of the stretches that it likes best: a part stays in a core's cache, a batch hides the cost of a dispatch.
    pub fn stretch(&self, float: Float) -> usize {
        #[cfg(not(feature = "gpu"))]
        let _ = float;
        match self.engine {
            Engine::Cpu => PART_ELEMENTS,
            #[cfg(feature = "gpu")]
            Engine::Gpu(_) => super::gpu::BATCH_BYTES / float.bytes(),
        }
    }

    /// The parts of a stretch and their sums; `None` if an element is infinite or not a number.
    pub fn reduce<'a>(&mut self, stretch: Stretch<'a>) -> Option<Vec<(Measured<'a>, Sums)>> {
        let parts = stretch.parts().map(Part::measure).collect::<Option<Vec<_>>>()?;
        let sums = self.engine.reduce(stretch.words, &parts, &mut self.warnings);
        Some(parts.into_iter().zip(sums).collect())
    }
}

/// The largest magnitude of every channel, compiled for several processors.
struct Largest<'a, T> {
    map: ChannelMap,
    first: u64,
    base: usize,
    elements: &'a [T],
    largest: &'a mut [u32],
}

impl<T: Bits> pulp::NullaryFnOnce for Largest<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut rest = self.elements;
        for Run { channel, len, moving } in self.map.runs(self.first, rest.len()) {
            let now;
            (now, rest) = rest.split_at(len);
            let channels = &mut self.largest[channel - self.base..];
            if moving {
                channels.iter_mut().zip(now).for_each(|(largest, x)| *largest = x.magnitude().max(*largest));
            } else {
                channels[0] = now.iter().fold(channels[0], |largest, x| x.magnitude().max(largest));
            }
        }
    }
}

/// The sums of every channel, of squares in two halves; compiled for several processors.
struct Add<'a, T> {
    map: ChannelMap,
    first: u64,
    base: usize,
    elements: &'a [T],
    tops: &'a [u32],
    sums: (&'a mut [i32], &'a mut [u32], &'a mut [u32]),
}

impl<T: Bits> pulp::NullaryFnOnce for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut rest = self.elements;
        let (values, low, high) = self.sums;
        for Run { channel, len, moving } in self.map.runs(self.first, rest.len()) {
            let now;
            (now, rest) = rest.split_at(len);
            let channel = channel - self.base;
            if moving {
                let squares = low[channel..].iter_mut().zip(&mut high[channel..]);
                let sums = values[channel..].iter_mut().zip(squares);
                for (((value, (low, high)), &top), x) in sums.zip(&self.tops[channel..]).zip(now) {
                    (*value, *low, *high) = added((*value, *low, *high), x.quantise(top));
                }
            } else {
                let (top, sums) = (self.tops[channel], (values[channel], low[channel], high[channel]));
                (values[channel], low[channel], high[channel]) =
                    now.iter().fold(sums, |sums, x| added(sums, x.quantise(top)));
            }
        }
    }
}

/// Adds an element to the sum of a channel's elements and the two of their squares.
#[inline(always)]
fn added((value, low, high): (i32, u32, u32), q: i32) -> (i32, u32, u32) {
    let square = (q * q).cast_unsigned();
    (value + q, low + (square & ((1 << LOW_BITS) - 1)), high + (square >> LOW_BITS))
}
