//! Pairing, tests: what the catalogue knows about pairs.
//!
//! In: `tests/data/traced.jsonl.gz`, real architectures with what really feeds each norm. Out: with the architecture known no
//! pair is wrong and next to none is missed; every rule is used.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::Deserialize;

use super::{Network, TORCH, torch};
use crate::checkpoint::Metadata;
use crate::network::{Inventory, Op};
use crate::plan::catalogue::Catalogue;
use crate::plan::eps::{EpsLookup, EpsSettings};
use crate::plan::pair::{Verdict, apply, pair};

#[derive(Deserialize)]
struct Traced {
    name: String,
    aliases: Vec<Vec<String>>,
    tensors: Vec<(String, String, Vec<u64>)>,
    /// `null` if nothing feeds the norm that it could be folded into, `?` if the norm is never run.
    norms: BTreeMap<String, Option<String>>,
}

fn traced() -> Vec<Traced> {
    let mut text = String::new();
    let bytes = include_bytes!("../../../../tests/data/traced.jsonl.gz");
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Traced {
    fn network(&self) -> Network {
        let mut network = Network { tensors: BTreeMap::new(), metadata: Metadata::new() };
        for group in &self.aliases {
            let kept = group.iter().min().unwrap();
            network.metadata.extend(group.iter().filter(|name| *name != kept).map(|name| (name.clone(), kept.clone())));
        }
        for (name, dtype, shape) in self.tensors.iter().filter(|(name, ..)| !network.metadata.contains_key(name)) {
            network.tensors.insert(name.clone(), super::tensor(shape, dtype));
        }
        network
    }
}

/// Verdicts with the architecture known, and what does not fit.
fn plan(network: &Network, arch: &str) -> (Inventory, Vec<Verdict>, Vec<String>) {
    let inventory = Inventory::new(&network.tensors, &[&network.metadata]);
    let settings = EpsSettings { arch: Some(arch.to_owned()), ..EpsSettings::default() };
    let mut verdicts = pair(&inventory);
    let problems = apply(&inventory, &EpsLookup::new(&settings, &inventory).known_pairs(), &mut verdicts);
    (inventory, verdicts, problems)
}

#[test]
fn with_the_architecture_known_no_pair_is_wrong_and_next_to_none_is_missed() {
    let (mut right, mut missed) = (0, Vec::new());
    for traced in traced() {
        let (inventory, verdicts, problems) = plan(&traced.network(), &traced.name);
        assert_eq!(problems, [""; 0], "{}", traced.name);
        let known = Catalogue::built_in().look_up(&traced.name).is_ok();
        for (norm, verdict) in inventory.norms.iter().zip(verdicts) {
            let truth = traced.norms.get(&norm.name).cloned().flatten();
            match (verdict, truth) {
                (_, Some(truth)) if truth == "?" => {}
                (Verdict::Fold { weight, .. }, truth) => {
                    assert_eq!(
                        Some(&inventory.weights[weight].tensor),
                        truth.as_ref(),
                        "{}: {}",
                        traced.name,
                        norm.name
                    );
                    right += 1;
                }
                (_, Some(_)) if known => missed.push(format!("{}: {}", traced.name, norm.name)),
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
        let network = traced.network();
        let inventory = Inventory::new(&network.tensors, &[&network.metadata]);
        let settings = EpsSettings { arch: Some(traced.name.clone()), ..EpsSettings::default() };
        for rules in EpsLookup::new(&settings, &inventory).known_pairs() {
            let lines = rules.pairs.iter().map(|line| format!("{} <- {}", line.norm.text(), line.weight.text()));
            let kept = rules.keep.iter().map(|path| path.text().to_owned());
            texts.entry(rules.source.clone()).or_default().extend(lines.chain(kept));
            let mut verdicts = vec![Verdict::Keep { reason: String::new() }; inventory.norms.len()];
            apply(&inventory, std::slice::from_ref(&rules), &mut verdicts);
            for (norm, verdict) in inventory.norms.iter().zip(verdicts) {
                match verdict {
                    Verdict::Fold { evidence, .. } => {
                        let line = rules.pairs.iter().find(|line| {
                            evidence[0].starts_with(&format!(
                                "`{}` follows `{}`;",
                                line.norm.text(),
                                line.weight.text()
                            ))
                        });
                        let line = line.expect("evidence names its line");
                        used.insert(format!("{} <- {}", line.norm.text(), line.weight.text()));
                    }
                    Verdict::Keep { reason } if !reason.is_empty() => {
                        let name = norm.name.replace('.', "/");
                        used.extend(
                            rules
                                .keep
                                .iter()
                                .filter(|path| path.find(&name).is_some())
                                .map(|path| path.text().to_owned()),
                        );
                    }
                    _ => {}
                }
            }
        }
    }
    for (source, lines) in texts {
        for line in lines {
            assert!(used.contains(&line), "{source}: `{line}` is never used");
        }
    }
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
    let (inventory, verdicts, problems) = plan(&regnetv(64), "timm/regnetv_040");
    let of = |inventory: &Inventory, name: &str| inventory.norms.iter().position(|norm| norm.name == name).unwrap();
    let Verdict::Fold { weight, evidence, .. } = &verdicts[of(&inventory, "s1.b1.norm2")] else {
        panic!("{verdicts:?}")
    };
    assert_eq!(inventory.weights[*weight].tensor, "s1.b1.conv1.weight");
    assert!(evidence[0].starts_with("`norm2` follows `conv1`; catalogue: timm regnetv_* (timm 1.0.31"), "{evidence:?}");
    assert!(problems.is_empty(), "{problems:?}");

    let (inventory, verdicts, problems) = plan(&regnetv(48), "timm/regnetv_040");
    let Verdict::Keep { reason } = &verdicts[of(&inventory, "s1.b1.norm2")] else { panic!("{verdicts:?}") };
    assert!(reason.contains("the rule that `norm2` follows `conv1` does not fit this file"), "{reason}");
    assert!(problems[0].contains("`s1.b1.conv1.weight` has shape [48, 32, 1, 1]"), "{problems:?}");
    assert_eq!(problems.len(), 1, "the line for the stem still holds");
}

#[test]
fn a_rule_says_what_shapes_leave_open() {
    let network =
        torch(&[("stage3.scale_unit.conv2.conv.weight", &[32, 32, 3, 3]), ("stage3.scale_unit.conv2.bn", &[32])]);
    let op = |arch: &str| match &plan(&network, arch).1[..] {
        [Verdict::Fold { op, .. }] => Some(*op),
        _ => None,
    };
    assert_eq!(op("pytorchcv/enet_cityscapes"), Some(Op::ConvTranspose));
    assert_eq!(op("pytorchcv/resnet18"), Some(Op::Conv));
}

#[test]
fn what_a_rule_gives_to_one_norm_no_other_keeps() {
    // By names `bn` belongs to `dwconv`'s scope alone; the rule knows better.
    let mut network = torch(&[("blocks.0.dwconv.weight", &[24, 1, 3, 3]), ("blocks.0.norm", &[24])]);
    for suffix in TORCH {
        network.add(&format!("blocks.0.dwconv.bn{suffix}"), &[24], "F32");
    }
    let (inventory, verdicts, _) = plan(&network, "timm/swiftformer_xs");
    let folded = inventory.norms.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Fold { .. }));
    assert_eq!(folded.map(|(norm, _)| norm.name.as_str()).collect::<Vec<_>>(), ["blocks.0.norm"], "{verdicts:?}");
}
