//! The seeds of the fuzz targets: the hostile files themselves, the small ones; of checkpoints their headers.
//!
//! In: all cases. Out: `fuzz/seeds/TARGET/`, one file a case, which must be what is committed; `FUZZ_SEEDS=write` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::cases;
use super::file::File;

/// The longest seed: fuzzers grow files themselves.
const MOST: usize = 700;

/// Which target takes a file, and what of it.
fn seed<'a>(name: &str, bytes: &'a [u8]) -> Option<(&'static str, &'a [u8])> {
    match name {
        "m.safetensors" => {
            let (length, rest) = bytes.split_first_chunk()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
            Some(("header", rest.get(..length).unwrap_or(rest)))
        }
        "m.safetensors.index.json" => Some(("index", bytes)),
        "plan.json" => Some(("plan", bytes)),
        "config.json" => Some(("config", bytes)),
        _ => None,
    }
}

/// All seeds, by their place below `fuzz/seeds`.
fn seeds() -> BTreeMap<String, Vec<u8>> {
    let (mut seeds, mut known) = (BTreeMap::new(), BTreeSet::new());
    for case in cases() {
        let words = case.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = words.collect::<Vec<_>>().join("-").to_lowercase();
        for (target, bytes) in case.files.iter().filter_map(|(file, bytes)| seed(file, bytes)) {
            if bytes.len() <= MOST && known.insert((target, bytes.to_vec())) {
                seeds.insert(format!("{target}/{}", &name[..name.len().min(60)]), bytes.to_vec());
            }
        }
    }
    let whole = [("small", File::new()), ("unnormed", File::new().without("bn.running_var"))];
    seeds.extend(whole.map(|(name, file)| (format!("fold/{name}"), file.bytes())));
    seeds
}

#[test]
fn the_seeds_of_the_fuzz_targets_are_the_hostile_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let seeds = seeds();
    if std::env::var_os("FUZZ_SEEDS").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        for (place, bytes) in &seeds {
            let path = folder.join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let bytes = seeds.values().map(Vec::len).sum::<usize>();
    assert!(bytes <= 200_000, "{bytes} bytes of seeds");
    for (place, bytes) in &seeds {
        let committed = std::fs::read(folder.join(place)).unwrap_or_default();
        assert!(
            committed == *bytes,
            "fuzz/seeds/{place} is not what the generator makes: set FUZZ_SEEDS=write and run this"
        );
    }
}
