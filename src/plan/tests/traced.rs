//! 2 PLAN, tests: real architectures, with what really feeds each norm.
//!
//! In: `tests/data/traced.jsonl.gz`. Out: its networks.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use super::Network;
use crate::checkpoint::Metadata;

#[derive(Deserialize)]
pub(super) struct Traced {
    pub(super) name: String,
    aliases: Vec<Vec<String>>,
    tensors: Vec<(String, String, Vec<u64>)>,
    /// `null` if nothing feeds the norm that it could be folded into, `?` if the norm is never run.
    pub(super) norms: BTreeMap<String, Option<String>>,
}

pub(super) fn traced() -> Vec<Traced> {
    let mut text = String::new();
    let bytes = include_bytes!("../../../tests/data/traced.jsonl.gz");
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Traced {
    pub(super) fn network(&self) -> Network {
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
