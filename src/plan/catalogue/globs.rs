//! 2 PLAN, catalogue: globs over the names of architectures and over the paths of modules.
//!
//! In: a glob's text. Out: whether a name or a path matches. A glob is read when it is first asked: all of the
//! catalogue's would take longer than many a model. Tests read each of them at once.

use std::sync::OnceLock;

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;

/// A glob that is read when it is asked for.
#[derive(Debug)]
pub(super) struct LazyGlob {
    text: String,
    /// Whether a `*` stops at a slash.
    by_segments: bool,
    compiled: OnceLock<Option<GlobMatcher>>,
}

impl LazyGlob {
    fn new(text: String, by_segments: bool) -> LazyGlob {
        let glob = LazyGlob { text, by_segments, compiled: OnceLock::new() };
        #[cfg(test)]
        assert!(glob.matcher().is_some(), "the catalogue has `{}` for a glob", glob.text);
        glob
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.matcher().is_some_and(|matcher| matcher.is_match(text))
    }

    fn matcher(&self) -> Option<&GlobMatcher> {
        let build = || GlobBuilder::new(&self.text).literal_separator(self.by_segments).build();
        self.compiled.get_or_init(|| build().ok().map(|glob| glob.compile_matcher())).as_ref()
    }
}

/// A glob over the names of architectures.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct NameGlob(LazyGlob);

impl From<String> for NameGlob {
    fn from(glob: String) -> NameGlob {
        NameGlob(LazyGlob::new(glob, false))
    }
}

impl NameGlob {
    /// Whether it matches the name, or the name without what timm calls a tag (`resnet50.a1_in1k`).
    pub(super) fn is_match(&self, name: &str) -> bool {
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        self.0.is_match(name) || self.0.is_match(stem)
    }

    /// Whether it matches the very text.
    pub(super) fn matches_whole(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The glob as the catalogue has it.
    pub(super) fn text(&self) -> &str {
        &self.0.text
    }
}

/// A glob over module paths: `.` between segments, `*` within one, `**` across several.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct PathGlob {
    pub(super) text: String,
    /// The path from the root of what the glob is about.
    pub(super) whole: LazyGlob,
    /// The same below any prefix.
    pub(super) below: LazyGlob,
}

impl From<String> for PathGlob {
    fn from(text: String) -> PathGlob {
        let slashed = text.replace('.', "/");
        let below = format!("**/{slashed}");
        PathGlob { text, whole: LazyGlob::new(slashed, true), below: LazyGlob::new(below, true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the catalogue has `a[` for a glob")]
    fn a_glob_that_is_none_fails_the_tests() {
        LazyGlob::new("a[".to_owned(), true);
    }
}
