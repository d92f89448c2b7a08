//! 3 FOLD: every folded number against an exact one, and every number that is not folded against itself.
//!
//! In: every layout in every mix of element types of weight, bias and norm; files with tensors that must not be touched.
//! Out: errors in ulp, within bounds that `case.rs` derives; equal bytes.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Engine;
use bnfold_gpu::fold::Style;
use safetensors::Dtype;

use crate::arithmetic::{EPS, fold_everywhere};
use crate::case::Case;
use crate::fixture::{Folder, Model};
use crate::layers::{KINDS, Layer, Layout};
use crate::library::{How, Tensors, USUAL, engines, fold, line, write_plan};

/// Every layout that `wanted` accepts, plain, depthwise and grouped, times every mix of element types. Which of gamma and
/// beta are there, and eps, go through their values in step.
fn every_mix(wanted: impl Fn(Layout) -> bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for &(layout, rank) in KINDS.iter().filter(|(layout, _)| wanted(*layout)) {
        let sizes: &[(usize, usize, usize)] = match layout {
            Layout::KerasDepthwise => &[(3, 1, 2)],
            _ if layout.may_be_grouped() => &[(1, 2, 3), (3, 1, 1), (2, 3, 2)],
            _ => &[(1, 3, 4)],
        };
        for &(groups, inputs, outputs) in sizes {
            for weight in Float::ALL {
                for bias in Float::ALL.map(Some).into_iter().chain([None]) {
                    for norm in Float::ALL {
                        let n = cases.len();
                        let flax = matches!(layout, Layout::FlaxConv | Layout::FlaxDense);
                        cases.push(Case {
                            prefix: format!("l{n}"),
                            layer: Layer { layout, kernel: [2, 3, 2][..rank].to_vec(), groups, inputs, outputs },
                            weight,
                            bias,
                            norm,
                            has_gamma: n % 3 > 0,
                            has_beta: n % 4 > 0 || flax,
                            eps: EPS[n % EPS.len()],
                            seed: n as u64,
                        });
                    }
                }
            }
        }
    }
    assert!(cases.len() >= 80, "test is broken: {} cases", cases.len());
    cases
}

fn check_every_mix(wanted: impl Fn(Layout) -> bool) {
    let cases = every_mix(wanted);
    fold_everywhere(&cases, &mut engines(), |original, folded, style| {
        for case in &cases {
            case.check_tensors(original, folded, style);
            case.check_elements(original, folded, style);
        }
    });
}

#[test]
fn every_pytorch_number_is_exact_in_every_mix_of_types() {
    check_every_mix(|l| matches!(l, Layout::TorchConv | Layout::TorchConvTranspose | Layout::TorchLinear));
}

#[test]
fn every_keras_number_is_exact_in_every_mix_of_types() {
    use Layout::*;
    check_every_mix(|l| matches!(l, KerasConv | KerasConvTranspose | KerasDepthwise | KerasDense));
}

#[test]
fn every_flax_number_is_exact_in_every_mix_of_types() {
    check_every_mix(|l| matches!(l, Layout::FlaxConv | Layout::FlaxDense));
}

#[test]
fn every_mlx_number_is_exact_in_every_mix_of_types() {
    check_every_mix(|l| matches!(l, Layout::MlxConv | Layout::MlxConvTranspose | Layout::MlxLinear));
}

/// Bias, mean and beta of one sign and all near the top of a binade: the sum is three times as large as any of them, so
/// that its rounding alone can take 2 ulp of the largest of the three.
#[test]
fn shift_of_three_addends_of_one_sign_is_not_taken_for_an_error() {
    let channels = 4096;
    let mut numbers = crate::fixture::Numbers::new(7);
    let mut near_two = |sign: f64| numbers.many(channels, 1.9, 2.0).into_iter().map(|x| x * sign).collect::<Vec<_>>();
    let (bias, mean, beta) = (near_two(1.0), near_two(-1.0), near_two(1.0));
    let ones = vec![1.0; channels];
    let model = Model::new()
        .floats("conv.weight", Float::F32, &[channels, 1], &ones)
        .floats("conv.bias", Float::F32, &[channels], &bias)
        .norm("bn", Float::F32, &ones, &beta, &mean, &ones);
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[line("bn", "conv.weight", "linear")]);
    for mut engine in engines() {
        let report = fold(&mut engine, &input, &plan, &folder.path("out.safetensors"), USUAL);
        let report = report.unwrap_or_else(|error| panic!("a right shift was refused: {error}"));
        assert_eq!(report.layers.folded, 1);
    }
}

/// A channel whose scale is subnormal in f32 takes the f64 path; its neighbours must not notice.
#[test]
fn subnormal_scale_changes_no_other_channel_and_keeps_its_digits() {
    let channels = 5;
    let gamma = [1.3, 1e-41, -0.7, 0.0, 2.9];
    let var = [0.3, 2.0, 5.0, 1.0, 0.07];
    let weight = crate::fixture::Numbers::new(3).many(channels * 300, -1e30, 1e30);
    let zeros = vec![0.0; channels];
    let model = Model::new()
        .metadata("format", "tf")
        .floats("conv/kernel", Float::F32, &[3, 4, 25, channels], &weight)
        .floats("bn/gamma", Float::F32, &[channels], &gamma)
        .floats("bn/moving_mean", Float::F32, &[channels], &zeros)
        .floats("bn/moving_variance", Float::F32, &[channels], &var);
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[line("bn", "conv/kernel", "conv")]);
    let original = Tensors::read(&input);
    let (stored, gamma) = (original.get("conv/kernel").values(), original.get("bn/gamma").values());
    let var = original.get("bn/moving_variance").values();
    assert!((gamma[1] as f32).is_subnormal(), "test is broken");
    for verify in [true, false] {
        for mut engine in engines() {
            let (device, output) = (engine.device(), folder.path("out.safetensors"));
            let report = fold(&mut engine, &input, &plan, &output, How { verify, ..USUAL }).unwrap();
            let given_up = report.warnings.iter().find(|warning| warning.code() == "gpu-failed");
            assert_eq!((engine.device(), given_up), (device, None), "verify: {verify}");
            let folded = Tensors::read(&output).get("conv/kernel").values();
            for (index, (got, stored)) in folded.iter().zip(&stored).enumerate() {
                let channel = index % channels;
                let scale = gamma[channel] / (var[channel] + 1e-3f64).sqrt();
                // Exact for the subnormal scale, through f32 for the others, as src/fold/cpu.rs documents.
                let exact = match (scale as f32).is_subnormal() {
                    true => (stored * scale) as f32,
                    false => *stored as f32 * scale as f32,
                };
                assert_eq!(got.to_bits(), f64::from(exact).to_bits(), "{device}, verify {verify}: element {index}");
            }
        }
    }
}

/// What no fold touches is the same bytes, whatever the bytes: NaN payloads, -0.0, integers, types without arithmetic,
/// types without a name, nothing at all.
#[test]
fn everything_else_is_copied_byte_for_byte() {
    let floats = |bits: &[u32]| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<_>>();
    let nans = floats(&[0x7fc0_0001, 0xffa5_a5a5, 0x7f80_0001, 0x8000_0000, 0x7f80_0000, 1]);
    let model = Model::new()
        .metadata("note", "kept")
        .floats("conv.weight", Float::F32, &[2, 1, 1, 1], &[1.0, 2.0])
        .norm("bn", Float::F32, &[1.0; 2], &[0.5; 2], &[0.1; 2], &[2.0; 2])
        .raw("other.nans", Dtype::F32, &[2, 3], &nans)
        .raw("other.halves", Dtype::F16, &[4], &[0x01, 0x7c, 0xff, 0xff, 0x00, 0x80, 0x01, 0x00])
        .raw("other.brain", Dtype::BF16, &[2], &[0x81, 0x7f, 0x00, 0x80])
        .raw("other.doubles", Dtype::F64, &[1], &0x7ff0_0000_dead_beef_u64.to_le_bytes())
        .raw("other.ints", Dtype::I64, &[2], &[0xAB; 16])
        .raw("other.bools", Dtype::BOOL, &[3], &[1, 0, 1])
        .raw("other.fp8", Dtype::F8_E4M3, &[5], &[0x7f, 0xff, 0x80, 0x01, 0x42])
        .raw("other.scalar", Dtype::F32, &[], &floats(&[0x7fc0_1234]))
        .raw("other.empty", Dtype::F32, &[0, 7], &[])
        .raw("other.weight", Dtype::F32, &[2, 0, 3, 3], &[]);
    let folder = Folder::new();
    let (input, plan) = (folder.path("m.safetensors"), folder.path("plan.json"));
    model.write(&input);
    add_unknown_type(&input);
    write_plan(&plan, &[line("bn", "conv.weight", "conv")]);
    let original = raw_tensors(&input);
    let others = || original.iter().filter(|(name, ..)| name.starts_with("other."));
    assert_eq!(others().count(), 11, "test is broken: {original:?}");
    for mut engine in engines() {
        for style in [Style::Strip, Style::DropIn] {
            let output = folder.path("out.safetensors");
            fold(&mut engine, &input, &plan, &output, How { style, ..USUAL }).unwrap();
            let folded = raw_tensors(&output);
            for other in others() {
                assert!(folded.contains(other), "{style:?}: {} is not what it was in {folded:?}", other.0);
            }
            let counter = original.iter().find(|(name, ..)| name == "bn.num_batches_tracked").unwrap();
            assert_eq!(folded.contains(counter), style == Style::DropIn, "{style:?}");
        }
    }
}

/// A kept norm and the layer before it are not touched either, with whatever their tensors hold.
#[test]
fn kept_norms_and_their_layers_are_copied_byte_for_byte() {
    let model = Model::new()
        .floats("conv.weight", Float::F32, &[2, 1, 1, 1], &[f64::NAN, -0.0])
        .floats("conv.bias", Float::F16, &[2], &[f64::INFINITY, 1.0])
        .norm("bn", Float::F32, &[1.0; 2], &[0.5; 2], &[f64::NAN; 2], &[-2.0; 2]);
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[serde_json::json!({"norm": "bn", "action": "keep"})]);
    let output = folder.path("out.safetensors");
    crate::fixture::bnfold(&[&"--input", &input, &"--output", &output, &"--plan", &plan, &"--device", &"cpu"])
        .expect(0);
    assert_eq!(Tensors::read(&input), Tensors::read(&output));
}

/// Rewrites a file by hand so that it ends in a tensor of a type that no library knows.
fn add_unknown_type(path: &std::path::Path) {
    let (mut header, mut data) = split(path);
    header["other.future"] = serde_json::json!({
        "dtype": "Q5_TOMORROW", "shape": [3, 2], "data_offsets": [data.len(), data.len() + 7]
    });
    data.extend([0xDE, 0xAD, 0xBE, 0xEF, 0x00, 0xFF, 0x7F]);
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length, header.as_bytes(), &data].concat()).unwrap();
}

/// Name, type, shape and bytes of every tensor, read without a library, which would refuse unknown types.
fn raw_tensors(path: &std::path::Path) -> Vec<(String, String, String, Vec<u8>)> {
    let (header, data) = split(path);
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let at = |entry: &serde_json::Value, end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
    let read = |(name, entry): (&String, &serde_json::Value)| {
        let bytes = data[at(entry, 0)..at(entry, 1)].to_vec();
        (name.clone(), entry["dtype"].to_string(), entry["shape"].to_string(), bytes)
    };
    entries.map(read).collect()
}

/// Header and data section.
fn split(path: &std::path::Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

#[test]
fn cpu_engine_is_among_the_engines() {
    assert!(engines().iter().any(|engine| matches!(engine, Engine::Cpu)));
    assert_eq!(engines().len(), if cfg!(feature = "gpu") { 2 } else { 1 });
}

/// A channel that training has all but switched off: its scale is nothing in f32, its large weights times the scale are not.
#[test]
fn scales_that_f32_cannot_hold_keep_their_digits() {
    let folder = Folder::new();
    let plan = folder.text("plan.json", crate::fixture::plan(&[("bn", "conv.weight")]));
    for (gamma, weight, float) in [(9.8e-45, 1e38, Float::F32), (9.8e-45, 3e38, Float::Bf16), (1e-39, 2e3, Float::F32)]
    {
        let weights = [weight, -weight / 3.0, 0.0, weight / 7.0];
        let model = crate::fixture::Model::new().floats("conv.weight", float, &[1, 4, 1, 1], &weights).norm(
            "bn",
            Float::F32,
            &[gamma],
            &[0.5],
            &[0.0],
            &[1e4],
        );
        let input = folder.file("m.safetensors", &model);
        let scale = Float::F32.round(gamma) / (1e4 + 1e-5f64).sqrt();
        assert!(!(scale as f32).is_normal() && scale.is_normal(), "test file is broken");
        for more in [&[][..], &[&"--no-verify" as &dyn AsRef<std::ffi::OsStr>]] {
            let arguments = [&[&"--plan" as &dyn AsRef<_>, &plan, &"--force"], more].concat();
            crate::fixture::fold(&input, &arguments).expect(0);
            let result = bnfold_gpu::checkpoint::Checkpoint::open(folder.path("m.folded.safetensors")).unwrap();
            let folded = result.read_f64("conv.weight").unwrap().unwrap();
            let exact = weights.map(|weight| float.round(float.round(weight) * scale));
            assert_eq!(folded, exact, "{gamma:e} {float:?}");
        }
    }
}
