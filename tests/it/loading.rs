//! What docs/loading.md says of candle, and that its table is about its snippets.
//!
//! In: the example in `examples/load_in_candle.rs`, files of both styles. Out: candle computes the same from each. The
//! page's other snippets need their libraries: `scripts/check_loading.py` runs them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Conv2dConfig, VarBuilder, conv2d_no_bias};

use crate::docs::root;
use crate::fixture::{Folder, bnfold};

#[path = "../../examples/load_in_candle.rs"]
mod load_in_candle;
use load_in_candle::{difference, run};

fn original() -> PathBuf {
    root().join("tests/data/digits-resnet.safetensors")
}

fn fold(folder: &Folder, style: &str) -> PathBuf {
    let output = folder.path(&format!("{style}.safetensors"));
    bnfold(&[&"--input", &original(), &"--output", &output, &"--style", &style, &"--device", &"cpu"]).expect(0);
    output
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/loading.md")).unwrap()
}

#[test]
fn candle_computes_the_same_from_files_of_both_styles() {
    let folder = Folder::new();
    let before = run(&original()).unwrap();
    for style in ["strip", "drop-in"] {
        let after = run(&fold(&folder, style)).unwrap();
        let difference = difference(&before, &after).unwrap();
        assert!(difference < 1e-5, "{style}: {difference:e}");
    }
}

/// candle asks for what it wants and never says what else is there.
#[test]
fn candle_does_not_miss_the_new_bias() {
    let folder = Folder::new();
    let weights = std::fs::read(fold(&folder, "strip")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let conv =
        conv2d_no_bias(1, 16, 3, Conv2dConfig { padding: 1, ..Default::default() }, weights.pp("conv1")).unwrap();
    let image = Tensor::ones((1, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let without = conv.forward(&image).unwrap();
    let bias = weights.get(16, "conv1.bias").unwrap().reshape((1, 16, 1, 1)).unwrap();
    let with = without.broadcast_add(&bias).unwrap();
    assert!(difference(&with, &without).unwrap() > 0.01, "the bias matters");
    assert!(candle_nn::batch_norm(16, 1e-5, weights.pp("bn1")).is_err(), "a norm that is gone is missed");
}

#[test]
fn the_rust_on_the_page_is_the_examples() {
    let page = page();
    let (_, rest) = page.split_once("```rust\n").unwrap();
    let example = std::fs::read_to_string(root().join("examples/load_in_candle.rs")).unwrap();
    let (_, printed) = example.split_once("// In docs/loading.md from here on.\n").unwrap();
    assert_eq!(rest.split_once("```").unwrap().0, printed.split_once("// As far as this.\n").unwrap().0);
}

/// The table at the end of the page has a row for every snippet that is run.
#[test]
fn every_snippet_has_its_row() {
    let page = page();
    let named = |after: &str| {
        let names = page.split(after).skip(1).map(|rest| rest.split(" -->").next().unwrap().to_owned());
        names.collect::<BTreeSet<_>>()
    };
    let cases = named("<!-- run: ");
    let (_, table) = page.split_once("| snippet |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.map(|line| line.split('|').nth(1).unwrap().trim().to_owned()).collect::<BTreeSet<_>>();
    assert!(cases.len() > 10, "the test found only {cases:?}");
    assert_eq!(cases, rows);
}
