//! Documents that would rot unnoticed.
//!
//! In: README and docs/. Out: their paths exist, their commands and examples work as printed.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fixture::{Folder, bnfold};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts between backticks of a document.
fn code_spans(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("```")
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The first fenced block of a language.
fn fenced(document: &str, language: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language} block"));
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn every_path_in_the_documents_exists() {
    let tops = ["src/", "shaders/", "tests/", "benches/", "docs/", "scripts/"];
    for document in [
        "docs/architecture.md",
        "docs/formats.md",
        "docs/install.md",
        "docs/loading.md",
        "docs/performance.md",
        "docs/reliability.md",
        "docs/rules.md",
        "CONTRIBUTING.md",
        "README.md",
        "tests/data/README.md",
    ] {
        let spans = code_spans(document);
        let paths = spans.iter().filter(|span| tops.iter().any(|top| span.starts_with(top)) && !span.contains("NAME"));
        let paths = paths.map(|span| span.split(' ').next().unwrap()).collect::<Vec<_>>();
        assert!(document == "README.md" || paths.len() > 1, "{document}: the test found only {paths:?}");
        for path in paths {
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
}

/// A promise without a test is none.
#[test]
fn every_test_that_stands_for_a_promise_is_there() {
    fn texts(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => texts(&entry, found),
                false if entry.extension().is_some_and(|extension| extension == "rs") => {
                    let is_folder = entry.file_name().is_some_and(|name| name == "mod.rs");
                    let named = if is_folder { entry.parent().unwrap().file_name() } else { entry.file_stem() };
                    let module = named.unwrap().to_string_lossy().into_owned();
                    found.push((module, std::fs::read_to_string(&entry).unwrap()));
                }
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    ["src", "tests/it"].iter().for_each(|folder| texts(&root().join(folder), &mut found));
    let spans = code_spans("docs/reliability.md");
    let tests = spans.iter().filter_map(|span| span.split_once("::")).collect::<Vec<_>>();
    assert!(tests.len() > 15, "the test found only {tests:?}");
    for (module, test) in tests {
        let is_there = |(name, text): &(String, String)| name == module && text.contains(&format!("fn {test}("));
        assert!(found.iter().any(is_there), "docs/reliability.md names {module}::{test}, which is no test");
    }
}

/// What a build takes in has a reason; what it does not take in any more has none.
#[test]
fn every_direct_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse::<toml::Table>().unwrap();
    let tables = |manifest: &toml::Table| {
        let kinds = ["dependencies", "build-dependencies", "dev-dependencies"];
        kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table()).flat_map(toml::Table::keys).cloned().collect()
    };
    let mut direct: BTreeSet<String> = tables(&manifest);
    for (_, target) in manifest["target"].as_table().unwrap() {
        direct.extend(tables(target.as_table().unwrap()));
    }
    let document = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let named = document.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let named = named.flat_map(|cell| cell.split('`').filter(|word| word.starts_with(char::is_alphabetic)));
    let gone = named.filter(|name| !direct.contains(*name)).collect::<Vec<_>>();
    assert!(gone.is_empty(), "docs/dependencies.md gives reasons for {gone:?}, which are no dependencies");
    assert!(direct.len() > 20, "the test found only {direct:?}");
    for name in direct {
        assert!(document.contains(&format!("`{name}`")), "docs/dependencies.md has no reason for {name}");
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = docs.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    let mut count = 0;
    for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.contains("://") && !target.is_empty()) {
            assert!(document.parent().unwrap().join(target).exists(), "{} links to {target}", document.display());
            count += 1;
        }
    }
    assert!(count > 5, "the test found only {count} links");
}

#[test]
fn every_source_folder_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let entries = std::fs::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap()).collect::<Vec<_>>();
    assert!(entries.len() > 5, "the test looks in the wrong place");
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if entry.path().is_dir() { format!("`src/{name}/`") } else { format!("`src/{name}`") };
        assert!(map.contains(&path), "docs/architecture.md does not mention {path}");
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    ["src", "tests/it", "benches", "shaders"].iter().for_each(|folder| files(&root().join(folder), &mut found));
    assert!(found.len() > 30, "the test looks in the wrong place");
    // JSON and snapshots have no comments.
    let commented = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| ["rs", "wgsl", "toml"].map(AsRef::as_ref).contains(&extension))
    };
    for path in found.into_iter().filter(commented) {
        let text = std::fs::read_to_string(&path).unwrap();
        let ok =
            text.starts_with("//! ") || text.starts_with("// ") || text.starts_with("#![doc") || text.starts_with("# ");
        assert!(ok, "{} has no header", path.display());
    }
}

#[test]
fn the_plan_in_readme_is_accepted_as_printed() {
    let folder = Folder::new();
    let plan = folder.path("plan.json");
    std::fs::write(&plan, fenced("README.md", "json")).unwrap();
    let output = folder.path("out.safetensors");
    let model = root().join("tests/data/digits-resnet.safetensors");
    let run = bnfold(&[
        &"--input",
        &model,
        &"--output",
        &output,
        &"--plan",
        &plan,
        &"--device",
        &"cpu",
        &"--format",
        &"json",
    ]);
    let report = run.expect(0).json();
    assert_eq!(report["layers"]["folded"], 1);
    assert_eq!(report["layers"]["kept"], 11, "norms that the plan does not mention stay");
}

#[test]
fn the_lists_of_keys_in_formats_are_complete() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(root().join("docs/formats.md")).unwrap();
    let documented = |key: &str| assert!(text.contains(&format!("`{key}`")), "docs/formats.md does not explain {key}");
    let model = root().join("tests/data/digits-resnet.safetensors");
    let output = folder.path("out.safetensors");
    let plan = bnfold(&[&"plan", &"--input", &model, &"--format", &"json"]).expect(0).json();
    let report = bnfold(&[&"--input", &model, &"--output", &output, &"--device", &"cpu", &"--format", &"json"]);
    let report = report.expect(0).json();
    let verified = bnfold(&[&"verify", &"--original", &model, &"--folded", &output, &"--format", &"json"]);
    let verified = verified.expect(0).json();
    let layer = &report["folded"][0];
    let objects = [
        &plan,
        &plan["layers"][0],
        &report,
        &report["seconds"],
        &report["verification"],
        layer,
        &layer["scales"],
        &verified,
    ];
    for object in objects {
        let keys = object.as_object().unwrap().keys().collect::<Vec<_>>();
        assert!(keys.len() > 3, "{object}");
        keys.iter().for_each(|key| documented(key));
    }
}

/// Runs the shell commands of a document in `folder`, where `tests/` is that of the checkout and `bnfold-gpu` this
/// program.
#[cfg(unix)]
fn run_commands(folder: &Folder, commands: &str) -> std::process::Output {
    std::os::unix::fs::symlink(root().join("tests"), folder.path("tests")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_bnfold-gpu")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", commands]).current_dir(folder.path("")).env("PATH", path).env("XDG_RUNTIME_DIR", "/tmp");
    shell.output().unwrap()
}

#[cfg(unix)]
#[test]
fn the_example_of_a_zoo_works_as_printed() {
    let folder = Folder::new();
    let output = run_commands(&folder, &fenced("docs/zoo.md", "sh"));
    assert_eq!(output.status.code(), Some(1));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    // What is printed, but for times.
    let printed = std::fs::read_to_string(root().join("docs/zoo.md")).unwrap();
    for line in [
        "zoo/digits/model.safetensors -> folded/digits/model.safetensors: 12 norms folded, verified (eps assumed for 12 norms), 234.15 kB in ",
        "6 folded, 1 failed; 21 norms folded, 12 kept; eps assumed in 3 models; 481.50 kB, ",
    ] {
        assert!(printed.contains(line) && stdout.contains(line), "{line}\nin:\n{stdout}");
    }
    for line in [
        "error: zoo/twins/damaged.safetensors: not a valid safetensors file: ",
        "note: 1 of 7 models failed: zoo/twins/damaged.safetensors\n",
    ] {
        assert!(printed.contains(line) && stderr.contains(line), "{line}\nin:\n{stderr}");
    }
    assert!(folder.path("folded.html").is_file());
}

/// The job files say `--shard` as the program understands it, with as many parts as there are tasks.
#[cfg(unix)]
#[test]
fn job_files_divide_a_zoo_into_all_of_its_parts() {
    let folder = Folder::new();
    let fake = folder.text("bnfold-gpu", "#!/bin/sh\necho \"$@\"\n");
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = root().join("docs/jobs/slurm-array.sh");
    let path = format!("{}:{}", folder.path("").display(), std::env::var("PATH").unwrap());
    let mut bash = std::process::Command::new("bash");
    bash.arg(&script).env("PATH", path).env("ZOO", "z").env("OUT", folder.path("out"));
    bash.env("SLURM_ARRAY_TASK_ID", "3").env("SLURM_ARRAY_TASK_COUNT", "8").env("SLURM_CPUS_PER_TASK", "4");
    assert!(bash.status().unwrap().success());
    let said = std::fs::read_to_string(folder.path("out.reports/part-3.jsonl")).unwrap();
    let words = said.split_whitespace().collect::<Vec<_>>();
    let after = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1];
    assert_eq!((after("--input"), after("--shard"), after("--jobs")), ("z", "3/8", "4"));
    // The program takes these very options.
    let zoo = folder.path("z");
    std::fs::create_dir(&zoo).unwrap();
    folder.file("z/m.safetensors", &crate::fixture::Model::conv_bn());
    let words = words.iter().map(|word| if *word == "z" { zoo.to_str().unwrap() } else { *word }).collect::<Vec<_>>();
    bnfold(&words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>()).expect(0);

    let manifest = std::fs::read_to_string(root().join("docs/jobs/kubernetes-indexed-job.yaml")).unwrap();
    let value = |key: &str| manifest.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap().trim().to_owned();
    let parts = value("completions:");
    assert_eq!(value("parallelism:"), parts);
    assert_eq!(value("completionMode:"), "Indexed");
    assert!(manifest.contains(&format!("- --shard\n            - $(PART)/{parts}\n")), "{manifest}");
    let options = manifest.lines().filter_map(|line| line.trim().strip_prefix("- --"));
    let help = bnfold(&[&"--help"]).expect(0).stdout;
    let mut count = 0;
    for option in options {
        assert!(help.contains(&format!("--{option}")), "--{option} is no option");
        count += 1;
    }
    assert!(count >= 5, "the test found only {count} options");
}
