//! 2 PLAN, measure, rivals: a pair and what lies around it.
//!
//! In: a pair. Out: a [`View`] of it: how well it agrees, and how well each of its rivals does: a weight near it with its norm,
//! its weight with another norm near it. The weight itself is a rival too if it is square: as a transposed convolution, or as
//! an ordinary one. So is every such weight that is not sampled, in [`transposed`](super::super::transposed).

use std::sync::Arc;

use super::super::FEWEST_CHANNELS;
use super::super::samples::{Pair, differing, rival_norms, rival_weights};
use super::super::transposed::other_kinds;
use super::super::values::{Layer, Reading, Statistics, Values};
use super::{Follower, RELATED, Rival, View};
use crate::error::Result;
use crate::network::{ChannelMap, Op, WeightId};
use crate::plan::board::Board;
use crate::plan::rulebook::Rule;

/// What has to be read for a look at a pair.
pub(super) struct Surroundings {
    pair: Pair,
    channels: u64,
    statistics: Arc<Statistics>,
    /// Rivals of the weight.
    weights: Vec<(WeightId, ChannelMap)>,
    /// What else the weight may be.
    kinds: Vec<(Op, ChannelMap)>,
}

impl Surroundings {
    /// `None` if the norm's statistics say nothing.
    pub(super) fn of(values: &mut Values<'_>, pair: Pair) -> Result<Option<Surroundings>> {
        let channels = values.inventory[pair.norm].channels;
        if channels < FEWEST_CHANNELS {
            return Ok(None);
        }
        let Some(statistics) = values.statistics(pair.norm)? else { return Ok(None) };
        let (weights, kinds) = (rival_weights(values.inventory, pair), other_kinds(values.inventory, pair));
        Ok(Some(Surroundings { pair, channels, statistics, weights, kinds }))
    }

    pub(super) fn readings(&self) -> impl Iterator<Item = Reading> {
        let Pair { weight, map, .. } = self.pair;
        let kinds = self.kinds.iter().map(move |&(_, map)| (weight, map));
        let all = [(weight, map)].into_iter().chain(kinds).chain(self.weights.iter().copied());
        all.map(|(weight, map)| Reading { weight, map, channels: self.channels })
    }

    /// A pair and its rivals; `None` if its values say nothing.
    pub(super) fn look(self, values: &mut Values<'_>, board: &Board<'_>) -> Result<Option<View>> {
        let book = board.book;
        let Surroundings { pair, channels, ref statistics, .. } = self;
        let Some(layer) = values.layer(Reading { weight: pair.weight, map: pair.map, channels })? else {
            return Ok(None);
        };
        let mut all = self.other_weights(values)?;
        all.extend(self.other_norms(values, board, &layer)?);
        all.extend(self.other_kinds(values)?);
        let mut rivals = Vec::with_capacity(all.len());
        for rival in all {
            let is_possible = rival.agreement.refuting() < RELATED.0 || !fits_its_own(values, board, pair, &rival)?;
            rivals.extend(Some(rival).filter(|_| is_possible));
        }
        let offset = layer.offset(statistics).filter(|_| book.has(Rule::MeansTooHigh));
        let own = layer.agreement(statistics);
        let is_doubted = board.pair(pair.norm).is_some_and(|pair| pair.doubt.is_some());
        Ok(Some(View { pair, own, offset, is_doubted, rivals }))
    }

    fn other_weights(&self, values: &mut Values<'_>) -> Result<Vec<Rival>> {
        let mut rivals = Vec::new();
        for &(other, map) in &self.weights {
            let Some(layer) = values.layer(Reading { weight: other, map, channels: self.channels })? else { continue };
            let modules = (&values.inventory[self.pair.weight].module, &values.inventory[other].module);
            let slot = format!("weight {}", differing(modules.0, modules.1));
            rivals.push(Rival {
                slot,
                follower: Follower::Weight(other),
                agreement: layer.agreement(&self.statistics),
                is_unclaimed: false,
            });
        }
        Ok(rivals)
    }

    fn other_norms(&self, values: &mut Values<'_>, board: &Board<'_>, layer: &Layer) -> Result<Vec<Rival>> {
        let mut rivals = Vec::new();
        for other in rival_norms(values.inventory, self.pair) {
            let Some(statistics) = values.statistics(other)? else { continue };
            let names = (&values.inventory[self.pair.norm].name, &values.inventory[other].name);
            let slot = format!("norm {}", differing(names.0, names.1));
            let (follower, agreement) = (Follower::Norm(other), layer.agreement(&statistics));
            rivals.push(Rival { slot, follower, agreement, is_unclaimed: board.pair(other).is_none() });
        }
        Ok(rivals)
    }

    /// A square weight: do its columns go with the statistics, as in the other kind of convolution?
    fn other_kinds(&self, values: &mut Values<'_>) -> Result<Vec<Rival>> {
        let mut rivals = Vec::new();
        for &(op, map) in &self.kinds {
            let Some(layer) = values.layer(Reading { weight: self.pair.weight, map, channels: self.channels })? else {
                continue;
            };
            let (slot, agreement) = (op.name().to_owned(), layer.agreement(&self.statistics));
            rivals.push(Rival { slot, follower: Follower::Operation(op), agreement, is_unclaimed: false });
        }
        Ok(rivals)
    }
}

/// Whether a rival agrees better with what it is paired with itself: training makes neighbours alike, and what follows its own
/// partner refutes nobody.
fn fits_its_own(values: &mut Values<'_>, board: &Board<'_>, pair: Pair, rival: &Rival) -> Result<bool> {
    let norm = match rival.follower {
        Follower::Norm(other) => other,
        Follower::Weight(other) => match board.owner(other) {
            Some(owner) => owner,
            None => return Ok(false),
        },
        Follower::Operation(_) => return Ok(false),
    };
    let Some(own) = board.pair(norm).filter(|own| norm != pair.norm && own.weight != pair.weight) else {
        return Ok(false);
    };
    let channels = values.inventory[norm].channels;
    let reading = Reading { weight: own.weight, map: own.map, channels };
    let (Some(layer), Some(statistics)) = (values.layer(reading)?, values.statistics(norm)?) else { return Ok(false) };
    Ok(layer.agreement(&statistics).deviation() >= rival.agreement.refuting())
}
