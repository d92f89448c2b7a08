//! 5 VERIFY: `bnfold-gpu verify` passes what is right, whoever folded it, and finds every planted error.
//!
//! In: a small network, folded by the program or by the test, with one thing changed. Out: the exit code, and on stderr
//! the layer and the tensor or channel that was changed.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use safetensors::Dtype;

use crate::fixture::{Folder, Model, Numbers, Run, bnfold};
use crate::library::{Stored, Tensors, line, write_plan};

/// A network of three layers, one without a bias, one with one and one without a beta; its plan; and two tensors that
/// no fold has to do with.
struct Net {
    folder: Folder,
    original: PathBuf,
    plan: PathBuf,
}

/// Output channels of every layer.
const CHANNELS: usize = 4;

impl Net {
    fn new() -> Net {
        let mut n = Numbers::new(11);
        let mut some = |count: usize| n.many(count, 0.5, 2.5);
        let shape = [CHANNELS, 3, 3, 3];
        let norm = |model: Model, name: &str, some: &mut dyn FnMut(usize) -> Vec<f64>| {
            let (gamma, beta, mean, var) = (some(CHANNELS), some(CHANNELS), some(CHANNELS), some(CHANNELS));
            model.norm(name, Float::F32, &gamma, &beta, &mean, &var)
        };
        let mut model = Model::new().floats("a.conv.weight", Float::F32, &shape, &some(CHANNELS * 27));
        model = norm(model, "a.bn", &mut some);
        model = model.floats("b.conv.weight", Float::F32, &shape, &some(CHANNELS * 27));
        model = model.floats("b.conv.bias", Float::F32, &[CHANNELS], &some(CHANNELS));
        model = norm(model, "b.bn", &mut some);
        model = model
            .floats("c.fc.weight", Float::F32, &[CHANNELS, 6], &some(CHANNELS * 6))
            .floats("c.bn.running_mean", Float::F32, &[CHANNELS], &some(CHANNELS))
            .floats("c.bn.running_var", Float::F32, &[CHANNELS], &some(CHANNELS))
            .floats("head.weight", Float::F32, &[5, CHANNELS], &some(CHANNELS * 5))
            .raw("head.table", Dtype::I64, &[2], &[9; 16]);
        let folder = Folder::new();
        let (original, plan) = (folder.file("original.safetensors", &model), folder.path("plan.json"));
        write_plan(
            &plan,
            &[
                line("a.bn", "a.conv.weight", "conv"),
                line("b.bn", "b.conv.weight", "conv"),
                line("c.bn", "c.fc.weight", "linear"),
            ],
        );
        Net { folder, original, plan }
    }

    fn tensors(&self) -> Tensors {
        Tensors::read(&self.original)
    }

    /// Folds with the program.
    fn fold(&self, style: &str, eps: &str) -> Tensors {
        let output = self.folder.path(&format!("{style}-{eps}.safetensors"));
        bnfold(&[
            &"--input",
            &self.original,
            &"--output",
            &output,
            &"--plan",
            &self.plan,
            &"--style",
            &style,
            &"--eps",
            &eps,
            &"--device",
            &"cpu",
            &"--force",
        ])
        .expect(0);
        Tensors::read(&output)
    }

    /// Verifies `folded` against the original.
    fn verify(&self, folded: &Tensors, eps: &str) -> Run {
        let path = self.folder.file("folded.safetensors", &folded.model());
        bnfold(&[&"verify", &"--original", &self.original, &"--folded", &path, &"--plan", &self.plan, &"--eps", &eps])
    }

    /// Plants an error in a file that was right, and expects it to be found and named.
    #[track_caller]
    fn catches(&self, style: &str, named: &[&str], plant: impl FnOnce(&mut Tensors)) {
        let mut folded = self.fold(style, "1e-5");
        self.verify(&folded, "1e-5").expect(0);
        let right = folded.clone();
        plant(&mut folded);
        assert_ne!(folded, right, "test is broken: nothing was planted");
        self.names(&folded, "1e-5", named);
    }

    #[track_caller]
    fn names(&self, folded: &Tensors, eps: &str, named: &[&str]) {
        let run = self.verify(folded, eps).expect(1);
        let errors = run.stderr.lines().filter(|line| line.starts_with("error:")).collect::<Vec<_>>();
        assert_eq!(errors.len(), 1, "one error was planted: {}", run.stderr);
        for part in named {
            assert!(errors[0].contains(part), "no {part} in: {}", errors[0]);
        }
        assert!(run.stdout.contains("NOT the same network"), "{}", run.stdout);
    }
}

impl Stored {
    /// Changes one f32 of a tensor.
    fn change(&mut self, index: usize, change: impl FnOnce(f32) -> f32) {
        assert_eq!(self.dtype, Dtype::F32, "test is broken");
        let bytes = &mut self.bytes.as_chunks_mut::<4>().0[index];
        *bytes = change(f32::from_le_bytes(*bytes)).to_le_bytes();
    }
}

/// `count` numbers further away from 0.
fn steps(count: u32) -> impl Fn(f32) -> f32 {
    move |value| f32::from_bits(value.to_bits() + count)
}

const STYLES: [&str; 2] = ["strip", "drop-in"];

#[test]
fn our_own_files_pass_in_both_styles_and_for_every_eps() {
    let net = Net::new();
    for style in STYLES {
        for eps in ["1e-5", "1e-3", "1e-1", "0"] {
            let run = net.verify(&net.fold(style, eps), eps).expect(0);
            assert!(run.stdout.contains("3 norms folded"), "{}", run.stdout);
            assert!(!run.stderr.contains("left"), "{}", run.stderr);
        }
    }
}

/// As torch.nn.utils.fusion.fuse_conv_bn_weights does it, in f32 throughout: w * (gamma * rsqrt(var + eps)),
/// (b - mean) * rsqrt(var + eps) * gamma + beta.
#[test]
fn file_folded_in_plain_f32_passes() {
    let net = Net::new();
    let (original, mut folded) = (net.tensors(), net.tensors());
    for (norm, layer) in [("a.bn", "a.conv"), ("b.bn", "b.conv"), ("c.bn", "c.fc")] {
        let read = |name: &str, absent: f32| -> Vec<f32> {
            match original.0.get(name) {
                Some(tensor) => tensor.values().into_iter().map(|x| x as f32).collect(),
                None => vec![absent; CHANNELS],
            }
        };
        let part = |name: &str, absent| read(&format!("{norm}.{name}"), absent);
        let (gamma, beta) = (part("weight", 1.0), part("bias", 0.0));
        let (mean, var) = (part("running_mean", 0.0), part("running_var", 1.0));
        let weight = read(&format!("{layer}.weight"), 0.0);
        let bias = read(&format!("{layer}.bias"), 0.0);
        let rsqrt = var.iter().map(|var| 1.0 / (var + 1e-5f32).sqrt()).collect::<Vec<_>>();
        let row = weight.len() / CHANNELS;
        let weight = weight.iter().enumerate().map(|(i, w)| w * (gamma[i / row] * rsqrt[i / row]));
        let bias = (0..CHANNELS).map(|c| (bias[c] - mean[c]) * rsqrt[c] * gamma[c] + beta[c]);
        let bytes = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<_>>();
        folded.get_mut(&format!("{layer}.weight")).bytes = bytes(&mut weight.into_iter());
        let bias = Stored { dtype: Dtype::F32, shape: vec![CHANNELS], bytes: bytes(&mut bias.into_iter()) };
        folded.0.insert(format!("{layer}.bias"), bias);
        folded.0.retain(|name, _| !name.starts_with(&format!("{norm}.")));
    }
    assert_ne!(folded, net.fold("strip", "1e-5"), "test is broken: f32 throughout should round differently");
    net.verify(&folded, "1e-5").expect(0);
}

#[test]
fn untouched_copy_passes_with_a_warning() {
    let net = Net::new();
    let run = net.verify(&net.tensors(), "1e-5").expect(0);
    assert!(run.stderr.contains("warning:") && run.stderr.contains("3 norms"), "{}", run.stderr);
    assert!(run.stdout.contains("0 norms folded"), "{}", run.stdout);
}

#[test]
fn wrong_eps_is_found() {
    let net = Net::new();
    for style in STYLES {
        let folded = net.fold(style, "1e-3");
        net.verify(&folded, "1e-3").expect(0);
        let run = net.verify(&folded, "1e-5").expect(1);
        for norm in ["`a.bn`", "`b.bn`", "`c.bn`", "channel 0"] {
            assert!(run.stderr.contains(norm), "{style}: no {norm} in: {}", run.stderr);
        }
    }
}

#[test]
fn figures_are_those_of_failed_layers_too() {
    let net = Net::new();
    for style in STYLES {
        let path = net.folder.file("folded.safetensors", &net.fold(style, "1e-3").model());
        let verify = |eps: &str, bound: &str| {
            let plan: [&dyn AsRef<std::ffi::OsStr>; 2] = [&"--plan", &net.plan];
            let files: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--original", &net.original, &"--folded", &path];
            let rest: [&dyn AsRef<std::ffi::OsStr>; 6] = [&"--eps", &eps, &"--max-ulp", &bound, &"--format", &"json"];
            bnfold(&[&[&"verify" as &dyn AsRef<_>], &files[..], &plan, &rest].concat())
        };
        let right = verify("1e-3", "8").expect(0).json();
        let wrong = verify("1e-5", "8").expect(1).json();
        assert_eq!([&wrong["folded"], &wrong["left"], &wrong["failed"]], [0, 0, 3], "{style}: {wrong:#}");
        assert_eq!(wrong["elements"], right["elements"], "{style}: all of them were compared");
        // With a bound that lets everything pass the figures are the same, and no problem is beyond them.
        let open = verify("1e-5", "1e9").expect(0).json();
        for (key, what) in [("worst_ulp", "weight `"), ("worst_shift_ulp", "shift in `")] {
            assert_eq!(wrong[key], open[key], "{style}");
            let stated = wrong["problems"].as_array().unwrap().iter().filter_map(|problem| {
                let (_, rest) = problem.as_str().unwrap().split_once(what)?;
                rest.split_once(": ")?.1.split_once('(')?.1.split(' ').next()?.parse::<f64>().ok()
            });
            let stated = stated.fold(0.0, f64::max);
            assert!(wrong[key].as_f64().unwrap() + 0.05 >= stated, "{style} {key}: {stated} in {wrong:#}");
            assert!(wrong[key].as_f64().unwrap() > 8.0, "{style} {key}");
        }
    }
}

#[test]
fn the_eps_that_fits_is_named() {
    let net = Net::new();
    for style in STYLES {
        for (used, given) in [("1e-3", "1e-5"), ("1e-5", "1e-3"), ("0", "1e-3"), ("1e-2", "0")] {
            let run = net.verify(&net.fold(style, used), given).expect(1);
            let named = run.stderr.matches(&format!("; it fits with eps {used}: pass --eps {used}\n")).count();
            assert_eq!(named, 3, "{style}, {used} for {given}: {}", run.stderr);
        }
        // What no eps explains, or none that is common, gets no such advice.
        let mut folded = net.fold(style, "1e-3");
        folded.get_mut("a.conv.weight").change(0, |weight| -weight);
        let run = net.verify(&folded, "1e-5").expect(1);
        assert_eq!(run.stderr.matches("it fits with").count(), 2, "{}", run.stderr);
        let run = net.verify(&net.fold(style, "0.09"), "1e-5").expect(1);
        assert!(!run.stderr.contains("it fits with"), "{}", run.stderr);
    }
}

#[test]
fn a_bound_that_is_no_bound_is_refused() {
    for bound in ["nan", "-1", "inf", "x"] {
        let run = bnfold(&[&"verify", &"--original", &"a", &"--folded", &"b", &"--max-ulp", &bound]);
        run.error(2, &["--max-ulp", "expected a number of units in the last place, 0 or more"]);
    }
}

#[test]
fn swapped_output_channels_are_found() {
    let net = Net::new();
    for style in STYLES {
        net.catches(style, &["`a.bn`", "`a.conv.weight`", "channel"], |folded| {
            let bytes = &mut folded.get_mut("a.conv.weight").bytes;
            let (first, second) = bytes.split_at_mut(27 * 4);
            first.swap_with_slice(&mut second[..27 * 4]);
        });
    }
}

#[test]
fn one_weight_of_the_wrong_sign_is_found() {
    let net = Net::new();
    for style in STYLES {
        let named = ["`b.bn`", "`b.conv.weight`", "element 40,", "channel 1:"];
        net.catches(style, &named, |folded| folded.get_mut("b.conv.weight").change(40, |w| -w));
    }
}

/// Ours are within 1.5 ulp of the exact weight, so 6 more are within the 8 that are accepted, and 20 more are not.
#[test]
fn one_weight_20_ulp_off_is_found_and_6_ulp_are_accepted() {
    let net = Net::new();
    for style in STYLES {
        let named = ["`a.bn`", "`a.conv.weight`", "element 107,", "channel 3:"];
        net.catches(style, &named, |folded| folded.get_mut("a.conv.weight").change(107, steps(20)));
        let mut folded = net.fold(style, "1e-5");
        folded.get_mut("a.conv.weight").change(107, steps(6));
        net.verify(&folded, "1e-5").expect(0);
    }
}

#[test]
fn dropped_bias_is_found() {
    let net = Net::new();
    net.catches("strip", &["`a.bn`", "`a.conv.bias`", "missing"], |folded| drop(folded.0.remove("a.conv.bias")));
    net.catches("strip", &["`b.bn`", "`b.conv.bias`", "missing"], |folded| drop(folded.0.remove("b.conv.bias")));
    // It is all zeros there, but the model's code asks for it.
    net.catches("drop-in", &["`b.bn`", "`b.conv.bias`", "missing"], |folded| drop(folded.0.remove("b.conv.bias")));
}

#[test]
fn zeroed_bias_is_found() {
    let net = Net::new();
    for bias in ["a.conv.bias", "b.conv.bias", "c.fc.bias"] {
        net.catches("strip", &[bias, "channel 0"], |folded| folded.get_mut(bias).bytes.fill(0));
    }
    net.catches("drop-in", &["`a.bn`", "`a.bn.bias`", "channel 0"], |f| f.get_mut("a.bn.bias").bytes.fill(0));
    net.catches("drop-in", &["`c.bn`", "`c.bn.running_mean`"], |f| f.get_mut("c.bn.running_mean").bytes.fill(0));
}

/// A bias that is not a number a channel cannot pass for one, or for zeros.
#[test]
fn bias_of_another_length_or_type_is_found() {
    let net = Net::new();
    net.catches("drop-in", &["`b.bn`", "`b.conv.bias`"], |folded| {
        let bias = folded.get_mut("b.conv.bias");
        (bias.shape, bias.bytes) = (vec![CHANNELS + 1], vec![0; 4 * (CHANNELS + 1)]);
    });
    net.catches("drop-in", &["`b.bn`", "`b.conv.bias`"], |folded| folded.get_mut("b.conv.bias").dtype = Dtype::I32);
    net.catches("strip", &["`a.bn`", "`a.conv.bias`"], |folded| folded.get_mut("a.conv.bias").dtype = Dtype::I32);
}

#[test]
fn norm_tensor_missing_in_drop_in_is_found() {
    let net = Net::new();
    for tensor in ["a.bn.weight", "a.bn.bias", "a.bn.running_mean", "a.bn.running_var", "a.bn.num_batches_tracked"] {
        let quoted = format!("`{tensor}`");
        net.catches("drop-in", &["`a.bn`", &quoted, "missing"], |folded| drop(folded.0.remove(tensor)));
    }
}

#[test]
fn changed_counter_of_a_norm_is_found() {
    let net = Net::new();
    net.catches("drop-in", &["`a.bn.num_batches_tracked`"], |f| f.get_mut("a.bn.num_batches_tracked").bytes[0] ^= 1);
}

/// Leaving eps in place of taking it out of the variance: a factor of sqrt(1.1).
#[test]
fn identity_variance_of_1_instead_of_1_minus_eps_is_found() {
    let net = Net::new();
    let mut folded = net.fold("drop-in", "1e-1");
    net.verify(&folded, "1e-1").expect(0);
    (0..CHANNELS).for_each(|channel| folded.get_mut("a.bn.running_var").change(channel, |_| 1.0));
    net.names(&folded, "1e-1", &["`a.bn`", "channel"]);
}

#[test]
fn norm_that_was_folded_but_not_made_an_identity_is_found() {
    let net = Net::new();
    let original = net.tensors();
    net.catches("drop-in", &["`a.bn`", "channel"], |folded| {
        for name in ["a.bn.weight", "a.bn.bias", "a.bn.running_mean", "a.bn.running_var"] {
            *folded.get_mut(name) = original.get(name).clone();
        }
    });
}

#[test]
fn weight_that_was_not_folded_under_a_stripped_norm_is_found() {
    let net = Net::new();
    let original = net.tensors();
    net.catches("strip", &["`a.bn`", "`a.conv.weight`", "channel"], |folded| {
        *folded.get_mut("a.conv.weight") = original.get("a.conv.weight").clone();
    });
}

#[test]
fn unrelated_tensor_changed_missing_or_added_is_found() {
    let net = Net::new();
    for style in STYLES {
        net.catches(style, &["`head.weight`"], |folded| folded.get_mut("head.weight").bytes[77] ^= 1);
        net.catches(style, &["`head.table`"], |folded| folded.get_mut("head.table").bytes[15] ^= 0x80);
        net.catches(style, &["`head.table`"], |folded| folded.get_mut("head.table").shape = vec![2, 1]);
        net.catches(style, &["`head.weight`", "missing"], |folded| drop(folded.0.remove("head.weight")));
        net.catches(style, &["`head.bias`"], |folded| {
            folded.0.insert("head.bias".into(), Stored { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] });
        });
        net.catches(style, &["`a.bn`", "`a.conv.weight`", "missing"], |f| drop(f.0.remove("a.conv.weight")));
    }
}

#[test]
fn not_a_number_is_found_wherever_it_is() {
    let net = Net::new();
    let nan = |_| f32::NAN;
    net.catches("strip", &["`a.conv.weight`", "channel 0"], |folded| folded.get_mut("a.conv.weight").change(3, nan));
    net.catches("strip", &["`a.conv.bias`", "channel 2"], |folded| folded.get_mut("a.conv.bias").change(2, nan));
    net.catches("drop-in", &["`a.bn`", "channel 1"], |folded| folded.get_mut("a.bn.running_var").change(1, nan));
    net.catches("drop-in", &["`a.bn`", "channel 1"], |folded| folded.get_mut("a.bn.weight").change(1, nan));
}
