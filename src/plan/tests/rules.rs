//! 2 PLAN, tests: every rule is seen.
//!
//! In: the table of rules. Out: for each of them its case is planned otherwise without it, and `docs/rules.md` says the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::traced::traced;
use super::{Network, Verdicts, libraries, values};
use crate::network::Op;
use crate::plan::rounds::ROUNDS;
use crate::plan::rulebook::{RULES, Row, Rulebook};

/// All cases by name: blocks of other libraries, and traced networks.
fn cases() -> BTreeMap<String, Network> {
    let blocks = include_str!("libraries.txt").split("\n== ").skip(1).map(|case| {
        let title = case.lines().next().unwrap_or_default();
        (title.to_owned(), libraries::read(case).0)
    });
    let networks = traced().into_iter().map(|traced| (traced.name.clone(), traced.network()));
    blocks.chain(networks).collect()
}

/// The weights that norms are folded into, as what.
fn folds(verdicts: Verdicts) -> Vec<(String, Option<(String, Op)>)> {
    verdicts.into_iter().map(|(norm, (weight, _))| (norm, weight)).collect()
}

#[test]
fn every_rule_is_seen() {
    let (networks, with_values) = (cases(), values::cases());
    let mut unseen = Vec::new();
    for Row { rule, code, case, .. } in RULES {
        let (all, but_one) = (Rulebook::default(), Rulebook::without(*rule));
        let is_seen = match (networks.get(*case), with_values.get(case)) {
            (Some(network), _) => folds(network.verdicts()) != folds(network.verdicts_by(but_one)),
            // Several tests of values may refuse a pair: which one did is a part of the plan.
            (None, Some(case)) => case.plan(all) != case.plan(but_one),
            (None, None) => panic!("{code}: there is no case `{case}`"),
        };
        unseen.extend((!is_seen).then(|| format!("{code}: `{case}` is planned alike without it")));
    }
    assert!(unseen.is_empty(), "{unseen:#?}");
}

#[test]
fn codes_are_named_once() {
    for (index, row) in RULES.iter().enumerate() {
        assert!(RULES[..index].iter().all(|other| other.code != row.code), "{}", row.code);
        assert!(!row.looks_at.is_empty() && !row.why.is_empty(), "{}", row.code);
    }
}

/// The page that lists all rules.
fn page() -> String {
    let mut page = "# The planner's rules\n\n\
        Names, shapes and values decide by these rules, a table in `src/plan/rulebook/table.rs`. A test takes each of them \
        away in turn and fails unless the plan of its case changes: a network of `tests/data/traced.jsonl.gz`, whose names \
        begin with a library, of `src/plan/tests/libraries.txt`, or of `src/plan/tests/values.rs`. How values are weighed is in \
        [formats.md](formats.md).\n\n\
        Rounds, in the order in which they run: "
        .to_owned();
    page += &ROUNDS.iter().map(|round| round.name).collect::<Vec<_>>().join("; ");
    page += ".\n\n| rule | what it looks at | why | case |\n|---|---|---|---|\n";
    for Row { code, looks_at, why, case, .. } in RULES {
        writeln!(page, "| `{code}` | {looks_at} | {why} | {case} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_rules_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page(), "docs/rules.md is out of date; it should be:\n\n{}", page());
}
