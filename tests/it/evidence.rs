//! What values say about pairs: confirm, contradict, decide.
//!
//! In: twins (networks of equal names and shapes whose norms stand in different places, trained by
//! `scripts/train_twins.py`), and checkpoints made to order. Out: what is planned.

use std::path::{Path, PathBuf};

use bnfold_gpu::checkpoint::{Checkpoint, Float};
use bnfold_gpu::plan::{EvidenceLevel, PlanSettings};
use safetensors::Dtype;
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
    for (name, norms, blind, foldable, reason) in [
        ("conv-norm-relu", 3, 3, true, ""),
        ("conv-relu-norm", 3, 3, false, "an activation stands before"),
        ("conv-pool-norm", 3, 3, false, "a pool or an activation stands between"),
        // Several pairs of one width: names alone do not tell which side of its layer a norm stands on.
        ("post-activation", 6, 0, true, ""),
        ("pre-activation", 6, 0, false, "values contradict it: the running statistics of"),
    ] {
        assert_eq!(folds(&plan(&twin(name), "none")).len(), blind, "{name}: names alone");
        let layers = plan(&twin(name), "auto");
        assert_eq!(layers.len(), norms, "{name}: test file is broken");
        let twins =
            folds(&layers).iter().filter(|(norm, weight)| norm.replace("bn", "conv") + ".weight" == *weight).count();
        assert_eq!((folds(&layers).len(), twins), if foldable { (norms, norms) } else { (0, 0) }, "{name}");
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
/// out. Inputs are not alike: variances follow row norms in part.
fn layer(numbers: &mut Numbers) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    layer_of(numbers, 0.01)
}

/// The same for inputs of which the least varied deviates by that part of the most varied.
fn layer_of(numbers: &mut Numbers, least: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let input_means = numbers.many(40, 2.0, 4.0);
    let (mut weight, mut mean, mut var) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..64 {
        let scale = numbers.between(0.3, 2.0);
        let row = numbers.many(40, -scale, scale);
        mean.push(row.iter().zip(&input_means).map(|(w, m)| w * m).sum());
        let input_variance = numbers.between(least, 1.0).powi(2);
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
        // A layer with a bias is given to a norm only if its rows all but tell the variances.
        let (weight, mut mean, var) = layer_of(&mut numbers, if name == "b" { 0.8 } else { 0.01 });
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
    assert!(folds(&plan(&path, "none")).is_empty(), "names tell nothing");
    let layers = plan(&path, "auto");
    assert_eq!(folds(&plan(&path, "full")), folds(&layers));
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

/// Adds a square convolution under `scope`, whose norm has the statistics of its rows or of its columns.
fn with_square(model: Model, numbers: &mut Numbers, scope: &str, channels: usize, columns: bool) -> Model {
    let input_means = numbers.many(channels, 2.0, 4.0);
    let scales = numbers.many(channels, 0.3, 2.0);
    let mut weight = vec![0.0; channels * channels * 9];
    let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
    for (index, w) in weight.iter_mut().enumerate() {
        let (row, column) = (index / (channels * 9), index / 9 % channels);
        let (output, input) = if columns { (column, row) } else { (row, column) };
        *w = numbers.between(-scales[output], scales[output]);
        mean[output] += *w * input_means[input];
        var[output] += *w * *w;
    }
    let shape = [channels, channels, 3, 3];
    let (gamma, beta) = (vec![1.0; channels], vec![0.0; channels]);
    let model = model.floats(&format!("{scope}.conv.weight"), Float::F32, &shape, &weight);
    model.norm(&format!("{scope}.bn"), Float::F32, &gamma, &beta, &mean, &var)
}

/// Such a convolution of 64 channels behind a stem.
fn square(columns: bool) -> Model {
    let mut numbers = Numbers::new(21);
    let first = numbers.many(64 * 27, -1.0, 1.0);
    let stem = Model::new().floats("stem.conv.weight", Float::F32, &[64, 3, 3, 3], &first).norm(
        "stem.bn",
        Float::F32,
        &[1.0; 64],
        &[0.0; 64],
        &numbers.many(64, -1.0, 1.0),
        &numbers.many(64, 0.5, 2.0),
    );
    with_square(stem, &mut numbers, "block", 64, columns)
}

#[test]
fn a_square_weight_whose_columns_go_with_the_norm_is_refused() {
    let folder = Folder::new();
    let (rows, columns) =
        (folder.file("rows.safetensors", &square(false)), folder.file("columns.safetensors", &square(true)));
    for path in [&rows, &columns] {
        assert_eq!(folds(&plan(path, "none")).len(), 2, "test file is broken: names alone fold both");
    }
    assert_eq!(folds(&plan(&rows, "auto")).len(), 2);
    let layers = plan(&columns, "auto");
    assert_eq!(folds(&layers), [("stem.bn".to_owned(), "stem.conv.weight".to_owned())]);
    assert!(reasons(&layers)[0].contains("follow `block.conv.weight` as a conv_transpose"), "{layers:?}");
}

/// Units of one name, of which the last ones are on the way up; with few channels, and with so many that only some rows are
/// read at first.
#[test]
fn of_alike_square_weights_the_transposed_ones_are_refused() {
    let folder = Folder::new();
    for channels in [16, 80] {
        let mut numbers = Numbers::new(23);
        let units = (0..10).map(|unit| (format!("unit{unit}"), unit >= 8)).collect::<Vec<_>>();
        let model = units
            .iter()
            .fold(Model::new(), |model, (scope, columns)| with_square(model, &mut numbers, scope, channels, *columns));
        let path = folder.file(&format!("{channels}.safetensors"), &model);
        assert_eq!(folds(&plan(&path, "none")).len(), 10, "test file is broken: names alone fold all");
        for evidence in ["auto", "full"] {
            let layers = plan(&path, evidence);
            let expected = units.iter().filter(|(_, columns)| !columns);
            let expected = expected.map(|(unit, _)| (format!("{unit}.bn"), format!("{unit}.conv.weight")));
            assert_eq!(folds(&layers), expected.collect::<Vec<_>>(), "{channels} {evidence}");
            for reason in reasons(&layers) {
                assert!(reason.contains("as a conv_transpose (row sums"), "{reason}");
            }
        }
    }
}

/// Blocks of two layers with a bias and a norm of their width, and what the norm's statistics follow.
fn blocks(fed_by: &[&str]) -> Model {
    let mut numbers = Numbers::new(41);
    (0..4).fold(Model::new(), |mut model, block| {
        let (mut mean, mut var) = (vec![0.0; 64], vec![0.0; 64]);
        for name in ["first", "second"] {
            let (weight, own_mean, own_var) = layer(&mut numbers);
            let (module, bias) = (format!("blocks.{block}.{name}"), numbers.many(64, -3.0, 3.0));
            model = model.floats(&format!("{module}.weight"), Float::F32, &[64, 40, 1, 1], &weight);
            model = model.floats(&format!("{module}.bias"), Float::F32, &[64], &bias);
            if fed_by.contains(&name) {
                for c in 0..64 {
                    mean[c] += own_mean[c] + bias[c];
                    var[c] += own_var[c];
                }
            }
        }
        if fed_by.is_empty() {
            (mean, var) = (numbers.many(64, -1.0, 1.0), numbers.many(64, 0.5, 2.0));
        }
        model.norm(&format!("blocks.{block}.norm"), Float::F32, &[1.0; 64], &[0.0; 64], &mean, &var)
    })
}

#[test]
fn of_several_weights_values_choose_the_one_that_feeds_the_norm() {
    let folder = Folder::new();
    for fed_by in [&["first"][..], &["second"], &["first", "second"], &[]] {
        let path = folder.file("m.safetensors", &blocks(fed_by));
        let blind = plan(&path, "none");
        assert!(folds(&blind).is_empty(), "test file is broken: {blind:?}");
        for evidence in ["auto", "full"] {
            let found = folds(&plan(&path, evidence));
            let expected = (0..4).filter(|_| fed_by.len() == 1);
            let expected = expected.map(|n| (format!("blocks.{n}.norm"), format!("blocks.{n}.{}.weight", fed_by[0])));
            assert_eq!(found, expected.collect::<Vec<_>>(), "{fed_by:?} {evidence}");
        }
    }
}

/// Units that narrow their channels, all of one name, of which only the last one's middle layer is transposed.
#[test]
fn the_kind_of_a_convolution_is_asked_of_each_by_itself() {
    let folder = Folder::new();
    for (few, seen) in [(4, false), (12, false), (40, true)] {
        let mut numbers = Numbers::new(51);
        let units = [48, 40, 32, few].into_iter().enumerate();
        let model = units.fold(Model::new(), |model, (unit, channels)| {
            let model = with_square(model, &mut numbers, &format!("up.{unit}.conv2"), channels, unit == 3);
            let mut point = |number: usize, outputs: usize, inputs: usize| {
                let name = format!("up.{unit}.conv{number}.conv.weight");
                Model::new().floats(
                    &name,
                    Float::F32,
                    &[outputs, inputs, 1, 1],
                    &numbers.many(outputs * inputs, -1.0, 1.0),
                )
            };
            let (first, last) = (point(1, channels, 4 * channels), point(3, 2 * channels, channels));
            Model::merged([model, first, last])
        });
        let path = folder.file("m.safetensors", &model);
        assert!(folds(&plan(&path, "none")).is_empty(), "names do not tell");
        for evidence in ["auto", "full"] {
            let layers = plan(&path, evidence);
            let op = |unit: usize| {
                let norm = format!("up.{unit}.conv2.bn");
                layers.iter().find(|layer| layer["norm"] == norm).unwrap()["op"].as_str().map(str::to_owned)
            };
            assert_eq!([0, 1, 2].map(op), [(); 3].map(|()| Some("conv".to_owned())), "{few} {evidence}");
            let expected = seen.then(|| "conv_transpose".to_owned());
            let last = op(3);
            assert!(last.is_none() || last == Some("conv_transpose".to_owned()), "{few} {evidence}: {last:?}");
            assert!(!seen || last == expected, "{few} {evidence}: {last:?}");
        }
    }
}

/// A layer with a bias and no kernel, as PyTorch and as Keras store it, whose output another norm's is added to.
#[test]
fn a_sum_with_another_norms_output_is_refused_in_every_layout() {
    let folder = Folder::new();
    for keras in [false, true] {
        for summed in [false, true] {
            let mut numbers = Numbers::new(61);
            let (weight, mut mean, mut var) = layer(&mut numbers);
            let (other_mean, other_var) = (numbers.many(64, -12.0, 12.0), numbers.many(64, 0.1, 3.0));
            if summed {
                mean.iter_mut().zip(&other_mean).for_each(|(mean, other)| *mean += other);
                var.iter_mut().zip(&other_var).for_each(|(var, other)| *var += other);
            }
            let columns =
                (0..40).flat_map(|i| (0..64).map(move |o| o * 40 + i)).map(|at| weight[at]).collect::<Vec<_>>();
            let model = match keras {
                false => Model::new().floats("proj_conv.weight", Float::F32, &[64, 40, 1, 1], &weight),
                true => Model::new().floats("proj_conv/kernel:0", Float::F32, &[1, 1, 40, 64], &columns),
            };
            let bias = if keras { "proj_conv/bias:0" } else { "proj_conv.bias" };
            let mut model = model.floats(bias, Float::F32, &[64], &[0.0; 64]);
            for (norm, mean, var) in [("other_bn", &other_mean, &other_var), ("proj_bn", &mean, &var)] {
                model = match keras {
                    false => model.norm(norm, Float::F32, &[1.0; 64], &[0.0; 64], mean, var),
                    true => [
                        ("gamma", &vec![1.0; 64]),
                        ("beta", &vec![0.0; 64]),
                        ("moving_mean", mean),
                        ("moving_variance", var),
                    ]
                    .into_iter()
                    .fold(model, |model, (part, values)| {
                        model.floats(&format!("{norm}/{part}:0"), Float::F32, &[64], values)
                    }),
                };
            }
            let layers = plan(&folder.file("m.safetensors", &model), "auto");
            let folded = folds(&layers).iter().any(|(norm, _)| norm == "proj_bn");
            assert_eq!(folded, !summed, "keras: {keras}, summed: {summed}: {layers:?}");
        }
    }
}

/// Two heads, each a convolution and its norm; `tied`: with one weight, stored twice; `copy`: with one norm, too.
fn heads(tied: bool, copy: bool) -> Model {
    let mut numbers = Numbers::new(31);
    let weight = numbers.many(64 * 40, -1.0, 1.0);
    let other = if tied { weight.clone() } else { numbers.many(64 * 40, -1.0, 1.0) };
    let mut norm = || (numbers.many(64, -1.0, 1.0), numbers.many(64, 0.5, 2.0));
    let first = norm();
    let second = if copy { first.clone() } else { norm() };
    Model::new()
        .floats("heads.0.conv.weight", Float::F32, &[64, 40, 1, 1], &weight)
        .norm("heads.0.bn", Float::F32, &[1.0; 64], &[0.0; 64], &first.0, &first.1)
        .floats("heads.1.conv.weight", Float::F32, &[64, 40, 1, 1], &other)
        .norm("heads.1.bn", Float::F32, &[1.0; 64], &[0.0; 64], &second.0, &second.1)
}

#[test]
fn one_weight_under_two_names_is_shared() {
    let folder = Folder::new();
    for (name, tied, copy, expected) in [("two", false, false, 2), ("one", true, false, 0), ("twice", true, true, 2)] {
        let path = folder.file(&format!("{name}.safetensors"), &heads(tied, copy));
        let layers = plan(&path, "auto");
        assert_eq!(folds(&layers).len(), expected, "{name}: {layers:?}");
        for reason in reasons(&layers) {
            assert!(reason.contains("hold the same values"), "{reason}");
        }
    }
}

/// What values refuse by the sample, all of them must not assign again.
#[test]
fn a_weight_that_is_stored_twice_is_assigned_to_no_norm() {
    let folder = Folder::new();
    for (name, tied, expected) in [("two", false, 1), ("one", true, 0)] {
        let mut numbers = Numbers::new(32);
        let weight = numbers.many(64 * 40, -1.0, 1.0);
        let other = if tied { weight.clone() } else { numbers.many(64 * 40, -1.0, 1.0) };
        let mean = weight.chunks(40).map(|row| row.iter().sum::<f64>()).collect::<Vec<_>>();
        let var = weight.chunks(40).map(|row| row.iter().map(|x| x * x).sum::<f64>()).collect::<Vec<_>>();
        let model = Model::new()
            .floats("conv1.weight", Float::F32, &[64, 40, 1, 1], &weight)
            .floats("conv2.weight", Float::F32, &[64, 40, 1, 1], &other)
            .norm("bn1", Float::F32, &[1.0; 64], &[0.0; 64], &mean, &var);
        let path = folder.file(&format!("{name}.safetensors"), &model);
        for level in ["auto", "full"] {
            let layers = plan(&path, level);
            assert_eq!(folds(&layers).len(), expected, "{name}, {level}: {layers:?}");
        }
    }
}

/// Behind a GELU or a SiLU most norms have some mean that is a little negative; one that has none speaks for all.
#[test]
fn an_activation_before_one_norm_stands_before_all_that_are_alike() {
    let folder = Folder::new();
    for (name, second, expected) in [("none", -1.0, 2), ("one", 0.1, 0)] {
        let mut numbers = Numbers::new(33);
        let mut unit = |model: Model, name: &str, lowest: f64| {
            let mean = numbers.many(32, lowest, 1.0);
            let (weight, var) = (numbers.many(32 * 20, -1.0, 1.0), numbers.many(32, 0.5, 2.0));
            model.floats(&format!("{name}.conv.weight"), Float::F32, &[32, 20, 1, 1], &weight).norm(
                &format!("{name}.bn"),
                Float::F32,
                &[1.0; 32],
                &[0.0; 32],
                &mean,
                &var,
            )
        };
        let model = unit(Model::new(), "units.0", -1.0);
        let layers = plan(&folder.file(&format!("{name}.safetensors"), &unit(model, "units.1", second)), "auto");
        assert_eq!(folds(&layers).len(), expected, "{name}: {layers:?}");
        if expected == 0 {
            let reasons = reasons(&layers);
            assert!(reasons.iter().any(|reason| reason.contains("none of its 32 running means is negative")));
            assert!(reasons.iter().any(|reason| reason.contains("and so before all norms of its kind")));
        }
    }
}

/// A bias warns of something between layer and norm, and a tanh there keeps the order of all means and variances: values
/// outweigh the warning only where they are too large for that.
#[test]
fn a_layer_with_a_bias_is_folded_only_where_no_tanh_can_stand_behind_it() {
    let folder = Folder::new();
    for (name, size, expected) in [("large", 1.0, 1), ("small", 0.05, 0)] {
        let mut numbers = Numbers::new(34);
        let (weight, bias) = (numbers.many(64 * 40, -1.0, 1.0), numbers.many(64, -0.1, 0.1));
        let sums = weight.chunks(40).zip(&bias).map(|(row, bias)| size * row.iter().sum::<f64>() + bias);
        let var = weight.chunks(40).map(|row| size * size * row.iter().map(|x| x * x).sum::<f64>());
        let (mean, var) = (sums.collect::<Vec<_>>(), var.collect::<Vec<_>>());
        assert_eq!(mean.iter().zip(&var).all(|(mean, var)| mean * mean + var <= 1.0), expected == 0, "test is broken");
        let model = Model::new()
            .floats("fc1.weight", Float::F32, &[64, 40], &weight)
            .floats("fc1.bias", Float::F32, &[64], &bias)
            .norm("bn1", Float::F32, &[1.0; 64], &[0.0; 64], &mean, &var);
        let path = folder.file(&format!("{name}.safetensors"), &model);
        let layers = plan(&path, "auto");
        assert_eq!(folds(&layers).len(), expected, "{name}: {layers:?}");
        assert!(reasons(&layers).iter().all(|reason| reason.contains("has a bias")), "{layers:?}");
    }
}

#[test]
fn a_grouped_weight_that_looks_transposed_twice_over_is_left_open() {
    let folder = Folder::new();
    for (name, kernel, expected) in [("up", 4, 1), ("up", 3, 2), ("mix", 4, 2)] {
        let ones = [1.0; 32];
        let model = Model::new()
            .floats("conv1.weight", Float::F32, &[32, 3, 3, 3], &[0.5; 32 * 27])
            .norm("bn1", Float::F32, &ones, &[0.0; 32], &ones, &ones)
            .floats(&format!("{name}.weight"), Float::F32, &[32, 8, kernel, kernel], &vec![0.5; 256 * kernel * kernel])
            .norm("bn2", Float::F32, &ones, &[0.0; 32], &ones, &ones);
        let layers = plan(&folder.file("m.safetensors", &model), "none");
        assert_eq!(folds(&layers).len(), expected, "{name}, {kernel}: {layers:?}");
    }
}

#[test]
fn a_plan_does_not_depend_on_the_number_of_threads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let real = root.join("target/models/mobilenet_v2.safetensors");
    for path in [real, twin("post-activation"), twin("pre-activation"), twin("conv-pool-norm")] {
        let checkpoint = Checkpoint::open(&path).expect("target/models is filled by scripts/fetch_models.py");
        for evidence in [EvidenceLevel::Auto, EvidenceLevel::Full] {
            let plan = |threads| {
                let settings = PlanSettings { evidence, threads, ..PlanSettings::default() };
                bnfold_gpu::plan::plan(&checkpoint, &settings, None).unwrap().plan
            };
            let alone = plan(1);
            assert!(!alone.layers.is_empty());
            for threads in [0, 2, 5] {
                assert_eq!(plan(threads), alone, "{} with {threads} threads", path.display());
            }
        }
    }
}

/// A norm that names leave open, beside one weight of so many inputs that holds nothing but zeros.
fn open_norm(inputs: usize) -> Model {
    let mut numbers = Numbers::new(3);
    let (mean, var) = (numbers.many(64, -1.0, 1.0), numbers.many(64, 0.5, 2.0));
    let model = Model::new().raw("a.weight", Dtype::F32, &[64, inputs, 1, 1], &vec![0; 256 * inputs]);
    // Beside a single weight names would pair it.
    let model = model.floats("b.weight", Float::F32, &[3, 5, 1, 1], &[1.0; 15]);
    model.norm("p", Float::F32, &[1.0; 64], &[0.0; 64], &mean, &var)
}

#[test]
fn norms_beyond_the_budget_are_counted() {
    let folder = Folder::new();
    let words = "values may settle 1 norm more";
    for (inputs, expected) in [(1000, false), (270_000, true)] {
        let path = folder.file("open.safetensors", &open_norm(inputs));
        let auto = bnfold(&[&"plan", &"--input", &path]).expect(0).stderr;
        assert_eq!(auto.contains(words), expected, "{inputs}: {auto}");
        assert_eq!(auto.contains("--evidence full reads them"), expected, "{inputs}: {auto}");
    }
    let full =
        bnfold(&[&"plan", &"--input", &folder.path("open.safetensors"), &"--evidence", &"full"]).expect(0).stderr;
    assert!(!full.contains(words), "{full}");
}

#[test]
fn averages_that_share_the_statistics_are_warned_of() {
    let folder = Folder::new();
    let gamma = vec![1.0; 8];
    let model = Model::conv_bn();
    let alone = bnfold(&[&"plan", &"--input", &folder.file("alone.safetensors", &model)]).expect(0).stderr;
    assert!(!alone.contains("running statistics"), "{alone}");
    let model = model.floats("ema.bn.weight", Float::F32, &[8], &gamma);
    let both = bnfold(&[&"plan", &"--input", &folder.file("both.safetensors", &model)]).expect(0).stderr;
    assert!(both.contains("`ema` repeats the parameters of the norms without running statistics"), "{both}");
}
