//! 3 FOLD: the CPU path, twin of `shaders/scale.wgsl` and `shaders/shift.wgsl`: same names, same arithmetic, same bits.
//!
//! In: elements of one weight and the scales of its channels. Out: the folded elements. f32, f16 and bf16 are widened
//! to f32, multiplied once and rounded once; f64 is multiplied in f64 and never passes through f32.

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use half::{bf16, f16};

use super::stretches::{Factors, Take, walk};
use super::{Elements, ElementsMut, Scales};
use crate::checkpoint::{Element, Float};
use crate::network::channels::{ChannelMap, Run};

/// Folds elements that begin at flat index `first` of a weight: `folded = stored * scale[channel]`, rounded to the type of
/// `folded`.
///
/// # Panics
///
/// If a buffer is not aligned for its type, or the two differ in their number of elements.
pub fn scale(map: ChannelMap, scales: &Scales<'_>, first: u64, stored: Elements<'_>, folded: ElementsMut<'_>) {
    let (from, to) = (stored.float, folded.float);
    assert_eq!(folded.bytes.len() / to.bytes(), stored.count(), "one result per element");
    let kernel = Kernel { map, scales, first };
    match (from, to) {
        _ if scales.subnormal || from != to => kernel.exactly(stored, folded),
        (Float::F32, _) => kernel.multiply::<f32>(stored.bytes, folded.bytes),
        (Float::F16, _) => kernel.multiply::<f16>(stored.bytes, folded.bytes),
        (Float::Bf16, _) => kernel.multiply::<bf16>(stored.bytes, folded.bytes),
        (Float::F64, _) => kernel.exactly(stored, folded),
    }
}

/// Whether `folded` has the very bits that [`scale`] gives, as it would be asked to for the same type. The products stay in
/// registers. `false` where [`scale`] would not multiply in f32: then nothing was compared.
///
/// # Panics
///
/// As [`scale`].
#[cfg(feature = "gpu")]
pub(super) fn agrees(
    map: ChannelMap,
    scales: &Scales<'_>,
    first: u64,
    stored: Elements<'_>,
    folded: Elements<'_>,
) -> bool {
    assert_eq!(folded.count(), stored.count(), "one result per element");
    let kernel = Kernel { map, scales, first };
    match (stored.float, folded.float) {
        (from, to) if scales.subnormal || from != to => false,
        (Float::F32, _) => kernel.agrees::<f32>(stored.bytes, folded.bytes),
        (Float::F16, _) => kernel.agrees::<f16>(stored.bytes, folded.bytes),
        (Float::Bf16, _) => kernel.agrees::<bf16>(stored.bytes, folded.bytes),
        (Float::F64, _) => false,
    }
}

/// Where elements lie and what their channels are multiplied by.
#[derive(Clone, Copy)]
struct Kernel<'a> {
    map: ChannelMap,
    scales: &'a Scales<'a>,
    first: u64,
}

impl Kernel<'_> {
    /// `folded[i] = narrow(widen(stored[i]) * scale)`, with the widest vectors that the processor has.
    fn multiply<T: Element>(&self, stored: &[u8], folded: &mut [u8]) {
        let (stored, folded) = (cast_slice::<u8, T>(stored), cast_slice_mut::<u8, T>(folded));
        pulp::Arch::new().dispatch(Multiply { kernel: *self, stored, folded });
    }

    /// Whether every `folded[i]` has the bits of `narrow(widen(stored[i]) * scale)`.
    #[cfg(feature = "gpu")]
    fn agrees<T: Element>(&self, stored: &[u8], folded: &[u8]) -> bool {
        let (stored, folded) = (cast_slice::<u8, T>(stored), cast_slice::<u8, T>(folded));
        pulp::Arch::new().dispatch(Compare { kernel: *self, stored, folded, differ: T::NO_BITS }) == T::NO_BITS
    }

    /// Element by element: f64, changes of type, and channels whose scale is below f32's normal numbers and would lose its
    /// digits there.
    fn exactly(&self, stored: Elements<'_>, folded: ElementsMut<'_>) {
        let (from, to) = (stored.float, folded.float);
        let results = folded.bytes.chunks_exact_mut(to.bytes());
        let mut elements = stored.bytes.chunks_exact(from.bytes()).zip(results);
        for Run { channel, len, moving } in self.map.runs(self.first, stored.count()) {
            for (step, (stored, folded)) in elements.by_ref().take(len).enumerate() {
                let channel = channel + if moving { step } else { 0 };
                let (narrow, exact) = (self.scales.f32[channel], self.scales.f64[channel]);
                let value = from.widen(stored);
                let product = match from == Float::F64 || to == Float::F64 || self.scales.is_subnormal(channel) {
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
        let Kernel { map, scales, first } = self.kernel;
        walk(map.runs(first, self.stored.len()), map.run_len(), &scales.f32, &mut self);
    }
}

impl<T: Element> Take<f32> for Multiply<'_, T> {
    #[inline(always)]
    fn take(&mut self, elements: Range<usize>, factors: Factors<'_, f32>) {
        let pairs = self.folded[elements.clone()].iter_mut().zip(&self.stored[elements]);
        match factors {
            Factors::All(scale) => pairs.for_each(|(folded, &stored)| *folded = T::narrow(stored.widen() * scale)),
            Factors::Each(scales) => {
                for ((folded, &stored), &scale) in pairs.zip(scales) {
                    *folded = T::narrow(stored.widen() * scale);
                }
            }
        }
    }
}

/// A comparison with the multiplication's results, compiled like it.
#[cfg(feature = "gpu")]
struct Compare<'a, T: Element> {
    kernel: Kernel<'a>,
    stored: &'a [T],
    folded: &'a [T],
    /// All bits that differ anywhere.
    differ: T::Bits,
}

#[cfg(feature = "gpu")]
impl<T: Element> pulp::NullaryFnOnce for Compare<'_, T> {
    type Output = T::Bits;

    #[inline(always)]
    fn call(mut self) -> T::Bits {
        let Kernel { map, scales, first } = self.kernel;
        walk(map.runs(first, self.stored.len()), map.run_len(), &scales.f32, &mut self);
        self.differ
    }
}

#[cfg(feature = "gpu")]
impl<T: Element> Take<f32> for Compare<'_, T> {
    #[inline(always)]
    fn take(&mut self, elements: Range<usize>, factors: Factors<'_, f32>) {
        let pairs = self.folded[elements.clone()].iter().zip(&self.stored[elements]);
        let differ = |folded: T, stored: T, scale: f32| folded.bits() ^ T::narrow(stored.widen() * scale).bits();
        self.differ |= match factors {
            Factors::All(scale) => {
                pairs.fold(T::NO_BITS, |all, (&folded, &stored)| all | differ(folded, stored, scale))
            }
            Factors::Each(scales) => {
                let each = pairs.zip(scales);
                each.fold(T::NO_BITS, |all, ((&folded, &stored), &scale)| all | differ(folded, stored, scale))
            }
        };
    }
}

/// The shift of every channel: `moved + beta`, a single addition, so that no compiler has anything to contract or
/// reorder and every device gives the same bits.
pub fn shift(moved: &[f32], beta: &[f32]) -> Vec<f32> {
    moved.iter().zip(beta).map(|(moved, beta)| moved + beta).collect()
}
