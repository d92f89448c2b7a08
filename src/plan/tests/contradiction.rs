//! 2 PLAN, tests: which architectures the names of a network's norms contradict.
//!
//! In: `tests/data/traced.jsonl.gz`, real networks, and what the catalogue lists of the names of norms. Out: none is
//! refused under its own name, and nearly all are under another family's.

use super::traced::traced;
use crate::network::Inventory;
use crate::plan::catalogue::{ArchitectureProblem, Catalogue, Known};

/// Real networks whose architecture the catalogue knows.
fn networks() -> Vec<(Inventory, Known)> {
    let known = |name: &str| Catalogue::built_in().look_up(name).ok().filter(|known| !known.unheard_of);
    let all = traced().into_iter().filter_map(|traced| Some((traced.network().inventory(), known(&traced.name)?)));
    all.collect()
}

/// What architectures are called that are made of the same modules, roughly: the word that the name begins with. Some have
/// their modules' names in common all the same (`blocks.#.#.bn#`), and cannot be told apart by them.
fn family(known: &Known) -> String {
    let name = known.bare().to_lowercase();
    let name = ["tf_", "legacy_", "seg_"].iter().fold(name.as_str(), |name, begin| name.trim_start_matches(begin));
    name.chars().take_while(|c| c.is_alphabetic()).take(6).collect()
}

#[test]
fn no_network_is_refused_under_its_own_name() {
    let networks = networks();
    let mut checked = 0;
    for (network, known) in &networks {
        assert_eq!(known.contradicted_by(network), None, "{}", known.name);
        checked += usize::from(known.is_listed());
    }
    assert!(networks.len() > 220 && checked > 150, "{checked} of {}", networks.len());
}

#[test]
fn nearly_all_networks_are_refused_under_the_name_of_another_family() {
    let networks = networks();
    let (mut all, mut refused) = (0, 0);
    for (network, own) in networks.iter().step_by(5) {
        for (_, other) in networks.iter().filter(|(_, other)| other.is_listed() && family(other) != family(own)) {
            all += 1;
            refused += usize::from(other.contradicted_by(network).is_some());
        }
    }
    assert!(all > 5000 && 100 * refused > 85 * all, "{refused} of {all}");
}

#[test]
fn what_may_be_meant_is_said() {
    let resnet = traced().into_iter().find(|traced| traced.name == "torchvision/shufflenet_v2_x0_5").unwrap();
    let network = resnet.network().inventory();
    let wrong = Catalogue::built_in().look_up("timm/dpn68").unwrap();
    let Some(ArchitectureProblem::OtherNames { candidates, .. }) = wrong.contradicted_by(&network) else { panic!() };
    assert_eq!(candidates[0], "torchvision/shufflenet_v2_x0_5", "{candidates:?}");
}
