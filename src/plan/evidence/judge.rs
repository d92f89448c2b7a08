//! Evidence: planned folds held against weights and running statistics.
//!
//! In: templates of planned folds. Out: evidence lines for those that values confirm, refusals for those that they
//! contradict. Two tests contradict; each looks at the sampled pairs of a template together, and at each pair alone.
//!
//! *A rival fits better.* A weight near the pair agrees with the norm, or the planned weight with another norm near it,
//! by [`RELATED`] standard deviations more than chance gives, and by [`BETTER`] more than the planned pair does. Where
//! the plan is right every rival is unrelated, so a false alarm takes a deviation of 5 (one in 3.5 million) *and* a
//! planned pair that hardly agrees, against at most 16 rivals a template.
//!
//! The planned weight itself is a rival too if it is square: as a transposed convolution, or as an ordinary one. So is
//! every such weight that is not sampled, in [`turned`](super::turned).
//!
//! *Means lie too high.* The running means exceed what the rows predict in proportion to the running deviations, as
//! behind a max pool ([`offset`](super::score::offset)), by [`TOO_HIGH`] standard errors. Measured on 5,142 norms fed
//! directly: the largest single value is 5.5, of either sign.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::score::{Agreement, Offset, together};
use super::templates::{Pair, Template, differing, rival_norms, rival_weights, sample};
use super::turned::other_kinds;
use super::values::{Reading, Statistics, Values};
use super::{EvidenceLevel, FEWEST_CHANNELS, SAMPLE_BYTES};
use crate::error::Result;
use crate::network::Op;
use crate::network::channels::ChannelMap;
use crate::plan::Verdict;

/// Standard deviations by which a rival must agree with the sampled pairs together, and with a single one.
const RELATED: (f64, f64) = (5.0, 6.0);

/// Standard deviations by which it must agree better than what is planned, for the same.
const BETTER: (f64, f64) = (3.0, 4.0);

/// Standard errors by which means must lie above what the rows predict, for the same.
const TOO_HIGH: (f64, f64) = (6.0, 8.0);

/// The same for a pair that no name speaks for: 99 of 100 norms fed directly lie below.
const TOO_HIGH_ALONE: f64 = 3.5;

/// Running deviations by which they must do so at least.
const LEAST_OFFSET: f64 = 0.1;

/// Standard deviations from which on agreement is told as evidence.
const CONFIRMED: f64 = 4.0;

/// How an evidence line begins with which values confirm a fold.
pub(super) const CONFIRMS: &str = "values:";

/// A planned fold as values show it.
struct View {
    norm: usize,
    own: Agreement,
    offset: Option<Offset>,
    rivals: Vec<Rival>,
}

/// Another pairing near a planned one.
struct Rival {
    /// What is the same for the same rival of another pair of the template.
    slot: String,
    /// In words, as the end of a sentence about the norm.
    what: String,
    agreement: Agreement,
}

/// Confirms and refuses.
pub(super) fn decide(
    values: &mut Values<'_>,
    templates: &[Template],
    verdicts: &mut [Verdict],
    level: EvidenceLevel,
) -> Result<()> {
    let samples = match level {
        EvidenceLevel::Full => templates.iter().map(|template| template.pairs.clone()).collect(),
        _ => sample(values, templates, SAMPLE_BYTES)?,
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
            views.extend(look(values, surroundings)?);
        }
        if let Some(reason) = contradiction(&views) {
            let reason = format!("{reason}{}", looked_at(&views, template));
            for pair in &template.pairs {
                verdicts[pair.norm] = Verdict::Keep { reason: reason.clone() };
            }
            continue;
        }
        for view in &views {
            if let Some(reason) = doubt(view) {
                verdicts[view.norm] = Verdict::Keep { reason };
            }
        }
        confirm(&views, template, verdicts);
    }
    Ok(())
}

/// What has to be read for a look at a pair.
struct Surroundings {
    pair: Pair,
    channels: u64,
    statistics: Arc<Statistics>,
    /// Rivals of the weight.
    weights: Vec<(usize, ChannelMap)>,
    /// What else the weight may be.
    kinds: Vec<(Op, ChannelMap)>,
}

impl Surroundings {
    /// `None` if the norm's statistics say nothing.
    fn of(values: &mut Values<'_>, pair: Pair) -> Result<Option<Surroundings>> {
        let channels = values.inventory.norms[pair.norm].channels;
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
        all.map(|(weight, map)| (weight, map, self.channels))
    }
}

/// A pair and its rivals; `None` if its values say nothing.
fn look(values: &mut Values<'_>, surroundings: Surroundings) -> Result<Option<View>> {
    let inventory = values.inventory;
    let Surroundings { pair, channels, statistics, weights, kinds } = surroundings;
    let Some(layer) = values.layer((pair.weight, pair.map, channels))? else { return Ok(None) };
    let (norm, weight) = (&inventory.norms[pair.norm].name, &inventory.weights[pair.weight]);
    let mut rivals = Vec::new();
    for (other, map) in weights {
        let Some(rival) = values.layer((other, map, channels))? else { continue };
        let other = &inventory.weights[other];
        let slot = format!("weight {}", differing(&weight.module, &other.module));
        let what = format!("`{norm}` follow `{}`", other.tensor);
        rivals.push(Rival { slot, what, agreement: rival.agreement(&statistics) });
    }
    for other in rival_norms(inventory, pair) {
        let Some(rival) = values.statistics(other)? else { continue };
        let other = &inventory.norms[other].name;
        let slot = format!("norm {}", differing(norm, other));
        let what = format!("`{other}`, not `{norm}`, follow `{}`", weight.tensor);
        rivals.push(Rival { slot, what, agreement: layer.agreement(&rival) });
    }
    // A square weight: do its columns go with the statistics, as in the other kind of convolution?
    for (op, map) in kinds {
        let Some(rival) = values.layer((pair.weight, map, channels))? else { continue };
        let what = format!("`{norm}` follow `{}` as a {}", weight.tensor, op.name());
        rivals.push(Rival { slot: op.name().to_owned(), what, agreement: rival.agreement(&statistics) });
    }
    let (own, offset) = (layer.agreement(&statistics), layer.offset(&statistics));
    Ok(Some(View { norm: pair.norm, own, offset, rivals }))
}

/// What the sampled pairs of a template say together against it.
fn contradiction(views: &[View]) -> Option<String> {
    let offsets = views.iter().filter_map(|view| view.offset).collect::<Vec<_>>();
    if let Some(reason) = pooled(&offsets, TOO_HIGH.0) {
        return Some(reason);
    }
    let mut slots: BTreeMap<&str, Vec<(&View, &Rival)>> = BTreeMap::new();
    for view in views {
        view.rivals.iter().for_each(|rival| slots.entry(&rival.slot).or_default().push((view, rival)));
    }
    // A rival that few of the pairs have says nothing about the others.
    let common = slots.into_values().filter(|seen| 2 * seen.len() >= views.len());
    let found = common.filter(|seen| fits_better(seen, RELATED.0, BETTER.0));
    let best = found.max_by(|a, b| relation(a).total_cmp(&relation(b)))?;
    best.first().map(|(view, rival)| reason(&rival.what, rival.agreement, view.own))
}

/// What a single pair says against itself.
fn doubt(view: &View) -> Option<String> {
    if let Some(reason) = pooled(view.offset.as_slice(), TOO_HIGH.1) {
        return Some(reason);
    }
    let better = |rival: &&Rival| fits_better(&[(view, *rival)], RELATED.1, BETTER.1);
    let best = view.rivals.iter().filter(better);
    let best = best.max_by(|a, b| a.agreement.deviation().total_cmp(&b.agreement.deviation()))?;
    Some(reason(&best.what, best.agreement, view.own))
}

fn relation(seen: &[(&View, &Rival)]) -> f64 {
    together(seen.iter().map(|(_, rival)| rival.agreement.deviation()))
}

fn fits_better(seen: &[(&View, &Rival)], related: f64, better: f64) -> bool {
    // The difference of two standard normal numbers has the deviation sqrt(2).
    let ahead = |(view, rival): &(&View, &Rival)| rival.agreement.deviation() - view.own.deviation();
    relation(seen) >= related && together(seen.iter().map(ahead)) >= better * std::f64::consts::SQRT_2
}

/// Why a pair is none: `what` agrees as `found`, the pair as `own`.
pub(super) fn reason(what: &str, found: Agreement, own: Agreement) -> String {
    format!(
        "values contradict it: the running statistics of {what} (row sums and means correlate by {:.2}, row norms and \
         variances by {:.2}; as planned by {:.2} and {:.2})",
        found.sums, found.norms, own.sums, own.norms
    )
}

/// Why the norm does not see the layer's output itself, if its means lie too high for that.
pub(super) fn pooled(offsets: &[Offset], standard_errors: f64) -> Option<String> {
    let t = together(offsets.iter().map(|offset| offset.t));
    let factor = offsets.iter().map(|offset| offset.factor).sum::<f64>() / offsets.len().max(1) as f64;
    (t >= standard_errors && factor >= LEAST_OFFSET).then(|| {
        format!(
            "values contradict it: its running means lie {factor:.2} running deviations above what the weight gives \
             ({t:.0} standard errors), so a pool or an activation stands between"
        )
    })
}

/// A pair from values alone: why the norm does not see the layer's output itself.
pub(super) fn pooled_alone(offset: Option<Offset>) -> Option<String> {
    pooled(offset.as_slice(), TOO_HIGH_ALONE)
}

/// How many pairs of a template speak for all of them.
fn looked_at(views: &[View], template: &Template) -> String {
    match (views.len(), template.pairs.len()) {
        (1, 1) => String::new(),
        (looked_at, all) => format!("; {looked_at} of {all} alike looked at"),
    }
}

/// Tells all pairs of a template that values speak for them.
fn confirm(views: &[View], template: &Template, verdicts: &mut [Verdict]) {
    if together(views.iter().map(|view| view.own.deviation())) < CONFIRMED {
        return;
    }
    let mean = |of: fn(&Agreement) -> f64| views.iter().map(|view| of(&view.own)).sum::<f64>() / views.len() as f64;
    let line = format!(
        "{CONFIRMS} row sums follow running means ({:.2}), row norms follow running variances ({:.2}){}",
        mean(|own| own.sums.abs()),
        mean(|own| own.norms),
        looked_at(views, template)
    );
    for pair in &template.pairs {
        if let Verdict::Fold { evidence, .. } = &mut verdicts[pair.norm] {
            evidence.push(line.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(own: f64, rival: f64, channels: usize) -> View {
        let agreement = |score: f64| Agreement { sums: score / 2.0, norms: score / 2.0, channels };
        let rival = Rival { slot: "x".to_owned(), what: "`n` follow `w`".to_owned(), agreement: agreement(rival) };
        View { norm: 0, own: agreement(own), offset: None, rivals: vec![rival] }
    }

    #[test]
    fn a_rival_must_be_related_and_better() {
        assert!(doubt(&view(0.1, 1.7, 64)).is_some());
        assert!(doubt(&view(1.6, 1.7, 64)).is_none(), "both agree: the planned one stays");
        assert!(doubt(&view(0.1, 0.5, 64)).is_none(), "chance");
        assert!(doubt(&view(0.1, 1.7, 12)).is_none(), "twelve channels say too little alone");
        let few = [view(0.1, 1.7, 16), view(-0.1, 1.6, 16), view(0.2, 1.8, 16)];
        assert!(contradiction(&few).is_some(), "but several such pairs do together");
    }

    #[test]
    fn means_above_what_rows_give_are_told_and_lower_ones_are_not() {
        let offset = |factor, t| Some(Offset { factor, t });
        assert!(pooled_alone(offset(0.8, 20.0)).is_some());
        assert!(pooled_alone(offset(-0.8, -20.0)).is_none());
        assert!(pooled_alone(offset(0.8, 3.0)).is_none());
        assert!(pooled(offset(0.8, 5.0).as_slice(), TOO_HIGH.1).is_none());
        assert!(pooled_alone(offset(1e-7, 20.0)).is_none());
    }
}
