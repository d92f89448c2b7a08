//! 2 PLAN, catalogue: the architecture that a checkpoint's path is named after.
//!
//! In: a path, and what the norms there are called. Out: `LIBRARY/NAME`, if the file's or its folder's name is that of an
//! architecture whose norms are called so too. It is a suggestion: names of files are anybody's.

use std::path::Path;

use super::{Catalogue, Known};
use crate::network::Inventory;

/// What ends the names of checkpoints.
const ENDINGS: [&str; 2] = [".safetensors.index.json", ".safetensors"];

/// The architecture that the file at `path`, or its folder, is named after.
pub(in crate::plan) fn suggested(path: &Path, inventory: &Inventory) -> Option<String> {
    let mut names = path.ancestors().filter_map(|path| path.file_name()?.to_str());
    let (file, folder) = (names.next()?, names.next());
    let file = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
    let of_folder = || named(folder?, names.next(), inventory);
    named(file, folder, inventory).or_else(of_folder)
}

/// The architecture of this name, perhaps with the library before `--` or above it.
fn named(name: &str, above: Option<&str>, inventory: &Inventory) -> Option<String> {
    let (before, bare) = name.rsplit_once("--").map_or((None, name), |(before, bare)| (Some(before), bare));
    let library = before.map(|before| before.rsplit_once("--").map_or(before, |(_, last)| last)).or(above);
    let whole = library.and_then(|library| Catalogue::built_in().look_up(&format!("{library}/{bare}")).ok());
    let fits = |known: &Known| known.is_borne_out_by(inventory);
    match whole.filter(fits) {
        Some(known) => Some(known.name),
        None => of_any_library(bare, fits),
    }
}

/// The architecture of this name in whatever library, if it means one eps.
fn of_any_library(bare: &str, fits: impl Fn(&Known) -> bool) -> Option<String> {
    let catalogue = Catalogue::built_in();
    let libraries = catalogue.libraries.iter().filter(|library| library.has(bare));
    let found = libraries.filter_map(|library| catalogue.of_library(library, bare).ok()).filter(fits);
    let found = found.collect::<Vec<_>>();
    let first = found.first()?;
    found.iter().all(|other| other.agrees_with(first)).then(|| first.name.clone())
}
