//! URLs where no network is needed.
//!
//! In: a program with or without the features `cloud` and `hub`. Out: without them, an error that names the feature; with or
//! without them, no secret in any message.

use crate::fixture::{Folder, Model, bnfold, fold};

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

#[cfg(not(feature = "hub"))]
#[test]
fn a_program_without_the_hub_says_how_to_build_one_and_how_to_do_without() {
    let words = [
        "hf://org/net@v1: this program was built without the Hugging Face Hub; build it with `--features hub`",
        "`hf download org/net --revision v1`, earlier `huggingface-cli download org/net --revision v1`",
    ];
    bnfold(&[&"--input", &"hf://org/net@v1"]).error(1, &words);
    for command in ["fold", "plan", "info"] {
        bnfold(&[&command, &"hf://org/net@v1"]).error(1, &words);
    }
    bnfold(&[&"verify", &"hf://org/net@v1", &"m.safetensors"]).error(1, &words);
    bnfold(&[&"hf://net"]).error(1, &["hf://net: no repository: expected hf://ORG/NAME or hf://ORG/NAME@REVISION"]);
}

/// A repository is no place for results, whatever this program can fetch.
#[test]
fn nothing_is_written_to_a_repository() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    for output in ["hf://org/net", "hf://org/net/m.safetensors"] {
        fold(&input, &[&"--output", &output]).error(1, &[output, "can be read, not written; pass another --output"]);
    }
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
