//! What a network is to this program: batch norms, the weights that may feed them, and where their channels lie. No stage of
//! its own; every stage speaks in its terms.
//!
//! In: names, dtypes and shapes of a checkpoint's tensors. Out: an [`Inventory`] of [`Norm`]s and [`Weight`]s, each known by
//! an id; [`Fold`], a norm with the layer that it goes into; the [`ChannelMap`] of every layout.

pub mod channels;
pub mod dialect;
mod eps;
mod find_norms;
mod fold;
mod ids;
mod inventory;
pub(crate) mod names;
mod norm;
mod op;
mod rival_dialects;
mod shared_statistics;
mod side_tensors;
mod tied;
mod weight;

pub use channels::{Axis, ChannelMap};
pub use eps::EpsSource;
pub use fold::Fold;
pub use ids::{NormId, WeightId};
pub use inventory::Inventory;
pub use norm::{Defect, Norm};
pub use op::Op;
pub use weight::Weight;
