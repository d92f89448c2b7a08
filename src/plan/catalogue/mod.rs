//! 2 PLAN: the catalogue: eps of known architectures, which no checkpoint stores, and pairs that names do not tell.
//!
//! In: `catalogue.toml`, built into the program, and the name of an architecture. Out: the entry that speaks for it, and
//! through it the eps of every norm; the rules that speak for its pairs. What there is to know is in the data; nothing
//! here knows a library by name.

mod recognise;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::network::EpsSource;

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
    /// Norms with another eps, whatever the rest of the network has.
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

/// A glob that is compiled when it is asked for: all of the catalogue's would take longer than many a model.
#[derive(Debug)]
struct LazyGlob {
    glob: Glob,
    compiled: OnceLock<GlobMatcher>,
}

impl LazyGlob {
    fn new(glob: Glob) -> LazyGlob {
        LazyGlob { glob, compiled: OnceLock::new() }
    }

    fn is_match(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| self.glob.compile_matcher()).is_match(text)
    }
}

/// A glob over the names of architectures.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct NameGlob(LazyGlob);

impl TryFrom<String> for NameGlob {
    type Error = globset::Error;

    fn try_from(glob: String) -> Result<NameGlob, globset::Error> {
        Ok(NameGlob(LazyGlob::new(GlobBuilder::new(&glob).build()?)))
    }
}

impl NameGlob {
    /// Whether it matches the name, or the name without what timm calls a tag (`resnet50.a1_in1k`).
    fn is_match(&self, name: &str) -> bool {
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        self.0.is_match(name) || self.0.is_match(stem)
    }
}

/// A glob over module paths: `.` between segments, `*` within one, `**` across several.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct PathGlob {
    text: String,
    /// The path from the root of what the glob is about.
    whole: LazyGlob,
    /// The same below any prefix.
    below: LazyGlob,
}

impl TryFrom<String> for PathGlob {
    type Error = globset::Error;

    fn try_from(text: String) -> Result<PathGlob, globset::Error> {
        let matcher = |glob: &str| Ok(LazyGlob::new(GlobBuilder::new(glob).literal_separator(true).build()?));
        let slashed = text.replace('.', "/");
        Ok(PathGlob { whole: matcher(&slashed)?, below: matcher(&format!("**/{slashed}"))?, text })
    }
}

/// The entry that speaks for one architecture.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// `library/name`, the library as the catalogue spells it.
    pub(super) name: String,
    of_library: &'static Library,
    /// The family, and which of its globs the name matched.
    family: Option<(&'static Family, &'static str)>,
    eps: f64,
    /// Neither a family nor the list of names has it: it may be misspelt, or newer than the catalogue.
    pub(super) unheard_of: bool,
}

/// An eps, as the catalogue has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) eps: f64,
    /// What says so, and where it can be read.
    pub(super) source: EpsSource,
    /// Fixed in the model's code for this very norm, whatever a configuration says.
    pub(super) fixed: bool,
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

    /// The known name that a misspelt one, `LIBRARY/NAME`, is most like; `None` if none is much like it.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let (library, bare) = name.split_once('/')?;
        let close = listed(library).map(|listed| (strsim::damerau_levenshtein(listed, bare), listed));
        let (distance, near) = close.min()?;
        (4 * distance <= bare.chars().count()).then(|| format!("{library}/{near}"))
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
        self.names.iter().find(|glob| glob.is_match(name)).map(|glob| glob.0.glob.glob())
    }
}

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
fn is_listed(library: &str, name: &str) -> bool {
    let plain = |name: &str| name.split(['.', '+', '@', '-']).next().unwrap_or_default().to_owned();
    listed(library).any(|listed| listed == name || plain(listed) == plain(name))
        || LISTED.mixed.contains_key(&format!("{library}/{name}"))
}

impl Known {
    /// The eps of the norm at `path`, segments separated by `/`.
    pub(super) fn entry(&self, path: &str) -> Entry {
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

    /// Whether both stand for the same eps, norm by norm.
    pub(super) fn agrees_with(&self, other: &Known) -> bool {
        let plain =
            |known: &Known| known.family.is_none_or(|(family, _)| family.parts.is_empty() && family.unless.is_none());
        self.name == other.name || self.eps == other.eps && plain(self) && plain(other)
    }
}
