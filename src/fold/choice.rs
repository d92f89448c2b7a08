//! 3 FOLD: CPU or GPU, where the user leaves it open.
//!
//! In: how much there is to fold, what a benchmark measured on this machine, and the best hardware adapter, which is asked
//! for only where it can matter. Out: a [`Choice`] with its reason. Nothing is believed of an adapter that was not measured:
//! folding is one multiplication an element, so both paths wait for the file, and a GPU costs its opening on top.
//!
//! ```text
//! CPU path   b / cpu
//! GPU path   opening + b / gpu
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::gpu::AdapterSummary;
use crate::text;

/// The share of the CPU path's time that a GPU may take longer.
pub const MOST_LOSS: f64 = 0.1;

/// What a benchmark measured on an adapter, with the CPU path beside it. Rates are those of whole verified folds, from file
/// to file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver, with the version: another one is another adapter.
    pub driver: String,
    /// Seconds from asking the system for adapters to an engine.
    pub opening: f64,
    /// Bytes a second of the CPU path.
    pub cpu: f64,
    /// Bytes a second of the GPU path, the device being open.
    pub gpu: f64,
}

impl Rates {
    /// Whether they were measured on `adapter`, with the driver that it has now.
    pub fn is_of(&self, adapter: &AdapterSummary) -> bool {
        (&self.adapter, &self.driver) == (&adapter.name, &adapter.driver)
    }

    /// How many times the CPU path's time the GPU path takes for `bytes` bytes.
    fn ratio(&self, bytes: u64) -> f64 {
        let bytes = bytes as f64;
        (self.opening + bytes / self.gpu) * self.cpu / bytes
    }

    /// Whether the GPU path may be taken for `bytes` bytes; never for rates that are no numbers.
    fn is_worth(&self, bytes: u64) -> bool {
        bytes > 0 && self.ratio(bytes) <= 1.0 + MOST_LOSS
    }
}

/// What to fold on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The CPU path, and why.
    Cpu(WhyCpu),
    /// The adapter of that number, as in [`super::gpu::Adapters`], and why.
    Gpu(usize, String),
}

/// Why it is the CPU path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyCpu {
    /// Nobody knows how quick an adapter would be.
    NotMeasured,
    /// An adapter was measured, and would take longer; in words.
    Slower(String),
    /// There is no adapter that could be taken; in words.
    NoAdapter(String),
}

impl fmt::Display for WhyCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyCpu::NotMeasured => f.write_str("no graphics adapter has been measured on this machine"),
            WhyCpu::Slower(words) | WhyCpu::NoAdapter(words) => f.write_str(words),
        }
    }
}

/// What to fold `bytes` bytes of checkpoints on, all models of a call together. `adapter` finds the best hardware adapter,
/// or says why there is none; it is not called where no adapter that was measured is quick enough, since asking the system
/// takes longer than a small model.
pub fn choose(bytes: u64, known: &[Rates], adapter: impl FnOnce() -> Result<AdapterSummary, String>) -> Choice {
    let size = text::bytes(bytes);
    let slower = |rates: &Rates| {
        let (adapter, ratio) = (&rates.adapter, rates.ratio(bytes.max(1)));
        Choice::Cpu(WhyCpu::Slower(format!("for {size}, {adapter} takes {ratio:.1} times as long, as measured")))
    };
    let Some(best) = known.iter().min_by(|a, b| a.ratio(bytes.max(1)).total_cmp(&b.ratio(bytes.max(1)))) else {
        return Choice::Cpu(WhyCpu::NotMeasured);
    };
    if !best.is_worth(bytes) {
        return slower(best);
    }
    let adapter = match adapter() {
        Ok(adapter) => adapter,
        Err(reason) => return Choice::Cpu(WhyCpu::NoAdapter(format!("no graphics adapter found ({reason})"))),
    };
    match known.iter().find(|rates| rates.is_of(&adapter)) {
        None => Choice::Cpu(WhyCpu::NotMeasured),
        Some(rates) if adapter.is_software() || !rates.is_worth(bytes) => slower(rates),
        Some(_) => {
            Choice::Gpu(adapter.number, format!("{}, measured to keep up with the CPU for {size}", adapter.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(opening: f64, gpu: f64) -> Rates {
        let AdapterSummary { name, driver, .. } = AdapterSummary::sample(1, "discrete");
        Rates { adapter: name, driver, opening, cpu: 4e9, gpu }
    }

    /// `gpu`, or the reason for the CPU.
    fn chosen(bytes: u64, known: &[Rates], adapter: Result<AdapterSummary, String>) -> String {
        match choose(bytes, known, || adapter) {
            Choice::Cpu(why) => why.to_string(),
            Choice::Gpu(number, _) => format!("gpu:{number}"),
        }
    }

    #[test]
    fn without_a_measurement_nobody_asks_for_an_adapter() {
        for bytes in [0, 1, 14_000_000, 240_000_000, 1 << 50] {
            let choice = choose(bytes, &[], || panic!("nothing is known"));
            assert_eq!(choice, Choice::Cpu(WhyCpu::NotMeasured));
            let slow = [rates(0.1, 1e9)];
            let choice = choose(bytes, &slow, || panic!("it is slower for any size"));
            assert!(
                matches!(&choice, Choice::Cpu(WhyCpu::Slower(words)) if words.contains("times as long")),
                "{choice:?}"
            );
        }
    }

    #[test]
    fn an_adapter_that_keeps_up_is_taken_from_the_size_on_where_its_opening_is_lost() {
        let discrete = || Ok(AdapterSummary::sample(1, "discrete"));
        let quick = [rates(0.1, 4e9)];
        let sizes = (0..60).map(|n| 1u64 << n);
        let on_gpu = sizes.map(|bytes| chosen(bytes, &quick, discrete()) == "gpu:1").collect::<Vec<_>>();
        assert!(on_gpu.is_sorted() && on_gpu[59] && !on_gpu[0], "{on_gpu:?}");
        // 0.1 s is a tenth of what the CPU path takes for 4 GB.
        assert_eq!(
            chosen(3_900_000_000, &quick, discrete()),
            "for 3.90 GB, adapter 1 takes 1.1 times as long, as measured"
        );
        assert_eq!(chosen(4_100_000_000, &quick, discrete()), "gpu:1");
    }

    #[test]
    fn only_the_adapter_that_was_measured_is_taken() {
        let (large, quick) = (1 << 40, [rates(0.1, 5e9)]);
        assert_eq!(chosen(large, &quick, Err("none".to_owned())), "no graphics adapter found (none)");
        let other_driver = AdapterSummary { driver: "newer".to_owned(), ..AdapterSummary::sample(1, "discrete") };
        for adapter in [AdapterSummary::sample(2, "discrete"), other_driver] {
            assert_eq!(chosen(large, &quick, Ok(adapter)), "no graphics adapter has been measured on this machine");
        }
        let software = AdapterSummary::sample(1, "software");
        assert!(chosen(large, &quick, Ok(software)).contains("times as long"), "software is never taken");
    }

    #[test]
    fn rates_that_are_no_numbers_choose_the_cpu() {
        for (opening, gpu) in [(f64::NAN, 5e9), (0.1, f64::NAN), (0.1, 0.0), (f64::INFINITY, 5e9)] {
            let choice = choose(1 << 40, &[rates(opening, gpu)], || Ok(AdapterSummary::sample(1, "discrete")));
            assert!(matches!(choice, Choice::Cpu(_)), "{opening} {gpu}");
        }
    }
}
