//! What the program is packed into: the crate, archives, images, workflows.
//!
//! In: the files of this checkout that pack it. Out: they name what exists, and agree with Cargo.toml. No Docker and no
//! network: scripts/check_packaging.sh has linters for the rest, and .github/workflows/ci.yml builds the images.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::docs::root;
use crate::fixture::{Folder, Run};

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn manifest() -> toml::Table {
    read("Cargo.toml").parse::<toml::Table>().unwrap()["package"].as_table().unwrap().clone()
}

/// Runs cargo in this checkout without a network.
fn cargo(folder: &Path, arguments: &[&str]) -> Run {
    Run::of(Command::new(env!("CARGO")).args(arguments).arg("--offline").current_dir(folder)).expect(0)
}

/// What the Dockerfile copies from the checkout: sources, and where they go.
fn copies() -> Vec<(String, String)> {
    let dockerfile = read("Dockerfile");
    let lines =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from")));
    let copies = lines.flat_map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let target = words.pop().unwrap();
        words.into_iter().map(move |source| (source, target.clone()))
    });
    copies.collect()
}

#[test]
fn what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() {
    let copies = copies();
    assert!(copies.len() > 6, "the test found only {copies:?}");
    let ignore = read(".dockerignore");
    let mut rules = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "everything that is not named is left out");
    let sent = rules.map(|rule| rule.strip_prefix('!').unwrap().to_owned()).collect::<BTreeSet<_>>();
    for (source, _) in &copies {
        assert!(root().join(source).exists(), "the Dockerfile copies {source}, which does not exist");
    }
    let copied = copies.into_iter().map(|(source, _)| source).collect::<BTreeSet<_>>();
    assert_eq!(copied, sent, "what is copied, and what .dockerignore lets through");
}

#[test]
fn cargo_understands_what_is_copied_into_an_image() {
    let folder = Folder::new();
    for (source, target) in copies().iter().filter(|(_, target)| !target.starts_with('/')) {
        let link = if target == "./" { source } else { target };
        std::os::unix::fs::symlink(root().join(source), folder.path(link)).unwrap();
    }
    let found = cargo(&folder.path(""), &["metadata", "--locked", "--no-deps", "--format-version", "1"]).json();
    assert_eq!(found["packages"][0]["name"], "bnfold-gpu");
    // What the sources include from beside src/.
    let names = folder.names();
    assert!(["README.md", "shaders", "src"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
}

#[test]
fn both_images_start_the_program_as_a_user_without_rights() {
    let dockerfile = read("Dockerfile");
    let stages = dockerfile.split("\nFROM ").skip(1).collect::<Vec<_>>();
    let last = |stage: &&&str| [" AS gpu\n", " AS cpu\n"].iter().any(|name| stage.contains(name));
    let images = stages.iter().filter(last).collect::<Vec<_>>();
    assert_eq!(images.len(), 2);
    for image in images {
        for line in [
            "\nUSER 65532:65532\n",
            "\nWORKDIR /work\n",
            "\nENTRYPOINT [\"bnfold-gpu\"]\n",
            "/usr/local/bin/bnfold-gpu\n",
        ] {
            assert!(image.contains(line), "no {line:?} in:\n{image}");
        }
    }
    assert!(stages.last().unwrap().contains(" AS cpu\n"), "a build without --target makes the cpu image");
}

#[test]
fn the_compiler_is_of_one_version_everywhere() {
    let manifest = manifest();
    let version = manifest["rust-version"].as_str().unwrap();
    for (file, words) in [
        ("Dockerfile", format!("\nARG RUST={version}\n")),
        (".github/workflows/ci.yml", format!("container: rust:{version}-")),
        (".github/workflows/ci.yml", format!("rustup toolchain install {version} ")),
        (".github/workflows/release.yml", format!("RUST: \"{version}\"\n")),
        ("docs/install.md", format!("Rust {version} or newer ")),
    ] {
        assert!(read(file).contains(&words), "{file} has no {words:?}");
    }
}

#[test]
fn actions_of_others_are_named_by_commit_and_workflows_may_only_read() {
    let mut count = 0;
    for file in [".github/workflows/ci.yml", ".github/workflows/release.yml", "action.yml"] {
        let text = read(file);
        for action in text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let (_, commit) = action.split_once('@').unwrap_or(("", ""));
            let (hash, version) = commit.split_once(" # v").unwrap_or(("", ""));
            let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(action == "./" || (is_hash && !version.is_empty()), "{file}: {action}");
            count += 1;
        }
        assert!(file == "action.yml" || text.contains("\npermissions:\n  contents: read\n"), "{file}");
    }
    assert!(count > 5, "the test found only {count} actions");
}

#[test]
fn the_crate_is_found_by_its_words_and_holds_no_tests() {
    let manifest = manifest();
    let keywords =
        manifest["keywords"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>();
    assert!(keywords.len() <= 5 && keywords.iter().all(|word| word.len() <= 20), "{keywords:?}");
    for word in ["batchnorm", "fuse", "conv-bn", "safetensors"] {
        assert!(keywords.contains(&word), "{word}");
    }
    let listed = cargo(root(), &["package", "--list", "--allow-dirty"]).stdout;
    let files = listed.lines().collect::<Vec<_>>();
    for file in
        ["Cargo.lock", "README.md", "LICENSE-MIT", "shaders/scale.wgsl", "benches/kernels.rs", "docs/formats.md"]
    {
        assert!(files.contains(&file), "{file} is not in the crate");
    }
    let others = files.iter().filter(|file| ["tests/", "scripts/", ".github/"].iter().any(|top| file.starts_with(top)));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&&str>::new());
    let size = |file: &&str| std::fs::metadata(root().join(file)).map_or(0, |found| found.len());
    let total = files.iter().map(size).sum::<u64>();
    assert!(total < 2_500_000, "{total} bytes: something large has got into the crate");
}

/// Packs this program.
fn archive(folder: &Folder) -> String {
    let mut python = Command::new("python3");
    python.arg(root().join("scripts/package.py")).arg(env!("CARGO_BIN_EXE_bnfold-gpu")).arg("some-target");
    python.arg("--out").arg(folder.path("dist")).env("SOURCE_DATE_EPOCH", "1700000000");
    Run::of(&mut python).expect(0).stdout.trim().to_owned()
}

#[test]
fn an_archive_holds_the_program_its_pages_and_its_licences() {
    let folder = Folder::new();
    let path = archive(&folder);
    let name = format!("bnfold-gpu-{}-some-target", env!("CARGO_PKG_VERSION"));
    assert_eq!(Path::new(&path).file_name().unwrap().to_str().unwrap(), format!("{name}.tar.gz"));
    let listed = Run::of(Command::new("tar").args(["-tzf", &path])).expect(0).stdout;
    let files = listed.lines().map(|line| line.strip_prefix(&format!("{name}/")).unwrap()).collect::<Vec<_>>();
    assert!(files.is_sorted(), "{files:?}");
    let completions = files.iter().filter(|file| file.starts_with("completions/") && !file.ends_with('/'));
    assert_eq!(completions.count(), 5, "docs/install.md speaks of five shells: {files:?}");
    for file in [
        "bnfold-gpu",
        "man/bnfold-gpu.1",
        "completions/_bnfold-gpu",
        "completions/bnfold-gpu.bash",
        "completions/bnfold-gpu.fish",
        "README.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "docs/formats.md",
    ] {
        assert!(files.contains(&file), "{file} is not in {files:?}");
    }
    Run::of(
        Command::new("sha256sum").args(["--check", &format!("{name}.tar.gz.sha256")]).current_dir(folder.path("dist")),
    )
    .expect(0);
    let first = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(std::fs::read(archive(&folder)).unwrap() == first, "the same program gives the same archive");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_asks_for_a_newer_glibc_is_caught() {
    let check = |version: &[&str]| {
        let mut script = Command::new(root().join("scripts/check_glibc.sh"));
        Run::of(script.arg(env!("CARGO_BIN_EXE_bnfold-gpu")).args(version))
    };
    check(&["2.99"]).expect(0);
    check(&["2.2"]).error(1, &["needs glibc 2.", "and 2.2 was promised"]);
    check(&[]).error(1, &["should be static, but loads", "libc.so.6"]);
}
