//! Who says what to type: the command line alone.
//!
//! In: the string literals of src/. Out: none of the library's names an option, so that a program which uses the library is
//! never told to pass one; the command line adds options to what the library says (`src/cli/hints.rs`).

use std::path::{Path, PathBuf};

use crate::docs::root;

/// Literals of the library that do name an option, and why that is right.
const ALLOWED: &[(&str, &str)] = &[
    // Words of plans and reports, whose format is documented.
    ("src/network/eps.rs", "--eps"),
    ("src/network/eps.rs", "--eps-for {glob}"),
    // An option of the Hub's own program.
    ("src/hub/repository.rs", " --revision {revision}"),
    // Options of cargo: the program has to be built again.
    (
        "src/hub/problem.rs",
        r"this program was built without the Hugging Face Hub; build it with `--features hub`, or download the repository \
         (`hf download {arguments}`, earlier `huggingface-cli download {arguments}`) and name the folder that this prints",
    ),
    (
        "src/error.rs",
        "{}: this program was built without object stores; build it with `--features cloud`, or copy the file first",
    ),
];

/// The library's files: all but the command line and tests.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_other = ["cli", "main.rs", "tests", "tests.rs"].iter().any(|name| path.ends_with(name));
        match path.is_dir() {
            _ if is_other => {}
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The string literals of Rust code, comments left out, as they are written.
fn literals(code: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), code);
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let from = &rest[at..];
        let hashes = from.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
        rest = match hashes.filter(|&count| from[1 + count..].starts_with('"')) {
            Some(count) => {
                let (literal, after) =
                    from[count + 2..].split_once(&format!("\"{}", &from[1..1 + count])).expect("a raw string ends");
                found.push(literal);
                after
            }
            None if from.starts_with("//") => from.split_once('\n').map_or("", |(_, after)| after),
            None if from.starts_with('"') => {
                let end = end_of_string(&from[1..]);
                found.push(&from[1..=end]);
                &from[end + 2..]
            }
            // A quote or a backslash as a character; other characters and lifetimes hold nothing that matters.
            None if from.starts_with("'\"'") => &from[3..],
            None if from.starts_with("'\\") => &from[3..],
            None => &from[1..],
        };
    }
    found
}

/// Where the quote is that ends a string.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let ends = |c: char| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    };
    text.find(ends).expect("a string ends")
}

/// Whether a text has two hyphens and a letter after them, at the beginning of a word.
fn names_an_option(text: &str) -> bool {
    text.match_indices("--").any(|(at, _)| {
        let is_beginning = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        is_beginning && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    })
}

#[test]
fn the_library_names_no_option_of_the_command_line() {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    assert!(found.len() > 100, "the test looks in the wrong place");
    let (mut count, mut naming) = (0, Vec::new());
    for path in &found {
        let code = std::fs::read_to_string(path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let literals = literals(code);
        count += literals.len();
        naming.extend(
            literals.into_iter().filter(|text| names_an_option(text)).map(|text| (name.clone(), text.to_owned())),
        );
    }
    assert!(count > 1000, "the test found only {count} literals");
    let is_allowed = |(file, text): &&(String, String)| ALLOWED.contains(&(file.as_str(), text.as_str()));
    let wrong = naming.iter().filter(|found| !is_allowed(found)).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "let src/cli/hints.rs name the option: {wrong:#?}");
    for (file, text) in ALLOWED {
        let is_there = naming.iter().any(|(at, found)| (at.as_str(), found.as_str()) == (*file, *text));
        assert!(is_there, "{file} does not say \"{text}\" any more: take it out of the list");
    }
}

#[test]
fn literals_are_told_from_comments_and_characters() {
    let code = "// \"no\"\nlet a = ('\"', '\\'', \"one \\\" --two\"); /// 'x \"no\"\nlet b: &'static str = r#\"--\"three\"#; r\"4\"";
    assert_eq!(literals(code), ["one \\\" --two", "--\"three", "4"]);
    let options = ["pass --eps", "(--eps)", "`--eps-for x`"];
    assert!(options.iter().all(|text| names_an_option(text)));
    let others = ["a -- b", "--", "---x", "x--y", "--{}", "---"];
    assert!(!others.iter().any(|text| names_an_option(text)));
}
