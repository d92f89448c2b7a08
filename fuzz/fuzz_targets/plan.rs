//! A plan file is followed, and the result is right, or it is refused.
#![no_main]

use bnfold_gpu::Job;
use bnfold_gpu_fuzz::{file, fold, network};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let plan = file("plan.json", text);
    fold(Job::new(network()).follow(&*plan));
});
