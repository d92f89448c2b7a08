//! 4 WRITE: the folded checkpoint, whole or not at all.
//!
//! In: the original, the folds, an output style. Out: a [`Layout`] (what every tensor of the output is and where it lies,
//! known before the first byte is read), then the file.

mod header;
mod layout;
mod style;
mod target;
mod unfolded;

pub use header::header_bytes;
pub use layout::{Content, Entry, Layout};
pub use style::{NormPlan, Style, style_norms};
pub use target::{Replace, Target};
pub use unfolded::write_unfolded;
