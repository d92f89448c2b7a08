//! Evidence: one weight that is stored under several names.
//!
//! In: planned folds. Out: refusals. A layer that a network uses in several places, each with a norm of its own (heads over
//! the levels of a pyramid, units that share a convolution), has one weight; a writer that did not record it stored it once
//! a place. Folded, each copy would be another weight, and the network could not be built again. Weights of the same type
//! and shape are compared by [`ELEMENTS`] elements at each end, of which enough differ from each other. Copies whose norms
//! are equal too, as in a file that holds a network twice, stay one network twice.

use std::collections::{BTreeMap, HashSet};

use super::values::Values;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::Weight;
use crate::plan::Verdict;

/// Elements that are compared at each end of a weight.
const ELEMENTS: u64 = 64;

/// Fewer different elements than these say nothing: a weight that was never trained may be constant.
const DIFFERENT: usize = 8;

/// Refuses folds into weights that hold the values of another weight with another norm; returns all such weights, which
/// no norm may be folded into.
pub(super) fn refuse(values: &mut Values<'_>, verdicts: &mut [Verdict]) -> Result<HashSet<usize>> {
    let (checkpoint, inventory) = (values.checkpoint, values.inventory);
    let mut owners = vec![None; inventory.weights.len()];
    let mut wanted = BTreeMap::<_, Vec<usize>>::new();
    for (norm, verdict) in verdicts.iter().enumerate() {
        let &Verdict::Fold { weight, .. } = verdict else { continue };
        if values.statistics(norm)?.is_some() {
            owners[weight] = Some(norm);
            wanted.entry(key(values, weight)).or_default();
        }
    }
    for weight in 0..inventory.weights.len() {
        if let Some(alike) = wanted.get_mut(&key(values, weight)) {
            alike.push(weight);
        }
    }
    let groups = wanted.into_values().filter(|group| group.len() > 1).enumerate();
    let members = groups.flat_map(|(number, group)| group.into_iter().map(move |weight| (number, weight)));
    let members = members.collect::<Vec<_>>();
    let samples = values.in_parallel(&members, |&(_, weight)| sample(checkpoint, &inventory.weights[weight]))?;
    let mut same = BTreeMap::<_, Vec<usize>>::new();
    for ((group, weight), sample) in members.into_iter().zip(samples) {
        if let Some(sample) = sample {
            same.entry((group, sample)).or_default().push(weight);
        }
    }
    let mut refused = HashSet::new();
    for tied in same.into_values().filter(|tied| tied.len() > 1) {
        let norms = tied.iter().map(|&weight| owners[weight]).collect::<Vec<_>>();
        if !one_norm(values, &norms)? {
            for norm in norms.into_iter().flatten() {
                verdicts[norm] = Verdict::Keep { reason: reason(values, &tied) };
            }
            refused.extend(tied);
        }
    }
    Ok(refused)
}

/// What weights must have in common to be one.
fn key(values: &Values<'_>, weight: usize) -> (String, Vec<u64>) {
    let weight = &values.inventory.weights[weight];
    (weight.dtype.to_string(), weight.shape.clone())
}

/// Elements at both ends of a weight; `None` if they say nothing.
fn sample(checkpoint: &Checkpoint, weight: &Weight) -> Result<Option<Vec<u8>>> {
    let Some(float) = weight.dtype.float() else { return Ok(None) };
    let tensor = checkpoint.tensor(&weight.tensor)?;
    let bytes = tensor.bytes.min(ELEMENTS * float.bytes() as u64);
    let mut sample = vec![0; usize::try_from(2 * bytes).unwrap_or_default()];
    let (begin, end) = sample.split_at_mut(usize::try_from(bytes).unwrap_or_default());
    checkpoint.read(tensor, 0, begin)?;
    checkpoint.read(tensor, tensor.bytes - bytes, end)?;
    let mut different = Vec::with_capacity(DIFFERENT);
    for element in sample.chunks(float.bytes()) {
        if different.len() < DIFFERENT && !different.contains(&element) {
            different.push(element);
        }
    }
    let is_telling = different.len() == DIFFERENT;
    Ok(is_telling.then_some(sample))
}

/// Whether all these weights feed norms, and those are equal.
fn one_norm(values: &mut Values<'_>, norms: &[Option<usize>]) -> Result<bool> {
    let mut first = None;
    for norm in norms {
        let Some(norm) = *norm else { return Ok(false) };
        let Some(statistics) = values.statistics(norm)? else { return Ok(false) };
        let this = (statistics.mean.clone(), statistics.var.clone(), values.affine(norm)?);
        if first.get_or_insert_with(|| this.clone()) != &this {
            return Ok(false);
        }
    }
    Ok(true)
}

fn reason(values: &Values<'_>, tied: &[usize]) -> String {
    let names = tied.iter().take(3).map(|&weight| format!("`{}`", values.inventory.weights[weight].tensor));
    let names = names.collect::<Vec<_>>().join(" and ");
    let more = if tied.len() > 3 { format!(" and {} more", tied.len() - 3) } else { String::new() };
    format!("{names}{more} hold the same values, so that one weight feeds several norms or a norm and something else")
}
