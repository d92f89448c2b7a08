//! 2 PLAN, measure: norms and weights of one width, held against each other.
//!
//! In: the norms of one width that have something to say, and the weights that put out as many channels. Out: pairs, and
//! objections to those whose weight a second norm follows as well.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::activation;
use super::super::activation_means::{RELU, means};
use super::super::correlation::ranks;
use super::super::rivals::pooled_alone;
use super::super::samples::free_operation;
use super::super::values::{Layer, Reading, Statistics, Values};
use super::gates::Gates;
use super::linear_map::LinearMap;
use super::predicted::{Before, GATED_INPUT, Prediction, UNSCALED};
use super::rank_agreement::{self, Agreed};
use super::reach::Reach;
use super::template_vote::Templates;
use super::{Findings, Forbidden};
use crate::error::Result;
use crate::network::names::template;
use crate::network::{ChannelMap, Inventory, NormId, Op, WeightId};
use crate::plan::board::{Board, Finding, Hypothesis, Standing};
use crate::plan::reason::{Objection, Support};
use crate::plan::rulebook::Rule;

/// Share of the running means' variance that a prediction must explain. The largest of a wrong pair is 0.94, in 133
/// networks with renamed modules, but for a sum (0.98) whose addend shows.
const PREDICTED: f64 = 0.95;

/// What any other prediction for the norm or with the weight must leave unexplained, in units of what this one leaves.
const LEFT: f64 = 2.0;

/// Channels below which a prediction could fit by chance: one fitted number, thousands of predictions.
const FEWEST_PREDICTED: u64 = 16;

/// Share that a prediction with a slope far below 1 must not explain: a gate multiplies the layer's input, or its
/// output, and only in the first case does the norm see the layer's output; means do not tell which.
const GATED: f64 = 0.7;

/// Standard deviations by which a norm of the same names must follow a weight for the weight to be shared, as the norms of a
/// head that runs on several levels: over the right pairs of 258 calibrated networks the largest of 4,746 norms that no weight
/// feeds is 3.2; of 1,114 norms that share a weight 95 % lie above 5.
const SHARED_BY_KIN: f64 = 3.5;

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
    /// What it puts out, if it has a scale and a shift.
    pub(super) output: Option<Output>,
    /// It may be paired.
    pub(super) open: bool,
    /// No weight feeds it, as far as is known.
    pub(super) unclaimed: bool,
    /// Where its weight may lie.
    reach: Reach,
    /// Candidates that stand before or behind a gate, if they feed it.
    pub(super) gated: HashSet<usize>,
}

/// Ranks of what is known of a norm's output.
pub(super) struct Output {
    /// Of its means.
    pub(super) means: Vec<f64>,
    /// Of its variances.
    pub(super) vars: Vec<f64>,
    /// Of its means behind a ReLU.
    pub(super) rectified: Vec<f64>,
}

/// Norms of one width and the weights that put out as many channels.
pub(super) struct Width<'t> {
    pub(super) channels: u64,
    pub(super) norms: Vec<OpenNorm>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) templates: &'t Templates<'t>,
    pub(super) gates: &'t Gates,
    pub(super) board: &'t Board<'t>,
}

/// What values say of one width.
#[derive(Default)]
pub(super) struct Found {
    /// Pairs.
    pub(super) pairs: Findings,
    /// Objections to those whose weight other norms share, or which are a part of a sum.
    pub(super) objections: Findings,
    /// Pairs that were likely and are none.
    pub(super) refused: Vec<(NormId, WeightId)>,
}

impl Width<'_> {
    /// All pairs that are found, objections to some of them, and what was refused.
    pub(super) fn pairs(mut self, values: &Values<'_>, befores: &[Before], forbidden: &Forbidden) -> Result<Found> {
        let (mut taken, mut read_twice, mut found) = (Vec::new(), Vec::new(), Found::default());
        let predictions = self.predictions(values, befores)?;
        for &(n, c, prediction) in &predictions {
            self.norms[n].gated.extend((prediction.scaled >= GATED).then_some(c));
        }
        for (n, c, prediction) in unrivalled(&predictions) {
            let Prediction { input, explained, addend, .. } = prediction;
            let addend = addend.filter(|_| self.board.book.has(Rule::SumOfMeans));
            // Neither the sum nor what is a part of it may be folded into.
            read_twice.extend(addend.map(|addend| (addend, self.norms[n].norm)));
            match addend.is_none() && self.take(values, n, c, forbidden) {
                true => taken.push((n, c, Support::Predicted { input, explained })),
                false => found.refused.push(self.close(n, c)),
            }
        }
        let has_ranks = self.board.book.has(Rule::RankAgreement);
        let agreed =
            if has_ranks { rank_agreement::pairs(&self.norms, &self.candidates, self.board.book) } else { Vec::new() };
        for Agreed { norm: n, candidate: c, agreement, passes } in agreed {
            match passes && self.take(values, n, c, forbidden) {
                true => taken.push((n, c, Support::Agreed(agreement))),
                false => found.refused.push(self.close(n, c)),
            }
        }
        for (norm, by) in read_twice {
            let made = taken.iter().find(|&&(n, ..)| self.norms[n].norm == norm);
            let made = made.map(|&(_, c, _)| self.candidates[c].weight);
            let weight = made.or_else(|| self.board.pair(norm).map(|pair| pair.weight));
            let objection = weight.map(|weight| Objection::ReadTwice { weight, norm, by });
            found.objections.extend(objection.map(|objection| (norm, Finding::kept(objection))));
        }
        for (n, c, support) in taken {
            let (norm, weight) = (self.norms[n].norm, self.candidates[c].weight);
            let by = self.follower(values, n, c).filter(|_| self.board.book.has(Rule::SharedByValues));
            found.objections.extend(by.map(|by| (norm, Finding::kept(Objection::Followed { weight, by }))));
            found.pairs.push(self.pair(n, c, support));
        }
        Ok(found)
    }

    /// A norm that no weight feeds and that follows the weight of a pair as well.
    fn follower(&self, values: &Values<'_>, n: usize, c: usize) -> Option<NormId> {
        let kind = |norm: NormId| template(&values.inventory[norm].name);
        let own = kind(self.norms[n].norm);
        // Names that are numbers alone make kin of all norms.
        let has_kin = own.contains(['.', '/']);
        let mut others = self.norms.iter().enumerate().filter(|(other, norm)| *other != n && norm.unclaimed);
        let follows = |(_, norm): &(usize, &OpenNorm)| {
            let agreement = self.candidates[c].layer.agreement(&norm.statistics);
            let is_kin = has_kin && kind(norm.norm) == own;
            is_kin && agreement.deviation() >= SHARED_BY_KIN || agreement.shares()
        };
        others.find(follows).map(|(_, norm)| norm.norm)
    }

    /// Takes the weight for the norm, if the norm sees the weight's output itself and nothing else speaks against it.
    fn take(&mut self, values: &Values<'_>, n: usize, c: usize, forbidden: &Forbidden) -> bool {
        let (norm, candidate) = (&self.norms[n], &self.candidates[c]);
        let is_direct = pooled_alone(candidate.layer.offset(&norm.statistics)).is_none();
        let is_allowed = is_direct
            && norm.reach.holds(&values.inventory[candidate.weight])
            && self.templates.allow(self.board, forbidden, norm.norm, candidate.weight);
        self.close(n, c);
        self.norms[n].unclaimed &= !is_allowed;
        is_allowed
    }

    /// Neither is free for another one any more, even if the pair is none.
    fn close(&mut self, n: usize, c: usize) -> (NormId, WeightId) {
        (self.norms[n].open, self.candidates[c].free) = (false, false);
        (self.norms[n].norm, self.candidates[c].weight)
    }

    /// What each free weight predicts for each open norm.
    fn predictions(&self, values: &Values<'_>, befores: &[Before]) -> Result<Vec<(usize, usize, Prediction)>> {
        let Width { channels, gates, board, .. } = self;
        if !board.book.has(Rule::Predicted) {
            return Ok(Vec::new());
        }
        self.of_maps(values, |weight, layer, running, others| {
            let is_gated = board.book.has(Rule::GateBefore) && gates.stand_before(&values.inventory[weight], *channels);
            layer.predict(befores, running, others, if is_gated { GATED_INPUT } else { UNSCALED })
        })
    }

    /// What `predict` makes of each free weight for all open norms.
    fn of_maps(
        &self,
        values: &Values<'_>,
        predict: impl Fn(WeightId, &LinearMap, Running<'_>, Others<'_>) -> Predictions,
    ) -> Result<Vec<(usize, usize, Prediction)>> {
        let Width { channels, norms, candidates, .. } = self;
        let open = norms.iter().enumerate().filter(|(_, norm)| norm.open).map(|(n, _)| n).collect::<Vec<_>>();
        if *channels < FEWEST_PREDICTED || open.is_empty() {
            return Ok(Vec::new());
        }
        let others = norms.iter().map(|norm| (norm.norm, &norm.statistics.mean[..])).collect::<Vec<_>>();
        let mut found = Vec::new();
        for (c, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.free) {
            let Candidate { weight, op, map, .. } = *candidate;
            let layer = LinearMap::read(values.checkpoint, &values.inventory[weight], op, map, *channels)?;
            let Some(layer) = layer else { continue };
            let running = open.iter().map(|&n| (norms[n].norm, candidate.layer.means(&norms[n].statistics)));
            let predictions = predict(weight, &layer, &running.collect::<Vec<_>>(), &others);
            found.extend(open.iter().zip(predictions).filter_map(|(&n, prediction)| Some((n, c, prediction?))));
        }
        Ok(found)
    }

    /// Pairs of norms and first layers, which see an image.
    pub(super) fn pairs_of_image(mut self, values: &Values<'_>, forbidden: &Forbidden) -> Result<Findings> {
        let predictions = self.of_maps(values, |_, layer, running, others| layer.predict_of_image(running, others))?;
        let mut pairs = Vec::new();
        for (n, c, Prediction { input, explained, addend, .. }) in unrivalled(&predictions) {
            if addend.is_none() && self.take(values, n, c, forbidden) {
                pairs.push(self.pair(n, c, Support::Predicted { input, explained }));
            }
        }
        Ok(pairs)
    }

    /// What is said of a norm that has found its weight.
    fn pair(&self, n: usize, c: usize, support: Support) -> (NormId, Finding) {
        let &Candidate { weight, op, map, .. } = &self.candidates[c];
        let pair = Hypothesis { weight, op, map, support: vec![support], doubt: None };
        (self.norms[n].norm, Finding::Stands(Standing::Paired(pair)))
    }
}

/// Norms with their running means less a layer's bias.
type Running<'a> = &'a [(NormId, Vec<f64>)];

/// Norms with their running means.
type Others<'a> = &'a [(NormId, &'a [f64])];

/// One for each norm.
type Predictions = Vec<Option<Prediction>>;

/// Pairs whose running means are predicted, and by far better than those of any other pair of the norm or the weight.
fn unrivalled(found: &[(usize, usize, Prediction)]) -> Vec<(usize, usize, Prediction)> {
    let left = |prediction: &Prediction| 1.0 - prediction.explained;
    let unrivalled = |&&(n, c, ref own): &&(usize, usize, Prediction)| {
        let mut rivals = found.iter().filter(|(other_n, other_c, _)| (*other_n == n) != (*other_c == c));
        own.explained >= PREDICTED && rivals.all(|(.., rival)| left(rival) >= LEFT * left(own))
    };
    found.iter().filter(unrivalled).copied().collect()
}

/// The norms of one width that have something to say; those behind concatenations hold statistics of others.
pub(super) fn norms_of(
    values: &mut Values<'_>,
    board: &Board<'_>,
    norms: &[NormId],
    concatenated: &HashSet<NormId>,
) -> Result<Vec<OpenNorm>> {
    let mut found = Vec::new();
    for &norm in norms {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let affine = values.affine(norm)?.filter(|(gamma, _)| gamma.len() == statistics.mean.len());
        let output = affine.map(|(gamma, beta)| Output {
            means: ranks(&beta),
            vars: ranks(&gamma.iter().map(|gamma| gamma * gamma).collect::<Vec<_>>()),
            rectified: ranks(&means(RELU, &gamma, &beta)),
        });
        let is_direct = !activation::stands_before(&statistics) && !concatenated.contains(&norm);
        let open = is_askable(board, norm) && is_direct;
        let (unclaimed, reach) = (board.pair(norm).is_none(), Reach::of(board, norm));
        found.push(OpenNorm { norm, statistics, output, open, unclaimed, reach, gated: HashSet::new() });
    }
    Ok(found)
}

/// Whether values alone may give `norm` a weight.
pub(super) fn is_askable(board: &Board<'_>, norm: NormId) -> bool {
    let Standing::Kept(objections) = board.standing(norm) else { return false };
    let is_final = |objection: &Objection| {
        matches!(
            objection,
            Objection::Defect(_)
                | Objection::NoAffine
                | Objection::StoredTwice(_)
                | Objection::Followed { .. }
                | Objection::ReadTwice { .. }
                | Objection::Concatenated(_)
                | Objection::CatalogueKeeps { .. }
                | Objection::KinBehindActivation(_)
                | Objection::Tied(_)
        )
    };
    !objections.iter().any(is_final)
}

/// The weights that put out `channels`, read.
pub(super) fn candidates_of(
    values: &mut Values<'_>,
    board: &Board<'_>,
    channels: u64,
    fitting: &[Fitting],
    tied: &HashSet<WeightId>,
) -> Result<Vec<Candidate>> {
    values.read_layers(fitting.iter().map(|&(weight, _, map)| Reading { weight, map, channels }).collect())?;
    let mut found = Vec::new();
    for &(weight, op, map) in fitting {
        let Some(layer) = values.layer(Reading { weight, map, channels })? else { continue };
        let free = is_free(board, weight, tied);
        let depthwise = values.inventory[weight].is_channelwise();
        found.push(Candidate { weight, op, map, layer, free, depthwise });
    }
    Ok(found)
}

/// Whether no norm owns `weight`, nor may.
pub(super) fn is_free(board: &Board<'_>, weight: WeightId, tied: &HashSet<WeightId>) -> bool {
    !tied.contains(&weight) && board.owner(weight).is_none_or(|owner| board.pair(owner).is_none())
}

/// A weight, as which layer it puts out so many channels.
pub(super) type Fitting = (WeightId, Op, ChannelMap);

/// All weights that put out so many channels.
pub(super) fn fitting(network: &Inventory, channels: u64) -> Vec<Fitting> {
    let weights = network.weights.iter().enumerate();
    let fits = |(index, weight)| free_operation(weight, channels).map(|(op, map)| (WeightId::new(index), op, map));
    weights.filter_map(fits).collect()
}
