//! 4 WRITE: several files on the way to their names.
//!
//! In: finished files, one after the other. Out: all of them under their names, or everything as it was; what cannot be made
//! as it was is listed, with the place of every file.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::aside::{Aside, Stranded};
use super::still::is_still;
use super::target::Target;
use crate::error::{Error, Result};
use crate::store::Same;

/// Several files on the way to their names.
#[derive(Default)]
pub(super) struct Placing {
    placed: Vec<(PathBuf, File)>,
    pub(super) aside: Aside,
    /// Others may place the very same files at the same time; nothing new is taken back then.
    pub(super) is_shared: bool,
    /// A file that is there already and has the very same bytes stays: a run that was killed has left it.
    pub(super) keeps_equals: bool,
}

impl Placing {
    /// Gives a file its name, which must be free; one that is the `same` stays.
    pub(super) fn place(&mut self, target: Target, same: Same<'_>) -> Result<()> {
        if self.keeps_equals && target.is_there_already()? {
            return Ok(());
        }
        let Target { location, file, .. } = target;
        match file.name(location.path()) {
            Ok(file) => self.placed.push((location.path().to_owned(), file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && same.is_some_and(|same| same(&location)) => {}
            Err(error) => return Err(not_placed(location.path())(error)),
        }
        Ok(())
    }

    /// The names that were given.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.placed.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Takes everything back because of `failed`, which is returned; with it, what could not be taken back.
    pub(super) fn take_back(self, failed: Error) -> Error {
        let mut left = Vec::new();
        // Only what is still ours: another program may have put its own file there meanwhile.
        let ours = self.placed.into_iter().rev().filter(|(path, file)| !self.is_shared && is_still(path, file));
        for (path, _) in ours {
            if std::fs::remove_file(&path).is_err() {
                left.push(Stranded { at: path, place: None });
            }
        }
        left.extend(self.aside.put_back());
        match left.is_empty() {
            true => failed,
            false => Error::NotTakenBack { failed: Box::new(failed), left },
        }
    }
}

/// Why a file did not get its name.
pub(super) fn not_placed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        ErrorKind::AlreadyExists => Error::OutputExists { path },
        _ => Error::Io { action: "put the finished file in place at", path, source },
    }
}
