//! 2 PLAN: the catalogue: eps of known architectures, which no checkpoint stores, and pairs that names do not tell.
//!
//! In: `catalogue.toml`, built into the program, and the name of an architecture. Out: the entry that speaks for it, and
//! through it the eps of every norm; the rules that speak for its pairs. What there is to know is in the data; nothing
//! here knows a library by name.

mod globs;
mod known;
mod listed;
mod recognise;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde::Deserialize;

use globs::{NameGlob, PathGlob};
pub(super) use known::{Entry, Known};
use listed::is_listed;
pub(super) use listed::nearest;
pub(super) use recognise::{Recognised, recognise};
pub(super) use rules::{KnownPairs, PairLine, Path, of_architecture, of_family};

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
        static BUILT_IN: LazyLock<Catalogue> =
            LazyLock::new(|| toml::from_str(include_str!("catalogue.toml")).expect("every test reads the catalogue"));
        &BUILT_IN
    }

    /// The entry for an architecture: `LIBRARY/NAME`, or `NAME` where only one library's families have it or all agree.
    /// An error is a sentence for the user.
    pub(super) fn look_up(&'static self, name: &str) -> Result<Known, String> {
        let Some((library, bare)) = name.split_once('/') else { return self.look_up_bare(name) };
        let spelled = library.to_lowercase().replace('-', "_");
        let named = |library: &&Library| library.name == spelled || library.also.contains(&spelled);
        let Some(library) = self.libraries.iter().find(named) else {
            let known = self.libraries.iter().map(|library| library.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(format!("the catalogue has no library `{library}` (it has {known})"));
        };
        let mut families = self.families.iter().filter(|family| family.of_library == library.name);
        let family = families.find_map(|family| Some((family, family.glob(bare)?)));
        match family.map(|(family, _)| family.eps).or(library.eps).filter(|_| !bare.is_empty()) {
            Some(eps) => {
                let unheard_of = family.is_none() && !is_listed(&library.name, bare);
                Ok(Known { name: format!("{}/{bare}", library.name), of_library: library, family, eps, unheard_of })
            }
            None => Err(format!("the catalogue has no architecture `{bare}` of {}", library.name)),
        }
    }

    fn look_up_bare(&'static self, name: &str) -> Result<Known, String> {
        let libraries = self.libraries.iter().filter(|library| {
            let mut families = self.families.iter().filter(|family| family.of_library == library.name);
            families.any(|family| family.glob(name).is_some())
                || library.eps.is_some() && is_listed(&library.name, name)
        });
        let found = libraries.map(|library| self.look_up(&format!("{}/{name}", library.name)));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        match found.as_slice() {
            [] => Err(format!("the catalogue does not know whose architecture `{name}` is; write LIBRARY/{name}")),
            [only] => Ok(only.clone()),
            // Pairs are named by one library's module names: of several, none is taken.
            several
                if several.iter().all(|other| other.agrees_with(&several[0]) && of_architecture(other).is_none()) =>
            {
                Ok(several[0].clone())
            }
            several => {
                let names = several.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(" or ");
                Err(format!("`{name}` means another thing in another library; write {names}"))
            }
        }
    }
}

impl Family {
    /// The glob that the name matches.
    fn glob(&self, name: &str) -> Option<&str> {
        self.names.iter().find(|glob| glob.is_match(name)).map(NameGlob::text)
    }
}
