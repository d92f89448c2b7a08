//! Several models in one call.
//!
//! In: good and bad models, with and without a folder to put the results in. Out: every good one folded, every bad one
//! named, exit code 1 if there was one.

use std::path::PathBuf;

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan};

/// A folder with two good models around a bad one, and a plan for each.
fn ready() -> (Folder, Vec<PathBuf>, PathBuf) {
    let folder = Folder::new();
    let mut inputs = vec![folder.file("a.safetensors", &Model::conv_bn())];
    inputs.push(folder.text("bad.safetensors", "no header"));
    inputs.push(folder.file("c.safetensors", &Model::conv_bn()));
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    (folder, inputs, plan)
}

#[test]
fn one_bad_model_does_not_stop_the_others_and_is_named() {
    let (folder, inputs, plan) = ready();
    let run =
        bnfold(&[&"--device", &"cpu", &"--plan", &plan, &"--input", &inputs[0], &inputs[1], &inputs[2]]).expect(1);
    let expected = [
        "a.folded.safetensors",
        "a.safetensors",
        "bad.safetensors",
        "c.folded.safetensors",
        "c.safetensors",
        "plan.json",
    ];
    assert_eq!(folder.names(), expected);
    let lines = run.stderr.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{}", run.stderr);
    assert!(lines[0].starts_with("error: ") && lines[0].contains("bad.safetensors: not a valid"), "{}", run.stderr);
    assert!(
        lines[1].starts_with("note: 1 of 3 models failed: ") && lines[1].contains("bad.safetensors"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("a.safetensors -> ") && run.stdout.contains("c.safetensors -> "), "{}", run.stdout);
}

#[test]
fn several_results_go_into_one_folder_which_is_made() {
    let (folder, inputs, plan) = ready();
    let out = folder.path("new/deep");
    let run = bnfold(&[&"--device", &"cpu", &"--plan", &plan, &"--input", &inputs[0], &inputs[2], &"--output", &out]);
    run.expect(0);
    let mut names = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["a.safetensors", "c.safetensors"]);
}

#[test]
fn what_is_no_folder_cannot_hold_several_results() {
    let (folder, inputs, plan) = ready();
    let index = crate::sharded::write(&folder.path("in"), &crate::sharded::parted());
    let (below, closed) = (plan.join("x/y"), folder.path("plan.json/"));
    let mut outputs = vec![(plan, "a regular file"), (below, "a regular file"), (closed, "a regular file")];
    #[cfg(unix)]
    for (name, target, found) in [("lost", "nowhere", "a link to nowhere"), ("link", "plan.json", "no folder")] {
        std::os::unix::fs::symlink(target, folder.path(name)).unwrap();
        outputs.push((folder.path(name), found));
    }
    let before = folder.names();
    let several = [&inputs[0], &inputs[2]];
    for (output, found) in &outputs {
        for (inputs, reason) in [(&several[..], "several models need"), (&[&index][..], "a sharded model needs")] {
            let mut program = command(&[&"--device", &"cpu", &"--force", &"--output", output, &"--input"]);
            let words = [&format!(": {found}; {reason} a folder; pass another --output\n")[..]];
            let run = Run::of(program.args(inputs)).error(2, &words);
            assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        }
    }
    let words = ["plan.json: a regular file; the / at its end stands for a folder"];
    fold(&inputs[0], &[&"--output", &folder.path("plan.json/")]).error(2, &words);
    assert_eq!(folder.names(), before);
}

#[test]
fn two_results_of_one_name_are_a_usage_error() {
    let (folder, inputs, _) = ready();
    std::fs::create_dir(folder.path("other")).unwrap();
    let twin = folder.file("other/a.safetensors", &Model::conv_bn());
    let before = folder.names();
    let out = folder.path("out");
    let words = ["a.safetensors and ", "would both be written to ", "fold them one by one"];
    bnfold(&[&"--device", &"cpu", &"--input", &inputs[0], &twin, &"--output", &out]).error(2, &words);
    bnfold(&[&"--device", &"cpu", &"--input", &inputs[0], &inputs[0]]).error(2, &words);
    assert_eq!(folder.names(), before);
}

#[test]
fn plan_reports_every_model_it_can() {
    let (_folder, inputs, _) = ready();
    let run = bnfold(&[&"plan", &"--quiet", &"--format", &"json", &"--input", &inputs[0], &inputs[1], &inputs[2]]);
    let run = run.error(1, &["bad.safetensors: not a valid"]);
    assert_eq!(run.json().as_array().unwrap().len(), 2);
}

#[test]
fn strict_fails_a_model_with_a_norm_that_stays_and_only_that_one() {
    let folder = Folder::new();
    let whole = folder.file("whole.safetensors", &Model::conv_bn());
    let odd = folder.file("odd.safetensors", &Model::conv_bn().floats_replaced("bn.weight", &[1.0; 3]));
    let none = folder.file("none.safetensors", &Model::new());
    let run = bnfold(&[&"--device", &"cpu", &"--strict", &"--input", &odd, &none]);
    run.error(1, &["odd.safetensors: not written: 1 of 1 norm kept; the first is `bn`: "]);
    assert!(folder.path("none.folded.safetensors").exists() && !folder.path("odd.folded.safetensors").exists());
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    fold(&whole, &[&"--strict", &"--plan", &plan]).expect(0);
}
