//! A real network, folded and run: the whole pipeline seen from the far end.
//!
//! In:  `tests/data/digits-resnet.safetensors`, trained by `scripts/train_digits.py`, and
//!      `tests/data/digits-test.safetensors`, 360 images it never saw, with PyTorch's logits.
//! Out: the folded files, which a forward pass written here must not be able to tell from the
//!      original. Only the binary is used, as its users would use it.
//!
//! The names that the forward pass asks for and the table [`NORMS`] state the graph a second
//! time, independently of the planner. Change them together with the training script.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{BatchNorm, ModuleT};
use tempfile::TempDir;

/// Every norm of the network, and the layer that feeds it.
const NORMS: [(&str, &str); 12] = [
    ("bn1", "conv1"),
    ("layer1.0.bn1", "layer1.0.conv1"),
    ("layer1.0.bn2", "layer1.0.conv2"),
    ("layer2.0.bn1", "layer2.0.conv1"),
    ("layer2.0.bn2", "layer2.0.conv2"),
    ("layer2.0.downsample.1", "layer2.0.downsample.0"),
    ("layer2.1.bn1", "layer2.1.conv1"),
    ("layer2.1.bn2", "layer2.1.conv2"),
    ("features.1", "features.0"),
    ("features.4", "features.3"),
    ("up.bn", "up.deconv"),
    ("head.1", "head.0"),
];

/// What a PyTorch batch norm stores.
const NORM_TENSORS: [&str; 5] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];

/// PyTorch's default, with which the network was trained.
const EPS: f64 = 1e-5;

/// Images that training did not see, and how many of them the network gets right: what the
/// training script prints.
const HELD_OUT: usize = 360;
const RIGHT: usize = 359;

const CLASSES: usize = 10;

/// The largest difference of two logits, relative to the largest logit. Folding in f32 and
/// adding in another order costs 3e-7; an eps of 1e-6 instead of 1e-5 makes 4e-4.
const TOLERANCE: f32 = 1e-5;

#[test]
fn test_files_are_a_trained_network_whose_every_norm_matters() {
    let net = Net::load(&model());
    let keys = net.keys();
    let norms: BTreeSet<&str> = keys.iter().filter_map(|key| key.strip_suffix(".running_mean")).collect();
    let named: BTreeSet<&str> = NORMS.iter().map(|&(norm, _)| norm).collect();
    assert_eq!(norms, named, "test file is broken: its norms are not those of the table");
    assert!(norms.len() > 10, "test file is broken: few norms");

    let mut variances = Vec::new();
    for (norm, _) in NORMS {
        let some = |name: &str, is_far: fn(f32) -> bool| {
            let stored = values(net.tensor(&format!("{norm}.{name}")));
            assert!(
                stored.iter().any(|&value| is_far(value)),
                "test file is broken: {norm}.{name} is that of an idle norm: {stored:?}"
            );
        };
        some("running_mean", |mean| mean.abs() > 0.1);
        some("weight", |gamma| gamma < 0.8);
        some("bias", |beta| beta.abs() > 0.01);
        variances.extend(values(net.tensor(&format!("{norm}.running_var"))));
    }
    let near_one = variances.iter().filter(|&v| (0.8..1.25).contains(v));
    assert!(
        near_one.count() * 20 < variances.len(),
        "test file is broken: too many variances are close to 1, where their root is too"
    );

    let with_bias = NORMS.iter().filter(|(_, producer)| net.has(&format!("{producer}.bias"))).count();
    assert!(
        (1..NORMS.len()).contains(&with_bias),
        "test file is broken: the producers should be with and without a bias"
    );
    let deconv = net.tensor("up.deconv.weight");
    assert_ne!(
        deconv.dims()[0],
        deconv.dims()[1],
        "test file is broken: the transposed convolution could be a convolution"
    );
}

#[test]
fn forward_pass_of_the_original_reproduces_pytorch() {
    assert_computes_the_same(&Net::load(&model()));
}

#[test]
fn strip_on_the_cpu_leaves_no_norm_and_the_same_logits() {
    let (_folder, folded) = fold(&["--device", "cpu"]);

    let mut expected = Net::load(&model()).keys();
    for (norm, producer) in NORMS {
        for name in NORM_TENSORS {
            let key = format!("{norm}.{name}");
            assert!(expected.remove(&key), "test file is broken: it has no {key}");
        }
        expected.insert(format!("{producer}.bias"));
    }
    let folded = Net::load(&folded);
    assert_eq!(folded.keys(), expected, "keys of the stripped file");
    assert_computes_the_same(&folded);
}

#[cfg(feature = "gpu")]
#[test]
fn strip_on_the_gpu_gives_the_bytes_of_the_cpu_and_the_same_logits() {
    let (_cpu_folder, cpu) = fold(&["--device", "cpu"]);
    let (_gpu_folder, gpu) = fold(&["--device", "gpu"]);

    let cpu = std::fs::read(&cpu).expect("the file of the cpu");
    let gpu_bytes = std::fs::read(&gpu).expect("the file of the gpu");
    let differs = std::iter::zip(&cpu, &gpu_bytes).position(|(a, b)| a != b);
    assert!(
        cpu == gpu_bytes,
        "cpu wrote {} bytes, gpu {}, first difference at byte {differs:?}",
        cpu.len(),
        gpu_bytes.len(),
    );
    assert_computes_the_same(&Net::load(&gpu));
}

#[test]
fn drop_in_keeps_every_key_shape_and_dtype_and_the_same_logits() {
    let (_folder, folded) = fold(&["--device", "cpu", "--style", "drop-in"]);

    let (original, folded) = (Net::load(&model()), Net::load(&folded));
    assert_eq!(folded.layout(), original.layout(), "names, dtypes and shapes of the drop-in file");
    for (_, producer) in NORMS {
        let weight = format!("{producer}.weight");
        // Else a mere copy of the input would pass for a fold.
        assert!(
            values(original.tensor(&weight)) != values(folded.tensor(&weight)),
            "{weight} does not hold the scale of its norm"
        );
    }
    assert_computes_the_same(&folded);
}

#[test]
fn comparison_fails_when_any_one_folded_bias_is_missing() {
    let (_folder, folded) = fold(&["--device", "cpu"]);
    for (_, producer) in NORMS {
        let mut damaged = Net::load(&folded);
        let bias = format!("{producer}.bias");
        let zeros = damaged.tensor(&bias).zeros_like().expect("zeros");
        damaged.0.insert(bias, zeros);
        assert_computes_something_else(&damaged, &format!("{producer} has lost its bias"));
    }
}

#[test]
fn comparison_fails_when_the_fold_used_another_eps() {
    // 1e-3 is the most common mistake, 1e-6 the one that is hardest to see.
    for eps in ["1e-6", "1e-3", "1e-1"] {
        let (_folder, folded) = fold(&["--device", "cpu", "--eps", eps]);
        assert_computes_something_else(&Net::load(&folded), &format!("the fold used an eps of {eps}"));
    }
}

/// Runs the binary on a copy of the model, with its default output beside it.
fn fold(options: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = folder.path().join("digits-resnet.safetensors");
    std::fs::copy(model(), &input).expect("a copy of the model");

    let run = Command::new(env!("CARGO_BIN_EXE_bnfold-gpu"))
        .arg("--input")
        .arg(&input)
        .args(options)
        .output()
        .expect("the binary starts");
    assert!(
        run.status.success(),
        "bnfold-gpu {options:?}: {}\nstdout: {}\nstderr: {}",
        run.status,
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    let output = folder.path().join("digits-resnet.folded.safetensors");
    assert!(output.exists(), "bnfold-gpu {options:?}: no {output:?}");
    (folder, output)
}

fn assert_computes_the_same(net: &Net) {
    let batch = Net::held_out(HELD_OUT);
    let logits = net.forward(batch.tensor("images")).expect("logits");
    assert_eq!(difference(&logits, &batch), None);
    assert_eq!(right(&logits, &batch), RIGHT, "held-out images classified rightly");
}

/// Asserts that the comparison which the other tests rely on can fail, on a few images even.
fn assert_computes_something_else(net: &Net, why: &str) {
    let batch = Net::held_out(HELD_OUT / 10);
    let logits = net.forward(batch.tensor("images")).expect("logits");
    assert!(difference(&logits, &batch).is_some(), "{why}, and yet the logits are those of the original");
}

/// Where the logits are furthest from those that PyTorch computed, if that is too far.
fn difference(logits: &Tensor, batch: &Net) -> Option<String> {
    let expected = batch.tensor("logits");
    assert_eq!(logits.dims(), expected.dims(), "shape of the logits");
    let (got, expected) = (values(logits), values(expected));

    // `total_cmp` puts a NaN above every number, so it is found and not passed over.
    let (index, error) = std::iter::zip(&got, &expected)
        .map(|(got, expected)| (got - expected).abs())
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("logits");
    let largest = expected.iter().fold(0_f32, |max, x| max.max(x.abs()));
    let relative = error / largest;
    let close = relative < TOLERANCE;
    (!close).then(|| {
        format!(
            "logits differ: image {}, class {}: got {}, expected {}, that is {relative:e} of the \
             largest logit {largest}, allowed {TOLERANCE:e}",
            index / CLASSES,
            index % CLASSES,
            got[index],
            expected[index],
        )
    })
}

fn right(logits: &Tensor, batch: &Net) -> usize {
    let labels = batch.tensor("labels").to_vec1::<i64>().expect("labels");
    let predicted = logits.argmax(1).and_then(|classes| classes.to_vec1());
    let predicted: Vec<u32> = predicted.expect("one class an image");
    std::iter::zip(predicted, labels).filter(|&(predicted, label)| i64::from(predicted) == label).count()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 values")
}

/// The network of `scripts/train_digits.py`, whether its norms are there or folded away.
struct Net(HashMap<String, Tensor>);

impl Net {
    fn load(path: &Path) -> Self {
        Self(candle_core::safetensors::load(path, &Device::Cpu).expect("a safetensors file"))
    }

    /// The first images that training did not see, with their labels and PyTorch's logits.
    fn held_out(count: usize) -> Self {
        let all = Self::load(&data("digits-test.safetensors"));
        let first = |tensor: Tensor| tensor.narrow(0, 0, count).expect("enough images");
        let tensors = all.0.into_iter();
        Self(tensors.map(|(key, all)| (key, first(all))).collect())
    }

    fn tensor(&self, key: &str) -> &Tensor {
        let tensor = self.0.get(key);
        tensor.unwrap_or_else(|| unreachable!("the network has no {key}"))
    }

    fn keys(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// Every tensor's dtype and shape.
    fn layout(&self) -> BTreeMap<String, (DType, Vec<usize>)> {
        let describe = |tensor: &Tensor| (tensor.dtype(), tensor.dims().to_vec());
        let tensors = self.0.iter();
        tensors.map(|(key, t)| (key.clone(), describe(t))).collect()
    }

    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.conv("conv1", images, 1)?;
        let x = self.norm("bn1", &x)?.relu()?;
        let x = self.block("layer1.0", &x, 1)?;
        let x = self.block("layer2.0", &x, 2)?;
        let x = self.block("layer2.1", &x, 1)?;

        let x = self.conv("features.0", &x, 1)?;
        let x = self.norm("features.1", &x)?.relu()?;
        let x = self.conv("features.3", &x, 1)?;
        let x = self.norm("features.4", &x)?.relu()?;

        let x = self.deconv("up.deconv", &x)?;
        let x = self.norm("up.bn", &x)?.relu()?;

        let x = x.avg_pool2d(2)?.flatten_from(1)?;
        let x = self.linear("head.0", &x)?;
        let x = self.norm("head.1", &x)?.relu()?;
        self.linear("fc", &x)
    }

    /// A residual block, with a 1x1 convolution in its shortcut where the file has one.
    fn block(&self, name: &str, x: &Tensor, stride: usize) -> Result<Tensor> {
        let y = self.conv(&format!("{name}.conv1"), x, stride)?;
        let y = self.norm(&format!("{name}.bn1"), &y)?.relu()?;
        let y = self.conv(&format!("{name}.conv2"), &y, 1)?;
        let y = self.norm(&format!("{name}.bn2"), &y)?;

        let downsample = format!("{name}.downsample.0");
        if !self.has(&format!("{downsample}.weight")) {
            return (y + x)?.relu();
        }
        let shortcut = self.conv(&downsample, x, stride)?;
        let shortcut = self.norm(&format!("{name}.downsample.1"), &shortcut)?;
        (y + shortcut)?.relu()
    }

    /// 3x3 padded by 1, or 1x1. The groups follow from the shapes.
    fn conv(&self, name: &str, x: &Tensor, stride: usize) -> Result<Tensor> {
        let weight = self.tensor(&format!("{name}.weight"));
        let (_, channels, _, width) = weight.dims4()?;
        let groups = x.dim(1)? / channels;
        self.add_bias(name, &x.conv2d(weight, width / 2, stride, 1, groups)?)
    }

    /// 2x2 with stride 2: twice the size, nothing overlaps.
    fn deconv(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.tensor(&format!("{name}.weight"));
        self.add_bias(name, &x.conv_transpose2d(weight, 0, 0, 2, 1)?)
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.tensor(&format!("{name}.weight"));
        self.add_bias(name, &x.matmul(&weight.t()?)?)
    }

    /// Adds the bias of a layer along axis 1, where the layer has one.
    fn add_bias(&self, name: &str, y: &Tensor) -> Result<Tensor> {
        let key = format!("{name}.bias");
        if !self.has(&key) {
            return Ok(y.clone());
        }
        let mut shape = vec![1; y.rank()];
        shape[1] = y.dim(1)?;
        y.broadcast_add(&self.tensor(&key).reshape(shape)?)
    }

    /// The norm as PyTorch computes it, or nothing at all where the file no longer has it.
    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        if !self.has(&format!("{name}.running_mean")) {
            return Ok(x.clone());
        }
        let stored = |key: &str| self.tensor(&format!("{name}.{key}")).clone();
        BatchNorm::new(x.dim(1)?, stored("running_mean"), stored("running_var"), stored("weight"), stored("bias"), EPS)?
            .forward_t(x, false)
    }
}

fn model() -> PathBuf {
    data("digits-resnet.safetensors")
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
