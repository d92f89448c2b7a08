//! 2 PLAN: a plan held against its checkpoint: every line becomes a [`Fold`] that can be carried out, or a complaint.
//!
//! In: a plan, made by the planner or edited by a user, and the checkpoint's inventory. Out: folds in plan order. What a
//! line leaves out is filled in; what it states must be true.

use std::collections::{HashMap, HashSet};

use super::{Action, FoldLine, Layer, Plan};
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::network::{Fold, Inventory, Norm, Weight};

/// A plan's line that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// Index into [`Plan::layers`].
    pub layer: usize,
    /// What is wrong, what was expected, what was found.
    pub problem: String,
}

impl Misfit {
    /// The error for a plan in memory.
    pub(super) fn of(self, plan: &Plan, checkpoint: &Checkpoint) -> Error {
        let norm = plan.layers.get(self.layer).map(|layer| layer.norm.clone()).unwrap_or_default();
        Error::Plan { path: checkpoint.path().to_owned(), norm, problem: self.problem }
    }
}

/// Checks every line of `plan` and turns the folds among them into [`Fold`]s; the first line that does not fit is an
/// error.
pub fn resolve(plan: &Plan, inventory: &Inventory, checkpoint: &Checkpoint) -> Result<Vec<Fold>, Misfit> {
    let mut resolver = Resolver::new(inventory, checkpoint);
    let folds = plan
        .layers
        .iter()
        .enumerate()
        .filter_map(|(layer, line)| resolver.line(line).map_err(|problem| Misfit { layer, problem }).transpose());
    folds.collect()
}

/// The same for a plan of the planner's own: a line that does not fit is turned into one that keeps its norm.
pub(super) fn resolve_or_keep(plan: &mut Plan, inventory: &Inventory, checkpoint: &Checkpoint) -> Vec<Fold> {
    let mut resolver = Resolver::new(inventory, checkpoint);
    let folds = plan.layers.iter_mut().filter_map(|line| {
        resolver.line(line).unwrap_or_else(|reason| {
            line.action = Action::Keep { reason };
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
    fn new(inventory: &'a Inventory, checkpoint: &'a Checkpoint) -> Resolver<'a> {
        let tensors = inventory.norms.iter().flat_map(|norm| norm.tensors().map(|tensor| (tensor, norm.name.as_str())));
        Resolver {
            checkpoint,
            norms: inventory.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect(),
            weights: inventory.weights.iter().map(|weight| (weight.tensor.as_str(), weight)).collect(),
            owners: tensors.collect(),
            planned: HashSet::new(),
            taken: HashMap::new(),
        }
    }

    fn line(&mut self, layer: &Layer) -> Result<Option<Fold>, String> {
        let Some(&norm) = self.norms.get(layer.norm.as_str()) else {
            return Err(format!("the checkpoint has no norm `{}`", layer.norm));
        };
        if !self.planned.insert(&norm.name) {
            return Err(format!("norm `{}` has two lines", norm.name));
        }
        let Action::Fold(line) = &layer.action else { return Ok(None) };
        let weight = self.weight(&line.weight)?;
        if let Some(other) = self.taken.insert(line.weight.clone(), &norm.name) {
            return Err(format!("weight `{}` feeds norm `{other}` already", line.weight));
        }
        let fold = fold(line, norm, weight, self.checkpoint)?;
        // Two shifts in one tensor, or a shift in a tensor that goes with its norm: one of them would be lost.
        if let Some(other) = self.taken.insert(fold.bias.clone(), &norm.name) {
            return Err(format!("bias `{}` takes the shift of norm `{other}` already", fold.bias));
        }
        if let Some(other) = self.owners.get(fold.bias.as_str()) {
            return Err(format!("`{}` belongs to norm `{other}` and cannot be the layer's bias", fold.bias));
        }
        Ok(Some(fold))
    }

    fn weight(&self, name: &str) -> Result<&'a Weight, String> {
        self.weights.get(name).copied().ok_or_else(|| {
            let what = match self.checkpoint.tensors().get(name) {
                None => "the checkpoint has no tensor of that name".to_owned(),
                Some(tensor) => {
                    format!("a {} of shape {:?} is no weight that feeds a norm", tensor.dtype, tensor.shape)
                }
            };
            format!("weight `{name}`: {what}")
        })
    }
}

/// One line, checked.
fn fold(line: &FoldLine, norm: &Norm, weight: &Weight, checkpoint: &Checkpoint) -> Result<Fold, String> {
    if let Some(defect) = &norm.defect {
        return Err(defect.clone());
    }
    if weight.aliased {
        return Err(format!("weight `{}` is shared: `__metadata__` lists other names for it", weight.tensor));
    }
    let Some(float) = weight.dtype.float() else {
        return Err(format!("weight `{}` is stored as {}, which cannot be scaled", weight.tensor, weight.dtype));
    };
    let channels = norm.channels;
    if line.channels != channels {
        return Err(format!("{} channels are planned, but the norm has {channels}", line.channels));
    }
    if line.dtype != weight.dtype.to_string() {
        return Err(format!("dtype {} is planned, but the weight is {}", line.dtype, weight.dtype));
    }
    let producers = weight.producers(channels);
    let found = producers.iter().find(|(op, _)| *op == line.op).and_then(|&(op, map)| Some((weight.axis(op)?, map)));
    let Some((axis, map)) = found else {
        let can = producers.iter().map(|(op, _)| op.name()).collect::<Vec<_>>();
        let can = if can.is_empty() { "nothing".to_owned() } else { can.join(" or ") };
        let (op, shape) = (line.op.name(), &weight.shape);
        return Err(format!("a weight of shape {shape:?} with {channels} output channels can be {can}, not {op}"));
    };
    if line.groups != map.groups {
        return Err(format!("{} groups are planned, but the shapes give {}", line.groups, map.groups));
    }
    if !super::eps::is_eps(&line.eps) {
        return Err(format!("eps {} is not a finite number of at least 0", line.eps));
    }
    let bias = checkpoint.tensors().get(&line.bias);
    if bias.is_some() != line.bias_exists {
        let (is, says) = if bias.is_some() { ("exists", "does not") } else { ("does not exist", "does") };
        return Err(format!("bias `{}` {is}, but the plan says it {says}", line.bias));
    }
    // Another tensor would take the shift while the layer goes on adding its own.
    if line.bias != weight.bias {
        return Err(format!(
            "`{}` is not the bias of weight `{}`, which is `{}`",
            line.bias, weight.tensor, weight.bias
        ));
    }
    let bias_float = match bias {
        None => None,
        Some(tensor) if tensor.shape == [channels] && tensor.dtype.float().is_some() => tensor.dtype.float(),
        Some(tensor) => {
            let (name, dtype, shape) = (&line.bias, &tensor.dtype, &tensor.shape);
            return Err(format!("bias `{name}` is {dtype} of shape {shape:?}, not floats of shape [{channels}]"));
        }
    };
    Ok(Fold {
        norm: norm.clone(),
        weight: weight.tensor.clone(),
        shape: weight.shape.clone(),
        elements: weight.shape.iter().product(),
        float,
        op: line.op,
        axis,
        map,
        channels,
        bias: line.bias.clone(),
        bias_float,
        eps: line.eps,
        eps_source: line.eps_source.clone(),
    })
}
