//! 2 PLAN, tests: blocks of many libraries, with what their code does with them.
//!
//! In: `libraries.txt`. Out: no wrong pair, and every pair that the file says is found.

use std::collections::BTreeMap;

use super::{Network, TORCH, torch};

/// A norm of a case: the weight that feeds it, and whether the planner must find it.
pub(super) type Truth<'a> = BTreeMap<&'a str, (Option<String>, bool)>;

/// One module per line: `name dims... [+b]`, `name =length`, `name channels [< weight | ? weight]`, `name @tensor`.
pub(super) fn read(lines: &str) -> (Network, Truth<'_>) {
    let (mut network, mut truth) = (torch(&[]), BTreeMap::new());
    for line in lines.lines().skip(1).filter(|line| !line.is_empty()) {
        let words = line.split(' ').collect::<Vec<_>>();
        if let Some(kept) = words[1].strip_prefix('@') {
            network.metadata.insert(words[0].to_owned(), kept.to_owned());
            continue;
        }
        let dims = words.iter().filter_map(|word| word.parse().ok()).skip(usize::from(words[0].parse::<u64>().is_ok()));
        match (&dims.collect::<Vec<u64>>()[..], words[1].strip_prefix('=')) {
            ([], Some(length)) => network.add(words[0], &[length.parse().unwrap()], "F32"),
            (&[channels], None) => {
                for suffix in TORCH {
                    network.add(&format!("{}{suffix}", words[0]), &[channels], "F32");
                }
                let weight = words.get(3).map(|weight| format!("{weight}.weight"));
                truth.insert(words[0], (weight, words.get(2) == Some(&"<")));
            }
            (shape @ [out, ..], None) => {
                network.add(&format!("{}.weight", words[0]), shape, "F32");
                if words.last() == Some(&"+b") {
                    network.add(&format!("{}.bias", words[0]), &[*out], "F32");
                }
            }
            _ => panic!("{line}"),
        }
    }
    (network, truth)
}

#[test]
fn blocks_of_other_libraries_are_paired_as_their_code_runs_or_kept() {
    let cases = include_str!("libraries.txt").split("\n== ").skip(1).collect::<Vec<_>>();
    assert!(cases.len() > 50, "{}", cases.len());
    for case in cases {
        let title = case.lines().next().unwrap_or_default();
        let (network, truth) = read(case);
        let verdicts = network.verdicts();
        assert_eq!(verdicts.len(), truth.len(), "{title}");
        for (norm, (found, why)) in verdicts {
            let (weight, must) = &truth[norm.as_str()];
            match found {
                Some((found, _)) => assert_eq!(Some(&found), weight.as_ref(), "{title}: {norm}: {why}"),
                None => assert!(!must, "{title}: {norm} stays, but {weight:?} feeds it: {why}"),
            }
        }
    }
}
