//! 2 PLAN, measure, rivals: what follows from the looks at a template's pairs. Two tests contradict; each looks at the sampled
//! pairs of a template together, and at each pair alone.
//!
//! In: views. Out: support and objections.
//!
//! *A rival fits better.* It agrees by [`RELATED`] standard deviations more than chance gives, and by [`BETTER`] more than the
//! planned pair does. Where the plan is right every rival is unrelated, so a false alarm takes a deviation of 5 (one in 3.5
//! million) *and* a planned pair that hardly agrees, against at most 16 rivals a template.
//!
//! *Means lie too high.* The running means exceed what the rows predict in proportion to the running deviations, as
//! behind a max pool ([`offset`](super::super::correlation::offset)), by [`TOO_HIGH`] standard errors. Measured on 5,142 norms
//! fed directly: the largest single value is 5.5, of either sign.

use std::collections::BTreeMap;

use super::super::correlation::{Agreement, Offset, together};
use super::super::samples::{Pair, Template};
use super::{Follower, RELATED, Rival, View};
use crate::network::NormId;
use crate::plan::board::Finding;
use crate::plan::reason::{Objection, Sampled, Support};
use crate::plan::rulebook::{Rule, Rulebook};

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

/// What the sampled pairs of a template say about all of them.
pub(super) fn judge(views: &[View], template: &Template, book: Rulebook) -> Vec<(NormId, Finding)> {
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
pub(in crate::plan::measure) fn pooled_alone(offset: Option<Offset>) -> Option<Objection> {
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
    use crate::network::{ChannelMap, WeightId};

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
