//! 2 PLAN, tests: what the catalogue knows about pairs.
//!
//! In: `tests/data/traced.jsonl.gz`, real architectures with what really feeds each norm. Out: with the architecture known no
//! pair is wrong and next to none is missed; every rule is used.

use std::collections::{BTreeMap, BTreeSet};

use super::traced::{Traced, traced};
use super::{Network, TORCH, torch};
use crate::network::{Inventory, Op};
use crate::plan::catalogue::{Catalogue, KnownPairs};
use crate::plan::eps::{EpsLookup, EpsSettings};
use crate::plan::propose::Names;
use crate::plan::propose::catalogue::apply;
use crate::plan::rulebook::Rulebook;
use crate::plan::{Action, FoldLine, Layer, by_names, written};

/// With the architecture stated, if the catalogue knows it.
fn known_as(arch: &str, network: &Inventory) -> EpsLookup {
    let arch = Catalogue::built_in().look_up(arch).is_ok().then(|| arch.to_owned());
    EpsLookup::new(&EpsSettings { arch, ..EpsSettings::default() }, network).unwrap()
}

/// Layers with the architecture known, and what does not fit.
fn plan(network: &Network, arch: &str) -> (Vec<Layer>, Vec<String>) {
    let network = network.inventory();
    let eps = known_as(arch, &network);
    let (board, misfits) = by_names(&network, &eps, Rulebook::default(), None);
    (written::layers(&board, &eps), misfits.iter().map(|misfit| misfit.sentence(&network)).collect())
}

fn folds(layers: &[Layer]) -> impl Iterator<Item = (&str, &FoldLine)> {
    layers.iter().filter_map(|layer| match &layer.action {
        Action::Fold(line) => Some((layer.norm.as_str(), line)),
        Action::Keep(_) => None,
    })
}

#[test]
fn with_the_architecture_known_no_pair_is_wrong_and_next_to_none_is_missed() {
    let (mut right, mut missed) = (0, Vec::new());
    for traced in traced() {
        let (layers, problems) = plan(&traced.network(), &traced.name);
        assert_eq!(problems, [""; 0], "{}", traced.name);
        let known = Catalogue::built_in().look_up(&traced.name).is_ok();
        for Layer { norm, action } in &layers {
            let truth = traced.norms.get(norm).cloned().flatten();
            match (action, truth) {
                (_, Some(truth)) if truth == "?" => {}
                (Action::Fold(line), truth) => {
                    assert_eq!(Some(&line.weight), truth.as_ref(), "{}: {norm}", traced.name);
                    right += 1;
                }
                (_, Some(_)) if known => missed.push(format!("{}: {norm}", traced.name)),
                _ => {}
            }
        }
    }
    assert!(right > 11_000 && missed.len() * 200 <= right, "{right} right, {} missed: {missed:?}", missed.len());
}

#[test]
fn every_rule_is_used() {
    let (mut texts, mut used) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeSet::new());
    for traced in traced() {
        let network = traced.network().inventory();
        for rules in known_as(&traced.name, &network).known_pairs() {
            let lines = rules.pairs.iter().map(|line| line.text());
            let kept = rules.keep.iter().map(|path| path.text().to_owned());
            texts.entry(rules.source.clone()).or_default().extend(lines.chain(kept));
            used.extend(lines_used(&traced, &rules));
        }
    }
    for (source, lines) in texts {
        for line in lines {
            assert!(used.contains(&line), "{source}: `{line}` is never used");
        }
    }
}

/// Which lines of these rules decide anything, if nothing else does.
fn lines_used(traced: &Traced, rules: &KnownPairs) -> BTreeSet<String> {
    let network = traced.network().inventory();
    let eps = EpsLookup::unstated(&network);
    let mut board = Names::new(&network, Rulebook::default(), None).board;
    apply(std::slice::from_ref(rules), &mut board);
    let mut used = BTreeSet::new();
    for Layer { norm, action } in written::layers(&board, &eps) {
        match action {
            Action::Fold(line) => {
                let said = rules.pairs.iter().map(|line| line.text());
                let said = said.filter(|text| line.evidence[0].text.starts_with(&format!("{text};")));
                used.extend(said.take(1));
            }
            Action::Keep(reason) if reason.code == "catalogue-keeps" => {
                let path = norm.replace('.', "/");
                let keeps = rules.keep.iter().filter(|keep| keep.find(&path).is_some());
                used.extend(keeps.map(|keep| keep.text().to_owned()));
            }
            Action::Keep(_) => {}
        }
    }
    used
}

/// RegNetV's block, with a convolution of another shape if it is to be another network.
fn regnetv(out: u64) -> Network {
    torch(&[
        ("stem.weight", &[32, 3, 3, 3]),
        ("s1.b1.norm1", &[32]),
        ("s1.b1.conv1.weight", &[out, 32, 1, 1]),
        ("s1.b1.norm2", &[64]),
        ("s1.b1.conv2.weight", &[64, 64, 3, 3]),
        ("s1.b1.norm3", &[64]),
        ("s1.b1.se.fc1.weight", &[16, 64, 1, 1]),
        ("s1.b1.se.fc2.weight", &[64, 16, 1, 1]),
        ("s1.b1.conv3.weight", &[64, 64, 1, 1]),
    ])
}

#[test]
fn a_rule_says_so_in_its_evidence_and_one_that_does_not_fit_is_explained() {
    let (layers, problems) = plan(&regnetv(64), "timm/regnetv_040");
    let (_, line) = folds(&layers).find(|(norm, _)| *norm == "s1.b1.norm2").expect("the rule gives it a weight");
    assert_eq!(line.weight, "s1.b1.conv1.weight");
    let evidence = &line.evidence[0];
    assert!(
        evidence.text.starts_with("`norm2` follows `conv1`; catalogue: timm regnetv_* (timm 1.0.31"),
        "{evidence:?}"
    );
    assert_eq!(evidence.code, "catalogue");
    assert!(problems.is_empty(), "{problems:?}");

    let (layers, problems) = plan(&regnetv(48), "timm/regnetv_040");
    let kept = layers.iter().find(|layer| layer.norm == "s1.b1.norm2").expect("it has a line");
    let Action::Keep(reason) = &kept.action else { panic!("{kept:?}") };
    assert!(reason.text.contains("the rule that `norm2` follows `conv1` does not fit this file"), "{reason:?}");
    assert!(problems[0].contains("`s1.b1.conv1.weight` has shape [48, 32, 1, 1]"), "{problems:?}");
    assert_eq!(problems.len(), 1, "the line for the stem still holds");
}

#[test]
fn a_rule_says_what_shapes_leave_open() {
    let network =
        torch(&[("stage3.scale_unit.conv2.conv.weight", &[32, 32, 3, 3]), ("stage3.scale_unit.conv2.bn", &[32])]);
    let op = |arch: &str| folds(&plan(&network, arch).0).next().map(|(_, line)| line.op);
    assert_eq!(op("pytorchcv/enet_cityscapes"), Some(Op::ConvTranspose));
    assert_eq!(op("handmade/a_network"), Some(Op::Conv), "nothing is known of it");
}

#[test]
fn what_a_rule_gives_to_one_norm_no_other_keeps() {
    // By names `bn` belongs to `dwconv`'s scope alone; the rule knows better.
    let mut network = torch(&[("blocks.0.dwconv.weight", &[24, 1, 3, 3]), ("blocks.0.norm", &[24])]);
    for suffix in TORCH {
        network.add(&format!("blocks.0.dwconv.bn{suffix}"), &[24], "F32");
    }
    let (layers, _) = plan(&network, "timm/swiftformer_xs");
    assert_eq!(folds(&layers).map(|(norm, _)| norm).collect::<Vec<_>>(), ["blocks.0.norm"], "{layers:?}");
}
