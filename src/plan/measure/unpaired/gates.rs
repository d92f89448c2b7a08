//! 2 PLAN, measure: which channels a squeeze-and-excitation gate may multiply.
//!
//! In: the network's weights. Out: whether a gate stands before a layer. A gate narrows its channels and widens them again,
//! in two linear layers or convolutions of kernel 1 that have a bias each (Hu et al. 2018, arXiv:1709.01507); it is as wide as
//! what it multiplies. Where the file holds such layers of the width that a layer takes in, and none of the width that it puts
//! out, a gate multiplies the layer's input: the norm behind it sees the layer's output itself.

use std::collections::BTreeSet;

use crate::network::{Inventory, Weight};

/// Widths that gates have.
pub(super) struct Gates(BTreeSet<u64>);

impl Gates {
    /// Those of a network.
    pub(super) fn of(network: &Inventory) -> Gates {
        let ends = network.weights.iter().filter_map(ends).collect::<BTreeSet<_>>();
        let widens = |&(inputs, outputs): &(u64, u64)| inputs < outputs && ends.contains(&(outputs, inputs));
        Gates(ends.iter().copied().filter(widens).map(|(_, outputs)| outputs).collect())
    }

    /// Whether what multiplies a layer of so many inputs and outputs by a factor a channel multiplies its inputs.
    pub(super) fn stand_before(&self, weight: &Weight, outputs: u64) -> bool {
        let inputs = weight.inputs();
        inputs.is_some_and(|inputs| self.0.contains(&inputs)) && !self.0.contains(&outputs)
    }
}

/// Channels in and out of what may be a half of a gate.
fn ends(weight: &Weight) -> Option<(u64, u64)> {
    let (inputs, outputs) = (weight.inputs()?, weight.outputs()?);
    let has_kernel = inputs.checked_mul(outputs)? != weight.shape.iter().product::<u64>();
    (weight.bias_exists && !has_kernel).then_some((inputs, outputs))
}
