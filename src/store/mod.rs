//! STORE: checkpoints in object stores, under URLs.
//!
//! In: a path whose text is a URL (`s3://bucket/key`, `gs://`, `az://`, `http(s)://`). Out: bytes by position, listings,
//! whole objects. Everywhere else a place is a path: only those who open, list, name or remove files ask [`is_url`] and
//! come here. Without the feature `cloud` there is nothing behind these functions but an error that says so.

mod address;
mod names;

#[cfg(feature = "cloud")]
mod blocks;
#[cfg(feature = "cloud")]
mod bucket;
#[cfg(feature = "cloud")]
mod listing;
#[cfg(feature = "cloud")]
mod object;
#[cfg(feature = "cloud")]
mod publish;

#[cfg(not(feature = "cloud"))]
mod absent;

use std::fs::File;
use std::path::{Path, PathBuf};

#[cfg(not(feature = "cloud"))]
pub(crate) use absent::{Object, check_writable, is_same, length, list, publish};
pub use address::{conceal, is_folder, is_url, redacted};
#[cfg(feature = "cloud")]
pub(crate) use listing::{is_same, length, list, remove};
pub use names::{index_stem, is_index};
#[cfg(feature = "cloud")]
pub(crate) use object::Object;
#[cfg(feature = "cloud")]
pub(crate) use publish::{check_writable, publish};

use crate::error::Result;

/// Threads that may read objects in places far apart: with more, one would lose the blocks that another has just fetched.
pub(crate) const READERS: usize = 8;

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its URL.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
}

/// A finished file that is to become an object.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "nothing is uploaded"))]
pub(crate) struct Finished<'a> {
    /// The object's URL.
    pub(crate) path: &'a Path,
    /// Its content.
    pub(crate) file: &'a File,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Names of the files and objects that stand directly in `folder`, sorted; folders may be among them.
pub fn names_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = match is_url(folder) {
        true => {
            let direct = list(folder)?.into_iter().filter(|listed| listed.path.parent() == Some(folder));
            direct.filter_map(|listed| Some(listed.path.file_name()?.to_str()?.to_owned())).collect::<Vec<_>>()
        }
        false => {
            let entries = std::fs::read_dir(folder).map_err(crate::Error::io("list", folder))?;
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
    };
    names.sort();
    Ok(names)
}

/// The path by which a file is told from others: symlinks are resolved, a URL is what it is. `None` if there is nothing.
pub fn real(path: &Path) -> Option<PathBuf> {
    if is_url(path) { Some(path.to_owned()) } else { std::fs::canonicalize(path).ok() }
}

/// The place that a path names: its folder with links resolved, as far as there is one, and what follows. Two paths of one
/// place are equal.
pub fn absolute(path: &Path) -> PathBuf {
    if is_url(path) {
        return path.to_owned();
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path };
    match std::fs::canonicalize(folder) {
        Ok(folder) => folder.join(name),
        Err(_) => absolute(folder).join(name),
    }
}

/// Whether something stands at `path`, a link that leads nowhere included.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match is_url(path) {
        true => Ok(length(path)?.is_some()),
        false => Ok(std::fs::symlink_metadata(path).is_ok()),
    }
}
