//! 2 PLAN, catalogue: which architectures a library has, and what the norms of each are called.
//!
//! In: `networks.json`, which `scripts/list_architectures.py` writes, built into the program. Out: whether a name is listed,
//! and the [`Group`] of architectures with the same names of modules that it belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

/// The file.
#[derive(Debug, Deserialize)]
struct Networks {
    /// The version of each library that was looked at.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the data; a test checks that it is there"))]
    source: BTreeMap<String, String>,
    /// By library: names of architectures of which nothing else is said.
    silent: BTreeMap<String, String>,
    groups: Vec<Group>,
}

/// Architectures of one library whose norms are called alike.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) library: String,
    /// Paths of the norms' modules, numbers as `#`, each with its share of a network's norms in percent.
    pub(super) norms: BTreeMap<String, u32>,
    /// Names, by how many norms they have; under [`ANY`] where a configuration decides.
    of: BTreeMap<String, String>,
}

/// In place of a number of norms.
const ANY: &str = "*";

/// What is listed of one architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    /// What its norms are called; `None` where the list does not say.
    pub(super) group: Option<&'static Group>,
    /// How many it has at most; `None` where a configuration decides.
    pub(super) most: Option<usize>,
}

static NETWORKS: LazyLock<Networks> =
    LazyLock::new(|| serde_json::from_str(include_str!("networks.json")).expect("every test reads the list"));

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), Listed>> = LazyLock::new(|| {
    let silent = NETWORKS.silent.iter().flat_map(|(library, names)| {
        names.split_whitespace().map(move |name| ((library.as_str(), name), Listed { group: None, most: None }))
    });
    let grouped = groups().flat_map(|group| {
        group.members().map(move |(name, most)| ((group.library.as_str(), name), Listed { group: Some(group), most }))
    });
    silent.chain(grouped).collect()
});

/// All groups.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    NETWORKS.groups.iter()
}

/// All names of a library.
pub(super) fn names(library: &str) -> impl Iterator<Item = &'static str> {
    BY_NAME.keys().filter(move |(of, _)| *of == library).map(|(_, name)| *name)
}

/// What is listed of an architecture, by its very name.
pub(super) fn listed(library: &str, name: &str) -> Option<Listed> {
    BY_NAME.get(&(library, name)).copied()
}

impl Group {
    /// Its architectures, and how many norms each has at most.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, Option<usize>)> {
        self.of.iter().flat_map(|(most, names)| {
            debug_assert!(most == ANY || most.parse::<usize>().is_ok(), "a number of norms: {most}");
            names.split_whitespace().map(move |name| (name, most.parse().ok()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        assert!(NETWORKS.source.len() > 8, "{:?}", NETWORKS.source);
        let of = |library, name| listed(library, name).unwrap();
        assert_eq!(of("timm", "resnet50").most, Some(53));
        assert_eq!(of("timm", "tf_efficientnet_b0_ns").most, Some(49), "a name that timm gave up");
        assert!(of("timm", "vit_base_patch16_224").group.unwrap().norms.is_empty());
        assert!(listed("timm", "resnet5O").is_none() && names("timm").count() > 1000);
        for group in groups() {
            let sum = group.norms.values().sum::<u32>();
            assert!(group.norms.is_empty() || (90..=130).contains(&sum), "{}: {:?}", group.library, group.norms);
            assert!(group.norms.keys().all(|path| !path.contains(|c: char| c.is_ascii_digit())), "{:?}", group.norms);
        }
    }
}
