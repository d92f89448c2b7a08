//! `--dtype`: every float of the output in another type.
//!
//! In: a model with floats of all four types, folded and not. Out: tensors whose values are those of the reference rounded
//! once; integers and the like as they were; refusals where a value has no room.

use bnfold_gpu::checkpoint::Float;
use safetensors::{Dtype, SafeTensors};

use crate::fixture::{Folder, Model, bnfold, fold, plan};

const WEIGHTS: [f64; 6] = [1.0, -2.5, 0.1, 1e-6, 300.0, -0.0];
const OTHERS: [f64; 4] = [3.0, -0.3, 60_000.0, 1e-7];

/// A linear layer of `float` with its norm, and tensors that are not folded.
fn model(float: Float) -> Model {
    Model::new()
        .floats("fc.weight", float, &[2, 3], &WEIGHTS)
        .norm("bn", Float::F32, &[0.5, -3.0], &[0.25, 0.1], &[1.0, -1.0], &[4.0, 0.25])
        .floats("f16", Float::F16, &[4], &OTHERS)
        .floats("bf16", Float::Bf16, &[4], &OTHERS)
        .floats("f32", Float::F32, &[4], &OTHERS)
        .floats("f64", Float::F64, &[4], &OTHERS)
        .raw("i64", Dtype::I64, &[1], &i64::MAX.to_le_bytes())
        .raw("f8", Dtype::F8_E5M2, &[3], &[0x7f, 0x80, 1])
}

/// Values of a float tensor and its type.
fn values(tensors: &SafeTensors<'_>, name: &str) -> (Float, Vec<f64>) {
    let tensor = tensors.tensor(name).unwrap();
    let float = Float::ALL.into_iter().find(|float| float.name() == tensor.dtype().to_string()).unwrap();
    (float, float.widen_all(tensor.data()))
}

#[test]
fn every_float_takes_the_type_that_is_asked_for_and_is_rounded_once() {
    for from in Float::ALL {
        for (name, to) in [("f32", Float::F32), ("f16", Float::F16), ("bf16", Float::Bf16)] {
            let folder = Folder::new();
            let plan = folder.text("p.json", plan(&[("bn", "fc.weight")]));
            let input = folder.file("m.safetensors", &model(from));
            fold(&input, &[&"--plan", &plan, &"--dtype", &name]).expect(0);
            let bytes = std::fs::read(folder.path("m.folded.safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            for stored in Float::ALL {
                let (float, got) = values(&tensors, &stored.name().to_lowercase());
                let expected = OTHERS.map(|value| to.round(stored.round(value)));
                assert_eq!((float, got), (to, expected.to_vec()), "{stored:?} to {to:?}");
            }
            let (float, folded) = values(&tensors, "fc.weight");
            assert_eq!(float, to);
            let scales = [0.5 / (4.0f64 + 1e-5).sqrt(), -3.0 / (0.25f64 + 1e-5).sqrt()];
            for (index, (got, stored)) in folded.into_iter().zip(WEIGHTS).enumerate() {
                let expected = from.round(stored) * scales[index / 3];
                let ulp = (got - expected).abs() / to.ulp(expected);
                assert!(ulp <= 1.5, "{from:?} to {to:?}, element {index}: {got}, expected {expected}");
            }
            let (float, shift) = values(&tensors, "fc.bias");
            assert_eq!(float, to);
            let expected = [-scales[0] + 0.25, scales[1] + 0.1];
            assert!(shift.iter().zip(expected).all(|(got, want)| (got - want).abs() <= 2.0 * to.ulp(6.0)), "{shift:?}");
            assert_eq!(tensors.tensor("i64").unwrap().data(), i64::MAX.to_le_bytes());
            assert_eq!(tensors.tensor("f8").unwrap().data(), [0x7f, 0x80, 1]);
            let folded = folder.path("m.folded.safetensors");
            bnfold(&[&"verify", &"--original", &input, &"--folded", &folded, &"--plan", &plan]).expect(0);
        }
    }
}

#[test]
fn keep_is_the_default_and_changes_no_type() {
    let folder = Folder::new();
    let plan = folder.text("p.json", plan(&[("bn", "fc.weight")]));
    let input = folder.file("m.safetensors", &model(Float::Bf16));
    fold(&input, &[&"--plan", &plan]).expect(0);
    fold(&input, &[&"--plan", &plan, &"--dtype", &"keep", &"--output", &folder.path("keep.safetensors")]).expect(0);
    let bytes = std::fs::read(folder.path("m.folded.safetensors")).unwrap();
    assert!(bytes == std::fs::read(folder.path("keep.safetensors")).unwrap());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (name, dtype) in [
        ("f16", Dtype::F16),
        ("bf16", Dtype::BF16),
        ("f64", Dtype::F64),
        ("fc.weight", Dtype::BF16),
        ("fc.bias", Dtype::BF16),
    ] {
        assert_eq!(tensors.tensor(name).unwrap().dtype(), dtype, "{name}");
    }
}

#[test]
fn a_value_without_room_in_the_new_type_is_refused() {
    let cases: &[(Float, f64, &str, bool)] = &[
        (Float::F32, 65_520.0, "f16", false),
        (Float::F32, 65_519.0, "f16", true),
        (Float::F64, -1e39, "f32", false),
        (Float::F64, 3.4e38, "bf16", false),
        (Float::F64, 3.38e38, "bf16", true),
        (Float::F32, f64::INFINITY, "f16", true),
        (Float::F32, f64::NAN, "f16", true),
    ];
    for &(float, value, dtype, fits) in cases {
        let folder = Folder::new();
        let input = folder.file("m.safetensors", &Model::new().floats("table", float, &[3], &[0.0, 1.0, value]));
        let run = fold(&input, &[&"--dtype", &dtype]);
        if fits {
            run.expect(0);
            continue;
        }
        let words = ["m.safetensors: tensor `table`, element 2: ", "does not fit into ", "--allow-non-finite"];
        run.error(1, &words);
        assert_eq!(folder.names(), ["m.safetensors"]);
        fold(&input, &[&"--dtype", &dtype, &"--allow-non-finite"]).expect(0);
    }
    let folder = Folder::new();
    let plan = folder.text("p.json", plan(&[("bn", "fc.weight")]));
    let large = Model::new().floats("fc.weight", Float::F32, &[1, 2], &[1.0, 60_000.0]).norm(
        "bn",
        Float::F32,
        &[2.0],
        &[0.0],
        &[0.0],
        &[1.0],
    );
    let input = folder.file("m.safetensors", &large);
    let words = ["norm `bn`, tensor `fc.weight`, channel 0: folding gives 1199", "F16 cannot hold"];
    fold(&input, &[&"--plan", &plan, &"--dtype", &"f16"]).error(1, &words);
    assert_eq!(folder.names(), ["m.safetensors", "p.json"]);
}
