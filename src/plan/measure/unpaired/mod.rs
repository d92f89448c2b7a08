//! 2 PLAN, measure: pairs from values alone, for norms that names left open.
//!
//! In: kept norms and the weights that no norm holds. Out: pairs, each weight to at most one norm. Norms and weights are
//! compared width by width, in two ways, and what the first finds is taken from what the second may find:
//!
//! 1. `predicted`: a norm before the weight predicts the norm's running means;
//! 2. `rank_agreement`: row sums and norms follow running means and variances in rank, and leave nothing that
//!    something else explains.
//!
//! In both ways a pair must be *direct* (neither an activation nor a pool stands between) and the norm's statistics
//! must be *its own* ([`shared`]): norms behind concatenations hold those of others. A weight that a second norm follows as
//! well, which no weight feeds, is used twice and feeds neither ([`is_shared`]); and the first norm of a unit that runs its
//! norms first takes nothing from outside the unit, whatever values say ([`Reach`]): what it follows there has a second
//! reader. What stays undetected is a layer whose output has a second reader without a norm.

mod predicted;
mod reach;
pub(in crate::plan) mod rank_agreement;
mod template_vote;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::activation_means::{RELU, means};
use super::correlation::ranks;
use super::rivals::pooled_alone;
use super::samples::free_operation;
use super::values::{Layer, Reading, Statistics, Values};
use super::{FEWEST_CHANNELS, activation};
use crate::network::names::template;
use crate::error::Result;
use crate::network::{ChannelMap, NormId, Op, WeightId};
use crate::plan::board::{Board, Finding, Hypothesis, Standing};
use crate::plan::reason::{Objection, Support};
use crate::plan::rulebook::Rule;
use predicted::{Before, Prediction};
use reach::Reach;
use template_vote::Templates;

/// How `--explain` calls what happens here.
const STAGE: &str = "values alone";

/// Share of the running means' variance that a prediction must explain. The largest of a wrong pair is 0.89, in 98
/// networks.
const PREDICTED: f64 = 0.9;

/// What any other prediction for the norm or with the weight must leave unexplained, in units of what this one leaves.
const LEFT: f64 = 2.0;

/// Channels below which a prediction could fit by chance: one fitted number, thousands of predictions.
const FEWEST_PREDICTED: u64 = 16;

/// Share that a prediction with a slope far below 1 must not explain: a gate multiplies the layer's input, or its
/// output, and only in the first case does the norm see the layer's output; means do not tell which.
const GATED: f64 = 0.7;

/// Pairs of a norm and a weight that are compared at most for one width; beyond that, the width is left to names.
const MOST_PAIRS: usize = 1 << 20;

/// Standard deviations by which a second norm must follow a weight for the weight to be shared: one of the same names, as
/// the norms of a head that runs on several levels, and any other. Over 6,701 right pairs of 84 calibrated networks the
/// largest of a norm that no weight feeds is 4.3; of 1,090 norms that share a weight 95 % lie above 5.
const SHARED: (f64, f64) = (3.5, 6.0);

/// A weight that may feed an open norm, or only explain what another leaves.
pub(super) struct Candidate {
    pub(super) weight: WeightId,
    pub(super) op: Op,
    pub(super) map: ChannelMap,
    pub(super) layer: Arc<Layer>,
    /// No norm owns it.
    pub(super) free: bool,
    /// It puts a channel out for each one it takes in.
    pub(super) depthwise: bool,
}

/// A norm of the same width.
pub(super) struct OpenNorm {
    pub(super) norm: NormId,
    pub(super) statistics: Arc<Statistics>,
    /// Ranks of the means of its output behind a ReLU.
    pub(super) rectified: Option<Vec<f64>>,
    /// It may be paired.
    pub(super) open: bool,
    /// No weight feeds it, as far as is known.
    pub(super) unclaimed: bool,
    /// Where its weight may lie.
    reach: Reach,
    /// Candidates that stand before or behind a gate, if they feed it.
    pub(super) gated: HashSet<usize>,
}

/// What must not be paired.
pub(super) struct Forbidden {
    /// Pairs that values refused once.
    pub(super) refused: HashSet<(NormId, WeightId)>,
    /// Weights that are stored under several names.
    pub(super) tied: HashSet<WeightId>,
}

/// Decides what names left open.
pub(super) fn decide(values: &mut Values<'_>, board: &mut Board<'_>, forbidden: &Forbidden) -> Result<()> {
    let shared = shared(values)?;
    let mut widths: BTreeMap<u64, Vec<NormId>> = BTreeMap::new();
    for norm in board.norms().filter(|norm| board.network[*norm].channels >= FEWEST_CHANNELS) {
        widths.entry(board.network[norm].channels).or_default().push(norm);
    }
    let befores = predicted::befores(values)?;
    let templates = Templates::of(board.network);
    for (channels, norms) in widths {
        if !norms.iter().any(|norm| matches!(board.standing(*norm), Standing::Kept(_))) {
            continue;
        }
        let norms = norms_of(values, board, &norms, &shared)?;
        let candidates = candidates_of(values, board, channels, &forbidden.tied)?;
        if norms.len().saturating_mul(candidates.len()) <= MOST_PAIRS {
            let width = Width { channels, norms, candidates, templates: &templates, board };
            let (found, shared) = width.pairs(values, &befores, forbidden)?;
            board.apply_all(STAGE, found);
            board.apply_all(STAGE, shared);
        }
    }
    Ok(())
}

/// What is found about norms.
type Findings = Vec<(NormId, Finding)>;

/// Norms of one width and the weights that put out as many channels.
struct Width<'t> {
    channels: u64,
    norms: Vec<OpenNorm>,
    candidates: Vec<Candidate>,
    templates: &'t Templates<'t>,
    board: &'t Board<'t>,
}

impl Width<'_> {
    /// All pairs that are found, and objections to those whose weight other norms share.
    fn pairs(mut self, values: &Values<'_>, befores: &[Before], forbidden: &Forbidden) -> Result<(Findings, Findings)> {
        let mut found = Vec::new();
        let predictions = self.predictions(values, befores)?;
        for &(n, c, prediction) in &predictions {
            self.norms[n].gated.extend((prediction.scaled >= GATED).then_some(c));
        }
        for (n, c, prediction) in unrivalled(&predictions) {
            let Prediction { before, activation, explained, .. } = prediction;
            found.extend(self.take(values, (n, c), Support::Predicted { before, activation, explained }, forbidden));
        }
        if self.board.book.has(Rule::RankAgreement) {
            for (n, c, agreement) in rank_agreement::pairs(&self.norms, &self.candidates) {
                found.extend(self.take(values, (n, c), Support::Agreed(agreement), forbidden));
            }
        }
        let has_rule = self.board.book.has(Rule::SharedByValues);
        let is_shared = |&&(n, c, _): &&(usize, usize, Finding)| has_rule && self.is_shared(values, n, c);
        let shared = found.iter().filter(is_shared).map(|&(n, c, _)| {
            (self.norms[n].norm, Finding::kept(Objection::MaybeShared(self.candidates[c].weight)))
        });
        let shared = shared.collect();
        Ok((found.into_iter().map(|(n, _, finding)| (self.norms[n].norm, finding)).collect(), shared))
    }

    /// Whether a norm that no weight feeds follows the weight of a pair as well.
    fn is_shared(&self, values: &Values<'_>, n: usize, c: usize) -> bool {
        let kind = |norm: NormId| template(&values.inventory[norm].name);
        let own = kind(self.norms[n].norm);
        // Names that are numbers alone make kin of all norms.
        let has_kin = own.contains(['.', '/']);
        self.norms.iter().enumerate().filter(|(other, norm)| *other != n && norm.unclaimed).any(|(_, norm)| {
            let least = if has_kin && kind(norm.norm) == own { SHARED.0 } else { SHARED.1 };
            self.candidates[c].layer.agreement(&norm.statistics).deviation() >= least
        })
    }

    /// Pairs the norm with the weight, if the norm sees the weight's output itself.
    fn take(
        &mut self,
        values: &Values<'_>,
        (n, c): (usize, usize),
        support: Support,
        forbidden: &Forbidden,
    ) -> Option<(usize, usize, Finding)> {
        let (norm, candidate) = (&mut self.norms[n], &mut self.candidates[c]);
        // Neither is free for another one, even if the pair is none.
        (norm.open, candidate.free) = (false, false);
        let is_direct = pooled_alone(candidate.layer.offset(&norm.statistics)).is_none();
        let Candidate { weight, op, map, .. } = *candidate;
        let is_reached = norm.reach.holds(&values.inventory[weight]);
        let is_alike = !self.board.book.has(Rule::ValuesVote) || !self.templates.misfit(self.board, norm.norm, weight);
        let is_pair = is_direct && is_reached && is_alike && !forbidden.refused.contains(&(norm.norm, weight));
        norm.unclaimed &= !is_pair;
        let pair = Hypothesis { weight, op, map, support: vec![support], doubt: None };
        is_pair.then_some((n, c, Finding::Stands(Standing::Paired(pair))))
    }

    /// What each free weight predicts for each open norm.
    fn predictions(&self, values: &Values<'_>, befores: &[Before]) -> Result<Vec<(usize, usize, Prediction)>> {
        let Width { channels, norms, candidates, board, .. } = self;
        if *channels < FEWEST_PREDICTED || !board.book.has(Rule::Predicted) {
            return Ok(Vec::new());
        }
        let open = norms.iter().enumerate().filter(|(_, norm)| norm.open).map(|(n, _)| n).collect::<Vec<_>>();
        let mut found = Vec::new();
        for (c, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.free && !open.is_empty())
        {
            let Candidate { weight, op, map, .. } = *candidate;
            let layer = predicted::Layer::read(values.checkpoint, &values.inventory[weight], op, map, *channels)?;
            let Some(layer) = layer else { continue };
            let running = open.iter().map(|&n| (norms[n].norm, candidate.layer.means(&norms[n].statistics)));
            let predictions = layer.predict(befores, &running.collect::<Vec<_>>());
            found.extend(open.iter().zip(predictions).filter_map(|(&n, prediction)| Some((n, c, prediction?))));
        }
        Ok(found)
    }
}

/// Pairs whose running means are predicted, and by far better than those of any other pair of the norm or the weight.
fn unrivalled(found: &[(usize, usize, Prediction)]) -> Vec<(usize, usize, Prediction)> {
    let left = |prediction: &Prediction| 1.0 - prediction.explained;
    let unrivalled = |&&(n, c, ref own): &&(usize, usize, Prediction)| {
        let mut rivals = found.iter().filter(|(other_n, other_c, _)| (*other_n == n) != (*other_c == c));
        own.explained >= PREDICTED && rivals.all(|(.., rival)| left(rival) >= LEFT * left(own))
    };
    found.iter().filter(unrivalled).copied().collect()
}

/// The norms of one width that have something to say.
fn norms_of(
    values: &mut Values<'_>,
    board: &Board<'_>,
    norms: &[NormId],
    shared: &HashSet<NormId>,
) -> Result<Vec<OpenNorm>> {
    let mut found = Vec::new();
    for &norm in norms {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let affine = values.affine(norm)?.filter(|(gamma, _)| gamma.len() == statistics.mean.len());
        let rectified = affine.map(|(gamma, beta)| ranks(&means(RELU, &gamma, &beta)));
        let is_direct = !activation::stands_before(&statistics) && !shared.contains(&norm);
        // Norms with neither scale nor shift are those of networks whose weights are computed from the stored ones.
        let is_bare = values.inventory[norm].gamma.is_none() && values.inventory[norm].beta.is_none();
        let open = matches!(board.standing(norm), Standing::Kept(_)) && is_direct && !is_bare;
        let (unclaimed, reach) = (board.pair(norm).is_none(), Reach::of(board, norm));
        found.push(OpenNorm { norm, statistics, rectified, open, unclaimed, reach, gated: HashSet::new() });
    }
    Ok(found)
}

/// The weights that put out `channels`.
fn candidates_of(
    values: &mut Values<'_>,
    board: &Board<'_>,
    channels: u64,
    tied: &HashSet<WeightId>,
) -> Result<Vec<Candidate>> {
    let weights = (0..values.inventory.weights.len()).map(WeightId::new);
    let fitting = weights.filter_map(|weight| Some((weight, free_operation(&values.inventory[weight], channels)?)));
    let fitting = fitting.collect::<Vec<_>>();
    values.read_layers(fitting.iter().map(|&(weight, (_, map))| Reading { weight, map, channels }).collect())?;
    let mut found = Vec::new();
    for (weight, (op, map)) in fitting {
        let Some(layer) = values.layer(Reading { weight, map, channels })? else { continue };
        let is_owned = board.owner(weight).is_some_and(|owner| board.pair(owner).is_some());
        let free = !is_owned && !tied.contains(&weight);
        let depthwise = values.inventory[weight].is_channelwise();
        found.push(Candidate { weight, op, map, layer, free, depthwise });
    }
    Ok(found)
}

/// Norms that hold, in a quarter of their channels and at least eight, the very statistics of other norms' channels.
fn shared(values: &mut Values<'_>) -> Result<HashSet<NormId>> {
    let count = values.inventory.norms.len();
    let mut seen: HashMap<(u64, u64), (NormId, bool)> = HashMap::new();
    let bits = |statistics: &Statistics| {
        let channels = statistics.mean.iter().zip(&statistics.var).filter(|(mean, _)| **mean != 0.0);
        channels.map(|(mean, var)| (mean.to_bits(), var.to_bits())).collect::<Vec<_>>()
    };
    for norm in (0..count).map(NormId::new) {
        let Some(statistics) = values.statistics(norm)? else { continue };
        for channel in bits(&statistics) {
            let entry = seen.entry(channel).or_insert((norm, false));
            entry.1 |= entry.0 != norm;
        }
    }
    let mut shared = HashSet::new();
    for norm in (0..count).map(NormId::new) {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let twice = bits(&statistics).iter().filter(|channel| seen.get(channel).is_some_and(|entry| entry.1)).count();
        if twice >= 8 && 4 * twice >= statistics.mean.len() {
            shared.insert(norm);
        }
    }
    Ok(shared)
}
