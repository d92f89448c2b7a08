//! 4 WRITE: a finished file gets its name, on whatever file system.
//!
//! In: a file under a hidden name. Out: the same under its own, which must have been free; or an error, and the name as it
//! was. Linux has a rename that does not replace, most file systems have hard links; exFAT and what is mounted from a bucket
//! (s3fs, gcsfuse, rclone) have neither.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use tempfile::NamedTempFile;

use super::hidden::{hidden, hidden_in};

/// How a file under a hidden name gets its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By a rename that does not replace, or a hard link.
    NoReplace,
    /// The name is taken first, by an empty file that must be new; a rename then replaces that one. A kill between the two
    /// leaves the empty file, which no reader takes for a checkpoint.
    Held,
}

impl Way {
    /// The first way that works in `folder`: tried, since a file system knows it and nobody else. An error is what all
    /// files would meet after the work.
    pub(super) fn of(folder: &Path) -> io::Result<Way> {
        match Way::NoReplace.works_in(folder) {
            Ok(()) => Ok(Way::NoReplace),
            Err(_) => Way::Held.works_in(folder).map(|()| Way::Held),
        }
    }

    fn works_in(self, folder: &Path) -> io::Result<()> {
        // A name that is free, as a moment ago it was one.
        let free = hidden().make_in(folder, |path| File::create_new(path))?.into_temp_path();
        std::fs::remove_file(&free)?;
        let named = match self {
            Way::NoReplace => hidden_in(folder)?.persist_noclobber(&free).map(drop).map_err(Into::into),
            Way::Held => hold(hidden_in(folder)?, &free).map(drop),
        };
        named.and_then(|()| match free.close() {
            // Another run has taken the file for that of a dead one, which it may be from now on.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            closed => closed,
        })
    }

    /// Gives `file` the name `path`, which must be free.
    pub(super) fn name(self, file: NamedTempFile, path: &Path) -> io::Result<File> {
        match self {
            Way::NoReplace => file.persist_noclobber(path).or_else(|failed| match is_answer(&failed.error) {
                true => Err(failed.error),
                false => hold(failed.file, path),
            }),
            Way::Held => hold(file, path),
        }
    }
}

/// Whether this is an answer about the name or its folder, and not about the call, which the file system may not know.
pub(super) fn is_answer(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound)
}

/// Takes the name by an empty file, and replaces that one.
fn hold(file: NamedTempFile, path: &Path) -> io::Result<File> {
    drop(File::create_new(path)?);
    file.persist(path).map_err(|failed| match release(path) {
        Ok(()) => failed.error,
        Err(error) => io::Error::other(format!("{}; the name stands for an empty file now: {error}", failed.error)),
    })
}

/// Removes the empty file under a name, if it is still that.
fn release(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path)? {
        metadata if metadata.is_file() && metadata.len() == 0 => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_tried_and_nothing_is_left_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Way::of(folder.path()).unwrap(), Way::NoReplace);
        for way in [Way::NoReplace, Way::Held] {
            way.works_in(folder.path()).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{way:?}");
        }
        assert!(Way::of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_name_that_is_held_and_cannot_be_replaced_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let hidden = hidden_in(folder.path()).unwrap();
        // Taken away by somebody: the rename finds nothing.
        std::fs::remove_file(hidden.path()).unwrap();
        assert_eq!(hold(hidden, &path).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!path.exists(), "the empty file is still there");
    }
}
