//! 3 FOLD: the CPU path, twin of `shaders/scale.wgsl` and `shaders/shift.wgsl`: same names, same arithmetic, same bits.
//!
//! In: elements of one weight and the scales of its channels. Out: the folded elements. f32, f16 and bf16 are widened
//! to f32, multiplied once and rounded once; f64 is multiplied in f64 and never passes through f32.

use bytemuck::{cast_slice, cast_slice_mut};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Scales;
use super::layout::{ChannelMap, Run};
use crate::checkpoint::Float;

/// Elements of half types that are widened at a time: their f32 stay in the innermost cache.
const CHUNK: usize = 1024;

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
        (Float::F32, _) => kernel.run(cast_slice(stored), cast_slice_mut(folded), f32_run),
        (Float::F16, _) => kernel.run::<f16>(cast_slice(stored), cast_slice_mut(folded), half_run),
        (Float::Bf16, _) => kernel.run::<bf16>(cast_slice(stored), cast_slice_mut(folded), bf16_run),
        (Float::F64, _) => kernel.exactly((from, stored), (to, folded)),
    }
}

/// Where elements lie and what their channels are multiplied by.
struct Kernel<'a> {
    map: ChannelMap,
    scales: &'a Scales,
    first: u64,
}

impl Kernel<'_> {
    /// Runs `f` on every run, compiled for the widest vectors that the processor has.
    fn run<T>(&self, stored: &[T], folded: &mut [T], f: impl Fn(&[T], &mut [T], &[f32])) {
        pulp::Arch::new().dispatch(|| {
            let mut at = 0;
            for Run { channel, len, moving } in self.map.runs(self.first, stored.len()) {
                let scales = &self.scales.f32[channel..if moving { channel + len } else { channel + 1 }];
                f(&stored[at..at + len], &mut folded[at..at + len], scales);
                at += len;
            }
        });
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

/// `folded[i] = stored[i] * scale`: one scale for all, or one each.
#[inline(always)]
fn f32_run(stored: &[f32], folded: &mut [f32], scales: &[f32]) {
    match scales {
        &[scale] => folded.iter_mut().zip(stored).for_each(|(folded, &stored)| *folded = stored * scale),
        _ => {
            let elements = folded.iter_mut().zip(stored).zip(scales);
            elements.for_each(|((folded, &stored), &scale)| *folded = stored * scale);
        }
    }
}

/// f16: the `half` crate converts slices with the processor's instructions where it has them.
#[inline(always)]
fn half_run<T>(stored: &[T], folded: &mut [T], scales: &[f32])
where
    [T]: HalfFloatSliceExt,
{
    let (mut wide, mut product) = ([0.0; CHUNK], [0.0; CHUNK]);
    for (index, (stored, folded)) in stored.chunks(CHUNK).zip(folded.chunks_mut(CHUNK)).enumerate() {
        let (wide, product) = (&mut wide[..stored.len()], &mut product[..stored.len()]);
        stored.convert_to_f32_slice(wide);
        let scales = if scales.len() == 1 { scales } else { &scales[index * CHUNK..index * CHUNK + stored.len()] };
        f32_run(wide, product, scales);
        folded.convert_from_f32_slice(product);
    }
}

/// bf16: integer operations, which vectorise on every processor.
#[inline(always)]
fn bf16_run(stored: &[bf16], folded: &mut [bf16], scales: &[f32]) {
    let wide = |value: bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
    match scales {
        &[scale] => {
            let elements = folded.iter_mut().zip(stored);
            elements.for_each(|(folded, &stored)| *folded = narrow_bf16(wide(stored) * scale));
        }
        _ => {
            let elements = folded.iter_mut().zip(stored).zip(scales);
            elements.for_each(|((folded, &stored), &scale)| *folded = narrow_bf16(wide(stored) * scale));
        }
    }
}

/// The nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the upper half was shifted down")]
fn narrow_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    bf16::from_bits(if value.is_nan() { nan } else { rounded } as u16)
}

/// The shift of every channel: `moved + beta`, a single addition, so that no compiler has anything to contract or
/// reorder and every device gives the same bits.
pub fn shift(moved: &[f32], beta: &[f32]) -> Vec<f32> {
    moved.iter().zip(beta).map(|(moved, beta)| moved + beta).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_as_the_half_crate_does() {
        let mut bits = 0u32;
        while let Some(next) = bits.checked_add(40_503) {
            let value = f32::from_bits(bits);
            assert_eq!(narrow_bf16(value).to_bits(), bf16::from_f32(value).to_bits(), "{bits:#x}");
            bits = next;
        }
        for exact_tie in [0x3f80_8000u32, 0x3f81_8000, 0x7f7f_ffff, 0x0000_8000, 0x0001_8000, 0xff80_0000] {
            let value = f32::from_bits(exact_tie);
            assert_eq!(narrow_bf16(value).to_bits(), bf16::from_f32(value).to_bits(), "{exact_tie:#x}");
        }
    }
}
