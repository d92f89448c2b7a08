//! 2 PLAN, measure: norms whose names point at several weights, or at one that may as well come behind them.
//!
//! In: open questions. Out: what is only likely as a pair, for the other tests to confirm or refuse, with the doubt that
//! stands against it; where several weights are likely, the one that values single out, or none. Norms of one template choose
//! alike, as one piece of code runs them all, but for the kind of a convolution, which is not in their names: the weight that
//! agrees with the sampled norms together by [`RELATED`] standard deviations, by [`AHEAD`] more than every other choice, and
//! that leaves nothing to explain, neither for another choice (pooled, [`LEFT`]) nor for another norm ([`FOLLOWED`]), as the
//! sum of two of them would; but for a depthwise layer behind one that mixes channels, which the norm follows both
//! ([`product`](super::product)).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::correlation::{Agreement, together};
use super::product;
use super::samples::{SAMPLES, differing};
use super::unpaired::rank_agreement;
use super::values::{Layer, Reading, Statistics, Values};
use super::{EvidenceLevel, FEWEST_CHANNELS};
use crate::error::Result;
use crate::network::names::template;
use crate::network::{Inventory, NormId, WeightId};
use crate::plan::board::{Board, Doubt, Finding, Hypothesis, Question, Standing};
use crate::plan::rulebook::Rule;

/// How `--explain` calls this test.
const STAGE: &str = "likely weights";

/// Standard deviations by which the chosen weight must agree: chance for one in 3.5 million.
pub(super) const RELATED: f64 = 5.0;

/// Standard deviations by which it must agree better than any other choice.
const AHEAD: f64 = 3.0;

/// Standard deviations by which another choice may at most explain what the chosen one leaves.
const LEFT: f64 = 4.0;

/// The same for another norm: the largest of 5,142 norms fed by one layer, over all others of their width, is 5.1.
const FOLLOWED: f64 = 5.5;

/// Norms that all chosen weights together are held against, at most: without a bound the time would grow with the square of
/// their number.
const COMPARED: usize = 1 << 15;

/// Takes what is likely for a pair, with a doubt, until all values have spoken; reads at most the bytes of weights that are
/// `left`.
pub(super) fn suppose(
    values: &mut Values<'_>,
    board: &mut Board<'_>,
    level: EvidenceLevel,
    left: &mut u64,
) -> Result<()> {
    let chosen = choices(values, board, level, left)?;
    let mut supposed = Vec::new();
    for norm in board.norms() {
        let Some(question) = board.question(norm) else { continue };
        let sole = (question.hypotheses.len() == 1).then_some(0);
        let slot = chosen.get(&norm).copied();
        supposed.push((norm, slot.or(sole).map(|place| supposition(question, place, slot.is_some()))));
    }
    // A weight that two norms want feeds neither, as far as that is only likely.
    let mut wanted = HashMap::<WeightId, usize>::new();
    for (_, pair) in supposed.iter().filter_map(|(norm, pair)| Some((norm, pair.as_ref()?))) {
        *wanted.entry(pair.weight).or_default() += 1;
    }
    for (norm, pair) in supposed {
        let is_alone = |pair: &Hypothesis| {
            wanted[&pair.weight] == 1
                && board.owner(pair.weight).is_none_or(|owner| owner == norm || board.pair(owner).is_none())
        };
        let standing = match (pair.filter(is_alone), board.question(norm)) {
            (Some(pair), _) => Standing::Paired(pair),
            (None, Some(question)) => Standing::Kept(question.objections.clone()),
            (None, None) => continue,
        };
        board.apply(STAGE, norm, Finding::Stands(standing));
    }
    Ok(())
}

/// The hypothesis at `place` of a question, with what stands against it.
fn supposition(question: &Question, place: usize, is_singled_out: bool) -> Hypothesis {
    let Question { objections, hypotheses, is_its_own } = question;
    let doubt = Doubt { objections: objections.clone(), is_its_own: *is_its_own, is_singled_out };
    Hypothesis { doubt: Some(doubt), ..hypotheses[place].clone() }
}

/// For norms with likely weights the place among these of the one that values single out.
fn choices(
    values: &mut Values<'_>,
    board: &Board<'_>,
    level: EvidenceLevel,
    left: &mut u64,
) -> Result<HashMap<NormId, usize>> {
    if !board.book.has(Rule::OneOfSeveral) {
        return Ok(HashMap::new());
    }
    let (mut chosen, mut others) = (HashMap::new(), Others::of(values.inventory));
    let mut groups = Vec::new();
    for norms in alike(board).into_values() {
        let sample = sample(values, board, norms.clone(), level, left)?;
        groups.push((norms, sample));
    }
    let readings = groups.iter().flat_map(|(_, sample)| sample).flat_map(|&norm| readings(board, norm));
    values.read_layers(readings.collect())?;
    for (norms, sample) in groups {
        if let Some(place) = choose(values, board, &sample, &mut others)? {
            chosen.extend(norms.into_iter().map(|norm| (norm, place)));
        }
    }
    Ok(chosen)
}

fn readings<'b>(board: &'b Board<'_>, norm: NormId) -> impl Iterator<Item = Reading> + 'b {
    let channels = board.network[norm].channels;
    hypotheses(board, norm).iter().map(move |likely| Reading { weight: likely.weight, map: likely.map, channels })
}

/// Norms with likely weights, by what the names of the norms and of these weights have in common.
type Groups = BTreeMap<(String, Vec<String>), Vec<NormId>>;

/// Norms with likely weights, those alike together.
fn alike(board: &Board<'_>) -> Groups {
    let mut groups = Groups::new();
    for norm in board.norms() {
        let Some(question) = board.question(norm) else { continue };
        let name = &board.network[norm].name;
        let places = question.hypotheses.iter().map(|likely| differing(name, &board.network[likely.weight].module));
        let name = if question.is_its_own { name.clone() } else { template(name) };
        groups.entry((name, places.collect())).or_default().push(norm);
    }
    groups
}

/// A few of `norms`, small ones first, whose choices' weights fit into the bytes `left`; or all of them.
fn sample(
    values: &mut Values<'_>,
    board: &Board<'_>,
    norms: Vec<NormId>,
    level: EvidenceLevel,
    left: &mut u64,
) -> Result<Vec<NormId>> {
    let mut queue = Vec::new();
    for norm in norms {
        let channels = values.inventory[norm].channels;
        if channels >= FEWEST_CHANNELS && values.statistics(norm)?.is_some() {
            let bytes = hypotheses(board, norm).iter().map(|likely| values.bytes(likely.weight)).sum::<u64>();
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

fn hypotheses<'b>(board: &'b Board<'_>, norm: NormId) -> &'b [Hypothesis] {
    board.question(norm).map_or(&[], |question| &question.hypotheses)
}

/// A norm and its choices.
pub(super) struct View {
    norm: NormId,
    pub(super) statistics: Arc<Statistics>,
    pub(super) choices: Vec<(Arc<Layer>, Agreement)>,
}

/// The place among their choices of the weight that values single out for all `norms`.
fn choose(values: &mut Values<'_>, board: &Board<'_>, norms: &[NormId], others: &mut Others) -> Result<Option<usize>> {
    let Some(views) = views(values, board, norms)? else { return Ok(None) };
    let product = || {
        product::last_of(&views, |view, place| {
            values.inventory[hypotheses(board, view.norm)[place].weight].is_channelwise()
        })
    };
    let is_asked = board.book.has(Rule::ProductOfTwo);
    let Some(best) = singled_out(&views).or_else(|| product().filter(|_| is_asked)) else { return Ok(None) };
    for view in &views {
        let weight = hypotheses(board, view.norm)[best].weight;
        // A depthwise layer multiplies its inputs channel by channel, so the norm before it explains much, and rightly.
        if !values.inventory[weight].is_channelwise() && follows_another_norm(values, view, best, others)? {
            return Ok(None);
        }
    }
    Ok(Some(best))
}

/// All these norms as values show them; `None` if one of their weights says nothing.
fn views(values: &mut Values<'_>, board: &Board<'_>, norms: &[NormId]) -> Result<Option<Vec<View>>> {
    let mut views = Vec::new();
    for &norm in norms {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let mut choices = Vec::new();
        for reading in readings(board, norm) {
            let Some(layer) = values.layer(reading)? else { return Ok(None) };
            let agreement = layer.agreement(&statistics);
            choices.push((layer, agreement));
        }
        views.push(View { norm, statistics, choices });
    }
    Ok(Some(views))
}

/// The place of the choice that agrees with all views together, by far better than every other one.
fn singled_out(views: &[View]) -> Option<usize> {
    let places = 0..views.first()?.choices.len();
    let pooled = |place: usize| together(views.iter().map(|view| view.choices[place].1.deviation()));
    let best = places.clone().max_by(|&a, &b| pooled(a).total_cmp(&pooled(b)))?;
    let is_beaten = |place: usize| {
        let ahead = |view: &View| view.choices[best].1.deviation() - view.choices[place].1.deviation();
        // The difference of two standard normal numbers has the deviation sqrt(2).
        let is_behind = together(views.iter().map(ahead)) >= AHEAD * std::f64::consts::SQRT_2;
        is_behind && together(views.iter().map(|view| view.left_to(best, place))) < LEFT
    };
    (pooled(best) >= RELATED && places.into_iter().filter(|&place| place != best).all(is_beaten)).then_some(best)
}

impl View {
    /// How far choice `other` explains what choice `best` leaves, in standard deviations.
    pub(super) fn left_to(&self, best: usize, other: usize) -> f64 {
        let other = &self.choices[other].0;
        let left = rank_agreement::left(&self.choices[best].0, &self.statistics);
        left.explained(&other.sum_ranks, &other.norm_ranks)
    }
}

/// The norms of every width, and how many of them may still be held against chosen weights.
struct Others {
    by_width: HashMap<u64, Vec<NormId>>,
    left: usize,
}

impl Others {
    fn of(inventory: &Inventory) -> Others {
        let mut by_width = HashMap::<u64, Vec<NormId>>::new();
        for (norm, found) in inventory.norms.iter().enumerate() {
            by_width.entry(found.channels).or_default().push(NormId::new(norm));
        }
        Others { by_width, left: COMPARED }
    }

    /// Those as wide as a norm of `channels`; `None` if they are too many.
    fn as_wide(&mut self, channels: u64) -> Option<&[NormId]> {
        let alike = self.by_width.get(&channels).map_or(&[][..], Vec::as_slice);
        self.left = self.left.checked_sub(alike.len())?;
        Some(alike)
    }
}

/// Whether some other norm explains what the chosen weight leaves, as where an input is added to what comes out; or too many
/// would have to be asked.
fn follows_another_norm(values: &mut Values<'_>, view: &View, best: usize, others: &mut Others) -> Result<bool> {
    let left = rank_agreement::left(&view.choices[best].0, &view.statistics);
    let Some(others) = others.as_wide(values.inventory[view.norm].channels) else { return Ok(true) };
    for &other in others.iter().filter(|&&other| other != view.norm) {
        if let Some(other) = values.statistics(other)?
            && left.explained(other.mean_ranks(), other.var_ranks()) >= FOLLOWED
        {
            return Ok(true);
        }
    }
    Ok(false)
}
