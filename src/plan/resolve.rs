//! 2 PLAN: a plan held against its checkpoint: every line becomes a [`Fold`] that can be carried out, or a complaint.
//!
//! In: a plan, made by the planner or edited by a user, and the checkpoint's inventory. Out: folds in plan order. What a
//! line leaves out is filled in; what it states must be true.

use std::collections::{HashMap, HashSet};

use super::problem::LineProblem;
use super::{Action, FoldLine, Layer, Plan, Reason};
use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Error;
use crate::network::{Axis, ChannelMap, Fold, Inventory, Norm, Weight};

/// A plan's line that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// Index into [`Plan::layers`].
    pub layer: usize,
    /// What is wrong, what was expected, what was found.
    pub problem: LineProblem,
}

impl Misfit {
    /// The error for a plan in memory.
    pub(super) fn of(self, plan: &Plan, checkpoint: &Checkpoint) -> Error {
        let norm = plan.layers.get(self.layer).map(|layer| layer.norm.clone()).unwrap_or_default();
        Error::Plan { path: checkpoint.path().to_owned(), norm, problem: self.problem.to_string() }
    }
}

/// Checks every line of `plan` and turns the folds among them into [`Fold`]s; the first line that does not fit is an
/// error.
pub fn resolve(plan: &Plan, network: &Inventory, checkpoint: &Checkpoint) -> Result<Vec<Fold>, Misfit> {
    let mut resolver = Resolver::new(network, checkpoint);
    let folds = plan
        .layers
        .iter()
        .enumerate()
        .filter_map(|(layer, line)| resolver.line(line).map_err(|problem| Misfit { layer, problem }).transpose());
    folds.collect()
}

/// The same for a plan of the planner's own: a line that does not fit is turned into one that keeps its norm.
pub(super) fn resolve_or_keep(plan: &mut Plan, network: &Inventory, checkpoint: &Checkpoint) -> Vec<Fold> {
    let mut resolver = Resolver::new(network, checkpoint);
    let folds = plan.layers.iter_mut().filter_map(|line| {
        resolver.line(line).unwrap_or_else(|problem| {
            line.action = Action::Keep(Reason::new("does-not-fit", problem.to_string()));
            None
        })
    });
    folds.collect()
}

/// Checks line after line, each against the checkpoint and against those before it.
struct Resolver<'a> {
    checkpoint: &'a Checkpoint,
    norms: HashMap<&'a str, &'a Norm>,
    weights: HashMap<&'a str, &'a Weight>,
    /// Which norm a tensor is part of.
    owners: HashMap<&'a str, &'a str>,
    /// Norms that have a line.
    planned: HashSet<&'a str>,
    /// Which norm a weight feeds, and whose shift a bias takes.
    taken: HashMap<String, &'a str>,
}

impl<'a> Resolver<'a> {
    fn new(network: &'a Inventory, checkpoint: &'a Checkpoint) -> Resolver<'a> {
        let tensors = network.norms.iter().flat_map(|norm| norm.tensors().map(|tensor| (tensor, norm.name.as_str())));
        Resolver {
            checkpoint,
            norms: network.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect(),
            weights: network.weights.iter().map(|weight| (weight.tensor.as_str(), weight)).collect(),
            owners: tensors.collect(),
            planned: HashSet::new(),
            taken: HashMap::new(),
        }
    }

    fn line(&mut self, layer: &Layer) -> Result<Option<Fold>, LineProblem> {
        let norm = self.norms.get(layer.norm.as_str()).copied();
        let norm = norm.ok_or_else(|| LineProblem::NoNorm(layer.norm.clone()))?;
        if !self.planned.insert(&norm.name) {
            return Err(LineProblem::TwoLines(norm.name.clone()));
        }
        let Action::Fold(line) = &layer.action else { return Ok(None) };
        let weight = self.weight(&line.weight)?;
        if let Some(other) = self.taken.insert(line.weight.clone(), &norm.name) {
            return Err(LineProblem::WeightTaken { weight: line.weight.clone(), by: other.to_owned() });
        }
        let fold = fold(line, norm, weight, self.checkpoint)?;
        // Two shifts in one tensor, or a shift in a tensor that goes with its norm: one of them would be lost.
        if let Some(other) = self.taken.insert(fold.bias.clone(), &norm.name) {
            return Err(LineProblem::BiasTaken { bias: fold.bias, by: other.to_owned() });
        }
        match self.owners.get(fold.bias.as_str()) {
            Some(&other) => Err(LineProblem::BiasOfNorm { bias: fold.bias, norm: other.to_owned() }),
            None => Ok(Some(fold)),
        }
    }

    fn weight(&self, name: &str) -> Result<&'a Weight, LineProblem> {
        self.weights.get(name).copied().ok_or_else(|| {
            let found = self.checkpoint.tensors().get(name).map(|tensor| (tensor.dtype.clone(), tensor.shape.clone()));
            LineProblem::NoWeight { weight: name.to_owned(), found }
        })
    }
}

/// One line, checked.
fn fold(line: &FoldLine, norm: &Norm, weight: &Weight, checkpoint: &Checkpoint) -> Result<Fold, LineProblem> {
    let float = foldable(norm, weight)?;
    check_norm(line, norm, weight)?;
    let (axis, map) = layout(line, norm, weight)?;
    let bias_float = check_bias(line, norm, weight, checkpoint.tensors().get(&line.bias))?;
    Ok(Fold {
        norm: norm.clone(),
        weight: weight.tensor.clone(),
        shape: weight.shape.clone(),
        elements: weight.shape.iter().product(),
        float,
        op: line.op,
        axis,
        map,
        channels: norm.channels,
        bias: line.bias.clone(),
        bias_float,
        eps: line.eps,
        eps_source: line.eps_source.clone(),
    })
}

/// The weight's type, if both norm and weight can be folded at all.
fn foldable(norm: &Norm, weight: &Weight) -> Result<Float, LineProblem> {
    if let Some(defect) = &norm.defect {
        return Err(LineProblem::Defect(defect.clone()));
    }
    if let Some(tensor) = &weight.aliased {
        let what = if *tensor == weight.tensor { "weight" } else { "bias" };
        return Err(LineProblem::Shared { what, tensor: tensor.clone() });
    }
    weight
        .dtype
        .float()
        .ok_or_else(|| LineProblem::Quantized { weight: weight.tensor.clone(), dtype: weight.dtype.clone() })
}

/// What the line states of norm and weight.
fn check_norm(line: &FoldLine, norm: &Norm, weight: &Weight) -> Result<(), LineProblem> {
    if line.channels != norm.channels {
        return Err(LineProblem::Channels { planned: line.channels, found: norm.channels });
    }
    if line.dtype != weight.dtype.to_string() {
        return Err(LineProblem::Dtype { planned: line.dtype.clone(), found: weight.dtype.clone() });
    }
    match super::eps::is_eps(&line.eps) {
        true => Ok(()),
        false => Err(LineProblem::Eps(line.eps)),
    }
}

/// Where the weight has its output channels as the kind of layer that the line states.
fn layout(line: &FoldLine, norm: &Norm, weight: &Weight) -> Result<(Axis, ChannelMap), LineProblem> {
    let producers = weight.producers(norm.channels);
    let found = producers.iter().find(|(op, _)| *op == line.op).and_then(|&(op, map)| Some((weight.axis(op)?, map)));
    let (axis, map) = found.ok_or_else(|| LineProblem::Operation {
        shape: weight.shape.clone(),
        channels: norm.channels,
        can: producers.iter().map(|(op, _)| *op).collect(),
        planned: line.op,
    })?;
    match line.groups == map.groups {
        true => Ok((axis, map)),
        false => Err(LineProblem::Groups { planned: line.groups, found: map.groups }),
    }
}

/// The type of the bias that takes the shift, if it exists.
fn check_bias(
    line: &FoldLine,
    norm: &Norm,
    weight: &Weight,
    bias: Option<&Tensor>,
) -> Result<Option<Float>, LineProblem> {
    if bias.is_some() != line.bias_exists {
        return Err(LineProblem::BiasExists { bias: line.bias.clone(), exists: bias.is_some() });
    }
    // Another tensor would take the shift while the layer goes on adding its own.
    if line.bias != weight.bias {
        let (bias, weight, own) = (line.bias.clone(), weight.tensor.clone(), weight.bias.clone());
        return Err(LineProblem::OtherBias { bias, weight, own });
    }
    let Some(tensor) = bias else { return Ok(None) };
    let float = tensor.dtype.float().filter(|_| tensor.shape == [norm.channels]);
    float.map(Some).ok_or_else(|| LineProblem::BiasShape {
        bias: line.bias.clone(),
        dtype: tensor.dtype.clone(),
        shape: tensor.shape.clone(),
        channels: norm.channels,
    })
}
