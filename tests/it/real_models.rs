//! Networks that others trained: MobileNetV2 (torchvision) and EfficientNet-Lite0.
//!
//! In: `target/models/`, which `scripts/fetch_models.py` fills (as `scripts/test.sh` does). Out: every norm is folded, by
//! the planner alone, and every number is as near to exact arithmetic as is promised, for both styles and both devices.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::fixture::{Folder, bnfold};

struct Network {
    file: &'static str,
    eps: &'static str,
    norms: usize,
}

const MOBILENET_V2: Network = Network { file: "mobilenet_v2.safetensors", eps: "1e-5", norms: 52 };
const EFFICIENTNET_LITE0: Network = Network { file: "efficientnet_lite0.safetensors", eps: "1e-3", norms: 49 };

fn path(network: &Network) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models").join(network.file);
    assert!(path.exists(), "{} is missing: run scripts/fetch_models.py", path.display());
    path
}

/// All F32 tensors of a file, widened.
fn tensors(path: &Path) -> HashMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32).map(|(name, view)| {
        let values = view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        (name.to_owned(), values.collect())
    });
    floats.collect()
}

/// Gap between neighbouring f32 at `value`.
fn ulp(value: f64) -> f64 {
    let near = (value.abs() as f32).max(f32::MIN_POSITIVE);
    let power = f32::from_bits(near.to_bits() & 0x7f80_0000);
    f64::from(power) * 2f64.powi(-23)
}

/// Pairs of norm and weight, as the program plans them.
fn pairs(network: &Network) -> Vec<(String, String)> {
    let plan = bnfold(&[&"plan", &"--input", &path(network), &"--eps", &network.eps, &"--format", &"json"]);
    let plan = plan.expect(0).json();
    let layers = plan["layers"].as_array().unwrap();
    assert_eq!(layers.len(), network.norms);
    let name =
        |layer: &serde_json::Value, key: &str| layer[key].as_str().unwrap_or_else(|| panic!("{layer}")).to_owned();
    layers.iter().map(|layer| (name(layer, "norm"), name(layer, "weight"))).collect()
}

/// Folds and checks one network in one style; returns the output's bytes.
fn check(network: &Network, style: &str, device: &str) -> Vec<u8> {
    let folder = Folder::new();
    let output = folder.path(network.file);
    let run = bnfold(&[
        &"--input",
        &path(network),
        &"--output",
        &output,
        &"--eps",
        &network.eps,
        &"--style",
        &style,
        &"--device",
        &device,
        &"--format",
        &"json",
        &"--strict",
    ]);
    let report = run.expect(0).json();
    assert_eq!(report["layers"]["folded"], network.norms);
    assert_eq!(report["device"], device);
    let (before, after) = (tensors(&path(network)), tensors(&output));
    let eps = network.eps.parse::<f64>().unwrap();
    for (norm, weight) in pairs(network) {
        check_layer(&before, &after, &norm, &weight, style, eps);
    }
    std::fs::read(output).unwrap()
}

/// Every layer of both networks is a convolution of PyTorch's: output channels first, no bias of its own.
fn check_layer(
    before: &HashMap<String, Vec<f64>>,
    after: &HashMap<String, Vec<f64>>,
    norm: &str,
    weight: &str,
    style: &str,
    eps: f64,
) {
    let of = |name: &str| &before[&format!("{norm}.{name}")];
    let (gamma, beta, mean, var) = (of("weight"), of("bias"), of("running_mean"), of("running_var"));
    let bias = weight.replace(".weight", ".bias");
    assert!(!before.contains_key(&bias), "test file is broken: {bias} exists");
    let shift = if style == "strip" { &after[&bias] } else { &after[&format!("{norm}.bias")] };
    assert_eq!(style == "strip", !after.contains_key(&format!("{norm}.running_var")));
    let inner = before[weight].len() / gamma.len();
    for channel in 0..gamma.len() {
        let scale = gamma[channel] / (var[channel] + eps).sqrt();
        for index in channel * inner..(channel + 1) * inner {
            let exact = before[weight][index] * scale;
            let error = (after[weight][index] - exact).abs() / ulp(exact);
            assert!(error <= 1.5, "{weight}[{index}]: {} instead of {exact}, {error} ulp", after[weight][index]);
        }
        let exact = beta[channel] - mean[channel] * scale;
        let error = (shift[channel] - exact).abs() / ulp(beta[channel].abs().max((mean[channel] * scale).abs()));
        assert!(error <= 2.0, "{bias}[{channel}]: {} instead of {exact}, {error} ulp", shift[channel]);
    }
}

fn check_all(network: &Network) {
    for style in ["strip", "drop-in"] {
        let cpu = check(network, style, "cpu");
        #[cfg(feature = "gpu")]
        assert!(cpu == check(network, style, "gpu"), "{} {style}: the GPU wrote other bytes", network.file);
        assert!(!cpu.is_empty());
    }
}

#[test]
fn mobilenet_v2_is_folded_whole_and_exactly() {
    let variances = tensors(&path(&MOBILENET_V2));
    let denormal = variances
        .iter()
        .filter(|(name, _)| name.ends_with("running_var"))
        .flat_map(|(_, values)| values)
        .filter(|&&var| var > 0.0 && var < f64::from(f32::MIN_POSITIVE))
        .count();
    assert_eq!(denormal, 24, "test file is broken: its denormal variances are part of the test");
    check_all(&MOBILENET_V2);
}

#[test]
fn efficientnet_lite0_is_folded_whole_and_exactly() {
    check_all(&EFFICIENTNET_LITE0);
}
