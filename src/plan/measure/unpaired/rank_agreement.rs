//! 2 PLAN, measure: pairs from values alone, by agreement of ranks.
//!
//! In: open norms and free weights of one width. Out: pairs, best first, each weight and each norm at most once. A pair
//! must pass every test:
//!
//! - *related*: the score and its deviation from chance are at least [`SCORE`] and [`RELATED`];
//! - *unrivalled*: no other free weight agrees as well with the norm, no other open norm with the weight, within
//!   [`AHEAD`];
//! - *alone*: once the weight has explained what it can, no other weight, norm or norm's output of that width, rectified or
//!   not, explains the rest by [`EXPLAINED`]. That is what gives a sum of several outputs away, which follows each in part;
//! - *useful bias*: a layer with a bias has it for something, most likely an addition behind it (a Transformer's feed-forward
//!   part, whose sum with its input a batch norm follows): its norms must follow the variances by [`BIASED`], and less may be
//!   left to explain, [`LEFT_OF_BIASED`];
//! - *ungated*: no norm before the weight predicts the running means with a slope far below 1, as where a gate
//!   (squeeze and excitation) multiplies the layer's input or, what must not be folded, its output.

use super::super::correlation::{Agreement, dot, rest};
use super::super::values::{Layer, Statistics};
use super::width::{Candidate, OpenNorm};
use crate::plan::rulebook::{Rule, Rulebook};

/// Least score of a pair: true pairs' 3 % quantile in the networks it was chosen on; sums of several outputs lie above.
const SCORE: f64 = 0.9;

/// Least deviation of a pair from chance: one in 3.5 million a pair that is looked at.
const RELATED: f64 = 5.0;

/// Standard deviations by which a pair must agree better than any other with its norm or its weight.
const AHEAD: f64 = 3.0;

/// Deviation from which on something else explains what the pair leaves. The largest of 5,142 true pairs, over all
/// weights and norms that they were compared with, is 5.1, but for depthwise layers (10.5), of which some are left open
/// for it.
const EXPLAINED: f64 = 5.5;

/// The same of layers with a bias. The largest of 416 true pairs in networks on which nothing was chosen is 4.2; of 44 sums it
/// lies above in 11.
const LEFT_OF_BIASED: f64 = 4.5;

/// Rank correlation of row norms and running variances that a layer with a bias must have: of 36 sums the largest is 0.91, of
/// 8 more in trained networks 0.92; of 299 true pairs two in three lie above.
const BIASED: f64 = 0.94;

/// A norm and the candidate that agrees with it best.
pub(super) struct Agreed {
    pub(super) norm: usize,
    pub(super) candidate: usize,
    pub(super) agreement: Agreement,
    /// Neither is it gated, nor does something else explain the rest.
    pub(super) passes: bool,
}

/// Pairs of norm and candidate that are related and unrivalled, best first.
pub(super) fn pairs(norms: &[OpenNorm], candidates: &[Candidate], book: Rulebook) -> Vec<Agreed> {
    let mut scored = Vec::new();
    for (n, norm) in norms.iter().enumerate().filter(|(_, norm)| norm.open) {
        for (c, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.free) {
            scored.push((n, c, candidate.layer.agreement(&norm.statistics)));
        }
    }
    scored.sort_by(|a, b| b.2.score().total_cmp(&a.2.score()).then((a.0, a.1).cmp(&(b.0, b.1))));
    let (mut norm_done, mut candidate_done) = (vec![false; norms.len()], vec![false; candidates.len()]);
    let mut found = Vec::new();
    for (at, &(n, c, agreement)) in scored.iter().enumerate() {
        if agreement.score() < SCORE || agreement.deviation() < RELATED {
            break;
        }
        if norm_done[n] || candidate_done[c] {
            continue;
        }
        // The next best of the norm or of the weight, among those that are not taken.
        let rival = scored[at + 1..].iter().find(|&&(other_n, other_c, _)| {
            (other_n == n) != (other_c == c) && !norm_done[other_n] && !candidate_done[other_c]
        });
        let ahead = rival.is_none_or(|rival| agreement.deviation() - rival.2.deviation() >= AHEAD);
        if !ahead {
            continue;
        }
        // What follows one norm's statistics this well is not free for another one, even if the pair fails a test.
        (norm_done[n], candidate_done[c]) = (true, true);
        let is_biased = candidates[c].layer.has_bias() && book.has(Rule::UsefulBias);
        let is_useful = is_biased && agreement.norms < BIASED;
        let passes = !is_useful && !norms[n].gated.contains(&c) && alone(n, c, norms, candidates);
        found.push(Agreed { norm: n, candidate: c, agreement, passes });
    }
    found
}

/// What a layer leaves to explain of a norm's statistics.
pub(in crate::plan) struct Left<'a> {
    layer: &'a Layer,
    means: Vec<f64>,
    vars: Vec<f64>,
}

/// What `layer` leaves of `statistics`.
pub(in crate::plan) fn left<'a>(layer: &'a Layer, statistics: &Statistics) -> Left<'a> {
    let means = rest(&layer.mean_ranks(statistics), &layer.sum_ranks);
    let vars = rest(statistics.var_ranks(), &layer.norm_ranks);
    Left { layer, means, vars }
}

impl Left<'_> {
    /// How far ranks of other sums or means, and of other norms or variances, explain it, in standard deviations.
    pub(in crate::plan) fn explained(&self, means: &[f64], vars: &[f64]) -> f64 {
        let sums = dot(&self.means, &rest(means, &self.layer.sum_ranks));
        let norms = dot(&self.vars, &rest(vars, &self.layer.norm_ranks));
        Agreement { sums, norms, channels: means.len() }.deviation()
    }
}

/// Whether nothing else explains what the candidate leaves of the norm's statistics.
fn alone(n: usize, c: usize, norms: &[OpenNorm], candidates: &[Candidate]) -> bool {
    let (statistics, layer) = (&norms[n].statistics, &candidates[c].layer);
    let left = left(layer, statistics);
    let most = if layer.has_bias() { LEFT_OF_BIASED } else { EXPLAINED };
    let explains = |means: &[f64], vars: &[f64]| left.explained(means, vars) >= most;
    let by_weight = candidates
        .iter()
        .enumerate()
        .any(|(other, candidate)| other != c && explains(&candidate.layer.sum_ranks, &candidate.layer.norm_ranks));
    // A depthwise layer multiplies its inputs channel by channel, so the norm before it explains much, and rightly.
    let by_norm = !candidates[c].depthwise
        && norms
            .iter()
            .enumerate()
            .any(|(other, norm)| other != n && explains(norm.statistics.mean_ranks(), norm.statistics.var_ranks()));
    let deviation = |correlation: f64| correlation * (statistics.mean.len().max(2) as f64 - 1.0).sqrt();
    let outputs =
        norms.iter().enumerate().filter(|(other, _)| *other != n).filter_map(|(_, norm)| norm.output.as_ref());
    let by_output = outputs.into_iter().any(|output| {
        let of_means = |means: &[f64]| deviation(dot(&left.means, &rest(means, &layer.sum_ranks)));
        let of_vars = |vars: &[f64]| deviation(dot(&left.vars, &rest(vars, &layer.norm_ranks)));
        // As it is, it is a part of a sum or, channel by channel, a depthwise layer's input.
        let is_part = !candidates[c].depthwise && (of_means(&output.means) >= most || of_vars(&output.vars) >= most);
        is_part || of_means(&output.rectified).abs() >= most
    });
    !by_weight && !by_norm && !by_output
}
