//! 4 WRITE: whether a name still stands for the file that was opened under it.
//!
//! In: a path, and an open file. Out: whether the two are one.

use std::fs::File;
#[cfg(not(unix))]
use std::io;
use std::path::Path;

/// Whether `path` is still the open `file`. Nothing is opened for it: there may be too many open files already.
#[cfg(unix)]
pub(super) fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (ours, there) = (file.metadata().map(number), std::fs::symlink_metadata(path).map(number));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

/// Whether `path` is still the open `file`.
#[cfg(not(unix))]
pub(super) fn is_still(path: &Path, file: &File) -> bool {
    let handle = || same_file::Handle::from_file(file.try_clone()?);
    let same = || Ok::<_, io::Error>(handle()? == same_file::Handle::from_path(path)?);
    same().unwrap_or(false)
}
