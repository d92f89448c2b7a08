//! Batch norms, as data.
//!
//! In: what was recognised of a module. Out: a [`Norm`], and the [`Defect`] that may make it unfit to be folded.

use std::fmt;

use super::dialect::Dialect;
use crate::checkpoint::Dtype;

/// A batch norm: a module that holds a running mean and a running variance, or what is left of one that has lost either.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// The module's path, as the file spells it.
    pub name: String,
    /// Whose conventions it follows.
    pub dialect: &'static Dialect,
    /// Length of its statistics.
    pub channels: u64,
    /// Tensor of the scale, if there is one.
    pub gamma: Option<String>,
    /// Tensor of the shift, if there is one.
    pub beta: Option<String>,
    /// Tensor of the running mean, or the name it would have.
    pub mean: String,
    /// Tensor of the running variance, or the name it would have.
    pub var: String,
    /// Which of these two is not in the file; such a norm has a defect.
    pub missing: Option<String>,
    /// Other tensors of the norm that go with it.
    pub spare: Vec<String>,
    /// Why it can never be folded, whatever feeds it.
    pub defect: Option<Defect>,
}

/// What makes a norm unfit to be folded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Defect {
    /// Names of its tensors are told from others only by separators or prefixes.
    AmbiguousNames,
    /// One of its two statistics is not in the file.
    Incomplete {
        /// The one that is not.
        missing: String,
        /// The one that is.
        found: String,
    },
    /// One of its tensors has not the shape of its running variance.
    UnevenShapes {
        /// That tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
        /// The running variance's.
        expected: Vec<u64>,
    },
    /// Its statistics have not one axis.
    NotOneAxis {
        /// Their shape.
        shape: Vec<u64>,
    },
    /// One of its tensors is not stored as floats.
    NotFloat {
        /// That tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
    },
    /// `__metadata__` lists other names for one of its tensors.
    Aliased {
        /// That tensor.
        tensor: String,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::AmbiguousNames => {
                write!(f, "the names of its tensors differ from others only in separators or prefixes")
            }
            Defect::Incomplete { missing, found } => {
                write!(f, "`{missing}` is missing, but its `{found}` is there: the file is incomplete")
            }
            Defect::UnevenShapes { tensor, shape, expected } => {
                write!(f, "`{tensor}` has shape {shape:?}, but its running variance has {expected:?}")
            }
            Defect::NotOneAxis { shape } => write!(f, "its running variance has shape {shape:?}, not one axis"),
            Defect::NotFloat { tensor, dtype } => {
                write!(f, "`{tensor}` is stored as {dtype}, which is not a float type")
            }
            Defect::Aliased { tensor } => {
                write!(f, "`{tensor}` is used under other names too, so that the norm stands in several places")
            }
        }
    }
}

impl Norm {
    /// Whether it has neither scale nor shift.
    pub fn is_bare(&self) -> bool {
        self.gamma.is_none() && self.beta.is_none()
    }

    /// Every tensor of the file that belongs to the norm.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        let missing = self.missing.as_ref();
        [self.gamma.as_ref(), self.beta.as_ref(), Some(&self.mean), Some(&self.var)]
            .into_iter()
            .flatten()
            .filter(move |&tensor| Some(tensor) != missing)
            .chain(&self.spare)
            .map(String::as_str)
    }
}
