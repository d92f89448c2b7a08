//! ZOO: many models in one call.
//!
//! In: files, folders, sharded checkpoints. Out: one [`Outcome`](crate::report::Outcome) a model. A model that fails, in
//! whatever way, does not touch the others; an interrupted run leaves whole files or none, and the next one goes on from
//! there.
//!
//! ```text
//! paths ─ discover ─▶ sources ─ run ─▶ workers ─ record ─▶ done already? ─ no ─▶ plan ─ fold ─ publish ─▶ Outcome
//!                        └ sidecars (--copy-sidecars)              └ yes ─────────────────────────────────▶ Outcome
//! ```

mod discover;
mod engines;
mod filter;
mod found;
mod home;
mod kinds;
mod partition;
mod parts;
mod run;
mod sidecars;
mod task;
mod walk;

pub use discover::discover;
pub use engines::Engines;
pub use filter::Filter;
pub use found::{Found, Sidecar, Source};
pub use kinds::how_to_convert;
#[cfg(feature = "hub")]
pub(crate) use kinds::{is_checkpoint, is_weights};
pub use partition::Share;
pub use run::{Observer, Run};
pub use sidecars::{add_beside, copy, same_content};
pub use task::Task;
