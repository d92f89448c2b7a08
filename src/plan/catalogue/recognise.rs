//! 2 PLAN: families that are known by the names of their modules.
//!
//! In: the module paths of a checkpoint. Out: the patterns of the catalogue that it shows, and under which prefix. Every
//! path is looked at once, whatever the number of patterns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::rules::PairLine;
use super::{Catalogue, Entry, PathGlob};
use crate::network::EpsSource;
use crate::network::Inventory;
use crate::network::names;

/// Module paths that belong to one family only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pattern {
    pub(super) family: String,
    /// Name of the dialect that the norms follow.
    #[serde(default = "pytorch")]
    pub(super) dialect: String,
    /// Module paths that must all be there, numbers as `#`.
    pub(super) modules: Vec<String>,
    /// The norms whose eps it knows, numbers as `#`.
    #[serde(default)]
    pub(super) norms: Vec<PathGlob>,
    /// Their eps; `None` if the family's code leaves it open.
    pub(super) eps: Option<f64>,
    /// Which weight feeds which norm, right below the prefix.
    #[serde(default)]
    pub(super) pairs: Vec<PairLine>,
    pub(super) source: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the data; a test checks that it is there"))]
    pub(super) why: String,
}

pub(super) fn pytorch() -> String {
    "pytorch".to_owned()
}

/// A family that was found in a checkpoint.
#[derive(Debug)]
pub(in crate::plan) struct Recognised {
    pub(super) pattern: &'static Pattern,
    /// What stands before its modules, numbers as `#`: empty, or ending in `/`.
    pub(super) prefix: String,
}

/// The families whose modules the checkpoint has.
pub(in crate::plan) fn recognise(catalogue: &'static Catalogue, inventory: &Inventory) -> Vec<Recognised> {
    let norms = inventory.norms.iter().map(|norm| norm.name.as_str());
    let modules = norms.chain(inventory.weights.iter().map(|weight| weight.module.as_str()));
    recognise_paths(catalogue, modules)
}

pub(super) fn recognise_paths<'a>(
    catalogue: &'static Catalogue,
    modules: impl Iterator<Item = &'a str>,
) -> Vec<Recognised> {
    let mut wanted: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
    for (index, pattern) in catalogue.patterns.iter().enumerate() {
        for (module, path) in pattern.modules.iter().enumerate() {
            wanted.entry(path.replace('.', "/")).or_default().push((index, module));
        }
    }
    // Which modules of a pattern stand under which prefix.
    let mut found: BTreeMap<(usize, &str), BTreeSet<usize>> = BTreeMap::new();
    let templates = modules.map(template).collect::<BTreeSet<_>>();
    // A path may have any number of segments; no module of a pattern is longer than this.
    let longest = wanted.keys().map(String::len).max().unwrap_or(0);
    for template in &templates {
        let starts = [0].into_iter().chain(template.match_indices('/').map(|(slash, _)| slash + 1));
        let starts = starts.filter(|start| template.len() - start <= longest);
        for start in starts {
            for &(pattern, module) in wanted.get(&template[start..]).into_iter().flatten() {
                found.entry((pattern, &template[..start])).or_default().insert(module);
            }
        }
    }
    let complete = found.into_iter().filter(|((index, _), got)| got.len() == catalogue.patterns[*index].modules.len());
    complete
        .map(|((index, prefix), _)| Recognised { pattern: &catalogue.patterns[index], prefix: prefix.to_owned() })
        .collect()
}

impl Recognised {
    /// The eps of a norm, if the family speaks for it.
    pub(in crate::plan) fn entry(&self, norm: &str, dialect: &str) -> Option<Entry> {
        let Pattern { family, modules, norms, eps: Some(eps), source, .. } = self.pattern else { return None };
        let template = template(norm);
        let path = template.strip_prefix(self.prefix.as_str()).filter(|_| dialect == self.pattern.dialect)?;
        norms.iter().find(|glob| glob.whole.is_match(path))?;
        let about = format!("the names of {family}, such as {}", modules[0]);
        Some(Entry { eps: *eps, source: EpsSource::ModuleNames { about, cite: source }, fixed: false })
    }
}

/// A module's path with `/` between segments and `#` for every number.
pub(super) fn template(path: &str) -> String {
    names::template(&path.replace('.', "/"))
}
