#![doc = include_str!("../README.md")]
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
//! [`mod@bench`] measures them beside a plain copy. [`model`] strings them together for one model, [`zoo`] runs many,
//! [`store`] is where files are, on this machine or under a URL:
//!
//! ```
//! use std::path::Path;
//!
//! use bnfold_gpu::fold::{Engine, FoldOptions};
//! use bnfold_gpu::model::{Settings, fold_model};
//!
//! # fn main() -> bnfold_gpu::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let output = &folder.path().join("digits-resnet.folded.safetensors");
//! let input = Path::new("tests/data/digits-resnet.safetensors");
//! let report = fold_model(input, output, Settings::default(), &mut Engine::Cpu, FoldOptions::default())?;
//! assert_eq!((report.layers.folded, report.layers.kept), (12, 0));
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "numbers in tests are the tests' own"))]

pub mod bench;
pub mod checkpoint;
pub mod error;
pub mod fold;
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

pub use error::{Error, Result};
