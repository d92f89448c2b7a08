//! Evidence: norms whose names point at several weights, or at one that may as well come behind them.
//!
//! In: verdicts. Out: what is only likely as a fold, for the other tests to confirm or refuse, with the doubt that stands
//! against it; where several weights are likely, the one that values single out, or none. Norms of one template choose
//! alike, as one piece of code runs them all, but for the kind of a convolution, which is not in their names: the weight that
//! agrees with the sampled norms together by [`RELATED`] standard deviations, by [`AHEAD`] more than every other choice, and
//! that leaves nothing to explain, neither for another choice (pooled, [`LEFT`]) nor for another norm ([`FOLLOWED`]), as the
//! sum of two of them would.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::agreed;
use super::score::{Agreement, together};
use super::templates::{SAMPLES, differing};
use super::values::{Layer, Statistics, Values};
use super::{EvidenceLevel, FEWEST_CHANNELS, SAMPLE_BYTES};
use crate::error::Result;
use crate::network::channels::ChannelMap;
use crate::network::names::template;
use crate::network::{Inventory, Op};
use crate::plan::Verdict;

/// Standard deviations by which the chosen weight must agree: chance for one in 3.5 million.
const RELATED: f64 = 5.0;

/// Standard deviations by which it must agree better than any other choice.
const AHEAD: f64 = 3.0;

/// Standard deviations by which another choice may at most explain what the chosen one leaves.
const LEFT: f64 = 4.0;

/// The same for another norm: the largest of 5,142 norms fed by one layer, over all others of their width, is 5.1.
const FOLLOWED: f64 = 5.5;

/// Norms that all chosen weights together are held against, at most: without a bound the time would grow with the square of
/// their number.
const COMPARED: usize = 1 << 15;

/// Bytes of weights that are read at most, unless all evidence is asked for.
const BYTES: u64 = SAMPLE_BYTES / 2;

/// What stands against a fold that is only likely.
#[derive(Debug, Clone)]
pub(super) struct Doubt {
    /// Why names are not enough.
    pub(super) reason: String,
    /// Whether the norm is judged by itself, and not with those of the same names.
    pub(super) is_its_own: bool,
    /// Whether values single its weight out; a sole choice is put to the other tests even if not, for what they say.
    pub(super) is_singled_out: bool,
}

/// A likely producer.
type Choice = (usize, Op, ChannelMap);

/// Takes what is likely for a fold until all values have spoken; returns the doubts about these.
pub(super) fn suppose(
    values: &mut Values<'_>,
    verdicts: &mut [Verdict],
    level: EvidenceLevel,
) -> Result<Vec<Option<Doubt>>> {
    let mut left = if level == EvidenceLevel::Full { u64::MAX } else { BYTES };
    let (mut chosen, mut others) = (HashMap::new(), Others::of(values.inventory));
    let mut groups = Vec::new();
    for norms in alike(values, verdicts).into_values() {
        let sample = sample(values, verdicts, norms.clone(), level, &mut left)?;
        groups.push((norms, sample));
    }
    let readings = |&norm: &usize| {
        let channels = values.inventory.norms[norm].channels;
        choices(&verdicts[norm]).iter().map(move |&(weight, _, map)| (weight, map, channels))
    };
    let readings = groups.iter().flat_map(|(_, sample)| sample).flat_map(readings).collect();
    values.read_layers(readings)?;
    for (norms, sample) in groups {
        if let Some(slot) = choose(values, verdicts, &sample, &mut others)? {
            chosen.extend(norms.into_iter().map(|norm| (norm, slot)));
        }
    }
    let mut doubts = vec![None; verdicts.len()];
    for (norm, verdict) in verdicts.iter_mut().enumerate() {
        let Verdict::Likely { choices, is_its_own, evidence, reason } = verdict else { continue };
        let sole = (choices.len() == 1).then_some(0);
        *verdict = match chosen.get(&norm).copied().or(sole).map(|slot| choices[slot]) {
            Some((weight, op, map)) => {
                let is_singled_out = chosen.contains_key(&norm);
                doubts[norm] = Some(Doubt { reason: reason.clone(), is_its_own: *is_its_own, is_singled_out });
                Verdict::Fold { weight, op, map, evidence: std::mem::take(evidence) }
            }
            None => Verdict::Keep { reason: std::mem::take(reason) },
        };
    }
    refuse_shared(verdicts, &mut doubts);
    Ok(doubts)
}

/// A weight that two norms want feeds neither, as far as that is only likely.
fn refuse_shared(verdicts: &mut [Verdict], doubts: &mut [Option<Doubt>]) {
    let mut wanted = HashMap::<usize, usize>::new();
    for verdict in &*verdicts {
        if let Verdict::Fold { weight, .. } = verdict {
            *wanted.entry(*weight).or_default() += 1;
        }
    }
    for (verdict, doubt) in verdicts.iter_mut().zip(doubts) {
        if let (Verdict::Fold { weight, .. }, Some(Doubt { reason, .. })) = (&*verdict, &*doubt)
            && wanted[weight] > 1
        {
            *verdict = Verdict::Keep { reason: reason.clone() };
            *doubt = None;
        }
    }
}

/// What is likely, by what the names of the norms and of their choices have in common.
type Groups = BTreeMap<(String, Vec<String>), Vec<usize>>;

/// Likely norms, those alike together.
fn alike(values: &Values<'_>, verdicts: &[Verdict]) -> Groups {
    let mut groups = Groups::new();
    for (norm, verdict) in verdicts.iter().enumerate() {
        let Verdict::Likely { choices, is_its_own, .. } = verdict else { continue };
        let name = &values.inventory.norms[norm].name;
        let slots = choices.iter().map(|&(weight, ..)| differing(name, &values.inventory.weights[weight].module));
        let name = if *is_its_own { name.clone() } else { template(name) };
        groups.entry((name, slots.collect())).or_default().push(norm);
    }
    groups
}

/// A few of `norms`, small ones first, whose choices' weights fit into the bytes `left`; or all of them.
fn sample(
    values: &mut Values<'_>,
    verdicts: &[Verdict],
    norms: Vec<usize>,
    level: EvidenceLevel,
    left: &mut u64,
) -> Result<Vec<usize>> {
    let mut queue = Vec::new();
    for norm in norms {
        let channels = values.inventory.norms[norm].channels;
        if channels >= FEWEST_CHANNELS && values.statistics(norm)?.is_some() {
            let bytes = choices(&verdicts[norm]).iter().map(|&(weight, ..)| values.bytes(weight)).sum::<u64>();
            queue.push((channels < 32, bytes, norm));
        }
    }
    queue.sort_unstable();
    let most = if level == EvidenceLevel::Full { usize::MAX } else { SAMPLES };
    queue.truncate(most);
    queue.retain(|&(_, bytes, _)| {
        let fits = bytes <= *left;
        *left -= if fits { bytes } else { 0 };
        fits
    });
    Ok(queue.into_iter().map(|(.., norm)| norm).collect())
}

fn choices(verdict: &Verdict) -> &[Choice] {
    match verdict {
        Verdict::Likely { choices, .. } => choices,
        Verdict::Fold { .. } | Verdict::Keep { .. } => &[],
    }
}

/// A norm and its choices.
struct View {
    norm: usize,
    statistics: Arc<Statistics>,
    choices: Vec<(Arc<Layer>, Agreement)>,
}

/// The place among their choices of the weight that values single out for all `norms`.
fn choose(
    values: &mut Values<'_>,
    verdicts: &[Verdict],
    norms: &[usize],
    others: &mut Others,
) -> Result<Option<usize>> {
    let mut views = Vec::new();
    for &norm in norms {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let mut seen = Vec::new();
        for &(weight, _, map) in choices(&verdicts[norm]) {
            let Some(layer) = values.layer((weight, map, statistics.mean.len() as u64))? else { return Ok(None) };
            let agreement = layer.agreement(&statistics);
            seen.push((layer, agreement));
        }
        views.push(View { norm, statistics, choices: seen });
    }
    let Some(first) = views.first() else { return Ok(None) };
    let pooled = |slot: usize| together(views.iter().map(|view| view.choices[slot].1.deviation()));
    let slots = 0..first.choices.len();
    let Some(best) = slots.clone().max_by(|&a, &b| pooled(a).total_cmp(&pooled(b))) else { return Ok(None) };
    let is_beaten = |slot: usize| {
        let ahead = |view: &View| view.choices[best].1.deviation() - view.choices[slot].1.deviation();
        // The difference of two standard normal numbers has the deviation sqrt(2).
        let is_behind = together(views.iter().map(ahead)) >= AHEAD * std::f64::consts::SQRT_2;
        is_behind && together(views.iter().map(|view| view.left_to(best, slot))) < LEFT
    };
    if pooled(best) < RELATED || !slots.filter(|&slot| slot != best).all(is_beaten) {
        return Ok(None);
    }
    for view in &views {
        let (weight, ..) = choices(&verdicts[view.norm])[best];
        // A depthwise layer multiplies its inputs channel by channel, so the norm before it explains much, and rightly.
        if !values.inventory.weights[weight].is_channelwise() && follows_another_norm(values, view, best, others)? {
            return Ok(None);
        }
    }
    Ok(Some(best))
}

impl View {
    /// How far choice `other` explains what choice `best` leaves, in standard deviations.
    fn left_to(&self, best: usize, other: usize) -> f64 {
        let other = &self.choices[other].0;
        let left = agreed::left(&self.choices[best].0, &self.statistics);
        left.explained(&other.sum_ranks, &other.norm_ranks)
    }
}

/// The norms of every width, and how many of them may still be held against chosen weights.
struct Others {
    by_width: HashMap<u64, Vec<usize>>,
    left: usize,
}

impl Others {
    fn of(inventory: &Inventory) -> Others {
        let mut by_width = HashMap::<u64, Vec<usize>>::new();
        for (norm, found) in inventory.norms.iter().enumerate() {
            by_width.entry(found.channels).or_default().push(norm);
        }
        Others { by_width, left: COMPARED }
    }

    /// Those as wide as a norm of `channels`; `None` if they are too many.
    fn as_wide(&mut self, channels: u64) -> Option<&[usize]> {
        let alike = self.by_width.get(&channels).map_or(&[][..], Vec::as_slice);
        self.left = self.left.checked_sub(alike.len())?;
        Some(alike)
    }
}

/// Whether some other norm explains what the chosen weight leaves, as where an input is added to what comes out; or too many
/// would have to be asked.
fn follows_another_norm(values: &mut Values<'_>, view: &View, best: usize, others: &mut Others) -> Result<bool> {
    let left = agreed::left(&view.choices[best].0, &view.statistics);
    let Some(others) = others.as_wide(values.inventory.norms[view.norm].channels) else { return Ok(true) };
    for &other in others.iter().filter(|&&other| other != view.norm) {
        if let Some(other) = values.statistics(other)?
            && left.explained(other.mean_ranks(), other.var_ranks()) >= FOLLOWED
        {
            return Ok(true);
        }
    }
    Ok(false)
}
