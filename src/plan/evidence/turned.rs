//! Evidence: square weights that may be of the other kind of convolution, transposed or not.
//!
//! In: planned folds. Out: refusals. What a few pairs of a template show holds for what all of them have in common. The kind
//! of a convolution is not among that: on its way up an encoder-decoder network may use the units of its way down, under
//! the same names (ENet's `scale_unit.conv2`), and where such a weight is square no shape tells. So each of them is
//! looked at, first by [`ROWS`] rows of it: all columns run through these.
//!
//! A single pair has to be told here, often of few channels, so the bounds are lower than those of
//! [`judge`](super::judge). A right pair is refused if its weight agrees by [`RELATED`] standard deviations with the norm
//! when it is turned, which is chance (one in 740), *and* hardly agrees as it is. Of the pairs of
//! `scripts/make_networks.py` none is.

use std::sync::Arc;

use super::FEWEST_CHANNELS;
use super::judge::reason;
use super::score::Agreement;
use super::templates::Pair;
use super::values::{Statistics, Values};
use crate::error::Result;
use crate::network::channels::ChannelMap;
use crate::network::{Inventory, Op};
use crate::plan::Verdict;

/// Standard deviations by which a turned weight must agree with the norm, for the first look and for the last.
const RELATED: (f64, f64) = (2.5, 3.0);

/// Standard deviations by which it must agree better than it does as planned, for the same.
const BETTER: (f64, f64) = (1.5, 2.0);

/// As many rows' elements are read at first.
const ROWS: u64 = 32;

/// Refuses folds into weights whose columns go with the norm, and not their rows.
pub(super) fn refuse(values: &mut Values<'_>, verdicts: &mut [Verdict]) -> Result<()> {
    let (mut asked, mut looks) = (Vec::new(), Vec::new());
    for (norm, verdict) in verdicts.iter().enumerate() {
        let &Verdict::Fold { weight, map, .. } = verdict else { continue };
        if values.inventory.norms[norm].channels < FEWEST_CHANNELS {
            continue;
        }
        let Some(statistics) = values.statistics(norm)? else { continue };
        let pair = Pair { norm, weight, map };
        for (op, turned) in other_kinds(values.inventory, pair) {
            asked.push((pair, op));
            looks.push((weight, turned, statistics.clone()));
        }
    }
    let found = values.first_looks(&looks, ROWS)?;
    for (((pair, op), look), found) in asked.into_iter().zip(looks).zip(found) {
        let Some(found) = found.filter(|found| found.deviation() >= RELATED.0) else { continue };
        if matches!(verdicts[pair.norm], Verdict::Fold { .. })
            && let Some(reason) = contradiction(values, (pair, op), look, found)?
        {
            verdicts[pair.norm] = Verdict::Keep { reason };
        }
    }
    Ok(())
}

/// What else a planned weight could be by its shape, with as many output channels on another axis.
pub(super) fn other_kinds(inventory: &Inventory, pair: Pair) -> Vec<(Op, ChannelMap)> {
    let producers = inventory.weights[pair.weight].producers(inventory.norms[pair.norm].channels);
    let is_other = |&(_, map): &(Op, ChannelMap)| map != pair.map && map.groups == 1 && pair.map.groups == 1;
    producers.into_iter().filter(is_other).collect()
}

/// Why the pair is none, if its weight is of the other kind, as which it agrees as `found` at first sight.
fn contradiction(
    values: &mut Values<'_>,
    (pair, op): (Pair, Op),
    (weight, turned, statistics): (usize, ChannelMap, Arc<Statistics>),
    found: Agreement,
) -> Result<Option<String>> {
    let own = [(weight, pair.map, statistics.clone())];
    let own = values.first_looks(&own, ROWS)?;
    if own.into_iter().flatten().any(|own| !is_better(found, own, BETTER.0)) {
        return Ok(None);
    }
    let channels = statistics.mean.len() as u64;
    let Some(own) = values.layer((weight, pair.map, channels))? else { return Ok(None) };
    let Some(other) = values.layer((weight, turned, channels))? else { return Ok(None) };
    let (own, found) = (own.agreement(&statistics), other.agreement(&statistics));
    if found.deviation() < RELATED.1 || !is_better(found, own, BETTER.1) {
        return Ok(None);
    }
    let (norm, weight) = (&values.inventory.norms[pair.norm].name, &values.inventory.weights[pair.weight].tensor);
    Ok(Some(reason(&format!("`{norm}` follow `{weight}` as a {}", op.name()), found, own)))
}

fn is_better(found: Agreement, own: Agreement, deviations: f64) -> bool {
    // The difference of two standard normal numbers has the deviation sqrt(2).
    found.deviation() - own.deviation() >= deviations * std::f64::consts::SQRT_2
}
