//! 5 VERIFY: whether the weights of a layer lean one way, each of them within its bound.
//!
//! In: signed errors, element by element, in the pass that compares them. Out: a [`Lean`] whose size no rounding explains. An
//! error of a scale that all channels share, such as that of an eps beside large variances, adds up; roundings cancel.
//!
//! Channels of one variance share the roundings of its root, so their mean is one observation. Observations of different
//! variances are independent: their mean is as far as t from what is expected of it with a probability of at most
//! 2 exp(-n t^2 / 2 (V + B t / 3)) (Bernstein's inequality), with V the variance of one and B the most that it can be.

use std::collections::BTreeMap;

use crate::fold::oracle::Worst;

/// How often a right layer, folded by any tool, is taken for a wrong one, at most. Our own are never: none of their weights
/// is off by more than [`SHARED`].
const ERROR_RATE: f64 = 1e-9;

/// What all channels may share, in ulp: the rounding of eps, and the lean of a device's own reciprocal root.
const SHARED: f64 = 1.5;

/// The variance of a channel's mean error, in ulp^2, from the roundings that `tolerance` lists: each is uniform in one unit
/// to either side at most, a variance of 1/3; those of eps and its sum with the variance count a quarter, and the product's
/// own is 1/12: 3.5 / 3 + 1/12. Where the reference in f64 is no finer, its own 2.25 / 3 + 1/12 come on top.
const VARIANCE: f64 = 2.1;

/// Signed errors of a layer: one entry a channel.
pub(super) struct Errors {
    sums: Vec<f64>,
    counts: Vec<u32>,
}

/// A lean that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lean {
    /// The mean error in ulp, positive where numbers are too large.
    pub(super) mean: f64,
    /// How many variances it was seen at.
    pub(super) variances: usize,
    /// How large it might be.
    pub(super) accepted: f64,
}

impl Errors {
    pub(super) fn new(channels: usize) -> Errors {
        Errors { sums: vec![0.0; channels], counts: vec![0; channels] }
    }

    /// Takes an element in. Zeros have no side to lean to.
    pub(super) fn add(&mut self, channel: usize, Worst { ulp, got, expected, .. }: Worst) {
        if expected != 0.0 && ulp.is_finite() {
            let grew = (got > expected) == (expected > 0.0);
            self.sums[channel] += if grew { ulp } else { -ulp };
            self.counts[channel] = self.counts[channel].saturating_add(1);
        }
    }

    /// The lean of a layer with variances `var`, none of whose errors is above `bound`, if it is not accepted.
    pub(super) fn lean(&self, var: &[f64], bound: f64) -> Option<Lean> {
        let mut observed = BTreeMap::<u64, (f64, u32)>::new();
        for (var, (&sum, &count)) in
            var.iter().zip(self.sums.iter().zip(&self.counts)).filter(|(_, (_, count))| **count > 0)
        {
            let (mean, channels) = observed.entry(var.to_bits()).or_default();
            (*mean, *channels) = (*mean + sum / f64::from(count), *channels + 1);
        }
        let means = observed.values().map(|&(sum, channels)| sum / f64::from(channels));
        let mean = means.sum::<f64>() / observed.len() as f64;
        let accepted = accepted(observed.len(), bound);
        (mean.abs() > accepted).then_some(Lean { mean, variances: observed.len(), accepted })
    }
}

/// The largest mean of `observations` that is accepted.
fn accepted(observations: usize, bound: f64) -> f64 {
    let per_observation = (2.0 / ERROR_RATE).ln() / observations as f64;
    let linear = per_observation * bound / 3.0;
    SHARED + linear + (linear * linear + 2.0 * per_observation * VARIANCE).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(ulp: f64) -> Worst {
        Worst { ulp: ulp.abs(), element: 0, got: 1.0 + ulp, expected: 1.0 }
    }

    #[test]
    fn more_variances_leave_less_room() {
        let [few, some, many] = [16, 64, 1024].map(|observations| accepted(observations, 8.0));
        assert!(few > 8.0 && (3.8..4.0).contains(&some) && (1.8..1.9).contains(&many), "{few} {some} {many}");
    }

    #[test]
    fn a_lean_is_seen_on_either_side_and_chance_is_not() {
        let var = (0..256).map(|channel| 1.0 + f64::from(channel)).collect::<Vec<_>>();
        for (error, found) in [(3.0, true), (-3.0, true), (2.0, false), (-2.0, false)] {
            let mut errors = Errors::new(256);
            (0..256).for_each(|channel| errors.add(channel, off(error)));
            assert_eq!(errors.lean(&var, 8.0).map(|lean| lean.mean), found.then_some(error));
        }
        let mut errors = Errors::new(256);
        (0..256).for_each(|channel| errors.add(channel, off(if channel % 2 == 0 { 7.5 } else { -7.5 })));
        assert_eq!(errors.lean(&var, 8.0), None);
    }

    #[test]
    fn equal_variances_are_one_observation() {
        let mut errors = Errors::new(4096);
        (0..4096).for_each(|channel| errors.add(channel, off(7.5)));
        assert_eq!(errors.lean(&[1.0; 4096], 8.0), None);
    }

    #[test]
    fn nothing_leans_nowhere() {
        let mut errors = Errors::new(2);
        errors.add(0, Worst { ulp: f64::NAN, ..off(0.0) });
        errors.add(1, Worst::default());
        assert_eq!(errors.lean(&[1.0, 2.0], 8.0), None);
    }
}
