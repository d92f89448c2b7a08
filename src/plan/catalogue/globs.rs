//! 2 PLAN, catalogue: globs over the names of architectures and over the paths of modules.
//!
//! In: a glob's text. Out: whether a name or a path matches. A glob is compiled when it is first asked: all of the
//! catalogue's would take longer than many a model.

use std::sync::OnceLock;

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::Deserialize;

/// A glob that is compiled when it is asked for.
#[derive(Debug)]
pub(super) struct LazyGlob {
    glob: Glob,
    compiled: OnceLock<GlobMatcher>,
}

impl LazyGlob {
    fn new(glob: Glob) -> LazyGlob {
        LazyGlob { glob, compiled: OnceLock::new() }
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| self.glob.compile_matcher()).is_match(text)
    }
}

/// A glob over the names of architectures.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct NameGlob(LazyGlob);

impl TryFrom<String> for NameGlob {
    type Error = globset::Error;

    fn try_from(glob: String) -> Result<NameGlob, globset::Error> {
        Ok(NameGlob(LazyGlob::new(GlobBuilder::new(&glob).build()?)))
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
        self.0.glob.glob()
    }
}

/// A glob over module paths: `.` between segments, `*` within one, `**` across several.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PathGlob {
    pub(super) text: String,
    /// The path from the root of what the glob is about.
    pub(super) whole: LazyGlob,
    /// The same below any prefix.
    pub(super) below: LazyGlob,
}

impl TryFrom<String> for PathGlob {
    type Error = globset::Error;

    fn try_from(text: String) -> Result<PathGlob, globset::Error> {
        let matcher = |glob: &str| Ok(LazyGlob::new(GlobBuilder::new(glob).literal_separator(true).build()?));
        let slashed = text.replace('.', "/");
        Ok(PathGlob { whole: matcher(&slashed)?, below: matcher(&format!("**/{slashed}"))?, text })
    }
}
