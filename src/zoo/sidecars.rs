//! ZOO: the files beside the weights, without which a repository does not load.
//!
//! In: configurations, tokenizers and the like, and the output folder. Out: their copies, each whole or not at all. A
//! copy that is there already, byte for byte, is left as it is, so that a second run changes nothing.

use std::path::{Path, PathBuf};

use super::found::Sidecar;
use super::kinds::is_weights;
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
    copy_file(&sidecar.input, &target, replace, sync).map(|()| true)
}

/// The files beside a single checkpoint, if a `config.json` among them says that it is a repository: any other folder,
/// of downloads say, holds what nobody asked for.
pub fn beside(input: &Location) -> Vec<Sidecar> {
    let folder = input.folder();
    let names = folder.names().unwrap_or_default();
    if !names.iter().any(|name| name == "config.json") {
        return Vec::new();
    }
    let sidecars = names.into_iter().map(|name| Sidecar { input: folder.join(&name), place: PathBuf::from(name) });
    let is_wanted = |file: &Location| {
        let path = file.path();
        file.as_file().is_none_or(Path::is_file) && !is_weights(path) && !is_index(path)
    };
    sidecars.filter(|sidecar| is_wanted(&sidecar.input)).collect()
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
