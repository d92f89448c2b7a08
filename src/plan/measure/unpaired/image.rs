//! 2 PLAN, measure: the means of an image's channels, from what the first layer makes of them.
//!
//! In: the layer and a norm's running means. Out: the means of its inputs that fit best, by least squares. No norm stands
//! before a network's first layer; but what it takes in has two to four channels (the colours of an image, often with a depth or
//! a mask), so that their means are a few unknown numbers beside the running means of sixteen channels and more.

use super::super::correlation::dot;
use super::super::values::Values;
use super::linear_map::LinearMap;
use crate::error::Result;
use crate::network::Weight;
use crate::plan::board::Board;

/// How many channels an image may have. A layer of one input a group is most likely a depthwise one.
const CHANNELS: std::ops::RangeInclusive<usize> = 2..=4;

/// A pivot below this, as a part of what it was at first, is nothing but rounding: the inputs cannot be told apart.
const SINGULAR: f64 = 1e-9;

/// The part of a network's norms that may be left without a weight before one must suspect that it runs its norms first. There a
/// half or a third of them see sums, and the first layer's output, too, is read by a norm and added: to the same means, so that
/// no value tells.
const FEW: f64 = 0.1;

/// Whether the first layer's output may be added to something besides being normed.
pub(super) fn may_be_added(values: &mut Values<'_>, board: &Board<'_>) -> Result<bool> {
    let (mut all, mut left) = (0, 0);
    for norm in board.norms() {
        if values.statistics(norm)?.is_some() {
            (all, left) = (all + 1, left + usize::from(board.pair(norm).is_none()));
        }
    }
    // One of them may be what this is asked for.
    Ok(left as f64 - 1.0 > FEW * all as f64)
}

/// Whether a weight may be the first layer's.
pub(super) fn may_see_one(weight: &Weight) -> bool {
    let inputs = weight.inputs().and_then(|inputs| usize::try_from(inputs).ok());
    inputs.is_some_and(|inputs| CHANNELS.contains(&inputs))
}

/// The means of the inputs that come nearest to `found` means of the outputs, and the padding with which they do.
pub(super) fn means(layer: &LinearMap, found: &[f64]) -> Option<(Vec<f64>, usize)> {
    if !CHANNELS.contains(&layer.inputs()) {
        return None;
    }
    let fits = (0..layer.paddings()).filter_map(|padding| {
        let means = least_squares(&layer.rows(padding), found)?;
        let fitted = layer.outputs(&means, padding)?;
        let left = found.iter().zip(&fitted).map(|(found, fitted)| (found - fitted) * (found - fitted)).sum::<f64>();
        Some((left, means, padding))
    });
    fits.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, means, padding)| (means, padding))
}

/// The factors of `rows` whose sum comes nearest to `found`; `None` if there are several.
fn least_squares(rows: &[&[f64]], found: &[f64]) -> Option<Vec<f64>> {
    // Normal equations, the right side last, and Gaussian elimination: they are positive definite, so no pivot is searched.
    let mut equations = rows
        .iter()
        .map(|row| rows.iter().chain([&found]).map(|other| dot(row, other)).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    for at in 0..rows.len() {
        let pivot = equations[at][at];
        if pivot.is_nan() || pivot <= SINGULAR * dot(rows[at], rows[at]) {
            return None;
        }
        equations[at].iter_mut().for_each(|number| *number /= pivot);
        let own = equations[at].clone();
        for (_, other) in equations.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let factor = other[at];
            other.iter_mut().zip(&own).for_each(|(number, own)| *number -= factor * own);
        }
    }
    Some(equations.iter().map(|equation| equation[rows.len()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_means_of_an_image_come_out_of_what_a_layer_makes_of_them() {
        let rows = [0.5, -1.0, 2.0, 0.25, 1.0, 1.0, -1.5, 0.5, -0.75, 0.125, 1.0, 3.0];
        let layer = LinearMap::of(vec![rows.to_vec()], 3, 4);
        let outputs = layer.outputs(&[0.4, -0.2, 0.1], 0).unwrap();
        let (found, padding) = means(&layer, &outputs).unwrap();
        assert_eq!(padding, 0);
        assert!(found.iter().zip([0.4, -0.2, 0.1]).all(|(found, mean)| (found - mean).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn inputs_that_cannot_be_told_apart_have_no_means() {
        assert_eq!(least_squares(&[&[1.0, 2.0], &[2.0, 4.0]], &[1.0, 2.0]), None);
        assert_eq!(least_squares(&[&[0.0, 0.0]], &[1.0, 2.0]), None);
        let inputs = |inputs: usize| means(&LinearMap::of(vec![vec![1.0; inputs * 8]], inputs, 8), &[1.0; 8]);
        assert_eq!((inputs(1), inputs(5)), (None, None), "neither is an image");
    }
}
