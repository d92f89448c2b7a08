//! What values say about pairs: confirm, contradict, decide.
//!
//! In: twins (networks of equal names and shapes whose norms stand in different places, trained by
//! `scripts/train_twins.py`), and checkpoints made to order. Out: what is planned.

use std::path::{Path, PathBuf};

use bnfold_gpu::checkpoint::Float;
use serde_json::Value;

use crate::fixture::{Folder, Model, Numbers, bnfold};

fn plan(path: &Path, evidence: &str) -> Vec<Value> {
    let run = bnfold(&[&"plan", &"--quiet", &"--input", &path, &"--evidence", &evidence, &"--format", &"json"]);
    run.expect(0).json()["layers"].as_array().unwrap().clone()
}

fn text(layer: &Value, key: &str) -> String {
    layer[key].as_str().unwrap_or_else(|| panic!("no {key} in {layer}")).to_owned()
}

/// `(norm, weight)` of every fold.
fn folds(layers: &[Value]) -> Vec<(String, String)> {
    let folds = layers.iter().filter(|layer| layer["action"] == "fold");
    folds.map(|layer| (text(layer, "norm"), text(layer, "weight"))).collect()
}

/// The reasons of the norms that stay.
fn reasons(layers: &[Value]) -> Vec<String> {
    layers.iter().filter(|layer| layer["action"] == "keep").map(|layer| text(layer, "reason")).collect()
}

fn twin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/twins").join(format!("{name}.safetensors"))
}

#[test]
fn twins_of_equal_names_are_told_apart() {
    for (name, norms, foldable, reason) in [
        ("conv-norm-relu", 3, true, ""),
        ("conv-relu-norm", 3, false, "an activation stands before"),
        ("conv-pool-norm", 3, false, "a pool or an activation stands between"),
        ("post-activation", 6, true, ""),
        ("pre-activation", 6, false, "values contradict it: the running statistics of"),
    ] {
        let blind = plan(&twin(name), "none");
        assert_eq!(folds(&blind).len(), norms, "{name}: test file is broken: names alone fold everything");
        let layers = plan(&twin(name), "auto");
        assert_eq!(folds(&layers), if foldable { folds(&blind) } else { Vec::new() }, "{name}");
        for layer in layers.iter().filter(|layer| layer["action"] == "fold") {
            assert!(layer["evidence"].to_string().contains("values: row sums follow running means"), "{name}: {layer}");
        }
        for found in reasons(&layers) {
            assert!(found.contains(reason), "{name}: {found}");
        }
    }
}

#[test]
fn values_alone_make_no_wrong_pair_of_what_names_got_wrong() {
    for name in ["conv-relu-norm", "conv-pool-norm", "pre-activation"] {
        for (norm, weight) in folds(&plan(&twin(name), "full")) {
            // `bn2` is `conv1`'s in a block that runs its norms first; 15 channels may be too few to say so.
            let right =
                name == "pre-activation" && norm.ends_with("bn2") && weight == norm.replace("bn2", "conv1.weight");
            assert!(right, "{name}: {norm} <- {weight}");
        }
    }
}

/// A layer with 64 outputs whose rows vary as those of trained layers do, and the mean and variance of what it puts
/// out.
fn layer(numbers: &mut Numbers) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let input_means = numbers.many(40, 2.0, 4.0);
    let (mut weight, mut mean, mut var) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..64 {
        let scale = numbers.between(0.3, 2.0);
        let row = numbers.many(40, -scale, scale);
        mean.push(row.iter().zip(&input_means).map(|(w, m)| w * m).sum());
        // Inputs are not alike: variances follow row norms in part.
        let input_variance = numbers.between(0.01, 1.0).powi(2);
        var.push(row.iter().map(|w| w * w * input_variance).sum());
        weight.extend(row);
    }
    (weight, mean, var)
}

/// Layers `a` and `b` (which has a bias) feed norms `p` and `q`; the sum of layers `c` and `d` feeds norm `r`. Names tell nothing.
fn nameless() -> Model {
    let mut numbers = Numbers::new(11);
    let mut model = Model::new();
    let (mut sum_mean, mut sum_var) = (vec![0.0; 64], vec![0.0; 64]);
    for (name, norm) in [("a", Some("p")), ("b", Some("q")), ("c", None), ("d", None)] {
        let (weight, mut mean, var) = layer(&mut numbers);
        if name == "b" {
            let bias = numbers.many(64, -300.0, 300.0);
            mean.iter_mut().zip(&bias).for_each(|(mean, bias)| *mean += bias);
            model = model.floats("b.bias", Float::F32, &[64], &bias);
        }
        model = model.floats(&format!("{name}.weight"), Float::F32, &[64, 40, 1, 1], &weight);
        if let Some(norm) = norm {
            model = model.norm(norm, Float::F32, &[1.0; 64], &[0.0; 64], &mean, &var);
        } else {
            sum_mean.iter_mut().zip(&mean).for_each(|(sum, mean)| *sum += mean);
            sum_var.iter_mut().zip(&var).for_each(|(sum, var)| *sum += var);
        }
    }
    model.norm("r", Float::F32, &[1.0; 64], &[0.0; 64], &sum_mean, &sum_var)
}

#[test]
fn values_alone_pair_what_names_leave_open_but_no_sum() {
    let folder = Folder::new();
    let path = folder.file("nameless.safetensors", &nameless());
    assert!(folds(&plan(&path, "auto")).is_empty(), "only `full` pairs by values alone");
    let layers = plan(&path, "full");
    let expected = [("p", "a.weight"), ("q", "b.weight")].map(|(norm, weight)| (norm.to_owned(), weight.to_owned()));
    assert_eq!(folds(&layers), expected);
    for layer in layers.iter().filter(|layer| layer["action"] == "fold") {
        assert!(layer["evidence"].to_string().contains("from values alone"), "{layer}");
    }
}

/// Like CREPE: `conv1`, ReLU, `conv1_BN`. `touched`: whether the norm saw data.
fn crepe_like(mean: &[f64], touched: bool) -> Model {
    let mut numbers = Numbers::new(5);
    let weight = numbers.many(16 * 4 * 9, -1.0, 1.0);
    let var = if touched { numbers.many(16, 0.5, 2.0) } else { vec![1.0; 16] };
    Model::new().floats("conv1.weight", Float::F32, &[16, 4, 3, 3], &weight).norm(
        "conv1_BN",
        Float::F32,
        &[1.0; 16],
        &[0.0; 16],
        mean,
        &var,
    )
}

#[test]
fn a_norm_behind_an_activation_is_refused_whatever_its_name() {
    let folder = Folder::new();
    let mut numbers = Numbers::new(6);
    let behind = folder.file("behind.safetensors", &crepe_like(&numbers.many(16, 0.1, 2.0), true));
    assert_eq!(folds(&plan(&behind, "none")).len(), 1, "test file is broken: names alone fold it");
    assert!(reasons(&plan(&behind, "auto"))[0].contains("none of its 16 running means is negative"));
    let fresh = folder.file("fresh.safetensors", &crepe_like(&[0.0; 16], false));
    let layers = plan(&fresh, "auto");
    assert_eq!(folds(&layers).len(), 1, "untouched statistics are no evidence");
    assert!(!layers[0]["evidence"].to_string().contains("values"), "{}", layers[0]);
    assert_eq!(folds(&plan(&fresh, "full")).len(), 1);
}

#[test]
fn statistics_that_are_not_numbers_say_nothing() {
    let folder = Folder::new();
    let path = folder.file("nan.safetensors", &crepe_like(&[f64::NAN; 16], true));
    for evidence in ["auto", "full"] {
        assert_eq!(folds(&plan(&path, evidence)).len(), 1, "the fold itself refuses them, with the channel");
    }
}
