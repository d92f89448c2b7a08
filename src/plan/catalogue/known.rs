//! 2 PLAN, catalogue: what is known of one architecture.
//!
//! In: its library and its family. Out: the eps of every norm, with what says so; whether it agrees with another.

use super::contradiction::{Called, Contradiction};
use super::{ArchitectureProblem, Family, Library, Unless};
use crate::network::{EpsSource, Inventory};

/// The entry that speaks for one architecture.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Known {
    /// `library/name`, the library as the catalogue spells it.
    pub(in crate::plan) name: String,
    pub(super) of_library: &'static Library,
    /// The family, and which of its globs the name matched.
    pub(super) family: Option<(&'static Family, &'static str)>,
    pub(super) eps: f64,
    /// Neither a family nor the list of names has it: it may be misspelt, or newer than the catalogue.
    pub(in crate::plan) unheard_of: bool,
}

/// An eps, as the catalogue has it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct Entry {
    pub(in crate::plan) eps: f64,
    /// What says so, and where it can be read.
    pub(in crate::plan) source: EpsSource,
    /// Fixed in the model's code for this very norm, whatever a configuration says.
    pub(in crate::plan) fixed: bool,
}

impl Known {
    /// The eps of the norm at `path`, segments separated by `/`.
    pub(in crate::plan) fn entry(&self, path: &str) -> Entry {
        let library = self.of_library.name.as_str();
        let (about, cite, parts) = match self.family {
            Some((family, glob)) => (format!("{library} {glob}"), family.source.as_str(), family.parts.as_slice()),
            None => (library.to_owned(), self.of_library.source.as_str(), [].as_slice()),
        };
        let mut globs = parts.iter().flat_map(|part| part.norms.iter().map(move |glob| (part, glob)));
        if let Some((part, glob)) = globs.find(|(_, glob)| glob.below.is_match(path)) {
            let source = EpsSource::Catalogue { about: format!("{about}, norms {}", glob.text), cite };
            return Entry { eps: part.eps, source, fixed: true };
        }
        let unless = self.family.and_then(|(family, _)| family.unless.as_ref());
        let source = match unless {
            _ if self.unheard_of => EpsSource::AssumedLibrary { library, name: self.name.clone() },
            Some(Unless { eps, when }) => EpsSource::AssumedUnless { other: *eps, when, about, cite },
            None => EpsSource::Catalogue { about, cite },
        };
        Entry { eps: self.eps, source, fixed: false }
    }

    /// Its name without the library.
    pub(in crate::plan) fn bare(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, bare)| bare)
    }

    /// Whether it is known what its norms are called.
    pub(in crate::plan) fn is_listed(&self) -> bool {
        self.listed().is_some_and(|listed| listed.group.is_some_and(|group| !group.norms.is_empty()))
    }

    /// Whether its name is known, and what its norms are called, and the checkpoint's are called so.
    pub(super) fn is_borne_out_by(&self, inventory: &Inventory) -> bool {
        !self.unheard_of && self.is_listed() && self.contradicted_by(inventory).is_none()
    }

    /// That no list has its name, and which name may be meant.
    pub(in crate::plan) fn misspelt(&self) -> ArchitectureProblem {
        let (name, library) = (self.bare().to_owned(), self.of_library.name.clone());
        let nearest = self.of_library.nearest(&name).map(|(_, near)| near);
        ArchitectureProblem::NoName { name, library, nearest }
    }

    /// Why the checkpoint cannot be of this architecture, by what its norms are called.
    pub(in crate::plan) fn contradicted_by(&self, inventory: &Inventory) -> Option<ArchitectureProblem> {
        let called = Called::of(inventory, &self.of_library.dialect);
        let Contradiction { called, expected, too_many, candidates } = called.contradicts(self.listed()?)?;
        Some(match too_many {
            Some((found, most)) => ArchitectureProblem::TooMany { found, most, candidates },
            None => ArchitectureProblem::OtherNames { called, expected, candidates },
        })
    }

    /// Whether both stand for the same eps, norm by norm, where no configuration states one.
    pub(in crate::plan) fn agrees_with(&self, other: &Known) -> bool {
        // Parts may be there only to say that a field of a configuration is not for them.
        let plain = |known: &Known| {
            known.family.is_none_or(|(family, _)| {
                family.parts.iter().all(|part| part.eps == family.eps) && family.unless.is_none()
            })
        };
        self.name == other.name || self.eps == other.eps && plain(self) && plain(other)
    }
}
