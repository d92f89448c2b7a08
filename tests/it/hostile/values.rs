//! Hostile values: norms that no training leaves, weights that no arithmetic survives.

use super::Outcome::{Folded, Kept, Refused};
use super::file::File;
use super::{Case, Outcome};

pub fn cases() -> Vec<Case> {
    [norms(), weights(), types()].into_iter().flatten().collect()
}

/// Channel 2 of a tensor set to a value.
fn set(tensor: &str, value: f32, outcome: Outcome) -> Case {
    File::new().set(tensor, 2, value).case(&format!("{tensor} {value:e}"), outcome)
}

fn norms() -> Vec<Case> {
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    let named = |words| Refused(words);
    let mut cases = vec![
        set("bn.weight", nan, named("channel 2: gamma is NaN")),
        set("bn.weight", infinite, named("gamma is inf")),
        set("bn.weight", -infinite, named("gamma is -inf")),
        set("bn.weight", f32::MAX, Folded),
        set("bn.weight", 0.0, Folded),
        set("bn.weight", -0.0, Folded),
        set("bn.weight", f32::MIN_POSITIVE, Folded),
        set("bn.weight", f32::from_bits(1), Folded),
        set("bn.bias", nan, named("beta is NaN")),
        set("bn.bias", infinite, named("beta is inf")),
        set("bn.bias", f32::MAX, Folded),
        set("bn.bias", f32::from_bits(1), Folded),
        set("bn.running_mean", nan, named("running mean is NaN")),
        set("bn.running_mean", -infinite, named("running mean is -inf")),
        set("bn.running_mean", f32::MAX, Folded),
        set("bn.running_mean", f32::from_bits(1), Folded),
        set("bn.running_var", nan, named("running variance is NaN")),
        set("bn.running_var", infinite, named("running variance is inf")),
        set("bn.running_var", -1.0, named("running variance is -1")),
        set("bn.running_var", -1e-12, named("running variance is -0.000000000000999")),
        set("bn.running_var", -f32::from_bits(1), named("running variance is -0.0000")),
        set("bn.running_var", f32::from_bits(1), Folded),
        set("bn.running_var", 0.0, Folded),
        set("bn.running_var", -0.0, Folded),
        set("bn.running_var", f32::MAX, Folded),
        set("bn.running_var", f32::MIN_POSITIVE, Folded),
    ];
    let huge = File::new().set("bn.weight", 2, f32::MAX).set("bn.running_var", 2, 0.0);
    cases.push(huge.case("scale beyond f32", Refused("the scale gamma / sqrt(variance + eps)")));
    let large = File::new().set("bn.weight", 2, 1e36).set("bn.running_mean", 2, 1e10);
    cases.push(large.case("shift beyond f32", Refused("which F32 cannot hold")));
    let nothing = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
    let zeros = nothing.iter().fold(File::new(), |file, name| (0..4).fold(file, |file, at| file.set(name, at, 0.0)));
    cases.push(zeros.case("norm of zeros", Folded));
    cases
}

fn weights() -> Vec<Case> {
    let nan = File::new().set("conv.weight", 60, f32::NAN);
    let infinite = File::new().set("conv.weight", 60, f32::NEG_INFINITY);
    let dead = File::new().set("conv.weight", 60, f32::INFINITY).set("bn.weight", 2, 0.0);
    let far = File::new().set("conv.weight", 0, f32::MAX).set("bn.weight", 0, 1e10);
    let tiny = File::new().set("bn.weight", 0, 1e-38).set("bn.running_var", 0, 1e10).set("conv.weight", 0, 1e30);
    let least = File::new().set("bn.weight", 0, f32::from_bits(3)).set("conv.weight", 0, f32::MAX);
    let signs = (0..27).fold(File::new(), |file, at| file.set("conv.weight", at, -0.0));
    let steps = (0..108).fold(File::new(), |file, at| file.set("conv.weight", at, f32::from_bits(at as u32)));
    let extra = f32::NAN.to_le_bytes();
    vec![
        nan.case("weight not a number", Refused("`conv.weight`, channel 2: element 60 is NaN before folding")),
        infinite.case("weight infinite", Refused("element 60 is -inf before folding")),
        dead.case("infinite weight of a channel of scale 0", Refused("element 60 is inf before folding")),
        far.case("product beyond f32", Refused("which F32 cannot hold")),
        tiny.case("scale below f32's smallest normal, product above it", Folded),
        least.case("scale of f32's smallest numbers, product of any size", Folded),
        signs.case("weights of negative zero", Folded),
        steps.case("weights below the smallest normal", Folded),
        File::new().with("extra", "F32", "[1]", &extra).case("not a number where nothing is folded", Folded),
    ]
}

/// The same tensors in other types, mixed.
fn types() -> Vec<Case> {
    let halves =
        |values: [f32; 4]| values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect::<Vec<_>>();
    let doubles = |values: [f64; 4]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let norm = |name: &str, tensor: &str, dtype: &str, bytes: &[u8], outcome| {
        File::new().replaced(tensor, dtype, "[4]", bytes).case(name, outcome)
    };
    let bias = File::new().with("conv.bias", "F64", "[4]", &doubles([0.5, -0.25, 1e-3, 2.0]));
    let wide = File::new().with("conv.bias", "F16", "[4]", &halves([60000.0, 1.0, 1.0, 1.0]));
    vec![
        norm("variance of F16", "bn.running_var", "F16", &halves([4.0, 0.25, 9.0, 0.01]), Folded),
        norm("variance of F64", "bn.running_var", "F64", &doubles([4.0, 0.25, 9.0, 1e-300]), Folded),
        norm(
            "mean of F64 beyond f32",
            "bn.running_mean",
            "F64",
            &doubles([1e300, 0.0, 0.0, 0.0]),
            Refused("cannot hold"),
        ),
        norm(
            "gamma of F64 beyond f32",
            "bn.weight",
            "F64",
            &doubles([1e300, 1.0, 1.0, 1.0]),
            Refused("the scale gamma"),
        ),
        norm("variance of F64, the smallest", "bn.running_var", "F64", &doubles([5e-324, 1.0, 1.0, 1.0]), Folded),
        bias.case("bias of F64", Folded),
        wide.case("bias of F16 that overflows", Folded),
        File::new().with("conv.bias", "I32", "[4]", &[0; 16]).case("bias of integers", Kept("conv.bias")),
        File::new()
            .with("conv.bias", "F32", "[5]", &[0; 20])
            .case("bias of another length", Kept("a bias of 5 channels")),
        File::new().without("bn.running_mean").case("norm without a mean", Kept("bn")),
        File::new().without("bn.running_var").case("norm without a variance", Kept("bn")),
        File::new().without("bn.weight").case("norm without a gamma", Folded),
        File::new().without("bn.bias").case("norm without a beta", Folded),
        File::new().without("conv.weight").case("norm without a layer", Kept("bn")),
    ]
}
