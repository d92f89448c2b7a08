//! 3 FOLD: the checks on the way out, seen to fail.
//!
//! In: folds whose reference, or whose result, is made wrong on purpose. Out: `FoldProblem::Verification`, or, for a model that
//! fails on a GPU under way, nothing left over for the next one.

use bnfold_gpu::checkpoint::{Checkpoint, Float};
use bnfold_gpu::fold::{
    Engine, FoldOptions, FoldedLayer, Scales, Storage, Style, WeightJob, affine::Affine, check_shifts, compute_shifts,
    fold,
};
use bnfold_gpu::network::Fold;
use bnfold_gpu::plan::{PlanSettings, plan};
use bnfold_gpu::{Error, FoldProblem};

use crate::fixture::{Folder, Model, Numbers};

/// A planted error and its name.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Vec<f64>));

/// A convolution with a bias, and its norm.
fn ready() -> (Folder, Checkpoint, Vec<Fold>) {
    let (folder, mut numbers) = (Folder::new(), Numbers::new(11));
    let model = Model::new()
        .floats("conv1.weight", Float::F32, &[4, 3, 3, 3], &numbers.many(108, -1.0, 1.0))
        .floats("conv1.bias", Float::F32, &[4], &numbers.many(4, -1.0, 1.0))
        .norm(
            "bn1",
            Float::F32,
            &[1.5, -0.5, 2.0, 0.25],
            &[1.0, -1.0, 0.5, 2.0],
            &[0.3, -0.2, 0.1, 4.0],
            &[0.1, 2.0, 9.0, 0.5],
        );
    let checkpoint = Checkpoint::open(folder.file("m.safetensors", &model)).unwrap();
    let folds = plan(&checkpoint, &PlanSettings::default(), None).unwrap().folds;
    assert_eq!(folds.len(), 1, "test is broken");
    (folder, checkpoint, folds)
}

/// Folds with scales and with a reference that `change` has changed.
fn fold_against(change: impl Fn(&mut Vec<f64>), options: FoldOptions<'_>) -> Result<u64, Error> {
    let (_folder, checkpoint, folds) = ready();
    let scale = Affine::read(&checkpoint, &folds[0]).unwrap().scale;
    let mut reference = scale.clone();
    change(&mut reference);
    let jobs = [WeightJob { fold: &folds[0], scales: Scales::new(scale), reference: reference.into(), to: Float::F32 }];
    fold(&checkpoint, &jobs, &mut Engine::Cpu, options, &|_, _, _| Ok(())).map(|stats| stats.compared)
}

#[test]
fn a_weight_off_its_reference_is_never_handed_on() {
    assert_eq!(fold_against(|_| {}, FoldOptions::default()).unwrap(), 108, "the right reference passes");
    let wrong: [Change<'_>; 4] = [
        ("two channels exchanged", &|scales| scales.swap(1, 2)),
        ("a sign", &|scales| scales[3] = -scales[3]),
        ("another eps", &|scales| scales[0] *= 1.0 + 4e-5),
        ("three units in the last place", &|scales| scales[2] *= 1.0 + 3.0 * f64::from(f32::EPSILON)),
    ];
    for (what, change) in wrong {
        let error = fold_against(change, FoldOptions::default()).expect_err(what);
        let Error::Fold { norm, problem: FoldProblem::Verification { tensor, bound, ulp, .. }, .. } = &error else {
            panic!("{what}: {error}")
        };
        assert_eq!((norm.as_str(), tensor.as_str()), ("bn1", "conv1.weight"), "{what}");
        assert!(ulp > bound && *bound == 1.5, "{what}: {ulp} ulp");
    }
    let unchecked = FoldOptions { verify: false, ..FoldOptions::default() };
    assert_eq!(fold_against(|scales| scales.swap(1, 2), unchecked).unwrap(), 0, "nothing is compared then");
}

#[test]
fn a_shift_off_its_reference_is_never_written() {
    let (_folder, checkpoint, folds) = ready();
    for style in [Style::Strip, Style::DropIn] {
        let mut right = [FoldedLayer::new(&checkpoint, &folds[0], Storage { style, dtype: None }).unwrap()];
        compute_shifts(&mut right, &mut Engine::Cpu, &mut Vec::new());
        let check = |change: &dyn Fn(&mut Vec<f64>)| {
            let mut layers = right.clone();
            change(&mut layers[0].shift);
            check_shifts(&checkpoint, &layers, FoldOptions::default())
        };
        assert_eq!(check(&|_| {}).unwrap().compared, 4);
        let wrong: [Change<'_>; 3] = [
            ("the layer's bias left out", &|shift| shift[0] += 0.37),
            ("two channels exchanged", &|shift| shift.swap(0, 3)),
            ("zeros", &|shift| shift.fill(0.0)),
        ];
        for (what, change) in wrong {
            let error = check(change).expect_err(what);
            assert!(
                matches!(error, Error::Fold { problem: FoldProblem::Verification { .. }, .. }),
                "{style:?}, {what}: {error}"
            );
        }
        assert!(right[0].shift.iter().all(|shift| *shift != 0.0), "test is broken");
    }
}

/// A model of several batches whose first weight overflows f16, and a small one without a fault.
#[cfg(feature = "gpu")]
fn bad_and_good(folder: &Folder) -> (std::path::PathBuf, std::path::PathBuf) {
    let big = vec![600.0; 4 << 20];
    let layers = (0..6).map(|layer| {
        let gamma = if layer == 0 { 1e4 } else { 1.0 };
        Model::new().floats(&format!("l{layer}.fc.weight"), Float::F16, &[4, 1 << 20], &big).norm(
            &format!("l{layer}.bn"),
            Float::F32,
            &[gamma; 4],
            &[0.0; 4],
            &[0.0; 4],
            &[1.0; 4],
        )
    });
    let mut numbers = Numbers::new(12);
    let good = Model::new()
        .floats("fc.weight", Float::F16, &[8, 999], &numbers.many(8 * 999, -1.0, 1.0))
        .floats("table", Float::F16, &[4 << 20], &vec![0.5; 4 << 20])
        .norm("bn", Float::F32, &[2.0; 8], &[1.0; 8], &[0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5], &[3.0; 8]);
    (folder.file("bad.safetensors", &Model::merged(layers)), folder.file("good.safetensors", &good))
}

#[cfg(feature = "gpu")]
#[test]
fn a_model_that_fails_leaves_nothing_on_the_gpu_for_the_next_one() {
    use bnfold_gpu::Warning;
    use bnfold_gpu::model::{Settings, fold_model};
    let folder = Folder::new();
    let (bad, good) = bad_and_good(&folder);
    let run = |input: &std::path::Path, output: &str, engine: &mut Engine, verify: bool| {
        let options = FoldOptions { verify, ..FoldOptions::default() };
        fold_model(input, folder.path(output), Settings::default(), engine, options)
    };
    run(&good, "cpu", &mut Engine::Cpu, true).unwrap();
    let expected = std::fs::read(folder.path("cpu")).unwrap();
    for verify in [true, false] {
        let mut engine = crate::library::gpu();
        let error = run(&bad, "none", &mut engine, verify).unwrap_err();
        assert!(matches!(error, Error::Fold { problem: FoldProblem::NonFinite { .. }, .. }), "test is broken: {error}");
        let output = format!("gpu {verify}");
        let report = run(&good, &output, &mut engine, verify).unwrap();
        assert!(std::fs::read(folder.path(&output)).unwrap() == expected, "verify {verify}: other bytes");
        assert_eq!((&*report.device, report.elements), ("gpu", 8 * 999), "verify {verify}");
        let of_gpu = |warning: &Warning| warning.code().starts_with("gpu");
        assert!(!report.warnings.iter().any(of_gpu), "verify {verify}: {:?}", report.warnings);
    }
}
