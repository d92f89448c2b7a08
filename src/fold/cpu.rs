//! 3 FOLD: the CPU path, twin of `shaders/scale.wgsl` and `shaders/shift.wgsl`: same names, same arithmetic, same bits.
//!
//! In: elements of one weight and the scales of its channels. Out: the folded elements. f32, f16 and bf16 are widened
//! to f32, multiplied once and rounded once; f64 is multiplied in f64 and never passes through f32.

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use half::{bf16, f16};

use super::Scales;
use crate::checkpoint::{Element, Float};
use crate::network::channels::{ChannelMap, Run};

/// Elements that are given a scale each at a time: the scales stay in the innermost cache.
const CHUNK: usize = 1024;

/// Runs shorter than this (those of depthwise and transposed convolutions) are not multiplied one by one.
const SHORT: usize = 32;

/// Folds elements that begin at flat index `first` of a weight: `folded = stored * scale[channel]`, from type `from` to
/// type `to`.
///
/// # Panics
///
/// If a buffer is not aligned for its type, or the two differ in their number of elements.
pub fn scale(
    map: ChannelMap,
    scales: &Scales,
    first: u64,
    (from, stored): (Float, &[u8]),
    (to, folded): (Float, &mut [u8]),
) {
    assert_eq!(folded.len() / to.bytes(), stored.len() / from.bytes(), "one result an element");
    let kernel = Kernel { map, scales, first };
    match (from, to) {
        _ if scales.subnormal || from != to => kernel.exactly((from, stored), (to, folded)),
        (Float::F32, _) => kernel.multiply::<f32>(stored, folded),
        (Float::F16, _) => kernel.multiply::<f16>(stored, folded),
        (Float::Bf16, _) => kernel.multiply::<bf16>(stored, folded),
        (Float::F64, _) => kernel.exactly((from, stored), (to, folded)),
    }
}

/// Where elements lie and what their channels are multiplied by.
#[derive(Clone, Copy)]
struct Kernel<'a> {
    map: ChannelMap,
    scales: &'a Scales,
    first: u64,
}

impl Kernel<'_> {
    /// `folded[i] = narrow(widen(stored[i]) * scale)`, with the widest vectors that the processor has.
    fn multiply<T: Element>(&self, stored: &[u8], folded: &mut [u8]) {
        let (stored, folded) = (cast_slice::<u8, T>(stored), cast_slice_mut::<u8, T>(folded));
        pulp::Arch::new().dispatch(Multiply { kernel: *self, stored, folded });
    }

    /// Element by element: f64, changes of type, and channels whose scale is subnormal in f32 and would lose its digits
    /// there.
    fn exactly(&self, (from, stored): (Float, &[u8]), (to, folded): (Float, &mut [u8])) {
        let mut elements = stored.chunks_exact(from.bytes()).zip(folded.chunks_exact_mut(to.bytes()));
        for Run { channel, len, moving } in self.map.runs(self.first, stored.len() / from.bytes()) {
            for (step, (stored, folded)) in elements.by_ref().take(len).enumerate() {
                let channel = channel + if moving { step } else { 0 };
                let (narrow, exact) = (self.scales.f32[channel], self.scales.f64[channel]);
                let value = from.widen(stored);
                let product = match from == Float::F64 || to == Float::F64 || narrow.is_subnormal() {
                    true => value * exact,
                    false => Float::F32.round(value * f64::from(narrow)),
                };
                folded.copy_from_slice(&to.narrow_all(&[product]));
            }
        }
    }
}

/// A multiplication to be compiled for several processors: all of it is inlined into the function that is, since what
/// is only called from there is compiled for the oldest one.
struct Multiply<'a, T> {
    kernel: Kernel<'a>,
    stored: &'a [T],
    folded: &'a mut [T],
}

impl<T: Element> pulp::NullaryFnOnce for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        match self.kernel.map.run_len() < SHORT as u64 {
            true => self.short_runs(),
            false => self.long_runs(),
        }
    }
}

impl<T: Element> Multiply<'_, T> {
    #[inline(always)]
    fn long_runs(&mut self) {
        let Kernel { map, scales, first } = self.kernel;
        let mut at = 0;
        for Run { channel, len, moving } in map.runs(first, self.stored.len()) {
            match moving {
                true => self.each(at..at + len, &scales.f32[channel..channel + len]),
                false => self.all(at..at + len, scales.f32[channel]),
            }
            at += len;
        }
    }

    /// Gathers runs until they make a chunk, with the scale of every element beside it.
    #[inline(always)]
    fn short_runs(&mut self) {
        let Kernel { map, scales, first } = self.kernel;
        let mut each = [0.0; CHUNK + 2 * SHORT];
        let (mut begin, mut filled) = (0, 0);
        for Run { channel, len, moving } in map.runs(first, self.stored.len()) {
            match moving {
                true => each[filled..filled + len].copy_from_slice(&scales.f32[channel..channel + len]),
                // More than the run takes, so that the compiler knows the length; the next run overwrites it.
                false => each[filled..filled + SHORT].fill(scales.f32[channel]),
            }
            filled += len;
            if filled >= CHUNK || begin + filled == self.stored.len() {
                self.each(begin..begin + filled, &each[..filled]);
                (begin, filled) = (begin + filled, 0);
            }
        }
    }

    /// Elements that share a scale.
    #[inline(always)]
    fn all(&mut self, elements: Range<usize>, scale: f32) {
        for (folded, &stored) in self.folded[elements.clone()].iter_mut().zip(&self.stored[elements]) {
            *folded = T::narrow(stored.widen() * scale);
        }
    }

    /// Elements with a scale each.
    #[inline(always)]
    fn each(&mut self, elements: Range<usize>, scales: &[f32]) {
        let pairs = self.folded[elements.clone()].iter_mut().zip(&self.stored[elements]);
        for ((folded, &stored), &scale) in pairs.zip(scales) {
            *folded = T::narrow(stored.widen() * scale);
        }
    }
}

/// The shift of every channel: `moved + beta`, a single addition, so that no compiler has anything to contract or
/// reorder and every device gives the same bits.
pub fn shift(moved: &[f32], beta: &[f32]) -> Vec<f32> {
    moved.iter().zip(beta).map(|(moved, beta)| moved + beta).collect()
}
