//! BENCH: the times that were taken.
//!
//! In: a step and how long it took, again and again. Out: a [`Measurement`] a step, held against the step that nothing can
//! beat.

use super::Samples;
use super::report::{Measurement, Step};

/// Times by step, in the order in which the steps came first, which is that of the report.
#[derive(Default)]
pub(super) struct Taken(Vec<Times>);

/// The times that one step took.
struct Times {
    step: Step,
    /// Bytes that go through it.
    bytes: u64,
    /// One time per round.
    seconds: Vec<f64>,
}

impl Taken {
    pub(super) fn add(&mut self, step: Step, bytes: u64, seconds: f64) {
        match self.0.iter_mut().find(|times| times.step == step) {
            Some(times) => times.seconds.push(seconds),
            None => self.0.push(Times { step, bytes, seconds: vec![seconds] }),
        }
    }

    pub(super) fn measurements(self) -> Vec<Measurement> {
        let mut all = self.0.into_iter().map(measurement).collect::<Vec<_>>();
        for n in 0..all.len() {
            let roof = all.iter().find(|other| Some(other.step) == all[n].roof);
            all[n].ratio = roof.map(|roof| all[n].seconds.ratio(&roof.seconds));
        }
        all
    }
}

/// What was measured of a step; what it is held against may not be known yet.
fn measurement(Times { step, bytes, seconds }: Times) -> Measurement {
    let seconds = Samples::new(seconds);
    let bytes_per_second = if seconds.median > 0.0 { bytes as f64 / seconds.median } else { 0.0 };
    Measurement { step, bytes, bytes_per_second, roof: step.roof(), ratio: None, seconds }
}
