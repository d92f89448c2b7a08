#![doc = include_str!("../README.md")]
//!
//! # The library
//!
//! A [`Job`] is one model and its [`Options`], a [`Zoo`] is many. Both do what the command does: the `config.json` beside a
//! checkpoint is read, the device chosen, every result checked before it gets its name. `examples/` holds the three main
//! uses: one file, a plan that is edited, a zoo with progress.
//!
//! # A tour of the crate
//!
//! The stages of the pipeline are the modules:
//!
//! 1. [`checkpoint`] reads a header and hands out bytes,
//! 2. [`plan`] decides which norm goes into which weight,
//! 3. [`fold`] multiplies, on the GPU or the CPU, and checks,
//! 4. [`output`] writes the file, whole or not at all,
//! 5. [`verify`] compares a folded file with its original,
//! 6. [`report`] says what happened.
//!
//! [`mod@bench`] measures them beside a plain copy. [`model`] strings them together for one model, [`zoo`] for many, and
//! [`job`] is the face of both; [`store`] is where files are, on this machine or under a URL.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "numbers in tests are the tests' own"))]

pub mod bench;
pub mod checkpoint;
pub mod error;
pub mod fold;
pub mod job;
pub mod model;
pub mod network;
pub mod output;
mod parallel;
pub mod plan;
pub mod report;
pub mod store;
pub mod text;
pub mod verify;
pub mod zoo;

pub use checkpoint::Float;
pub use error::{Error, Result};
pub use fold::Style;
pub use globset::Glob;
pub use job::{Device, Job, Options, Progress, Zoo};
pub use model::PlanSource;
pub use output::Replace;
pub use plan::{Action, EvidenceLevel, FoldLine, Layer, Plan};
pub use report::{ModelReport, Outcome};
pub use verify::VerifyReport;
pub use zoo::Observer;
