//! Folds every checkpoint below a folder, with progress: `cargo run --example fold_a_zoo -- zoo folded`.
//!
//! In: a folder of checkpoints and a folder for the results. Out: the same tree, folded; on a second run only what is not
//! there yet.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bnfold_gpu::Totals;
use bnfold_gpu::{Observer, Outcome, Result, Zoo};

/// Counts bytes and outcomes; a run has several threads.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    totals: Mutex<Totals>,
}

impl Observer for Progress {
    fn begin(&self, task: usize) {
        println!("model {task} begins");
    }

    fn advance(&self, _: usize, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self, task: usize, outcome: Outcome) {
        println!("model {task}: {outcome}, {} bytes so far", self.bytes.load(Ordering::Relaxed));
        if let Ok(mut totals) = self.totals.lock() {
            totals.count(&outcome);
        }
    }
}

/// Folds all models below `input` into `output`; returns what became of them.
pub(crate) fn fold(input: &Path, output: &Path) -> Result<Totals> {
    let zoo = Zoo::find([input], output)?.jobs(2);
    zoo.failures().iter().for_each(|(path, error)| println!("{}: {error}", path.display()));
    let progress = Progress::default();
    zoo.run(&progress)?;
    Ok(progress.totals.into_inner().unwrap_or_default())
}

#[allow(dead_code, reason = "the test calls what is above")]
fn main() -> std::result::Result<(), String> {
    let arguments = std::env::args_os().skip(1).collect::<Vec<_>>();
    let [input, output] = arguments.as_slice() else { return Err("expected INPUT OUTPUT".to_owned()) };
    fold(input.as_ref(), output.as_ref()).map(drop).map_err(|error| error.to_string())
}
