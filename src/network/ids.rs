//! Names by number: which norm and which weight of an inventory is meant.
//!
//! In: a place in an [`Inventory`]'s lists. Out: an id that only fits the list it was made for.

use std::ops::Index;

use super::{Inventory, Norm, Weight};

/// A norm of an [`Inventory`]: `inventory[id]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NormId(u32);

/// A weight of an [`Inventory`]: `inventory[id]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightId(u32);

/// A header of at most 100 MB has fewer tensors than 2^32.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl NormId {
    /// The norm at `index` of [`Inventory::norms`].
    pub fn new(index: usize) -> NormId {
        NormId(narrow(index))
    }

    /// Its place in [`Inventory::norms`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// The weight at `index` of [`Inventory::weights`].
    pub fn new(index: usize) -> WeightId {
        WeightId(narrow(index))
    }

    /// Its place in [`Inventory::weights`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Index<NormId> for Inventory {
    type Output = Norm;

    fn index(&self, id: NormId) -> &Norm {
        &self.norms[id.index()]
    }
}

impl Index<WeightId> for Inventory {
    type Output = Weight;

    fn index(&self, id: WeightId) -> &Weight {
        &self.weights[id.index()]
    }
}
