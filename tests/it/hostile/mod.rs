//! Hostile files, each with the outcome it must have: folded right, kept for a reason, or refused by an error that names
//! the file.
//!
//! In: cases made by [`headers`], [`entries`], [`values`], [`indexes`], [`configs`] and [`plans`]. Out: what the program does
//! with each, on the CPU and those of `values` on a GPU, in bounded memory and time; and the seeds of the fuzz targets, which are
//! the same files.

mod configs;
mod corpus;
mod entries;
mod file;
mod headers;
mod indexes;
mod plans;
mod values;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::text::misleads;

use crate::fixture::{Folder, Run, shell};
use crate::library::ulp;

/// Files in a folder, and what becomes of them.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// The one that is folded.
    pub input: &'static str,
    pub options: &'static [&'static str],
    pub outcome: Outcome,
}

/// What must come of a case. Words are parts of what is printed.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// `bn` is folded into `conv`, as exact arithmetic has it, and everything else is the same.
    Folded,
    /// The same, with this said on stderr.
    Warned(&'static str),
    /// `bn` stays for this reason, and everything is the same.
    Kept(&'static str),
    /// Nothing is written, and an error names the file and says this.
    Refused(&'static str),
}

use Outcome::{Folded, Kept, Refused, Warned};

/// KiB of address space, of which threads' stacks take some; none of the files has a megabyte of tensors.
const MEMORY: u32 = 1_000_000;
const TIME: Duration = Duration::from_secs(20);
const RESULT: &str = "out/";

/// All of them.
fn cases() -> Vec<Case> {
    let all = [headers::cases(), entries::cases(), values::cases(), indexes::cases(), configs::cases(), plans::cases()];
    all.into_iter().flatten().collect()
}

/// What is wrong with the outcome of `case`, if anything.
fn judge(case: &Case, device: &str) -> Result<(), String> {
    let folder = Folder::new();
    for (name, bytes) in &case.files {
        std::fs::write(folder.path(name), bytes).unwrap();
    }
    let (input, output) = (folder.path(case.input), folder.path(RESULT));
    let options = case.options.iter().map(|option| match *option {
        "@plan" => folder.path("plan.json").into_os_string(),
        option => option.into(),
    });
    let options = options.collect::<Vec<_>>();
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"--device", &device, &"--no-sync", &"--input", &input, &"--output", &output];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<_>));
    // Drivers reserve more address space than they use.
    let limit = if device == "cpu" { MEMORY.to_string() } else { "unlimited".to_owned() };
    let mut command = shell(&format!("ulimit -v {limit}"), &arguments);
    let started = Instant::now();
    let run = Run::end(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    if started.elapsed() > TIME {
        return Err(format!("it took {:?}", started.elapsed()));
    }
    if [&run.stdout, &run.stderr].iter().any(|text| text.chars().any(|c| misleads(c) && c != '\n')) {
        return Err(format!("it steers the terminal: {run:?}"));
    }
    outcome(case, &run, &input, &output)
}

fn outcome(case: &Case, run: &Run, input: &Path, output: &Path) -> Result<(), String> {
    let said = |words: &str| run.stderr.contains(words) || run.stdout.contains(words);
    let result = output.join(case.input);
    match case.outcome {
        Refused(words) => {
            let names_file = case.files.iter().any(|(name, _)| run.stderr.contains(name));
            let wrote = std::fs::read_dir(output).is_ok_and(|mut files| files.next().is_some());
            let is_right = matches!(run.code, Some(1 | 2)) && run.stderr.contains("error: ") && said(words);
            (is_right && names_file && !wrote)
                .then_some(())
                .ok_or_else(|| format!("should be refused, `{words}`: {run:?}"))
        }
        Kept(words) if run.code != Some(0) || !said(words) => Err(format!("should stay, `{words}`: {run:?}")),
        Folded | Warned(_) if run.code != Some(0) => Err(format!("should be folded: {run:?}")),
        Warned(words) if !said(words) => Err(format!("no `{words}`: {run:?}")),
        Kept(_) => same_but(input, &result, &[]),
        Folded | Warned(_) => exact(input, &result).and_then(|()| same_but(input, &result, &TOUCHED)),
    }
}

/// Tensors that folding changes or removes.
const TOUCHED: [&str; 7] =
    ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"];

/// Every tensor but those of `touched` is in both, with its type, shape and bytes.
fn same_but(before: &Path, after: &Path, touched: &[&str]) -> Result<(), String> {
    let [before, after] = [before, after].map(|path| Checkpoint::open(path).map_err(|error| error.to_string()));
    let (before, after) = (before?, after?);
    for (name, tensor) in before.tensors().iter().filter(|(name, _)| !touched.contains(&name.as_str())) {
        let other = after.tensors().get(name).ok_or_else(|| format!("{name:?} is gone"))?;
        let bytes = |checkpoint: &Checkpoint, tensor: &bnfold_gpu::checkpoint::Tensor| {
            let mut bytes = vec![0; tensor.bytes as usize];
            checkpoint.read(tensor, 0, &mut bytes).unwrap();
            bytes
        };
        if (&tensor.dtype, &tensor.shape) != (&other.dtype, &other.shape)
            || bytes(&before, tensor) != bytes(&after, other)
        {
            return Err(format!("{name:?} is not what it was"));
        }
    }
    Ok(())
}

/// The conv of the result is conv and norm of the original, with the default eps of PyTorch.
fn exact(before: &Path, after: &Path) -> Result<(), String> {
    let [before, after] = [before, after].map(|path| Checkpoint::open(path).map_err(|error| error.to_string()));
    let (before, after) = (before?, after?);
    let read = |name: &str| before.tensors().contains_key(name).then(|| before.read_f64(name).unwrap().unwrap());
    let (Some(mean), Some(var), Some(weight)) = (read("bn.running_mean"), read("bn.running_var"), read("conv.weight"))
    else {
        return Err("test is broken: no norm".to_owned());
    };
    let channels = mean.len();
    let or = |name, absent: f64| read(name).unwrap_or_else(|| vec![absent; channels]);
    let (gamma, beta, bias) = (or("bn.weight", 1.0), or("bn.bias", 0.0), or("conv.bias", 0.0));
    if let Some(absent) = ["conv.weight", "conv.bias"].into_iter().find(|name| !after.tensors().contains_key(*name)) {
        return Err(format!("`{absent}` is not in the result"));
    }
    let [got, shift] = ["conv.weight", "conv.bias"].map(|name| after.read_f64(name).unwrap().unwrap_or_default());
    let [weights, biases] = ["conv.weight", "conv.bias"].map(|name| match &after.tensor(name).unwrap().dtype {
        bnfold_gpu::checkpoint::Dtype::Known(dtype) => *dtype,
        bnfold_gpu::checkpoint::Dtype::Unknown(_) => unreachable!("it was read as floats"),
    });
    for channel in 0..channels {
        let scale = gamma[channel] / (var[channel] + 1e-5).sqrt();
        let moved = (bias[channel] - mean[channel]) * scale;
        let largest = [moved, beta[channel], bias[channel] * scale, mean[channel] * scale].map(f64::abs).into_iter();
        let off = (shift[channel] - (moved + beta[channel])).abs() / ulp(biases, largest.fold(0.0, f64::max));
        if !(off <= 2.0) {
            return Err(format!("shift of channel {channel} is {off} ulp off"));
        }
        let row = weight.len() / channels;
        for (index, stored) in weight.iter().enumerate().skip(channel * row).take(row) {
            let off = (got[index] - stored * scale).abs() / ulp(weights, stored * scale);
            if !(off <= 1.5) {
                return Err(format!("weight {index} is {off} ulp off"));
            }
        }
    }
    Ok(())
}

/// What comes of all `cases` on a device, in words for a person; fails where one has another outcome than it must have.
fn judge_all<'a>(cases: impl Iterator<Item = &'a Case>, device: &str) -> usize {
    let outcomes = cases.map(|case| judge(case, device).map_err(|why| format!("{}: {why}", case.name)));
    let outcomes = outcomes.collect::<Vec<_>>();
    let wrong = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(String::as_str).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    outcomes.len()
}

#[test]
fn every_hostile_file_has_the_outcome_it_must_have() {
    let cases = cases();
    let names = cases.iter().map(|case| &case.name).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let count = judge_all(cases.iter(), "cpu");
    assert_eq!(count, 423, "docs/reliability.md says how many");
}

/// Those whose numbers come to a device: values are hostile to arithmetic, of which it has its own.
#[cfg(feature = "gpu")]
#[test]
fn hostile_values_have_the_same_outcome_on_a_gpu() {
    let count = judge_all(values::cases().iter(), "gpu");
    assert!(count > 50, "docs/reliability.md says how many");
}
