//! 2 PLAN: the plan's JSON form, as users edit it.
//!
//! In: the text of a plan file. Out: a [`Plan`], with what a line may leave out filled in from the checkpoint, and for
//! every layer the line it stands on. What is not understood is refused: a key that is skipped could be the one that
//! mattered.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::eps::{EpsLookup, SourcedEps, is_eps};
use super::{Action, FoldLine, Layer, LineProblem, Misfit, Plan, Reason, VERSION};
use crate::error::{Error, Result};
use crate::network::{EpsSource, Inventory, Norm, Op, Weight};

/// A plan file that was read: the plan and where its layers stand.
#[derive(Debug)]
pub(super) struct PlanFile {
    /// The plan.
    pub(super) plan: Plan,
    lines: Vec<usize>,
    path: std::path::PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    input: Option<String>,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(borrow)]
    layers: Vec<&'a RawValue>,
}

/// A layer as users may write it: everything but `norm`, `action` and a fold's `weight` can be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLayer {
    norm: String,
    action: RawAction,
    reason: Option<String>,
    reason_code: Option<String>,
    op: Option<Op>,
    weight: Option<String>,
    bias: Option<String>,
    bias_exists: Option<bool>,
    channels: Option<u64>,
    groups: Option<u64>,
    dtype: Option<String>,
    eps: Option<f64>,
    eps_source: Option<String>,
    eps_code: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(default)]
    evidence_codes: Vec<String>,
    direction: Option<String>,
    sources: Option<serde_json::Value>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RawAction {
    Fold,
    Keep,
}

impl PlanFile {
    /// Reads the plan at `path` for the checkpoint at `input`; of a JSON array, as `plan` prints it for several models, the
    /// one whose `input` is that checkpoint. A plan by itself is followed whatever its `input` says, since files are moved;
    /// where it could be meant for another checkpoint of the same call, only if it says nothing else.
    pub(super) fn read(
        path: &Path,
        input: &Path,
        is_one_of_several: bool,
        inventory: &Inventory,
        eps: &EpsLookup,
    ) -> Result<PlanFile> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read the plan", path))?;
        let refuse = |line, problem| Error::PlanFile { path: path.to_owned(), line, problem };
        let syntax = |error: serde_json::Error| refuse(error.line(), format!("not a plan: {error}"));
        let is_array = text.trim_start().starts_with('[');
        let plans = match is_array {
            true => serde_json::from_str::<Vec<RawPlan<'_>>>(&text).map_err(syntax)?,
            false => vec![serde_json::from_str::<RawPlan<'_>>(&text).map_err(syntax)?],
        };
        let is_meant = |plan: &RawPlan<'_>| match plan.input.as_deref() {
            Some(meant) => meant == input.to_string_lossy() || !(is_array || is_one_of_several),
            None => !is_array,
        };
        let mut meant = plans.into_iter().filter(is_meant);
        let Some(raw) = meant.next() else {
            return Err(refuse(1, format!("none of its plans has \"input\": \"{}\"", input.display())));
        };
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at).collect::<Vec<_>>();
        // A raw value is a slice of the text, so its place in the text is known.
        let line_of = |raw: &RawValue| {
            let offset = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            ends.partition_point(|&end| end < offset) + 1
        };
        if let Some(twin) = meant.next() {
            let (input, first) = (input.display(), line_of(raw.version));
            let problem = format!("a second plan for \"{input}\", after that of line {first}; remove one of them");
            return Err(refuse(line_of(twin.version), problem));
        }
        let found = raw.version.get();
        if found.parse() != Ok(VERSION) {
            let problem = format!("a plan of version {found}, and this program reads version {VERSION}");
            return Err(refuse(line_of(raw.version), problem));
        }
        let known = ByName::new(inventory);
        let (mut layers, mut lines) = (Vec::new(), Vec::new());
        for layer in raw.layers {
            let line = line_of(layer);
            let raw: RawLayer = serde_json::from_str(layer.get())
                .map_err(|error| refuse(line + error.line() - 1, format!("not a layer of a plan: {error}")))?;
            let named = |norm: &str, problem: LineProblem| refuse(line, format!("norm `{norm}`: {problem}"));
            let norm = raw.norm.clone();
            layers.push(layer_of(raw, &known, eps).map_err(|problem| named(&norm, problem))?);
            lines.push(line);
        }
        let plan = Plan {
            version: VERSION,
            input: input.to_string_lossy().into_owned(),
            dialect: raw.dialect.or_else(|| inventory.dialect().map(str::to_owned)),
            architecture: raw.architecture,
            layers,
        };
        Ok(PlanFile { plan, lines, path: path.to_owned() })
    }

    /// The error for a line that does not fit the checkpoint.
    pub(super) fn misfit(&self, misfit: Misfit) -> Error {
        let line = self.lines.get(misfit.layer).copied().unwrap_or(1);
        let norm = self.plan.layers.get(misfit.layer).map_or("", |layer| &layer.norm);
        let problem = format!("the plan does not fit the checkpoint: norm `{norm}`: {}", misfit.problem);
        Error::PlanFile { path: self.path.clone(), line, problem }
    }
}

/// The inventory, for looking lines up.
struct ByName<'a> {
    norms: HashMap<&'a str, &'a Norm>,
    weights: HashMap<&'a str, &'a Weight>,
}

impl<'a> ByName<'a> {
    fn new(inventory: &'a Inventory) -> ByName<'a> {
        ByName {
            norms: inventory.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect(),
            weights: inventory.weights.iter().map(|weight| (weight.tensor.as_str(), weight)).collect(),
        }
    }
}

/// Fills in what a line leaves out.
fn layer_of(raw: RawLayer, known: &ByName<'_>, eps: &EpsLookup) -> Result<Layer, LineProblem> {
    if raw.direction.as_deref().is_some_and(|direction| direction != "backward") || raw.sources.is_some() {
        return Err(LineProblem::Unsupported);
    }
    if raw.action == RawAction::Keep {
        let text = raw.reason.unwrap_or_else(|| "the plan keeps it".to_owned());
        return Ok(Layer { norm: raw.norm, action: Action::Keep(Reason::stated(raw.reason_code, text)) });
    }
    let tensor = raw.weight.as_deref().ok_or(LineProblem::WeightMissing)?;
    let norm = known.norms.get(raw.norm.as_str()).copied();
    let norm = norm.ok_or_else(|| LineProblem::NoNorm(raw.norm.clone()))?;
    let weight = known.weights.get(tensor).copied();
    let weight = weight.ok_or_else(|| LineProblem::NoWeight { weight: tensor.to_owned(), found: None })?;
    Ok(Layer { norm: raw.norm.clone(), action: Action::Fold(fold_of(raw, norm, weight, eps)?) })
}

/// The same for a line that folds `norm` into `weight`.
fn fold_of(raw: RawLayer, norm: &Norm, weight: &Weight, eps: &EpsLookup) -> Result<FoldLine, LineProblem> {
    let op = raw.op.map_or_else(|| only_op(norm, weight), Ok)?;
    let groups =
        weight.producers(norm.channels).iter().find(|(found, _)| *found == op).map_or(1, |(_, map)| map.groups);
    let SourcedEps { value: eps, source: eps_source } = match raw.eps {
        Some(eps) if !is_eps(&eps) => return Err(LineProblem::Eps(eps)),
        Some(value) => eps_of(value, raw.eps_code.as_deref(), raw.eps_source, eps.eps(norm)),
        None => eps.eps(norm),
    };
    let bias = raw.bias.unwrap_or_else(|| weight.bias.clone());
    // A line of evidence that a user added has no code.
    let codes = raw.evidence_codes.into_iter().map(Some).chain(std::iter::repeat(None));
    let evidence = raw.evidence.into_iter().zip(codes);
    Ok(FoldLine {
        op,
        bias_exists: raw.bias_exists.unwrap_or(if bias == weight.bias { weight.bias_exists } else { false }),
        bias,
        weight: weight.tensor.clone(),
        channels: raw.channels.unwrap_or(norm.channels),
        groups: raw.groups.unwrap_or(groups),
        dtype: raw.dtype.unwrap_or_else(|| weight.dtype.to_string()),
        eps,
        eps_source,
        evidence: evidence.map(|(text, code)| Reason::stated(code, text)).collect(),
    })
}

/// The eps of a line that states a value. `found` is what would be taken without the plan; `words` are shown and never
/// decide.
///
/// A plan's eps goes first. But the planner writes one into every line, also where it only assumed it, and marks it so with
/// the line's `eps_code`: such a line states nothing, unless the user has changed the number.
fn eps_of(stated: f64, code: Option<&str>, words: Option<String>, found: SourcedEps) -> SourcedEps {
    let is_edited = stated != found.value;
    match code {
        Some(EpsSource::ASSUMED) if !is_edited || !found.source.is_assumed() => found,
        Some(EpsSource::ASSUMED) => SourcedEps { value: stated, source: EpsSource::Plan(None) },
        // What the planner found is what it would find again.
        Some(code) if code == found.source.code() && !is_edited => found,
        // The number was changed, its source was not.
        Some(code) if code == found.source.code() => SourcedEps { value: stated, source: EpsSource::Plan(None) },
        Some(code) => SourcedEps { value: stated, source: EpsSource::saved(code, words.unwrap_or_default()) },
        None => SourcedEps { value: stated, source: EpsSource::Plan(words) },
    }
}

/// Gives the lines of a plan in memory the eps that they would have in a file.
pub(super) fn state_eps(plan: &mut Plan, network: &Inventory, eps: &EpsLookup) {
    let norms = ByName::new(network).norms;
    for layer in &mut plan.layers {
        if let (Action::Fold(line), Some(norm)) = (&mut layer.action, norms.get(layer.norm.as_str())) {
            let found = eps.eps(norm);
            let is_edited = line.eps != found.value;
            let is_found = line.eps_source.code() == found.source.code();
            if line.eps_source.is_assumed() && (!is_edited || !found.source.is_assumed()) {
                (line.eps, line.eps_source) = (found.value, found.source);
            } else if is_edited && (is_found || line.eps_source.is_assumed()) {
                line.eps_source = EpsSource::Plan(None);
            }
        }
    }
}

/// The only kind of layer that the weight can be, with the norm's channels.
fn only_op(norm: &Norm, weight: &Weight) -> Result<Op, LineProblem> {
    let (tensor, shape) = (weight.tensor.clone(), weight.shape.clone());
    match weight.producers(norm.channels).as_slice() {
        // Where several kinds have their channels in the same place (MLX), they are folded alike.
        [(op, first), rest @ ..] if rest.iter().all(|(_, map)| map == first) => Ok(*op),
        [] => Err(LineProblem::OtherOutputs { weight: tensor, shape, channels: norm.channels }),
        several => {
            let can = several.iter().map(|(op, _)| *op).collect();
            Err(LineProblem::OperationMissing { weight: tensor, shape, can })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eps_that_the_planner_assumed_states_nothing() {
        let assumed = || SourcedEps { value: 1e-5, source: EpsSource::AssumedDialect { dialect: "pytorch" } };
        let flag = || SourcedEps { value: 1e-3, source: EpsSource::ForAll };
        let plan = |value: f64| SourcedEps { value, source: EpsSource::Plan(None) };
        let marked = |stated, found| eps_of(stated, Some("assumed"), Some("assumed: x".to_owned()), found);
        assert_eq!(marked(1e-5, flag()), flag());
        assert_eq!(marked(1e-5, assumed()), assumed());
        assert_eq!(marked(2e-5, assumed()), plan(2e-5), "an edited number");
        assert_eq!(eps_of(2e-5, Some("eps"), Some("--eps".to_owned()), flag()), plan(2e-5), "an edited number");
        assert_eq!(eps_of(2e-5, None, None, flag()), plan(2e-5), "the plan goes first");
    }

    #[test]
    fn words_never_decide() {
        let flag = || SourcedEps { value: 1e-3, source: EpsSource::ForAll };
        for words in ["the paper, table 3", "assumed from the paper, table 3", "catalogue: mine", "--eps", ""] {
            let found = eps_of(2e-3, None, Some(words.to_owned()), flag());
            assert_eq!(found, SourcedEps { value: 2e-3, source: EpsSource::Plan(Some(words.to_owned())) });
        }
    }
}
