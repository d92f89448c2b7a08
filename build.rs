//! Makes of the catalogue what a run of the program reads in a fraction of the time: people write TOML and JSON, a run looks
//! up one name.
//!
//! In: `src/plan/catalogue/`: `catalogue.toml`, `names.json`, `networks.json`. Out, in Cargo's `OUT_DIR`: `catalogue.json`;
//! `groups.jsonl`, the groups of `networks.json`, one a line; `index.tsv`, one line an architecture, sorted by
//! `LIBRARY/NAME`, with the number of its group and of its norms (`-` where nothing is said; the group is `?` if only
//! `names.json` has the name).

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

type Lines = BTreeMap<String, String>;

fn main() -> Result<(), Box<dyn Error>> {
    let source = Path::new("src/plan/catalogue");
    let read = |name: &str| {
        let path = source.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        std::fs::read_to_string(path)
    };
    let target = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?);
    let catalogue = read("catalogue.toml")?.parse::<toml::Table>()?;
    std::fs::write(target.join("catalogue.json"), serde_json::to_vec(&catalogue)?)?;

    let networks: Value = serde_json::from_str(&read("networks.json")?)?;
    let names: Value = serde_json::from_str(&read("names.json")?)?;
    let (mut index, mut groups) = (Lines::new(), String::new());
    add_names(&names, &mut index).ok_or("names.json is not laid out as expected")?;
    add_networks(&networks, &mut index, &mut groups).ok_or("networks.json is not laid out as expected")?;
    let index = index.iter().fold(String::new(), |text, (name, said)| text + name + "\t" + said + "\n");
    std::fs::write(target.join("index.tsv"), index)?;
    std::fs::write(target.join("groups.jsonl"), groups)?;
    Ok(())
}

/// Names whose eps was looked at.
fn add_names(names: &Value, index: &mut Lines) -> Option<()> {
    for (library, lines) in names["names"].as_object()? {
        for line in lines.as_object()?.values().flat_map(|lines| lines.as_array().into_iter().flatten()) {
            for name in line.as_str()?.split(' ') {
                index.insert(format!("{library}/{name}"), "?\t-".to_owned());
            }
        }
    }
    let whole = names["mixed"].as_object()?.keys().chain(names["unless"].as_object()?.keys());
    let models = names["fields"].as_object()?.keys().map(|model| format!("transformers/{model}"));
    for name in whole.filter(|name| name.contains('/')).cloned().chain(models) {
        index.insert(name, "?\t-".to_owned());
    }
    Some(())
}

/// Names of architectures, and what their norms are called.
fn add_networks(networks: &Value, index: &mut Lines, groups: &mut String) -> Option<()> {
    for (library, names) in networks["silent"].as_object()? {
        for name in names.as_str()?.split_whitespace() {
            index.insert(format!("{library}/{name}"), "-\t-".to_owned());
        }
    }
    for (number, group) in networks["groups"].as_array()?.iter().enumerate() {
        writeln!(groups, "{group}").ok()?;
        for (norms, names) in group["of"].as_object()? {
            let norms = norms.parse::<usize>().map_or("-".to_owned(), |norms| norms.to_string());
            for name in names.as_str()?.split_whitespace() {
                index.insert(format!("{}/{name}", group["library"].as_str()?), format!("{number}\t{norms}"));
            }
        }
    }
    Some(())
}
