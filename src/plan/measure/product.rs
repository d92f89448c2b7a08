//! 2 PLAN, measure: which of a depthwise layer and one that mixes channels comes last, in front of one norm.
//!
//! In: norms with two likely weights, one of which is depthwise. Out: the depthwise one, if the variances are those of a
//! product of both.
//!
//! A depthwise layer multiplies each channel by itself: behind `x -> W x -> d`, without anything between the two, the variance
//! of channel `c` is about `|W_c|^2 |d_c|^2` times a factor that hardly depends on `c`. In logarithms it is a sum with slopes
//! of 1. With the layers the other way around, `d` is mixed away and its slope is 0; behind the sum of both layers the two slopes
//! add up to 1, as that is what a common factor of both does to it.

use super::correlation::{dot, together};
use super::disambiguate::{RELATED, View};

/// What the slopes must be at least, each and together; at most, each.
const EACH: f64 = 0.6;
const BOTH: f64 = 1.6;
const MOST: f64 = 1.4;

/// The place of the depthwise weight of two, if all these norms together show that it comes last.
pub(super) fn last_of(views: &[View], is_depthwise: impl Fn(&View, usize) -> bool) -> Option<usize> {
    let first = views.first().filter(|view| view.choices.len() == 2)?;
    let last = (0..2).find(|&place| is_depthwise(first, place) && !is_depthwise(first, 1 - place))?;
    let mut slopes = [0.0; 2];
    for view in views.iter().filter(|view| view.choices.len() == 2) {
        let squares = |place: usize| &view.choices[place].0.rows.squares[..];
        let found = regression(&view.statistics.var, [squares(last), squares(1 - last)])?;
        slopes.iter_mut().zip(found).for_each(|(sum, slope)| *sum += slope / views.len() as f64);
    }
    // Each is needed once the other has explained what it can.
    let needed = |place: usize| together(views.iter().map(|view| view.left_to(1 - place, place))) >= RELATED;
    let is_product = slopes.iter().all(|slope| (EACH..=MOST).contains(slope)) && slopes[0] + slopes[1] >= BOTH;
    (is_product && needed(last) && needed(1 - last)).then_some(last)
}

/// Slopes of the logarithms of `found` over those of both factors; `None` if there are zeros, or the factors are one.
fn regression(found: &[f64], factors: [&[f64]; 2]) -> Option<[f64; 2]> {
    let centred = |values: &[f64]| {
        let logarithms = values.iter().map(|value| value.ln()).collect::<Vec<_>>();
        let mean = logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64;
        let centred = logarithms.iter().map(|logarithm| logarithm - mean).collect::<Vec<_>>();
        centred.iter().all(|value| value.is_finite()).then_some(centred)
    };
    let (y, a, b) = (centred(found)?, centred(factors[0])?, centred(factors[1])?);
    let (aa, bb, ab, ay, by) = (dot(&a, &a), dot(&b, &b), dot(&a, &b), dot(&a, &y), dot(&b, &y));
    let determinant = aa * bb - ab * ab;
    (determinant > 1e-9 * aa * bb).then(|| [(bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_tell_a_product_from_a_sum_and_from_one_factor() {
        let a = (1..=64).map(|i| (f64::from(i) * 0.7).sin() + 1.5).collect::<Vec<_>>();
        let b = (1..=64).map(|i| (f64::from(i) * 1.9).cos() + 1.5).collect::<Vec<_>>();
        let of = |f: fn(f64, f64) -> f64| {
            let found = a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>();
            regression(&found, [&a, &b]).unwrap()
        };
        let [first, second] = of(|a, b| 3.0 * a * b);
        assert!((first - 1.0).abs() < 1e-9 && (second - 1.0).abs() < 1e-9, "{first} {second}");
        let [first, second] = of(|a, b| a + b);
        assert!((first + second - 1.0).abs() < 0.1, "{first} {second}");
        let [first, second] = of(|a, _| a);
        assert!((first - 1.0).abs() < 1e-9 && second.abs() < 1e-9, "{first} {second}");
        assert_eq!(regression(&[1.0, 0.0], [&[1.0, 2.0], &[2.0, 1.0]]), None, "a channel without variance");
        assert_eq!(regression(&a, [&b, &b]), None, "the same factor twice");
    }
}
