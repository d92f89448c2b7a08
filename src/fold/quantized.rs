//! 3 FOLD: what rounding the weights to 8 bits would cost, before and after folding.
//!
//! In: the stored weights, read once more, and the range of every channel, which the folding pass gathered. Out: the
//! signal and, for each [`Scheme`], the noise of every weight: sums of squares. Every weight is rounded, nothing is
//! estimated: an estimate from ranges (a twelfth of a step's square for each weight) is wrong where weights are smaller
//! than a step, which is where folding hurts. It costs a second look at the weights, so only a report asks for it.
//!
//! Quantizers are symmetric: the largest magnitude becomes the largest number of the type, everything is rounded to
//! nearest even.

use super::{Elements, ElementsMut, FoldOptions, Piece, Range, WeightJob, cpu};
use crate::checkpoint::{Checkpoint, Element, Float};
use crate::error::Result;
use crate::network::channels::Run;
use crate::parallel;

/// A way to round weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Integers from -127 to 127, one step for the tensor.
    Int8Tensor,
    /// The same, one step a channel.
    Int8Channel,
    /// Floats of 4 bits of exponent and 3 of mantissa up to 448 (FP8 E4M3, arXiv:2209.05433), one factor for the tensor.
    E4m3Tensor,
    /// The same, one factor a channel.
    E4m3Channel,
}

impl Scheme {
    /// All of them, in the order in which figures are kept.
    pub const ALL: [Scheme; 4] = [Scheme::Int8Tensor, Scheme::Int8Channel, Scheme::E4m3Tensor, Scheme::E4m3Channel];

    /// The largest number of the type.
    fn largest(self) -> f64 {
        match self {
            Scheme::Int8Tensor | Scheme::Int8Channel => 127.0,
            Scheme::E4m3Tensor | Scheme::E4m3Channel => 448.0,
        }
    }

    fn is_by_channel(self) -> bool {
        matches!(self, Scheme::Int8Channel | Scheme::E4m3Channel)
    }
}

/// Sums of squares of a weight, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Energy {
    /// Of its values.
    pub signal: f64,
    /// Of what rounding changes, one for each of [`Scheme::ALL`].
    pub noise: [f64; 4],
}

impl Energy {
    /// Of both together.
    #[must_use]
    pub fn plus(mut self, other: Energy) -> Energy {
        self.signal += other.signal;
        self.noise.iter_mut().zip(other.noise).for_each(|(sum, noise)| *sum += noise);
        self
    }
}

/// A weight as it is stored, and as it is folded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quantized {
    /// As stored in the original.
    pub before: Energy,
    /// As folded.
    pub after: Energy,
}

/// Looks at the weights of all `jobs`, whose `ranges` are known. The sums are made piece by piece, in the order of the
/// pieces, so that they do not depend on the number of threads.
pub(super) fn measure(
    checkpoint: &Checkpoint,
    jobs: &[WeightJob<'_>],
    ranges: &[Vec<Range>],
    options: FoldOptions<'_>,
) -> Result<Vec<Quantized>> {
    let steps = jobs.iter().zip(ranges).map(|(job, ranges)| Steps::of(job, ranges)).collect::<Vec<_>>();
    let pieces = Piece::all(jobs);
    let workers = parallel::each(&pieces, options.threads, Worker::default, |worker, index, piece| {
        options.check_cancelled()?;
        let found = worker.look(checkpoint, jobs, &steps[piece.job], piece)?;
        worker.found.push((index, found));
        Ok(())
    })?;
    let mut found = workers.into_iter().flat_map(|worker| worker.found).collect::<Vec<_>>();
    found.sort_unstable_by_key(|&(index, _)| index);
    let mut sums = vec![Quantized::default(); jobs.len()];
    for (index, Quantized { before, after }) in found {
        let sum = &mut sums[pieces[index].job];
        *sum = Quantized { before: sum.before.plus(before), after: sum.after.plus(after) };
    }
    Ok(sums)
}

/// The steps of a weight.
struct Steps {
    before: Phase,
    after: Phase,
}

/// The steps of a weight at one of its two ages.
struct Phase([Vec<f64>; 4]);

impl Steps {
    fn of(job: &WeightJob<'_>, ranges: &[Range]) -> Steps {
        let scales = &*job.scales.f64;
        let after = ranges.iter().zip(scales).map(|(range, &scale)| range.scaled(scale, job.to).largest());
        Steps {
            before: Phase::of(ranges.iter().map(|range| range.largest()).collect()),
            after: Phase::of(after.collect()),
        }
    }
}

impl Phase {
    /// Of the largest magnitude of every channel; a channel of zeros has any step.
    fn of(largest: Vec<f64>) -> Phase {
        let most = largest.iter().copied().fold(0.0, f64::max);
        Phase(Scheme::ALL.map(|scheme| {
            let step = |largest: f64| if largest > 0.0 { largest / scheme.largest() } else { 1.0 };
            largest.iter().map(|&own| step(if scheme.is_by_channel() { own } else { most })).collect()
        }))
    }
}

/// What a thread keeps: buffers of `u64`, so that elements of every type are aligned in them, and what it found.
#[derive(Default)]
struct Worker {
    stored: Vec<u64>,
    folded: Vec<u64>,
    values: Vec<f32>,
    found: Vec<(usize, Quantized)>,
}

impl Worker {
    fn look(
        &mut self,
        checkpoint: &Checkpoint,
        jobs: &[WeightJob<'_>],
        steps: &Steps,
        piece: &Piece,
    ) -> Result<Quantized> {
        let job = &jobs[piece.job];
        let (from, to) = (job.fold.float, job.to);
        let stored = bytes_of(&mut self.stored, piece.elements * from.bytes());
        piece.read(checkpoint, jobs, stored)?;
        let folded = bytes_of(&mut self.folded, piece.elements * to.bytes());
        let elements = Elements { float: from, bytes: stored };
        cpu::scale(job.fold.map, &job.scales, piece.first, elements, ElementsMut { float: to, bytes: folded });
        let runs = || job.fold.map.runs(piece.first, piece.elements);
        widen(from, stored, &mut self.values);
        let before = energy(&self.values, runs(), &steps.before);
        widen(to, folded, &mut self.values);
        Ok(Quantized { before, after: energy(&self.values, runs(), &steps.after) })
    }
}

fn bytes_of(buffer: &mut Vec<u64>, bytes: usize) -> &mut [u8] {
    buffer.resize(buffer.len().max(bytes.div_ceil(8)), 0);
    &mut bytemuck::cast_slice_mut(buffer)[..bytes]
}

/// Elements as f32. Of an f64 the digits beyond are far below any step.
fn widen(float: Float, stored: &[u8], values: &mut Vec<f32>) {
    fn all<T: Element>(stored: &[u8], values: &mut Vec<f32>) {
        values.extend(bytemuck::cast_slice::<u8, T>(stored).iter().map(|element| element.widen()));
    }
    values.clear();
    match float {
        Float::F16 => all::<half::f16>(stored, values),
        Float::Bf16 => all::<half::bf16>(stored, values),
        Float::F32 => all::<f32>(stored, values),
        #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
        Float::F64 => values.extend(bytemuck::cast_slice::<u8, f64>(stored).iter().map(|&value| value as f32)),
    }
}

fn energy(values: &[f32], runs: impl Iterator<Item = Run>, Phase(steps): &Phase) -> Energy {
    let mut sum = Energy::default();
    pulp::Arch::new().dispatch(|| {
        let mut at = 0;
        for Run { channel, len, moving } in runs {
            let values = &values[at..at + len];
            at += len;
            sum.signal += squares(values, 1.0, |_| 0.0);
            for ((noise, steps), scheme) in sum.noise.iter_mut().zip(steps).zip(Scheme::ALL) {
                *noise += match moving {
                    false => noise_of(scheme, values, steps[channel]),
                    true => noise_of_each(scheme, values, &steps[channel..]),
                };
            }
        }
    });
    sum
}

#[inline(always)]
fn noise_of(scheme: Scheme, values: &[f32], step: f64) -> f64 {
    let squares = match scheme {
        Scheme::Int8Tensor | Scheme::Int8Channel => squares(values, step, integer),
        Scheme::E4m3Tensor | Scheme::E4m3Channel => squares(values, step, e4m3),
    };
    squares * step * step
}

/// The same of neighbours that have a channel of their own each.
#[inline(always)]
fn noise_of_each(scheme: Scheme, values: &[f32], steps: &[f64]) -> f64 {
    let round = match scheme {
        Scheme::Int8Tensor | Scheme::Int8Channel => integer,
        Scheme::E4m3Tensor | Scheme::E4m3Channel => e4m3,
    };
    values.iter().zip(steps).map(|(&value, &step)| square(value, 1.0 / step, round) * step * step).sum()
}

/// The square of what `round` changes of one value times `inverse`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an f32's precision is far beyond that of 8 bits")]
fn square(value: f32, inverse: f64, round: impl Fn(f32) -> f32) -> f64 {
    let scaled = value * inverse as f32;
    f64::from(scaled - round(scaled)).powi(2)
}

/// Sums side by side, which fill whole vectors.
const LANES: usize = 16;

/// Elements whose squares are added up in f32.
const BLOCK: usize = 1024;

/// The squares of what `round` changes of `values` over `step`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an f32's precision is far beyond that of 8 bits")]
fn squares(values: &[f32], step: f64, round: impl Fn(f32) -> f32) -> f64 {
    if values.len() < 2 * LANES {
        return values.iter().map(|&value| square(value, 1.0 / step, &round)).sum();
    }
    let inverse = (1.0 / step) as f32;
    let mut sum = 0.0;
    for block in values.chunks(BLOCK) {
        let mut lanes = [0.0f32; LANES];
        for values in block.chunks(LANES) {
            for (lane, value) in lanes.iter_mut().zip(values) {
                let scaled = value * inverse;
                let error = scaled - round(scaled);
                *lane += error * error;
            }
        }
        sum += lanes.iter().copied().map(f64::from).sum::<f64>();
    }
    sum
}

/// The nearest integer to a number of at most 2^22, ties to even: the sum has no digits behind the point.
#[inline(always)]
fn integer(value: f32) -> f32 {
    const NO_FRACTION: f32 = 12_582_912.0; // 1.5 * 2^23
    (value + NO_FRACTION) - NO_FRACTION
}

/// The nearest E4M3 number to one of at most 448, ties to even: as [`integer`], but of numbers from 2^e on the last digit
/// kept is 2^(e-3), and it is 2^-9 below the smallest normal number, 2^-6.
#[inline(always)]
fn e4m3(value: f32) -> f32 {
    const EXPONENT: u32 = 0x7f80_0000;
    const SMALLEST_NORMAL: u32 = (127 - 6) << 23;
    let exponent = (value.to_bits() & EXPONENT).max(SMALLEST_NORMAL);
    let magic = 1.5 * f32::from_bits(exponent + (20 << 23));
    (value + magic) - magic
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finite E4M3 number that is not negative, from its bits.
    fn numbers() -> Vec<f64> {
        let number = |bits: u32| match (bits >> 3, f64::from(bits & 7)) {
            (0, mantissa) => mantissa * 2f64.powi(-9),
            (exponent, mantissa) => (1.0 + mantissa / 8.0) * 2f64.powi(exponent as i32 - 7),
        };
        (0..0x7f).map(number).collect()
    }

    #[test]
    fn e4m3_is_the_nearest_number_with_ties_to_even() {
        let numbers = numbers();
        assert_eq!((numbers.len(), numbers[1], numbers[126]), (127, 2f64.powi(-9), 448.0));
        for (even, pair) in numbers.windows(2).enumerate() {
            let (low, high, middle) = (pair[0], pair[1], (pair[0] + pair[1]) / 2.0);
            let near = [(low, low), (middle * 0.9999, low), (middle * 1.0001, high), (high, high)];
            let tie = (middle, if even % 2 == 0 { low } else { high });
            for (value, expected) in near.into_iter().chain([tie]) {
                assert_eq!(f64::from(e4m3(value as f32)), expected, "{value}");
                assert_eq!(f64::from(e4m3(-value as f32)), -expected, "-{value}");
            }
        }
    }

    #[test]
    fn integers_are_rounded_to_even() {
        let rounded = [0.5, 1.5, -2.5, 126.49, 127.0].map(integer);
        assert_eq!(rounded, [0.0, 2.0, -2.0, 126.0, 127.0]);
    }

    #[test]
    fn noise_is_that_of_plain_arithmetic_in_every_run() {
        let values = (0..2500).map(|i| ((i * 7919) % 2003) as f32 / 700.0 - 1.4).collect::<Vec<_>>();
        let largest = [3.0, 0.25, 0.0, 1.5, 2.0];
        let runs = |moving| (0..500).map(move |row| Run { channel: row * 5 % 5, len: 5, moving });
        let found = energy(&values, runs(true), &Phase::of(largest.to_vec()));
        let numbers = numbers();
        for (index, scheme) in Scheme::ALL.into_iter().enumerate() {
            let noise = values.iter().enumerate().map(|(at, &value)| {
                let own = if scheme.is_by_channel() { largest[at % 5] } else { 3.0 };
                let step = if own > 0.0 { own / scheme.largest() } else { 1.0 };
                let scaled = (f64::from(value) / step).abs();
                let rounded = match scheme {
                    Scheme::Int8Tensor | Scheme::Int8Channel => scaled.round_ties_even(),
                    _ if scaled > 448.0 => return f64::from(value - e4m3(value / step as f32) * step as f32).powi(2),
                    _ => numbers
                        .iter()
                        .copied()
                        .min_by(|a, b| (a - scaled).abs().total_cmp(&(b - scaled).abs()))
                        .unwrap(),
                };
                ((scaled - rounded) * step).powi(2)
            });
            let noise = noise.sum::<f64>();
            assert!(
                (found.noise[index] - noise).abs() <= noise * 1e-3,
                "{scheme:?}: {} for {noise}",
                found.noise[index]
            );
        }
        let signal = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        assert!((found.signal - signal).abs() <= signal * 1e-5);
        let in_one = energy(&values, [Run { channel: 0, len: 2500, moving: false }].into_iter(), &Phase::of(vec![3.0]));
        assert!((in_one.noise[0] - found.noise[0]).abs() <= found.noise[0] * 1e-3, "runs make no difference");
    }
}
