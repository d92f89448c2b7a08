//! A header is accepted only if the reference library accepts it.
#![no_main]

use bnfold_gpu::checkpoint::{Checkpoint, HeaderProblem};
use bnfold_gpu::Error;
use bnfold_gpu_fuzz::{file, framed};
use safetensors::SafeTensors;

/// Data that a file may have; more is not written.
const MOST: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    // As many bytes of data as the library finds described, so that headers are not refused for their length alone.
    let described = SafeTensors::read_metadata(&framed(json, &[])).map_or(0, |(_, metadata)| metadata.data_len());
    let bytes = framed(json, &vec![0; described.min(MOST)]);
    let theirs = SafeTensors::deserialize(&bytes);
    match Checkpoint::open(file("header.safetensors", &bytes)) {
        Ok(ours) => {
            let unknown = ours.tensors().values().any(|tensor| tensor.dtype.bits().is_none());
            assert!(theirs.is_ok() || unknown, "accepted, and the library says {:?}", theirs.err());
        }
        Err(Error::Header { problem, .. }) => {
            // Twins, of which the library keeps the last, and more of anything than a model has.
            let stricter = matches!(problem, HeaderProblem::Duplicate { .. }) || problem.to_string().contains("which no model has");
            assert!(theirs.is_err() || stricter, "{problem}, and the library accepts it");
        }
        Err(error) => panic!("{error}"),
    }
});
