//! 2 PLAN: what the code of known architectures says about which weight feeds which norm.
//!
//! In: the rules of `catalogue.toml`, and which architecture or family a checkpoint holds. Out: the [`KnownPairs`] that
//! are in force for it. Whether they fit its names and shapes is the pairing's business.

use serde::Deserialize;

use super::recognise::template;
use super::{Catalogue, Known, NameGlob, Recognised};
use crate::network::Op;

/// Pairs of architectures whose name matches one of `names`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(rename = "library")]
    pub(super) of_library: String,
    pub(super) names: Vec<NameGlob>,
    /// Which weight feeds which norm.
    #[serde(default)]
    pub(super) pairs: Vec<PairLine>,
    /// Norms that nothing may be folded for, because of `why`.
    #[serde(default)]
    pub(super) keep: Vec<Path>,
    pub(super) source: String,
    pub(super) why: String,
}

/// One pair of modules of a block, below any prefix.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::plan) struct PairLine {
    pub(in crate::plan) norm: Path,
    /// The weight's module; each `*` stands for what it stands for in `norm`.
    pub(in crate::plan) weight: Path,
    /// A module that must be there too, for blocks that differ by it.
    pub(in crate::plan) beside: Option<Path>,
    /// The kind of layer, where the weight's shape leaves a choice.
    pub(in crate::plan) op: Option<Op>,
}

impl PairLine {
    /// What it says.
    pub(in crate::plan) fn text(&self) -> String {
        format!("`{}` follows `{}`", self.norm.text(), self.weight.text())
    }
}

/// The end of a module path: segments between dots, at most one `*` in each for any part of it.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(in crate::plan) struct Path {
    text: String,
    segments: Vec<String>,
}

impl From<String> for Path {
    fn from(text: String) -> Path {
        Path { segments: text.split('.').map(str::to_owned).collect(), text }
    }
}

impl Path {
    pub(in crate::plan) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before this end of `path` (segments separated by `/`), and what its stars stand for.
    pub(in crate::plan) fn find<'p>(&self, path: &'p str) -> Option<(&'p str, Vec<&'p str>)> {
        let (mut rest, mut stars) = (Some(path), Vec::new());
        for pattern in self.segments.iter().rev() {
            let whole = rest?;
            let slash = whole.rfind('/');
            let segment = &whole[slash.map_or(0, |slash| slash + 1)..];
            rest = slash.map(|slash| &whole[..slash]);
            match pattern.split_once('*') {
                None if pattern == segment => {}
                None => return None,
                Some((begin, end)) => {
                    let star = segment.strip_prefix(begin)?.strip_suffix(end)?;
                    stars.push(star);
                }
            }
        }
        stars.reverse();
        Some((rest.unwrap_or(""), stars))
    }

    /// The path below `prefix` with `stars` filled in.
    pub(in crate::plan) fn fill(&self, prefix: &str, stars: &[&str]) -> String {
        let mut stars = stars.iter();
        let filled = self.segments.iter().map(|segment| match segment.split_once('*') {
            None => segment.clone(),
            Some((begin, end)) => format!("{begin}{}{end}", stars.next().unwrap_or(&"*")),
        });
        let below = filled.collect::<Vec<_>>().join("/");
        if prefix.is_empty() { below } else { format!("{prefix}/{below}") }
    }
}

/// Rules of the catalogue that speak for one checkpoint.
#[derive(Debug, Clone)]
pub(in crate::plan) struct KnownPairs {
    pub(in crate::plan) pairs: &'static [PairLine],
    pub(in crate::plan) keep: &'static [Path],
    /// Why `keep` is kept.
    pub(in crate::plan) why: &'static str,
    /// Who says so, and where it can be read.
    pub(in crate::plan) source: String,
    /// The prefix, numbers as `#`, below which alone they hold; `None` for any.
    below: Option<String>,
}

impl KnownPairs {
    /// Whether they hold for modules right below `prefix`.
    pub(in crate::plan) fn holds_below(&self, prefix: &str) -> bool {
        self.below.as_ref().is_none_or(|below| *below == template(prefix))
    }
}

/// The rules for an architecture that was named.
pub(in crate::plan) fn of_architecture(known: &Known) -> Option<KnownPairs> {
    let bare = known.bare();
    let mut rules = Catalogue::built_in().rules.iter().filter(|rule| rule.of_library == known.of_library.name);
    rules.find_map(|rule| {
        let glob = rule.names.iter().find(|glob| glob.is_match(bare))?;
        Some(KnownPairs {
            pairs: &rule.pairs,
            keep: &rule.keep,
            why: &rule.why,
            source: format!("catalogue: {} {} ({})", rule.of_library, glob.text(), rule.source),
            below: None,
        })
    })
}

/// The rules for a family that was recognised by its names.
pub(in crate::plan) fn of_family(found: &Recognised) -> Option<KnownPairs> {
    let pattern = found.pattern;
    (!pattern.pairs.is_empty()).then(|| KnownPairs {
        pairs: &pattern.pairs,
        keep: &[],
        why: "",
        source: format!("catalogue: the names of {} ({})", pattern.family, pattern.source),
        below: Some(found.prefix.trim_end_matches('/').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_carried_from_the_norm_to_the_weight() {
        let path = |text: &str| Path::from(text.to_owned());
        let norm = path("cv4.*.norm");
        let (prefix, stars) = norm.find("model/23/cv4/1/norm").unwrap();
        assert_eq!((prefix, &stars[..]), ("model/23", &["1"][..]));
        assert_eq!(path("cv3.*.2").fill(prefix, &stars), "model/23/cv3/1/2");
        assert_eq!(path("*_bn").find("conv1_bn"), Some(("", vec!["conv1"])));
        assert_eq!(path("*_conv").fill("", &["conv1"]), "conv1_conv");
        assert_eq!(path("s*.b*.norm2").find("s1/b12/norm2"), Some(("", vec!["1", "12"])));
        for (norm, other) in [("a.norm", "norm"), ("norm", "x/norm1"), ("s*.norm", "t1/norm"), ("*_bn", "bn")] {
            assert_eq!(path(norm).find(other), None, "{norm} {other}");
        }
    }
}
