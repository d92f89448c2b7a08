//! 4 WRITE: what is being replaced, until all that replaces it is in place.
//!
//! In: paths. Out: the same files in a hidden folder beside each, under their own names, so that a kill leaves them where
//! anybody can see what they are; later the same files back at their places, or gone.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::hidden::{Hidden, hidden_folder};
use super::lock::Locks;
use super::temporary::folder_of;
use crate::error::{Error, Result};
use crate::store;

/// What cannot be done when this fails.
const DISCARD: &str = "remove what was replaced (the new files are in place) from";

/// Files that were set aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Hidden folders, by the folder that each stands in.
    folders: Vec<(PathBuf, PathBuf)>,
    /// Where each belongs, and where it is.
    files: Vec<(PathBuf, PathBuf)>,
}

/// A file that is not where it should be after something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    /// Where it is.
    pub at: PathBuf,
    /// Where it belongs; `None` for a new file, which should be gone.
    pub place: Option<PathBuf>,
}

impl std::fmt::Display for Stranded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "what stood at {} is at {}", place.display(), self.at.display()),
            None => write!(f, "{} is a new file", self.at.display()),
        }
    }
}

impl Aside {
    /// Moves what stands at `path`, if anything, into a hidden folder beside it.
    pub(super) fn put(&mut self, path: &Path) -> Result<()> {
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(());
        }
        let hidden = self.folder(folder_of(path))?.join(path.file_name().unwrap_or_default());
        fs::rename(path, &hidden).map_err(Error::io("set aside the old file at", path))?;
        self.files.push((path.to_owned(), hidden));
        Ok(())
    }

    /// The hidden folder in `folder`, which is made if there is none.
    fn folder(&mut self, folder: &Path) -> Result<&Path> {
        let known = self.folders.iter().position(|(of, _)| of == folder);
        let number = match known {
            Some(number) => number,
            None => {
                let made = hidden_folder().tempdir_in(folder);
                let made = made.map_err(Error::io("create a folder for what is replaced in", folder))?;
                self.folders.push((folder.to_owned(), made.keep()));
                self.folders.len() - 1
            }
        };
        Ok(&self.folders[number].1)
    }

    /// Where the files are now.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(_, hidden)| hidden.clone()).collect()
    }

    /// Puts everything back, the first last; returns what cannot be.
    pub(super) fn put_back(self) -> Vec<Stranded> {
        let mut stranded = Vec::new();
        for (place, at) in self.files.into_iter().rev() {
            if put_back(&at, &place).is_err() {
                stranded.push(Stranded { at, place: Some(place) });
            }
        }
        for (_, hidden) in self.folders {
            let is_empty = !stranded.iter().any(|file| file.at.starts_with(&hidden));
            if is_empty && fs::remove_dir(&hidden).is_err() {
                stranded.push(Stranded { at: hidden, place: None });
            }
        }
        stranded
    }

    /// Removes everything: what replaces it is in place.
    pub(super) fn discard(self) -> Result<()> {
        for (_, hidden) in &self.files {
            fs::remove_file(hidden).map_err(Error::io(DISCARD, hidden))?;
        }
        for (_, hidden) in &self.folders {
            fs::remove_dir(hidden).map_err(Error::io(DISCARD, hidden))?;
        }
        Ok(())
    }
}

/// Removes what a killed run has set aside of files that are in place now: it was to be replaced, and has been. What else it
/// set aside stays.
pub(super) fn clear_stale(places: &[PathBuf], locks: &Locks) -> Result<()> {
    let folders = places.iter().map(|place| folder_of(place)).collect::<BTreeSet<_>>();
    for folder in folders.into_iter().filter(|_| locks.are_real()) {
        let hidden = store::names_in(folder)?.into_iter().filter(|name| Hidden::of(name) == Some(Hidden::Replaced));
        for hidden in hidden.map(|name| folder.join(name)) {
            for name in places.iter().filter(|place| folder_of(place) == folder).filter_map(|place| place.file_name()) {
                let stale = hidden.join(name);
                match fs::remove_file(&stale) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(DISCARD, &stale)(error)),
                    _ => {}
                }
            }
            // Fails, as it should, where something else is in it.
            let _ = fs::remove_dir(&hidden);
        }
    }
    Ok(())
}

/// Moves a file back to its place, which must be free. A plain rename is what every file system has; a link may do where
/// even that fails. Nobody but another program could take the place in between: runs of this one wait for each other.
fn put_back(at: &Path, place: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
    }
    fs::rename(at, place).or_else(|error| {
        let linked = fs::hard_link(at, place).and_then(|()| fs::remove_file(at));
        linked.map_err(|_| error)
    })
}
