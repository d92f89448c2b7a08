//! ZOO: the files beside the weights, without which a repository does not load.
//!
//! In: configurations, tokenizers and the like, and the output folder. Out: their copies, each whole or not at all. A
//! copy that is there already, byte for byte, is left as it is, so that a second run changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::found::{Found, Sidecar, Source};
use super::home::Home;
use super::kinds::{Kind, is_weights, kind_of};
use crate::checkpoint::{InputFile, is_index};
use crate::error::Result;
use crate::output::{Replace, copy_file};
use crate::store::Location;

/// Bytes compared at a time.
const CHUNK: usize = 1 << 20;

/// Copies a file to its place; `true` if there was something to do.
pub fn copy(sidecar: &Sidecar, output: &Location, replace: Replace, sync: bool) -> Result<bool> {
    let target = output.join(&sidecar.place);
    if same_content(&sidecar.input, &target) {
        return Ok(false);
    }
    copy_file(&sidecar.input, output, &target, replace, sync).map(|()| true)
}

/// Adds the files beside a single checkpoint, if a `config.json` among them says that it is a repository: any other folder,
/// of downloads say, holds what nobody asked for.
///
/// # Errors
///
/// The folder, or a file in it, cannot be looked at.
pub fn add_beside(input: &Location, found: &mut Found) -> Result<()> {
    let folder = input.folder();
    let names = folder.names()?;
    if !names.iter().any(|name| name == "config.json") {
        return Ok(());
    }
    let home = folder.as_file().map(Home::of).transpose()?;
    for name in names {
        let file = folder.join(&name);
        if is_weights(file.path()) || is_index(file.path()) || kind_of(&file)? != Kind::File {
            continue;
        }
        match home.as_ref().map_or(Ok(true), |home| home.holds(file.path()))? {
            true => found.sidecars.push(Sidecar { input: file, place: PathBuf::from(name) }),
            false => found.strays.push(file),
        }
    }
    Ok(())
}

/// Those of `sidecars` that go with the model at `place`, where every model of a zoo is folded by a run of its own. A sidecar
/// goes with a model of its folder, else of the nearest folder above it that has any below it; of several with the first: so
/// it is copied once, whatever it is a sidecar of.
pub(super) fn going_with(place: &Path, sources: &[Source], sidecars: Vec<Sidecar>) -> Vec<Sidecar> {
    let mut first: HashMap<&Path, &Path> = HashMap::new();
    for source in sources {
        for folder in source.place.ancestors().skip(1) {
            let named = first.entry(folder).or_insert(&source.place);
            // A model of this very folder goes before those below it.
            if named.parent() != Some(folder) && source.place.parent() == Some(folder) {
                *named = &source.place;
            }
        }
    }
    let owner = |sidecar: &Sidecar| sidecar.place.ancestors().skip(1).find_map(|folder| first.get(folder).copied());
    let owned = sidecars.iter().map(|sidecar| owner(sidecar) == Some(place)).collect::<Vec<_>>();
    sidecars.into_iter().zip(owned).filter_map(|(sidecar, is_owned)| is_owned.then_some(sidecar)).collect()
}

/// Whether both are regular files of the same bytes.
pub fn same_content(a: &Location, b: &Location) -> bool {
    let (Ok(a), Ok(b)) = (InputFile::open(a), InputFile::open(b)) else { return false };
    let same_at = |from: u64| {
        let bytes = usize::try_from(a.bytes() - from).unwrap_or(CHUNK).min(CHUNK);
        let (mut x, mut y) = (vec![0; bytes], vec![0; bytes]);
        a.read_at(from, &mut x).is_ok() && b.read_at(from, &mut y).is_ok() && x == y
    };
    a.bytes() == b.bytes() && (0..a.bytes()).step_by(CHUNK).all(same_at)
}
