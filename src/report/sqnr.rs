//! 6 REPORT: what rounding weights to 8 bits would leave of them, in decibels.
//!
//! In: sums of squares. Out: a [`Sqnr`]: signal-to-quantization-noise ratios, 10 log10(signal / noise), before and after
//! folding.

use serde::{Deserialize, Serialize};

use super::read;
use crate::fold::{Energy, FoldedLayer, Quantized};

/// Ratios before and after folding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sqnr {
    /// As stored in the original.
    pub before: Decibels,
    /// As folded.
    pub after: Decibels,
}

/// A ratio for each way to round. One that is not finite, as of a weight that loses nothing, is `null` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decibels {
    /// int8, one step for the tensor.
    #[serde(deserialize_with = "read::number")]
    pub int8_tensor: f64,
    /// int8, one step a channel.
    #[serde(deserialize_with = "read::number")]
    pub int8_channel: f64,
    /// FP8 E4M3, one factor for the tensor.
    #[serde(deserialize_with = "read::number")]
    pub e4m3_tensor: f64,
    /// FP8 E4M3, one factor a channel.
    #[serde(deserialize_with = "read::number")]
    pub e4m3_channel: f64,
}

impl Sqnr {
    /// Of one weight.
    pub fn of(Quantized { before, after }: Quantized) -> Sqnr {
        Sqnr { before: Decibels::of(before), after: Decibels::of(after) }
    }

    /// Of all weights together, as if they were one; `None` unless it was asked for.
    pub(crate) fn of_all(layers: &[FoldedLayer<'_>]) -> Option<Sqnr> {
        let all = layers.iter().map(|layer| layer.quantized).collect::<Option<Vec<_>>>()?;
        let sum =
            all.into_iter().reduce(|a, b| Quantized { before: a.before.plus(b.before), after: a.after.plus(b.after) });
        sum.map(Sqnr::of)
    }
}

impl Decibels {
    fn of(Energy { signal, noise }: Energy) -> Decibels {
        let [int8_tensor, int8_channel, e4m3_tensor, e4m3_channel] = noise.map(|noise| 10.0 * (signal / noise).log10());
        Decibels { int8_tensor, int8_channel, e4m3_tensor, e4m3_channel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_decibels_of_sums() {
        let one = Energy { signal: 8.0, noise: [0.08, 0.8, 8.0, 0.0] };
        let both = Decibels::of(one.plus(Energy { signal: 2.0, noise: [0.02, 0.2, 2.0, 0.0] }));
        let [a, b, c] = [both.int8_tensor, both.int8_channel, both.e4m3_tensor].map(|db| (db * 1e9).round() / 1e9);
        assert_eq!((a, b, c, both.e4m3_channel), (20.0, 10.0, 0.0, f64::INFINITY));
    }
}
