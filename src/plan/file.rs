//! 2 PLAN: the plan's JSON form, as users edit it.
//!
//! In: the text of a plan file. Out: a [`Plan`], with what a line may leave out filled in from the checkpoint, and for
//! every layer the line it stands on. What is not understood is refused: a key that is skipped could be the one that
//! mattered.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::eps::{ASSUMED, EpsLookup, SourcedEps, is_eps};
use super::{Action, FoldLine, Layer, Misfit, Plan, VERSION};
use crate::error::{Error, Result};
use crate::network::{Inventory, Norm, Op, Weight};

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
    op: Option<Op>,
    weight: Option<String>,
    bias: Option<String>,
    bias_exists: Option<bool>,
    channels: Option<u64>,
    groups: Option<u64>,
    dtype: Option<String>,
    eps: Option<f64>,
    eps_source: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
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
            layers.push(layer_of(raw, &known, eps).map_err(|problem| refuse(line, problem))?);
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
fn layer_of(raw: RawLayer, known: &ByName<'_>, eps: &EpsLookup) -> Result<Layer, String> {
    if raw.direction.as_deref().is_some_and(|direction| direction != "backward") || raw.sources.is_some() {
        return Err(format!(
            "norm `{}`: folding forward or into several sources is not supported; set its action to \"keep\"",
            raw.norm
        ));
    }
    if raw.action == RawAction::Keep {
        let reason = raw.reason.unwrap_or_else(|| "the plan keeps it".to_owned());
        return Ok(Layer { norm: raw.norm, action: Action::Keep { reason } });
    }
    let missing = |what: &str| format!("norm `{}`: {what}", raw.norm);
    let Some(tensor) = raw.weight.clone() else {
        return Err(missing("a fold needs a \"weight\""));
    };
    let norm = known.norms.get(raw.norm.as_str()).copied();
    let norm = norm.ok_or_else(|| missing("the checkpoint has no such norm"))?;
    let weight = known.weights.get(tensor.as_str()).copied();
    let weight =
        weight.ok_or_else(|| missing(&format!("the checkpoint has no weight `{tensor}` that feeds a norm")))?;
    let channels = raw.channels.unwrap_or(norm.channels);
    let op = match raw.op {
        Some(op) => op,
        None => only_op(norm, weight).map_err(|problem| missing(&problem))?,
    };
    let groups =
        weight.producers(norm.channels).iter().find(|(found, _)| *found == op).map_or(1, |(_, map)| map.groups);
    let (eps, eps_source) = match raw.eps {
        Some(eps) if !is_eps(&eps) => return Err(missing(&format!("eps {eps} is not a finite number of at least 0"))),
        stated => eps_of(stated, raw.eps_source, eps.eps(norm)),
    };
    let bias = raw.bias.unwrap_or_else(|| weight.bias.clone());
    let line = FoldLine {
        op,
        bias_exists: raw.bias_exists.unwrap_or(if bias == weight.bias { weight.bias_exists } else { false }),
        bias,
        weight: tensor,
        channels,
        groups: raw.groups.unwrap_or(groups),
        dtype: raw.dtype.unwrap_or_else(|| weight.dtype.to_string()),
        eps,
        eps_source,
        evidence: raw.evidence,
    };
    Ok(Layer { norm: raw.norm, action: Action::Fold(line) })
}

/// The eps of a line and its source. `found` is what would be taken without the plan.
///
/// A plan's eps goes first. But the planner writes one into every line, also where it only assumed it: such a line states
/// nothing, unless the user has changed the number.
fn eps_of(stated: Option<f64>, source: Option<String>, found: SourcedEps) -> (f64, String) {
    let Some(eps) = stated else { return (found.value, found.source) };
    let plan = || "plan".to_owned();
    match source {
        Some(source) if source.starts_with(ASSUMED) => match eps == found.value || !found.source.starts_with(ASSUMED) {
            true => (found.value, found.source),
            false => (eps, plan()),
        },
        // The number was changed, its source was not.
        Some(source) if source == found.source && eps != found.value => (eps, plan()),
        source => (eps, source.unwrap_or_else(plan)),
    }
}

/// Gives the lines of a plan in memory the eps that they would have in a file.
pub(super) fn state_eps(plan: &mut Plan, inventory: &Inventory, eps: &EpsLookup) {
    let norms = ByName::new(inventory).norms;
    for layer in &mut plan.layers {
        if let (Action::Fold(line), Some(norm)) = (&mut layer.action, norms.get(layer.norm.as_str())) {
            let source = std::mem::take(&mut line.eps_source);
            (line.eps, line.eps_source) = eps_of(Some(line.eps), Some(source), eps.eps(norm));
        }
    }
}

/// The only kind of layer that the weight can be, with the norm's channels.
fn only_op(norm: &Norm, weight: &Weight) -> Result<Op, String> {
    match weight.producers(norm.channels).as_slice() {
        // Where several kinds have their channels in the same place (MLX), they are folded alike.
        [(op, first), rest @ ..] if rest.iter().all(|(_, map)| map == first) => Ok(*op),
        [] => Err(format!(
            "weight `{}` of shape {:?} has no {} output channels",
            weight.tensor, weight.shape, norm.channels
        )),
        several => {
            let ops = several.iter().map(|(op, _)| op.name()).collect::<Vec<_>>().join(" or ");
            Err(format!("weight `{}` of shape {:?} can be {ops}: add an \"op\"", weight.tensor, weight.shape))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eps_that_the_planner_assumed_states_nothing() {
        let found = |value: f64, source: &str| SourcedEps { value, source: source.to_owned() };
        let eps = |eps: Option<f64>, source: Option<&str>, found| eps_of(eps, source.map(str::to_owned), found);
        let assumed = || found(1e-5, "assumed: the default of pytorch");
        let stated = || found(1e-3, "--eps");
        let is = |value: f64, source: &str| (value, source.to_owned());
        assert_eq!(eps(None, None, stated()), is(1e-3, "--eps"));
        assert_eq!(eps(Some(1e-5), Some("assumed: the default of pytorch"), stated()), is(1e-3, "--eps"));
        assert_eq!(eps(Some(1e-5), Some("assumed: x"), assumed()), is(1e-5, "assumed: the default of pytorch"));
        assert_eq!(eps(Some(2e-5), Some("assumed: x"), assumed()), is(2e-5, "plan"), "an edited number");
        assert_eq!(eps(Some(2e-5), Some("--eps"), stated()), is(2e-5, "plan"), "an edited number");
        assert_eq!(eps(Some(2e-5), None, stated()), is(2e-5, "plan"), "the plan goes first");
        assert_eq!(eps(Some(2e-5), Some("the paper"), stated()), is(2e-5, "the paper"));
    }
}
