//! ZOO: several models share the graphics devices of a run.
//!
//! In: a zoo; one device, two, one that is lost on the way. Out: the CPU's bytes, and every device at work.

use std::sync::Mutex;

use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
use bnfold_gpu::fold::{Engine, FoldOptions};
use bnfold_gpu::model::Settings;
use bnfold_gpu::report::Outcome;
use bnfold_gpu::zoo::{Engines, Filter, Run, Source, Task, discover};

use super::{Seen, fold_zoo, make_folders, tree};
use crate::fixture::{Folder, Model, bnfold};

fn zoo_of(count: u8) -> Folder {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    for n in 0..count {
        folder.file(&format!("zoo/m{n:02}.safetensors"), &Model::conv_bn_with("bn.bias", f32::from(n)));
    }
    folder
}

fn open() -> Engine {
    Engine::Gpu(GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one").into())
}

/// Runs the zoo of `folder` into `out` on what `engines` lends.
fn run(folder: &Folder, out: &str, engines: &Engines<'_>) -> Vec<Outcome> {
    run_at_once(4, folder, out, engines)
}

fn run_at_once(jobs: usize, folder: &Folder, out: &str, engines: &Engines<'_>) -> Vec<Outcome> {
    let sources = discover(&[folder.path("zoo").into()], &Filter::default(), None).unwrap().sources;
    let tasks = Task::all(sources, &folder.path(out).into());
    let settings = |_: &Source| Ok(Settings { sync: false, ..Settings::default() });
    let options = FoldOptions::default();
    let seen = Seen::default();
    let run = Run {
        tasks: &tasks,
        jobs,
        resume: true,
        engines,
        settings: &settings,
        options,
        describe: &ToString::to_string,
        observer: &seen,
    };
    run.go().unwrap();
    seen.outcomes()
}

#[test]
fn a_zoo_on_the_gpu_is_the_one_of_the_cpu() {
    let folder = zoo_of(9);
    fold_zoo(&folder, &[]).expect(0);
    let (zoo, out) = (folder.path("zoo"), folder.path("gpu"));
    let gpu =
        bnfold(&[&"--device", &"gpu", &"--jobs", &"3", &"--format", &"json", &"--input", &zoo, &"--output", &out]);
    let lines = gpu.expect(0).stdout;
    assert_eq!(tree(&out), tree(&folder.path("out")));
    let devices = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["device"].clone());
    assert!(devices.eq(std::iter::repeat_n("gpu", 9)), "{lines}");
}

#[test]
fn devices_that_are_named_but_not_there_end_the_run_at_once() {
    let folder = zoo_of(3);
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let run = bnfold(&[&"--device", &"gpu:0,gpu:77", &"--input", &zoo, &"--output", &out]);
    run.error(1, &["no graphics adapter for gpu:77", "numbered from 0"]);
    assert!(!out.exists());
}

#[test]
fn two_devices_share_the_models_and_one_that_is_lost_leaves_them_to_the_other() {
    let folder = zoo_of(12);
    run(&folder, "out", &Engines::new(|| Ok(Vec::new())));
    let losers = Mutex::new(Vec::new());
    let engines = Engines::new(|| {
        let both = [open(), open()];
        for engine in &both {
            let Engine::Gpu(gpu) = engine else { unreachable!("it was opened as one") };
            losers.lock().unwrap().push(gpu.loser());
        }
        Ok(both.into())
    });
    // Both are lent at the same time, and a third loan would have to wait.
    let (one, two) = (engines.lend().unwrap(), engines.lend().unwrap());
    assert_eq!((one.device(), two.device()), ("gpu", "gpu"));
    drop((one, two));
    losers.lock().unwrap()[0]();
    let outcomes = run(&folder, "shared", &engines);
    assert_eq!(tree(&folder.path("shared")), tree(&folder.path("out")));
    let warned = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Folded(report) if !report.warnings.iter().all(|warning| warning.code() != "gpu-failed"))).count();
    assert_eq!(warned, 1, "the lost device is given up once");
    losers.lock().unwrap()[1]();
    // One at a time: a device is lent to two models, which might both begin before one of them finds it lost.
    let outcomes = run_at_once(1, &folder, "none", &engines);
    assert_eq!(tree(&folder.path("none")), tree(&folder.path("out")));
    let on = |device| {
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Folded(report) if report.device == device)).count()
    };
    assert!(on("cpu") >= 8 && on("gpu") <= 1, "{} on the CPU, {} begun on the GPU", on("cpu"), on("gpu"));
}
