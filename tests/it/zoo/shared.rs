//! ZOO: what several models, or several runs, have in common: shards, folders, places, plans.
//!
//! In: sharded models in a zoo, indices that name the same shards, runs that fold the same zoo at the same time. Out: every
//! result whole, and nobody's files taken away.

use std::process::Stdio;

use super::{fold_zoo, make_folders, names, tree};
use crate::fixture::{Folder, Model, Run, bnfold, command};
use crate::sharded::{INDEX, Shards, parted, shard_name, write};

fn verified(folder: &Folder, model: &str) {
    let [input, output] = ["zoo", "out"].map(|root| folder.path(root).join(model));
    bnfold(&[&"verify", &"--original", &input, &"--folded", &output]).expect(0);
}

#[test]
fn sharded_models_of_a_zoo_are_folded_as_one_each_and_passed_over_when_done() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    write(&folder.path("zoo/a"), &parted());
    write(&folder.path("zoo/b"), &parted());
    folder.file("zoo/single.safetensors", &Model::conv_bn());
    let run = fold_zoo(&folder, &[]).expect(0);
    assert!(run.stdout.contains("3 folded; 3 norms folded"), "{}", run.stdout);
    let shards = [1, 2].map(|number| shard_name(number, 2));
    let [a, b] = ["a", "b"].map(|model| [&shards[0], &shards[1], INDEX].map(|name| format!("{model}/{name}")));
    assert_eq!(names(&folder.path("out")), [&a[..], &b[..], &["single.safetensors".to_owned()]].concat());
    verified(&folder, &format!("a/{INDEX}"));
    let before = tree(&folder.path("out"));
    let run = fold_zoo(&folder, &[]).expect(0);
    assert!(run.stdout.contains("0 folded, 3 skipped"), "{}", run.stdout);
    // Shards that a killed run left without their index are completed.
    std::fs::remove_file(folder.path("out/a").join(INDEX)).unwrap();
    std::fs::remove_file(folder.path("out/a").join(&shards[1])).unwrap();
    let run = fold_zoo(&folder, &[]).expect(0);
    assert!(run.stdout.contains("1 folded, 2 skipped"), "{}", run.stdout);
    assert_eq!(tree(&folder.path("out")), before);
    // Shards of anything else stop it.
    std::fs::remove_file(folder.path("out/a").join(INDEX)).unwrap();
    folder.file(&format!("out/a/{}", shards[1]), &Model::conv_bn());
    let run = fold_zoo(&folder, &[]).expect(1);
    assert!(run.stderr.contains(&format!("{}: exists already", shards[1])), "{}", run.stderr);
}

#[test]
fn of_two_indices_that_share_shards_one_is_folded_and_the_other_named() {
    let folder = Folder::new();
    let index = write(&folder.path("zoo"), &parted());
    std::fs::copy(&index, folder.path("zoo/latest.safetensors.index.json")).unwrap();
    for _ in 0..2 {
        let run = fold_zoo(&folder, &[]).expect(1);
        let words = ["model.safetensors.index.json: names shards that ", "latest.safetensors.index.json names too"];
        assert!(words.iter().all(|words| run.stderr.contains(words)), "{}", run.stderr);
        verified(&folder, "latest.safetensors.index.json");
    }
    fold_zoo(&folder, &[&"--exclude", &"latest*"]).expect(0);
    verified(&folder, INDEX);
}

#[test]
fn shards_that_are_named_beside_their_index_are_no_models() {
    let folder = Folder::new();
    let index = write(&folder.path("m"), &parted());
    let shards = [1, 2].map(|number| folder.path("m").join(shard_name(number, 2)));
    let out = folder.path("out");
    for force in ["--force", "--no-sync"] {
        let run = bnfold(&[&"--device", &"cpu", &force, &"--input", &shards[0], &index, &shards[1], &"--output", &out]);
        let run = run.expect(0);
        assert_eq!(run.stderr.matches("passed over, it is a part of the model of ").count(), 2, "{}", run.stderr);
        bnfold(&[&"verify", &"--original", &index, &"--folded", &out.join(INDEX)]).expect(0);
        std::fs::remove_dir_all(&out).unwrap();
    }
}

/// Where a part is named alone, or all of them are, as by `*.safetensors`.
#[test]
fn parts_that_are_named_without_their_index_are_refused() {
    let folder = Folder::new();
    let index = write(&folder.path("m"), &parted());
    let shards = [1, 2].map(|number| folder.path("m").join(shard_name(number, 2)));
    let single = folder.file("m/x.safetensors", &Model::conv_bn());
    let out = folder.path("out/");
    let words = [": a part of the sharded model of ", "m/model.safetensors.index.json", "pass that index as --input"];
    let run = bnfold(&[&"--device", &"cpu", &"--input", &shards[0], &shards[1], &single, &"--output", &out]);
    let run = run.error(1, &words);
    assert_eq!(run.stderr.matches(words[0]).count(), 2, "{}", run.stderr);
    assert_eq!(names(&out), ["x.safetensors"]);
    // By whatever name the index has, and from within the folder.
    std::fs::rename(&index, folder.path("m/other.safetensors.index.json")).unwrap();
    let run = Run::of(command(&[&"--device", &"cpu", &"--input", &shard_name(1, 2)]).current_dir(folder.path("m")));
    run.error(1, &[words[0], "other.safetensors.index.json"]);
    bnfold(&[&"plan", &"--input", &shards[1]]).error(1, &[words[0]]);
    // An index that cannot be read tells by its name.
    std::fs::remove_file(folder.path("m/other.safetensors.index.json")).unwrap();
    folder.text(&format!("m/{INDEX}"), "no JSON");
    bnfold(&[&"--device", &"cpu", &"--input", &shards[1]]).error(1, &words);
    // Without one a part may be a whole model.
    std::fs::remove_file(&index).unwrap();
    bnfold(&[&"--device", &"cpu", &"--input", &shards[1], &"--output", &out]).expect(0);
}

/// All tensors of a shard are norms, and folding removes them: no index can name what is left of it.
#[test]
fn a_shard_that_folding_left_without_tensors_is_no_orphan() {
    let folder = Folder::new();
    let [conv, norm] = [1, 2].map(|number| parted()[&shard_name(number, 2)].clone());
    write(&folder.path("zoo"), &Shards::from([(shard_name(1, 2), norm), (shard_name(2, 2), conv)]));
    fold_zoo(&folder, &[]).expect(0);
    let (out, again) = (folder.path("out"), folder.path("again"));
    assert_eq!(names(&out), [&shard_name(1, 2), &shard_name(2, 2), INDEX]);
    let run = bnfold(&[&"--device", &"cpu", &"--input", &out, &"--output", &again]).expect(0);
    let words = [&shard_name(1, 2)[..], ": passed over, a shard without tensors"].concat();
    assert!(run.stderr.contains(&words), "{}", run.stderr);
    assert_eq!(names(&again), [&shard_name(2, 2), INDEX]);
    bnfold(&[&"plan", &"--input", &out]).expect(0);
    // Named by itself it is the part that it is; without an index, or with tensors that no index names, it is an orphan.
    bnfold(&[&"plan", &"--input", &out.join(shard_name(1, 2))]).error(1, &["a part of the sharded model of "]);
    Model::conv_bn().write(&out.join(shard_name(1, 2)));
    bnfold(&[&"plan", &"--input", &out]).error(1, &["1 part of a sharded checkpoint"]);
    Model::new().write(&out.join(shard_name(1, 2)));
    bnfold(&[&"plan", &"--input", &out]).expect(0);
    std::fs::remove_file(out.join(INDEX)).unwrap();
    bnfold(&[&"plan", &"--input", &out]).error(1, &["2 parts of a sharded checkpoint"]);
}

#[test]
fn a_single_result_does_not_take_the_place_of_a_shard() {
    let folder = Folder::new();
    let index = write(&folder.path("m"), &parted());
    make_folders(&folder, &["other"]);
    let other = folder.file(&format!("other/{}", shard_name(1, 2)), &Model::conv_bn());
    let out = folder.path("out");
    let run = bnfold(&[&"--device", &"cpu", &"--force", &"--input", &index, &other, &"--output", &out]);
    run.error(2, &["would both be written to", &shard_name(1, 2)]);
    bnfold(&[&"--device", &"cpu", &"--input", &index, &"--output", &out]).expect(0);
    let run = bnfold(&[&"--device", &"cpu", &"--force", &"--input", &other, &"--output", &out]);
    run.error(1, &["belongs to the sharded model of"]);
    bnfold(&[&"verify", &"--original", &index, &"--folded", &out.join(INDEX)]).expect(0);
}

#[test]
fn an_index_that_is_left_out_does_not_make_models_of_its_shards() {
    let folder = Folder::new();
    let shards = parted();
    let renamed = shards.into_iter().zip(["one.safetensors", "two.safetensors"]);
    let shards = renamed.map(|((_, tensors), name)| (name.to_owned(), tensors)).collect::<Shards>();
    write(&folder.path("zoo"), &shards);
    folder.file("zoo/x.safetensors", &Model::conv_bn());
    for options in [["--exclude", "*.json"], ["--include", "*.safetensors"]] {
        fold_zoo(&folder, &[&options[0], &options[1]]).expect(0);
        assert_eq!(names(&folder.path("out")), ["x.safetensors"]);
    }
    // One that cannot be read fails by itself, not its shards.
    write(&folder.path("zoo/broken"), &parted());
    folder.text(&format!("zoo/broken/{INDEX}"), "no JSON");
    let run = fold_zoo(&folder, &[&"--include", &"broken/*"]).expect(1);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("broken/model.safetensors.index.json"), "{}", run.stderr);
}

/// Models whose shards stand in one new folder.
#[test]
fn a_folder_of_shards_is_made_by_whoever_comes_first() {
    let folder = Folder::new();
    for n in 0..8 {
        let shards = parted().into_iter().map(|(name, tensors)| (format!("parts/{n}-{name}"), tensors)).collect();
        let index = write(&folder.path("zoo"), &shards);
        std::fs::rename(index, folder.path(&format!("zoo/m{n}.safetensors.index.json"))).unwrap();
    }
    for _ in 0..10 {
        fold_zoo(&folder, &[&"--jobs", &"8"]).expect(0);
        assert_eq!(names(&folder.path("out")).len(), 24);
        std::fs::remove_dir_all(folder.path("out")).unwrap();
    }
}

/// As a task that was requeued while the old one still runs.
#[test]
fn runs_at_the_same_time_do_each_other_no_harm() {
    let folder = Folder::new();
    for n in 0..6 {
        write(&folder.path(&format!("zoo/sharded{n}")), &parted());
        folder.file(&format!("zoo/sharded{n}/x{n}.safetensors"), &Model::conv_bn_with("bn.bias", n as f32));
    }
    fold_zoo(&folder, &[]).expect(0);
    let expected = tree(&folder.path("out"));
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    for _ in 0..10 {
        std::fs::remove_dir_all(&out).unwrap();
        let start = || {
            let mut command = command(&[&"--device", &"cpu", &"--no-sync", &"--input", &zoo, &"--output", &out]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let runs = [start(), start(), start()];
        runs.into_iter().for_each(|run| drop(Run::end(run).expect(0)));
        assert_eq!(tree(&out), expected);
    }
}

#[test]
fn of_several_plans_each_model_follows_its_own_however_its_bytes_are_shared() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    let blob = folder.file("blob", &Model::conv_bn());
    #[cfg(unix)]
    for name in ["a", "b"] {
        std::os::unix::fs::symlink(&blob, folder.path(&format!("zoo/{name}.safetensors"))).unwrap();
    }
    #[cfg(not(unix))]
    for name in ["a", "b"] {
        std::fs::copy(&blob, folder.path(&format!("zoo/{name}.safetensors"))).unwrap();
    }
    let zoo = folder.path("zoo");
    let printed = bnfold(&[&"plan", &"--format", &"json", &"--eps", &"0.05", &"--input", &zoo]).expect(0).json();
    let mut plans = printed.clone();
    plans[1]["layers"][0]["eps"] = 0.025.into();
    let both = folder.text("both.json", plans.to_string());
    fold_zoo(&folder, &[&"--plan", &both]).expect(0);
    for (name, eps) in [("a", "0.05"), ("b", "0.025")] {
        let [input, output] = ["zoo", "out"].map(|root| folder.path(root).join(format!("{name}.safetensors")));
        bnfold(&[&"verify", &"--original", &input, &"--folded", &output, &"--eps", &eps]).expect(0);
    }
    // Two for one model: neither.
    let twice = serde_json::to_string_pretty(&serde_json::json!([plans[0], plans[1], printed[0]])).unwrap();
    let second = twice.lines().enumerate().filter(|(_, line)| line.contains("\"version\"")).nth(2).unwrap().0 + 1;
    let twice = folder.text("twice.json", twice);
    let words = [&format!("twice.json:{second}: a second plan for ")[..], "a.safetensors\", after that of line "];
    bnfold(&[&"plan", &"--quiet", &"--input", &zoo, &"--plan", &twice]).error(1, &words);
    // A plan for `a` is none for `b`, in an array or by itself.
    std::fs::remove_dir_all(folder.path("out")).unwrap();
    for plan in [printed[0].to_string(), format!("[{}]", printed[0])] {
        let plan = folder.text("one.json", plan);
        let run = fold_zoo(&folder, &[&"--plan", &plan, &"--force"]).expect(1);
        assert!(run.stderr.contains("none of its plans has \"input\""), "{}", run.stderr);
        assert_eq!(names(&folder.path("out")), ["a.safetensors"]);
        bnfold(&[&"plan", &"--quiet", &"--input", &zoo, &"--plan", &plan]).error(1, &["none of its plans has"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_stdout_does_not_take_are_an_error_in_the_end() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    folder.file("zoo/a.safetensors", &Model::conv_bn());
    for format in ["human", "json"] {
        let (zoo, out) = (folder.path("zoo"), folder.path(format));
        let report = folder.path(&format!("{format}.html"));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 9] =
            [&"--device", &"cpu", &"--format", &format, &"--report", &report, &"--input", &zoo, &"--output"];
        let mut command = command(&[&arguments[..], &[&out]].concat());
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("standard output: cannot write: No space left on device"),
            "{format}"
        );
        assert_eq!(names(&out), ["a.safetensors"]);
        assert!(report.is_file(), "{format}");
    }
}
