//! 4 WRITE: what becomes of the tensors that folding touches.
//!
//! In: folded layers, whose style is settled. Out: a [`Change`] for each of their tensors: the weight is folded, one tensor
//! takes the shift, and those of the norm go or become constants.

use std::collections::HashMap;

use crate::fold::FoldedLayer;

/// What becomes of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'l> {
    /// It is the weight of the layer of that number.
    Fold(usize, &'l FoldedLayer<'l>),
    /// It takes the shift of that layer, and may be new.
    Shift(&'l FoldedLayer<'l>),
    /// Every element becomes this value.
    Fill(f64),
    /// It goes.
    Remove,
}

/// The changes that `layers` make, by the tensor's name.
pub(super) fn changes<'l>(layers: &'l [FoldedLayer<'l>]) -> HashMap<&'l str, Change<'l>> {
    let mut changes = HashMap::new();
    for (number, layer) in layers.iter().enumerate() {
        changes.insert(layer.fold.weight.as_str(), Change::Fold(number, layer));
        changes.extend(of_norm(layer));
        changes.insert(layer.norm.shift_into.as_str(), Change::Shift(layer));
    }
    changes
}

/// The norm's tensors, and the layer's bias where it is not what takes the shift.
fn of_norm<'l>(layer: &'l FoldedLayer<'l>) -> Vec<(&'l str, Change<'l>)> {
    let (fold, norm) = (layer.fold, &layer.fold.norm);
    let Some(identity) = layer.norm.identity else {
        return norm.tensors().map(|tensor| (tensor, Change::Remove)).collect();
    };
    let bias = fold.bias_float.map(|_| (&fold.bias, 0.0));
    let gamma = norm.gamma.as_ref().map(|gamma| (gamma, identity.gamma));
    let constants = [Some((&norm.var, identity.var)), Some((&norm.mean, 0.0)), gamma, bias];
    constants.into_iter().flatten().map(|(tensor, value)| (tensor.as_str(), Change::Fill(value))).collect()
}
