//! 2 PLAN: decisions: what follows from hypotheses, objections and support.
//!
//! In: groups of candidates with the objections to them; after values have spoken, the pairs with what speaks for and
//! against them. Out: findings for the board: a pair, a question that values may answer, or a norm that stays.
//!
//! | a candidate fits, and the objection to it | from names alone | after values |
//! |---|---|---|
//! | is none | paired | paired, unless values object |
//! | is answered by values | stays | paired if they confirm it, single it out and could see what the objection is about |
//! | is answered by a comparison | stays | the same, if there are several and one stands out |
//! | is answered by a plan only | stays | stays, but for `--evidence full`, which looks for its weight anew |

use std::collections::BTreeMap;

use super::board::{Doubt, Finding, Hypothesis, Question, Standing};
use super::object::rules::{Case, Objections};
use super::object::template_vote::{Group, Vote};
use super::object::weight::{doubt, layer_of};
use super::propose::Names;
use super::propose::relations::Candidate;
use super::propose::transposed::on_the_way_up;
use super::reason::{AnsweredBy, Objection, Support};
use super::rulebook::Rule;
use crate::network::{NormId, Op, WeightId};

/// A norm that is to be paired with a weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) norm: NormId,
    pub(super) weight: WeightId,
    pub(super) support: Support,
}

/// A candidate that fits, with its group's case.
type Choice<'c, 'g> = (&'c Case<'g>, Candidate);

/// What names and shapes decide about the members of `groups`. Later findings about a norm replace earlier ones.
pub(super) fn by_names(names: &Names<'_>, groups: &[Group]) -> Vec<(NormId, Finding)> {
    let objections = Objections::new(names, groups);
    let cases = groups.iter().map(|group| objections.case(group)).collect::<Vec<_>>();
    let (mut findings, mut claimed) = (Vec::new(), Vec::new());
    let mut fitting: BTreeMap<NormId, Vec<Choice<'_, '_>>> = BTreeMap::new();
    for (group, case) in groups.iter().zip(&cases) {
        for &member in &group.members {
            match case {
                Some(case) => fitting.entry(member.norm).or_default().push((case, member)),
                None => findings.push((member.norm, Finding::open(misfit(names, group, &member)))),
            }
        }
    }
    for (norm, choices) in fitting {
        let chosen = choose(names, &choices);
        let objection = chosen.and_then(|(case, member)| objections.to(case, &member));
        match (chosen, objection) {
            (None, _) => findings.push((norm, rivals(names, &objections, norm, &choices))),
            (Some((case, member)), Some(objection)) => {
                let support = case.group.relation.support();
                let may_ask = objection.answered_by() == AnsweredBy::Values;
                let weights = if may_ask { vec![member.weight] } else { Vec::new() };
                findings.push((norm, question(names, norm, objection, &weights, &support)));
            }
            (Some((case, member)), None) => {
                claimed.push(Claim { norm, weight: member.weight, support: case.group.relation.support() });
            }
        }
    }
    findings.extend(claims(names, &claimed));
    findings
}

/// Why a group does not fit.
fn misfit(names: &Names<'_>, group: &Group, member: &Candidate) -> Objection {
    let Candidate { norm, weight, .. } = *member;
    match group.vote {
        Vote::PreActivation => Objection::PreActivation(weight),
        _ if names.fits(weight, norm) => Objection::MisfitElsewhere(weight),
        _ => Objection::WrongChannels { weight, channels: names.channels(norm) },
    }
}

/// The only choice; or the only one without a bias, which a norm would make useless.
fn choose<'c, 'g>(names: &Names<'_>, choices: &[Choice<'c, 'g>]) -> Option<Choice<'c, 'g>> {
    let only = |choices: &mut dyn Iterator<Item = &Choice<'c, 'g>>| {
        choices.next().copied().filter(|_| choices.next().is_none())
    };
    let is_unbiased = |(_, member): &&Choice<'_, '_>| !names.weight(member.weight).bias_exists;
    let unbiased = || only(&mut choices.iter().filter(is_unbiased)).filter(|_| names.has(Rule::ChooseUnbiased));
    only(&mut choices.iter()).or_else(unbiased)
}

/// Several candidates fit: values may single one out, if no objection to any of them rules that out.
fn rivals(names: &Names<'_>, objections: &Objections<'_, '_>, norm: NormId, choices: &[Choice<'_, '_>]) -> Finding {
    let weights = choices.iter().map(|(_, choice)| choice.weight).collect::<Vec<_>>();
    let may_ask = choices.iter().all(|(case, member)| {
        objections.to(case, member).is_none_or(|objection| objection.answered_by() != AnsweredBy::Plan)
    });
    let asked = if may_ask { &weights[..] } else { &[] };
    let objection = Objection::Rivals { weights: weights.clone(), channels: names.channels(norm) };
    question(names, norm, objection, asked, &Support::OneOfSeveral)
}

/// The same as a finding.
fn question(names: &Names<'_>, norm: NormId, objection: Objection, weights: &[WeightId], support: &Support) -> Finding {
    Finding::Stands(question_of(names, norm, objection, weights, support))
}

/// An open question that values may answer with one of `weights`.
fn question_of(
    names: &Names<'_>,
    norm: NormId,
    objection: Objection,
    weights: &[WeightId],
    support: &Support,
) -> Standing {
    let hypothesis = |&weight: &WeightId| {
        let found = layer_of(names.book, names.board.network, weight, names.channels(norm), &names.kinds);
        let (op, map) = found.ok()?;
        Some(Hypothesis { weight, op, map, support: vec![support.clone()], doubt: None })
    };
    let hypotheses = weights.iter().filter_map(hypothesis).collect();
    Standing::Open(Question { objections: vec![objection], hypotheses, is_its_own: false })
}

/// Pairs for norms that are still open. A weight that two of them want feeds neither: it is shared.
pub(super) fn claims(names: &Names<'_>, claims: &[Claim]) -> Vec<(NormId, Finding)> {
    let mut wanted = BTreeMap::<WeightId, usize>::new();
    for claim in claims {
        *wanted.entry(claim.weight).or_default() += 1;
    }
    let finding = |claim: &Claim| {
        let Claim { norm, weight, .. } = *claim;
        let standing = match names.board.is_free(weight) && wanted[&weight] == 1 {
            true => claimed(names, claim),
            false => Standing::kept(Objection::SeveralNorms(weight)),
        };
        (norm, Finding::Stands(standing))
    };
    claims.iter().filter(|claim| names.board.is_open(claim.norm)).map(finding).collect()
}

/// Where a norm stands that alone wants its weight.
fn claimed(names: &Names<'_>, Claim { norm, weight, support }: &Claim) -> Standing {
    let (network, channels) = (names.board.network, names.channels(*norm));
    let pair = |(op, map)| Hypothesis { weight: *weight, op, map, support: vec![support.clone()], doubt: None };
    if let Some(objection) = doubt(names.book, network, *weight, *support == Support::Sequence) {
        return question_of(names, *norm, objection, &[*weight], support);
    }
    let either_kind = || {
        let ungrouped = network[*weight].producers(channels).into_iter().filter(|(_, map)| map.groups == 1);
        let objections = vec![Objection::MaybeTransposed(*weight)];
        Standing::Asked(Question { objections, hypotheses: ungrouped.map(pair).collect(), is_its_own: true })
    };
    match layer_of(names.book, network, *weight, channels, &names.kinds) {
        Err(Objection::MaybeTransposed(_)) => either_kind(),
        Err(objection) => Standing::kept(objection),
        Ok((Op::Conv, _)) if names.has(Rule::WayUp) && on_the_way_up(&network[*weight], &network.weights) => {
            either_kind()
        }
        Ok(layer) => Standing::Paired(pair(layer)),
    }
}

/// Where a pair stands after values have spoken: it stays one unless there is a doubt that they did not answer.
/// `is_hidden` says that what the doubt is about could not be seen in them.
pub(super) fn after_values(pair: &Hypothesis, is_hidden: bool) -> Option<Standing> {
    let Doubt { objections, is_singled_out, .. } = pair.doubt.as_ref()?;
    let is_confirmed = pair.support.iter().any(|support| matches!(support, Support::Confirmed { .. }));
    let is_answered = is_confirmed && *is_singled_out && !is_hidden;
    (!is_answered).then(|| Standing::Kept(objections.clone()))
}
