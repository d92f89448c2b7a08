//! 2 PLAN, eps: what the lines of a plan state, and what they only carry along.
//!
//! In: a plan that is taken back, from a file or from memory. Out: the same with the eps that is to be used for every norm.
//!
//! A plan's eps goes first. But the planner writes one into every line, also where it only assumed it, and marks it so with
//! the line's code: such a line states nothing, unless the number has been changed. The words about a source never decide.

use std::collections::HashMap;

use super::{EpsLookup, SourcedEps};
use crate::network::{EpsSource, Inventory};
use crate::plan::{Action, Plan};

/// Settles the eps of every line of `plan`.
pub(in crate::plan) fn settle(plan: &mut Plan, network: &Inventory, lookup: &EpsLookup) {
    let norms = network.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect::<HashMap<_, _>>();
    for layer in &mut plan.layers {
        if let (Action::Fold(line), Some(norm)) = (&mut layer.action, norms.get(layer.norm.as_str())) {
            let stated = SourcedEps { value: line.eps, source: line.eps_source.clone() };
            let SourcedEps { value, source } = settled(stated, lookup.eps(norm));
            (line.eps, line.eps_source) = (value, source);
        }
    }
}

/// The eps of a line that states one; `found` is what would be taken without the plan.
fn settled(stated: SourcedEps, found: SourcedEps) -> SourcedEps {
    let is_edited = stated.value != found.value;
    if stated.source.is_assumed() && (!is_edited || !found.source.is_assumed()) {
        return found;
    }
    match (stated.source.code() == found.source.code(), is_edited) {
        // What the planner found is what it would find again.
        (true, false) => found,
        // The number was changed, its source was not.
        (true, true) => SourcedEps { value: stated.value, source: EpsSource::Plan(None) },
        (false, _) => stated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assumed(value: f64) -> SourcedEps {
        SourcedEps { value, source: EpsSource::AssumedDialect { dialect: "pytorch" } }
    }

    fn option(value: f64) -> SourcedEps {
        SourcedEps { value, source: EpsSource::ForAll }
    }

    fn plan(value: f64, words: Option<&str>) -> SourcedEps {
        SourcedEps { value, source: EpsSource::Plan(words.map(str::to_owned)) }
    }

    #[test]
    fn an_eps_that_the_planner_assumed_states_nothing() {
        let marked = |value| SourcedEps { value, source: EpsSource::saved("assumed", "assumed: x".to_owned()) };
        assert_eq!(settled(marked(1e-5), option(1e-3)), option(1e-3));
        assert_eq!(settled(marked(1e-5), assumed(1e-5)), assumed(1e-5));
        assert_eq!(settled(marked(2e-5), assumed(1e-5)), plan(2e-5, None), "an edited number");
        let saved = |value| SourcedEps { value, source: EpsSource::saved("eps", "--eps".to_owned()) };
        assert_eq!(settled(saved(2e-5), option(1e-3)), plan(2e-5, None), "an edited number");
        assert_eq!(settled(saved(1e-3), option(1e-3)), option(1e-3));
        assert_eq!(settled(saved(2e-5), assumed(1e-5)), saved(2e-5), "another source has no part in it");
        assert_eq!(settled(plan(2e-5, None), option(1e-3)), plan(2e-5, None), "the plan goes first");
    }

    #[test]
    fn words_never_decide() {
        for words in ["the paper, table 3", "assumed from the paper, table 3", "catalogue: mine", "--eps", ""] {
            assert_eq!(settled(plan(2e-3, Some(words)), option(1e-3)), plan(2e-3, Some(words)));
        }
    }
}
