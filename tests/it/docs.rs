//! Documents that would rot unnoticed.
//!
//! In: README and docs/. Out: their paths exist, their commands and examples work as printed.

use std::path::Path;

use crate::fixture::{Folder, bnfold};

fn root() -> &'static Path {
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
    for document in ["docs/architecture.md", "CONTRIBUTING.md", "README.md", "tests/data/README.md"] {
        let spans = code_spans(document);
        let paths = spans.iter().filter(|span| tops.iter().any(|top| span.starts_with(top)) && !span.contains("NAME"));
        let paths = paths.map(|span| span.split(' ').next().unwrap()).collect::<Vec<_>>();
        assert!(document == "README.md" || paths.len() > 1, "{document}: the test found only {paths:?}");
        for path in paths {
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
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
    let objects = [&plan, &plan["layers"][0], &report, &report["seconds"], &report["verification"], &verified];
    for object in objects {
        let keys = object.as_object().unwrap().keys().collect::<Vec<_>>();
        assert!(keys.len() > 3, "{object}");
        keys.iter().for_each(|key| documented(key));
    }
}
