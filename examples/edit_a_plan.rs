//! Plans, edits the plan, folds by it: `cargo run --example edit_a_plan -- model.safetensors folded.safetensors NORM`.
//!
//! In: a checkpoint and the name of a norm that shall stay. Out: the folded file, and beside it the plan that it was folded
//! by, which `bnfold-gpu --plan` takes too.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use bnfold_gpu::{Action, Job, Plan, Result};

/// Folds `input` into `output`, but for the norm `stays`; returns how many norms were folded and how many stay.
pub(crate) fn fold(input: &Path, output: &Path, stays: &str) -> Result<(usize, usize)> {
    let job = Job::new(input);
    let mut plan = job.plan()?;
    for layer in plan.layers.iter_mut().filter(|layer| layer.norm == stays) {
        layer.action = Action::Keep("it is to be trained further".into());
    }

    // A plan can be kept, read again, and followed from memory or from its file.
    let file = output.with_extension("plan.json");
    plan.save(&file)?;
    let report = job.follow(Plan::load(&file)?).write(output)?;
    println!("{report}");
    Ok((report.layers.folded, report.layers.kept))
}

#[allow(dead_code, reason = "the test calls what is above")]
fn main() -> std::result::Result<(), String> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [input, output, norm] = arguments.as_slice() else { return Err("expected INPUT OUTPUT NORM".to_owned()) };
    fold(input.as_ref(), output.as_ref(), norm).map(drop).map_err(|error| error.to_string())
}
