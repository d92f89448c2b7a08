//! 1 READ: element types as loops over many elements see them: to f32 and back.
//!
//! In: one value. Out: the same value, or the nearest, ties to even, in operations that a compiler turns into vectors on
//! every processor. The processor's own conversions of f16 (F16C) are as right, but safe code reaches them eight elements
//! a call, and the calls took longer than the work. Twin of the conversions in `shaders/scale.wgsl`; tests hold them
//! against the `half` crate.

use half::{bf16, f16};

/// An element type that is multiplied in f32.
pub(crate) trait Element: bytemuck::Pod {
    /// An integer of its size.
    #[cfg(feature = "gpu")]
    type Bits: Copy
        + PartialEq
        + std::ops::BitXor<Output = Self::Bits>
        + std::ops::BitOr<Output = Self::Bits>
        + std::ops::BitOrAssign;

    /// No bit set.
    #[cfg(feature = "gpu")]
    const NO_BITS: Self::Bits;

    /// Its bits.
    #[cfg(feature = "gpu")]
    fn bits(self) -> Self::Bits;

    /// The f32 of the same value.
    fn widen(self) -> f32;

    /// The nearest one, ties to even; a NaN stays one.
    fn narrow(value: f32) -> Self;

    /// All of `values` as f32, in `buffer` if they have to go anywhere.
    #[inline(always)]
    fn widen_all<'a>(values: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        let wide = &mut buffer[..values.len()];
        for (wide, &value) in wide.iter_mut().zip(values) {
            *wide = value.widen();
        }
        wide
    }
}

impl Element for f32 {
    #[cfg(feature = "gpu")]
    type Bits = u32;
    #[cfg(feature = "gpu")]
    const NO_BITS: u32 = 0;

    #[cfg(feature = "gpu")]
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn widen_all<'a>(values: &'a [f32], _: &'a mut [f32]) -> &'a [f32] {
        values
    }
}

impl Element for f16 {
    #[cfg(feature = "gpu")]
    type Bits = u16;
    #[cfg(feature = "gpu")]
    const NO_BITS: u16 = 0;

    #[cfg(feature = "gpu")]
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        widen_f16(self)
    }

    #[inline(always)]
    fn narrow(value: f32) -> f16 {
        narrow_f16(value)
    }
}

impl Element for bf16 {
    #[cfg(feature = "gpu")]
    type Bits = u16;
    #[cfg(feature = "gpu")]
    const NO_BITS: u16 = 0;

    #[cfg(feature = "gpu")]
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }

    /// It is the upper half of an f32.
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> bf16 {
        narrow_bf16(value)
    }
}

/// Between the exponents of f16 and those of f32, in an f32's bits.
const REBIAS: u32 = (127 - 15) << 23;

/// The f32 of the same value.
#[inline(always)]
fn widen_f16(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
    // The exponent of infinities and NaNs is all ones in both types.
    let special = if magnitude >= 0x7c00 { REBIAS } else { 0 };
    let normal = (magnitude << 13) + REBIAS + special;
    // Below the smallest normal: a multiple of 2^-24. None of them is subnormal as an f32, so no operation is slow.
    let subnormal = (small(magnitude) * power(-24)).to_bits();
    f32::from_bits(sign | if magnitude < 0x400 { subnormal } else { normal })
}

/// The nearest f16, ties to even; infinity from 65520 on; a NaN stays one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves' bits are the lower ones")]
fn narrow_f16(value: f32) -> f16 {
    let bits = value.to_bits();
    let (sign, magnitude) = ((bits >> 16) & 0x8000, bits & 0x7fff_ffff);
    // Rounding up may carry into the exponent, which is what it means: the next power of two, or infinity.
    let rounded = magnitude.wrapping_add(0xfff + ((magnitude >> 13) & 1)).wrapping_sub(REBIAS) >> 13;
    let normal = if rounded < 0x7c00 { rounded } else { 0x7c00 };
    // Next to 0.5 an f32's unit is 2^-24, that of the subnormals: the addition rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let nan = 0x7e00 | ((magnitude >> 13) & 0x3ff);
    f16::from_bits((sign | if magnitude > 0x7f80_0000 { nan } else { finite }) as u16)
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

/// A number of at most 15 bits, which every conversion is exact for; from i32, since that one is a single instruction.
#[inline(always)]
fn small(value: u32) -> f32 {
    value as i32 as f32
}

/// 2^exponent.
const fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (widen_f16(f16::from_bits(bits)), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "f16 {bits:#x}");
            let (ours, theirs) = (bf16::from_bits(bits).widen(), bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "bf16 {bits:#x}");
        }
    }

    #[test]
    fn numbers_are_rounded_as_the_half_crate_does() {
        let sweep = (0u32..=u32::MAX).step_by(40_503);
        // Around the middle between every two neighbours.
        let bf16_middles = (0..=u32::from(u16::MAX)).map(|half| half << 16 | 0x8000);
        let f16_middles = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32().to_bits() | 0x1000);
        let subnormal_middles = (0..1025u16).map(|n| ((f32::from(n) + 0.5) * power(-24)).to_bits());
        let middles = bf16_middles.chain(f16_middles).chain(subnormal_middles);
        let around = middles.flat_map(|bits| [bits - 1, bits, bits + 1, bits ^ 1 << 31]);
        for bits in sweep.chain(around) {
            let value = f32::from_bits(bits);
            let (f16s, bf16s) = (f16::from_f32(value), bf16::from_f32(value));
            let same_f16 = narrow_f16(value).to_bits() == f16s.to_bits() || (value.is_nan() && f16s.is_nan());
            assert!(same_f16, "f16 {bits:#x}: {:#x}, not {:#x}", narrow_f16(value).to_bits(), f16s.to_bits());
            assert_eq!(narrow_bf16(value).to_bits(), bf16s.to_bits(), "bf16 {bits:#x}");
            assert!(!value.is_nan() || narrow_f16(value).is_nan(), "{bits:#x}");
        }
    }
}
