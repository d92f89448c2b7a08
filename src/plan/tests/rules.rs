//! 2 PLAN, tests: every rule is seen.
//!
//! In: the table of rules. Out: for each of them its case is planned otherwise without it.

use std::collections::BTreeMap;

use super::libraries;
use super::traced::traced;
use super::{Network, Verdicts};
use crate::plan::rulebook::{RULES, Rulebook};

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
fn folds(verdicts: Verdicts) -> Vec<(String, Option<(String, crate::network::Op)>)> {
    verdicts.into_iter().map(|(norm, (weight, _))| (norm, weight)).collect()
}

#[test]
fn discover() {
    let cases = cases();
    for row in RULES {
        let mut seen = Vec::new();
        for (name, network) in &cases {
            if folds(network.verdicts()) != folds(network.verdicts_by(Rulebook::without(row.rule))) {
                seen.push(name.clone());
            }
        }
        println!("{} {}: {:?}", row.code, seen.len(), &seen[..seen.len().min(8)]);
    }
}
