//! Any bytes: folded right in both styles, or refused.
#![no_main]

use bnfold_gpu::{Job, Style};
use bnfold_gpu_fuzz::{file, fold};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let input = file("input.safetensors", bytes);
    for style in [Style::Strip, Style::DropIn] {
        fold(Job::new(&*input).style(style));
    }
});
