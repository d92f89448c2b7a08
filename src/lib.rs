#![doc = include_str!("../README.md")]
//!
//! # The library
//!
//! A [`Job`] is one model and its [`Options`]. It does what the command does: the `config.json` beside the checkpoint is
//! read, the device chosen, every result checked before it gets its name.
//!
//! ```
//! use bnfold_gpu::{Action, Device, Job};
//!
//! # fn main() -> bnfold_gpu::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let output = &folder.path().join("digits-resnet.folded.safetensors");
//! let job = Job::new("tests/data/digits-resnet.safetensors").device(Device::Cpu);
//! let mut plan = job.plan()?;
//! // The stem's norm stays.
//! plan.layers[0].action = Action::Keep("to be fine-tuned".into());
//! let report = job.follow(plan).write(output)?;
//! assert_eq!((report.layers.folded, report.layers.kept), (11, 1));
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! [`Zoo`] folds many models, several at a time. `examples/` holds the three main uses: one file, a plan that is edited, a
//! zoo with progress.
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
