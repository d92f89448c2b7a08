//! 1 READ, header: how much one may hold.
//!
//! In: nothing. Out: numbers that no real file comes near, so that a file made to exhaust a machine is refused before it
//! does.

/// Tensors of a file, or of a model in several. The largest published models, of a trillion parameters in 60 layers of 384
/// experts, have 140,000, and twice as many where four tensors hold a quantised matrix.
pub(crate) const TENSOR_LIMIT: usize = 500_000;

/// Keys of `__metadata__`: where each tensor that shares its values with another is named there, as PyTorch's `save_model`
/// does, a key for a tensor; no known file has a thousand.
pub(crate) const METADATA_LIMIT: usize = 100_000;

/// Dimensions of a tensor: those of NumPy, which has the most of all libraries that write the format.
pub(super) const RANK_LIMIT: usize = 64;
