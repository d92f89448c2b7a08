//! 2 PLAN, tests of names and shapes: one principle each, on little networks written by hand.
//!
//! A network is a list of names and shapes: those of one axis are norms, of which the tensors are filled in, all others are
//! tensors as they stand.

mod blocks;
mod contradiction;
mod frameworks;
mod known;
mod libraries;
mod rules;
mod traced;
mod traps;
mod values;

use std::collections::BTreeMap;

use super::board::{Board, Standing};
use super::eps::EpsLookup;
use super::rulebook::Rulebook;
use crate::checkpoint::{Dtype, Metadata, Tensor};
use crate::network::{Inventory, Op};

type Entries<'a> = &'a [(&'a str, &'a [u64])];

/// PyTorch's and MLX's names for a norm's tensors.
const TORCH: &[&str] = &[".weight", ".bias", ".running_mean", ".running_var"];

/// Keras' and TF-slim's.
const KERAS: &[&str] = &["/gamma", "/beta", "/moving_mean", "/moving_variance"];

/// Flax' (two collections, one module).
const FLAX: &[&str] = &["/scale", "/bias", "/mean", "/var"];

struct Network {
    tensors: BTreeMap<String, Tensor>,
    metadata: Metadata,
}

/// Norms by name: the weight that each is folded into, as what, and why, or why it stays.
type Verdicts = BTreeMap<String, (Option<(String, Op)>, String)>;

fn verdicts(board: &Board<'_>) -> Verdicts {
    let verdict = |norm| match board.standing(norm) {
        Standing::Paired(pair) => {
            let why = pair.support.iter().map(|support| support.sentence(board.network)).collect::<Vec<_>>();
            (Some((board.network[pair.weight].tensor.clone(), pair.op)), why.join("; "))
        }
        Standing::Open(question) | Standing::Asked(question) => (None, question.objections[0].sentence(board.network)),
        Standing::Kept(objections) => (None, objections[0].sentence(board.network)),
    };
    board.norms().map(|norm| (board.network[norm].name.clone(), verdict(norm))).collect()
}

/// Nothing is known of the architecture.
fn no_eps(network: &Inventory) -> EpsLookup {
    EpsLookup::unstated(network)
}

impl Network {
    fn new(entries: Entries<'_>, norm: &[&str]) -> Network {
        let mut network = Network { tensors: BTreeMap::new(), metadata: Metadata::new() };
        for (name, shape) in entries {
            match shape {
                [channels] if !name.ends_with("bias") => {
                    for suffix in norm {
                        network.add(&format!("{name}{suffix}"), &[*channels], "F32");
                    }
                }
                _ => network.add(name, shape, "F32"),
            }
        }
        network
    }

    fn add(&mut self, name: &str, shape: &[u64], dtype: &str) {
        self.tensors.insert(name.to_owned(), tensor(shape, dtype));
    }

    fn inventory(&self) -> Inventory {
        Inventory::new(&self.tensors, &[&self.metadata])
    }

    /// Every norm with the weight that names and shapes give it, and why.
    fn verdicts(&self) -> Verdicts {
        self.verdicts_by(Rulebook::default())
    }

    /// The same by other rules.
    fn verdicts_by(&self, book: Rulebook) -> Verdicts {
        let network = self.inventory();
        verdicts(&super::by_names(&network, &no_eps(&network), book, None).0)
    }

    /// Panics unless exactly these norms are folded, each into its weight.
    fn folds(&self, expected: &[(&str, &str)]) {
        let verdicts = self.verdicts();
        let folded =
            verdicts.iter().filter_map(|(norm, (weight, _))| Some((norm.as_str(), weight.as_ref()?.0.as_str())));
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(folded.collect::<Vec<_>>(), expected, "{verdicts:#?}");
    }

    fn op(&self, norm: &str) -> Option<Op> {
        self.verdicts()[norm].0.as_ref().map(|(_, op)| *op)
    }
}

fn tensor(shape: &[u64], dtype: &str) -> Tensor {
    Tensor { dtype: Dtype::parse(dtype), shape: shape.to_vec(), shard: 0, offset: 0, bytes: 0 }
}

fn torch(entries: Entries<'_>) -> Network {
    Network::new(entries, TORCH)
}

/// Two basic blocks behind a stem, the second of them widening: the most common of networks.
const RESNET: Entries<'static> = &[
    ("conv1.weight", &[64, 3, 7, 7]),
    ("bn1", &[64]),
    ("layer1.0.conv1.weight", &[64, 64, 3, 3]),
    ("layer1.0.bn1", &[64]),
    ("layer1.0.conv2.weight", &[64, 64, 3, 3]),
    ("layer1.0.bn2", &[64]),
    ("layer2.0.conv1.weight", &[128, 64, 3, 3]),
    ("layer2.0.bn1", &[128]),
    ("layer2.0.conv2.weight", &[128, 128, 3, 3]),
    ("layer2.0.bn2", &[128]),
    ("layer2.0.downsample.0.weight", &[128, 64, 1, 1]),
    ("layer2.0.downsample.1", &[128]),
    ("fc.weight", &[1000, 128]),
    ("fc.bias", &[1000]),
];

const RESNET_FOLDS: &[(&str, &str)] = &[
    ("bn1", "conv1.weight"),
    ("layer1.0.bn1", "layer1.0.conv1.weight"),
    ("layer1.0.bn2", "layer1.0.conv2.weight"),
    ("layer2.0.bn1", "layer2.0.conv1.weight"),
    ("layer2.0.bn2", "layer2.0.conv2.weight"),
    ("layer2.0.downsample.1", "layer2.0.downsample.0.weight"),
];

#[test]
fn layers_come_before_their_norms() {
    torch(RESNET).folds(RESNET_FOLDS);
}

#[test]
fn prefixes_mean_nothing() {
    let plain = torch(RESNET).verdicts();
    for prefix in ["module.", "model.backbone.", "state_dict.encoder.0."] {
        let mut network = torch(RESNET);
        network.tensors = network.tensors.into_iter().map(|(name, t)| (format!("{prefix}{name}"), t)).collect();
        let bare = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
        let verdicts = network.verdicts().into_iter().map(|(norm, (weight, evidence))| {
            let weight = weight.and_then(|(weight, op)| Some((bare(&weight)?, op)));
            (bare(&norm), (weight, evidence))
        });
        let expected = plain.clone().into_iter().map(|(norm, verdict)| (Some(norm), verdict));
        assert_eq!(verdicts.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{prefix}");
    }
}

#[test]
fn order_of_entries_means_nothing() {
    let reversed = RESNET.iter().rev().copied().collect::<Vec<_>>();
    assert_eq!(torch(&reversed).verdicts(), torch(RESNET).verdicts());
}

#[test]
fn an_empty_inventory_has_no_verdicts() {
    assert_eq!(torch(&[]).verdicts(), BTreeMap::new());
}

#[test]
fn a_network_of_many_thousand_norms_takes_no_time() {
    // Flat names, no norm with a partner: the worst case for anything that compares siblings with siblings.
    let mut network = torch(&[]);
    for index in 0..20_000 {
        network.add(&format!("conv_{index}_x.weight"), &[8, 8, 3, 3], "F32");
        for suffix in TORCH {
            network.add(&format!("bn_{index}_y{suffix}"), &[8], "F32");
        }
    }
    let started = std::time::Instant::now();
    assert!(network.verdicts().values().all(|(weight, _)| weight.is_none()));
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
