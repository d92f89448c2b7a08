//! Whatever fails leaves nothing behind.
//!
//! In: values that no norm can have, plans that do not fit, folders that cannot be written, disks that fill up, inputs
//! that shrink, signals. Out: exit code 1 (130 for a signal), an error that says where, and a folder with the same files
//! as before.

use std::path::{Path, PathBuf};

use bnfold_gpu::checkpoint::Float;

use crate::fixture::{Folder, Model, Run, bnfold, fold, plan, plan_without_eps};

/// Folds `model` with `options`; it must fail with all of `words` and leave nothing. Returns what it said.
#[track_caller]
fn refused(model: &Model, options: &[&str], words: &[&str]) -> String {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", model);
    let plan = folder.text("plan.json", plan_without_eps(&[("bn", "conv.weight")]));
    let options = options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
    let run = fold(&input, &[&[&"--plan" as &dyn AsRef<_>, &plan], &options[..]].concat()).error(1, words);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
    run.stderr
}

#[test]
fn values_that_no_norm_can_have_are_refused_by_layer_and_channel() {
    let nan = f32::from_bits(0x7fc0_1234);
    let cases: &[(&str, f32, &[&str], &str)] = &[
        ("bn.weight", nan, &[], "gamma is NaN"),
        ("bn.weight", f32::INFINITY, &[], "gamma is inf"),
        ("bn.bias", f32::NEG_INFINITY, &[], "beta is -inf"),
        ("bn.running_mean", nan, &[], "running mean is NaN"),
        ("bn.running_var", nan, &[], "running variance is NaN"),
        ("bn.running_var", -0.5, &[], "running variance is -0.5"),
        ("bn.running_var", -4.0, &["--eps", "8", "--allow", "large-eps"], "running variance is -4"),
    ];
    for (tensor, value, options, words) in cases {
        for style in ["strip", "drop-in"] {
            let model = Model::conv_bn_with(tensor, *value);
            let options = [*options, &["--style", style, "--allow-non-finite"]].concat();
            refused(&model, &options, &["m.safetensors: norm `bn`, channel 2: ", words, "--plan"]);
        }
    }
    // The option that is about folded values does not help, and the error says so where it would be tried.
    let infinite = Model::conv_bn_with("bn.running_mean", f32::INFINITY);
    refused(&infinite, &["--allow-non-finite"], &["--allow-non-finite is about weights and biases, not about norms"]);
    let negative = Model::conv_bn_with("bn.running_var", -0.5);
    assert!(!refused(&negative, &[], &["running variance is -0.5"]).contains("--allow-non-finite"));
}

#[test]
fn an_eps_that_does_not_go_with_the_variance_is_named() {
    let words =
        ["norm `bn`, channel 2: running variance + eps is 0: the running variance is ", "eps is 0;", "--eps-for"];
    for zero in [0.0, -0.0] {
        let model = Model::conv_bn_with("bn.running_var", zero);
        assert!(!refused(&model, &["--eps", "0"], &words).contains("damaged"));
    }
    let mut both = Model::conv_bn_with("bn.weight", 1e30);
    both.set("bn.running_var", 2, 1e-20f32);
    refused(&both, &["--eps", "0"], &["norm `bn`, channel 2: the scale gamma / sqrt(variance + eps) is ", "eps is 0;"]);
}

#[test]
fn results_that_are_not_finite_are_refused_by_layer_and_channel() {
    let words = ["norm `bn`, tensor `conv.weight`, channel 2: ", "--allow-non-finite", "action to \"keep\""];
    let half = |gamma: f64, weight: f64| {
        Model::new().floats("conv.weight", Float::F16, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, weight]).norm(
            "bn",
            Float::F32,
            &[1.0, 1.0, gamma],
            &[0.0; 3],
            &[0.0; 3],
            &[1.0; 3],
        )
    };
    let too_large = half(1000.0, 300.0);
    refused(&too_large, &[], &[&words[..], &["F16 cannot hold; a wider type could"]].concat());
    // A wider type makes no number of a NaN, and is not there for what f32 cannot hold.
    assert!(
        !refused(&half(1.0, f64::NAN), &[], &[&words[..], &["element 5 is NaN before folding"]].concat())
            .contains("--dtype")
    );
    let mut infinite = Model::conv_bn();
    infinite.set("conv.weight", 2 * 27, f32::NEG_INFINITY);
    assert!(
        !refused(&infinite, &[], &[&words[..], &["element 54 is -inf before folding", "folding gives"]].concat())
            .contains("--dtype")
    );
    let mut huge = Model::conv_bn_with("bn.weight", 1e30);
    huge.set("conv.weight", 2 * 27, 1e30);
    assert!(!refused(&huge, &[], &[&words[..], &["folding gives", "F32 cannot hold"]].concat()).contains("--dtype"));
    // The shift: its own layer and channel.
    let bias = Model::conv_bn().floats("conv.bias", Float::F32, &[4], &[0.0, 0.0, f64::INFINITY, 0.0]);
    assert!(
        !refused(&bias, &[], &["norm `bn`, tensor `conv.bias`, channel 2: ", "element 2 is inf before folding"])
            .contains("--dtype")
    );

    // Asked to, it writes them and counts them.
    let folder = Folder::new();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let input = folder.file("m.safetensors", &too_large);
    let run = fold(&input, &[&"--plan", &plan, &"--allow-non-finite"]).expect(0);
    assert!(
        run.stderr.contains("warning: ") && run.stderr.contains("1 folded values are not finite"),
        "{}",
        run.stderr
    );
    fold(&input, &[&"--plan", &plan, &"--dtype", &"f32", &"--force"]).expect(0);
}

#[test]
fn a_plan_that_does_not_fit_leaves_nothing() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let plan = folder.text("plan.json", plan(&[("bn", "none.weight")]));
    fold(&input, &[&"--plan", &plan]).error(1, &["plan.json:2: "]);
    fold(&input, &[&"--plan", &folder.path("none.json")]).error(1, &["none.json: cannot read the plan: No such file"]);
    let keep = folder.text("plan.json", r#"{"version": 1, "layers": []}"#);
    let words = ["not written: 1 of 1 norm kept", "`bn`: the plan does not mention it"];
    fold(&input, &[&"--plan", &keep, &"--strict"]).error(1, &words);
    assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
}

#[test]
fn a_norm_that_lost_a_statistic_is_listed_and_fails_strict() {
    let folder = Folder::new();
    for lost in ["bn.running_var", "bn.running_mean"] {
        let input = folder.file("m.safetensors", &Model::conv_bn().without(lost));
        let run = fold(&input, &[&"--format", &"json", &"--force"]).expect(0).json();
        assert_eq!(run["layers"], serde_json::json!({"folded": 0, "kept": 1}), "{lost}");
        let reason = run["kept"][0]["reason"].as_str().unwrap();
        assert!(run["kept"][0]["norm"] == "bn" && reason.contains(&format!("`{lost}` is missing")), "{reason}");
        let words = ["not written: 1 of 1 norm kept", lost, "is missing"];
        fold(&input, &[&"--strict", &"--force"]).error(1, &words);
        // Nor does a plan of the user's fold it.
        let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
        fold(&input, &[&"--plan", &plan, &"--force"]).error(1, &["plan.json:2: ", lost, "is missing"]);
    }
}

#[test]
fn a_folder_that_is_not_there_or_is_a_file_leaves_nothing() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let words = ["none: there is no such folder, and x.safetensors should be written to it; make it first"];
    fold(&input, &[&"--output", &folder.path("none/x.safetensors")]).error(1, &words);
    fold(&input, &[&"--output", &folder.path("m.safetensors/x.safetensors")])
        .error(1, &["m.safetensors", "Not a directory"]);
    assert_eq!(folder.names(), ["m.safetensors"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    std::fs::create_dir(folder.path("sealed")).unwrap();
    std::fs::set_permissions(folder.path("sealed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let output = folder.path("sealed/x.safetensors");
    let arguments: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--device", &"cpu", &"--input", &input, &"--output", &output];
    Run::of(&mut crate::fixture::unprivileged(arguments)).error(1, &["sealed", "Permission denied"]);
    assert_eq!(std::fs::read_dir(folder.path("sealed")).unwrap().count(), 0);
}

/// Half a gigabyte of zeros that takes no room on disk: a linear layer and its norm, enough for seconds of work.
fn sparse(folder: &Folder) -> (PathBuf, PathBuf) {
    const ROWS: u64 = 64;
    const BYTES: u64 = 512 << 20;
    let mut end = BYTES;
    let mut json =
        format!(r#"{{"fc.weight":{{"dtype":"F32","shape":[{ROWS},{}],"data_offsets":[0,{end}]}}"#, BYTES / 4 / ROWS);
    for tensor in ["weight", "bias", "running_mean", "running_var"] {
        let (begin, bytes) = (end, ROWS * 4);
        end += bytes;
        json += &format!(r#","bn.{tensor}":{{"dtype":"F32","shape":[{ROWS}],"data_offsets":[{begin},{end}]}}"#);
    }
    json += "}";
    let input = folder.text("m.safetensors", crate::fixture::raw_file(&json, &[]));
    let file = std::fs::OpenOptions::new().write(true).open(&input).unwrap();
    file.set_len(8 + json.len() as u64 + end).unwrap();
    (input, folder.text("plan.json", plan(&[("bn", "fc.weight")])))
}

/// Whether the program has opened the file it writes to. On Linux that has no name yet and shows only among the
/// program's open files.
#[cfg(unix)]
fn has_begun(folder: &Folder, program: &std::process::Child) -> bool {
    let handles = std::fs::read_dir(format!("/proc/{}/fd", program.id())).into_iter().flatten().flatten();
    let mut files = handles.filter_map(|handle| std::fs::read_link(handle.path()).ok());
    let unnamed =
        |file: std::path::PathBuf| file.starts_with(folder.path("")) && file.to_string_lossy().ends_with(" (deleted)");
    files.any(unnamed) || folder.names().iter().any(|name| name.starts_with(".bnfold-"))
}

/// Starts to fold the sparse model and waits until the temporary file is there; `setup` is run by the shell before.
#[cfg(unix)]
fn under_way(folder: &Folder, setup: &str) -> std::process::Child {
    use std::process::Stdio;
    let (input, plan) = sparse(folder);
    let arguments: &[&dyn AsRef<std::ffi::OsStr>] =
        &[&"--device", &"cpu", &"--no-sync", &"--input", &input, &"--plan", &plan];
    let mut child = crate::fixture::shell(setup, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while !has_begun(folder, &child) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began: {:?}", Run::end(child));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child
}

#[cfg(unix)]
fn send(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().expect("it is installed");
    assert!(status.success(), "{program} {arguments:?}: the program was gone already");
}

#[cfg(unix)]
#[test]
fn a_signal_in_the_middle_leaves_nothing() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let folder = Folder::new();
        let child = under_way(&folder, ":");
        send("kill", &[signal, &child.id().to_string()]);
        let run = Run::end(child).error(130, &["error: interrupted; the model under way was not written"]);
        assert!(run.stdout.is_empty(), "{signal}: {}", run.stdout);
        assert_eq!(folder.names(), ["m.safetensors", "plan.json"], "{signal}");
    }
}

/// Nothing can be done about this signal; but what has no name leaves nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_kill_in_the_middle_leaves_the_folder_as_it_was() {
    let folder = Folder::new();
    let child = under_way(&folder, ":");
    send("kill", &["-KILL", &child.id().to_string()]);
    let run = Run::end(child);
    assert_eq!((run.code, &*run.stderr), (None, ""), "it ended before the signal");
    assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
}

#[test]
fn a_bias_of_another_length_is_what_does_not_fit() {
    let folder = Folder::new();
    let model = Model::new()
        .floats("conv.weight", Float::F32, &[16, 3, 3, 3], &[0.5; 16 * 27])
        .floats("conv.bias", Float::F32, &[8], &[0.5; 8])
        .norm("bn", Float::F32, &[1.0; 16], &[0.0; 16], &[0.0; 16], &[1.0; 16]);
    let input = folder.file("m.safetensors", &model);
    let arguments: &[&dyn AsRef<std::ffi::OsStr>] = &[&"plan", &"--quiet", &"--format", &"json", &"--input", &input];
    let plan = bnfold(arguments).expect(0).json();
    let reason = plan["layers"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "`conv.weight` has a bias of 8 channels, and the norm has 16");
}

/// A limit on the size of files stands for the disk that is full: the write fails where the limit is reached.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    // From the beginning: the room that the output needs is not there.
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::new().floats("a", Float::F64, &[10_000], &[1.0; 10_000]));
    let arguments: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--device", &"cpu", &"--input", &input];
    let run = Run::of(&mut crate::fixture::shell("trap '' XFSZ; ulimit -f 8", arguments));
    run.error(1, &["m.folded.safetensors: cannot make room on the disk for: File too large"]);
    assert_eq!(folder.names(), ["m.safetensors"]);

    // In the middle of the work.
    let folder = Folder::new();
    let child = under_way(&folder, "trap '' XFSZ");
    send("prlimit", &["--fsize=4096", "--pid", &child.id().to_string()]);
    Run::end(child).error(1, &["m.folded.safetensors: cannot ", "File too large"]);
    assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
}

/// Folds the model at `input` through the library; `meanwhile` is called whenever bytes are done.
fn fold_here(input: &Path, output: &Path, plan: &Path, meanwhile: &(dyn Fn() + Sync)) -> Result<(), String> {
    use bnfold_gpu::{fold::Engine, fold::FoldOptions, model};
    let plan = model::PlanSource::from(plan);
    let settings = model::Settings { plan: Some(&plan), sync: false, ..Default::default() };
    let options = FoldOptions {
        verify: true,
        allow_non_finite: false,
        ranges: false,
        quantization: false,
        threads: 1,
        cancelled: &std::sync::atomic::AtomicBool::new(false),
        progress: &|_| meanwhile(),
    };
    model::fold_model(input, output, settings, &mut Engine::Cpu, options).map(|_| ()).map_err(|error| error.to_string())
}

/// More than two batches of weights, so that something is left to do when the first one is done.
fn three_batches(folder: &Folder) -> (PathBuf, PathBuf) {
    let weights = vec![0.5; 5_000_000];
    let model = Model::new().floats("fc.weight", Float::F32, &[4, 1_250_000], &weights).norm(
        "bn",
        Float::F32,
        &[1.0; 4],
        &[0.0; 4],
        &[1.0; 4],
        &[4.0; 4],
    );
    (folder.file("m.safetensors", &model), folder.text("plan.json", plan(&[("bn", "fc.weight")])))
}

#[test]
fn an_input_that_changes_under_the_reader_is_an_error() {
    for bytes in [100, 15_000_000, 30_000_000] {
        let folder = Folder::new();
        let (input, plan) = three_batches(&folder);
        let length = std::fs::metadata(&input).unwrap().len();
        let change = || std::fs::OpenOptions::new().write(true).open(&input).unwrap().set_len(bytes).unwrap();
        let error = fold_here(&input, &folder.path("out"), &plan, &change).unwrap_err();
        let expected = format!("m.safetensors: changed while it was read (expected {length} bytes, found {bytes})");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
    }
}

#[test]
fn an_output_that_appears_meanwhile_is_not_replaced() {
    let folder = Folder::new();
    let (input, plan) = three_batches(&folder);
    let output = folder.path("out");
    let error = fold_here(&input, &output, &plan, &|| std::fs::write(&output, "another's").unwrap()).unwrap_err();
    assert!(error.contains("out: exists already"), "{error}");
    assert_eq!(std::fs::read(&output).unwrap(), b"another's");
    assert_eq!(folder.names(), ["m.safetensors", "out", "plan.json"]);
}
