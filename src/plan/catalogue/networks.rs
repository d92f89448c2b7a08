//! 2 PLAN, catalogue: which architectures a library has, and what the norms of each are called.
//!
//! In: `networks.json`, which `scripts/list_architectures.py` writes, and `names.json`, as `build.rs` has sorted them. Out:
//! whether a name is known, and the [`Group`] of architectures with the same names of modules that it belongs to. A run
//! mostly looks up one name: a line is read when it is asked for.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;

/// Architectures of one library whose norms are called alike.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    #[serde(rename = "library")]
    pub(super) of_library: String,
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

/// Of every architecture its name, with the library's, and what is said of it.
static INDEX: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    let lines = include_str!(concat!(env!("OUT_DIR"), "/index.tsv")).lines();
    lines.filter_map(|line| line.split_once('\t')).collect()
});

/// The groups, each parsed once it is asked for.
static GROUPS: LazyLock<Vec<(&'static str, OnceLock<Group>)>> = LazyLock::new(|| {
    let lines = include_str!(concat!(env!("OUT_DIR"), "/groups.jsonl")).lines();
    lines.map(|line| (line, OnceLock::new())).collect()
});

fn group(number: usize) -> Option<&'static Group> {
    let (line, parsed) = GROUPS.get(number)?;
    Some(parsed.get_or_init(|| serde_json::from_str(line).expect("every test reads the list")))
}

/// All groups.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    (0..GROUPS.len()).filter_map(group)
}

/// All names of a library.
pub(super) fn names(library: &str) -> impl Iterator<Item = &'static str> {
    let from = INDEX.partition_point(|(name, _)| *name < library);
    INDEX[from..].iter().filter_map(move |(name, _)| name.strip_prefix(library)?.strip_prefix('/'))
}

/// What is said of an architecture, by its very name.
fn said(library: &str, name: &str) -> Option<&'static str> {
    let whole = format!("{library}/{name}");
    let at = INDEX.binary_search_by_key(&whole.as_str(), |(name, _)| name).ok()?;
    Some(INDEX[at].1)
}

/// Whether a library has an architecture of this very name.
pub(super) fn is_known(library: &str, name: &str) -> bool {
    said(library, name).is_some()
}

/// What is listed of an architecture, by its very name; `None` too where all that is known is its eps.
pub(super) fn listed(library: &str, name: &str) -> Option<Listed> {
    let (number, most) = said(library, name)?.split_once('\t').filter(|(number, _)| *number != "?")?;
    Some(Listed { group: number.parse().ok().and_then(group), most: most.parse().ok() })
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
        let source: serde_json::Value = serde_json::from_str(include_str!("networks.json")).unwrap();
        assert!(source["source"].as_object().unwrap().len() > 8, "{}", source["source"]);
        let of = |library, name| listed(library, name).unwrap();
        assert_eq!(of("timm", "resnet50").most, Some(53));
        assert_eq!(of("timm", "tf_efficientnet_b0_ns").most, Some(49), "a name that timm gave up");
        assert!(of("timm", "vit_base_patch16_224").group.unwrap().norms.is_empty());
        assert!(listed("timm", "resnet5O").is_none() && names("timm").count() > 1000);
        for group in groups() {
            let sum = group.norms.values().sum::<u32>();
            assert!(group.norms.is_empty() || (90..=130).contains(&sum), "{}: {:?}", group.of_library, group.norms);
            assert!(group.norms.keys().all(|path| !path.contains(|c: char| c.is_ascii_digit())), "{:?}", group.norms);
            for (name, most) in group.members() {
                let listed = of(&group.of_library, name);
                assert!(
                    std::ptr::eq(listed.group.unwrap(), group) && listed.most == most,
                    "{}/{name}",
                    group.of_library
                );
            }
        }
        assert!(INDEX.windows(2).all(|pair| pair[0].0 < pair[1].0), "for looking names up by halves");
    }

    #[test]
    fn names_without_anything_listed_are_known() {
        let source: serde_json::Value = serde_json::from_str(include_str!("names.json")).unwrap();
        let fields = source["fields"].as_object().unwrap().keys();
        assert!(fields.clone().count() > 20 && fields.clone().all(|model| is_known("transformers", model)));
        let whole = source["mixed"].as_object().unwrap().keys().filter_map(|name| name.split_once('/'));
        assert!(whole.clone().count() > 20 && whole.clone().all(|(library, name)| is_known(library, name)));
        assert!(!is_known("timm", "resnet5O") && !is_known("tim", "m/resnet50") && !is_known("", ""));
    }
}
