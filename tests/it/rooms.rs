//! The order of rooms: modules import from the ground up.
//!
//! In: the list of rooms in docs/architecture.md and every `crate::` path under src/. Out: none leads up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who imports from above, and why that is right.
const NESTED: &[(&str, &str)] = &[
    // The one error enum holds the problems of the rooms that it serves as its sources, so that a caller can match on them.
    ("error", "store"),
    ("error", "checkpoint"),
    ("error", "fold"),
    ("error", "output"),
    ("error", "hub"),
    ("error", "plan"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms, from the ground up.
fn rooms() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, list) = text.split_once("```text rooms\n").unwrap();
    let lines = list.split_once("```").unwrap().0.lines();
    lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The room of a file under src/.
fn room_of(path: &Path) -> String {
    let top = path.strip_prefix(root().join("src")).unwrap().iter().next().unwrap().to_string_lossy();
    top.trim_end_matches(".rs").to_owned()
}

/// The rooms that a line of code names. What stands in the crate's root is the library's face.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap();
    let paths = code.split("crate::").skip(1).chain(code.split("bnfold_gpu::").skip(1));
    let first = |path: &str| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
    let names = paths.flat_map(|path| match path.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap().split(',').map(|item| first(item.trim())).collect::<Vec<_>>(),
        None => vec![first(path)],
    });
    let room = |name: String| match name.as_str() {
        "" => panic!("`{line}`: name one room per path, or this test cannot read it"),
        "Error" | "Result" => "error".to_owned(),
        // What the library shows stands in the crate's root.
        name if name.starts_with(char::is_uppercase) => "job".to_owned(),
        name => name.to_owned(),
    };
    names.map(room).collect()
}

/// All pairs of a room and one that it imports from, and where.
fn imports() -> Vec<(String, String, String)> {
    let (mut found, mut imports) = (Vec::new(), Vec::new());
    files(&root().join("src"), &mut found);
    for path in
        found.iter().filter(|path| !["lib.rs", "main.rs"].contains(&&*path.file_name().unwrap().to_string_lossy()))
    {
        let room = room_of(path);
        for (number, line) in (1..).zip(std::fs::read_to_string(path).unwrap().lines()) {
            let place = format!("{}:{number}: {}", path.display(), line.trim());
            imports.extend(named(line).into_iter().map(|other| (room.clone(), other, place.clone())));
        }
    }
    assert!(imports.len() > 100, "the test looks in the wrong place");
    imports
}

#[test]
fn every_room_is_in_the_list_once() {
    let entries = std::fs::read_dir(root().join("src")).unwrap().map(|entry| room_of(&entry.unwrap().path()));
    let there = entries.filter(|room| room != "lib" && room != "main").collect::<BTreeSet<_>>();
    let listed = rooms();
    assert_eq!(listed.len(), there.len(), "{listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), there);
}

/// Code of a file, without its tests.
fn code_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

#[test]
fn json_of_others_is_read_in_one_place() {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    // The catalogue's JSON is the program's own.
    let is_excused = |path: &Path| {
        let path = path.strip_prefix(root().join("src")).unwrap();
        path == Path::new("json.rs") || path.starts_with("plan/catalogue") || path.iter().any(|part| part == "tests")
    };
    found.retain(|path| !is_excused(path) && !path.ends_with("tests.rs"));
    let calls = found.iter().filter(|path| code_of(path).contains("serde_json::from_"));
    assert_eq!(
        calls.collect::<Vec<_>>(),
        [] as [&PathBuf; 0],
        "it skips what is nested without end: crate::json::parse"
    );
    let parsed = found.iter().filter(|path| code_of(path).contains("json::parse")).count();
    assert!(parsed >= 8, "the test looks in the wrong place: {parsed}");
}

#[test]
fn no_room_imports_from_above() {
    let rooms = rooms();
    let level = |room: &str| {
        rooms
            .iter()
            .position(|listed| listed == room)
            .unwrap_or_else(|| panic!("{room} is no room of docs/architecture.md"))
    };
    let mut up = imports();
    up.retain(|(room, other, _)| level(room) < level(other));
    let is_excused = |room: &str, other: &str| NESTED.contains(&(room, other));
    let wrong = up.iter().filter(|(room, other, _)| !is_excused(room, other)).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (room, other) in NESTED {
        let is_used = up.iter().any(|(from, to, _)| (&**from, &**to) == (*room, *other));
        assert!(is_used, "{room} imports nothing from {other} any more: take it out of the list");
    }
}
