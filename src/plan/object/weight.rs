//! 2 PLAN, object: what speaks against folding into a weight as such.
//!
//! In: a weight and the channels that it must put out. Out: what kind of layer it is, or an objection: it is used elsewhere
//! too, it is not stored as it is used, its shape or its kind does not fit.

use crate::network::{ChannelMap, Inventory, Op, WeightId};
use crate::plan::propose::tokens::{says_layer, says_table};
use crate::plan::propose::transposed::{KnownKinds, operation};
use crate::plan::reason::Objection;
use crate::plan::rulebook::{Rule, Rulebook};

/// What kind of layer a weight is that feeds a norm of `channels`, or why it must not be folded into, as far
/// as the file's `kinds` of convolutions are known.
pub(in crate::plan) fn layer_of(
    book: Rulebook,
    network: &Inventory,
    id: WeightId,
    channels: u64,
    kinds: &KnownKinds<'_>,
) -> Result<(Op, ChannelMap), Objection> {
    as_stored(book, network, id, channels)?;
    operation(book, &network[id], channels, kinds).ok_or(Objection::MaybeTransposed(id))
}

/// The same where the kind of layer is `stated`.
pub(in crate::plan) fn stated_layer_of(
    book: Rulebook,
    network: &Inventory,
    id: WeightId,
    channels: u64,
    stated: Op,
) -> Result<(Op, ChannelMap), Objection> {
    as_stored(book, network, id, channels)?;
    let mut producers = network[id].producers(channels).into_iter();
    producers.find(|(can, _)| *can == stated).ok_or(Objection::OtherOperation { weight: id, op: stated })
}

/// What makes it doubtful that a weight which fits is a layer's as it is stored; `is_placed` says that the norm comes right
/// behind it in an `nn.Sequential`.
pub(in crate::plan) fn doubt(book: Rulebook, network: &Inventory, id: WeightId, is_placed: bool) -> Option<Objection> {
    let weight = &network[id];
    if weight.companion.is_some() && book.has(Rule::Companion) {
        return Some(Objection::Companion(id));
    }
    // A matrix that neither its name nor a bias shows to be a linear layer's: an embedding, a table, a codebook.
    let is_table = says_table(&weight.module);
    let is_layer =
        weight.shape.len() > 2 || weight.bias_exists || !is_table && (is_placed || says_layer(&weight.module));
    (!is_layer && book.has(Rule::NoLayer)).then_some(Objection::NoLayer(id))
}

/// Whether the stored weight is what the layer uses, for this norm alone, and has `channels` outputs.
fn as_stored(book: Rulebook, network: &Inventory, id: WeightId, channels: u64) -> Result<(), Objection> {
    let weight = &network[id];
    if weight.dtype.float().is_none() {
        return Err(Objection::Quantized(id));
    }
    if weight.aliased.is_some() && book.has(Rule::Aliased) {
        return Err(Objection::Aliased(id));
    }
    if weight.side_tensor.is_some() && book.has(Rule::SideTensor) {
        return Err(Objection::Computed(id));
    }
    match weight.producers(channels).is_empty() {
        true => Err(Objection::WrongChannels { weight: id, channels }),
        false => Ok(()),
    }
}
