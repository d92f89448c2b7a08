//! 2 PLAN, measure: what a norm's output is on average, behind each usual activation.
//!
//! In: a norm's scale and shift. Out: means per channel. A batch norm's output has mean beta and deviation |gamma| in
//! every channel, whatever came in; taken as normal, its mean behind an activation is known too (Nagel et al. 2019,
//! Data-Free Quantization Through Weight Equalization and Bias Correction, appendix C, for clipped ones).

use std::f64::consts::{PI, SQRT_2};

/// Activations by name, with the mean of their output for a normal input of a mean and a deviation.
pub(in crate::plan) type Activation = (&'static str, fn(f64, f64) -> f64);

/// max(0, x).
pub(in crate::plan) const RELU: Activation = ("ReLU", rectified);

/// The usual ones. Leaky and parametric rectifiers lie between the first two.
pub(in crate::plan) const ACTIVATIONS: [Activation; 6] = [
    ("nothing", |mean, _| mean),
    RELU,
    ("ReLU6", |mean, deviation| rectified(mean, deviation) - rectified(mean - 6.0, deviation)),
    ("SiLU", |mean, deviation| expected(mean, deviation, |x| x / (1.0 + (-x).exp()))),
    ("GELU", |mean, deviation| expected(mean, deviation, |x| x * normal_distribution(x))),
    ("hard swish", |mean, deviation| expected(mean, deviation, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0)),
];

/// Means per channel of a norm's output behind `activation`.
pub(in crate::plan) fn means(activation: Activation, gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    gamma.iter().zip(beta).map(|(&gamma, &beta)| activation.1(beta, gamma.abs())).collect()
}

/// Mean of max(0, x) for a normal x: `m P(m/s) + s p(m/s)`, with P and p the standard normal distribution and density.
fn rectified(mean: f64, deviation: f64) -> f64 {
    let deviation = deviation.max(f64::MIN_POSITIVE);
    let x = mean / deviation;
    mean * normal_distribution(x) + deviation * density(x)
}

/// Mean of `activation` of a normal x, by the trapezoidal rule over five deviations, which is exact to 1e-6 for
/// functions as smooth as these.
fn expected(mean: f64, deviation: f64, activation: fn(f64) -> f64) -> f64 {
    const STEP: f64 = 0.25;
    (-20..=20).map(|i| f64::from(i) * STEP).map(|x| activation(mean + deviation * x) * density(x) * STEP).sum()
}

fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
}

/// Share of the standard normal distribution below `x`; Abramowitz & Stegun 7.1.26, within 1e-7.
fn normal_distribution(x: f64) -> f64 {
    let z = x.abs() / SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = polynomial.iter().fold(0.0, |sum, coefficient| sum * t + coefficient) * t * (-z * z).exp() / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_a_fine_sum() {
        let activations: [fn(f64) -> f64; 6] = [
            |x| x,
            |x| x.max(0.0),
            |x| x.clamp(0.0, 6.0),
            |x| x / (1.0 + (-x).exp()),
            |x| x * normal_distribution(x),
            |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        ];
        for (activation, plain) in ACTIVATIONS.iter().zip(activations) {
            for (mean, deviation) in [(0.0, 1.0), (1.0, 2.0), (-0.7, 0.3), (5.0, 1.5), (-3.0, 1e-12)] {
                let points = (-80_000..=80_000).map(|i| f64::from(i) * 1e-4);
                let exact = points.map(|x| plain(mean + deviation * x) * density(x) * 1e-4).sum::<f64>();
                let found = activation.1(mean, deviation);
                assert!((found - exact).abs() < 2e-3, "{} {mean} {deviation}: {found} {exact}", activation.0);
            }
        }
    }
}
