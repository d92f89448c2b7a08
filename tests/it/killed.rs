//! What runs meet that others left, and limits that end them: killed runs, links in the way, full quotas.
//!
//! In: folders as a kill leaves them, links below the output, a limit on the size of files. Out: what is provably the run's own
//! is counted on, what is dead is cleared away, everything else is named and stays.

use std::ffi::OsStr;
use std::path::Path;

use crate::fixture::{Folder, Model, Run, bnfold};
use crate::library::Tensors;
use crate::sharded::{INDEX, parted, shard_name, write};

fn folded(index: &Path, out: &Path, more: &[&dyn AsRef<OsStr>]) -> Run {
    bnfold(&[&[&"--device" as &dyn AsRef<_>, &"cpu", &"--input", &index, &"--output", &out], more].concat())
}

/// Names in a folder, with what each holds.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = |entry: std::fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap_or_default())
    };
    let mut all = entries.map(named).collect::<Vec<_>>();
    all.sort();
    all
}

#[test]
fn a_sharded_run_that_was_killed_is_taken_up_without_force() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let out = folder.path("out");
    for record in [&[][..], &["--no-record"]] {
        let more = record.iter().map(|option| option as &dyn AsRef<OsStr>).collect::<Vec<_>>();
        folded(&index, &out, &more).expect(0);
        let whole = content(&out);
        // Killed between two names.
        for lost in [&[2][..], &[1], &[1, 2], &[]] {
            std::fs::remove_file(out.join(INDEX)).unwrap();
            lost.iter().for_each(|&number| std::fs::remove_file(out.join(shard_name(number, 2))).unwrap());
            folded(&index, &out, &more).expect(0);
            assert_eq!(content(&out), whole, "{record:?} {lost:?}");
        }
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn shards_that_are_not_the_runs_own_are_counted_and_stay() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let out = folder.path("out");
    folded(&index, &out, &[]).expect(0);
    std::fs::remove_file(out.join(INDEX)).unwrap();
    std::fs::remove_file(out.join(shard_name(2, 2))).unwrap();
    let shard = out.join(shard_name(1, 2));
    let ours = std::fs::read(&shard).unwrap();
    // Of the very length, and of other bytes: known when the files are compared.
    let mut other = ours.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, &other).unwrap();
    folded(&index, &out, &[]).error(1, &["exists already", "--force"]);
    assert_eq!(content(&out), [(shard_name(1, 2), other)]);
    std::fs::write(&shard, "short").unwrap();
    let words = ["exists already, as 1 of 2 shards do; their index does not", "--force"];
    folded(&index, &out, &[]).error(1, &words);
    std::fs::write(&shard, "").unwrap();
    folded(&index, &out, &[]).error(1, &["exists already, and is empty", "--force"]);
    folded(&index, &out, &[&"--force"]).expect(0);
    assert_eq!(std::fs::read(&shard).unwrap(), ours);
}

/// What a run that replaces files has set aside when it is killed: under their own names, and told until they are replaced.
#[test]
fn what_a_killed_run_was_to_replace_is_named_until_it_is_replaced() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let out = folder.path("out");
    folded(&index, &out, &[]).expect(0);
    let whole = content(&out);
    let aside = out.join(".bnfold-Ab12.old");
    std::fs::create_dir(&aside).unwrap();
    for (name, _) in &whole {
        std::fs::rename(out.join(name), aside.join(name)).unwrap();
    }
    std::fs::write(aside.join("other"), "somebody's").unwrap();
    std::fs::write(out.join(".bnfold-Cd34.tmp"), "half").unwrap();
    let run = folded(&index, &out, &[&"--force"]).expect(0);
    let words = [".bnfold-Ab12.old: a run that was killed was about to replace what is in it", "move these files back"];
    assert!(words.iter().all(|words| run.stderr.contains(words)), "{}", run.stderr);
    // Replaced now, as was asked for; what is of anybody else stays, and is told again.
    assert_eq!(content(&aside), [("other".to_owned(), b"somebody's".to_vec())]);
    let names = content(&out).into_iter().filter(|(name, _)| !name.starts_with(".bnfold-Ab12"));
    assert_eq!(names.collect::<Vec<_>>(), whole, "of the dead run's file nothing is left");
    assert!(folded(&index, &out, &[&"--force"]).expect(0).stderr.contains("(other); move these files back"));
}

#[cfg(unix)]
#[test]
fn a_linked_folder_below_the_output_is_not_written_through() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    for name in ["zoo/a/b", "elsewhere", "real"] {
        std::fs::create_dir_all(folder.path(name)).unwrap();
    }
    folder.file("zoo/a/b/m.safetensors", &Model::conv_bn());
    folder.file("zoo/m.safetensors", &Model::conv_bn());
    folder.text("zoo/a/config.json", "{}");
    symlink("real", folder.path("out")).unwrap();
    symlink("../elsewhere", folder.path("real/a")).unwrap();
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    for force in ["--force", "--no-sync"] {
        let run = bnfold(&[&"--device", &"cpu", &force, &"--copy-sidecars", &"--input", &zoo, &"--output", &out]);
        let run = run.error(1, &["out/a: a link, and results are not written through links"]);
        assert_eq!(run.stderr.matches("error: ").count(), 2, "the model and its sidecar: {}", run.stderr);
        assert!(content(&folder.path("elsewhere")).is_empty());
        // The output itself is what the user says it is.
        assert!(folder.path("real/m.safetensors").is_file());
    }
    // Nor are shards whose names have folders.
    let shards = parted().into_iter().map(|(name, shard)| (format!("a/{name}"), shard)).collect();
    let index = write(&folder.path("in"), &shards);
    folded(&index, &out, &[]).error(1, &["out/a: a link, and results are not written through links"]);
    assert!(content(&folder.path("elsewhere")).is_empty());
}

#[cfg(unix)]
#[test]
fn what_links_lead_out_of_the_input_to_is_not_copied() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    for name in ["zoo/m", "home", "cache/models--a--b/blobs", "cache/models--a--b/snapshots/r1"] {
        std::fs::create_dir_all(folder.path(name)).unwrap();
    }
    folder.file("zoo/m/model.safetensors", &Model::conv_bn());
    folder.text("zoo/m/config.json", "{}");
    folder.text("home/key", "secret");
    symlink("../../home", folder.path("zoo/m/x")).unwrap();
    symlink("../../home/key", folder.path("zoo/m/y.txt")).unwrap();
    symlink("config.json", folder.path("zoo/m/z.json")).unwrap();
    let (zoo, single) = (folder.path("zoo"), folder.path("zoo/m/model.safetensors"));
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path(&format!("{name}/")));
    let fold = |input: &Path, output: &Path| {
        bnfold(&[&"--device", &"cpu", &"--copy-sidecars", &"--input", &input, &"--output", &output]).expect(0)
    };
    let run = fold(&zoo, &a);
    assert!(run.stderr.contains("m/x/key (and 1 more): not copied, a link leads out of the folder"), "{}", run.stderr);
    let names = |folder: &Path| content(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&a.join("m")), ["config.json", "model.safetensors", "z.json"]);
    assert!(fold(&single, &b).stderr.contains("m/y.txt: not copied"));
    assert_eq!(names(&b), ["config.json", "model.safetensors", "z.json"]);
    // A cache's snapshot is made of links to its blobs, which lie outside.
    let [blobs, snapshot] = ["blobs", "snapshots/r1"].map(|name| folder.path("cache/models--a--b").join(name));
    std::fs::rename(&single, blobs.join("1")).unwrap();
    std::fs::write(blobs.join("2"), "{}").unwrap();
    symlink("../../blobs/1", snapshot.join("model.safetensors")).unwrap();
    symlink("../../blobs/2", snapshot.join("config.json")).unwrap();
    symlink("../../../../home/key", snapshot.join("key")).unwrap();
    fold(&snapshot, &c);
    assert_eq!(names(&c), ["config.json", "model.safetensors"]);
}

/// `ulimit -f`, as some machines set it for their users: by default a signal that kills without a word.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_fails_the_model_that_meets_it() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("zoo")).unwrap();
    let values = vec![1.0; 10_000];
    let large = Model::new().floats("a", bnfold_gpu::checkpoint::Float::F64, &[10_000], &values);
    folder.file("zoo/large.safetensors", &large);
    folder.file("zoo/small.safetensors", &Model::conv_bn());
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let arguments: &[&dyn AsRef<OsStr>] = &[&"--device", &"cpu", &"--input", &zoo, &"--output", &out];
    let run = Run::of(&mut crate::fixture::shell("ulimit -f 16", arguments)).error(1, &["File too large"]);
    assert!(run.stdout.contains("1 folded, 1 failed"), "{}", run.stdout);
    assert_eq!(Tensors::read(&out.join("small.safetensors")).0.len(), 2);
    assert_eq!(content(&out).len(), 1);
}
