//! 3 FOLD: elements taken apart into sign, exponent and fraction, and rounded by integers alone.
//!
//! In: an element and the exponent of the largest one of its channel. Out: the element in units of that channel, the same
//! on every device. Twin of `quantise` in `shaders/reduce.wgsl`.

use half::{bf16, f16};

/// An element taken apart. Nothing here is computed in floating point, so that nothing is flushed, contracted or rounded
/// otherwise on another device.
pub(super) trait Bits: bytemuck::Pod {
    /// Bits of the fraction within the magnitude, at most 23.
    const FRACTION: u32;
    /// The exponent of infinities.
    const INFINITE: u32;

    /// Exponent and fraction.
    fn magnitude(self) -> u32;

    /// All ones for a negative element, all zeros for others.
    fn sign(self) -> i32;

    /// The element in units of a channel whose largest element has the exponent `top`.
    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "at most 2^14")]
    fn quantise(self, top: u32) -> i32 {
        let magnitude = self.magnitude();
        let exponent = magnitude >> Self::FRACTION;
        let leading = if exponent == 0 { 0 } else { 1 << Self::FRACTION };
        // 24 digits: below 2^24.
        let significand = (magnitude & ((1 << Self::FRACTION) - 1) | leading) << (23 - Self::FRACTION);
        let shift = 9u32.wrapping_add(top).wrapping_sub(exponent.max(1)).min(31);
        let rounded = ((significand >> shift) + 1) >> 1;
        (rounded as i32 ^ self.sign()) - self.sign()
    }
}

impl Bits for f32 {
    const FRACTION: u32 = 23;
    const INFINITE: u32 = 0xff;

    #[inline(always)]
    fn magnitude(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }

    #[inline(always)]
    fn sign(self) -> i32 {
        self.to_bits().cast_signed() >> 31
    }
}

/// Both half types are 16 bits, sign first, and differ in where the fraction begins.
macro_rules! sixteen_bits {
    ($half:ty, $fraction:literal, $infinite:literal) => {
        impl Bits for $half {
            const FRACTION: u32 = $fraction;
            const INFINITE: u32 = $infinite;

            #[inline(always)]
            fn magnitude(self) -> u32 {
                u32::from(self.to_bits() & 0x7fff)
            }

            #[inline(always)]
            fn sign(self) -> i32 {
                i32::from(self.to_bits().cast_signed() >> 15)
            }
        }
    };
}

sixteen_bits!(f16, 10, 0x1f);
sixteen_bits!(bf16, 7, 0xff);

impl Bits for f64 {
    /// The upper word holds 21 digits, more than are kept.
    const FRACTION: u32 = 20;
    const INFINITE: u32 = 0x7ff;

    #[inline(always)]
    fn magnitude(self) -> u32 {
        (self.to_bits() >> 32) as u32 & 0x7fff_ffff
    }

    #[inline(always)]
    fn sign(self) -> i32 {
        i32::from(self.is_sign_negative()).wrapping_neg()
    }
}
