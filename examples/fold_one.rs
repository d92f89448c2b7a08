//! Folds one checkpoint: `cargo run --example fold_one -- model.safetensors folded.safetensors`.
//!
//! In: a checkpoint and where the result goes. Out: the folded file, checked twice: while it was made, and read back.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use bnfold_gpu::{Job, Result};

/// Folds `input` into `output` as `bnfold-gpu` does; returns how many norms were folded.
pub(crate) fn fold(input: &Path, output: &Path) -> Result<usize> {
    let job = Job::new(input);
    let report = job.write(output)?;
    println!("{report}");
    report.warnings.iter().for_each(|warning| println!("warning: {warning}"));

    let verdict = job.verify(output)?;
    verdict.problems.iter().for_each(|problem| println!("{problem}"));
    Ok(verdict.folded)
}

#[allow(dead_code, reason = "the test calls what is above")]
fn main() -> std::result::Result<(), String> {
    let arguments = std::env::args_os().skip(1).collect::<Vec<_>>();
    let [input, output] = arguments.as_slice() else { return Err("expected INPUT OUTPUT".to_owned()) };
    fold(input.as_ref(), output.as_ref()).map(drop).map_err(|error| error.to_string())
}
