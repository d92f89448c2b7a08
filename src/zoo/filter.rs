//! ZOO: which files of a folder count.
//!
//! In: patterns that the user typed. Out: whether a path below the folder matches. A pattern is held against the path, the
//! name, and every folder on the way: a folder that matches stands for everything in it.

use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobSet};

/// Which files of a folder count, by their path under it, by their name alone, or by a folder that holds them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// If not empty: only these checkpoints.
    pub include: GlobSet,
    /// Not these, whatever they are.
    pub exclude: GlobSet,
    /// If there is one: only the checkpoint whose result goes to this place.
    pub only: Option<PathBuf>,
}

impl Filter {
    /// A pattern as it was typed: `./one/*` and `hub/` mean `one/*` and `hub`. The error says what is expected.
    pub fn pattern(text: &str) -> Result<Glob, String> {
        let mut pattern = text;
        while let Some(rest) = pattern.strip_prefix("./") {
            pattern = rest.trim_start_matches('/');
        }
        let pattern = pattern.trim_end_matches('/');
        let leads_out = Path::new(pattern).components().any(|part| !matches!(part, Component::Normal(_)));
        if text.starts_with('/') || pattern.is_empty() || leads_out {
            return Err("expected a name, or a path below the input folder, for example 'old/*'".to_owned());
        }
        Glob::new(pattern).map_err(|error| error.to_string())
    }

    /// Whether the file at `path`, relative to the folder, is one of those asked for.
    pub(super) fn includes(&self, path: &Path) -> bool {
        self.include.is_empty() || matches(&self.include, path)
    }

    /// Whether a checkpoint whose result goes to `place` is the one asked for.
    pub(super) fn picks(&self, place: &Path) -> bool {
        self.only.as_ref().is_none_or(|only| only == place)
    }

    /// Whether the one asked for may lie in the folder whose results go to `place`.
    pub(super) fn leads_into(&self, place: &Path) -> bool {
        self.only.as_ref().is_none_or(|only| only.starts_with(place))
    }

    /// Whether the file or folder at `path`, relative to the folder, is left out.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        matches(&self.exclude, path)
    }
}

fn matches(globs: &GlobSet, path: &Path) -> bool {
    let is_match = |path: &Path| path.file_name().is_some_and(|name| globs.is_match(path) || globs.is_match(name));
    path.ancestors().any(is_match)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_relative_or_refused() {
        let pattern = |text: &str| Filter::pattern(text).map(|glob| glob.glob().to_owned());
        for (typed, meant) in [("hub/", "hub"), ("./one/*", "one/*"), ("././/a", "a"), ("**/x", "**/x"), ("a", "a")] {
            assert_eq!(pattern(typed).as_deref(), Ok(meant));
        }
        for wrong in ["", ".", "./", "/", "/zoo/x", "../x", "a/../b"] {
            assert!(pattern(wrong).unwrap_err().contains("below the input folder"), "{wrong}");
        }
        assert!(pattern("[").unwrap_err().contains("unclosed character class"));
    }
}
