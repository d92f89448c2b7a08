//! What is there and cannot be read is never taken for what is not there.
//!
//! In: folders, indices and links that the system refuses to read. Out: an error for every model that they may bear on, and
//! nothing written for it.

#![cfg(unix)]

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::fixture::{Folder, Model, Run, shell, unprivileged};
use crate::sharded::{INDEX, Shards, parted, write};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs without the power to read what may not be read.
fn bound(arguments: &[&dyn AsRef<OsStr>]) -> Run {
    Run::of(&mut unprivileged(&[&[&"--device" as &dyn AsRef<_>, &"cpu", &"--no-sync"], arguments].concat()))
}

/// Shards whose names do not tell that they are some.
fn unnumbered() -> Shards {
    parted().into_iter().zip(["one", "two"]).map(|((_, shard), name)| (format!("{name}.safetensors"), shard)).collect()
}

#[test]
fn shards_of_an_index_that_cannot_be_read_are_no_models() {
    let folder = Folder::new();
    let index = write(&folder.path("zoo/a"), &unnumbered());
    folder.file("zoo/other.safetensors", &Model::conv_bn());
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    set_mode(&index, 0);
    let run = bound(&[&"--input", &zoo, &"--output", &out]).error(1, &["Permission denied"]);
    assert!(run.stdout.contains("1 folded, 3 failed"), "{}", run.stdout);
    assert_eq!(run.stderr.matches("may be a part of the sharded model of ").count(), 2, "{}", run.stderr);
    assert!(!out.join("a").exists());
    // Named by itself, a part is as suspect.
    let one = folder.path("zoo/a/one.safetensors");
    bound(&[&"--input", &one, &"--output", &folder.path("x.safetensors")]).error(1, &["Permission denied"]);
    set_mode(&index, 0o644);
    let run = bound(&[&"--input", &zoo, &"--output", &out]).expect(0);
    assert!(run.stdout.contains("1 folded, 1 skipped"), "{}", run.stdout);
}

#[test]
fn a_file_that_another_models_index_may_name_is_not_replaced() {
    let folder = Folder::new();
    write(&folder.path("out"), &unnumbered());
    let input = folder.file("one.safetensors", &Model::conv_bn());
    let out = folder.path("out/one.safetensors");
    let before = std::fs::read(&out).unwrap();
    let forced: &[&dyn AsRef<OsStr>] = &[&"--force", &"--input", &input, &"--output", &out];
    set_mode(&folder.path("out").join(INDEX), 0);
    bound(forced).error(1, &[INDEX, "Permission denied"]);
    set_mode(&folder.path("out").join(INDEX), 0o644);
    // Nor is it where the folder may be written to but not listed.
    set_mode(&folder.path("out"), 0o333);
    bound(forced).error(1, &["cannot read", "Permission denied"]);
    set_mode(&folder.path("out"), 0o755);
    bound(forced).error(1, &["belongs to the sharded model of"]);
    assert_eq!(std::fs::read(&out).unwrap(), before);
}

#[test]
fn a_configuration_that_cannot_be_read_or_looked_for_fails_its_model() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("m")).unwrap();
    let input = folder.file("m/model.safetensors", &Model::conv_bn());
    let config = folder.text("m/config.json", r#"{"batch_norm_eps": 0.001}"#);
    let out = folder.path("x.safetensors");
    let fold = || bound(&[&"--input", &input, &"--output", &out, &"--copy-sidecars"]);
    set_mode(&config, 0);
    fold().error(1, &["config.json", "Permission denied"]);
    std::fs::remove_file(&config).unwrap();
    symlink("config.json", &config).unwrap();
    fold().error(1, &["config.json", "symbolic links"]);
    std::fs::remove_file(&config).unwrap();
    // A folder that cannot be listed may hold any number of files to be copied.
    set_mode(&folder.path("m"), 0o111);
    fold().error(1, &["cannot read", "Permission denied"]);
    set_mode(&folder.path("m"), 0o755);
    assert!(!out.exists());
    fold().expect(0);
}

/// The output cannot be told from the input where the system does not answer.
#[test]
fn an_output_that_cannot_be_inspected_is_not_replaced() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let out = folder.path("x.safetensors");
    symlink("x.safetensors", &out).unwrap();
    bound(&[&"--force", &"--input", &input, &"--output", &out]).error(1, &["x.safetensors: cannot find"]);
    assert!(out.is_symlink());
}

/// With few open files allowed, and many models at a time: none is folded with the eps of no configuration.
#[test]
fn with_few_descriptors_no_model_is_folded_with_another_eps() {
    const MODELS: usize = 300;
    let folder = Folder::new();
    for n in 0..MODELS {
        std::fs::create_dir_all(folder.path(&format!("zoo/{n}"))).unwrap();
        folder.file(&format!("zoo/{n}/model.safetensors"), &Model::conv_bn());
        folder.text(&format!("zoo/{n}/config.json"), r#"{"batch_norm_eps": 0.001}"#);
    }
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let arguments: &[&dyn AsRef<OsStr>] =
        &[&"--device", &"cpu", &"--no-sync", &"--jobs", &"64", &"--input", &zoo, &"--output", &out];
    let run = Run::of(&mut shell("ulimit -n 20", arguments)).expect(0);
    assert!(run.stdout.contains(&format!("{MODELS} folded")), "{}\n{}", run.stdout, run.stderr);
    let data = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
        bytes[8 + header..].to_vec()
    };
    let expected = data(&out.join("0/model.safetensors"));
    let single = folder.path("single.safetensors");
    let input = folder.path("zoo/0/model.safetensors");
    crate::fixture::fold(&input, &[&"--output", &single, &"--eps", &"0.001"]).expect(0);
    assert_eq!(data(&single), expected);
    assert!((0..MODELS).all(|n| data(&out.join(format!("{n}/model.safetensors"))) == expected));
}
