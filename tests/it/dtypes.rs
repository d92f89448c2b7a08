//! 3 FOLD, 4 WRITE: `--dtype`: every float in another type, folded or not, rounded as often as is promised.
//!
//! In: weights and other tensors of all four types, with values on, just above and just below the middle between two
//! numbers of a half type. Out: the nearest number, ties to even; the f32 product, rounded once, for folded weights.

use bnfold_gpu::checkpoint::Float;
use safetensors::Dtype;

use crate::fixture::{Folder, Model, Numbers};
use crate::library::{How, Tensors, USUAL, dtype, engines, fold, line, ulp, write_plan};

/// Values where rounding is hard: a tie of F16 and of BF16, and its neighbours a hair of f64 and of f32 away.
fn hard_values() -> Vec<f64> {
    let mut values = vec![0.0, -0.0, 1.0, 60000.0, 1e-7, 6e-8, 2.9e-8, 1e-39];
    for fraction_bits in [7, 10] {
        for odd in [0.0, 1.0] {
            for exponent in [-3, 0, 5] {
                let tie = 1.0 + (odd + 0.5) * 2f64.powi(-fraction_bits);
                let near = [0.0, 2f64.powi(-45), -2f64.powi(-45), 2f64.powi(-23), -2f64.powi(-23)];
                values.extend(near.map(|hair| (tie + hair) * 2f64.powi(exponent)));
            }
        }
    }
    values.extend(values.clone().into_iter().map(|x| -x));
    values.extend(Numbers::new(21).many(40, -100.0, 100.0));
    values
}

/// Whether `got` is `exact` rounded once to nearest, ties to even.
fn is_nearest(dtype: Dtype, got: f64, exact: f64) -> bool {
    let (off, unit) = ((got - exact).abs(), ulp(dtype, exact));
    // All differences are exact: both are multiples of an ulp of f64 near `exact`.
    off < unit / 2.0 || (off == unit / 2.0 && got / unit % 2.0 == 0.0)
}

#[test]
fn every_float_is_rounded_once_to_the_type_asked_for() {
    let values = hard_values();
    let n = values.len();
    let mut model = Model::new();
    for float in Float::ALL {
        let name = float.name();
        // Scales of 1 and -0.75: the second rounds in f32 too.
        let twice = [&values[..], &values[..]].concat();
        model = model.floats(&format!("{name}.other"), float, &[n], &values);
        model = model.floats(&format!("{name}.fc.weight"), float, &[2, n], &twice);
        model = model.norm(&format!("{name}.bn"), Float::F32, &[1.0, -0.7], &[0.0; 2], &[0.0; 2], &[1.0; 2]);
    }
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    let lines = Float::ALL.map(|float| {
        let mut line = line(&format!("{}.bn", float.name()), &format!("{}.fc.weight", float.name()), "linear");
        line["eps"] = 0.0.into();
        line
    });
    write_plan(&plan, &lines);
    let original = Tensors::read(&input);
    for to in [Float::F16, Float::Bf16, Float::F32] {
        for mut engine in engines() {
            let output = folder.path("out.safetensors");
            fold(&mut engine, &input, &plan, &output, How { dtype: Some(to), ..USUAL }).unwrap();
            let folded = Tensors::read(&output);
            for from in Float::ALL {
                let name = format!("{}.other", from.name());
                assert_eq!(folded.get(&name).dtype, dtype(to), "{name}");
                for (got, exact) in folded.get(&name).values().into_iter().zip(original.get(&name).values()) {
                    assert!(is_nearest(dtype(to), got, exact), "{name} as {to:?}: {exact:e} became {got:e}");
                }
                let name = format!("{}.fc.weight", from.name());
                let pairs = folded.get(&name).values().into_iter().zip(original.get(&name).values());
                for (index, (got, stored)) in pairs.enumerate() {
                    let scale = if index < n { 1.0 } else { f64::from(-0.7f32) };
                    // f64 weights are multiplied in f64, all others in f32.
                    let product = match from {
                        Float::F64 => stored * scale,
                        _ => f64::from(stored as f32 * scale as f32),
                    };
                    assert!(
                        is_nearest(dtype(to), got, product),
                        "{name} as {to:?}, element {index}: {stored:e} * {scale} became {got:e}, not {product:e}"
                    );
                }
            }
            assert!(folded.0.values().all(|t| t.dtype == dtype(to) || t.dtype == Dtype::I64), "all floats are {to:?}");
        }
    }
}

#[test]
fn value_that_the_type_cannot_hold_is_refused_by_name() {
    let model = Model::new()
        .floats("big", Float::F32, &[3], &[1.0, 2.0, 70000.0])
        .floats("fc.weight", Float::F32, &[1, 1], &[1.0])
        .norm("bn", Float::F32, &[1.0], &[0.0], &[0.0], &[1.0]);
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[line("bn", "fc.weight", "linear")]);
    let before = folder.names();
    let output = folder.path("out.safetensors");
    let how = How { dtype: Some(Float::F16), ..USUAL };
    let error = fold(&mut engines()[0], &input, &plan, &output, how).unwrap_err().to_string();
    assert!(error.contains("`big`, element 2: 70000"), "{error}");
    assert_eq!(folder.names(), before);
    let how = How { allow_non_finite: true, ..how };
    fold(&mut engines()[0], &input, &plan, &output, how).unwrap();
    assert_eq!(Tensors::read(&output).get("big").values(), [1.0, 2.0, f64::INFINITY]);
}
