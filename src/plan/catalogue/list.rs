//! 2 PLAN, catalogue: everything that it knows, as a list.
//!
//! In: the catalogue. Out: one [`Architecture`] a name, with its eps and what says so; and the name that a misspelt one is
//! like.

use serde::Serialize;

use super::Catalogue;

/// What is known of one architecture.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Architecture {
    /// `LIBRARY/NAME`.
    pub name: String,
    /// The eps of its norms, but for those of `parts`.
    pub eps: f64,
    /// Norms with an eps of their own.
    pub parts: Vec<ArchitecturePart>,
    /// A second eps that the name can stand for, and when it does.
    pub unless: Option<(f64, String)>,
    /// How many norms it has; `None` where a configuration decides, or it is not known.
    pub norms: Option<usize>,
    /// Where the eps can be read.
    pub source: String,
}

/// Norms with an eps of their own.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ArchitecturePart {
    /// Globs over the paths of their modules, below any prefix.
    pub norms: Vec<String>,
    /// Their eps.
    pub eps: f64,
}

/// All architectures that the catalogue knows by name, by name. Names that are put together of two, and variants, are not
/// listed one by one.
pub fn architectures() -> Vec<Architecture> {
    let catalogue = Catalogue::built_in();
    let known = catalogue.names().filter_map(|name| catalogue.look_up(&name).ok());
    let list = known.map(|known| {
        let family = known.family.map(|(family, _)| family);
        let parts = family.into_iter().flat_map(|family| &family.parts).filter(|part| part.eps != known.eps);
        let parts = parts.map(|part| ArchitecturePart {
            norms: part.norms.iter().map(|glob| glob.text.clone()).collect(),
            eps: part.eps,
        });
        Architecture {
            eps: known.eps,
            parts: parts.collect(),
            unless: family.and_then(|family| family.unless.as_ref()).map(|other| (other.eps, other.when.clone())),
            norms: known.listed().and_then(|listed| listed.most),
            source: family.map_or(&known.of_library.source, |family| &family.source).clone(),
            name: known.name,
        }
    });
    let mut list = list.collect::<Vec<_>>();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// The known name that a misspelt one, with or without its library, is most like; `None` if none is much like it.
pub fn nearest_architecture(name: &str) -> Option<String> {
    let libraries = Catalogue::built_in().libraries.iter();
    let near = match name.split_once('/') {
        Some((library, bare)) => libraries.filter(|known| known.name == library).find_map(|known| known.nearest(bare)),
        None => libraries.filter_map(|library| library.nearest(name)).min_by_key(|(distance, _)| *distance),
    };
    near.map(|(_, name)| name)
}
