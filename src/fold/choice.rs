//! 3 FOLD: CPU or GPU, where the user leaves it open.
//!
//! In: how much there is to fold, and the best hardware adapter, which is asked for only where it can matter. Out: a
//! [`Choice`] with its reason in words. The calculation, in seconds for `b` bytes:
//!
//! ```text
//! CPU path   b / FILE                                 multiplying and checking hide behind the file
//! GPU path   OPENING + b / min(FILE, transfer)        so do transfers that are quicker than it
//! ```
//!
//! Folding is one multiplication an element: both paths wait for the file, and a GPU costs its opening on top. It is
//! taken where that no longer shows, [`MOST_LOSS`] of the time, and never where its transfers are the slower part.

use super::gpu::AdapterSummary;
use crate::text;

/// Seconds from asking the system for adapters to the first dispatch, with the pipelines made for it: 0.04 to 0.1 where it was measured.
const OPENING: f64 = 0.08;

/// Bytes a second from file to file through the page cache, by the CPU path: 3.4e9 to 5e9 where it was measured.
const FILE: f64 = 4e9;

/// Bytes a second and direction that a card on 16 lanes of PCI Express 3.0 moves; later generations move more.
const CARD: f64 = 12e9;

/// Bytes a second that are copied into and out of memory that host and GPU share.
const SHARED: f64 = 8e9;

/// What an adapter behind a hypervisor, or of unknown kind, is trusted with.
const UNKNOWN: f64 = 3e9;

/// The share of the CPU path's time that a GPU may take longer.
pub const MOST_LOSS: f64 = 0.1;

/// What to fold on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The CPU path.
    Cpu {
        /// Why.
        reason: String,
    },
    /// The adapter of that number.
    Gpu {
        /// Its number, as in [`super::gpu::adapters`].
        number: usize,
        /// Why.
        reason: String,
    },
}

/// What to fold `bytes` bytes of checkpoints on, all models of a call together. `adapter` finds the best hardware
/// adapter, or says why there is none; it is not called where no adapter could be quick enough, since asking the system
/// takes longer than a small model.
pub fn choose(bytes: u64, adapter: impl FnOnce() -> Result<AdapterSummary, String>) -> Choice {
    let cpu = |reason: String| Choice::Cpu { reason };
    let size = text::bytes(bytes);
    if loss(bytes, FILE) > MOST_LOSS {
        return cpu(format!("{size} are too few to make up for opening a GPU"));
    }
    let adapter = match adapter() {
        Ok(adapter) => adapter,
        Err(reason) => return cpu(format!("no hardware GPU ({reason})")),
    };
    let (number, name) = (adapter.number, &adapter.name);
    if adapter.is_software() {
        return cpu(format!("{name} is software"));
    }
    match loss(bytes, transfer(&adapter)) <= MOST_LOSS {
        true => Choice::Gpu { number, reason: format!("{name}, for {size}") },
        false => cpu(format!("moving {size} to {name} and back takes longer than folding them")),
    }
}

/// By how much of the CPU path's time the GPU path is the longer one.
fn loss(bytes: u64, transfer: f64) -> f64 {
    let bytes = bytes as f64;
    let cpu = bytes / FILE;
    let gpu = OPENING + bytes / transfer.min(FILE);
    (gpu - cpu) / cpu
}

/// Bytes a second that reach an adapter's memory, and come back at the same time.
fn transfer(adapter: &AdapterSummary) -> f64 {
    match adapter.kind {
        "discrete" => CARD,
        "integrated" => SHARED,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(kind: &'static str) -> AdapterSummary {
        AdapterSummary::sample(1, kind)
    }

    /// `gpu`, or the reason for the CPU.
    fn chosen(bytes: u64, adapter: Result<AdapterSummary, String>) -> String {
        match choose(bytes, || adapter) {
            Choice::Cpu { reason } => reason,
            Choice::Gpu { number, .. } => format!("gpu:{number}"),
        }
    }

    #[test]
    fn a_small_model_is_folded_before_anyone_asks_for_an_adapter() {
        for bytes in [0, 1, 14_000_000, 240_000_000, 3_000_000_000] {
            let choice = choose(bytes, || panic!("{bytes} bytes are too few to ask"));
            assert!(matches!(&choice, Choice::Cpu { reason } if reason.contains("too few")), "{choice:?}");
        }
    }

    #[test]
    fn a_large_call_goes_to_hardware_that_keeps_up_with_the_file() {
        let large = 10_000_000_000;
        assert_eq!(chosen(large, Ok(adapter("discrete"))), "gpu:1");
        assert_eq!(chosen(large, Ok(adapter("integrated"))), "gpu:1");
        assert_eq!(chosen(large, Ok(adapter("software"))), "adapter 1 is software");
        assert!(chosen(large, Ok(adapter("virtual"))).starts_with("moving 10.00 GB to adapter 1"));
        assert_eq!(chosen(large, Err("none".to_owned())), "no hardware GPU (none)");
    }

    #[test]
    fn from_a_size_on_it_is_the_gpu_and_stays_it() {
        let sizes = (0..60).map(|n| 1u64 << n);
        let on_gpu = sizes.map(|bytes| chosen(bytes, Ok(adapter("discrete"))) == "gpu:1").collect::<Vec<_>>();
        assert!(on_gpu.is_sorted() && on_gpu[59] && !on_gpu[0], "{on_gpu:?}");
    }
}
