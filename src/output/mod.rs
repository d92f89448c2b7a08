//! 4 WRITE: the folded checkpoint, whole or not at all.
//!
//! In: the original and the folded layers. Out: a [`Layout`] (what every tensor of the output is and where it lies,
//! known before the first byte is read), then the [`Files`]: one, or shards and their index.

mod aside;
mod claims;
mod commit;
mod copy;
mod destination;
mod figures;
mod files;
mod folders;
mod free;
mod header;
mod hidden;
mod index;
mod layout;
mod left_behind;
mod lock;
mod naming;
mod norm_tensors;
mod one_shot;
mod places;
mod placing;
mod problem;
mod record;
mod still;
mod target;
mod temporary;
mod unfolded;

pub use aside::Stranded;
pub use claims::Known;
pub use commit::Terms;
pub use copy::{copy_file, copy_files};
pub use destination::Destination;
pub use figures::{EpsUse, FIGURES_KEY, Figures};
pub use files::Files;
pub(crate) use folders::make_folder;
pub use header::header_bytes;
pub use layout::{Content, Entry, Layout, ShardLayout};
pub use left_behind::{LeftBehind, clear_left_behind};
pub use one_shot::write_whole;
pub use places::result_files;
pub use problem::OutputProblem;
pub use record::{KEY, OtherResult, Record, SAMPLED};
pub use target::Replace;
pub use temporary::folder_of;

/// How the name of a result ends that stands beside its original: `m.folded.safetensors`, for `m.safetensors`.
pub const FOLDED: &str = ".folded.safetensors";
