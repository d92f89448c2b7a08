//! A graphics device that is lost, early and late.
//!
//! In: a model of several batches, and a device that is destroyed before, between and after them, as a driver reset would.
//! Out: the bytes that the CPU gives, one warning that says so, and no panic. These tests need an adapter; a software one
//! will do.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bnfold_gpu::Warning;
use bnfold_gpu::checkpoint::{Checkpoint, Float};
use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
use bnfold_gpu::fold::{Engine, FoldOptions, FoldStats, Scales, WeightJob, affine::Affine};
use bnfold_gpu::model::{PlanSource, Settings, fold_model};
use bnfold_gpu::plan::{PlanSettings, Planned};
use bnfold_gpu::report::ModelReport;

use crate::fixture::{Folder, Model, Numbers, plan};

/// Three layers of 12 MB in two element types: more batches than are under way at once.
fn model() -> Model {
    let mut numbers = Numbers::new(7);
    let mut layer = |name, float| Model::wide(&mut numbers, name, float, 375_000);
    Model::merged([layer("a", Float::F32), layer("b", Float::F32), layer("c", Float::F16), layer("d", Float::F32)])
}

struct Case {
    folder: Folder,
    input: PathBuf,
    plan: PathBuf,
}

impl Case {
    fn new() -> Case {
        let folder = Folder::new();
        let pairs = ["a", "b", "c", "d"].map(|name| (format!("{name}.bn"), format!("{name}.fc.weight")));
        let pairs = pairs.iter().map(|(norm, weight)| (norm.as_str(), weight.as_str())).collect::<Vec<_>>();
        let (input, plan) = (folder.file("m.safetensors", &model()), folder.text("plan.json", plan(&pairs)));
        Case { folder, input, plan }
    }

    /// Size of the model, which is that of its weights but for a few bytes.
    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.input).unwrap().len()
    }

    /// Folds the model from file to file; `progress` is told the bytes that are done.
    fn run(&self, output: &Path, engine: &mut Engine, progress: &(dyn Fn(u64) + Sync)) -> ModelReport {
        let plan = PlanSource::from(self.plan.as_path());
        let settings = Settings { plan: Some(&plan), sync: false, ..Settings::default() };
        let cancelled = &AtomicBool::new(false);
        let options = FoldOptions {
            verify: true,
            allow_non_finite: false,
            ranges: false,
            quantization: false,
            threads: 2,
            cancelled,
            progress,
        };
        fold_model(&self.input, output, settings, engine, options).expect("the CPU takes over")
    }

    /// The bytes that the CPU gives.
    fn expected(&self) -> Vec<u8> {
        let output = self.folder.path("cpu");
        let report = self.run(&output, &mut Engine::Cpu, &|_| {});
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        std::fs::read(output).unwrap()
    }
}

fn open() -> GpuEngine {
    GpuEngine::open(&Wanted::Any).expect("these tests need an adapter; a software one will do")
}

/// Fails unless there is one warning, and it says what happened.
#[track_caller]
fn says_so(warnings: &[Warning], lost: &str) {
    let [warning @ Warning::GpuFailed { adapter, reason }] = warnings else { panic!("{warnings:?}") };
    assert_eq!(adapter, lost);
    let words = format!("GPU {lost} failed ({reason}); the rest was folded on the CPU");
    assert_eq!(warning.to_string(), words);
}

#[test]
fn a_device_that_lives_gives_the_same_bytes_without_a_warning() {
    let case = Case::new();
    let mut engine = Engine::Gpu(open().into());
    let report = case.run(&case.folder.path("gpu"), &mut engine, &|_| {});
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(report.device, "gpu");
    assert_eq!(engine.device(), "gpu", "it was not given up");
    assert!(std::fs::read(case.folder.path("gpu")).unwrap() == case.expected());
}

#[test]
fn a_device_lost_at_any_moment_is_replaced_by_the_cpu() {
    let case = Case::new();
    let expected = case.expected();
    // Bytes after which the device goes: none, the first batch, in the middle, with the last batches under way.
    let last = case.bytes() - (4 << 20);
    for after in [0, 1, last / 2, last] {
        let gpu = open();
        let adapter = gpu.adapter().name.clone();
        let lose = gpu.loser();
        if after == 0 {
            lose();
        }
        let done = AtomicU64::new(0);
        let lost = AtomicBool::new(after == 0);
        let progress = |bytes: u64| {
            if done.fetch_add(bytes, Relaxed) + bytes >= after && !lost.swap(true, Relaxed) {
                lose();
            }
        };
        let output = case.folder.path(&format!("lost after {after}"));
        let mut engine = Engine::Gpu(gpu.into());
        let report = case.run(&output, &mut engine, &progress);
        assert!(lost.into_inner(), "test is broken: only {} bytes were done", done.into_inner());
        assert!(std::fs::read(&output).unwrap() == expected, "lost after {after} bytes: other bytes");
        assert!(!report.warnings.is_empty(), "lost after {after} bytes: nothing was said");
        says_so(&report.warnings, &adapter);
        assert_eq!(engine.device(), "cpu", "it is given up for good");
        assert_eq!(report.verification.unwrap().elements, 4 * (8 * 375_000 + 8), "everything was checked");

        // The next model of a batch is folded on the CPU, without another warning.
        let next = case.folder.path(&format!("next after {after}"));
        assert!(case.run(&next, &mut engine, &|_| {}).warnings.is_empty());
        assert!(std::fs::read(&next).unwrap() == expected);
        [output, next].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

/// Folds every weight through [`bnfold_gpu::fold::fold`]; `sink` is called with the job of every piece.
fn weights(case: &Case, engine: &mut Engine, sink: &(dyn Fn(usize) + Sync)) -> (FoldStats, Vec<Vec<u8>>) {
    let checkpoint = Checkpoint::open(&case.input).unwrap();
    let Planned { folds, .. } =
        bnfold_gpu::plan::plan(&checkpoint, &PlanSettings::default(), Some(&case.plan)).unwrap();
    let jobs = folds.iter().map(|fold| {
        let scale = Affine::read(&checkpoint, fold).unwrap().scale;
        WeightJob { fold, scales: Scales::new(scale.clone()), reference: scale.into(), to: fold.float }
    });
    let jobs = jobs.collect::<Vec<_>>();
    let bytes = |job: &WeightJob<'_>| usize::try_from(checkpoint.tensors()[&job.fold.weight].bytes).unwrap();
    let folded = Mutex::new(jobs.iter().map(|job| vec![0; bytes(job)]).collect::<Vec<_>>());
    let cancelled = &AtomicBool::new(false);
    let options = FoldOptions {
        verify: true,
        allow_non_finite: false,
        ranges: false,
        quantization: false,
        threads: 2,
        cancelled,
        progress: &|_| {},
    };
    let stats = bnfold_gpu::fold::fold(&checkpoint, &jobs, engine, options, &|job, first, bytes| {
        let at = usize::try_from(first).unwrap() * jobs[job].to.bytes();
        folded.lock().unwrap()[job][at..at + bytes.len()].copy_from_slice(bytes);
        sink(job);
        Ok(())
    });
    (stats.unwrap(), folded.into_inner().unwrap())
}

#[test]
fn a_device_lost_in_the_sink_loses_no_piece_and_repeats_none() {
    let case = Case::new();
    let (_, expected) = weights(&case, &mut Engine::Cpu, &|_| {});
    for at in 0..4 {
        let gpu = open();
        let adapter = gpu.adapter().name.clone();
        let lose = gpu.loser();
        let (stats, folded) = weights(&case, &mut Engine::Gpu(gpu.into()), &|job| {
            if job == at {
                lose()
            }
        });
        assert!(folded == expected, "lost in job {at}: other bytes");
        assert_eq!(stats.elements, 4 * 8 * 375_000, "lost in job {at}");
        // The last batch may be back already when its pieces reach the sink.
        if at < 3 || !stats.warnings.is_empty() {
            says_so(&stats.warnings, &adapter);
        }
    }
}

#[test]
fn a_device_lost_before_the_shifts_leaves_them_to_the_cpu() {
    let gpu = open();
    let adapter = gpu.adapter().name.clone();
    let (moved, beta) = ([1.5, -2.0, 1e-40], [2.0, 0.25, 0.0]);
    let lose = gpu.loser();
    let (mut engine, mut warnings) = (Engine::Gpu(gpu.into()), Vec::new());
    for lost in [false, true] {
        if lost {
            lose();
        }
        let shifted = engine.shift(&moved, &beta, &mut warnings);
        assert_eq!(shifted.values, bnfold_gpu::fold::cpu::shift(&moved, &beta), "lost: {lost}");
        assert_eq!((warnings.len(), engine.device()), if lost { (1, "cpu") } else { (0, "gpu") }, "{warnings:?}");
    }
    says_so(&warnings, &adapter);
}
