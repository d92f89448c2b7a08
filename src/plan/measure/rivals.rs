//! 2 PLAN, measure: pairs held against weights and running statistics.
//!
//! In: templates of pairs. Out: support for those that values confirm, objections to those that they contradict. Two tests contradict; each looks at the sampled pairs of a template together, and at each pair alone.
//!
//! *A rival fits better.* A weight near the pair agrees with the norm, or the planned weight with another norm near it,
//! by [`RELATED`] standard deviations more than chance gives, and by [`BETTER`] more than the planned pair does. Where
//! the plan is right every rival is unrelated, so a false alarm takes a deviation of 5 (one in 3.5 million) *and* a
//! planned pair that hardly agrees, against at most 16 rivals a template.
//!
//! The planned weight itself is a rival too if it is square: as a transposed convolution, or as an ordinary one. So is
//! every such weight that is not sampled, in [`transposed`](super::transposed).
//!
//! *Means lie too high.* The running means exceed what the rows predict in proportion to the running deviations, as
//! behind a max pool ([`offset`](super::correlation::offset)), by [`TOO_HIGH`] standard errors. Measured on 5,142 norms fed
//! directly: the largest single value is 5.5, of either sign.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::correlation::{Agreement, Offset, together};
use super::samples::{Pair, Template, differing, rival_norms, rival_weights, sample};
use super::transposed::other_kinds;
use super::values::{Layer, Reading, Statistics, Values};
use super::{EvidenceLevel, FEWEST_CHANNELS, SAMPLE_BYTES};
use crate::error::Result;
use crate::network::{ChannelMap, Inventory, NormId, Op, WeightId};
use crate::plan::board::{Board, Finding};
use crate::plan::reason::{Objection, Sampled, Support};
use crate::plan::rulebook::{Rule, Rulebook};

/// How `--explain` calls this test.
const STAGE: &str = "values";

/// Standard deviations by which a rival must agree with the sampled pairs together, and with a single one.
const RELATED: (f64, f64) = (5.0, 6.0);

/// Standard deviations by which it must agree better than what is planned, for the same.
const BETTER: (f64, f64) = (3.0, 4.0);

/// The part of a rival's agreement that the planned pair may show at most to be refuted by it: training makes neighbours alike,
/// so that a right pair may agree well and its neighbour better.
const HARDLY: f64 = 0.5;

/// Standard errors by which means must lie above what the rows predict, for the same.
const TOO_HIGH: (f64, f64) = (6.0, 8.0);

/// The same for a pair that no name speaks for: 99 of 100 norms fed directly lie below.
const TOO_HIGH_ALONE: f64 = 3.5;

/// Running deviations by which they must do so at least, for pairs that names believe and for others. Behind a pool of four
/// independent values it is 0.86, in trained networks 0.2 (`scripts/fetch_trained.py`: BatDetect); padding moves means by up to
/// 0.14 where maps are a few rows high.
const LEAST_OFFSET: (f64, f64) = (0.15, 0.1);

/// Standard deviations from which on agreement is told as evidence.
const CONFIRMED: f64 = 4.0;

/// A pair as values show it.
struct View {
    pair: Pair,
    own: Agreement,
    offset: Option<Offset>,
    /// The pair has a doubt.
    is_doubted: bool,
    rivals: Vec<Rival>,
}

/// Another pairing near a planned one.
#[derive(Clone)]
struct Rival {
    /// What is the same for the same rival of another pair of the template.
    slot: String,
    follower: Follower,
    agreement: Agreement,
    /// A norm that no weight is known to feed.
    is_unclaimed: bool,
}

/// What follows the values of a pair better than the pair's own other half does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Follower {
    /// The norm's statistics follow another weight.
    Weight(WeightId),
    /// Another norm's statistics follow the weight.
    Norm(NormId),
    /// The norm's statistics follow the weight as another kind of layer.
    Operation(Op),
}

impl Follower {
    /// What is held against what instead of the pair of `norm`.
    pub(in crate::plan) fn brief(self, network: &Inventory, norm: NormId) -> String {
        match self {
            Follower::Weight(other) => format!("with `{}` instead", network[other].tensor),
            Follower::Norm(other) => format!("`{}` instead of `{}`", network[other].name, network[norm].name),
            Follower::Operation(op) => format!("as a {} instead", op.name()),
        }
    }

    /// Whose running statistics follow what, as the end of a sentence about the pair of `norm` and `weight`.
    pub(in crate::plan) fn clause(self, network: &Inventory, norm: NormId, weight: WeightId) -> String {
        let (norm, weight) = (&network[norm].name, &network[weight].tensor);
        match self {
            Follower::Weight(other) => format!("`{norm}` follow `{}`", network[other].tensor),
            Follower::Norm(other) => format!("`{}`, not `{norm}`, follow `{weight}`", network[other].name),
            Follower::Operation(op) => format!("`{norm}` follow `{weight}` as a {}", op.name()),
        }
    }
}

/// Confirms and refuses.
pub(super) fn decide(values: &mut Values<'_>, board: &mut Board<'_>, level: EvidenceLevel) -> Result<()> {
    let templates = Template::group(board);
    let samples = match level {
        EvidenceLevel::Full => templates.iter().map(|template| template.pairs.clone()).collect(),
        _ => sample(values, &templates, SAMPLE_BYTES)?,
    };
    let mut surroundings = Vec::new();
    for sample in samples {
        let mut of_template = Vec::new();
        for pair in sample {
            of_template.extend(Surroundings::of(values, pair)?);
        }
        surroundings.push(of_template);
    }
    values.read_layers(surroundings.iter().flatten().flat_map(Surroundings::readings).collect())?;
    for (template, surroundings) in templates.iter().zip(surroundings) {
        let mut views = Vec::new();
        for surroundings in surroundings {
            views.extend(look(values, surroundings, board)?);
        }
        note(board, &views);
        board.apply_all(STAGE, judge(&views, template, board.book));
    }
    Ok(())
}

/// What was measured of the norm that is to be explained.
fn note(board: &mut Board<'_>, views: &[View]) {
    let Some(view) = views.iter().find(|view| board.explains(view.pair.norm)) else { return };
    board.apply(STAGE, view.pair.norm, Finding::Measured { instead: None, agreement: view.own });
    for Rival { follower, agreement, .. } in &view.rivals {
        let (instead, agreement) = (Some(*follower), *agreement);
        board.apply(STAGE, view.pair.norm, Finding::Measured { instead, agreement });
    }
}

/// What the sampled pairs of a template say about all of them.
fn judge(views: &[View], template: &Template, book: Rulebook) -> Vec<(NormId, Finding)> {
    let sampled = Sampled { looked_at: views.len(), all: template.pairs.len() };
    let shared = || views.iter().find_map(shared).filter(|_| book.has(Rule::SharedByValues));
    if let Some(objection) = contradiction(views, sampled, book).or_else(shared) {
        return template.pairs.iter().map(|pair| (pair.norm, Finding::kept(objection.clone()))).collect();
    }
    let alone = views.iter().filter_map(|view| Some((view.pair.norm, Finding::kept(doubt(view, book)?))));
    let support = confirmation(views, sampled).filter(|_| book.has(Rule::Confirmed));
    let confirmed = template.pairs.iter().filter_map(|pair| Some((pair.norm, Finding::Supported(support.clone()?))));
    alone.chain(confirmed).collect()
}

/// What has to be read for a look at a pair.
struct Surroundings {
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
    fn of(values: &mut Values<'_>, pair: Pair) -> Result<Option<Surroundings>> {
        let channels = values.inventory[pair.norm].channels;
        if channels < FEWEST_CHANNELS {
            return Ok(None);
        }
        let Some(statistics) = values.statistics(pair.norm)? else { return Ok(None) };
        let (weights, kinds) = (rival_weights(values.inventory, pair), other_kinds(values.inventory, pair));
        Ok(Some(Surroundings { pair, channels, statistics, weights, kinds }))
    }

    fn readings(&self) -> impl Iterator<Item = Reading> {
        let Pair { weight, map, .. } = self.pair;
        let kinds = self.kinds.iter().map(move |&(_, map)| (weight, map));
        let all = [(weight, map)].into_iter().chain(kinds).chain(self.weights.iter().copied());
        all.map(|(weight, map)| Reading { weight, map, channels: self.channels })
    }
}

/// A pair and its rivals; `None` if its values say nothing.
fn look(values: &mut Values<'_>, surroundings: Surroundings, board: &Board<'_>) -> Result<Option<View>> {
    let book = board.book;
    let Surroundings { pair, channels, ref statistics, .. } = surroundings;
    let Some(layer) = values.layer(Reading { weight: pair.weight, map: pair.map, channels })? else { return Ok(None) };
    let mut all = surroundings.other_weights(values)?;
    all.extend(surroundings.other_norms(values, board, &layer)?);
    all.extend(surroundings.other_kinds(values)?);
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

impl Surroundings {
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

/// A norm that no weight is known to feed follows the weight as well, which agrees with its own norm: the two share it.
fn shared(view: &View) -> Option<Objection> {
    let is_shared = |rival: &&Rival| rival.is_unclaimed && rival.agreement.shares() && view.own.shares();
    let Rival { follower: Follower::Norm(by), .. } = *view.rivals.iter().find(is_shared)? else { return None };
    Some(Objection::Followed { weight: view.pair.weight, by })
}

/// What the sampled pairs of a template say together against it.
fn contradiction(views: &[View], looked_at: Sampled, book: Rulebook) -> Option<Objection> {
    let offsets = views.iter().filter_map(|view| view.offset).collect::<Vec<_>>();
    let is_doubted = views.iter().any(|view| view.is_doubted);
    if let Some(objection) = pooled(&offsets, TOO_HIGH.0, least_offset(is_doubted), looked_at) {
        return Some(objection);
    }
    let mut slots: BTreeMap<&str, Vec<(&View, &Rival)>> = BTreeMap::new();
    for view in views {
        view.rivals.iter().for_each(|rival| slots.entry(&rival.slot).or_default().push((view, rival)));
    }
    // A rival that few of the pairs have says nothing about the others.
    let common = slots.into_values().filter(|seen| 2 * seen.len() >= views.len() && book.has(Rule::RivalFits));
    let found = common.filter(|seen| fits_better(seen, RELATED.0, BETTER.0));
    let best = found.max_by(|a, b| relation(a).total_cmp(&relation(b)))?;
    best.first().map(|(view, rival)| contradicted(view, rival, looked_at))
}

/// What a single pair says against itself.
fn doubt(view: &View, book: Rulebook) -> Option<Objection> {
    if let Some(objection) = pooled(view.offset.as_slice(), TOO_HIGH.1, least_offset(view.is_doubted), Sampled::ONE) {
        return Some(objection);
    }
    let better = |rival: &&Rival| fits_better(&[(view, *rival)], RELATED.1, BETTER.1);
    let best = view.rivals.iter().filter(|_| book.has(Rule::RivalFits)).filter(better);
    let best = best.max_by(|a, b| a.agreement.refuting().total_cmp(&b.agreement.refuting()))?;
    Some(contradicted(view, best, Sampled::ONE))
}

fn contradicted(view: &View, rival: &Rival, looked_at: Sampled) -> Objection {
    let Pair { norm, weight, .. } = view.pair;
    let Rival { follower, agreement: found, .. } = *rival;
    Objection::Contradicted { norm, weight, follower, found, own: view.own, looked_at }
}

fn relation(seen: &[(&View, &Rival)]) -> f64 {
    together(seen.iter().map(|(_, rival)| rival.agreement.refuting()))
}

fn fits_better(seen: &[(&View, &Rival)], related: f64, better: f64) -> bool {
    // The difference of two standard normal numbers has the deviation sqrt(2).
    let ahead = |(view, rival): &(&View, &Rival)| rival.agreement.refuting() - view.own.deviation();
    let own = together(seen.iter().map(|(view, _)| view.own.deviation()));
    relation(seen) >= related
        && own <= HARDLY * relation(seen)
        && together(seen.iter().map(ahead)) >= better * std::f64::consts::SQRT_2
}

fn least_offset(is_doubted: bool) -> f64 {
    if is_doubted { LEAST_OFFSET.1 } else { LEAST_OFFSET.0 }
}

/// Why the norm does not see the layer's output itself, if its means lie too high for that.
fn pooled(offsets: &[Offset], standard_errors: f64, least: f64, looked_at: Sampled) -> Option<Objection> {
    let t = together(offsets.iter().map(|offset| offset.t));
    let factor = offsets.iter().map(|offset| offset.factor).sum::<f64>() / offsets.len().max(1) as f64;
    let is_too_high = t >= standard_errors && factor >= least;
    is_too_high.then_some(Objection::Pooled { factor, standard_errors: t, looked_at })
}

/// A pair from values alone: why the norm does not see the layer's output itself.
pub(super) fn pooled_alone(offset: Option<Offset>) -> Option<Objection> {
    pooled(offset.as_slice(), TOO_HIGH_ALONE, LEAST_OFFSET.1, Sampled::ONE)
}

/// What the sampled pairs say for all pairs of their template.
fn confirmation(views: &[View], looked_at: Sampled) -> Option<Support> {
    let is_confirmed = together(views.iter().map(|view| view.own.deviation())) >= CONFIRMED;
    let mean = |of: fn(&Agreement) -> f64| views.iter().map(|view| of(&view.own)).sum::<f64>() / views.len() as f64;
    is_confirmed.then(|| Support::Confirmed {
        sums: mean(|own| own.sums.abs()),
        norms: mean(|own| own.norms),
        looked_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(own: f64, rival: f64, channels: usize) -> View {
        let agreement = |score: f64| Agreement { sums: score / 2.0, norms: score / 2.0, channels };
        let follower = Follower::Weight(WeightId::new(1));
        let rival = Rival { slot: "x".to_owned(), follower, agreement: agreement(rival), is_unclaimed: false };
        let map = ChannelMap { inner: 1, row: 1, repeats: 1, groups: 1 };
        let pair = Pair { norm: NormId::new(0), weight: WeightId::new(0), map };
        View { pair, own: agreement(own), offset: None, is_doubted: false, rivals: vec![rival] }
    }

    #[test]
    fn a_rival_must_be_related_and_better() {
        let doubt = |view: &View| doubt(view, Rulebook::default());
        assert!(doubt(&view(0.1, 1.7, 64)).is_some());
        assert!(doubt(&view(1.6, 1.7, 64)).is_none(), "both agree: the planned one stays");
        assert!(doubt(&view(0.4, 1.1, 256)).is_some(), "the planned one agrees less than half as well");
        assert!(doubt(&view(0.6, 1.1, 256)).is_none(), "it agrees more than half as well");
        assert!(doubt(&view(0.1, 0.5, 64)).is_none(), "chance");
        assert!(doubt(&view(0.1, 1.7, 12)).is_none(), "twelve channels say too little alone");
        let few = [view(0.1, 1.7, 16), view(-0.1, 1.6, 16), view(0.2, 1.8, 16)];
        assert!(contradiction(&few, Sampled::ONE, Rulebook::default()).is_some(), "but several such pairs do together");
    }

    #[test]
    fn sums_that_go_against_the_means_refute_nobody() {
        let rival = |sums: f64| {
            let mut view = view(0.1, 1.7, 64);
            view.rivals[0].agreement.sums = sums;
            doubt(&view, Rulebook::default())
        };
        assert!(rival(0.85).is_some());
        assert!(rival(-0.85).is_none());
    }

    #[test]
    fn means_above_what_rows_give_are_told_and_lower_ones_are_not() {
        let offset = |factor, t| Some(Offset { factor, t });
        assert!(pooled_alone(offset(0.8, 20.0)).is_some());
        assert!(pooled_alone(offset(-0.8, -20.0)).is_none());
        assert!(pooled_alone(offset(0.8, 3.0)).is_none());
        assert!(pooled(offset(0.8, 5.0).as_slice(), TOO_HIGH.1, LEAST_OFFSET.0, Sampled::ONE).is_none());
        assert!(pooled_alone(offset(1e-7, 20.0)).is_none());
    }
}
