//! Folded checkpoints verified in other people's pipelines: scripts/verify_folded.sh, the pre-commit hooks, the action.
//!
//! In: folders as their users have them, with files that match and files that do not. Out: their exit status, and what
//! they say.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docs::root;
use crate::fixture::{Folder, Model, Run, bnfold};

/// A folder with `net.safetensors` and `net.folded.safetensors`.
fn pair() -> Folder {
    let folder = Folder::new();
    let original = folder.file("net.safetensors", &Model::conv_bn());
    bnfold(&[&"--input", &original, &"--device", &"cpu"]).expect(0);
    assert_eq!(folder.names(), ["net.folded.safetensors", "net.safetensors"]);
    folder
}

/// Puts another network in the place of the original.
fn spoil(original: &Path) {
    Model::conv_bn_with("bn.bias", 5.0).write(original);
}

/// A command with this program on its PATH.
fn with_program(command: &str, folder: &Folder) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_bnfold-gpu")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(command);
    command.current_dir(folder.path("")).env("PATH", path).env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

fn script() -> PathBuf {
    root().join("scripts/verify_folded.sh")
}

/// Runs the script in `folder` with these arguments.
fn verify(folder: &Folder, arguments: &[&str]) -> Run {
    Run::of(with_program(script().to_str().unwrap(), folder).args(arguments))
}

/// How many pairs were verified, whatever came of them.
fn pairs(run: &Run) -> usize {
    run.stdout.lines().filter(|line| line.contains(".safetensors")).count()
}

/// Makes `folder` a git repository whose files are all tracked.
fn track(folder: &Folder) {
    for arguments in [&["init", "--quiet"][..], &["add", "."]] {
        let git = Command::new("git").args(arguments).current_dir(folder.path("")).status().unwrap();
        assert!(git.success());
    }
}

#[test]
fn a_pair_is_verified_once_whichever_of_its_files_is_named() {
    let folder = pair();
    folder.text("notes.txt", "no checkpoint");
    folder.file("alone.safetensors", &Model::conv_bn());
    for names in [
        &["net.folded.safetensors"][..],
        &["net.safetensors"],
        &["./net.safetensors", "net.folded.safetensors", "notes.txt", "alone.safetensors"],
    ] {
        let run = verify(&folder, names).expect(0);
        assert_eq!(pairs(&run), 1, "{names:?}: {run:?}");
        assert!(run.stdout.contains("net.folded.safetensors: ok, 1 norm folded"), "{run:?}");
    }
    assert_eq!(pairs(&verify(&folder, &["notes.txt", "alone.safetensors"]).expect(0)), 0);
}

/// A file that bears the name of a result, and was never folded.
#[test]
fn a_copy_of_the_original_is_no_result() {
    let folder = pair();
    std::fs::copy(folder.path("net.safetensors"), folder.path("net.folded.safetensors")).unwrap();
    let run = verify(&folder, &["net.folded.safetensors"]).expect(1);
    assert!(run.stderr.contains("1 norm could have been folded but stayed as before"), "{run:?}");
}

#[test]
fn a_mismatch_and_a_missing_original_fail_and_the_rest_is_verified() {
    let folder = pair();
    std::fs::copy(folder.path("net.folded.safetensors"), folder.path("lost.folded.safetensors")).unwrap();
    std::fs::copy(folder.path("net.folded.safetensors"), folder.path("changed.folded.safetensors")).unwrap();
    spoil(&folder.path("changed.safetensors"));
    let names = ["changed.folded.safetensors", "lost.folded.safetensors", "net.folded.safetensors"];
    let run = verify(&folder, &names).expect(1);
    assert!(run.stdout.contains("net.folded.safetensors: ok"), "{run:?}");
    for words in [
        "error: changed.folded.safetensors: not verified against changed.safetensors (exit status 1)\n",
        "error: lost.folded.safetensors: its original, lost.safetensors, does not exist; ",
    ] {
        assert!(run.stderr.contains(words), "{run:?}");
    }
    for name in &names[..2] {
        verify(&folder, &[name]).expect(1);
    }
}

#[test]
fn options_reach_verify() {
    let folder = pair();
    verify(&folder, &["--eps", "1e-5", "--quiet", "--", "net.safetensors"]).expect(0);
    verify(&folder, &["--eps", "1e-3", "--", "net.safetensors"]).expect(1);
    let run = verify(&folder, &["--no-such-option", "--", "net.safetensors"]).expect(2);
    assert!(run.stderr.contains("--no-such-option"), "{run:?}");
}

#[test]
fn wrong_usage_is_told_from_a_mismatch() {
    let folder = pair();
    for (arguments, words) in [
        (&[][..], "no FILE"),
        (&["--eps", "1e-5", "net.safetensors"], "no `--` ends the options"),
        (&["--originals", ".", "--", "net.safetensors"], "--originals needs --folded"),
        (&["--folded", ".", "--", "net.safetensors"], "--folded needs --originals"),
        (&["--folded", "nowhere", "--", "net.safetensors"], "not `nowhere`"),
    ] {
        verify(&folder, arguments).error(2, &[words, "usage: verify_folded.sh"]);
    }
    let mut without = Command::new("/bin/bash");
    without.arg(script()).arg("net.safetensors").current_dir(folder.path("")).env("PATH", "/nowhere");
    let run = Run::of(&mut without).expect(2);
    assert!(run.stderr.contains("bnfold-gpu is not on PATH"), "{run:?}");
}

#[test]
fn folders_of_originals_and_of_results_are_paired_by_path_and_shards_by_index() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("zoo/sharded")).unwrap();
    folder.file("zoo/one.safetensors", &Model::conv_bn());
    let shard = "model-00001-of-00001.safetensors";
    folder.file(&format!("zoo/sharded/{shard}"), &Model::conv_bn());
    let names = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"];
    let map = names.map(|name| format!("\"{name}\": \"{shard}\"")).join(", ");
    folder
        .text("zoo/sharded/model.safetensors.index.json", format!("{{\"metadata\": {{}}, \"weight_map\": {{{map}}}}}"));
    let zoo = [&"--input" as &dyn AsRef<_>, &folder.path("zoo"), &"--output", &folder.path("out"), &"--device", &"cpu"];
    bnfold(&zoo).expect(0);

    let shard = format!("sharded/{shard}");
    let index = "sharded/model.safetensors.index.json";
    let files =
        [format!("out/{shard}"), format!("zoo/{shard}"), format!("./out/{index}"), "out/one.safetensors".into()];
    let options = ["--folded", "out/", "--originals", "./zoo", "--"];
    let arguments = options.into_iter().chain(files.iter().map(String::as_str)).collect::<Vec<_>>();
    let run = verify(&folder, &arguments).expect(0);
    assert_eq!(pairs(&run), 2, "{run:?}");
    assert!(run.stdout.contains(&format!("out/{index}: ok, 1 norm folded")), "{run:?}");

    // A checkpoint of neither folder, and an original that was not folded.
    folder.file("other.safetensors", &Model::conv_bn());
    folder.file("zoo/new.safetensors", &Model::conv_bn());
    let arguments = options.into_iter().chain(["other.safetensors", "zoo/new.safetensors"]).collect::<Vec<_>>();
    assert_eq!(pairs(&verify(&folder, &arguments).expect(0)), 0);
    spoil(&folder.path("zoo/one.safetensors"));
    let arguments = options.into_iter().chain(["zoo/one.safetensors"]).collect::<Vec<_>>();
    verify(&folder, &arguments).expect(1);
}

#[test]
fn tracked_files_are_found_and_finding_none_fails() {
    let folder = pair();
    track(&folder);
    let run = verify(&folder, &["--tracked", "--", "*.folded.safetensors"]).expect(0);
    assert_eq!(pairs(&run), 1, "{run:?}");
    verify(&folder, &["--tracked", "--", "*.bin"]).error(1, &["no tracked file that matches `*.bin`"]);
}

/// The value of a key in a YAML file where the file has it as text on one line, or as a block below it.
fn yaml(file: &str, key: &str, from: &str) -> String {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let (_, text) = text.split_once(from).unwrap_or_else(|| panic!("{file} has no `{from}`"));
    let (_, value) = text.split_once(&format!("{key}: ")).unwrap_or_else(|| panic!("{file} has no `{key}`"));
    let (first, rest) = value.split_once('\n').unwrap();
    if first != "|" {
        return first.to_owned();
    }
    let indent = rest.len() - rest.trim_start().len();
    let lines = rest.lines().take_while(|line| line.trim().is_empty() || line.starts_with(&" ".repeat(indent)));
    lines.map(|line| line.get(indent..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_hook_finds_the_script_from_where_pre_commit_put_the_program() {
    // pre-commit's clone, with the folder into which it installs, and a repository elsewhere.
    let clone = Folder::new();
    std::fs::create_dir_all(clone.path("rustenv-default/bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bnfold-gpu"), clone.path("rustenv-default/bin/bnfold-gpu")).unwrap();
    std::os::unix::fs::symlink(root().join("scripts"), clone.path("scripts")).unwrap();
    let entry = yaml(".pre-commit-hooks.yaml", "entry", "- id: bnfold-gpu-verify\n");
    let hook = |folder: &Folder| {
        let path = format!("{}:{}", clone.path("rustenv-default/bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{entry} \"$@\""), "sh", "--eps", "1e-5", "--", "net.folded.safetensors"]);
        shell.current_dir(folder.path("")).env("PATH", path);
        Run::of(&mut shell)
    };
    let folder = pair();
    assert_eq!(pairs(&hook(&folder).expect(0)), 1);
    spoil(&folder.path("net.safetensors"));
    hook(&folder).expect(1);
    // The other hook's entry is a file of the clone, which pre-commit starts.
    let entry = yaml(".pre-commit-hooks.yaml", "entry", "- id: bnfold-gpu-verify-installed\n");
    assert_eq!(root().join(entry), script());
}

#[test]
fn the_action_verifies_what_its_inputs_name() {
    let run = yaml("action.yml", "run", "- name: Verify\n");
    assert!(run.lines().count() > 5, "the test found only {run}");
    let action = |folder: &Folder, inputs: &[(&str, &str)]| {
        let mut bash = with_program("bash", folder);
        // As GitHub starts a step with `shell: bash`.
        bash.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", &run]);
        bash.env("GITHUB_ACTION_PATH", root()).env("RUNNER_TEMP", folder.path("none"));
        for (name, default) in [("FILES", "*.folded.safetensors"), ("FOLDED", ""), ("ORIGINALS", ""), ("ARGUMENTS", "")]
        {
            let given = inputs.iter().find(|(input, _)| *input == name);
            bash.env(name, given.map_or(default, |(_, value)| value));
        }
        Run::of(&mut bash)
    };
    let folder = pair();
    track(&folder);
    let default = yaml("action.yml", "default", "  files:\n");
    assert_eq!(default, "\"*.folded.safetensors\"");
    assert_eq!(pairs(&action(&folder, &[]).expect(0)), 1);
    action(&folder, &[("ARGUMENTS", "--eps\n1e-5\n")]).expect(0);
    action(&folder, &[("ARGUMENTS", "--eps\n1e-3\n")]).expect(1);
    action(&folder, &[("FILES", "nothing here\n*.bin\n")]).error(1, &["matches `nothing here *.bin`"]);
    action(&folder, &[("FOLDED", ".")]).error(2, &["--folded needs --originals"]);
    // An input is data: it is not run.
    let run = action(&folder, &[("FILES", "$(touch planted)\n`touch planted`\n")]).expect(1);
    assert!(!folder.path("planted").exists(), "{run:?}");
}
