//! Runs at the same time on the same output.
//!
//! In: several processes that replace one sharded result, or put it there. Out: the files of one of them, all of them, and
//! nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::fixture::{Folder, Model, Run, bnfold, command};
use crate::library::Tensors;
use crate::sharded::{INDEX, Shards, shard_name, write};

/// A conv and its norm, a tensor a shard: the more names, the longer they take to be given.
fn scattered() -> Shards {
    let folder = Folder::new();
    let all = Tensors::read(&folder.file("m", &Model::conv_bn())).0;
    let count = all.len();
    let shard = |(number, tensor): (usize, (String, _))| {
        (shard_name(number + 1, count), Tensors([tensor].into_iter().collect()))
    };
    all.into_iter().enumerate().map(shard).collect()
}

fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

/// Starts to fold with its own eps: what two runs of different eps wrote cannot be taken for one result.
fn start(index: &Path, out: &Path, eps: &str, force: &[&str]) -> std::process::Child {
    let mut run = command(&[&"--device", &"cpu", &"--no-sync", &"--input", &index, &"--output", &out, &"--eps", &eps]);
    run.args(force).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

const EPS: [&str; 3] = ["0.001", "0.01", "0.1"];

fn ready() -> (Folder, PathBuf, Vec<BTreeMap<String, Vec<u8>>>) {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &scattered());
    let result = |eps: &&str| {
        let out = folder.path(eps);
        bnfold(&[&"--device", &"cpu", &"--input", &index, &"--output", &out, &"--eps", eps]).expect(0);
        content(&out)
    };
    let results = EPS.iter().map(result).collect();
    (folder, index, results)
}

#[test]
fn what_several_forced_runs_leave_is_the_result_of_one() {
    let (folder, index, results) = ready();
    let out = folder.path("out");
    for (at_once, trials) in [(2, 12), (5, 6), (12, 4)] {
        for trial in 0..trials {
            let runs = (0..at_once).map(|run| start(&index, &out, EPS[run % EPS.len()], &["--force"]));
            let runs = runs.collect::<Vec<_>>();
            runs.into_iter().for_each(|run| drop(Run::end(run).expect(0)));
            let found = content(&out);
            let names = found.keys().collect::<Vec<_>>();
            assert!(results.contains(&found), "{at_once} runs, trial {trial}: not the result of one: {names:?}");
        }
    }
}

/// Without `--force` one of them has it, and the others say so.
#[test]
fn of_several_runs_that_replace_nothing_one_places_its_files() {
    let (folder, index, results) = ready();
    let out = folder.path("out");
    for trial in 0..8 {
        let runs = EPS.map(|eps| start(&index, &out, eps, &[])).map(Run::end);
        let done = runs.iter().filter(|run| run.code == Some(0)).count();
        assert_eq!(done, 1, "trial {trial}: {runs:?}");
        assert!(results.contains(&content(&out)), "trial {trial}: {:?}", content(&out).keys());
        assert!(out.join(INDEX).exists());
        std::fs::remove_dir_all(&out).unwrap();
    }
}
