//! Files made to exhaust a machine.
//!
//! In: headers, indexes, plan files and configurations that are long, deep or full. Out: an error that names the file, or
//! what any other file gets, within bounds of memory and time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bnfold_gpu::checkpoint::Float;

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan, raw_file};

/// What a program may take beside what is asked for.
const BASE: u64 = 32 << 20;

/// Runs the program to its end, whatever it prints; returns what it complained of, the most memory that it had, and the time.
fn watched(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (Run, u64, Duration) {
    let began = Instant::now();
    let mut command = command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&status).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    (Run::end(child), most, began.elapsed())
}

/// The most memory that a process had so far, in bytes.
fn peak(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// A header of `count` tensors without elements, the shortest there is, by `entry` of each one's number.
fn tensors(count: usize, entry: impl Fn(usize) -> String) -> String {
    let entries = (0..count).map(entry).collect::<Vec<_>>();
    format!("{{{}}}", entries.join(","))
}

/// A number in few letters.
fn letters(mut number: usize) -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut name = String::new();
    while number > 0 || name.is_empty() {
        name.push(char::from(LETTERS[number % 64]));
        number /= 64;
    }
    name
}

#[cfg(target_os = "linux")]
#[test]
fn a_header_takes_a_few_times_its_length_at_most() {
    let folder = Folder::new();
    let shortest =
        |number| format!("\"{}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", letters(number));
    let usual = |number| {
        let name = format!("model.layers.{number}.mlp.experts.down_proj.weight");
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0,512,3,3],\"data_offsets\":[0,0]}}")
    };
    let keys = (0..99_000).map(|key| format!("\"{}\":\"\"", letters(key))).collect::<Vec<_>>().join(",");
    let value = "a\\n".repeat(10_000_000);
    for (what, bound, json) in [
        // Their names and shapes take a block of memory each, which is longer than what it holds.
        ("the shortest tensors", 6.0, tensors(499_000, shortest)),
        ("usual tensors", 4.0, tensors(250_000, usual)),
        ("keys", 4.0, format!("{{\"__metadata__\":{{{keys}}}}}")),
        ("a long value", 4.0, format!("{{\"__metadata__\":{{\"a\":\"{value}\"}}}}")),
    ] {
        let input = folder.text("m.safetensors", raw_file(&json, b""));
        let (run, most, _) = watched(&[&"info", &input]);
        run.expect(0);
        let times = most.saturating_sub(BASE) as f64 / json.len() as f64;
        assert!(most > BASE / 8, "nothing was measured");
        assert!(times <= bound, "{what}: {} bytes take {most}, {times:.1} times as many", json.len());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn millions_of_keys_are_refused_before_they_are_in_memory() {
    let folder = Folder::new();
    let keys = (0..7_000_000).map(|key| format!("\"{}\":\"\"", letters(key))).collect::<Vec<_>>().join(",");
    let input = folder.text("m.safetensors", raw_file(&format!("{{\"__metadata__\":{{{keys}}}}}"), b""));
    let (run, most, took) = watched(&[&"--input", &input, &"--device", &"cpu"]);
    run.error(1, &["m.safetensors", "__metadata__: more than 100000 keys, which no model has"]);
    assert!(most < BASE + 2 * keys.len() as u64, "{most} bytes");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn what_is_nested_without_end_is_refused_in_every_file() {
    let folder = Folder::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let refused = |run: Run, file: &str| {
        run.error(1, &[file, "nested more than 127 levels deep at line 1"]);
    };
    let json = format!(r#"{{"a":{{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":{deep}}}}}"#);
    refused(fold(&folder.text("h.safetensors", raw_file(&json, &[0; 4])), &[]), "h.safetensors");

    for part in [r#""x":@"#, r#""metadata":{"x":@}"#, r#""metadata":@"#] {
        let json = format!(r#"{{{},"weight_map":{{"a":"s.safetensors"}}}}"#, part.replace('@', &deep));
        let index = folder.text("m.safetensors.index.json", json);
        refused(bnfold(&[&index, &"--output", &folder.path("out")]), "m.safetensors.index.json");
    }

    let input = folder.file("m.safetensors", &Model::conv_bn());
    let whole = plan(&[("bn", "conv.weight")]).replace('\n', "");
    for (from, to) in [("\"version\": 1", "\"version\": @"), ("\"eps\"", "\"sources\": @, \"eps\""), ("[{", "[@,{")] {
        let text = whole.replace(from, &to.replace('@', &deep));
        assert_ne!(text, whole, "the test is broken");
        refused(fold(&input, &[&"--plan", &folder.text("plan.json", text)]), "plan.json");
    }

    std::fs::remove_file(folder.path("h.safetensors")).unwrap();
    folder.text("config.json", format!("{{\"x\":{deep}}}"));
    let run = fold(&input, &[]).expect(0);
    assert!(run.stderr.contains("config.json: not read as JSON (nested more than 127"), "{}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn one_bad_model_does_not_stop_a_zoo() {
    let folder = Folder::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        // Each is all that the run may have of headers at a time, and right.
        let value = "x".repeat(if name < "f" { 60_000_000 } else { 10 });
        let json = format!("{{\"__metadata__\":{{\"a\":\"{value}\"}}}}");
        folder.text(&format!("{name}.safetensors"), raw_file(&json, b""));
    }
    folder.file("z.safetensors", &Model::new().floats("z", Float::F32, &[1], &[1.0]));
    let out = folder.path("out");
    let (run, most, _) = watched(&[&folder.path(""), &"--output", &out, &"--device", &"cpu", &"--jobs", &"8"]);
    run.expect(0);
    assert!(most < BASE + 8 * 60_000_000, "{most} bytes: all headers were in memory at once");
}
