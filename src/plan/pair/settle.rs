//! Pairing, stage 5: from judgements to claims.
//!
//! In: groups, kin and signs. Out: claims for norms that one candidate alone fits and nothing speaks against, and the
//! pairs in which the norm runs before the layer. Everything else stays undecided, with a reason.

use std::collections::BTreeMap;

use super::doubt::{Case, Doubts};
use super::kin::{Kin, Record};
use super::ledger::Ledger;
use super::refuse;
use super::relations::{Candidate, Relation};
use super::signs::Signs;
use super::tree::Tree;
use super::vote::{Group, Judgement, groups};

/// Relations of place and name.
const NAMED: &[Relation] = &[Relation::Sequence, Relation::Only, Relation::Twin, Relation::Row];

/// What the first round found out.
pub(super) struct First {
    /// Pairs whose norm runs before the layer.
    pub(super) norm_first: Vec<(Relation, Candidate)>,
    pub(super) signs: Signs,
}

/// The first round: norms that are placed or named like a weight.
pub(super) fn named(tree: &Tree<'_>, ledger: &mut Ledger<'_>, kin: &mut Kin) -> First {
    let groups = groups(tree, ledger, NAMED);
    ledger.note_transposed(&groups);
    kin.record_all(tree, &groups);
    let signs = Signs::read(tree, ledger, &groups);
    let first = |group: &&Group| group.judgement == Judgement::NormFirst || kin.condemns(tree, group);
    let pairs = groups.iter().filter(first).flat_map(|group| group.members.iter().map(|m| (group.relation, *m)));
    let first = First { norm_first: pairs.collect(), signs };
    settle(tree, ledger, kin, signs, &groups);
    first
}

/// The same again, with more kin decided.
pub(super) fn again(tree: &Tree<'_>, ledger: &mut Ledger<'_>, kin: &Kin, first: &First) {
    let groups = groups(tree, ledger, NAMED);
    settle(tree, ledger, kin, first.signs, &groups);
}

/// Norms that only loosely point at a weight, among the weights that are still free.
pub(super) fn loose(tree: &Tree<'_>, ledger: &mut Ledger<'_>, kin: &mut Kin, first: &First, relation: Relation) {
    let groups = groups(tree, ledger, &[relation]);
    kin.record_all(tree, &groups);
    settle(tree, ledger, kin, first.signs, &groups);
}

fn settle(tree: &Tree<'_>, ledger: &mut Ledger<'_>, kin: &Kin, signs: Signs, groups: &[Group]) {
    let doubts = Doubts::new(tree, kin, signs, ledger, groups);
    let cases = groups.iter().map(|group| doubts.case(ledger, group)).collect::<Vec<_>>();
    let mut fitting: BTreeMap<usize, Vec<(&Case<'_>, Candidate)>> = BTreeMap::new();
    for (group, case) in groups.iter().zip(&cases) {
        for &member in &group.members {
            match case {
                Some(case) => fitting.entry(member.norm).or_default().push((case, member)),
                None if group.judgement == Judgement::NormFirst => {
                    ledger.explain(member.norm, refuse::norm_first(ledger, &member));
                }
                None => ledger.explain(member.norm, refuse::misfit(ledger, &member)),
            }
        }
    }
    let mut claims = Vec::new();
    for (norm, choices) in fitting {
        let Some((case, member)) = choose(tree, ledger, kin, &choices) else {
            let rivals = choices.iter().map(|(_, choice)| choice.weight).collect::<Vec<_>>();
            let open = |(case, member): &Choice<'_, '_>| {
                doubts.about(ledger, case, member).is_none_or(|doubt| refuse::is_open_to_values(ledger, member, &doubt))
            };
            let reason = refuse::rivals(ledger, norm, &rivals);
            if choices.iter().all(open) {
                ledger.suggest(norm, reason, rivals, "one of several weights of its scope");
            } else {
                ledger.explain(norm, reason);
            }
            continue;
        };
        match doubts.about(ledger, case, &member) {
            Some(reason) => {
                let biased = reason == refuse::biased(ledger, &member);
                if biased || reason == refuse::either_side(ledger, &member) && doubts.is_usual(ledger, case, &member) {
                    ledger.suggest(norm, reason, vec![member.weight], case.group.relation.evidence());
                } else {
                    ledger.explain(norm, reason);
                }
            }
            None => claims.push((norm, member.weight, case.group.relation.evidence())),
        }
    }
    ledger.claim(&claims);
}

/// A candidate that fits, with its group's case.
type Choice<'c, 'g> = (&'c Case<'g>, Candidate);

/// The only choice; or the only one without a bias, which a norm would make useless; or the only one whose names were not
/// refuted elsewhere, if they were proven there.
fn choose<'c, 'g>(
    tree: &Tree<'_>,
    ledger: &Ledger<'_>,
    kin: &Kin,
    choices: &[Choice<'c, 'g>],
) -> Option<Choice<'c, 'g>> {
    let unbiased = |(_, member): &&Choice<'_, '_>| !ledger.weight(member.weight).bias_exists;
    let unrefuted = |(_, member): &&Choice<'_, '_>| !kin.refutes(tree, member);
    let only = |test: &dyn Fn(&&Choice<'c, 'g>) -> bool| {
        let mut passing = choices.iter().filter(test);
        passing.next().copied().filter(|_| passing.next().is_none())
    };
    let precedent = |(case, member): &Choice<'_, '_>| {
        let near = kin.nearest(tree, case.group.relation, member);
        near.is_some_and(|near| near.named && near.record == Record { proven: true, first: false })
    };
    only(&|_| true).or_else(|| only(&unbiased)).or_else(|| only(&unrefuted).filter(precedent))
}
