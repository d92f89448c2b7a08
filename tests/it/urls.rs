//! URLs where no network is needed.
//!
//! In: a program with or without the feature `cloud`. Out: without it, an error that names the feature; with or without
//! it, no secret in any message.

use crate::fixture::bnfold;
#[cfg(not(feature = "cloud"))]
use crate::fixture::{Folder, Model, fold};

#[cfg(not(feature = "cloud"))]
#[test]
fn a_program_without_object_stores_says_how_to_build_one() {
    let folder = Folder::new();
    let words =
        ["this program was built without object stores; build it with `--features cloud`, or copy the file first"];
    for url in ["s3://b/m.safetensors", "s3://b/zoo", "gs://b/m.safetensors", "az://c/m.safetensors.index.json"] {
        bnfold(&[&"--input", &url, &"--output", &folder.path("out/")]).error(1, &[url, words[0]]);
    }
    bnfold(&[&"plan", &"--input", &"https://h/m.safetensors"]).error(1, &["https://h/m.safetensors", words[0]]);
    let input = folder.file("m.safetensors", &Model::conv_bn());
    fold(&input, &[&"--output", &"s3://b/out.safetensors"]).error(1, &["s3://b/out.safetensors", words[0]]);
    assert_eq!(folder.names(), ["m.safetensors"]);
}

/// No network is needed to refuse it, and none to leave the secret out.
#[test]
fn secrets_of_urls_are_not_shown() {
    let url = "https://user:secret@h.invalid/m.safetensors?sig=secret";
    let run = bnfold(&[&"plan", &"--input", &url]).expect(1);
    assert!(run.stderr.contains("error: https://h.invalid/m.safetensors: "), "{}", run.stderr);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}
