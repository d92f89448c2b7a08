//! 2 PLAN: what a line of a plan file leaves out.
//!
//! In: a line as a user wrote it, and the checkpoint's inventory. Out: the line with every key. What it states stays as it
//! is; whether that is true is the business of `resolve`.

use std::collections::HashMap;

use super::LineProblem;
use super::eps::{EpsLookup, SourcedEps};
use super::json::Stated;
use crate::network::{Inventory, Norm, Op, Weight};

/// The inventory, for looking lines up.
pub(super) struct ByName<'a> {
    norms: HashMap<&'a str, &'a Norm>,
    weights: HashMap<&'a str, &'a Weight>,
    eps: &'a EpsLookup,
}

impl<'a> ByName<'a> {
    pub(super) fn new(inventory: &'a Inventory, eps: &'a EpsLookup) -> ByName<'a> {
        ByName {
            norms: inventory.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect(),
            weights: inventory.weights.iter().map(|weight| (weight.tensor.as_str(), weight)).collect(),
            eps,
        }
    }

    /// Fills in what `line` leaves out.
    pub(super) fn fill_in(&self, line: &mut Stated) -> Result<(), LineProblem> {
        if !line.is_fold()? {
            return Ok(());
        }
        let tensor = line.weight.as_deref().ok_or(LineProblem::WeightMissing)?;
        let norm = self.norms.get(line.norm.as_str()).copied();
        let norm = norm.ok_or_else(|| LineProblem::NoNorm(line.norm.clone()))?;
        let weight = self.weights.get(tensor).copied();
        let weight = weight.ok_or_else(|| LineProblem::NoWeight { weight: tensor.to_owned(), found: None })?;
        fill_in_layout(line, norm, weight)?;
        let is_own_bias = line.bias.as_ref().is_none_or(|bias| *bias == weight.bias);
        line.bias_exists.get_or_insert(is_own_bias && weight.bias_exists);
        line.bias.get_or_insert_with(|| weight.bias.clone());
        line.dtype.get_or_insert_with(|| weight.dtype.to_string());
        if line.eps.is_none() {
            let SourcedEps { value, source } = self.eps.eps(norm);
            (line.eps, line.eps_code) = (Some(value), Some(source.code().to_owned()));
            line.eps_source = Some(source.written());
        }
        Ok(())
    }
}

fn fill_in_layout(line: &mut Stated, norm: &Norm, weight: &Weight) -> Result<(), LineProblem> {
    let op = line.op.map_or_else(|| only_op(norm, weight), Ok)?;
    let producers = weight.producers(norm.channels);
    let groups = producers.iter().find(|(found, _)| *found == op).map_or(1, |(_, map)| map.groups);
    line.op = Some(op);
    line.groups.get_or_insert(groups);
    line.channels.get_or_insert(norm.channels);
    Ok(())
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
