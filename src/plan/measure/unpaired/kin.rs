//! 2 PLAN, measure: what several blocks showed, for the others of the same names.
//!
//! In: pairs that values made. Out: pairs for norms of the same names that values did not reach, each with the weight that is to
//! it what the other norms' weights are to them: norms of one template stand and fall together. [`SHOWN`] blocks must have
//! shown it; where the weight can be read, it must not contradict.

use std::collections::BTreeMap;

use super::super::values::{Reading, Values};
use super::width::{is_askable, is_free};
use super::{Findings, Forbidden, Reach, STAGE, Templates};
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

/// From so many channels on, the right weight agrees by [`AGREES`] in all but one of a thousand pairs.
const TELLING: u64 = 32;

/// Pairs the kin of norms that values paired, `left` bytes of weights being left to read.
pub(super) fn extend(
    values: &mut Values<'_>,
    board: &mut Board<'_>,
    templates: &Templates<'_>,
    forbidden: &Forbidden,
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
        let mut found = Findings::new();
        for other in templates.kin(board, first).filter(|&other| is_askable(board, other)) {
            if let Some(weight) = agreed(templates, &pairs, other)
                && let Some(pair) = pair(values, board, forbidden, &mut left, other, weight)?
            {
                let support = Support::Kin { like: first, shown: pairs.len() };
                let pair = Hypothesis { support: vec![support], ..pair };
                found.push((other, Finding::Stands(Standing::Paired(pair))));
            }
        }
        // A weight that two of them want feeds neither.
        let wanted = |weight: WeightId| {
            let wants = |(_, finding): &&(NormId, Finding)| matches!(finding, Finding::Stands(Standing::Paired(pair)) if pair.weight == weight);
            found.iter().filter(wants).count()
        };
        let is_alone = |(_, finding): &&(NormId, Finding)| matches!(finding, Finding::Stands(Standing::Paired(pair)) if wanted(pair.weight) == 1);
        let alone = found.iter().filter(is_alone).cloned().collect::<Vec<_>>();
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

/// The pair of `norm` and `weight`, if nothing speaks against it.
fn pair(
    values: &mut Values<'_>,
    board: &Board<'_>,
    forbidden: &Forbidden,
    left: &mut u64,
    norm: NormId,
    weight: WeightId,
) -> Result<Option<Hypothesis>> {
    let channels = board.network[norm].channels;
    let Some((op, map)) = free_operation(&board.network[weight], channels) else { return Ok(None) };
    let is_allowed = Reach::of(board, norm).holds(&board.network[weight])
        && is_free(board, weight, &forbidden.tied)
        && !forbidden.refused.contains(&(norm, weight));
    let Some(statistics) = values.statistics(norm)?.filter(|_| is_allowed) else { return Ok(None) };
    let (reading, bytes) = (Reading { weight, map, channels }, values.bytes(weight));
    if channels >= FEWEST_CHANNELS && (values.is_read(reading) || bytes <= *left) {
        *left -= if values.is_read(reading) { 0 } else { bytes };
        let Some(layer) = values.layer(reading)? else { return Ok(None) };
        let is_doubtful = channels >= TELLING && layer.agreement(&statistics).deviation() < AGREES;
        if is_doubtful || activation::stands_before(&statistics) {
            return Ok(None);
        }
    }
    Ok(Some(Hypothesis { weight, op, map, support: Vec::new(), doubt: None }))
}
