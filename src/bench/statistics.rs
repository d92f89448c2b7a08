//! BENCH: what several samples of one time say.
//!
//! In: seconds. Out: their median, their spread, and the samples themselves: a figure without them cannot be judged.

use serde::Serialize;

/// Samples of one time, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Samples {
    /// The middle one; of an even number of samples the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All of them, in the order they were taken.
    pub samples: Vec<f64>,
}

impl Samples {
    /// From all samples, in the order they were taken; zeros from none.
    pub fn new(samples: Vec<f64>) -> Samples {
        let sorted = sorted(&samples);
        let (min, max) = (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0));
        Samples { median: median(&sorted), min, max, samples }
    }

    /// The median of the ratios to the samples of `roof` taken in the same rounds: where a machine's speed drifts, it
    /// drifts for both.
    pub fn ratio(&self, roof: &Samples) -> f64 {
        let ratios = self.samples.iter().zip(&roof.samples).map(|(ours, roof)| ours / roof).collect::<Vec<_>>();
        median(&sorted(&ratios))
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> f64 {
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (middle, _) => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let of = |samples: &[f64]| Samples::new(samples.to_vec());
        assert_eq!((of(&[]).median, of(&[7.0]).median, of(&[4.0, 1.0]).median), (0.0, 7.0, 2.5));
        let samples = of(&[5.0, 1.0, 9.0]);
        assert_eq!((samples.median, samples.min, samples.max), (5.0, 1.0, 9.0));
        assert_eq!(samples.samples, [5.0, 1.0, 9.0], "as they were taken");
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let (ours, roof) = (Samples::new(vec![2.0, 20.0, 3.0]), Samples::new(vec![1.0, 10.0, 1.0]));
        assert_eq!(ours.ratio(&roof), 2.0);
        assert_eq!(ours.median / roof.median, 3.0, "the ratio of the medians would be another");
    }
}
