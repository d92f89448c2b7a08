//! 2 PLAN: how one norm came to be folded or kept.
//!
//! In: a checkpoint, settings, the name of a norm. Out: an [`Explanation`]: every proposal, every objection and every
//! measurement, in the order in which they were made, for a reader who disagrees.

use std::fmt;

use super::board::{Board, Finding, Hypothesis, Question, Standing};
use super::measure::Agreement;
use super::reason::Objection;
use super::{Action, Judged, Layer, PlanSettings, Reason, judge, look_up, written};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::{Inventory, NormId, Op, WeightId};
use crate::text::{escaped_json, shown};

/// What was thought of one norm, step by step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// What is done with it in the end.
    pub layer: Layer,
    /// What was found on the way.
    pub steps: Vec<Step>,
    /// Lines of a plan, in JSON, each of which would fold a norm that stays into a weight that was thought of and fits by
    /// its shape; which of them is right, if any, the model's code tells.
    pub settled_by: Vec<String>,
}

/// Lines of a plan that are shown at most.
const LINES: usize = 6;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The round of questions to names, or the test of values.
    pub stage: &'static str,
    /// Its code and its sentence.
    pub found: Reason,
}

/// Plans a checkpoint and explains what becomes of one norm, or `None` if the checkpoint has no norm of that name. A plan file
/// takes no part.
pub fn explain(checkpoint: &Checkpoint, settings: &PlanSettings, norm: &str) -> Result<Option<Explanation>> {
    let network = Inventory::of(checkpoint);
    let Some(id) = network.norms.iter().position(|known| known.name == norm).map(NormId::new) else {
        return Ok(None);
    };
    let eps = look_up(settings, &network, checkpoint)?;
    let Judged { board, .. } = judge(checkpoint, &network, &eps, settings, Some(id))?;
    let steps = board
        .history()
        .iter()
        .flat_map(|(stage, finding)| reasons(&network, id, finding).into_iter().map(|found| Step { stage, found }));
    let steps = steps.collect();
    let mut layers = written::layers(&board, &eps);
    let layer = layers.swap_remove(id.index());
    let settled_by = match &layer.action {
        Action::Keep(_) if network[id].defect.is_none() => lines(&board, id),
        Action::Keep(_) | Action::Fold(_) => Vec::new(),
    };
    Ok(Some(Explanation { layer, steps, settled_by }))
}

/// A line for each weight that was thought of and each kind of layer that it can be.
fn lines(board: &Board<'_>, norm: NormId) -> Vec<String> {
    let network = board.network;
    let mut weights = Vec::new();
    for (_, finding) in board.history() {
        match finding {
            Finding::Stands(Standing::Open(question) | Standing::Asked(question)) => {
                weights.extend(question.hypotheses.iter().map(|likely| likely.weight));
                weights.extend(question.objections.iter().flat_map(Objection::weights));
            }
            Finding::Stands(Standing::Paired(pair)) => weights.push(pair.weight),
            Finding::Stands(Standing::Kept(objections)) => {
                weights.extend(objections.iter().flat_map(Objection::weights))
            }
            Finding::Objected(objection) => weights.extend(objection.weights()),
            Finding::Supported(_) | Finding::Measured { .. } => {}
        }
    }
    weights.sort_unstable();
    weights.dedup();
    let (name, channels) = (&network[norm].name, network[norm].channels);
    let line = |(weight, op): (WeightId, Op)| {
        let [norm, weight] = [name, &network[weight].tensor]
            .map(|text| escaped_json(serde_json::Value::from(text.as_str()).to_string()));
        format!("{{\"norm\": {norm}, \"action\": \"fold\", \"op\": \"{}\", \"weight\": {weight}}}", op.name())
    };
    let ops = weights.into_iter().flat_map(|weight| {
        let producers = network[weight].producers(channels).into_iter();
        producers.filter(|(_, map)| map.groups == 1 || map.groups == channels).map(move |(op, _)| (weight, op))
    });
    ops.take(LINES).map(line).collect()
}

/// A finding in words.
fn reasons(network: &Inventory, norm: NormId, finding: &Finding) -> Vec<Reason> {
    match finding {
        Finding::Stands(Standing::Paired(pair)) => vec![paired(network, pair)],
        Finding::Stands(Standing::Kept(objections)) => {
            let kept = objections.iter().map(|found| (found.code(), format!("kept: {}", found.sentence(network))));
            kept.map(|(code, text)| Reason::new(code, text)).collect()
        }
        Finding::Stands(Standing::Open(question) | Standing::Asked(question)) => asked(network, question),
        Finding::Supported(support) => vec![Reason::new(support.code(), support.sentence(network))],
        Finding::Objected(objection) => vec![Reason::new(objection.code(), objection.sentence(network))],
        Finding::Measured { instead: None, agreement } => {
            vec![Reason::new("measured", format!("the pair: {}", figures(*agreement)))]
        }
        Finding::Measured { instead: Some(follower), agreement } => {
            let what = follower.brief(network, norm);
            vec![Reason::new("measured", format!("{what}: {}", figures(*agreement)))]
        }
    }
}

fn paired(network: &Inventory, pair: &Hypothesis) -> Reason {
    let support = pair.support.first();
    let why = support.map_or_else(String::new, |support| support.sentence(network));
    let (code, weight) = (support.map_or("paired", |support| support.code()), &network[pair.weight].tensor);
    let doubt = pair.doubt.as_ref().and_then(|doubt| doubt.objections.first());
    let doubt = doubt.map_or_else(String::new, |doubt| format!("; to be answered: {}", doubt.sentence(network)));
    Reason::new(code, format!("`{weight}` as a {}: {why}{doubt}", pair.op.name()))
}

fn asked(network: &Inventory, question: &Question) -> Vec<Reason> {
    let open = question.objections.iter().map(|found| (found.code(), format!("open: {}", found.sentence(network))));
    let likely = question.hypotheses.iter().map(|likely| {
        let weight = &network[likely.weight].tensor;
        ("likely", format!("values are asked about `{weight}` as a {}", likely.op.name()))
    });
    open.chain(likely).map(|(code, text)| Reason::new(code, text)).collect()
}

fn figures(agreement: Agreement) -> String {
    format!(
        "row sums and means correlate by {:.2}, row norms and variances by {:.2}; {:.1} standard deviations from chance",
        agreement.sums,
        agreement.norms,
        agreement.deviation()
    )
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", shown(&self.layer.norm))?;
        let mut last = "";
        for Step { stage, found } in &self.steps {
            if *stage != last {
                writeln!(f, "  {stage}")?;
                last = stage;
            }
            writeln!(f, "    {} [{}]", shown(&found.text), found.code)?;
        }
        match &self.layer.action {
            Action::Keep(reason) => {
                write!(f, "  stays: {} [{}]", shown(&reason.text), reason.code)?;
                if !self.settled_by.is_empty() {
                    write!(f, "\n  a plan with one of these layers settles it, if the model's code says so:")?;
                }
                self.settled_by.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Action::Fold(line) => write!(
                f,
                "  folded into {} as a {}, eps {:e} ({})",
                shown(&line.weight),
                line.op.name(),
                line.eps,
                line.eps_source
            ),
        }
    }
}
