//! 3 FOLD: the CPU path, twin of `shaders/scale.wgsl` and `shaders/shift.wgsl`: same names, same arithmetic, same bits.
//!
//! In: elements of one weight and the scales of its channels. Out: the folded elements. f32, f16 and bf16 are widened
//! to f32, multiplied once and rounded once; f64 is multiplied in f64 and never passes through f32.

use half::{bf16, f16};

use super::Scales;
use super::layout::{ChannelMap, Run};
use crate::checkpoint::Float;

/// Folds elements that begin at flat index `first` of a weight: `out = stored * scale[channel]`, from type `from` to
/// type `to`.
pub fn scale(
    map: ChannelMap,
    scales: &Scales,
    first: u64,
    (from, stored): (Float, &[u8]),
    (to, out): (Float, &mut [u8]),
) {
    let elements = stored.len() / from.bytes();
    debug_assert_eq!(out.len(), elements * to.bytes(), "one result an element");
    let mut at = 0;
    for run in map.runs(first, elements) {
        let stored = &stored[at * from.bytes()..(at + run.len) * from.bytes()];
        let out = &mut out[at * to.bytes()..(at + run.len) * to.bytes()];
        scale_run(run, scales, (from, stored), (to, out));
        at += run.len;
    }
}

/// One run: neighbours that share a channel, or that walk through consecutive channels.
fn scale_run(run: Run, scales: &Scales, (from, stored): (Float, &[u8]), (to, out): (Float, &mut [u8])) {
    let channels = if run.moving { run.channel..run.channel + run.len } else { run.channel..run.channel + 1 };
    let narrow = &scales.f32[channels.clone()];
    let exact = from == Float::F64 || to == Float::F64 || narrow.iter().any(|scale| is_subnormal(*scale));
    if exact {
        return scale_exact(run.moving, &scales.f64[channels], (from, stored), (to, out));
    }
    match (from, to) {
        (Float::F32, Float::F32) => {
            each(run.moving, narrow, stored, out, |w, s| (f32::from_le_bytes(w) * s).to_le_bytes())
        }
        (Float::F16, Float::F16) => each(run.moving, narrow, stored, out, |w, s| {
            f16::from_f32(f16::from_le_bytes(w).to_f32() * s).to_le_bytes()
        }),
        (Float::Bf16, Float::Bf16) => each(run.moving, narrow, stored, out, |w, s| {
            bf16::from_f32(bf16::from_le_bytes(w).to_f32() * s).to_le_bytes()
        }),
        // Another output type was asked for: the f32 product, rounded once.
        _ => {
            let scale = |index| f64::from(narrow[if run.moving { index } else { 0 }]);
            for (index, (stored, out)) in
                stored.chunks_exact(from.bytes()).zip(out.chunks_exact_mut(to.bytes())).enumerate()
            {
                let product = Float::F32.round(from.widen(stored) * scale(index));
                out.copy_from_slice(&to.narrow_all(&[product]));
            }
        }
    }
}

/// The product in f64, rounded once. For f64 weights, and for channels whose scale is subnormal in f32 and would lose
/// its digits there.
fn scale_exact(moving: bool, scales: &[f64], (from, stored): (Float, &[u8]), (to, out): (Float, &mut [u8])) {
    let scale = |index| scales[if moving { index } else { 0 }];
    for (index, (stored, out)) in stored.chunks_exact(from.bytes()).zip(out.chunks_exact_mut(to.bytes())).enumerate() {
        out.copy_from_slice(&to.narrow_all(&[from.widen(stored) * scale(index)]));
    }
}

/// `out[i] = f(stored[i], scale)`, written so that the compiler vectorises both kinds of run.
fn each<const N: usize>(
    moving: bool,
    scales: &[f32],
    stored: &[u8],
    out: &mut [u8],
    f: impl Fn([u8; N], f32) -> [u8; N],
) {
    let (stored, _) = stored.as_chunks::<N>();
    let (out, _) = out.as_chunks_mut::<N>();
    if moving {
        for ((out, &stored), &scale) in out.iter_mut().zip(stored).zip(scales) {
            *out = f(stored, scale);
        }
    } else {
        let scale = scales[0];
        for (out, &stored) in out.iter_mut().zip(stored) {
            *out = f(stored, scale);
        }
    }
}

/// Whether `value` is one that a GPU may flush to zero.
pub(super) fn is_subnormal(value: f32) -> bool {
    value.is_subnormal()
}

/// The shift of every channel: `moved + beta`, a single addition, so that no compiler has anything to contract or
/// reorder and every device gives the same bits.
pub fn shift(moved: &[f32], beta: &[f32]) -> Vec<f32> {
    moved.iter().zip(beta).map(|(moved, beta)| moved + beta).collect()
}
