//! `bench`: what it prints is stable, what it writes is gone afterwards, and software is never called a GPU.

use serde_json::Value;

use crate::fixture::{Folder, Model, Run, bnfold, command};

/// A benchmark of one round on a small synthetic model, in `folder`.
fn bench(folder: &Folder, arguments: &[&str]) -> Run {
    let mut program = command(&[&"bench", &"--runs", &"1", &"--output", &folder.path("")]);
    Run::of(program.args(arguments))
}

/// Every key of `value` with the type of what it holds: the schema that programs count on.
fn schema(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => Value::Array(items.first().map(schema).into_iter().collect()),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), schema(value))).collect(),
    }
}

const CPU_STEPS: [&str; 5] = ["copy", "copy_synced", "cpu", "cpu_unverified", "cpu_synced"];

fn steps(report: &Value) -> Vec<&str> {
    report["measurements"].as_array().unwrap().iter().map(|m| m["step"].as_str().unwrap()).collect()
}

#[test]
fn the_json_has_these_keys_of_these_types() {
    let folder = Folder::new();
    let report = bench(&folder, &["--device", "cpu", "--size-mb", "1", "--format", "json"]).expect(0).json();
    let seconds = serde_json::json!({"median": "number", "min": "number", "max": "number", "samples": ["number"]});
    let cpu = if report["machine"]["cpu"].is_null() { "null" } else { "string" };
    let expected = serde_json::json!({
        "version": "number",
        "program": "string",
        "machine": {"cpu": cpu, "threads": "number", "system": "string"},
        "model": {
            "input": "null", "shape": "string", "dtype": "string", "bytes": "number", "elements": "number",
            "norms": "number"
        },
        "adapter": "null",
        "adapter_skipped": "string",
        "rounds": "number",
        "shares": "null",
        "measurements": [{
            "step": "string", "bytes": "number", "seconds": seconds, "bytes_per_second": "number", "roof": "null",
            "ratio": "null"
        }],
    });
    assert_eq!(schema(&report), expected);
    assert_eq!(steps(&report), CPU_STEPS);
    let cpu = &report["measurements"][2];
    assert_eq!((&cpu["roof"], cpu["ratio"].is_number()), (&"copy".into(), true));
    assert_eq!(cpu["bytes"], report["model"]["bytes"]);
    assert_eq!(folder.names(), [""; 0], "everything that was written is removed");
}

#[test]
fn a_model_of_the_users_is_measured_where_it_lies() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let before = std::fs::read(&input).unwrap();
    let arguments = ["--device", "cpu", "--runs", "3", "--format", "json", "--input"];
    let mut program = command(&[&"bench", &"--output", &folder.path("")]);
    let report = Run::of(program.args(arguments).arg(&input)).expect(0).json();
    assert_eq!((&report["rounds"], &report["model"]["norms"]), (&3.into(), &1.into()));
    assert_eq!(report["measurements"][0]["seconds"]["samples"].as_array().unwrap().len(), 3);
    assert_eq!(folder.names(), ["m.safetensors"]);
    assert_eq!(std::fs::read(&input).unwrap(), before);
}

#[test]
fn what_is_not_one_file_is_a_usage_error() {
    let folder = Folder::new();
    let index = crate::sharded::write(&folder.path("m"), &crate::sharded::parted());
    let inputs = [folder.path("m"), index, "s3://bucket/m.safetensors".into()];
    for (input, found) in inputs.iter().zip(["m: a folder", "the index of a sharded model", "a URL"]) {
        bnfold(&[&"bench", &"--input", input]).error(2, &[found, "bench measures one .safetensors file"]);
    }
    bnfold(&[&"bench", &"--runs", &"0"]).error(2, &["'--runs <N>'", "zero"]);
    assert_eq!(folder.names(), ["m"]);
}

#[test]
fn a_failure_leaves_nothing_and_names_what_failed() {
    let folder = Folder::new();
    let broken = folder.text("broken.safetensors", "12345678");
    bnfold(&[&"bench", &"--input", &broken, &"--output", &folder.path("")]).error(1, &["broken.safetensors"]);
    assert_eq!(folder.names(), ["broken.safetensors"]);
    bench(&folder, &["--size-mb", "900000000"]).expect(2);
    #[cfg(target_os = "linux")]
    bench(&folder, &["--size-mb", "1000000", "--device", "cpu"]).error(1, &["bytes are needed", "--output"]);
    assert_eq!(folder.names(), ["broken.safetensors"]);
}

/// The adapters of this machine, as `devices` lists them.
#[cfg(feature = "gpu")]
fn hardware() -> bool {
    let devices = bnfold(&[&"devices", &"--format", &"json"]).expect(0).json();
    devices["adapters"].as_array().unwrap().iter().any(|adapter| adapter["kind"] != "software")
}

#[cfg(feature = "gpu")]
#[test]
fn software_is_measured_only_when_asked_for_and_called_what_it_is() {
    let folder = Folder::new();
    let small = ["--size-mb", "1", "--shape", "mobilenet", "--dtype", "f16", "--device"];
    let run =
        |device: &str, format: &str| bench(&folder, &[&small[..], &[device, "--format", format]].concat()).expect(0);
    let report = run("gpu", "json").json();
    let steps = steps(&report);
    assert_eq!(steps[..5], CPU_STEPS);
    for step in ["gpu", "gpu_unverified", "adapter_copy", "upload", "kernel", "readback"] {
        assert!(steps.contains(&step), "{step} is missing in {steps:?}");
    }
    let software = report["adapter"]["kind"] == "software";
    assert_eq!(report["adapter"]["software"], software);
    assert_eq!(run("gpu", "human").stdout.contains("SOFTWARE"), software);
    if !hardware() {
        let report = run("auto", "json").json();
        assert_eq!(report["adapter"], Value::Null);
        assert!(report["adapter_skipped"].as_str().unwrap().starts_with("no hardware GPU"), "{report}");
        assert!(run("auto", "human").stdout.contains("no GPU measured: no hardware GPU"));
    }
}

/// A card, as far as the program can tell: a software adapter under a layer that says so.
#[cfg(all(feature = "gpu", target_os = "linux"))]
fn on_a_card(cache: &Folder, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    let mut program = command(arguments);
    program.env("VK_LAYER_PATH", crate::vulkan::layers()).env("VK_INSTANCE_LAYERS", crate::vulkan::MISBEHAVE);
    program.env("MISBEHAVE_AS", "discrete").env("XDG_CACHE_HOME", cache.path(""));
    Run::of(&mut program).expect(0)
}

#[cfg(all(feature = "gpu", target_os = "linux"))]
#[test]
fn auto_goes_by_what_was_measured_on_this_machine_and_by_nothing_else() {
    let (folder, cache) = (Folder::new(), Folder::new());
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let rates = cache.path("bnfold-gpu/rates.json");
    let fold = || on_a_card(&cache, &[&input, &"-v", &"--force", &"--eps", &"1e-5"]);
    let cpu = |run: &Run, why: &str| {
        assert!(run.stdout.contains("on the CPU"), "{}", run.stdout);
        assert!(run.stderr.contains(&format!("note: folding on the CPU: {why}")), "{}", run.stderr);
    };
    cpu(&fold(), "no graphics adapter has been measured on this machine; `bnfold-gpu bench` measures it");

    // A model of a megabyte tells nothing about others, one of a hundred does.
    let bench = |size: &str| {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 9] =
            [&"bench", &"--runs", &"1", &"--size-mb", &size, &"--output", &folder.path(""), &"--format", &"json"];
        on_a_card(&cache, &arguments)
    };
    assert!(!bench("1").stderr.contains("--device auto") && !rates.exists());
    let run = bench("101");
    let said = format!("note: --device auto goes by this from now on ({})", rates.display());
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    let report = run.json();
    let shares = &report["shares"];
    assert!(["host", "device", "overlap"].iter().all(|share| shares[share].as_f64().unwrap() >= 0.0), "{shares}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&rates).unwrap()).unwrap();
    assert_eq!(
        (&kept[0]["adapter"], &kept[0]["opening"]),
        (&report["adapter"]["name"], &report["adapter"]["opening_seconds"])
    );
    let run = fold();
    assert!(run.stderr.contains(" times as long, as measured"), "{}", run.stderr);
    let devices = || on_a_card(&cache, &[&"devices"]).stdout;
    assert!(devices().contains("--device auto picks gpu:0 where it is no slower than the CPU, as measured\n"));

    // Had it been quick, it would be taken; another one, or none, would not.
    let mut quick = kept.clone();
    (quick[0]["gpu"], quick[0]["opening"]) = (1e15.into(), 0.0.into());
    std::fs::write(&rates, quick.to_string()).unwrap();
    let run = fold();
    assert!(run.stdout.contains("on the GPU") && run.stderr.contains("note: folding on the GPU: "), "{run:?}");
    quick[0]["driver"] = "of last year".into();
    std::fs::write(&rates, quick.to_string()).unwrap();
    cpu(&fold(), "no graphics adapter has been measured");
    assert!(devices().contains("--device auto picks the CPU until `bnfold-gpu bench` has measured gpu:0\n"));
    std::fs::write(&rates, "[{").unwrap();
    cpu(&fold(), "no graphics adapter has been measured");
}
