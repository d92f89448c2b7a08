//! ZOO: folders of checkpoints, as people have them.
//!
//! In: trees of files, links and odd things; runs that are stopped, killed, repeated and split. Out: every model that can
//! be folded is, every other one is named, and what stands in the output folder is whole.

// Graphics devices shared by the models of a run.
#[cfg(feature = "gpu")]
mod devices;
// What is found in a folder, and where its result goes.
mod discovery;
// Two hundred models of twelve architectures.
mod many;
// Runs that are stopped, killed, repeated, changed, split.
mod resume;
// What several models, or several runs, have in common.
mod shared;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Mutex;

use bnfold_gpu::report::Outcome;
use bnfold_gpu::zoo::Observer;

use crate::fixture::{Folder, Run, bnfold};

/// Folds `zoo` into `out` of the same folder, on the CPU.
fn fold_zoo(folder: &Folder, more: &[&dyn AsRef<OsStr>]) -> Run {
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    bnfold(&[&[&"--device" as &dyn AsRef<_>, &"cpu", &"--no-sync", &"--input", &zoo, &"--output", &out], more].concat())
}

/// An observer that keeps what it is told.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<usize, Outcome>>);

impl Seen {
    /// The outcomes in the order of the tasks.
    fn outcomes(self) -> Vec<Outcome> {
        self.0.into_inner().unwrap().into_values().collect()
    }
}

impl Observer for Seen {
    fn begin(&self, _: usize) {}

    fn advance(&self, _: usize, _: u64) {}

    fn end(&self, task: usize, outcome: Outcome) {
        self.0.lock().unwrap().insert(task, outcome);
    }
}

/// Every file below `root`: its path and its bytes. What is not a file or a folder fails the test.
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    for entry in entries.filter(|entry| !entry.file_type().is_dir()) {
        assert!(entry.file_type().is_file(), "{} is a link or worse", entry.path().display());
        let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        files.insert(name, std::fs::read(entry.path()).unwrap());
    }
    files
}

/// The names alone.
fn names(root: &Path) -> Vec<String> {
    tree(root).into_keys().collect()
}

pub fn make_folders(folder: &Folder, names: &[&str]) {
    names.iter().for_each(|name| std::fs::create_dir_all(folder.path(name)).unwrap());
}
