//! What the fuzz targets share: a folder in memory, and a small network to put into it.
//!
//! In: bytes that a fuzzer made. Out: files, since the program reads files; nothing of it is opened up for the fuzzer.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bnfold_gpu::{Device, Job, Replace, VerifyReport};

/// A folder that lives as long as the process; in memory where the system has such a place.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
});

/// Writes `bytes` under `name`; returns where.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    std::fs::write(&path, bytes).expect("a temporary folder can be written to");
    path
}

/// A header and data, as a file has them.
pub fn framed(json: &[u8], data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json, data].concat()
}

/// A network of one convolution and its norm, named as a repository names it.
pub fn network() -> PathBuf {
    static BYTES: &[u8] = include_bytes!("seeds/fold/small");
    file("model.safetensors", BYTES)
}

/// Folds on the CPU. What was written must be what verification accepts, and nothing may lie beside it.
pub fn fold(job: Job) -> Option<VerifyReport> {
    let output = FOLDER.path().join("folded.safetensors");
    let job = job.device(Device::Cpu).replace(Replace::Always).sync(false);
    let folded = job.write(&output).ok()?;
    let report = job.verify(&output).expect("a result that was written can be read");
    assert!(report.ok, "{:?}", report.problems);
    assert_eq!(report.folded as u64, folded.layers.folded as u64, "what was folded is found to be");
    Some(report)
}
