//! `--report`: the page in a real browser, the lint, and what a report may replace.
//!
//! In: models that fold, fail, keep norms and carry hostile names. Out: a page without complaints, with a mark for every
//! number, that can be searched and read at any width; remarks where they belong; no file lost.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::fixture::{Folder, Model, Numbers, bnfold, fold, plan};

/// What a page would obey if it took a name for markup, in a name that files can have.
const HOSTILE: &str = "<script>alert(1)<!-- <img src=x onerror=alert(2)> ' \" & \u{202e}";

/// A chain of convolutions and norms, one of them with a name that closes tags. The first layer has a dead channel, one
/// whose variance is nothing, and one of a large scale; the last norm has no layer.
fn model(layers: usize) -> Model {
    let mut numbers = Numbers::new(3);
    let mut model = Model::new();
    for layer in 0..layers {
        let name = if layer == 1 { format!("net.1.</script>{HOSTILE}") } else { format!("net.{layer}") };
        // Never as many channels in as out, so that the names are not doubted.
        let (inputs, channels) = (7 + layer, 8 + layer);
        let (mut gamma, mut var) = (numbers.many(channels, 0.5, 2.0), numbers.many(channels, 0.2, 3.0));
        if layer == 0 {
            (gamma[2], var[3], gamma[5], var[5]) = (0.0, 0.0, 20.0, 1e-7);
        }
        let (beta, mean) = (numbers.many(channels, -1.0, 1.0), numbers.many(channels, -1.0, 1.0));
        let weights = numbers.many(channels * inputs * 9, -0.5, 0.5);
        model = model.floats(&format!("{name}.conv.weight"), Float::F32, &[channels, inputs, 3, 3], &weights).norm(
            &format!("{name}.bn"),
            Float::F32,
            &gamma,
            &beta,
            &mean,
            &var,
        );
    }
    model.norm("alone", Float::F32, &[1.0; 3], &[0.0; 3], &[0.0; 3], &[1.0; 3])
}

/// Two models, one that fails, and their report.
fn ready() -> (Folder, PathBuf) {
    let folder = Folder::new();
    // Backslashes and slashes apart, a file's name may hold anything.
    let hostile = format!("{}.safetensors", HOSTILE.replace('/', ""));
    let inputs =
        [folder.file("first.safetensors", &model(5)), folder.file(&hostile, &model(12)), folder.text("bad", "x")];
    let report = folder.path("report.html");
    let run = bnfold(&[
        &"--quiet",
        &"--device",
        &"cpu",
        &"--evidence",
        &"none",
        &"--report",
        &report,
        &"--output",
        &folder.path("out"),
        &"--input",
        &inputs[0],
        &inputs[1],
        &inputs[2],
    ]);
    let run = run.expect(1);
    assert!(run.stderr.contains("bad: not a valid safetensors file"), "{}", run.stderr);
    (folder, report)
}

/// Marks that the figures of model `index` ask for: lines and dots of ranges, bins and crosses of scales, bars in the
/// table.
fn expected_marks(browser: &mut Browser, index: usize) -> Value {
    let model = browser.value(&format!("JSON.parse(document.getElementById('data-{index}').textContent)"));
    let layers = model["folded"].as_array().unwrap();
    let bins = |layer: &Value| {
        let counts = layer["scales"]["histogram"]["counts"].as_array().unwrap();
        counts.iter().filter(|count| count.as_u64() != Some(0)).count()
    };
    let bins = layers.iter().map(bins).sum::<usize>();
    let dead = layers.iter().filter(|layer| layer["dead"]["count"] != 0).count();
    assert!(bins > layers.len() && dead == 1, "the model is too tame: {bins} bins, {dead} layers with dead channels");
    json!([2 * layers.len(), 2 * layers.len(), bins, dead, bins])
}

/// Does what changes the address, and waits until the page has seen it: its own listener comes before this one.
pub fn follow(browser: &mut Browser, action: &str) {
    let seen = "addEventListener('hashchange', () => done(true), {once: true})";
    assert_eq!(browser.value(&format!("new Promise(done => {{ {seen}; {action}; }})")), true);
}

const MARKS: &str = "['#ranges line.mark', '#ranges circle.mark', '#scales rect.mark', '#scales path.mark', \
                     '.histogram rect.mark'].map(marks => document.querySelectorAll(marks).length)";

#[test]
fn the_page_draws_every_number_and_complains_of_nothing() {
    let (_folder, report) = ready();
    let mut browser = Browser::start();
    browser.open(&report);
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "2 of 3 models folded, 1 failed");
    let figures = "[...document.querySelectorAll('.figures dd')].slice(0, 4).map(figure => figure.textContent)";
    assert_eq!(browser.value(figures), json!(["2", "1", "17", "2"]), "models and norms");
    assert_eq!(browser.value("document.querySelectorAll('#table tbody tr').length"), 3);
    for index in [0, 1] {
        // The way of a user: the link in the table.
        follow(&mut browser, &format!("document.querySelector('#table [href=\"#model-{index}\"]').click()"));
        let expected = expected_marks(&mut browser, index);
        let marks = browser.value(MARKS);
        assert_eq!(marks, expected, "model {index}: {:?}", browser.complaints);
        // Nothing is drawn at a place that is no number or outside of its plot.
        let astray = browser.value(
            "[...document.querySelectorAll('svg .mark')].filter(mark => { const box = mark.getBBox(), plot = \
             mark.ownerSVGElement; return ![box.x, box.y, box.width, box.height].every(Number.isFinite) || box.x < -1 || \
             box.y < -1 || box.x + box.width > plot.clientWidth + 1 || box.y + box.height > plot.clientHeight + 1; }).length",
        );
        assert_eq!(astray, 0, "model {index}");
    }
    assert_eq!(browser.value("document.querySelector('#opened').textContent.includes('alert(1)<!--')"), true);
    assert_eq!(browser.value("document.images.length"), 0, "a name was taken for markup");
    assert_eq!(browser.complaints, [] as [Value; 0]);
}

#[test]
fn the_table_is_searched_filtered_and_sorted() {
    let (_folder, report) = ready();
    let mut browser = Browser::start();
    browser.open(&report);
    let shown = "[...document.querySelectorAll('#table tbody tr')].filter(row => row.offsetHeight > 0).map(row => row.dataset.model)";
    assert_eq!(browser.value(shown), json!(["1", "2", "0"]));
    let mut search = |words: &str, tag: &str| {
        browser.value(&format!("change({{ search: {}, show: '{tag}'.split(',').filter(Boolean) }})", json!(words)));
        browser.value(shown)
    };
    assert_eq!(search("FIRST assumed", ""), json!(["0"]));
    assert_eq!(search("onerror", ""), json!(["1"]));
    assert_eq!(search("", "failed"), json!(["2"]));
    assert_eq!(search("", "remarks"), json!(["1", "0"]));
    assert_eq!(search("no such words", ""), json!([]));
    assert_eq!(search("", ""), json!(["1", "2", "0"]));
    let folded = "document.querySelectorAll('#table thead button')[2].click()";
    browser.value(folded);
    assert_eq!(browser.value(shown), json!(["0", "1", "2"]), "by folded norms, rows without any last");
    browser.value(folded);
    assert_eq!(browser.value(shown), json!(["1", "0", "2"]));
    assert_eq!(browser.complaints, [] as [Value; 0]);
}

#[test]
fn the_page_never_scrolls_sideways() {
    let (_folder, report) = ready();
    let mut browser = Browser::start();
    for width in [1280, 400] {
        browser.resize(width, 800);
        browser.open(&report);
        for hash in ["", "#model-0", "#model-1", "#model-2"] {
            if !hash.is_empty() {
                follow(&mut browser, &format!("location.hash = '{hash}'"));
            }
            let wide = browser.value("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width.into(), "{wide} pixels of {width} at {hash}");
        }
    }
}

#[test]
fn without_scripts_the_table_is_there() {
    let (_folder, report) = ready();
    let page = std::fs::read_to_string(report).unwrap();
    let (body, scripts) = page.split_once("<script").unwrap();
    for text in ["2 of 3 models folded, 1 failed", "first.safetensors", "not a valid safetensors file", "<noscript>"] {
        assert!(body.contains(text), "{text}");
    }
    assert!(!body.contains("<img") && !scripts.contains("<img"), "a name was written as markup");
}

#[test]
fn a_report_replaces_a_report_and_nothing_else() {
    let folder = Folder::new();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let run = |report: &PathBuf| fold(&input, &[&"--plan", &plan, &"--force", &"--quiet", &"--report", report]);
    let report = folder.path("new/folder/report.html");
    run(&report).expect(0);
    let first = std::fs::read(&report).unwrap();
    run(&report).expect(0);
    assert_ne!(std::fs::read(&report).unwrap(), first, "times differ");

    let names = folder.names();
    let before = std::fs::read(&input).unwrap();
    run(&input)
        .error(2, &["m.safetensors: is there already, and is no report of this program", "pass another --report"]);
    run(&plan).error(2, &["plan.json: is there already"]);
    run(&folder.path("new")).error(2, &["new: is there already, and is no regular file"]);
    run(&plan.join("report.html")).error(2, &["nothing can be written there"]);
    assert_eq!(std::fs::read(&input).unwrap(), before);
    assert_eq!(folder.names(), names, "nothing was left or taken");
}

#[test]
fn a_report_that_cannot_be_written_stops_the_run_before_its_first_model() {
    let folder = Folder::new();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let input = folder.file("m.safetensors", &Model::conv_bn());
    let fresh = folder.path("fresh.safetensors");
    let with = |output: &PathBuf, report: &PathBuf| {
        fold(&input, &[&"--plan", &plan, &"--output", output, &"--report", report])
    };
    let same = ["fresh.safetensors: is where a result of this run goes; pass another --report"];
    with(&fresh, &fresh).error(2, &same);
    with(&fresh, &folder.path("./fresh.safetensors")).error(2, &same);
    with(&fresh.join("m.safetensors"), &fresh).error(2, &["fresh.safetensors: would have to be a folder for "]);
    #[cfg(target_os = "linux")]
    with(&fresh, &"/proc/r.html".into()).error(2, &["/proc/r.html: nothing can be written to /proc: "]);
    std::fs::create_dir(folder.path("zoo")).unwrap();
    let sidecar = folder.text("zoo/config.json", "{}");
    std::fs::copy(&input, folder.path("zoo/m.safetensors")).unwrap();
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let copied = out.join("config.json");
    let run = fold(&zoo, &[&"--output", &out, &"--copy-sidecars", &"--report", &copied]);
    run.error(2, &["config.json: is where a result of this run goes"]);
    assert!(sidecar.exists() && !out.exists());
    assert_eq!(folder.names(), ["m.safetensors", "plan.json", "zoo"], "nothing was folded and nothing was left");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_in_a_sealed_folder_stops_the_run_before_its_first_model() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    std::fs::create_dir(folder.path("sealed")).unwrap();
    std::fs::set_permissions(folder.path("sealed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(folder.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    for report in [folder.path("sealed/r.html"), folder.path("sealed/new/r.html")] {
        let arguments: &[&dyn AsRef<std::ffi::OsStr>] =
            &[&"--device", &"cpu", &"--eps", &"1e-5", &"--input", &input, &"--report", &report];
        let run = crate::fixture::Run::of(&mut crate::fixture::unprivileged(arguments));
        run.error(2, &["r.html: nothing can be written to ", "sealed: Permission denied"]);
        assert_eq!(folder.names(), ["m.safetensors", "sealed"]);
    }
}

/// Folds a zoo of a small model and five large ones, one after the other, and interrupts the run as soon as `when` says.
#[cfg(unix)]
fn interrupted(when: impl Fn(&Folder) -> bool) -> (Folder, String) {
    let folder = Folder::new();
    let weights = vec![0.5; 4_000_000];
    for index in 0..6 {
        let model = Model::new().floats("bn.weight", Float::F32, &[2], &[1.0; 2]);
        let model = match index {
            0 => model,
            _ => model.floats("other.table", Float::F32, &[weights.len()], &weights),
        };
        std::fs::create_dir_all(folder.path("zoo")).unwrap();
        folder.file(&format!("zoo/m{index}.safetensors"), &model);
    }
    let (zoo, out, report) = (folder.path("zoo"), folder.path("out"), folder.path("r.html"));
    let arguments: &[&dyn AsRef<std::ffi::OsStr>] =
        &[&"-q", &"--device", &"cpu", &"--jobs", &"1", &"--input", &zoo, &"--output", &out, &"--report", &report];
    let mut child = crate::fixture::shell(":", arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !when(&folder) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the program was gone already");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let page = std::fs::read_to_string(report).expect("a page of the run as far as it went");
    (folder, page)
}

#[cfg(unix)]
#[test]
fn the_page_of_an_interrupted_run_says_so_and_lists_what_is_left() {
    let (_folder, page) = interrupted(|folder| folder.path("out/m0.safetensors").exists());
    let head = page.split_once("<h1>interrupted, ").expect("the verdict").1;
    let done: usize = head.split_once(" of 6 models done</h1>").expect("of all models").0.parse().unwrap();
    assert!((1..6).contains(&done), "{done}");
    assert_eq!(page.matches("class=\"status folded\"").count(), done);
    assert_eq!(page.matches("class=\"status not_reached\"").count(), 6 - done);
    for index in 0..6 {
        assert!(page.contains(&format!(">m{index}.safetensors</a>")), "model {index} is listed");
    }
    assert!(page.contains(&format!("<dt>Not reached</dt><dd>{}</dd>", 6 - done)));
}

#[test]
fn remarks_are_in_json_and_counted_for_people() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &model(3));
    let report = fold(&input, &[&"--evidence", &"none", &"--format", &"json", &"--force"]).expect(0).json();
    let found = report["lints"].as_array().unwrap().iter().map(|lint| {
        assert_eq!(lint["layer"], "net.0.bn", "{lint:#}");
        (lint["kind"].as_str().unwrap().to_owned(), lint["channels"]["first"].clone())
    });
    let expected = [
        ("dead_channels", json!([2])),
        ("tiny_variance", json!([3, 5])),
        ("large_scale", json!([5])),
        ("range_growth", json!([])),
        ("channel_spread", json!([0, 1, 3, 4, 6, 7])),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected.map(|(kind, channels)| (kind.to_owned(), channels)));
    let words = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        fold(&input, &[&[&"--evidence" as &dyn AsRef<_>, &"none", &"--force"], more].concat()).expect(0).stdout
    };
    assert!(words(&[]).contains("\n  3 or more numerical remarks\n"), "{}", words(&[]));
    let how = "\n  (-v, --report or --format json lists the remarks)\n";
    assert!(words(&[]).contains(how), "{}", words(&[]));
    let all = words(&[&"-v"]);
    assert!(
        all.contains("\n  5 numerical remarks\n") && all.contains("\n  remark on net.0.bn: 1 of 8 channels"),
        "{all}"
    );
}

#[test]
fn ranges_are_those_of_the_weights_in_the_files() {
    let folder = Folder::new();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    // The channel with the largest folded weights has a negative scale.
    let input = folder.file("m.safetensors", &Model::conv_bn_with("bn.weight", -500.0));
    let output = folder.path("out.safetensors");
    for dtype in ["keep", "f16", "bf16"] {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 9] =
            [&"--plan", &plan, &"--output", &output, &"--format", &"json", &"--force", &"--dtype", &dtype];
        let report = fold(&input, &arguments).expect(0).json();
        for (when, path) in [("before", &input), ("after", &output)] {
            let weights = crate::library::Tensors::read(path).get("conv.weight").values();
            let range = &report["folded"][0]["weights"][when];
            let (min, max) =
                (weights.iter().copied().fold(f64::MAX, f64::min), weights.iter().copied().fold(f64::MIN, f64::max));
            // Rounded by way of f32 when folded, at once here: half an ulp of the type apart at most.
            let near = |key: &str, value: f64| (range[key].as_f64().unwrap() - value).abs() <= value.abs() * 1e-2;
            assert!(near("min", min) && near("max", max), "{dtype} {when}: {range:#} for {min} and {max}");
            if when == "before" {
                let exact = ["min", "max"].map(|key| range[key].as_f64().unwrap() as f32);
                assert_eq!(exact, [min as f32, max as f32]);
            }
            let largest = weights.chunks(27).map(|channel| channel.iter().fold(0.0, |most: f64, w| most.max(w.abs())));
            let most = largest.fold(0.0, f64::max);
            assert!((range["channels"]["max"].as_f64().unwrap() - most).abs() <= most * 1e-2, "{dtype} {when}");
        }
    }
}
