//! 2 PLAN: rounds: what names and shapes are asked, in which order. Later rounds know what earlier ones proved.
//!
//! In: an inventory. Out: the board, with every norm that names can decide paired or kept, and questions for values.

use super::board::{Finding, Hypothesis, Question, Standing};
use super::decide;
use super::object::habits::Habits;
use super::object::template_vote::groups;
use super::propose::relations::Relation;
use super::propose::{Names, conformer, numbered, pre_activation};
use super::reason::Objection;
use super::rulebook::Rule;
use crate::network::NormId;

/// One question to all norms that are still open.
pub(super) struct Round {
    /// How `--explain` calls it.
    pub(super) name: &'static str,
    ask: fn(&mut Names<'_>, &'static str),
}

/// All rounds, in the order in which they run.
pub(super) const ROUNDS: &[Round] = &[
    // Norms that are placed or named like a weight. What they prove is precedent for the others.
    Round { name: "place and name", ask: placed_or_named },
    // Blocks that the first round found to run their norms first, and that concatenate what their layers put out.
    Round { name: "concatenated", ask: concatenated },
    // The others of these blocks: the layer before feeds the norm.
    Round { name: "pre-activation", ask: |names, round| apply_claims(names, round, pre_activation::claims) },
    // Convolution modules of Conformers, told by their widths.
    Round { name: "conformer", ask: |names, round| apply_claims(names, round, conformer::claims) },
    // Norms whose name is a part of a weight's, among the weights that are left.
    Round { name: "part of a name", ask: |names, round| ask(names, round, &[Relation::Part]) },
    // Norms that are numbered in the order of the data flow.
    Round { name: "numbered", ask: in_order },
    // Place and name once more, with more precedent.
    Round { name: "place and name again", ask: again },
    // The last resort: what is left over in a scope.
    Round { name: "alone in a scope", ask: |names, round| ask(names, round, &[Relation::Lone]) },
    // Networks whose weights are binarised as they are used (WRN-1bit) leave scale and shift out: the stored weights are not
    // what the norms see. They run their norms first, so that what is binarised is centred.
    Round { name: "scale and shift", ask: without_affine },
];

/// Relations of place and name.
const NAMED: &[Relation] = &[Relation::Sequence, Relation::Only, Relation::Twin, Relation::Row];

/// Runs all rounds.
pub(super) fn run(names: &mut Names<'_>) {
    for round in ROUNDS {
        (round.ask)(names, round.name);
    }
}

fn without_affine(names: &mut Names<'_>, round: &'static str) {
    if names.board.network.is_mostly_bare() && !names.pre_activation.is_empty() && names.has(Rule::NoAffine) {
        let asked = |(norm, pair): (NormId, &Hypothesis)| {
            let question =
                Question { objections: vec![Objection::NoAffine], hypotheses: vec![pair.clone()], is_its_own: false };
            (norm, Finding::Stands(Standing::Open(question)))
        };
        let asked = names.board.pairs().map(asked).collect::<Vec<_>>();
        names.board.apply_all(round, asked);
    }
}

fn placed_or_named(names: &mut Names<'_>, round: &'static str) {
    let groups = groups(names, NAMED);
    names.learn_kinds(&groups);
    names.precedents.learn(&names.tree, &groups);
    names.habits = Habits::read(names, &groups);
    names.learn_pre_activation(&groups);
    let findings = decide::by_names(names, &groups);
    names.board.apply_all(round, findings);
}

fn again(names: &mut Names<'_>, round: &'static str) {
    let groups = groups(names, NAMED);
    let findings = decide::by_names(names, &groups);
    names.board.apply_all(round, findings);
}

fn ask(names: &mut Names<'_>, round: &'static str, relations: &[Relation]) {
    let groups = groups(names, relations);
    names.precedents.learn(&names.tree, &groups);
    let mut findings = decide::by_names(names, &groups);
    // A question that values may answer is not dropped for one that they may not.
    findings.retain(|(norm, finding)| {
        let asks_nobody = matches!(finding, Finding::Stands(Standing::Open(asked)) if asked.hypotheses.is_empty());
        !(asks_nobody && names.board.question(*norm).is_some())
    });
    names.board.apply_all(round, findings);
}

fn in_order(names: &mut Names<'_>, round: &'static str) {
    let arranged = numbered::arrange(names);
    names.board.apply_all(round, arranged.unordered.into_iter().map(|norm| (norm, Finding::open(Objection::NoOrder))));
    for candidate in &arranged.proven {
        names.precedents.add(&names.tree, Relation::Twin, candidate, numbered::RUNS_LAST);
    }
    let findings = decide::claims(names, &arranged.claims);
    names.board.apply_all(round, findings);
}

fn concatenated(names: &mut Names<'_>, round: &'static str) {
    let findings = pre_activation::concatenated(names).into_iter();
    let findings = findings.map(|(norm, weight)| (norm, Finding::kept(Objection::Concatenated(weight))));
    names.board.apply_all(round, findings.collect::<Vec<_>>());
}

fn apply_claims(names: &mut Names<'_>, round: &'static str, claims: fn(&Names<'_>) -> Vec<decide::Claim>) {
    let findings = decide::claims(names, &claims(names));
    names.board.apply_all(round, findings);
}
