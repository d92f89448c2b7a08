//! 2 PLAN, catalogue: the names that are known, so that others can be refused.
//!
//! In: the lists that are built into the program, and a name. Out: whether a library has it, which of its names is likely
//! meant, and what is listed of its norms.

use serde::Deserialize;

use super::networks::{self, Listed};
use super::{Catalogue, Known, Library, NameGlob};

/// Names that are put together of two: `MODEL__PART`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Composed {
    /// What stands between the two.
    between: String,
    /// Under which name `networks.json` lists the models, and the parts.
    models: String,
    parts: String,
    /// What a part's name begins with if it is a whole network of another library, and that library.
    foreign: (String, String),
}

impl Library {
    /// Whether there is an architecture of this name, perhaps with a tag behind `.`, or a variant's ending.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lists(name) || stem(name).is_some_and(|stem| self.lists(stem)) || self.composes(name)
    }

    fn lists(&self, name: &str) -> bool {
        self.base(name).is_some()
    }

    /// The listed name that this one is, or is a variant of.
    fn base<'n>(&self, name: &'n str) -> Option<&'n str> {
        let is_listed = |name: &str| networks::is_known(&self.name, name);
        let is_variant = |ending: &str| self.variants.iter().any(|glob: &NameGlob| glob.matches_whole(ending));
        let cuts = name.char_indices().map(|(at, _)| at).rev().filter(|at| *at > 0);
        let mut cuts = [name.len()].into_iter().chain(cuts.filter(|_| !self.variants.is_empty()));
        let at = cuts.find(|at| is_listed(&name[..*at]) && (*at == name.len() || is_variant(&name[*at..])))?;
        Some(&name[..at])
    }

    fn composes(&self, name: &str) -> bool {
        let Some((composed, model, _)) = self.parts_of(name) else { return false };
        networks::listed(&composed.models, model).is_some() && self.part(name).is_some()
    }

    fn parts_of<'n>(&self, name: &'n str) -> Option<(&Composed, &'n str, &'n str)> {
        let composed = self.composed.as_ref()?;
        let (model, part) = name.split_once(composed.between.as_str())?;
        Some((composed, model, part))
    }

    /// What is listed of the part that a composed name ends in.
    fn part(&self, name: &str) -> Option<Listed> {
        let (Composed { parts, foreign: (begin, library), .. }, _, part) = self.parts_of(name)?;
        let own = networks::listed(parts, part);
        own.or_else(|| {
            let name = part.strip_prefix(begin.as_str())?;
            networks::listed(library, name).or_else(|| networks::listed(library, stem(name)?))
        })
    }

    /// The known name that a misspelt one is most like, as `LIBRARY/NAME`, and how far the two are apart; `None` if none is
    /// much like it.
    pub(super) fn nearest(&self, name: &str) -> Option<(usize, String)> {
        let close = networks::names(&self.name).map(|listed| (strsim::damerau_levenshtein(listed, name), listed));
        let (distance, near) = close.min()?;
        (3 * distance <= name.chars().count()).then(|| (distance, format!("{}/{near}", self.name)))
    }
}

impl Known {
    /// What is listed of its norms.
    pub(super) fn listed(&self) -> Option<Listed> {
        let (library, name) = (self.of_library, self.bare());
        let base = library.base(name).or_else(|| library.base(stem(name)?));
        // A variant may have any number of norms.
        let own = base.and_then(|base| networks::listed(&library.name, base));
        let own = own.map(|own| Listed { most: own.most.filter(|_| base == Some(name) || base == stem(name)), ..own });
        // Of a part that has no norms nothing follows for the model around it.
        let part = library.part(name).filter(|part| part.group.is_some_and(|group| !group.norms.is_empty()));
        own.or(part)
    }
}

/// A name without its tag.
fn stem(name: &str) -> Option<&str> {
    name.split_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty())
}

impl Catalogue {
    /// All names that are known, as `LIBRARY/NAME`, but for those that are put together and variants.
    pub(super) fn names(&'static self) -> impl Iterator<Item = String> {
        let of =
            |library: &'static Library| networks::names(&library.name).map(|name| format!("{}/{name}", library.name));
        self.libraries.iter().flat_map(of)
    }
}
