//! `bnfold-gpu info`, and what results say of themselves.
//!
//! In: checkpoints and results of them. Out: their headers in figures; version, style, eps and hashes of results.

use serde_json::{Value, json};

use crate::fixture::{Folder, Model, bnfold, fold};

fn info(path: &std::path::Path) -> Value {
    bnfold(&[&"info", &path, &"--format", &"json"]).expect(0).json()
}

#[test]
fn a_checkpoint_is_described_by_its_header() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn().metadata("format", "pt"));
    let info = info(&input);
    assert_eq!((&info["norms"], &info["weights"], &info["files"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(info["dtypes"]["F32"], json!({"count": 5, "bytes": 4 * (108 + 16)}));
    assert_eq!((&info["dialect"], &info["metadata"]), (&json!("pytorch"), &json!({"format": "pt"})));
    assert_eq!(info["made"], Value::Null);
    let human = bnfold(&[&"info", &input]).expect(0).stdout;
    assert!(
        human.contains("m.safetensors: 6 tensors, ") && human.contains("1 batch norm, 1 weight that could"),
        "{human}"
    );
    bnfold(&[&"info", &folder.path("none"), &input]).error(1, &["none: cannot open"]);
    bnfold(&[&"info"]).error(2, &["<PATH>"]);
}

/// By itself as in a zoo: what is hashed is the original.
#[test]
fn a_result_says_how_it_was_made() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    fold(&input, &[&"--eps", &"1e-3", &"--style", &"drop-in"]).expect(0);
    let result = folder.path("m.folded.safetensors");
    let made = info(&result)["made"].clone();
    assert_eq!(made["version"], env!("CARGO_PKG_VERSION"));
    let sampled = made["source"].as_str().unwrap();
    assert!(sampled.starts_with("sampled:") && sampled.len() == 8 + 64, "{sampled}");
    let figures = &made["figures"];
    assert_eq!((&figures["style"], &figures["folded"], &figures["kept"]), (&json!("drop-in"), &json!(1), &json!(0)));
    assert_eq!(figures["eps"], json!([{"eps": 1e-3, "source": "eps", "norms": 1}]));
    let human = bnfold(&[&"info", &result]).expect(0).stdout;
    for words in [
        "folded by bnfold-gpu ",
        "BLAKE3 of a sample: ",
        "1 of 1 norm folded, style drop-in",
        "eps 1e-3 (eps) for 1 norm",
    ] {
        assert!(human.contains(words), "no {words} in {human}");
    }
    // Every byte of a small file is in the sample.
    let other = folder.file("o.safetensors", &Model::conv_bn_with("conv.weight", 9.0));
    fold(&other, &[&"--eps", &"1e-3", &"--style", &"drop-in"]).expect(0);
    let other = info(&folder.path("o.folded.safetensors"))["made"].clone();
    assert!(other["source"] != made["source"] && other["options"] == made["options"], "{other}");
    // A run over a zoo has to know whether there is anything to do, and hashes all of it.
    let out = folder.path("out");
    let zoo: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--output", &out, &"--eps", &"1e-3", &"--style", &"drop-in"];
    std::fs::create_dir(folder.path("zoo")).unwrap();
    std::fs::copy(&input, folder.path("zoo/m.safetensors")).unwrap();
    bnfold(&[&[&folder.path("zoo") as &dyn AsRef<_>], zoo].concat()).expect(0);
    let whole = info(&folder.path("out/m.safetensors"))["made"].clone();
    assert_eq!(whole["source"], blake3_of_one_file(&std::fs::read(&input).unwrap()));
    assert_eq!(whole["figures"], *figures);
    // Not if it is not wanted, and not where nothing was done.
    fold(&input, &[&"--eps", &"1e-3", &"--no-record", &"--force"]).expect(0);
    assert_eq!((&info(&result)["made"], &info(&result)["metadata"]), (&Value::Null, &json!({})));
}

/// The hash of a checkpoint is that of its files' hashes.
fn blake3_of_one_file(bytes: &[u8]) -> String {
    blake3::hash(blake3::hash(bytes).as_bytes()).to_hex().to_string()
}
