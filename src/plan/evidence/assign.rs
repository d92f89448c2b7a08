//! Evidence: pairs from values alone, for norms that names left open.
//!
//! In: kept norms and the weights that no norm owns. Out: folds, each weight to at most one norm. Norms and weights are
//! compared width by width, in two ways, and what the first finds is taken from what the second may find:
//!
//! 1. `predicted`: a norm before the weight predicts the norm's running means;
//! 2. `agreed`: row sums and norms follow running means and variances in rank, and leave nothing that
//!    something else explains.
//!
//! In both ways a pair must be *direct* (neither an activation nor a pool stands between) and the norm's statistics
//! must be *its own* ([`shared`]): norms behind concatenations hold those of others, and so do norms that share a
//! layer. What stays undetected is a layer whose output has a second reader without a norm.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::predicted::{self, Before, Prediction};
use super::score::ranks;
use super::templates::free_operation;
use super::values::{Layer, Statistics, Values};
use super::{FEWEST_CHANNELS, activated, activation, agreed, judge};
use crate::error::Result;
use crate::network::Op;
use crate::network::channels::ChannelMap;
use crate::plan::Verdict;

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

/// A weight that may feed an open norm, or only explain what another leaves.
pub(super) struct Candidate {
    pub(super) weight: usize,
    pub(super) op: Op,
    pub(super) map: ChannelMap,
    pub(super) layer: Arc<Layer>,
    /// No norm owns it.
    pub(super) free: bool,
    /// It puts a channel out for each one it takes in.
    pub(super) depthwise: bool,
}

/// A norm of the same width.
pub(super) struct Open {
    pub(super) norm: usize,
    pub(super) statistics: Arc<Statistics>,
    /// Ranks of the means of its output behind a ReLU.
    pub(super) rectified: Option<Vec<f64>>,
    /// It may be paired.
    pub(super) open: bool,
    /// Candidates that stand before or behind a gate, if they feed it.
    pub(super) gated: HashSet<usize>,
}

/// Decides what names left open; `refused` holds for each norm a weight that it must not be folded into, `tied` weights that
/// none must be.
pub(super) fn decide(
    values: &mut Values<'_>,
    (refused, tied): (&[Option<usize>], &HashSet<usize>),
    verdicts: &mut [Verdict],
) -> Result<()> {
    let shared = shared(values)?;
    let mut widths: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (norm, known) in values.inventory.norms.iter().enumerate() {
        if known.channels >= FEWEST_CHANNELS {
            widths.entry(known.channels).or_default().push(norm);
        }
    }
    let befores = predicted::befores(values)?;
    for (channels, norms) in widths {
        if !norms.iter().any(|&norm| matches!(verdicts[norm], Verdict::Keep { .. })) {
            continue;
        }
        let mut norms = norms_of(values, &norms, verdicts, &shared)?;
        let mut candidates = candidates_of(values, channels, (verdicts, tied))?;
        if norms.len().saturating_mul(candidates.len()) > MOST_PAIRS {
            continue;
        }
        let predictions = predictions(values, &befores, channels, &norms, &candidates)?;
        for &(n, c, found) in &predictions {
            norms[n].gated.extend((found.scaled >= GATED).then_some(c));
        }
        for (n, c, found) in unrivalled(&predictions) {
            let before = &values.inventory.norms[found.before].name;
            let evidence = format!(
                "from values alone: `{before}` and {} before the weight predict the running means ({:.0} % of their \
                 variance)",
                found.activation,
                100.0 * found.explained
            );
            take(&mut norms[n], &mut candidates[c], evidence, refused, verdicts);
        }
        for (n, c, found) in agreed::pairs(&norms, &candidates) {
            let evidence = format!(
                "from values alone: row sums follow running means ({:.2}), row norms follow running variances ({:.2}), \
                 and nothing else of this width explains the rest",
                found.sums, found.norms
            );
            take(&mut norms[n], &mut candidates[c], evidence, refused, verdicts);
        }
    }
    Ok(())
}

/// Folds the norm into the weight, if the norm sees the weight's output itself.
fn take(
    norm: &mut Open,
    candidate: &mut Candidate,
    evidence: String,
    refused: &[Option<usize>],
    verdicts: &mut [Verdict],
) {
    // Neither is free for another one, even if the pair is none.
    (norm.open, candidate.free) = (false, false);
    let direct = judge::pooled_alone(candidate.layer.offset(&norm.statistics)).is_none();
    if direct && refused[norm.norm] != Some(candidate.weight) {
        let Candidate { weight, op, map, .. } = *candidate;
        verdicts[norm.norm] = Verdict::Fold { weight, op, map, evidence: vec![evidence] };
    }
}

/// What each free weight predicts for each open norm.
fn predictions(
    values: &Values<'_>,
    befores: &[Before],
    channels: u64,
    norms: &[Open],
    candidates: &[Candidate],
) -> Result<Vec<(usize, usize, Prediction)>> {
    if channels < FEWEST_PREDICTED {
        return Ok(Vec::new());
    }
    let open = norms.iter().enumerate().filter(|(_, norm)| norm.open).map(|(n, _)| n).collect::<Vec<_>>();
    let mut found = Vec::new();
    for (c, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.free && !open.is_empty()) {
        let weight = &values.inventory.weights[candidate.weight];
        let layer = predicted::Layer::read(values.checkpoint, weight, (candidate.op, candidate.map), channels)?;
        let Some(layer) = layer else { continue };
        let running = open.iter().map(|&n| (norms[n].norm, candidate.layer.means(&norms[n].statistics)));
        let predictions = layer.predict(befores, &running.collect::<Vec<_>>());
        found.extend(open.iter().zip(predictions).filter_map(|(&n, prediction)| Some((n, c, prediction?))));
    }
    Ok(found)
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
fn norms_of(values: &mut Values<'_>, norms: &[usize], verdicts: &[Verdict], shared: &[bool]) -> Result<Vec<Open>> {
    let mut found = Vec::new();
    for &norm in norms {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let affine = values.affine(norm)?.filter(|(gamma, _)| gamma.len() == statistics.mean.len());
        let rectified = affine.map(|(gamma, beta)| ranks(&activated::means(activated::RELU, &gamma, &beta)));
        let direct = !activation::stands_before(&statistics) && !shared[norm];
        // Norms with neither scale nor shift are those of networks whose weights are computed from the stored ones.
        let bare = values.inventory.norms[norm].gamma.is_none() && values.inventory.norms[norm].beta.is_none();
        let open = matches!(verdicts[norm], Verdict::Keep { .. }) && direct && !bare;
        found.push(Open { norm, statistics, rectified, open, gated: HashSet::new() });
    }
    Ok(found)
}

/// The weights that put out `channels`.
fn candidates_of(
    values: &mut Values<'_>,
    channels: u64,
    (verdicts, tied): (&[Verdict], &HashSet<usize>),
) -> Result<Vec<Candidate>> {
    let owned = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Fold { weight, .. } => Some(*weight),
        Verdict::Likely { .. } | Verdict::Keep { .. } => None,
    });
    let owned = owned.collect::<HashSet<_>>();
    let weights = values.inventory.weights.iter().enumerate();
    let fitting = weights.filter_map(|(weight, known)| Some((weight, free_operation(known, channels)?)));
    let fitting = fitting.collect::<Vec<_>>();
    values.read_layers(fitting.iter().map(|&(weight, (_, map))| (weight, map, channels)).collect())?;
    let mut found = Vec::new();
    for (weight, (op, map)) in fitting {
        let Some(layer) = values.layer((weight, map, channels))? else { continue };
        let (free, depthwise) =
            (!owned.contains(&weight) && !tied.contains(&weight), values.inventory.weights[weight].is_channelwise());
        found.push(Candidate { weight, op, map, layer, free, depthwise });
    }
    Ok(found)
}

/// Norms that hold, in a quarter of their channels and at least eight, the very statistics of other norms' channels.
fn shared(values: &mut Values<'_>) -> Result<Vec<bool>> {
    let count = values.inventory.norms.len();
    let mut seen: HashMap<(u64, u64), (usize, bool)> = HashMap::new();
    let bits = |statistics: &Statistics| {
        let channels = statistics.mean.iter().zip(&statistics.var).filter(|(mean, _)| **mean != 0.0);
        channels.map(|(mean, var)| (mean.to_bits(), var.to_bits())).collect::<Vec<_>>()
    };
    for norm in 0..count {
        let Some(statistics) = values.statistics(norm)? else { continue };
        for channel in bits(&statistics) {
            let entry = seen.entry(channel).or_insert((norm, false));
            entry.1 |= entry.0 != norm;
        }
    }
    let mut shared = vec![false; count];
    for (norm, shared) in shared.iter_mut().enumerate() {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let twice = bits(&statistics).iter().filter(|channel| seen.get(channel).is_some_and(|entry| entry.1)).count();
        *shared = twice >= 8 && 4 * twice >= statistics.mean.len();
    }
    Ok(shared)
}
