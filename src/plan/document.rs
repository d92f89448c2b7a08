//! 2 PLAN: the plan as data.
//!
//! In: decisions. Out: a [`Plan`], that `plan --format json` prints, that a user edits and `--plan` takes back. Every reason
//! and every line of evidence has a code that stays the same from version to version, and a sentence that may not.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::network::{EpsSource, Op};

/// Version of the plan's JSON form.
pub const VERSION: u32 = 1;

/// What is to be done with every norm of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The checkpoint it was made for.
    pub input: String,
    /// The most frequent dialect among its norms; `null` without norms.
    pub dialect: Option<String>,
    /// The architecture, where it is known.
    pub architecture: Option<String>,
    /// One entry per norm, by name.
    pub layers: Vec<Layer>,
}

/// What is to be done with one norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The norm's module path.
    pub norm: String,
    /// Fold it or keep it.
    pub action: Action,
}

/// Fold or keep.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Multiply the scale into `weight`, put the shift into `bias`.
    Fold(FoldLine),
    /// Leave every tensor as it is.
    Keep(Reason),
}

/// Why a norm stays, or what speaks for a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is; stays the same from version to version, in lower case with hyphens.
    pub code: Cow<'static, str>,
    /// A sentence fragment with names and figures, and what would settle the matter.
    pub text: String,
}

/// How one norm is folded.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldLine {
    /// Kind of the layer that feeds the norm; with the dialect it fixes where the output channels lie.
    pub op: Op,
    /// Its weight.
    pub weight: String,
    /// Its bias; where there is none, the name of the one that folding creates.
    pub bias: String,
    /// Whether the bias is in the checkpoint.
    pub bias_exists: bool,
    /// Output channels.
    pub channels: u64,
    /// Groups, as far as the channel map needs them: those of a transposed convolution. 1 elsewhere, since the groups
    /// of other convolutions are not in the file and do not matter.
    pub groups: u64,
    /// Element type of the weight.
    pub dtype: String,
    /// The norm's eps.
    pub eps: f64,
    /// Where that eps comes from.
    pub eps_source: EpsSource,
    /// What speaks for the pair.
    pub evidence: Vec<Reason>,
}

impl Reason {
    /// A reason that a plan states, with its code, if it has any.
    pub(super) fn stated(code: Option<String>, text: String) -> Reason {
        let code = code.filter(|code| !code.is_empty());
        Reason { code: code.map_or(Cow::Borrowed("plan"), Cow::Owned), text }
    }

    /// A reason with a code that the program knows.
    pub(super) fn new(code: &'static str, text: String) -> Reason {
        Reason { code: Cow::Borrowed(code), text }
    }
}

impl From<&str> for Reason {
    /// A reason of whoever edits the plan.
    fn from(text: &str) -> Reason {
        Reason::stated(None, text.to_owned())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl Plan {
    /// Norms to fold and norms to keep.
    pub fn counts(&self) -> (usize, usize) {
        let folded = self.folds().count();
        (folded, self.layers.len() - folded)
    }

    /// The norms to fold, with how.
    pub fn folds(&self) -> impl Iterator<Item = (&str, &FoldLine)> {
        self.layers.iter().filter_map(|layer| match &layer.action {
            Action::Fold(line) => Some((layer.norm.as_str(), line)),
            Action::Keep(_) => None,
        })
    }

    /// The norms that stay, with the reason.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &Reason)> {
        self.layers.iter().filter_map(|layer| match &layer.action {
            Action::Keep(reason) => Some((layer.norm.as_str(), reason)),
            Action::Fold(_) => None,
        })
    }
}
