//! ZOO: what is found in a folder, and where its result goes.
//!
//! In: trees with configurations, links, pipes, parts of models. Out: the mirrored tree; what is no model is passed over
//! with a word, what should be one and cannot be read fails the run.

use super::{fold_zoo, make_folders, names, tree};
use crate::fixture::{Folder, Model, bnfold};

#[test]
fn the_tree_is_mirrored() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/a/b", "zoo/c"]);
    for name in ["zoo/top.safetensors", "zoo/a/one.safetensors", "zoo/a/b/two.safetensors", "zoo/c/one.safetensors"] {
        folder.file(name, &Model::conv_bn());
    }
    folder.text("zoo/a/notes.txt", "not asked for");
    let run = fold_zoo(&folder, &[]).expect(0);
    let expected = ["a/b/two.safetensors", "a/one.safetensors", "c/one.safetensors", "top.safetensors"];
    assert_eq!(names(&folder.path("out")), expected);
    assert!(run.stdout.contains("4 folded"), "{}", run.stdout);
    for name in expected {
        let (input, output) = (folder.path("zoo").join(name), folder.path("out").join(name));
        bnfold(&[&"verify", &"--original", &input, &"--folded", &output]).expect(0);
    }
}

#[test]
fn several_folders_keep_their_names() {
    let folder = Folder::new();
    make_folders(&folder, &["x", "y/z"]);
    folder.file("x/m.safetensors", &Model::conv_bn());
    folder.file("y/z/m.safetensors", &Model::conv_bn());
    let single = folder.file("n.safetensors", &Model::conv_bn());
    let (x, y, out) = (folder.path("x"), folder.path("y"), folder.path("out"));
    bnfold(&[&"--device", &"cpu", &"--input", &x, &y, &single, &"--output", &out]).expect(0);
    assert_eq!(names(&out), ["n.safetensors", "x/m.safetensors", "y/z/m.safetensors"]);
}

#[test]
fn a_folder_needs_an_output_and_a_model() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    folder.text("zoo/readme.md", "nothing here");
    bnfold(&[&"--input", &zoo, &"--output", &out]).error(2, &["no .safetensors file in ", "zoo"]);
    bnfold(&[&"plan", &"--input", &zoo]).error(2, &["no .safetensors file in ", "zoo"]);
    folder.file("zoo/m.safetensors", &Model::conv_bn());
    bnfold(&[&"--input", &zoo]).error(2, &["zoo: a folder", "pass --output DIR"]);
    let only = ["no .safetensors file that --include names in "];
    bnfold(&[&"--input", &zoo, &"--output", &out, &"--include", &"x*"]).error(2, &only);
    assert_eq!(folder.names(), ["zoo"]);
}

#[test]
fn what_is_included_and_excluded_is_told_by_name_or_path() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/old/deep", "zoo/new"]);
    for name in ["a", "old/a", "old/b", "old/deep/a", "new/b"] {
        folder.file(&format!("zoo/{name}.safetensors"), &Model::conv_bn());
    }
    let cases: [(&[&str], &[&str]); 11] = [
        (&["--include", "a.*"], &["a.safetensors", "old/a.safetensors", "old/deep/a.safetensors"]),
        (&["--include", "old/*"], &["old/a.safetensors", "old/b.safetensors", "old/deep/a.safetensors"]),
        (&["--exclude", "old/*"], &["a.safetensors", "new/b.safetensors"]),
        // A folder stands for everything in it, here and there alike.
        (&["--include", "old"], &["old/a.safetensors", "old/b.safetensors", "old/deep/a.safetensors"]),
        (&["--include", "old/"], &["old/a.safetensors", "old/b.safetensors", "old/deep/a.safetensors"]),
        (&["--include", "./old/deep"], &["old/deep/a.safetensors"]),
        (&["--include", "deep"], &["old/deep/a.safetensors"]),
        (&["--exclude", "old"], &["a.safetensors", "new/b.safetensors"]),
        (&["--exclude", "old/"], &["a.safetensors", "new/b.safetensors"]),
        (&["--exclude", "./old/*"], &["a.safetensors", "new/b.safetensors"]),
        (
            &["--include", "b.*", "--include", "a.*", "--exclude", "old/b.*"],
            &["a.safetensors", "new/b.safetensors", "old/a.safetensors", "old/deep/a.safetensors"],
        ),
    ];
    for (options, expected) in cases {
        let options = options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
        fold_zoo(&folder, &options).expect(0);
        assert_eq!(names(&folder.path("out")), expected);
        std::fs::remove_dir_all(folder.path("out")).unwrap();
    }
}

#[test]
fn results_within_the_zoo_are_no_models_of_it() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    folder.file("zoo/m.safetensors", &Model::conv_bn());
    let (zoo, out) = (folder.path("zoo"), folder.path("zoo/out"));
    for _ in 0..2 {
        bnfold(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out]).expect(0);
        assert_eq!(names(&zoo), ["m.safetensors", "out/m.safetensors"]);
    }
    // Into itself: every result would be an original.
    let before = tree(&zoo);
    bnfold(&[&"--device", &"cpu", &"--force", &"--input", &zoo, &"--output", &zoo])
        .error(2, &["pass another --output"]);
    assert_eq!(tree(&zoo), before);
}

#[test]
fn sidecars_are_copied_when_asked_for_and_weights_of_other_formats_never() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/unet", "zoo/scheduler", "zoo/.git"]);
    folder.file("zoo/unet/model.safetensors", &Model::conv_bn());
    let sidecars =
        ["zoo/model_index.json", "zoo/unet/config.json", "zoo/scheduler/scheduler_config.json", "zoo/LICENSE"];
    sidecars.iter().for_each(|name| drop(folder.text(name, "{}")));
    for name in ["zoo/unet/pytorch_model.bin", "zoo/unet/model.onnx", "zoo/.git/config"] {
        folder.text(name, "weights or worse");
    }
    fold_zoo(&folder, &[]).expect(0);
    assert_eq!(names(&folder.path("out")), ["unet/model.safetensors"]);
    fold_zoo(&folder, &[&"--copy-sidecars"]).expect(0);
    let expected = [
        "LICENSE",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/model.safetensors",
    ];
    assert_eq!(names(&folder.path("out")), expected);
    // A second time there is nothing to do; a copy that is another file is not replaced unasked.
    fold_zoo(&folder, &[&"--copy-sidecars"]).expect(0);
    folder.text("out/LICENSE", "mine");
    fold_zoo(&folder, &[&"--copy-sidecars"]).error(1, &["LICENSE: exists already"]);
    assert_eq!(std::fs::read(folder.path("out/LICENSE")).unwrap(), b"mine");
    fold_zoo(&folder, &[&"--copy-sidecars", &"--force"]).expect(0);
    assert_eq!(std::fs::read(folder.path("out/LICENSE")).unwrap(), b"{}");
}

#[test]
fn a_single_checkpoint_of_a_repository_takes_its_sidecars_along() {
    let folder = Folder::new();
    make_folders(&folder, &["repo", "other"]);
    let input = folder.file("repo/model.safetensors", &Model::conv_bn());
    folder.text("repo/config.json", "{}");
    folder.text("repo/vocab.txt", "a");
    let out = folder.path("out/");
    bnfold(&[&"--device", &"cpu", &"--input", &input, &"--output", &out, &"--copy-sidecars"]).expect(0);
    assert_eq!(names(&folder.path("out")), ["config.json", "model.safetensors", "vocab.txt"]);
    // Without a configuration the folder is no repository, and what else lies in it nobody's business.
    let input = folder.file("other/model.safetensors", &Model::conv_bn());
    folder.text("other/diary.txt", "a");
    let out = folder.path("out2/");
    bnfold(&[&"--device", &"cpu", &"--input", &input, &"--output", &out, &"--copy-sidecars"]).expect(0);
    assert_eq!(names(&folder.path("out2")), ["model.safetensors"]);
}

#[test]
fn eps_comes_from_the_configuration_beside_each_model() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/a", "zoo/b"]);
    for (name, eps) in [("a", "0.05"), ("b", "0.025")] {
        folder.file(&format!("zoo/{name}/model.safetensors"), &Model::conv_bn());
        folder.text(&format!("zoo/{name}/config.json"), format!("{{\"batch_norm_eps\": {eps}}}"));
    }
    fold_zoo(&folder, &[]).expect(0);
    for (name, eps) in [("a", "0.05"), ("b", "0.025")] {
        let [input, output] = ["zoo", "out"].map(|root| folder.path(root).join(name).join("model.safetensors"));
        bnfold(&[&"verify", &"--original", &input, &"--folded", &output, &"--eps", &eps]).expect(0);
        bnfold(&[&"verify", &"--original", &input, &"--folded", &output, &"--eps", &"0.1"]).expect(1);
    }
}

#[test]
fn parts_without_an_index_are_named_and_not_folded_by_themselves() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo"]);
    for n in 1..=3 {
        folder.file(&format!("zoo/model-0000{n}-of-00003.safetensors"), &Model::conv_bn());
    }
    folder.file("zoo/whole-00001-of-00001.safetensors", &Model::conv_bn());
    let run = fold_zoo(&folder, &[]).expect(1);
    assert!(run.stderr.contains("3 parts of a sharded checkpoint, but no *.safetensors.index.json"), "{}", run.stderr);
    assert_eq!(names(&folder.path("out")), ["whole-00001-of-00001.safetensors"]);
}

#[test]
fn what_is_excluded_is_not_entered_and_results_beside_their_originals_are_passed_over() {
    let folder = Folder::new();
    make_folders(&folder, &["zoo/old"]);
    folder.file("zoo/a.safetensors", &Model::conv_bn());
    folder.file("zoo/B.SafeTensors", &Model::conv_bn());
    folder.file("zoo/a.folded.safetensors", &Model::conv_bn());
    folder.file("zoo/lone.folded.safetensors", &Model::conv_bn());
    folder.text("zoo/old/broken.safetensors", "no checkpoint");
    let run = fold_zoo(&folder, &[&"--exclude", &"old"]).expect(0);
    assert_eq!(names(&folder.path("out")), ["B.SafeTensors", "a.safetensors", "lone.folded.safetensors"]);
    assert!(run.stderr.contains("a.folded.safetensors: passed over, by its name it is a result"), "{}", run.stderr);
    let plan = bnfold(&[&"plan", &"--exclude", &"old", &"--input", &folder.path("zoo")]).expect(0);
    assert!(plan.stderr.contains("a.folded.safetensors: passed over"), "{}", plan.stderr);
}

#[test]
fn one_file_in_two_spellings_is_a_usage_error() {
    let folder = Folder::new();
    make_folders(&folder, &["x"]);
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let again = folder.path("x/../m.safetensors");
    bnfold(&[&"--device", &"cpu", &"--input", &input, &again]).error(2, &["would both be written to"]);
    assert_eq!(folder.names(), ["m.safetensors", "x"]);
}

#[test]
fn sidecars_of_two_folders_do_not_take_each_others_place() {
    let folder = Folder::new();
    make_folders(&folder, &["v1/net", "v2/net"]);
    folder.file("v1/net/a.safetensors", &Model::conv_bn());
    folder.file("v2/net/b.safetensors", &Model::conv_bn());
    folder.text("v1/net/config.json", "{\"batch_norm_eps\": 0.05}");
    folder.text("v2/net/config.json", "{\"batch_norm_eps\": 0.025}");
    folder.text("v1/net/LICENSE", "the same");
    folder.text("v2/net/LICENSE", "the same");
    let (v1, v2, out) = (folder.path("v1/net"), folder.path("v2/net"), folder.path("out"));
    let fold = |options: &[&str]| {
        let options = options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"--device", &"cpu", &"--input", &v1, &v2, &"--output", &out];
        bnfold(&[&arguments[..], &options].concat())
    };
    fold(&["--copy-sidecars", "--force"]).error(2, &["config.json", "would both be copied to"]);
    assert!(!out.exists());
    fold(&[]).expect(0);
    assert_eq!(names(&out), ["net/a.safetensors", "net/b.safetensors"]);
    fold(&["--copy-sidecars", "--exclude", "config.json"]).expect(0);
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fixture::{Run, unprivileged};

    #[test]
    fn links_in_circles_and_to_nowhere_and_pipes_do_not_stop_a_run() {
        let folder = Folder::new();
        make_folders(&folder, &["zoo/a"]);
        folder.file("zoo/a/m.safetensors", &Model::conv_bn());
        symlink("..", folder.path("zoo/a/up")).unwrap();
        symlink("nowhere", folder.path("zoo/dangling.txt")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path("zoo/pipe.safetensors")).status().unwrap();
        assert!(made.success());
        let run = fold_zoo(&folder, &[]).expect(0);
        assert_eq!(names(&folder.path("out")), ["a/m.safetensors"]);
        for words in ["zoo/a/up: passed over, the link leads back", "pipe.safetensors: passed over, it is no regular"] {
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
        // A model that should be there and is not.
        symlink("gone", folder.path("zoo/lost.safetensors")).unwrap();
        let run = fold_zoo(&folder, &[]).expect(1);
        let words = "lost.safetensors: a link to nowhere: gone is not there; fetch the file";
        assert!(run.stderr.contains(words) && run.stderr.contains("--exclude"), "{}", run.stderr);
    }

    #[test]
    fn a_folder_that_cannot_be_read_fails_the_run_but_not_the_others() {
        let folder = Folder::new();
        make_folders(&folder, &["zoo/a", "zoo/closed"]);
        folder.file("zoo/a/m.safetensors", &Model::conv_bn());
        folder.file("zoo/closed/m.safetensors", &Model::conv_bn());
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(folder.path("zoo/closed"), mode(0)).unwrap();
        let (zoo, out) = (folder.path("zoo"), folder.path("out"));
        let mut command = unprivileged(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out]);
        let run = Run::of(&mut command).expect(1);
        std::fs::set_permissions(folder.path("zoo/closed"), mode(0o755)).unwrap();
        assert!(run.stderr.contains("zoo/closed: cannot read: Permission denied"), "{}", run.stderr);
        assert_eq!(names(&out), ["a/m.safetensors"]);
    }

    /// A Hugging Face cache: contents under their hashes, and snapshots that link to them; two revisions share one.
    #[test]
    fn blobs_of_a_cache_are_folded_once_and_never_written_to() {
        let folder = Folder::new();
        let cache = "zoo/models--org--net";
        make_folders(&folder, &[&format!("{cache}/blobs"), &format!("{cache}/refs")]);
        let second = Model::conv_bn_with("bn.bias", 7.0);
        folder.file(&format!("{cache}/blobs/aaaa"), &Model::conv_bn());
        folder.file(&format!("{cache}/blobs/bbbb"), &second);
        folder.text(&format!("{cache}/blobs/cccc"), "{\"batch_norm_eps\": 0.001}");
        folder.text(&format!("{cache}/refs/main"), "r2");
        for (revision, blob) in [("r1", "aaaa"), ("r2", "aaaa"), ("r3", "bbbb")] {
            let snapshot = format!("{cache}/snapshots/{revision}");
            make_folders(&folder, &[&snapshot]);
            symlink(format!("../../blobs/{blob}"), folder.path(&format!("{snapshot}/model.safetensors"))).unwrap();
            symlink("../../blobs/cccc", folder.path(&format!("{snapshot}/config.json"))).unwrap();
        }
        let blobs = folder.path(&format!("{cache}/blobs"));
        let before = tree(&blobs);
        let run = fold_zoo(&folder, &[&"--copy-sidecars", &"--format", &"json"]).expect(0);
        assert_eq!(tree(&blobs), before);
        let lines = run.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let folded = lines.filter(|line| line["status"] == "folded").count();
        assert_eq!(folded, 2, "{}", run.stdout);
        let out = tree(&folder.path("out"));
        let result = |revision: &str| &out[&format!("models--org--net/snapshots/{revision}/model.safetensors")];
        assert_eq!(result("r1"), result("r2"));
        assert_ne!(result("r1"), result("r3"));
        assert!(
            out.contains_key("models--org--net/refs/main")
                && out.contains_key("models--org--net/snapshots/r3/config.json")
        );
        assert_eq!(out.len(), 7, "{:?}", out.keys());
        // All of it again: nothing to do.
        fold_zoo(&folder, &[&"--copy-sidecars"]).expect(0);
        assert_eq!(tree(&folder.path("out")), out);
    }

    /// Whatever the cache is called, and from wherever it is looked at.
    #[test]
    fn blobs_beside_snapshots_are_no_sidecars() {
        let folder = Folder::new();
        make_folders(&folder, &["zoo/blobs", "zoo/snapshots/r1", "zoo/.cache/huggingface/download"]);
        folder.file("zoo/blobs/aaaa", &Model::conv_bn());
        folder.text("zoo/.cache/huggingface/download/x.metadata", "half");
        symlink("../../blobs/aaaa", folder.path("zoo/snapshots/r1/model.safetensors")).unwrap();
        fold_zoo(&folder, &[&"--copy-sidecars"]).expect(0);
        assert_eq!(names(&folder.path("out")), ["snapshots/r1/model.safetensors"]);
    }

    #[test]
    fn a_broken_link_can_be_left_out() {
        let folder = Folder::new();
        make_folders(&folder, &["zoo"]);
        folder.file("zoo/a.safetensors", &Model::conv_bn());
        symlink("gone", folder.path("zoo/lost.safetensors")).unwrap();
        fold_zoo(&folder, &[]).expect(1);
        fold_zoo(&folder, &[&"--exclude", &"lost*"]).expect(0);
        fold_zoo(&folder, &[&"--include", &"a*"]).expect(0);
    }

    /// The same bytes beside another configuration are another model.
    #[test]
    fn a_shared_blob_with_another_eps_is_folded_again() {
        let folder = Folder::new();
        make_folders(&folder, &["zoo/a", "zoo/b"]);
        let blob = folder.file("blob", &Model::conv_bn());
        for (name, eps) in [("a", "0.05"), ("b", "0.025")] {
            symlink(&blob, folder.path(&format!("zoo/{name}/model.safetensors"))).unwrap();
            folder.text(&format!("zoo/{name}/config.json"), format!("{{\"batch_norm_eps\": {eps}}}"));
        }
        fold_zoo(&folder, &[]).expect(0);
        let out = tree(&folder.path("out"));
        assert_ne!(out["a/model.safetensors"], out["b/model.safetensors"]);
    }
}
