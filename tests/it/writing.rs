//! The output file: its name, mode and bytes, and what it may replace.
//!
//! In: small models and plans, and folders where something stands in the way. Out: files that are held against what the
//! `safetensors` crate writes, and neighbours that must be what they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bnfold_gpu::checkpoint::Float;
use safetensors::{Dtype, SafeTensors};

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan, plan_without_eps};

/// A folder with `m.safetensors`, a conv and its norm, and the plan that folds it.
fn ready() -> (Folder, PathBuf, PathBuf) {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    (folder, input, plan)
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// The header's JSON.
fn header(path: &Path) -> String {
    let bytes = bytes(path);
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    String::from_utf8(bytes[8..8 + length].to_vec()).unwrap()
}

fn keys(path: &Path) -> Vec<String> {
    let bytes = bytes(path);
    let mut keys = SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(str::to_owned).collect::<Vec<_>>();
    keys.sort();
    keys
}

#[test]
fn the_result_stands_beside_the_input_unless_told_otherwise() {
    let (folder, input, plan) = ready();
    fold(&input, &[&"--plan", &plan]).expect(0);
    assert_eq!(keys(&folder.path("m.folded.safetensors")), ["conv.bias", "conv.weight"]);
    fold(&input, &[&"--plan", &plan, &"--output", &folder.path("x.safetensors")]).expect(0);
    assert_eq!(bytes(&folder.path("x.safetensors")), bytes(&folder.path("m.folded.safetensors")));
    // A folder that exists takes the input's name.
    std::fs::create_dir(folder.path("out")).unwrap();
    fold(&input, &[&"--plan", &plan, &"--output", &folder.path("out")]).expect(0);
    assert_eq!(bytes(&folder.path("out/m.safetensors")), bytes(&folder.path("x.safetensors")));
    // A name alone means the current folder.
    let mut here = command(&[&"--device", &"cpu", &"--input", &"m.safetensors", &"--plan", &"plan.json"]);
    let run = Run::of(here.current_dir(folder.path("")).args(["--output", "here.safetensors"])).expect(0);
    assert!(run.stdout.starts_with("m.safetensors -> here.safetensors\n"), "{}", run.stdout);
    assert_eq!(bytes(&folder.path("here.safetensors")), bytes(&folder.path("x.safetensors")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_unicode_is_kept_in_the_result_and_can_be_reported() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, input, plan) = ready();
    let odd = |tail: &[u8]| folder.path("").join(std::ffi::OsStr::from_bytes(&[b"\xff\xfe", tail].concat()));
    std::fs::rename(&input, odd(b".safetensors")).unwrap();
    let run = fold(&odd(b".safetensors"), &[&"--plan", &plan, &"--format", &"json"]).expect(0);
    assert!(odd(b".folded.safetensors").exists(), "{:?}", folder.names());
    assert!(run.json()["output"].as_str().unwrap().ends_with("\u{fffd}\u{fffd}.folded.safetensors"), "{}", run.stdout);
}

#[test]
fn an_existing_file_is_replaced_only_by_force_and_then_whole() {
    let (folder, input, plan) = ready();
    let old = vec![b'x'; 100_000];
    let output = folder.text("m.folded.safetensors", &old);
    let words = ["m.folded.safetensors: exists already", "--force", "--output"];
    fold(&input, &[&"--plan", &plan]).error(1, &words);
    assert_eq!(bytes(&output), old);
    assert_eq!(folder.names(), ["m.folded.safetensors", "m.safetensors", "plan.json"]);

    fold(&input, &[&"--plan", &plan, &"--force"]).expect(0);
    assert_eq!(keys(&output), ["conv.bias", "conv.weight"]);
    assert_eq!(folder.names(), ["m.folded.safetensors", "m.safetensors", "plan.json"]);
}

#[test]
fn the_output_is_never_the_input() {
    let (folder, input, plan) = ready();
    let original = bytes(&input);
    let mut spellings = vec![input.clone(), folder.path("./m.safetensors"), folder.path("sub/../m.safetensors")];
    std::fs::create_dir(folder.path("sub")).unwrap();
    // The folder stands for the file of the input's name in it.
    spellings.push(folder.path(""));
    std::fs::hard_link(&input, folder.path("hard")).unwrap();
    spellings.push(folder.path("hard"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("m.safetensors", folder.path("soft")).unwrap();
        std::os::unix::fs::symlink(".", folder.path("here")).unwrap();
        spellings.extend([folder.path("soft"), folder.path("here/m.safetensors")]);
    }
    let before = folder.names();
    for output in &spellings {
        for force in ["--force", "--no-sync"] {
            fold(&input, &[&"--plan", &plan, &"--output", output, &force])
                .error(1, &["the output is the input itself"]);
        }
        // The other way round: the link is the input, the file the output.
        if output.is_file() {
            let run = fold(output, &[&"--plan", &plan, &"--output", &input, &"--force"]);
            run.error(1, &["the output is the input itself", "the original is never replaced"]);
        }
    }
    assert_eq!(bytes(&input), original);
    assert_eq!(folder.names(), before);
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_and_never_written_through() {
    use std::os::unix::fs::symlink;
    let (folder, input, plan) = ready();
    let blob = folder.text("blob", "bytes that other snapshots share");
    symlink(&blob, folder.path("soft")).unwrap();
    symlink(folder.path("nothing"), folder.path("dangling.safetensors")).unwrap();
    std::fs::hard_link(&blob, folder.path("hard")).unwrap();
    for link in ["soft", "hard", "dangling.safetensors"] {
        let output = folder.path(link);
        fold(&input, &[&"--plan", &plan, &"--output", &output]).error(1, &["exists already"]);
        fold(&input, &[&"--plan", &plan, &"--output", &output, &"--force"]).expect(0);
        assert!(std::fs::symlink_metadata(&output).unwrap().is_file(), "{link} is still a link");
        assert_eq!(keys(&output), ["conv.bias", "conv.weight"], "{link}");
        assert_eq!(bytes(&blob), b"bytes that other snapshots share", "{link}");
        assert!(!folder.path("nothing").exists());
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let (folder, input, plan) = ready();
    let fifo = folder.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success(), "test cannot make a FIFO");
    let socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    std::fs::create_dir_all(folder.path("out/m.safetensors")).unwrap();
    let before = folder.names();
    let outputs = [("fifo", "a FIFO, socket or device"), ("socket", "a FIFO, socket or device"), ("out", "a folder")];
    for (output, found) in outputs {
        let words = [found, "expected a regular file", "another --output"];
        let output = folder.path(output);
        for force in ["--force", "--no-sync"] {
            // Looking at a FIFO must not wait for its other end.
            let mut program = command(&[&"--device", &"cpu", &"--input", &input, &"--plan", &plan]);
            program.arg("--output").arg(&output).arg(force).stdout(Stdio::piped()).stderr(Stdio::piped());
            let run = Run::end(program.spawn().unwrap());
            run.error(1, if force == "--force" { &words } else { &["exists already"] });
        }
    }
    drop(socket);
    assert_eq!(folder.names(), before);
    assert!(folder.path("out/m.safetensors").is_dir());
}

#[test]
fn names_may_be_as_long_as_the_file_system_allows() {
    let (folder, input, plan) = ready();
    let name = "n".repeat(238) + ".safetensors";
    fold(&input, &[&"--plan", &plan, &"--output", &folder.path(&name)]).expect(0);
    assert!(folder.names().contains(&name));
    // The default name would be too long: said before the work is done.
    let long = folder.path(&format!("{}.safetensors", "n".repeat(240)));
    std::fs::rename(&input, &long).unwrap();
    let before = folder.names();
    fold(&long, &[&"--plan", &plan]).error(1, &[".folded.safetensors: cannot ", "File name too long"]);
    assert_eq!(folder.names(), before);
}

#[cfg(unix)]
#[test]
fn the_mode_is_what_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, input, plan) = ready();
    let output = folder.path("m.folded.safetensors");
    for (umask, mode) in [("027", 0o640), ("000", 0o666), ("077", 0o600)] {
        let arguments: &[&dyn AsRef<std::ffi::OsStr>] =
            &[&"--device", &"cpu", &"--input", &input, &"--plan", &plan, &"--force"];
        Run::of(&mut crate::fixture::shell(&format!("umask {umask}"), arguments)).expect(0);
        assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o7777, mode, "umask {umask}");
    }
}

/// Tensors of many types and awkward sizes, none of which belongs to a norm.
fn odds_and_ends() -> Model {
    Model::new()
        .raw("z.u8", Dtype::U8, &[3], &[1, 2, 3])
        .raw("b.i64", Dtype::I64, &[], &7i64.to_le_bytes())
        .raw("nan", Dtype::F32, &[2], &[1, 0, 0xa0, 0x7f, 0, 0, 0, 0x80])
        .raw("a.f8", Dtype::F8_E4M3, &[5], &[0x7f, 0xff, 0, 1, 2])
        .raw("four", Dtype::F4, &[2, 3], &[1, 2, 3])
        .raw("bool", Dtype::BOOL, &[1], &[1])
        .raw("empty", Dtype::F64, &[0, 4], &[])
        .floats("lone.weight", Float::F16, &[2, 1, 3, 3], &[0.5; 18])
        .floats("quote\"\\\n.weight", Float::Bf16, &[1], &[3.0])
}

#[test]
fn a_model_without_norms_is_copied_byte_for_byte_with_a_warning() {
    let folder = Folder::new();
    let model = odds_and_ends().metadata("format", "pt");
    let input = folder.file("m.safetensors", &model);
    let run = fold(&input, &[]).expect(0);
    assert!(run.stderr.contains("m.safetensors: no batch norm found"), "{}", run.stderr);
    assert!(run.stderr.starts_with("warning: "), "{}", run.stderr);
    assert!(bytes(&folder.path("m.folded.safetensors")) == bytes(&input), "not the bytes that the library wrote");
}

#[test]
fn order_padding_and_header_are_those_of_the_library() {
    let folder = Folder::new();
    let (_ready, _, plan) = ready();
    for (index, format) in ["pt", "mlx", "an odd one: \"\\ü\n\u{7f}"].iter().enumerate() {
        let model = [odds_and_ends().raw("other", Dtype::U16, &[1], &[1, 2]), Model::conv_bn()].into_iter();
        let input = folder.file(&format!("{index}.safetensors"), &Model::merged(model).metadata("format", format));
        for style in ["strip", "drop-in"] {
            let output = folder.path(&format!("{index}.{style}.safetensors"));
            fold(&input, &[&"--plan", &plan, &"--output", &output, &"--style", &style, &"--no-record"]).expect(0);
            let ours = bytes(&output);
            let tensors = SafeTensors::deserialize(&ours).unwrap();
            let metadata = Some([("format".to_owned(), format.to_string())].into());
            let theirs = safetensors::serialize(tensors.iter(), metadata).unwrap();
            assert!(
                ours == theirs,
                "{style}: ours\n{}\ntheirs\n{}",
                header(&output),
                String::from_utf8_lossy(&theirs[8..])
            );
            assert_eq!(header(&output).len() % 8, 0);
        }
    }
}

#[test]
fn metadata_is_kept_with_its_keys_sorted_and_two_runs_give_the_same_bytes() {
    let (folder, _, plan) = ready();
    let names = ["total", "format", "a", "zeta", "b\u{1b}[1m", "é", ""];
    let model = names.iter().fold(Model::conv_bn(), |model, name| model.metadata(name, &format!("<{name}>")));
    let input = folder.file("n.safetensors", &model);
    let outputs = ["one.safetensors", "two.safetensors"].map(|name| folder.path(name));
    for output in &outputs {
        fold(&input, &[&"--plan", &plan, &"--output", output, &"--no-record"]).expect(0);
    }
    assert!(bytes(&outputs[0]) == bytes(&outputs[1]), "two runs, two results");
    let sorted = names.iter().map(|name| (name.to_string(), format!("<{name}>"))).collect::<BTreeMap<_, _>>();
    let expected = format!("{{\"__metadata__\":{},", serde_json::to_string(&sorted).unwrap());
    assert!(header(&outputs[0]).starts_with(&expected), "{}", header(&outputs[0]));
}

#[test]
fn folding_a_folded_file_again_does_no_harm() {
    let (folder, input, plan) = ready();
    let stripped = folder.path("m.folded.safetensors");
    fold(&input, &[&"--plan", &plan]).expect(0);
    let run = fold(&stripped, &[]).expect(0);
    assert!(run.stderr.contains("no batch norm found"), "{}", run.stderr);
    assert!(bytes(&folder.path("m.folded.folded.safetensors")) == bytes(&stripped));

    let (once, twice) = (folder.path("once.safetensors"), folder.path("twice.safetensors"));
    let drop_in: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--plan", &plan, &"--style", &"drop-in"];
    fold(&input, &[&drop_in[..], &[&"--output", &once]].concat()).expect(0);
    fold(&once, &[&drop_in[..], &[&"--output", &twice]].concat()).expect(0);
    for folded in [&stripped, &once, &twice] {
        bnfold(&[&"verify", &"--original", &input, &"--folded", folded, &"--plan", &plan]).expect(0);
    }
    // The comparison can fail: this is not the original with another eps.
    let open = folder.text("open.json", plan_without_eps(&[("bn", "conv.weight")]));
    bnfold(&[&"verify", &"--eps", &"0.1", &"--original", &input, &"--folded", &stripped, &"--plan", &open])
        .error(1, &["norm `bn`"]);
}

#[test]
fn a_tensor_of_the_new_biass_name_is_never_overwritten() {
    for (dtype, shape, data) in [
        (Dtype::F32, vec![3], vec![0; 12]),
        (Dtype::F32, vec![4, 1], vec![0; 16]),
        (Dtype::I32, vec![4], vec![0; 16]),
        (Dtype::F32, vec![], vec![0; 4]),
    ] {
        let folder = Folder::new();
        let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
        let input = folder.file("m.safetensors", &Model::conv_bn().raw("conv.bias", dtype, &shape, &data));
        let expected = format!("bias `conv.bias` is {dtype} of shape {shape:?}, not floats of shape [4]");
        fold(&input, &[&"--plan", &plan]).error(1, &["plan.json:2: ", &expected]);
        // Without a plan the planner has no such choice either: the norm stays.
        let run = fold(&input, &[&"--format", &"json"]).expect(0);
        assert_eq!(run.json()["layers"], serde_json::json!({"folded": 0, "kept": 1}));
    }
}
