//! 1 READ: element types: their names, sizes, order in a file, and exact conversions for the four that are folded.
//!
//! The list, sizes and order of the known types are the `safetensors` crate's own. A type it does not know is carried
//! by name, as bytes.

use half::{bf16, f16};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

/// An element type as a header names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    /// A type of the `safetensors` crate, ordered as its writer orders tensors.
    Known(safetensors::Dtype),
    /// A type of tomorrow: its elements have an unknown size and are never looked at.
    Unknown(Box<str>),
}

impl Dtype {
    /// From the name in a header.
    pub fn parse(name: &str) -> Dtype {
        let deserializer: StrDeserializer<'_, ValueError> = name.into_deserializer();
        match safetensors::Dtype::deserialize(deserializer) {
            Ok(known) => Dtype::Known(known),
            Err(_) => Dtype::Unknown(name.into()),
        }
    }

    /// Bits an element takes; `None` if unknown.
    pub fn bits(&self) -> Option<u64> {
        match self {
            Dtype::Known(known) => Some(known.bitsize() as u64),
            Dtype::Unknown(_) => None,
        }
    }

    /// The float type, if it is one that can be folded.
    pub fn float(&self) -> Option<Float> {
        match self {
            Dtype::Known(safetensors::Dtype::F16) => Some(Float::F16),
            Dtype::Known(safetensors::Dtype::BF16) => Some(Float::Bf16),
            Dtype::Known(safetensors::Dtype::F32) => Some(Float::F32),
            Dtype::Known(safetensors::Dtype::F64) => Some(Float::F64),
            _ => None,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dtype::Known(known) => known.fmt(f),
            Dtype::Unknown(name) => f.write_str(name),
        }
    }
}

/// A float type that can be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Float {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl Float {
    /// All of them.
    pub const ALL: [Float; 4] = [Float::F16, Float::Bf16, Float::F32, Float::F64];

    /// Its name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Float::F16 => "F16",
            Float::Bf16 => "BF16",
            Float::F32 => "F32",
            Float::F64 => "F64",
        }
    }

    /// The header's type.
    pub const fn dtype(self) -> Dtype {
        Dtype::Known(match self {
            Float::F16 => safetensors::Dtype::F16,
            Float::Bf16 => safetensors::Dtype::BF16,
            Float::F32 => safetensors::Dtype::F32,
            Float::F64 => safetensors::Dtype::F64,
        })
    }

    /// Bytes an element takes.
    pub const fn bytes(self) -> usize {
        match self {
            Float::F16 | Float::Bf16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    /// Explicitly stored significand bits.
    pub(crate) const fn mantissa_bits(self) -> i32 {
        match self {
            Float::F16 => 10,
            Float::Bf16 => 7,
            Float::F32 => 23,
            Float::F64 => 52,
        }
    }

    /// Exponent of the smallest normal number.
    pub(crate) const fn min_exponent(self) -> i32 {
        match self {
            Float::F16 => -14,
            Float::Bf16 | Float::F32 => -126,
            Float::F64 => -1022,
        }
    }

    /// Distance between neighbouring numbers of this type at `value`; that of the subnormals below the smallest normal.
    pub fn ulp(self, value: f64) -> f64 {
        let exponent_bits = i32::try_from(value.abs().to_bits() >> 52).unwrap_or(i32::MAX);
        let exponent = (exponent_bits - 1023).max(self.min_exponent());
        // 2^-1074 is the smallest f64: its own bit pattern, since 2^(1023 - 1074) has no biased exponent.
        match exponent - self.mantissa_bits() {
            e @ -1022.. => f64::from_bits(u64::try_from(e + 1023).unwrap_or(0) << 52),
            e => f64::from_bits(1 << (e + 1074).max(0)),
        }
    }

    /// Element at the start of `bytes`, exactly; reads the first [`Float::bytes`] bytes, at any alignment.
    pub fn widen(self, bytes: &[u8]) -> f64 {
        match self {
            Float::F16 => f16::from_le_bytes(first(bytes)).to_f64(),
            Float::Bf16 => bf16::from_le_bytes(first(bytes)).to_f64(),
            Float::F32 => f64::from(f32::from_le_bytes(first(bytes))),
            Float::F64 => f64::from_le_bytes(first(bytes)),
        }
    }

    /// All elements of `bytes`, exactly.
    pub fn widen_all(self, bytes: &[u8]) -> Vec<f64> {
        bytes.chunks_exact(self.bytes()).map(|element| self.widen(element)).collect()
    }

    /// `value` rounded once, to nearest even, and appended as bytes.
    pub fn narrow_into(self, value: f64, out: &mut Vec<u8>) {
        match self {
            Float::F16 => out.extend_from_slice(&f16::from_f32(to_odd(value)).to_le_bytes()),
            Float::Bf16 => out.extend_from_slice(&bf16::from_f32(to_odd(value)).to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
            Float::F32 => out.extend_from_slice(&(value as f32).to_le_bytes()),
            Float::F64 => out.extend_from_slice(&value.to_le_bytes()),
        }
    }

    /// `values` rounded once each, as bytes.
    pub fn narrow_all(self, values: &[f64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(values.len() * self.bytes());
        values.iter().for_each(|&value| self.narrow_into(value, &mut out));
        out
    }

    /// `value` as this type would store it.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Float::F16 => f16::from_f32(to_odd(value)).to_f64(),
            Float::Bf16 => bf16::from_f32(to_odd(value)).to_f64(),
            #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
            Float::F32 => f64::from(value as f32),
            Float::F64 => value,
        }
    }
}

/// An f32 that rounds to the same half as `value`: cut off towards zero, and made odd if that lost anything, so that
/// what was lost still decides what looks like a tie (Boldo and Melquiond 2008, doi 10.1109/TC.2007.70819). The `half`
/// crate's own conversions from f64 round to f32 first, or cut 32 bits off, depending on the machine.
fn to_odd(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "what is lost is put right below")]
    let near = value as f32;
    let back = f64::from(near);
    if back == value || value.is_nan() {
        return near;
    }
    let cut = if back.abs() > value.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(cut | 1)
}

/// The first `N` bytes. Callers hand out whole elements; a shorter slice is a fault of theirs.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a whole element")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_keep_their_name() {
        assert_eq!(Dtype::parse("F32"), Float::F32.dtype());
        assert_eq!(Dtype::parse("F8_E4M3").bits(), Some(8));
        assert_eq!(Dtype::parse("Q4_K"), Dtype::Unknown("Q4_K".into()));
        assert_eq!(Dtype::parse("Q4_K").to_string(), "Q4_K");
        assert_eq!(Dtype::parse("f32").bits(), None, "names are case-sensitive");
    }

    #[test]
    fn ulp_is_the_gap_to_the_next_number() {
        for value in [1.0f32, 1.5, -3.0e-5, 7.0e30, f32::MIN_POSITIVE, 1.0e-40, 0.0] {
            let gap = f64::from(f32::from_bits(value.abs().to_bits() + 1)) - f64::from(value.abs());
            assert_eq!(Float::F32.ulp(f64::from(value)), gap, "{value}");
        }
        for value in [1.0f64, 1e-310, 0.0, 2.5e-300, 1e300, f64::MIN_POSITIVE] {
            assert_eq!(Float::F64.ulp(value), f64::from_bits(value.to_bits() + 1) - value, "{value}");
        }
        for bits in [0x0000u16, 0x0001, 0x03ff, 0x0400, 0x3c00, 0x7bfe] {
            let (value, next) = (f16::from_bits(bits).to_f64(), f16::from_bits(bits + 1).to_f64());
            assert_eq!(Float::F16.ulp(value), next - value, "{bits:#x}");
            let (value, next) = (bf16::from_bits(bits).to_f64(), bf16::from_bits(bits + 1).to_f64());
            assert_eq!(Float::Bf16.ulp(value), next - value, "{bits:#x}");
        }
    }

    #[test]
    fn halves_are_rounded_once_and_not_by_way_of_f32() {
        // Just above, at and just below the middle between 1 and the next half: less than an f32 can tell.
        for (float, gap) in [(Float::F16, 2f64.powi(-10)), (Float::Bf16, 2f64.powi(-7))] {
            for (hair, up) in [(2f64.powi(-45), 1.0), (0.0, 0.0), (-2f64.powi(-45), 0.0)] {
                assert_eq!(float.round(1.0 + gap / 2.0 + hair), 1.0 + gap * up, "{float:?} {hair:e}");
                assert_eq!(float.round(-(1.0 + gap / 2.0 + hair)), -(1.0 + gap * up), "{float:?} {hair:e}");
            }
            let odd = 1.0 + gap;
            assert_eq!(float.round(odd + gap / 2.0), 1.0 + 2.0 * gap, "{float:?}: a tie goes to even");
            assert_eq!(float.round(odd + gap / 2.0 - 2f64.powi(-45)), odd, "{float:?}");
            assert_eq!(float.round(1e300), f64::INFINITY, "{float:?}");
            assert_eq!(float.round(1e-300).to_bits(), 0, "{float:?}");
        }
        // The largest number that f32 rounds to infinity only because of what f64 still tells.
        assert_eq!(Float::Bf16.round(f64::from(f32::MAX) * (1.0 + 1e-9)), f64::INFINITY);
        assert_eq!(Float::F16.round(65_519.999_999_999), 65504.0);
    }

    #[test]
    fn every_half_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            for float in [Float::F16, Float::Bf16] {
                let value = float.widen(&bits.to_le_bytes());
                if !value.is_nan() {
                    assert_eq!(float.narrow_all(&[value]), bits.to_le_bytes(), "{float:?} {bits:#06x}");
                }
            }
        }
    }
}
