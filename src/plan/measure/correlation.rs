//! 2 PLAN, measure: how far a weight's rows and a norm's statistics agree, and what is chance.
//!
//! In: numbers per channel. Out: correlations, and deviations in units of what chance gives.
//!
//! A convolution's output has the mean `sum_i W[o,i] m_i + b_o` and, for inputs of like variance, a variance that grows
//! with `sum_i W[o,i]^2`. Inputs are mostly rectified, all `m_i` are positive, and the running mean goes with the row's
//! sum. Ranks are compared (Spearman), because the relations are monotone at best. For unrelated numbers in `p`
//! channels a rank correlation has mean 0 and standard deviation 1/sqrt(p-1) (Kendall & Gibbons, Rank Correlation
//! Methods, 5th ed., ch. 4), whatever the numbers' distribution, and lighter tails than a normal one.

use std::f64::consts::PI;

/// Ranks of `values`, ties averaged, centred and scaled to length 1, so that [`dot`] of two of them is Spearman's
/// correlation. All zero if all values are equal.
pub(in crate::plan) fn ranks(values: &[f64]) -> Vec<f64> {
    // Beside the indices, so that a comparison looks at one place in memory.
    let mut order = values.iter().copied().zip(0..).collect::<Vec<(f64, usize)>>();
    order.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0.0;
    for tied in order.chunk_by(|(a, _), (b, _)| a == b) {
        let rank = first + (tied.len() - 1) as f64 / 2.0;
        tied.iter().for_each(|&(_, index)| ranks[index] = rank);
        first += tied.len() as f64;
    }
    unit(ranks)
}

/// `values` less their mean, scaled to length 1; all zero if there is nothing left.
fn unit(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    let length = dot(&values, &values).sqrt();
    // Less than rounding leaves of numbers of order 1.
    let scale = if length > 1e-9 { 1.0 / length } else { 0.0 };
    values.iter_mut().for_each(|value| *value *= scale);
    values
}

/// Inner product.
pub(in crate::plan) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What is left of `a` once `b` has explained what it can; both as [`ranks`] returns them, and so is the result.
pub(in crate::plan) fn rest(a: &[f64], b: &[f64]) -> Vec<f64> {
    let rho = dot(a, b);
    unit(a.iter().zip(b).map(|(a, b)| a - rho * b).collect())
}

/// Standard deviations by which a norm must follow the weight of another one to share it.
const SHARED: f64 = 6.0;

/// The score that it must have besides: wide layers follow others by up to 7.9 deviations, but of 55,678 norms that no weight
/// feeds none had both, over the right pairs of 258 calibrated networks.
const SHARED_SCORE: f64 = 1.2;

/// How far a weight and a norm agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::plan) struct Agreement {
    /// Rank correlation of row sums and running means. Its sign depends on the sign of the inputs.
    pub(in crate::plan) sums: f64,
    /// Rank correlation of row norms and running variances.
    pub(in crate::plan) norms: f64,
    /// Number of channels.
    pub(in crate::plan) channels: usize,
}

impl Agreement {
    /// Between 0 (unrelated) and 2.
    pub(in crate::plan) fn score(self) -> f64 {
        self.sums.abs() + self.norms
    }

    /// Whether a norm that no weight is known to feed follows a weight so closely that both it and the weight's own norm have it.
    pub(in crate::plan) fn shares(self) -> bool {
        self.deviation() >= SHARED && self.score() >= SHARED_SCORE
    }

    /// The deviation of a pairing that is to refute another: sums that go against the means are no relation, as most inputs
    /// are positive.
    pub(in crate::plan) fn refuting(self) -> f64 {
        Agreement { sums: self.sums.max(0.0), ..self }.deviation()
    }

    /// The score in standard deviations above what unrelated numbers give: for standard normal x, y the mean of |x| + y
    /// is sqrt(2/pi) and its variance (1 - 2/pi) + 1.
    pub(in crate::plan) fn deviation(self) -> f64 {
        let standard = self.score() * (self.channels.max(2) as f64 - 1.0).sqrt();
        (standard - (2.0 / PI).sqrt()) / (2.0 - 2.0 / PI).sqrt()
    }
}

/// Independent deviations taken together (Stouffer): again a standard normal one where all is chance.
pub(in crate::plan) fn together(deviations: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = deviations.fold((0.0, 0.0), |(sum, count), deviation| (sum + deviation, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / f64::sqrt(count) }
}

/// How far running means lie above what the rows predict, in running standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::plan) struct Offset {
    /// The mean is `rows + factor * deviation`.
    pub(in crate::plan) factor: f64,
    /// `factor` in units of its standard error.
    pub(in crate::plan) t: f64,
}

/// Least squares of `mean = a * sum + factor * sqrt(var)`.
///
/// A convolution's output has the mean that its rows predict, and `factor` is 0 but for chance. The maximum of `k`
/// values lies above their mean in proportion to their deviation (1.03 for four independent normal ones, less for
/// neighbours in an image), and a rectified value's mean does so too.
pub(in crate::plan) fn offset(sums: &[f64], mean: &[f64], var: &[f64]) -> Option<Offset> {
    let deviations = var.iter().map(|var| var.max(0.0).sqrt()).collect::<Vec<_>>();
    let (aa, ab, bb) = (dot(sums, sums), dot(sums, &deviations), dot(&deviations, &deviations));
    let (ay, by) = (dot(sums, mean), dot(&deviations, mean));
    let determinant = aa * bb - ab * ab;
    // Rows and deviations that are proportional cannot be told apart.
    if mean.len() < 4 || determinant.is_nan() || determinant <= 1e-9 * aa * bb {
        return None;
    }
    let a = (bb * ay - ab * by) / determinant;
    let factor = (aa * by - ab * ay) / determinant;
    let residual = |((sum, deviation), mean): ((&f64, &f64), &f64)| (mean - a * sum - factor * deviation).powi(2);
    let squares = sums.iter().zip(&deviations).zip(mean).map(residual).sum::<f64>();
    let error = (squares / (mean.len() - 2) as f64 * aa / determinant).sqrt();
    let t = factor / error;
    t.is_finite().then_some(Offset { factor, t })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_average_ties_and_correlate_as_spearman_does() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: Pearson's correlation of them is 4.5 / sqrt(4.5 * 5).
        close(dot(&ranks(&[0.0, 3.0, 3.0, 9.0]), &ranks(&[-1.0, 1.0, 0.0, 7.0])), 4.5 / 22.5f64.sqrt());
        close(dot(&ranks(&[1.0, 2.0, 30.0]), &ranks(&[9.0, 5.0, 1.0])), -1.0);
        assert_eq!(ranks(&[2.0, 2.0]), [0.0, 0.0], "equal values say nothing");
    }

    #[test]
    fn what_is_explained_is_gone() {
        let (a, b) = (ranks(&[1.0, 5.0, 2.0, 4.0, 3.0]), ranks(&[1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!(dot(&rest(&a, &b), &b).abs() < 1e-12);
        assert!(rest(&a, &a).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn chance_has_mean_0_and_deviation_1() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64
        };
        let deviations = (0..2000).map(|_| {
            let mut ranked = || ranks(&(0..40).map(|_| random()).collect::<Vec<_>>());
            let (a, b, c, d) = (ranked(), ranked(), ranked(), ranked());
            Agreement { sums: dot(&a, &b), norms: dot(&c, &d), channels: 40 }.deviation()
        });
        let deviations = deviations.collect::<Vec<_>>();
        let mean = deviations.iter().sum::<f64>() / 2000.0;
        let var = deviations.iter().map(|z| (z - mean) * (z - mean)).sum::<f64>() / 2000.0;
        assert!(mean.abs() < 0.1 && (var - 1.0).abs() < 0.1, "{mean} {var}");
        assert!((together(deviations.iter().copied()) - mean * 2000f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn an_offset_is_found_and_its_absence_too() {
        let sums = (0..40).map(|i| f64::from(i * 7 % 11) - 5.0).collect::<Vec<_>>();
        let var = (0..40).map(|i| 0.5 + f64::from(i * 5 % 13)).collect::<Vec<_>>();
        let noise = (0..40).map(|i| f64::from(i * 3 % 7) * 0.1 - 0.3);
        let plain = sums.iter().zip(noise).map(|(sum, noise)| 0.4 * sum + noise).collect::<Vec<_>>();
        let pooled = plain.iter().zip(&var).map(|(mean, var)| mean + 0.8 * var.sqrt()).collect::<Vec<_>>();
        assert!(offset(&sums, &plain, &var).unwrap().t.abs() < 3.0);
        let found = offset(&sums, &pooled, &var).unwrap();
        assert!((found.factor - 0.8).abs() < 0.05 && found.t > 20.0, "{found:?}");
        assert_eq!(offset(&[0.0; 40], &pooled, &var), None, "rows that sum to nothing predict nothing");
    }
}
