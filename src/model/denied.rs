//! One model: which warnings and numerical remarks make it fail.
//!
//! In: kinds that the caller denies or allows, and what the stages found. Out: an error for the first that is denied. A
//! named kind goes before [`Denied::strict`], that before `all`, and all these before the default of a warning.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::report::lint::{Kind, Lint};
use crate::warning::Warning;

/// What may change results, or leaves work undone.
const STRICT: &[&str] = &["assumed-eps", "kept"];

/// A kind of warning or numerical remark, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemarkKind {
    /// Every warning and remark there is.
    All,
    /// The one of this code.
    Of(&'static str),
}

impl RemarkKind {
    /// All codes: those of warnings, then those of numerical remarks.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        Warning::CODES.iter().copied().chain(Kind::ALL.iter().map(Kind::code))
    }
}

impl FromStr for RemarkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<RemarkKind, String> {
        if text == "all" {
            return Ok(RemarkKind::All);
        }
        let found = RemarkKind::codes().find(|code| *code == text.replace('_', "-"));
        found.map(RemarkKind::Of).ok_or_else(|| {
            format!("no kind of remark; expected all, {}", RemarkKind::codes().collect::<Vec<_>>().join(", "))
        })
    }
}

/// What makes a model fail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Denied {
    codes: BTreeMap<&'static str, bool>,
    all: Option<bool>,
    strict: bool,
}

impl Denied {
    /// Norms that stay, and an eps that nobody states where another one would make a difference.
    pub fn strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// A kind makes a model fail.
    pub fn deny(&mut self, kind: RemarkKind) {
        self.set(kind, true);
    }

    /// A kind does not.
    pub fn allow(&mut self, kind: RemarkKind) {
        self.set(kind, false);
    }

    fn set(&mut self, kind: RemarkKind, denied: bool) {
        match kind {
            RemarkKind::All => self.all = Some(denied),
            RemarkKind::Of(code) => {
                self.codes.insert(code, denied);
            }
        }
    }

    /// What is said of a code, if anything is.
    fn said(&self, code: &str) -> Option<bool> {
        let strict = (self.strict && STRICT.contains(&code)).then_some(true);
        self.codes.get(code).copied().or(strict).or(self.all)
    }

    /// Whether a warning makes its model fail.
    pub fn has(&self, warning: &Warning) -> bool {
        !warning.is_note() && self.said(warning.code()).unwrap_or_else(|| warning.is_denied_by_default())
    }

    /// Whether any numerical remark does, so that the ranges which some are about have to be gathered.
    pub fn has_lint(&self) -> bool {
        Kind::ALL.iter().any(|kind| self.said(kind.code()) == Some(true))
    }

    /// The error for the first of `warnings` that is denied.
    pub(crate) fn check<'w>(&self, path: &Path, warnings: impl IntoIterator<Item = &'w Warning>) -> Result<()> {
        warnings.into_iter().find(|warning| self.has(warning)).map_or(Ok(()), |warning| {
            Err(Error::DeniedWarning { path: path.to_owned(), warning: Box::new(warning.clone()) })
        })
    }

    /// The same of numerical remarks.
    pub(crate) fn check_lints(&self, path: &Path, lints: &[Lint]) -> Result<()> {
        let denied = lints.iter().find(|lint| self.said(lint.kind.code()) == Some(true));
        denied.map_or(Ok(()), |lint| {
            let Lint { layer, kind, message, .. } = lint.clone();
            Err(Error::DeniedRemark { path: path.to_owned(), norm: layer, code: kind.code(), message })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> RemarkKind {
        text.parse().unwrap()
    }

    #[test]
    fn a_named_kind_goes_before_strict_and_that_before_all() {
        let mut denied = Denied::default();
        let said = |denied: &Denied| ["kept", "assumed-eps", "gpu-failed"].map(|code| denied.said(code));
        assert_eq!((said(&denied), denied.has_lint()), ([None; 3], false));
        denied.strict(true);
        assert_eq!(said(&denied), [Some(true), Some(true), None]);
        denied.allow(kind("kept"));
        assert_eq!(said(&denied), [Some(false), Some(true), None]);
        denied.deny(RemarkKind::All);
        assert_eq!((said(&denied), denied.has_lint()), ([Some(false), Some(true), Some(true)], true));
        denied.allow(RemarkKind::All);
        assert_eq!((said(&denied), denied.has_lint()), ([Some(false), Some(true), Some(false)], false));
    }

    #[test]
    fn some_warnings_are_denied_by_default_and_notes_never() {
        let large = Warning::EpsLarge { norms: 1, eps: 1.0, norm: "bn".to_owned() };
        let mut denied = Denied::default();
        assert!(denied.has(&large) && !denied.has(&Warning::NoNorms));
        denied.allow(kind("large-eps"));
        assert!(!denied.has(&large));
        denied.deny(RemarkKind::All);
        assert!(denied.has(&Warning::NoNorms) && !denied.has(&Warning::StyleChosen { class: String::new() }));
    }

    #[test]
    fn kinds_are_parsed_or_refused_with_a_list() {
        assert_eq!(kind("dead_channels"), RemarkKind::Of("dead-channels"), "as JSON spells it");
        assert_eq!(kind("all"), RemarkKind::All);
        let error = "deadchannels".parse::<RemarkKind>().unwrap_err();
        assert!(error.contains("dead-channels") && error.contains("assumed-eps"), "{error}");
    }

    #[test]
    fn every_code_is_one() {
        let codes = RemarkKind::codes().collect::<Vec<_>>();
        assert!(STRICT.iter().all(|code| codes.contains(code)));
    }
}
