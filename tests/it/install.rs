//! docs/install.md: its commands work as printed, and its names are those of the files that it speaks of.
//!
//! In: the document's blocks, each of which says above itself what runs it. Out: those that say this file are run, in
//! order, in one home folder; what is installed is gone after the last.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::docs::root;
use crate::fixture::{Folder, Run};

fn document() -> String {
    std::fs::read_to_string(root().join("docs/install.md")).unwrap()
}

/// The shell blocks of the document with what is said above them.
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let found = document.split("```sh\n").collect::<Vec<_>>();
    found
        .windows(2)
        .map(|pair| (pair[0].trim_end().lines().last().unwrap(), pair[1].split("```").next().unwrap()))
        .collect()
}

/// Runs a block in `folder`, as a user whose home is `home` and who has this program.
fn run(block: &str, folder: &Path, home: &Path) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_bnfold-gpu")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", block]).current_dir(folder).env("PATH", path).env("HOME", home);
    Run::of(shell.env("XDG_RUNTIME_DIR", std::env::temp_dir())).expect(0)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<String> {
    let found = Command::new("find").args([".", "-type", "f"]).current_dir(folder).output().unwrap();
    let mut names = String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    names.sort();
    names
}

/// A folder as a download leaves it: an archive of this program, and the sums of the release.
fn downloads() -> Folder {
    let folder = Folder::new();
    let mut python = Command::new("python3");
    python.arg(root().join("scripts/package.py")).arg(env!("CARGO_BIN_EXE_bnfold-gpu"));
    Run::of(python.arg("x86_64-unknown-linux-gnu").arg("--out").arg(folder.path(""))).expect(0);
    run("sha256sum *.tar.gz > SHA256SUMS", &folder.path(""), &folder.path(""));
    // What was not downloaded.
    let sums = std::fs::read_to_string(folder.path("SHA256SUMS")).unwrap();
    folder.text("SHA256SUMS", format!("{sums}{}  bnfold-gpu.cdx.json\n", "0".repeat(64)));
    folder
}

/// A checkout with a model, and a zoo with its results.
fn checkout() -> Folder {
    let folder = Folder::new();
    std::os::unix::fs::symlink(root().join("scripts"), folder.path("scripts")).unwrap();
    std::fs::create_dir(folder.path("zoo")).unwrap();
    for name in ["model.safetensors", "zoo/one.safetensors"] {
        std::fs::copy(root().join("tests/data/digits-resnet.safetensors"), folder.path(name)).unwrap();
    }
    run("bnfold-gpu --input zoo --output folded", &folder.path(""), &folder.path(""));
    folder
}

#[test]
fn the_commands_work_as_printed_and_leave_nothing_behind() {
    let document = document();
    let blocks = blocks(&document);
    let known = ["run by tests/it/install.rs", "run by scripts/check_packaging.sh", "run by .github/", "not run: "];
    for (mark, block) in &blocks {
        let says = mark.strip_prefix("<!-- ").unwrap_or_else(|| panic!("nothing says who runs:\n{block}"));
        assert!(known.iter().any(|known| says.starts_with(known)), "{mark}");
    }
    let ours = blocks.iter().filter(|(mark, _)| mark.contains(known[0])).map(|(_, block)| *block).collect::<Vec<_>>();
    let [archive, completions, verify, uninstall] = ours[..] else { panic!("{ours:#?}") };

    let (home, downloads, checkout) = (Folder::new(), downloads(), checkout());
    let checked = run(archive, &downloads.path(""), &home.path("")).stdout;
    assert!(checked.contains(".tar.gz: OK"), "{checked}");
    run(completions, &home.path(""), &home.path(""));
    let installed = files(&home.path(""));
    for end in ["bin/bnfold-gpu", "completions/bnfold-gpu", "man1/bnfold-gpu.1"] {
        assert!(installed.iter().any(|name| name.ends_with(end)), "no {end} in {installed:?}");
    }
    run("test -x ~/.local/bin/bnfold-gpu", &home.path(""), &home.path(""));
    let verified = run(verify, &checkout.path(""), &home.path("")).stdout;
    assert_eq!(verified.matches(": ok, 12 norms folded").count(), 3, "{verified}");
    run(uninstall, &home.path(""), &home.path(""));
    assert_eq!(files(&home.path("")), Vec::<String>::new());

    // An archive that is not whole.
    std::fs::write(downloads.path("bnfold-gpu-0.1.0-x86_64-unknown-linux-gnu.tar.gz"), "half").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", archive]).current_dir(downloads.path("")).env("HOME", home.path(""));
    assert_ne!(Run::of(&mut shell).code, Some(0));
}

#[test]
fn archives_are_those_of_the_release_workflow() {
    let document = document();
    let prefix = format!("| `bnfold-gpu-{}-", env!("CARGO_PKG_VERSION"));
    let rows = document.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once('`'));
    let listed = rows.map(|(name, rest)| {
        let target = name.trim_end_matches(".tar.gz").trim_end_matches(".zip");
        (target, name.ends_with(".zip"), rest.ends_with("| none |"))
    });
    let workflow = std::fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    let built = workflow.lines().filter_map(|line| line.trim().strip_prefix("- {target: ")).map(|row| {
        let target = row.split([',', '}']).next().unwrap();
        // The oldest glibc that the document promises.
        assert!(!target.ends_with("linux-gnu") || row.contains(&format!("build: {target}.2.17,")), "{row}");
        (target, row.contains("exe: .exe"), row.contains("cpu: true"))
    });
    let built = built.collect::<BTreeSet<_>>();
    assert_eq!(built.len(), 7, "{built:?}");
    assert_eq!(listed.collect::<BTreeSet<_>>(), built);
}

#[test]
fn the_examples_of_hook_and_action_name_what_there_is() {
    let document = document();
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    let hooks = std::fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    for id in ["bnfold-gpu-verify", "bnfold-gpu-verify-installed"] {
        assert!(hooks.contains(&format!("- id: {id}\n")) && document.contains(id), "{id}");
    }
    assert!(
        document.contains(&format!("rev: {version}\n")) && document.contains(&format!("OWNER/bnfold-gpu@{version}\n"))
    );
    let action = std::fs::read_to_string(root().join("action.yml")).unwrap();
    let (_, example) = document.split_once("OWNER/bnfold-gpu@").unwrap();
    let example = example.split("```").next().unwrap();
    let inputs = example.lines().filter_map(|line| line.strip_prefix("      ")?.split_once(':')).map(|(name, _)| name);
    let inputs = inputs.filter(|name| !name.starts_with(' ')).collect::<Vec<_>>();
    assert_eq!(inputs, ["files", "arguments"]);
    for input in inputs.iter().chain(&["folded", "originals"]) {
        assert!(action.contains(&format!("\n  {input}:\n")), "the action has no input {input}");
    }
}
