//! 2 PLAN: what the planner finds, as data: [`Objection`]s to a pair, [`Support`] for it, and where an eps comes from.
//!
//! In: ids of norms and weights, numbers. Out: for each finding a stable code, a sentence for people, and who could settle
//! it. Sentences are made where a plan is written down; nothing in the planner reads one.

mod objection;
mod sentences;
mod support;

use std::sync::Arc;

pub(super) use objection::Objection;
pub(super) use support::{Input, Support};

use crate::network::{Inventory, NormId};

/// Who could settle an objection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnsweredBy {
    /// Values: they may confirm the only candidate.
    Values,
    /// Values, but only by singling out one of several candidates.
    Comparison,
    /// Nobody but a plan that states the pair.
    Plan,
}

/// A rule of the catalogue that does not fit the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleMisfit {
    /// The norm that gives it away.
    pub(super) norm: NormId,
    /// What the rule says.
    pub(super) rule: String,
    /// Who says so.
    pub(super) source: Arc<str>,
    /// What is wrong with that.
    pub(super) problem: Objection,
}

impl RuleMisfit {
    pub(super) fn sentence(&self, network: &Inventory) -> String {
        let (norm, problem) = (&network[self.norm].name, self.problem.sentence(network));
        format!("norm `{norm}`: the rule that {} does not fit this file: {problem}; {}", self.rule, self.source)
    }
}

/// How many pairs of a template were looked at, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampled {
    pub(super) looked_at: usize,
    pub(super) all: usize,
}

impl Sampled {
    /// One pair that was judged by itself.
    pub(super) const ONE: Sampled = Sampled { looked_at: 1, all: 1 };

    fn clause(self) -> String {
        match self {
            Sampled { looked_at: 1, all: 1 } => String::new(),
            Sampled { looked_at, all } => format!("; {looked_at} of {all} alike looked at"),
        }
    }
}
