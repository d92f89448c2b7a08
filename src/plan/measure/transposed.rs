//! 2 PLAN, measure: square weights that may be of the other kind of convolution, transposed or not.
//!
//! In: pairs. Out: objections. What a few pairs of a template show holds for what all of them have in common. The kind
//! of a convolution is not among that: on its way up an encoder-decoder network may use the units of its way down, under
//! the same names (ENet's `scale_unit.conv2`), and where such a weight is square no shape tells. So each of them is
//! looked at, first by [`ROWS`] rows of it: all columns run through these.
//!
//! A single pair has to be told here, often of few channels, so the bounds are lower than those of
//! [`rivals`](super::rivals). A right pair is refused if its weight agrees by [`RELATED`] standard deviations with the norm
//! when it is turned, which is chance (one in 740), *and* hardly agrees as it is. Of the pairs of
//! `scripts/make_networks.py` none is.

use std::sync::Arc;

use super::FEWEST_CHANNELS;
use super::correlation::Agreement;
use super::rivals::Follower;
use super::samples::Pair;
use super::values::{Reading, Statistics, Values};
use crate::error::Result;
use crate::network::{ChannelMap, Inventory, Op};
use crate::plan::board::{Board, Finding};
use crate::plan::reason::{Objection, Sampled};

/// How `--explain` calls this test.
const STAGE: &str = "transposed or not";

/// Standard deviations by which a turned weight must agree with the norm, for the first look and for the last.
const RELATED: (f64, f64) = (2.5, 3.0);

/// Standard deviations by which it must agree better than it does as planned, for the same.
const BETTER: (f64, f64) = (1.5, 2.0);

/// As many rows' elements are read at first.
const ROWS: u64 = 32;

/// A pair, and its weight as the other kind of layer.
struct Turned {
    pair: Pair,
    op: Op,
    map: ChannelMap,
    statistics: Arc<Statistics>,
}

/// Refuses folds into weights whose columns go with the norm, and not their rows.
pub(super) fn refuse(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<()> {
    let mut asked = Vec::new();
    for (norm, pair) in board.pairs() {
        if values.inventory[norm].channels < FEWEST_CHANNELS {
            continue;
        }
        let Some(statistics) = values.statistics(norm)? else { continue };
        let pair = Pair { norm, weight: pair.weight, map: pair.map };
        let kinds = other_kinds(values.inventory, pair).into_iter();
        asked.extend(kinds.map(|(op, map)| Turned { pair, op, map, statistics: statistics.clone() }));
    }
    let looks = asked.iter().map(|turned| (turned.pair.weight, turned.map, turned.statistics.clone()));
    let found = values.first_looks(&looks.collect::<Vec<_>>(), ROWS)?;
    for (turned, found) in asked.into_iter().zip(found) {
        let Some(found) = found.filter(|found| found.deviation() >= RELATED.0) else { continue };
        if board.pair(turned.pair.norm).is_some()
            && let Some(objection) = contradiction(values, &turned, found)?
        {
            board.apply(STAGE, turned.pair.norm, Finding::kept(objection));
        }
    }
    Ok(())
}

/// What else a planned weight could be by its shape, with as many output channels on another axis.
pub(super) fn other_kinds(inventory: &Inventory, pair: Pair) -> Vec<(Op, ChannelMap)> {
    let producers = inventory[pair.weight].producers(inventory[pair.norm].channels);
    let is_other = |&(_, map): &(Op, ChannelMap)| map != pair.map && map.groups == 1 && pair.map.groups == 1;
    producers.into_iter().filter(is_other).collect()
}

/// Why the pair is none, if its weight is of the other kind, as which it agrees as `found` at first sight.
fn contradiction(values: &mut Values<'_>, turned: &Turned, found: Agreement) -> Result<Option<Objection>> {
    let Turned { pair: Pair { norm, weight, map }, op, map: other, statistics } = turned;
    let own = values.first_looks(&[(*weight, *map, statistics.clone())], ROWS)?;
    if own.into_iter().flatten().any(|own| !is_better(found, own, BETTER.0)) {
        return Ok(None);
    }
    let reading = |map: ChannelMap| Reading { weight: *weight, map, channels: statistics.mean.len() as u64 };
    let Some(own) = values.layer(reading(*map))? else { return Ok(None) };
    let Some(other) = values.layer(reading(*other))? else { return Ok(None) };
    let (own, found) = (own.agreement(statistics), other.agreement(statistics));
    let is_other = found.deviation() >= RELATED.1 && is_better(found, own, BETTER.1);
    let (norm, weight, follower, looked_at) = (*norm, *weight, Follower::Operation(*op), Sampled::ONE);
    Ok(is_other.then_some(Objection::Contradicted { norm, weight, follower, found, own, looked_at }))
}

fn is_better(found: Agreement, own: Agreement, deviations: f64) -> bool {
    // The difference of two standard normal numbers has the deviation sqrt(2).
    found.deviation() - own.deviation() >= deviations * std::f64::consts::SQRT_2
}
