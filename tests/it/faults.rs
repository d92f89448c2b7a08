//! A graphics device that misbehaves, in every way that a driver, a card or a cable can.
//!
//! In: the program, and between it and the driver a Vulkan layer (`tests/vulkan/misbehave.c`, built here) that drops, cuts
//! short, refuses or never answers what it is told. Out: the bytes that the CPU gives and a warning, or a clean error, at
//! the first, a middle and the last command, verified and not, with shared memory and as a card has its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bnfold_gpu::checkpoint::Float;

use crate::fixture::{Folder, Model, Numbers, Run, command, plan};
use crate::vulkan::{MISBEHAVE, layers};

/// A model of more batches than are under way at once, in two element types.
struct Case {
    folder: Folder,
    input: PathBuf,
    plan: PathBuf,
}

impl Case {
    fn new() -> Case {
        let folder = Folder::new();
        let mut numbers = Numbers::new(11);
        let mut layer = |name, float| Model::wide(&mut numbers, name, float, 200_000);
        let model = Model::merged([layer("a", Float::F32), layer("b", Float::F16), layer("c", Float::F32)]);
        let pairs = [("a.bn", "a.fc.weight"), ("b.bn", "b.fc.weight"), ("c.bn", "c.fc.weight")];
        let (input, plan) = (folder.file("m.safetensors", &model), folder.text("plan.json", plan(&pairs)));
        Case { folder, input, plan }
    }

    /// Folds the model on `device`, with the layer's `settings`; returns what the program said, and the result if there is
    /// one.
    fn fold(&self, device: &str, more: &[&str], settings: &[(&str, String)]) -> (Run, Option<Vec<u8>>) {
        let output = self.folder.path("out.safetensors");
        let mut program =
            command(&[&self.input, &"--output", &output, &"--plan", &self.plan, &"--device", &device, &"--no-sync"]);
        program.args(more).args(["--no-record", "--force"]);
        program.env("VK_LAYER_PATH", layers()).env("VK_INSTANCE_LAYERS", MISBEHAVE);
        program.envs(settings.iter().map(|(name, value)| (name, value)));
        let run = Run::of(&mut program);
        let result = std::fs::read(&output).ok();
        let _ = std::fs::remove_file(&output);
        (run, result)
    }

    /// Submissions, command buffers and allocations of a run without faults.
    fn counts(&self, kind: &str) -> [u32; 3] {
        let counts = self.folder.path("counts");
        let settings = [("MISBEHAVE_AS", kind.to_owned()), ("MISBEHAVE_COUNT", counts.to_string_lossy().into_owned())];
        let (run, result) = self.fold("gpu", &[], &settings);
        run.expect(0);
        assert!(result == self.expected(&[]), "without a fault the bytes are the CPU's, as {kind}");
        let text = std::fs::read_to_string(counts).expect("the layer was loaded and wrote what it counted");
        let numbers = text.split_whitespace().map(|number| number.parse().unwrap()).collect::<Vec<_>>();
        numbers.try_into().unwrap()
    }

    /// What the CPU gives.
    fn expected(&self, more: &[&str]) -> Option<Vec<u8>> {
        self.fold("cpu", more, &[]).1
    }
}

/// Sees every fault of `faults` at the first, a middle and the last moment.
fn survives(faults: &[&str], kind: &str) {
    let case = Case::new();
    let [submissions, recordings, allocations] = case.counts(kind);
    assert!(submissions > 8, "test is broken: all batches are under way at once");
    let options: [&[&str]; 2] = [&[], &["--no-verify"]];
    let expected = options.map(|more| case.expected(more).expect("the CPU folds it"));
    for fault in faults {
        let all = match *fault {
            "memory" => allocations,
            "submit" | "lost" | "hang" => submissions,
            _ => recordings,
        };
        for from in [1, all / 2, all] {
            // Every hang takes its time; what is done about it does not depend on verification.
            let ways = if *fault == "hang" { 1 } else { options.len() };
            for (more, expected) in options.iter().zip(&expected).take(ways) {
                let what = format!("{fault} from {from} of {all}, {more:?}, as {kind}");
                let settings = [
                    ("MISBEHAVE_AS", kind.to_owned()),
                    ("MISBEHAVE_FAULT", (*fault).to_owned()),
                    ("MISBEHAVE_FROM", from.to_string()),
                ];
                let started = Instant::now();
                let (run, result) = case.fold("gpu", more, &settings);
                assert!(started.elapsed() < Duration::from_secs(60), "{what}: took {:?}", started.elapsed());
                match run.code {
                    Some(0) => assert!(result.as_ref() == Some(expected), "{what}: other bytes\n{}", run.stderr),
                    Some(1) => assert!(result.is_none() && run.stderr.contains("error: "), "{what}: {}", run.stderr),
                    code => panic!("{what}: {code:?}\n{}", run.stderr),
                }
                // Of the last command nobody may need the result; an allocation may be tried again, smaller.
                let is_told = run.stderr.contains("the rest was folded on the CPU") || run.code == Some(1);
                assert!(is_told || from == all || *fault == "memory", "{what}: nothing was said\n{}", run.stderr);
            }
        }
    }
}

const SILENT: [&str; 4] = ["submit", "dispatch", "half", "copy"];

#[test]
fn commands_that_are_dropped_in_silence_leave_no_wrong_byte() {
    survives(&SILENT, "");
}

#[test]
fn commands_that_a_card_drops_in_silence_leave_no_wrong_byte() {
    survives(&SILENT, "discrete,minimal");
}

#[test]
fn failures_that_are_told_leave_the_work_to_the_cpu() {
    survives(&["lost", "memory"], "");
    survives(&["lost", "memory"], "discrete,minimal");
}

#[test]
fn a_device_that_never_answers_is_given_up_after_seconds() {
    survives(&["hang"], "");
}

#[test]
fn a_card_that_never_answers_is_given_up_after_seconds() {
    survives(&["hang"], "discrete,minimal");
}
