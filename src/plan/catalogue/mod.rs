//! 2 PLAN: the catalogue: eps of known architectures, which no checkpoint stores, and pairs that names do not tell.
//!
//! In: `catalogue.toml`, built into the program, and the name of an architecture. Out: the entry that speaks for it, and
//! through it the eps of every norm; the rules that speak for its pairs. What there is to know is in the data; nothing
//! here knows a library by name.

mod contradiction;
#[cfg(test)]
mod coverage;
mod globs;
mod known;
mod list;
mod listed;
mod networks;
mod problem;
mod recognise;
mod rules;
mod suggest;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde::Deserialize;

use globs::{NameGlob, PathGlob};
pub(super) use known::{Entry, Known};
pub use list::{Architecture, ArchitecturePart, architectures, nearest_architecture};
pub use problem::ArchitectureProblem;
pub(super) use recognise::{Recognised, recognise};
pub(super) use rules::{KnownPairs, PairLine, Path, of_architecture, of_family};
pub(super) use suggest::suggested;

/// Everything that is known about architectures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalogue {
    #[serde(rename = "library")]
    libraries: Vec<Library>,
    #[serde(rename = "family")]
    families: Vec<Family>,
    #[serde(rename = "pattern")]
    patterns: Vec<recognise::Pattern>,
    #[serde(rename = "rule")]
    rules: Vec<rules::Rule>,
}

/// Who publishes architectures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Library {
    name: String,
    /// Other names for it.
    #[serde(default)]
    also: Vec<String>,
    /// eps of its architectures that no family covers; without it they are unknown.
    eps: Option<f64>,
    /// Name of the dialect that its checkpoints follow.
    #[serde(default = "recognise::pytorch")]
    dialect: String,
    /// Globs over what may follow a name.
    #[serde(default)]
    variants: Vec<NameGlob>,
    /// Names that are put together.
    composed: Option<listed::Composed>,
    source: String,
}

/// Architectures with the same eps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    #[serde(rename = "library")]
    of_library: String,
    names: Vec<NameGlob>,
    eps: f64,
    /// Norms with an eps of their own, whatever a configuration says of the rest of the network.
    #[serde(default)]
    parts: Vec<Part>,
    /// A second eps that the same name can stand for.
    unless: Option<Unless>,
    source: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the data; a test checks that it is there"))]
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    norms: Vec<PathGlob>,
    eps: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unless {
    eps: f64,
    when: String,
}

impl Catalogue {
    /// The catalogue that the program was built with.
    pub(super) fn built_in() -> &'static Catalogue {
        static BUILT_IN: LazyLock<Catalogue> = LazyLock::new(|| {
            let json = include_str!(concat!(env!("OUT_DIR"), "/catalogue.json"));
            serde_json::from_str(json).expect("every test reads the catalogue")
        });
        &BUILT_IN
    }

    /// The entry for an architecture: `LIBRARY/NAME`, or `NAME` where only one library has it or all agree.
    pub(super) fn look_up(&'static self, name: &str) -> Result<Known, ArchitectureProblem> {
        let Some((library, bare)) = name.split_once('/') else { return self.look_up_bare(name) };
        let spelled = library.to_lowercase().replace('-', "_");
        let named = |library: &&Library| library.name == spelled || library.also.contains(&spelled);
        let Some(library) = self.libraries.iter().find(named) else {
            let known = self.libraries.iter().map(|library| library.name.clone()).collect();
            return Err(ArchitectureProblem::NoLibrary { library: library.to_owned(), known });
        };
        self.of_library(library, bare)
    }

    fn of_library(&'static self, library: &'static Library, bare: &str) -> Result<Known, ArchitectureProblem> {
        let mut families = self.families.iter().filter(|family| family.of_library == library.name);
        let family = families.find_map(|family| Some((family, family.glob(bare)?)));
        match family.map(|(family, _)| family.eps).or(library.eps).filter(|_| !bare.is_empty()) {
            Some(eps) => {
                let unheard_of = !library.has(bare);
                Ok(Known { name: format!("{}/{bare}", library.name), of_library: library, family, eps, unheard_of })
            }
            None => {
                let nearest = library.nearest(bare).map(|(_, near)| near);
                Err(ArchitectureProblem::NoName { name: bare.to_owned(), library: library.name.clone(), nearest })
            }
        }
    }

    /// The entries for a name without its library, one a library that has it, if all agree.
    pub(super) fn look_up_all(&'static self, name: &str) -> Result<Vec<Known>, ArchitectureProblem> {
        if name.contains('/') {
            return self.look_up(name).map(|known| vec![known]);
        }
        let libraries = self.libraries.iter().filter(|library| library.has(name));
        let found = libraries.map(|library| self.of_library(library, name)).collect::<Result<Vec<_>, _>>()?;
        // Pairs are named by one library's module names: of several, none is taken.
        let agree = |first: &Known| {
            found.iter().all(|other| other.agrees_with(first) && (found.len() == 1 || of_architecture(other).is_none()))
        };
        match found.first() {
            Some(first) if agree(first) => Ok(found),
            Some(_) => Err(ArchitectureProblem::Ambiguous {
                name: name.to_owned(),
                meanings: found.into_iter().map(|known| known.name).collect(),
            }),
            None => {
                let near = self.libraries.iter().filter_map(|library| library.nearest(name));
                let near = near.min_by_key(|(distance, _)| *distance);
                Err(ArchitectureProblem::Nobodys { name: name.to_owned(), nearest: near.map(|(_, near)| near) })
            }
        }
    }

    fn look_up_bare(&'static self, name: &str) -> Result<Known, ArchitectureProblem> {
        self.look_up_all(name).map(|mut found| found.swap_remove(0))
    }
}

impl Family {
    /// The glob that the name matches.
    fn glob(&self, name: &str) -> Option<&str> {
        self.names.iter().find(|glob| glob.is_match(name)).map(NameGlob::text)
    }
}
