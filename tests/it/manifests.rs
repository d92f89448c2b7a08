//! `--dry-run`, `--only` and `report`: what somebody else's scheduler needs.
//!
//! In: a zoo, folded as a whole or model by model. Out: the same results, and the same page from what the runs printed.

use std::path::Path;

use serde_json::Value;

use crate::fixture::{Folder, Model, Run, bnfold};
use crate::zoo::{make_folders, tree};

/// Three models, one of them with a norm that stays, a broken one, and files beside them.
fn ready() -> Folder {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/x/y", "zoo/docs"]);
    let stays = Model::conv_bn().norm("alone", bnfold_gpu::checkpoint::Float::F32, &[1.0], &[0.0], &[0.0], &[1.0]);
    folder.file("zoo/a.safetensors", &Model::conv_bn());
    folder.file("zoo/x/a.safetensors", &Model::conv_bn_with("bn.running_var", 0.0));
    folder.file("zoo/x/y/[b] c.safetensors", &stays);
    folder.text("zoo/x/broken.safetensors", "no checkpoint");
    for sidecar in ["zoo/LICENSE", "zoo/docs/page.md", "zoo/x/notes.txt"] {
        folder.text(sidecar, sidecar);
    }
    folder
}

fn fold_to(folder: &Folder, out: &str, more: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    let (zoo, out) = (folder.path("zoo"), folder.path(out));
    let fixed: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&"-q", &"--format", &"json", &"--copy-sidecars", &"--input", &zoo, &"--output", &out];
    bnfold(&[&fixed[..], more].concat())
}

fn lines(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn places(run: &Run) -> Vec<String> {
    lines(run).iter().filter_map(|line| line["place"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_dry_run_lists_every_model_and_writes_nothing() {
    let folder = ready();
    let listed = fold_to(&folder, "out", &[&"--dry-run"]).expect(0);
    assert_eq!(places(&listed), ["a.safetensors", "x/a.safetensors", "x/broken.safetensors", "x/y/[b] c.safetensors"]);
    let first = &lines(&listed)[0];
    assert_eq!(first["input"], folder.path("zoo/a.safetensors").to_str().unwrap());
    assert_eq!(first["output"], folder.path("out/a.safetensors").to_str().unwrap());
    assert!(!folder.path("out").exists());
    // What cannot be a model is told as it is when the zoo is folded.
    std::os::unix::fs::symlink("nowhere", folder.path("zoo/link.safetensors")).unwrap();
    let listed = fold_to(&folder, "out", &[&"--dry-run"]).expect(1);
    assert_eq!(lines(&listed).last().unwrap()["status"], "failed");
    fold_to(&folder, "zoo/x/a.safetensors", &[&"--dry-run"])
        .error(2, &["names one file, and there are several models"]);
}

#[test]
fn models_folded_one_by_one_are_the_zoo() {
    let folder = ready();
    fold_to(&folder, "whole", &[]).expect(1);
    let listed = fold_to(&folder, "single", &[&"--dry-run"]).expect(0);
    for place in places(&listed) {
        let code = i32::from(place.contains("broken"));
        let run = fold_to(&folder, "single", &[&"--only", &place]).expect(code);
        assert_eq!(lines(&run).len(), 1, "{}", run.stdout);
    }
    assert_eq!(tree(&folder.path("single")), tree(&folder.path("whole")));
    // Each is known by its record, one by one and together.
    let again = fold_to(&folder, "single", &[&"--only", &"x/a.safetensors"]).expect(0);
    assert_eq!(lines(&again)[0]["status"], "skipped");
    let again = fold_to(&folder, "single", &[]).expect(1);
    assert_eq!(lines(&again).iter().filter(|line| line["status"] == "skipped").count(), 3, "{}", again.stdout);
    let missing = fold_to(&folder, "single", &[&"--only", &"y/a.safetensors"]);
    missing.error(2, &["no model at y/a.safetensors (--only) in", "--dry-run"]);
}

#[test]
fn one_model_of_several_inputs_is_picked_by_its_place() {
    let folder = ready();
    let inputs = [folder.path("zoo/x/y"), folder.path("zoo/a.safetensors")];
    let out = folder.path("out");
    let run = |place: &str| {
        bnfold(&[&"-q", &"--format", &"json", &"--only", &place, &"--output", &out, &"--input", &inputs[0], &inputs[1]])
    };
    run("y/[b] c.safetensors").expect(0);
    run("a.safetensors").expect(0);
    assert_eq!(tree(&out).into_keys().collect::<Vec<_>>(), ["a.safetensors", "y/[b] c.safetensors"]);
}

/// A page without what must differ: the word that its scripts carry, times, and the command line.
fn page(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("nonce-").unwrap();
    let nonce = &rest[..32];
    let lines = text.lines().filter(|line| !line.contains("class=\"when\"") && !line.starts_with("<code>"));
    lines.map(|line| line.replace(nonce, "NONCE") + "\n").collect()
}

#[test]
fn a_page_put_together_is_that_of_the_run() {
    let folder = ready();
    let (one, other) = (folder.path("run.html"), folder.path("together.html"));
    let run = fold_to(&folder, "out", &[&"--report", &one]).expect(1);
    let told = run.stdout.lines().collect::<Vec<_>>();
    assert_eq!(told.len(), 4, "{}", run.stdout);
    // What two machines and a second run printed, which came upon what was done.
    let again = fold_to(&folder, "out", &[]).expect(1);
    let manifests = [
        folder.text("0.jsonl", told[..2].join("\n")),
        folder.text("1.jsonl", told[2..].join("\n\n") + "\n"),
        folder.text("2.jsonl", &again.stdout),
    ];
    let together = bnfold(&[&"report", &manifests[0], &manifests[1], &manifests[2], &"--output", &other]).expect(0);
    assert!(together.stdout.contains("together.html: 3 folded, 1 failed"), "{}", together.stdout);
    assert!(page(&one).contains("<h1>3 of 4 models folded, 1 failed</h1>") && page(&one).len() > 20_000);
    assert_eq!(page(&other), page(&one));
    assert!(std::fs::read_to_string(&other).unwrap().contains("Put together 2"));
}

#[test]
fn a_manifest_that_is_not_whole_makes_no_page() {
    let folder = ready();
    let line = fold_to(&folder, "out", &[&"--only", &"a.safetensors"]).expect(0).stdout;
    let page = folder.path("r.html");
    let report = |manifest: &Path| bnfold(&[&"report", &manifest, &"--output", &page]);
    let cut = folder.text("cut.jsonl", format!("{line}{}", &line[..line.len() / 2]));
    report(&cut).error(1, &["cut.jsonl:2: expected a line as `fold --format json`", "EOF while parsing"]);
    report(&folder.text("empty.jsonl", "\n")).error(1, &["empty.jsonl: no line about any model"]);
    report(&folder.path("none.jsonl")).error(1, &["none.jsonl: cannot read"]);
    let elsewhere = line.replace("out/a.safetensors", "other/a.safetensors");
    report(&folder.text("two.jsonl", line.clone() + &elsewhere)).error(1, &["two.jsonl:2:", "take a page each"]);
    assert!(!page.exists());
    let manifest = folder.text("m.jsonl", line);
    bnfold(&[&"report", &manifest, &"--output", &manifest]).error(2, &["is no report of this program"]);
    report(&manifest).expect(0);
    report(&manifest).expect(0);
}
