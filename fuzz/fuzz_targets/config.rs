//! A `config.json` says what eps is, or does not; the result is right by what it says.
#![no_main]

use bnfold_gpu::Job;
use bnfold_gpu_fuzz::{file, fold, network};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    file("config.json", text);
    fold(Job::new(network()));
});
