//! 2 PLAN, catalogue: the names that are known, so that others can be called unheard of.
//!
//! In: `names.json`, built into the program, and a name. Out: whether the list has it, and which of its names is likely
//! meant.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The list of names.
#[derive(Deserialize)]
struct Listed {
    names: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    mixed: BTreeMap<String, IgnoredAny>,
}

static LISTED: LazyLock<Listed> =
    LazyLock::new(|| serde_json::from_str(include_str!("names.json")).expect("every test reads the list"));

/// The names of a library that the list has.
fn listed(library: &str) -> impl Iterator<Item = &'static str> + use<> {
    let lines = LISTED.names.get(library).into_iter().flat_map(BTreeMap::values).flatten();
    lines.flat_map(|line| line.split(' '))
}

/// Whether the list of names has this one, apart from a tag, variant or size behind `.`, `+`, `@` or `-`.
pub(super) fn is_listed(library: &str, name: &str) -> bool {
    let plain = |name: &str| name.split(['.', '+', '@', '-']).next().unwrap_or_default().to_owned();
    listed(library).any(|listed| listed == name || plain(listed) == plain(name))
        || LISTED.mixed.contains_key(&format!("{library}/{name}"))
}

/// The known name that a misspelt one, `LIBRARY/NAME`, is most like; `None` if none is much like it.
pub(in crate::plan) fn nearest(name: &str) -> Option<String> {
    let (library, bare) = name.split_once('/')?;
    let close = listed(library).map(|listed| (strsim::damerau_levenshtein(listed, bare), listed));
    let (distance, near) = close.min()?;
    (4 * distance <= bare.chars().count()).then(|| format!("{library}/{near}"))
}
