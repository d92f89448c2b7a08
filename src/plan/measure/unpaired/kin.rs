//! 2 PLAN, measure: what several blocks showed, for the others of the same names.
//!
//! In: pairs that values made. Out: pairs for norms of the same names that values did not reach, each with the weight that is to
//! it what the other norms' weights are to them: norms of one template stand and fall together. [`SHOWN`] blocks must have
//! shown it; where the weight can be read, it must not contradict.

use std::collections::{BTreeMap, HashSet};

use super::super::rivals::pooled_alone;
use super::super::values::{Reading, Values};
use super::width::{is_askable, is_free};
use super::{Forbidden, Reach, STAGE, Templates};
use crate::error::Result;
use crate::network::names::template;
use crate::network::{NormId, WeightId};
use crate::plan::board::{Board, Finding, Hypothesis, Standing};
use crate::plan::measure::samples::free_operation;
use crate::plan::measure::{FEWEST_CHANNELS, activation};
use crate::plan::reason::Support;
use crate::plan::rulebook::Rule;

/// Blocks that must have shown a pair.
const SHOWN: usize = 2;

/// Standard deviations by which a weight that can be read must agree with its norm, where there are channels enough to tell
/// ([`TELLING`]): chance for one in 44.
const AGREES: f64 = 2.0;

/// From so many channels on, the right weight agrees by [`AGREES`] in all but two of 12,545 pairs of 258 calibrated networks.
const TELLING: u64 = 32;

/// Pairs the kin of norms that values paired, `left` bytes of weights being left to read.
pub(super) fn extend(
    values: &mut Values<'_>,
    board: &mut Board<'_>,
    templates: &Templates<'_>,
    forbidden: &Forbidden,
    concatenated: &HashSet<NormId>,
    mut left: u64,
) -> Result<()> {
    let mut shown: BTreeMap<String, Vec<(NormId, WeightId)>> = BTreeMap::new();
    for (norm, pair) in board.pairs() {
        let is_by_values =
            pair.support.iter().any(|support| matches!(support, Support::Agreed(_) | Support::Predicted { .. }));
        if is_by_values {
            shown.entry(template(&board.network[norm].name)).or_default().push((norm, pair.weight));
        }
    }
    let has_rule = board.book.has(Rule::KinOfValues);
    for pairs in shown.into_values().filter(|pairs| has_rule && pairs.len() >= SHOWN) {
        let Some(&(first, _)) = pairs.first() else { continue };
        let mut found = BTreeMap::<WeightId, Vec<(NormId, Hypothesis)>>::new();
        let kin = templates.kin(board, first).filter(|norm| is_askable(board, *norm) && !concatenated.contains(norm));
        for other in kin {
            let Some(weight) = agreed(templates, &pairs, other) else { continue };
            let support = Support::Kin { like: first, shown: pairs.len() };
            if is_allowed(values, board, templates, forbidden, &mut left, other, weight)?
                && let Some((op, map)) = free_operation(&board.network[weight], board.network[other].channels)
            {
                let pair = Hypothesis { weight, op, map, support: vec![support], doubt: None };
                found.entry(weight).or_default().push((other, pair));
            }
        }
        // A weight that two of them want feeds neither.
        let alone = found.into_values().filter(|wanting| wanting.len() == 1).flatten();
        let alone = alone.map(|(norm, pair)| (norm, Finding::Stands(Standing::Paired(pair)))).collect::<Vec<_>>();
        board.apply_all(STAGE, alone);
    }
    Ok(())
}

/// The weight that is to `other` what every pair shows.
fn agreed(templates: &Templates<'_>, pairs: &[(NormId, WeightId)], other: NormId) -> Option<WeightId> {
    let (&(norm, weight), rest) = pairs.split_first()?;
    let mut common = templates.counterparts(norm, weight, other);
    for &(norm, weight) in rest {
        let these = templates.counterparts(norm, weight, other);
        common.retain(|weight| these.contains(weight));
    }
    match common[..] {
        [weight] => Some(weight),
        _ => None,
    }
}

/// Whether nothing speaks against the pair of `norm` and `weight`: what is asked of pairs that values make, and, where the
/// weight can be read, that it does not contradict.
fn is_allowed(
    values: &mut Values<'_>,
    board: &Board<'_>,
    templates: &Templates<'_>,
    forbidden: &Forbidden,
    left: &mut u64,
    norm: NormId,
    weight: WeightId,
) -> Result<bool> {
    let channels = board.network[norm].channels;
    let Some(statistics) = values.statistics(norm)? else { return Ok(false) };
    let Some((_, map)) = free_operation(&board.network[weight], channels) else { return Ok(false) };
    let is_allowed = Reach::of(board, norm).holds(&board.network[weight])
        && is_free(board, weight, &forbidden.tied)
        && templates.allow(board, forbidden, norm, weight)
        && !activation::stands_before(&statistics);
    let reading = Reading { weight, map, channels };
    let cost = if values.is_read(reading) { 0 } else { values.bytes(weight) };
    if !is_allowed || channels < FEWEST_CHANNELS || cost > *left {
        return Ok(is_allowed);
    }
    *left -= cost;
    let Some(layer) = values.layer(reading)? else { return Ok(false) };
    let agrees = channels < TELLING || layer.agreement(&statistics).deviation() >= AGREES;
    Ok(agrees && pooled_alone(layer.offset(&statistics)).is_none())
}
