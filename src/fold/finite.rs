//! 3 FOLD: infinities and NaNs.
//!
//! In: elements of one type, aligned. Out: whether and where there are any.

use bytemuck::cast_slice;

use crate::checkpoint::Float;

/// Index of the first infinity or NaN.
pub(super) fn first_non_finite(float: Float, bytes: &[u8]) -> Option<usize> {
    // An or over all magnitudes would miss nothing and cost less than a search; most pieces end here.
    let clean = match float {
        Float::F32 => none_reaches(cast_slice::<u8, u32>(bytes), |bits| bits & 0x7fff_ffff, 0x7f80_0000),
        Float::F16 => none_reaches(cast_slice::<u8, u16>(bytes), |bits| u32::from(bits & 0x7fff), 0x7c00),
        Float::Bf16 => none_reaches(cast_slice::<u8, u16>(bytes), |bits| u32::from(bits & 0x7fff), 0x7f80),
        Float::F64 => false,
    };
    let finite = |element: &[u8]| float.widen(element).is_finite();
    if clean { None } else { bytes.chunks_exact(float.bytes()).position(|element| !finite(element)) }
}

fn none_reaches<T: Copy>(elements: &[T], magnitude: impl Fn(T) -> u32, limit: u32) -> bool {
    pulp::Arch::new().dispatch(|| elements.iter().fold(0, |most, &element| magnitude(element).max(most))) < limit
}

/// Number of infinities and NaNs.
pub(super) fn count_non_finite(float: Float, bytes: &[u8]) -> u64 {
    bytes.chunks_exact(float.bytes()).filter(|element| !float.widen(element).is_finite()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_infinity_is_found() {
        for float in Float::ALL {
            let mut values = vec![1.0; 999];
            let find = |values: &[f64]| {
                let bytes = float.narrow_all(values);
                // Words, for an address that suits every type.
                let mut words = vec![0u64; bytes.len().div_ceil(8)];
                bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
                first_non_finite(float, &bytemuck::cast_slice(&words)[..bytes.len()])
            };
            assert_eq!(find(&values), None);
            values[998] = f64::NEG_INFINITY;
            assert_eq!(find(&values), Some(998));
            values[3] = f64::NAN;
            assert_eq!(find(&values), Some(3));
        }
    }
}
