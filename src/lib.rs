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
//! The stages of the pipeline are the modules: `checkpoint` reads a header and hands out bytes, `plan` decides which norm goes
//! into which weight, `fold` multiplies, on the GPU or the CPU, and checks, `output` writes the file, whole or not at all,
//! `verify` compares a folded file with its original, `report` says what happened. `model` strings them together for one
//! model, `zoo` for many, `job` is the face of both; `bench` measures them beside a plain copy, `store` is where files are, on
//! this machine or under a URL, `hub` makes folders of repositories. They are open to the command line, the tests and the
//! benches of this package, and hidden here: what is listed below is the interface, and nothing else is promised.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "numbers in tests are the tests' own"))]

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod checkpoint;
#[doc(hidden)]
pub mod descriptors;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod fold;
#[doc(hidden)]
pub mod hub;
#[doc(hidden)]
pub mod job;
mod json;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod network;
#[doc(hidden)]
pub mod output;
mod parallel;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod verify;
#[doc(hidden)]
pub mod warning;
#[doc(hidden)]
pub mod zoo;

// One model or many, and how.
#[doc(inline)]
pub use fold::Style;
pub use globset::Glob;
#[doc(inline)]
pub use job::{Device, Job, Options, Progress, Zoo};
#[doc(inline)]
pub use model::{PlanSource, RemarkKind};
#[doc(inline)]
pub use output::Replace;
#[doc(inline)]
pub use plan::EvidenceLevel;
#[doc(inline)]
pub use store::{Location, Object};
#[doc(inline)]
pub use zoo::{Observer, Source, Task};

// Plans.
#[doc(inline)]
pub use checkpoint::{Dtype, Float};
#[doc(inline)]
pub use network::{EpsSource, Op};
#[doc(inline)]
pub use plan::{Action, Explanation, FoldLine, Layer, Plan, Reason, Step};

// What is reported.
#[doc(inline)]
pub use report::channels::{Channels, Spread};
#[doc(inline)]
pub use report::layer::{Histogram, LayerReport, ScaleReport, WeightRange, Weights};
#[doc(inline)]
pub use report::lint::{Kind as LintKind, Lint};
#[doc(inline)]
pub use report::{FailureReport, Layers, ModelReport, Outcome, Seconds, Totals, Verification};
#[doc(inline)]
pub use verify::{VerifyProblem, VerifyReport};
#[doc(inline)]
pub use warning::{Stake, Warning};

// What can go wrong.
#[doc(inline)]
pub use checkpoint::{HeaderProblem, IndexProblem};
#[doc(inline)]
pub use error::{Error, Result};
#[doc(inline)]
pub use fold::FoldProblem;
#[doc(inline)]
pub use output::OutputProblem;
#[doc(inline)]
pub use plan::ArchitectureProblem;
#[doc(inline)]
pub use store::UrlProblem;
