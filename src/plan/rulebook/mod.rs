//! 2 PLAN: every rule by which names, shapes and values make pairs or refuse them.
//!
//! In: nothing. Out: the `table` of rules, and a [`Rulebook`] that says whether a rule is in force: always, but for the test that
//! takes each of them away in turn (`tests/rules.rs`). Where a rule is asked is in the room that it is a part of.

mod table;

#[cfg(test)]
pub(super) use table::RULES;
pub(super) use table::Rule;

/// Which rules are in force.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rulebook {
    /// The one that is not.
    without: Option<Rule>,
}

impl Rulebook {
    /// Whether `rule` is in force.
    pub(super) fn has(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// All rules but one.
    #[cfg(test)]
    pub(super) fn without(rule: Rule) -> Rulebook {
        Rulebook { without: Some(rule) }
    }
}

/// One rule.
#[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for the test that takes each rule away"))]
pub(super) struct Row {
    pub(super) rule: Rule,
    /// A name that stays the same.
    pub(super) code: &'static str,
    /// What it looks at, and what follows.
    pub(super) looks_at: &'static str,
    /// Why there is such a rule.
    pub(super) why: &'static str,
    /// A network of `tests/libraries.txt`, `tests/values.rs` or `tests/data/traced.jsonl.gz` whose plan is worse or wrong
    /// without it.
    pub(super) case: &'static str,
}
