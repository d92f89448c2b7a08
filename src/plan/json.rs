//! 2 PLAN: a layer of a plan in JSON.
//!
//! In: a [`Layer`]; or the text of one, in which users may leave keys out. Out: its text; or what the text states, and the
//! layer, if nothing is left out that only the checkpoint tells.

use serde::{Deserialize, Serialize, Serializer};

use super::eps::is_eps;
use super::{Action, FoldLine, Layer, LineProblem, Reason};
use crate::network::{EpsSource, Op};

/// A layer as it is written: with everything.
#[derive(Serialize)]
struct Entry<'a> {
    norm: &'a str,
    #[serde(flatten)]
    line: Line<'a>,
}

#[derive(Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Line<'a> {
    Fold {
        op: Op,
        weight: &'a str,
        bias: &'a str,
        bias_exists: bool,
        channels: u64,
        groups: u64,
        dtype: &'a str,
        eps: f64,
        eps_source: String,
        eps_code: &'static str,
        evidence: Vec<&'a str>,
        evidence_codes: Vec<&'a str>,
    },
    Keep {
        reason: &'a str,
        reason_code: &'a str,
    },
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = match &self.action {
            Action::Keep(Reason { code, text }) => Line::Keep { reason: text, reason_code: code },
            Action::Fold(fold) => Line::Fold {
                op: fold.op,
                weight: &fold.weight,
                bias: &fold.bias,
                bias_exists: fold.bias_exists,
                channels: fold.channels,
                groups: fold.groups,
                dtype: &fold.dtype,
                eps: fold.eps,
                eps_source: fold.eps_source.written(),
                eps_code: fold.eps_source.code(),
                evidence: fold.evidence.iter().map(|found| found.text.as_str()).collect(),
                evidence_codes: fold.evidence.iter().map(|found| found.code.as_ref()).collect(),
            },
        };
        Entry { norm: &self.norm, line }.serialize(serializer)
    }
}

/// A layer as it is read. What is not understood is refused: a key that is skipped could be the one that mattered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stated {
    pub(super) norm: String,
    action: StatedAction,
    reason: Option<String>,
    reason_code: Option<String>,
    pub(super) op: Option<Op>,
    pub(super) weight: Option<String>,
    pub(super) bias: Option<String>,
    pub(super) bias_exists: Option<bool>,
    pub(super) channels: Option<u64>,
    pub(super) groups: Option<u64>,
    pub(super) dtype: Option<String>,
    pub(super) eps: Option<f64>,
    pub(super) eps_source: Option<String>,
    pub(super) eps_code: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(default)]
    evidence_codes: Vec<String>,
    direction: Option<String>,
    sources: Option<serde_json::Value>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum StatedAction {
    Fold,
    Keep,
}

impl Stated {
    /// Whether the norm is to be folded; an error if in a way that is not supported.
    pub(super) fn is_fold(&self) -> Result<bool, LineProblem> {
        if self.direction.as_deref().is_some_and(|direction| direction != "backward") || self.sources.is_some() {
            return Err(LineProblem::Unsupported);
        }
        Ok(self.action == StatedAction::Fold)
    }

    /// The layer, from its own words alone.
    pub(super) fn layer(self) -> Result<Layer, LineProblem> {
        if !self.is_fold()? {
            let text = self.reason.unwrap_or_else(|| "the plan keeps it".to_owned());
            return Ok(Layer { norm: self.norm, action: Action::Keep(Reason::stated(self.reason_code, text)) });
        }
        let weight = self.weight.ok_or(LineProblem::WeightMissing)?;
        let eps = self.eps.ok_or(LineProblem::Incomplete { key: "eps" })?;
        if !is_eps(&eps) {
            return Err(LineProblem::Eps(eps));
        }
        let eps_source = match self.eps_code {
            Some(code) => EpsSource::saved(&code, self.eps_source.unwrap_or_default()),
            None => EpsSource::Plan(self.eps_source),
        };
        // A line of evidence that a user added has no code.
        let codes = self.evidence_codes.into_iter().map(Some).chain(std::iter::repeat(None));
        let evidence = self.evidence.into_iter().zip(codes).map(|(text, code)| Reason::stated(code, text));
        let line = FoldLine {
            op: self.op.ok_or(LineProblem::Incomplete { key: "op" })?,
            weight,
            bias: self.bias.ok_or(LineProblem::Incomplete { key: "bias" })?,
            bias_exists: self.bias_exists.ok_or(LineProblem::Incomplete { key: "bias_exists" })?,
            channels: self.channels.ok_or(LineProblem::Incomplete { key: "channels" })?,
            groups: self.groups.ok_or(LineProblem::Incomplete { key: "groups" })?,
            dtype: self.dtype.ok_or(LineProblem::Incomplete { key: "dtype" })?,
            eps,
            eps_source,
            evidence: evidence.collect(),
        };
        Ok(Layer { norm: self.norm, action: Action::Fold(line) })
    }
}
