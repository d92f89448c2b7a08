//! What people read, word for word: plans, reports, help, errors.
//!
//! In: files of the repository and small made ones. Out: text that is compared with `tests/it/snapshots/`; a change of
//! wording shows in a review. To accept one: `INSTA_UPDATE=always cargo test --test it snapshots`.

use bnfold_gpu::checkpoint::Float;
use insta::assert_snapshot;

use crate::fixture::{Folder, Model, Run, bnfold};

const DIGITS: &str = "tests/data/digits-resnet.safetensors";

/// Standard output, then standard error, with what changes from run to run taken out.
fn text(run: &Run, folder: &Folder) -> String {
    let both = format!("{}--- stderr\n{}", run.stdout, run.stderr);
    both.replace(&folder.path("").to_string_lossy().into_owned(), "FOLDER/")
}

/// A post-activation pair, a norm whose lengths disagree, a norm without a weight, and a quantized weight.
fn mixed(folder: &Folder) -> std::path::PathBuf {
    let ones = [1.0; 4];
    let weight = [0.5; 8];
    let model = Model::new()
        .floats("conv1.weight", Float::F32, &[4, 2, 1, 1], &weight)
        .norm("bn1", Float::F32, &ones, &ones, &ones, &[0.01, 0.5, 2.0, 4.0])
        .norm("alone", Float::F32, &[1.0; 3], &[0.0; 3], &[0.0; 3], &[1.0; 3])
        .floats("odd.running_mean", Float::F32, &[3], &[0.0; 3])
        .floats("odd.running_var", Float::F32, &[4], &ones)
        .raw("q.conv.weight", safetensors::Dtype::I8, &[4, 2, 1, 1], &[1; 8])
        .norm("q.bn", Float::F32, &ones, &ones, &ones, &ones);
    folder.file("mixed.safetensors", &model)
}

#[test]
fn plans() {
    let folder = Folder::new();
    assert_snapshot!("plan_of_the_digits_network", text(&bnfold(&[&"plan", &"--input", &DIGITS]), &folder));
    let input = mixed(&folder);
    assert_snapshot!("plan_with_norms_that_stay", text(&bnfold(&[&"plan", &"--input", &input]), &folder));
    assert_snapshot!("plan_of_every_norm", text(&bnfold(&[&"plan", &"-v", &"--input", &input]), &folder));
    let json = bnfold(&[&"plan", &"--input", &input, &"--format", &"json", &"-q"]);
    assert_snapshot!("plan_as_json", text(&json, &folder));
}

#[test]
fn reports() {
    let folder = Folder::new();
    let input = mixed(&folder);
    let run = bnfold(&[&"--input", &input, &"--device", &"cpu", &"--format", &"human"]);
    insta::with_settings!({filters => vec![(r"in \d+\.\d+ s", "in TIME s")]}, {
        assert_snapshot!("report", text(&run, &folder));
    });
    let folded = folder.path("mixed.folded.safetensors");
    let run = bnfold(&[&"verify", &"--original", &input, &"--folded", &folded]);
    assert_snapshot!("verification", text(&run, &folder));
    let run = bnfold(&[&"verify", &"--original", &input, &"--folded", &folded, &"--eps", &"0.1"]);
    assert_snapshot!("verification_that_fails", text(&run, &folder));
}

#[test]
fn help() {
    let folder = Folder::new();
    for command in ["", "plan", "verify", "devices", "bench"] {
        let arguments: &[&dyn AsRef<std::ffi::OsStr>] = if command.is_empty() { &[&"-h"] } else { &[&command, &"-h"] };
        assert_snapshot!(format!("help_{command}").trim_end_matches('_').to_owned(), text(&bnfold(arguments), &folder));
    }
}

#[test]
fn errors() {
    let folder = Folder::new();
    let input = mixed(&folder);
    let text = |arguments: &[&dyn AsRef<std::ffi::OsStr>]| text(&bnfold(arguments), &folder);
    folder.text("cut.safetensors", "12345678");
    folder.text(
        "p.json",
        "{\"version\": 1, \"layers\": [\n {\"norm\": \"bn1\", \"action\": \"fold\", \"weight\": \"bn1\"}]}",
    );
    let all = [
        text(&[&"--input", &folder.path("none.safetensors")]),
        text(&[&"--input", &folder.path("cut.safetensors")]),
        text(&[&"--input", &input, &"--device", &"cpu", &"--output", &input]),
        text(&[&"--input", &input, &"--device", &"cpu", &"--plan", &folder.path("p.json")]),
        text(&[&"--input", &input, &"--device", &"cpu", &"--strict"]),
    ];
    assert_snapshot!("errors", all.join("\n"));
}
