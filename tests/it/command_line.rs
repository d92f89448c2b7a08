//! Exit codes, help, and what is generated from the command line's definition.
//!
//! In: command lines, right and wrong. Out: 0, 1 or 2, an error that says what to do, nothing on stdout but data.

use serde_json::Value;

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan};

#[test]
fn a_command_line_that_cannot_be_followed_ends_with_2_and_says_why() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "<PATH>"),
        (&["--input"], "a value is required for '--input <PATH>...'"),
        (&["--input", "m", "--devise", "cpu"], "--device"),
        (&["--input", "m", "--device", "cuda"], "expected auto, cpu, gpu or gpu:N"),
        (&["--input", "m", "--device", "gpu:-1"], "expected auto, cpu, gpu or gpu:N"),
        (&["--input", "m", "--style", "gone"], "possible values: strip, drop-in"),
        (&["--input", "m", "--dtype", "f8"], "possible values: keep, f32, f16, bf16"),
        (&["--input", "m", "--format", "xml"], "possible values: human, json"),
        (&["--input", "m", "--eps", "-1e-5"], "expected a finite number of at least 0"),
        (&["--input", "m", "--eps", "small"], "expected a number such as 1e-5"),
        (&["--input", "m", "--eps-for", "1e-5"], "expected GLOB=VALUE"),
        (&["--input", "m", "--eps-for", "[=1e-5"], "unclosed character class"),
        (&["--input", "m", "--quiet", "--verbose"], "cannot be used with"),
        (&["--input", "m", "--style", "strip", "--style", "drop-in"], "cannot be used multiple times"),
        (&["--input", "m", "--include", "/zoo/x"], "expected a name, or a path below the input folder"),
        (&["--input", "m", "--exclude", "../x"], "expected a name, or a path below the input folder"),
        (&["--input", ".."], "a folder, whose results need a folder of their own; pass --output DIR"),
        (&["plan"], "--input"),
        (&["verify"], "bnfold-gpu verify ORIGINAL FOLDED"),
        (&["verify", "m"], "bnfold-gpu verify ORIGINAL FOLDED"),
        (&["plan", "--input", "m", "--output", "x"], "--output"),
        (&["verify", "--original", "m"], "--folded"),
        (&["fold"], "PATH"),
        (&["plam", "m.safetensors"], "no such file or folder, and no command; is the command `plan` meant?"),
        (&["completions"], "<SHELL>"),
        (&["completions", "cmd"], "possible values: bash"),
    ];
    for (arguments, words) in cases {
        let arguments = arguments.iter().map(|argument| argument as &dyn AsRef<_>).collect::<Vec<_>>();
        bnfold(&arguments).error(2, &[words]);
    }
}

#[test]
fn what_is_not_one_file_does_not_go_to_standard_output() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let cases: &[(&[&str], &str)] = &[
        (&["m.safetensors"], "--output -: one file fits on standard output"),
        (&["--format", "json"], "--output -: the result goes to standard output, where --format json prints too"),
        (&["--copy-sidecars"], "--output -: --copy-sidecars has no folder to copy to"),
        (&["--shard", "1/2"], "--output -: --shard deals out several models"),
    ];
    for (more, words) in cases {
        let mut program = command(&[&input, &"--output", &"-"]);
        let run = Run::of(program.args(*more).current_dir(folder.path(""))).error(2, &[words]);
        assert_eq!(run.stdout, "", "{more:?}");
    }
}

#[test]
fn a_negative_eps_is_told_from_an_option() {
    bnfold(&[&"--input", &"m", &"--eps", &"-1"]).error(2, &["expected a finite number of at least 0"]);
}

#[test]
fn done_is_0_and_a_model_or_check_that_fails_is_1() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let plan = folder.text("p.json", plan(&[("bn", "conv.weight")]));
    let folded = folder.path("m.folded.safetensors");
    fold(&input, &[&"--plan", &plan]).expect(0);
    let verify: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"verify", &"--original", &input, &"--plan", &plan, &"--folded", &folded];
    bnfold(&verify).expect(0);
    bnfold(&[&"plan", &"--input", &input]).expect(0);
    bnfold(&[&"devices"]).expect(0);

    bnfold(&[&verify[..6], &[&input]].concat()).expect(0);
    let other = folder.file("other.safetensors", &Model::conv_bn_with("conv.weight", 9.0));
    bnfold(&[&verify[..6], &[&other]].concat()).error(1, &["other.safetensors: norm `bn`: ", "conv.weight"]);
    bnfold(&[&verify[..6], &[&folder.path("none")]].concat()).error(1, &["none: cannot open"]);
    bnfold(&[&"plan", &"--input", &folder.path("none")]).error(1, &["none: cannot open"]);
    fold(&input, &[&"--plan", &plan]).error(1, &["exists already"]);
}

#[test]
fn help_and_version_are_data() {
    let version = bnfold(&[&"--version"]).expect(0);
    assert_eq!(version.stdout, format!("bnfold-gpu {}\n", env!("CARGO_PKG_VERSION")));
    let (short, long) = (bnfold(&[&"-h"]).expect(0), bnfold(&[&"--help"]).expect(0));
    for option in [
        "--input",
        "--output",
        "--device",
        "--style",
        "--eps",
        "--eps-for",
        "--plan",
        "--strict",
        "--no-verify",
        "--dtype",
        "--no-sync",
        "--allow-non-finite",
        "--force",
        "--format",
        "--quiet",
        "--verbose",
    ] {
        assert!(short.stdout.contains(option) && long.stdout.contains(option), "{option} has no help");
    }
    assert!(long.stdout.contains("Exit status: 0 done, 1 a model or a check failed, 2 the command line was wrong,"));
    for name in ["plan", "verify", "devices", "completions", "man"] {
        assert!(short.stdout.contains(name), "{name} has no help");
        let run = bnfold(&[&name, &"--help"]).expect(0);
        assert!(run.stdout.contains("Usage: bnfold-gpu") && run.stderr.is_empty(), "{name}: {}", run.stdout);
    }
    assert!(short.stderr.is_empty() && long.stderr.is_empty());
}

#[test]
fn every_shell_gets_a_script_and_man_a_page() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = bnfold(&[&"completions", &shell]).expect(0);
        assert!(run.stdout.contains("bnfold-gpu") && run.stdout.contains("eps-for"), "{shell}:\n{}", run.stdout);
        assert!(run.stderr.is_empty(), "{}", run.stderr);
    }
    let page = bnfold(&[&"man"]).expect(0);
    assert!(page.stdout.starts_with(".ie") && page.stdout.contains(".TH bnfold-gpu 1"), "{}", page.stdout);
    let page = bnfold(&[&"man", &"verify"]).expect(0);
    assert!(page.stdout.contains(".TH bnfold-gpu-verify 1") && page.stdout.contains("ORIGINAL"), "{}", page.stdout);
    bnfold(&[&"man", &"verifi"]).error(2, &["man verifi: no such command; there are fold, plan, verify"]);
    // All pages at once, for packages.
    let folder = Folder::new();
    bnfold(&[&"man", &"--out", &folder.path("man1")]).expect(0);
    let pages = std::fs::read_dir(folder.path("man1")).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    assert!(
        ["bnfold-gpu.1", "bnfold-gpu-fold.1", "bnfold-gpu-bench.1"]
            .iter()
            .all(|name| pages.contains(&name.to_string()))
    );
}

#[test]
fn the_devices_are_listed_for_people_and_for_programs() {
    let json = bnfold(&[&"devices", &"--format", &"json"]).expect(0).json();
    let adapters = json["adapters"].as_array().unwrap();
    for (number, adapter) in adapters.iter().enumerate() {
        assert_eq!(adapter["number"], number);
        assert!(!adapter["name"].as_str().unwrap().is_empty());
        for limit in ["max_buffer_bytes", "max_binding_bytes", "max_workgroups"] {
            assert!(adapter[limit].as_u64().unwrap() > 0, "{adapter}");
        }
    }
    let human = bnfold(&[&"devices"]).expect(0).stdout;
    for adapter in adapters {
        assert!(human.contains(adapter["name"].as_str().unwrap()), "{human}");
    }
    if cfg!(feature = "gpu") {
        assert!(!adapters.is_empty(), "these tests need an adapter; a software one will do");
        let hardware = adapters.iter().any(|adapter| adapter["kind"] != "software");
        let auto = match json["auto"].as_u64() {
            Some(number) => format!("gpu:{number} where it is no slower than the CPU, as measured"),
            None if hardware => "the CPU until `bnfold-gpu bench` has measured gpu:".to_owned(),
            None => "the CPU (no hardware GPU)\n".to_owned(),
        };
        assert!(human.contains(&format!("--device auto picks {auto}")), "{human}");
        assert!(human.contains(&format!("--device gpu picks gpu:{}\n", json["gpu"])), "{human}");
    } else {
        assert_eq!((&json["auto"], &json["gpu"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn a_device_that_is_not_there_fails_with_advice_before_anything_is_written() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let out = folder.path("out");
    let words = ["no graphics adapter for gpu:99: ", "`bnfold-gpu devices` lists what there is, --device cpu"];
    bnfold(&[&"--input", &input, &"--device", &"gpu:99"]).error(1, &words);
    bnfold(&[&"--input", &input, &folder.path("n"), &"--output", &out, &"--device", &"gpu:99"]).error(1, &words);
    assert_eq!(folder.names(), ["m.safetensors"]);
}

/// No driver is found where the loader is told to look elsewhere: a machine without any graphics.
#[cfg(target_os = "linux")]
#[test]
fn without_a_hardware_adapter_auto_takes_the_cpu_and_says_so() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let run = |device: &str| {
        let arguments: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--input", &input, &"--format", &"json", &"--force"];
        let mut program = command(arguments);
        program.args(["--device", device]).env("VK_DRIVER_FILES", "/none").env("VK_ICD_FILENAMES", "/none");
        crate::fixture::Run::of(&mut program)
    };
    let auto = run("auto").expect(0);
    assert!(!auto.stderr.contains("folding on the CPU"), "the report says which: {}", auto.stderr);
    assert_eq!((&auto.json()["device"], &auto.json()["adapter"]), (&"cpu".into(), &Value::Null));
    let cpu = run("cpu").expect(0);
    assert!(!cpu.stderr.contains("folding on the CPU"), "asked for, it need not be said: {}", cpu.stderr);
    run("gpu").error(1, &["no graphics adapter for gpu: ", "--device cpu needs none"]);
}
