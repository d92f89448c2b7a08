//! What goes to stdout, what to stderr, and what never reaches a terminal.
//!
//! In: runs with warnings, pipes that close, names made to harm. Out: data alone on stdout, JSON that parses, warnings and
//! errors by their prefix, no colour and no control character where nobody asked for them.

use std::process::Stdio;

use bnfold_gpu::checkpoint::Float;
use serde_json::{Value, json};

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan};

/// Names that would move a cursor, forge a line, change a title, or merely be long.
const HOSTILE: [&str; 5] =
    ["\u{1b}[2J\u{1b}[31m", "a\nerror: forged", "\u{1b}]0;title\u{7}", "q\"'`\\", "\u{9b}31m\r\u{8}"];

/// A model with a norm of every hostile name, and one of 10,000 letters; none can be folded.
fn hostile() -> Model {
    let long = "n".repeat(10_000);
    let names = HOSTILE.iter().copied().chain([long.as_str()]);
    Model::merged(names.map(|name| {
        let odd = |part: &str| format!("{name}.{part}");
        Model::new()
            .floats(&odd("running_mean"), Float::F32, &[2], &[0.0; 2])
            .floats(&odd("running_var"), Float::F32, &[2], &[1.0; 2])
            .floats(&odd("weight"), Float::F32, &[3], &[1.0; 3])
    }))
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\n')
}

#[test]
fn hostile_names_are_escaped_for_people_and_kept_for_programs() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &hostile());
    for arguments in [&["plan", "-v"][..], &["plan"], &["--device", "cpu", "-v", "--force"]] {
        let arguments = arguments.iter().map(|argument| argument as &dyn AsRef<_>).collect::<Vec<_>>();
        let run = bnfold(&[&arguments[..], &[&"--input", &input]].concat()).expect(0);
        assert!(!has_control(&run.stdout) && !has_control(&run.stderr), "{run:?}");
        assert!(!format!("\n{}{}", run.stdout, run.stderr).contains("\nerror: forged"), "{run:?}");
    }
    let run = fold(&input, &[&"--format", &"json", &"--force"]).expect(0);
    assert!(!has_control(&run.stdout), "JSON escapes them: {}", run.stdout);
    let json = run.json();
    let kept = json["kept"].as_array().unwrap().iter().map(|kept| kept["norm"].as_str().unwrap()).collect::<Vec<_>>();
    assert!(HOSTILE.iter().all(|name| kept.contains(name)), "{kept:?}");
    assert_eq!(kept.len(), HOSTILE.len() + 1);
    // In an error, of a plan too.
    let plan = folder.text("p.json", plan(&[(HOSTILE[0], HOSTILE[2])]));
    let run = fold(&input, &[&"--plan", &plan, &"--force"]).expect(1);
    assert!(run.stderr.contains("\\u{1b}[2J") && !has_control(&run.stderr), "{}", run.stderr);
    let strict = fold(&input, &[&"--strict", &"--force"]).expect(1);
    assert!(!has_control(&strict.stderr) && strict.stderr.lines().count() == 1, "{}", strict.stderr);
    // Differences that verify finds.
    let other = folder.file("other.safetensors", &Model::new());
    let verify = bnfold(&[&"verify", &"--original", &input, &"--folded", &other]).expect(1);
    assert!(!has_control(&verify.stderr) && !has_control(&verify.stdout), "{verify:?}");
}

#[cfg(unix)]
#[test]
fn a_hostile_path_is_escaped_for_people_too() {
    let folder = Folder::new();
    let input = folder.file("\u{1b}[31m\nerror: forged.safetensors", &Model::conv_bn());
    for arguments in [&["--device", "cpu", "-v"][..], &["plan"], &["--device", "cpu"]] {
        let arguments = arguments.iter().map(|argument| argument as &dyn AsRef<_>).collect::<Vec<_>>();
        let run = bnfold(&[&arguments[..], &[&"--input", &input]].concat());
        assert!(!has_control(&run.stdout) && !has_control(&run.stderr), "{run:?}");
        assert!(!format!("\n{}{}", run.stdout, run.stderr).contains("\nerror: forged"), "{run:?}");
    }
}

#[test]
fn json_is_one_object_a_model_with_all_that_was_promised() {
    let folder = Folder::new();
    let plan = folder.text("p.json", plan(&[("bn", "conv.weight")]));
    let inputs = ["a.safetensors", "b.safetensors"].map(|name| folder.file(name, &Model::conv_bn()));
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] = [&"--device", &"cpu", &"--format", &"json", &"--plan", &plan];
    let run = bnfold(&[&arguments[..], &[&"--input", &inputs[0], &inputs[1], &folder.path("none")]].concat()).expect(1);
    let lines = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    assert_eq!(lines.len(), 3);
    for (line, input) in lines.iter().zip(&inputs) {
        assert_eq!((&line["status"], &line["input"]), (&json!("folded"), &json!(input.to_str().unwrap())));
        let output = input.with_extension("folded.safetensors");
        assert_eq!(line["output"], json!(output.to_str().unwrap()));
        assert_eq!((&line["device"], &line["adapter"], &line["style"]), (&json!("cpu"), &Value::Null, &json!("strip")));
        assert_eq!((&line["layers"], &line["kept"]), (&json!({"folded": 1, "kept": 0}), &json!([])));
        assert_eq!(line["bytes_in"], json!(std::fs::metadata(input).unwrap().len()));
        assert_eq!(line["bytes_out"], json!(std::fs::metadata(&output).unwrap().len()));
        for stage in ["plan", "read", "copy", "fold", "verify", "write", "total"] {
            assert!(line["seconds"][stage].as_f64().unwrap() >= 0.0, "{stage}");
        }
        assert_eq!(line["verification"]["elements"], 4 * 27 + 4);
        assert_eq!(line["verification"]["differ"], 0);
        assert!(line["verification"]["worst_ulp"].as_f64().unwrap() <= 1.5);
        assert!(line["verification"]["worst_shift_ulp"].as_f64().unwrap() <= 2.0);
        assert!(line["warnings"].is_array());
    }
    assert!(lines[2]["error"].as_str().unwrap().contains("none: cannot open"), "{}", lines[2]);
    assert_eq!(lines[2]["input"], json!(folder.path("none").to_str().unwrap()));

    let run = fold(&inputs[0], &[&"--plan", &plan, &"--format", &"json", &"--force", &"--no-verify"]).expect(0);
    assert_eq!(run.json()["verification"], Value::Null);
}

#[test]
fn warnings_go_to_stderr_by_their_prefix_and_quiet_silences_them() {
    let folder = Folder::new();
    let plan = folder.text("p.json", r#"{"version": 1, "layers": []}"#);
    let input = folder.file("model.safetensors", &Model::conv_bn());
    folder.text("config.json", "{broken");
    let loud = fold(&input, &[&"--plan", &plan]).expect(0);
    assert_eq!(loud.stderr.lines().count(), 2, "{}", loud.stderr);
    assert!(loud.stderr.lines().all(|line| line.starts_with("warning: ")), "{}", loud.stderr);
    assert!(loud.stderr.contains("config.json: not read as JSON"), "{}", loud.stderr);
    assert!(loud.stderr.contains("1 of 1 norm kept; the first is `bn`"), "{}", loud.stderr);
    assert!(loud.stdout.contains("0 of 1 norm folded") && !loud.stdout.contains("warning"), "{}", loud.stdout);

    // What may change results is never silenced; that norms stay does not.
    let quiet = fold(&input, &[&"--plan", &plan, &"--force", &"--quiet"]).expect(0).stderr;
    assert!(quiet.contains("config.json: not read as JSON") && quiet.lines().count() == 1, "{quiet}");
    let quiet = bnfold(&[&"plan", &"--quiet", &"--input", &input]).expect(0).stderr;
    assert!(quiet.contains("eps 1e-5 is assumed") && quiet.lines().count() == 2, "{quiet}");
    std::fs::remove_file(folder.path("config.json")).unwrap();
    let quiet = bnfold(&[&"--quiet", &"--input", &input, &"--plan", &plan, &"--force"]).expect(0);
    assert_eq!(quiet.stderr, "", "that the CPU was taken is no error");
    fold(&input, &[&"--plan", &plan, &"--quiet"]).error(1, &["exists already"]);
}

#[test]
fn colours_are_for_terminals_or_for_those_who_force_them() {
    let folder = Folder::new();
    let run = |variables: &[(&str, &str)]| {
        let mut program = command(&[&"--device", &"cpu", &"--input", &folder.path("none")]);
        program.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        Run::of(&mut program).expect(1).stderr
    };
    assert!(run(&[]).starts_with("error: "), "a pipe: {:?}", run(&[]));
    assert!(run(&[("NO_COLOR", "1")]).starts_with("error: "));
    let forced = run(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.starts_with("\x1b[1;31merror:\x1b[0m "), "{forced:?}");
    let help = Run::of(command(&[&"--help"]).env("TERM", "xterm-256color")).expect(0);
    assert!(!help.stdout.contains('\x1b'));
}

/// `script` gives the program a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn no_color_is_honoured_on_a_terminal() {
    let folder = Folder::new();
    let program = command(&[]).get_program().to_str().unwrap().to_owned();
    let line = format!("'{program}' --quiet --device cpu --input '{}'", folder.path("none").display());
    let on_terminal = |variable: &str| {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR").env(variable, "1");
        Run::of(script.stdin(Stdio::null())).expect(1).stdout
    };
    assert!(on_terminal("UNRELATED").contains("\x1b[1;31merror:"), "no terminal: {:?}", on_terminal("UNRELATED"));
    assert!(!on_terminal("NO_COLOR").contains('\x1b'), "{:?}", on_terminal("NO_COLOR"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = Folder::new();
    let plan = folder.text("p.json", plan(&[("bn", "conv.weight")]));
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let cases: [&[&dyn AsRef<std::ffi::OsStr>]; 5] = [
        &[&"--device", &"cpu", &"--input", &input, &"--plan", &plan],
        &[&"plan", &"--input", &input],
        &[&"completions", &"bash"],
        &[&"man"],
        &[&"--help"],
    ];
    for arguments in cases {
        // The reading end is closed before the program writes a byte.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let run = Run::end(child).expect(0);
        assert!(!run.stderr.contains("error"), "{}", run.stderr);
    }
    assert!(folder.path("m.folded.safetensors").exists());
    // A full disk is one.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let child = command(&[&"man"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        Run::end(child).error(1, &["standard output: cannot write: No space left"]);
    }
}
