//! Files that cannot be read, or only just.
//!
//! In: misaligned, broken, hidden and peculiar files. Out: the same result as for an ordinary file, or exit code 1 and one
//! error that names the file, what was found and, where there is a choice, what to do.

use std::path::Path;

use bnfold_gpu::checkpoint::Float;
use safetensors::{Dtype, SafeTensors};

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan, raw_file};

/// The tensors of `path` with the odd-sized bytes first and a header that is not padded: every float lies askew.
fn misaligned(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.iter().collect::<Vec<_>>();
    tensors.sort_by_key(|(name, tensor)| (tensor.dtype() != Dtype::U8, name.to_string()));
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let (dtype, shape, begin) = (tensor.dtype(), tensor.shape(), data.len());
        data.extend_from_slice(tensor.data());
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{}]}}"#,
            data.len()
        ));
    }
    let mut json = format!("{{{}}}", entries.join(","));
    while json.len() % 8 != 2 {
        json.push(' ');
    }
    raw_file(&json, &data)
}

#[test]
fn data_need_not_be_aligned() {
    let folder = Folder::new();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight"), ("bn2", "half.weight")]));
    let model = Model::conv_bn()
        .raw("a", Dtype::U8, &[3], &[1, 2, 3])
        .floats("half.weight", Float::F16, &[2, 3], &[1.0, -2.0, 0.5, 3.0, 0.25, -1.0])
        .norm("bn2", Float::F16, &[1.0, 2.0], &[0.5, 1.0], &[0.0, 1.0], &[1.0, 4.0]);
    let straight = folder.file("straight.safetensors", &model);
    let askew = folder.text("askew.safetensors", misaligned(&straight));
    let opened = bnfold_gpu::checkpoint::Checkpoint::open(&askew).unwrap();
    let offsets = ["conv.weight", "half.weight", "bn.running_var"].map(|name| opened.tensor(name).unwrap().offset);
    assert!(offsets.iter().all(|offset| offset % 2 == 1), "test file is broken: its data are aligned: {offsets:?}");

    for device in ["cpu", if cfg!(feature = "gpu") { "gpu" } else { "cpu" }] {
        for input in [&straight, &askew] {
            // The originals differ, and their results would say so.
            bnfold(&[&"--input", input, &"--plan", &plan, &"--device", &device, &"--force", &"--no-record"]).expect(0);
        }
        let folded = |name| std::fs::read(folder.path(name)).unwrap();
        assert!(folded("askew.folded.safetensors") == folded("straight.folded.safetensors"), "on the {device}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    fold(&folder.path("none.safetensors"), &[]).error(1, &["none.safetensors: cannot open: No such file"]);
}

#[test]
fn a_folder_is_no_checkpoint() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("model.safetensors")).unwrap();
    let path = folder.path("model.safetensors");
    fold(&path, &[&"--output", &"elsewhere"]).error(2, &["no .safetensors file in ", "model.safetensors"]);
    let words = ["model.safetensors: a folder, expected a regular file", "name the .safetensors files in it"];
    bnfold(&[&"verify", &"--original", &path, &"--folded", &path]).error(1, &words);
}

#[cfg(unix)]
#[test]
fn a_fifo_is_refused_at_once_although_nobody_writes_to_it() {
    let folder = Folder::new();
    let fifo = folder.path("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success(), "test cannot make a FIFO");
    for arguments in [["--device", "cpu", "--input"], ["plan", "--quiet", "--input"], ["verify", "--folded", "x"]] {
        let mut program = command(&[&arguments[0], &arguments[1], &arguments[2]]);
        let original: &[&str] = if arguments[0] == "verify" { &["--original"] } else { &[] };
        program.args(original).arg(&fifo).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let words = ["pipe.safetensors: a FIFO, socket or device, expected a regular file", "copy its content"];
        Run::end(program.spawn().unwrap()).error(1, &words);
    }
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = folder.file("secret.safetensors", &Model::conv_bn());
    std::fs::set_permissions(&input, std::fs::Permissions::from_mode(0o000)).unwrap();
    Run::of(&mut crate::fixture::unprivileged(&[&"--device", &"cpu", &"--input", &input]))
        .error(1, &["secret.safetensors: cannot open: Permission denied"]);
    assert_eq!(folder.names(), ["secret.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_symlink_is_followed_and_the_result_stands_beside_the_link() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("blobs")).unwrap();
    let blob = folder.file("blobs/0123", &Model::conv_bn());
    let bytes = std::fs::read(&blob).unwrap();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    std::os::unix::fs::symlink("blobs/0123", folder.path("model.safetensors")).unwrap();
    fold(&folder.path("model.safetensors"), &[&"--plan", &plan]).expect(0);
    assert_eq!(folder.names(), ["blobs", "model.folded.safetensors", "model.safetensors", "plan.json"]);
    assert_eq!(std::fs::read_dir(folder.path("blobs")).unwrap().count(), 1);
    assert_eq!(std::fs::read(&blob).unwrap(), bytes);
}

#[test]
fn a_broken_file_is_named_with_the_rule_it_breaks() {
    let folder = Folder::new();
    let whole = std::fs::read(folder.file("whole.safetensors", &Model::conv_bn())).unwrap();
    let twins =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "it has 0 bytes, and the header's length alone takes 8"),
        ("noise", vec![0xf3; 100], "(is it really safetensors?)"),
        ("short", whole[..50].to_vec(), "but only 42 follow; the file is truncated"),
        ("cut", whole[..whole.len() - 1].to_vec(), "the file is truncated"),
        ("stub", whole[..100].to_vec(), "but only 92 follow; the file is truncated"),
        ("tail", [&whole[..], b"x"].concat(), "the file is longer than it says"),
        ("twins", raw_file(twins, &[1]), "its header holds `a` twice"),
        ("json", raw_file("{\"a\":\n{]}", &[]), "line 2 column 2"),
    ];
    for (name, bytes, rule) in cases {
        let input = folder.text(&format!("{name}.safetensors"), bytes);
        let named = format!("{name}.safetensors: not a valid safetensors file: ");
        fold(&input, &[]).error(1, &[&named, rule]);
        bnfold(&[&"plan", &"--input", &input]).error(1, &[&named, rule]);
    }
    assert_eq!(folder.names().len(), cases.len() + 1, "nothing was written: {:?}", folder.names());
}

/// What is found under a checkpoint's name where no checkpoint is.
#[test]
fn a_file_of_another_kind_is_called_what_it_is() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let convert = "`python -m bnfold_gpu convert FILE`";
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("pointer", pointer.as_bytes(), &["a Git LFS pointer", "run `git lfs pull`"]),
        ("zip", b"PK\x03\x04\0\0\x08\x08\0\0\0\0", &["a zip archive, as torch.save", convert, "python3 -c"]),
        (
            "pickle",
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            &["a Python pickle", convert, "python3 -c", "weights_only=True"],
        ),
        ("onnx", b"\x08\x07\x12\x07pytorch\x1a\x032.1", &["a graph of ONNX", convert]),
        ("tflite", b"\x1c\0\0\0TFL3\x14\0\x20\0", &["a graph of TensorFlow Lite"]),
        ("saved_model", b"\x08\x01\x12\xf5\x10\x0a\x0a", &["a graph of TensorFlow (a saved model)"]),
        ("hdf5", b"\x89HDF\r\n\x1a\n\0\0\0", &["a file of HDF5", convert]),
        ("flax", b"\x82\xa6params\x81\xa4Conv", &["a file of MessagePack (Flax", convert]),
        ("flax of many", b"\xde\0\x10\xd9\x20a_collection_with_a_rather_long_n", &["a file of MessagePack", convert]),
        ("gguf", b"GGUF\x03\0\0\0\0\0\0\0\0", &["a file of GGUF"]),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &["packed with gzip; unpack it first"]),
        ("page", b"\n<!DOCTYPE html>\n<html lang=\"en\">", &["a web page", "download the file again"]),
        ("denied", b"<?xml version=\"1.0\"?><Error>", &["a web page", "download the file again"]),
        ("text", b"Entry not found", &["a text that begins `Entry not found`", "download the file again"]),
        ("brief", b"404", &["a text that begins `404`", "download the file again"]),
    ];
    let folder = Folder::new();
    for (name, bytes, words) in cases {
        let input = folder.text(&format!("{name}.safetensors"), bytes);
        let named = format!("{name}.safetensors: not a valid safetensors file: it is ");
        fold(&input, &[]).error(1, &[&[named.as_str()], *words].concat());
    }
    let index = folder.text("m.safetensors.index.json", pointer);
    bnfold(&[&"plan", &"--input", &index]).error(1, &["not a valid index", "a Git LFS pointer", "run `git lfs pull`"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_called_that() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("../blobs/0123", folder.path("m.safetensors")).unwrap();
    let words = ["m.safetensors: a link to nowhere: ../blobs/0123 is not there; fetch the file"];
    fold(&folder.path("m.safetensors"), &[]).error(1, &words);
}
