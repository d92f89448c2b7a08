//! ZOO: runs that are repeated, changed, stopped and split.
//!
//! In: a zoo and its results of an earlier run. Out: what is done is not done again, what is half done is done, and what
//! is anything else is not touched.

use std::path::Path;

use bnfold_gpu::fold::FoldOptions;
use bnfold_gpu::model::Settings;
use bnfold_gpu::report::Outcome;
use bnfold_gpu::zoo::{Engines, Filter, Run, Source, Task, discover};

use super::{Seen, fold_zoo, make_folders, names, tree};
use crate::fixture::{Folder, Model, bnfold};

fn ready() -> Folder {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/x"]);
    folder.file("zoo/a.safetensors", &Model::conv_bn());
    folder.file("zoo/x/b.safetensors", &Model::conv_bn_with("bn.bias", 3.0));
    folder
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn what_is_done_is_not_done_again() {
    let folder = ready();
    fold_zoo(&folder, &[]).expect(0);
    let (before, time) = (tree(&folder.path("out")), modified(&folder.path("out/a.safetensors")));
    std::fs::remove_file(folder.path("out/x/b.safetensors")).unwrap();
    let run = fold_zoo(&folder, &[]).expect(0);
    assert!(run.stdout.contains("1 folded, 1 skipped"), "{}", run.stdout);
    assert_eq!(tree(&folder.path("out")), before);
    assert_eq!(modified(&folder.path("out/a.safetensors")), time);
    let lines = fold_zoo(&folder, &[&"--format", &"json"]).expect(0).stdout;
    let skipped = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"].clone());
    assert!(skipped.map(|reason| reason.as_str().unwrap().starts_with("done before")).eq([true, true]), "{lines}");
    // Asked to, it does everything again; the bytes are the same.
    let run = fold_zoo(&folder, &[&"--force"]).expect(0);
    assert!(run.stdout.contains("2 folded"), "{}", run.stdout);
    assert_eq!(tree(&folder.path("out")), before);
}

/// Makes the result of `a` one of another version of the program, with the same length of header.
fn of_version_0(folder: &Folder) {
    let path = folder.path("out/a.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let version = format!(r#"\"version\":\"{}\""#, env!("CARGO_PKG_VERSION"));
    let at = bytes.windows(version.len()).position(|window| window == version.as_bytes()).unwrap();
    let other = version.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    assert_eq!(other.len(), version.len(), "test file is broken: the header's length would change");
    let bytes = [&bytes[..at], other.as_bytes(), &bytes[at + other.len()..]].concat();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_result_of_other_bytes_or_options_is_neither_kept_nor_replaced() {
    let words = ["a.safetensors: exists already, and is not the result of the same bytes, options, config.json"];
    type Change<'a> = (&'a dyn Fn(&Folder), &'a [&'a str], &'a str);
    let other_bytes = |folder: &Folder| drop(folder.file("zoo/a.safetensors", &Model::conv_bn_with("bn.weight", 2.0)));
    let changes: [Change<'_>; 6] = [
        (&other_bytes, &[], "and version: its record differs in the original's bytes; pass"),
        (&|_| {}, &["--eps", "0.0625"], "its record differs in the options, plan or config.json; pass"),
        (
            &other_bytes,
            &["--style", "drop-in"],
            "differs in the original's bytes and the options, plan or config.json;",
        ),
        (&of_version_0, &[], "its record differs in the version (0.0.0); pass"),
        (&|folder| drop(folder.text("out/a.safetensors", "something of somebody")), &[], "it carries no record"),
        (&|folder| drop(folder.file("out/a.safetensors", &Model::conv_bn())), &[], "it carries no record"),
    ];
    for (change, options, found) in changes {
        let folder = ready();
        fold_zoo(&folder, &[&"--include", &"a.*"]).expect(0);
        change(&folder);
        let before = tree(&folder.path("out"));
        let options = options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
        let run = fold_zoo(&folder, &options).expect(1);
        assert!(run.stderr.contains(words[0]) && run.stderr.contains(found), "{}", run.stderr);
        assert_eq!(tree(&folder.path("out"))["a.safetensors"], before["a.safetensors"]);
        assert!(folder.path("out/x/b.safetensors").exists(), "the other model is folded all the same");
        fold_zoo(&folder, &[&[&"--force" as &dyn AsRef<_>], &options[..]].concat()).expect(0);
    }
}

/// A file of which nothing but the time has changed is the same file; one with the old time and new bytes is not.
#[test]
fn bytes_decide_and_not_times() {
    let folder = ready();
    fold_zoo(&folder, &[]).expect(0);
    let input = folder.path("zoo/a.safetensors");
    let time = modified(&input);
    let set_time = |time| std::fs::OpenOptions::new().write(true).open(&input).unwrap().set_modified(time).unwrap();
    set_time(time + std::time::Duration::from_secs(1000));
    fold_zoo(&folder, &[]).expect(0);
    Model::conv_bn_with("bn.weight", 2.0).write(&input);
    set_time(time);
    let run = fold_zoo(&folder, &[]).expect(1);
    assert!(run.stderr.contains("exists already"), "{}", run.stderr);
}

#[test]
fn parts_of_a_zoo_are_folded_once_each() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    for n in 0..20 {
        folder.file(&format!("zoo/m{n}.safetensors"), &Model::conv_bn_with("bn.bias", n as f32));
    }
    fold_zoo(&folder, &[]).expect(0);
    let whole = tree(&folder.path("out"));
    std::fs::remove_dir_all(folder.path("out")).unwrap();
    let (mut before, mut sizes) = (0, Vec::new());
    for part in ["0/3", "1/3", "2/3"] {
        fold_zoo(&folder, &[&"--shard", &part]).expect(0);
        let now = names(&folder.path("out")).len();
        sizes.push(now - before);
        before = now;
    }
    assert_eq!(tree(&folder.path("out")), whole);
    assert!(sizes.iter().all(|&size| size > 0) && sizes.iter().sum::<usize>() == 20, "{sizes:?}");
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    bnfold(&[&"--input", &zoo, &"--output", &out, &"--shard", &"3/3"]).error(2, &["expected I/N with I from 0"]);
}

/// A part may be empty: a job array does not know how many models there are.
#[test]
fn a_part_without_models_is_no_error() {
    let folder = ready();
    let parts = (0..9).map(|part| fold_zoo(&folder, &[&"--shard", &format!("{part}/9")]).expect(0).stdout);
    let empty = parts.filter(|stdout| stdout.contains("0 folded")).collect::<Vec<_>>();
    assert!(empty.len() >= 7);
    assert!(empty.iter().all(|stdout| stdout.contains("no model falls to part ")), "{empty:?}");
    assert_eq!(names(&folder.path("out")).len(), 2);
    // Of a single model, too.
    let (input, output) = (folder.path("zoo/a.safetensors"), folder.path("single.safetensors"));
    let (mut folded, mut idle) = (0, 0);
    for part in 0..9 {
        let part = format!("{part}/9");
        let run = bnfold(&[&"--device", &"cpu", &"--input", &input, &"--output", &output, &"--shard", &part]).expect(0);
        folded += usize::from(run.stdout.contains("1 norm folded"));
        idle += usize::from(
            run.stdout.contains("0 folded; 0 norms folded, 0 kept; 0 B, ")
                && run.stdout.contains(&format!("; no model falls to part {part} (--shard)")),
        );
    }
    assert_eq!((folded, idle), (1, 8));
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_whole_files_and_the_next_run_goes_on() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    let wide = Model::conv_bn();
    for n in 0..300 {
        folder.file(&format!("zoo/m{n}.safetensors"), &wide);
    }
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let mut command = crate::fixture::command(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !out.is_dir() || names(&out).len() < 5 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let run = crate::fixture::Run::end(child).expect(130);
    for words in [" of 300 models were done; the same command goes on from there", "error: interrupted"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let done = names(&out);
    assert!(done.len() < 300, "it was over before it was interrupted");
    assert!(done.iter().all(|name| name.starts_with('m')), "{done:?}");
    fold_zoo(&folder, &[]).expect(0);
    assert_eq!(names(&out).len(), 300);
}

/// A fault of ours in one model is that model's failure.
#[test]
fn a_panic_in_one_model_does_not_end_the_run() {
    let folder = ready();
    let sources = discover(&[folder.path("zoo").into()], &Filter::default(), None).unwrap().sources;
    let tasks = Task::all(sources, &folder.path("out").into());
    let settings = |source: &Source| {
        assert!(!source.input.path().ends_with("a.safetensors"), "planted");
        Ok(Settings { sync: false, ..Settings::default() })
    };
    let engines = Engines::new(|| Ok(Vec::new()));
    let options = FoldOptions::default();
    let seen = Seen::default();
    let run = Run {
        tasks: &tasks,
        jobs: 1,
        resume: true,
        engines: &engines,
        settings: &settings,
        options,
        describe: &ToString::to_string,
        observer: &seen,
    };
    run.go().unwrap();
    let outcomes = seen.outcomes();
    let [Outcome::Failed(failure), Outcome::Folded(_)] = &outcomes[..] else { panic!("{outcomes:?}") };
    let words = ["a.safetensors: internal error: planted", "please report this"];
    assert!(words.iter().all(|words| failure.error.contains(words)), "{}", failure.error);
    assert_eq!(names(&folder.path("out")), ["x/b.safetensors"]);
}
