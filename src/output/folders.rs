//! 4 WRITE: the folders that results need.
//!
//! In: the folder that the user named, and where files go below it. Out: their folders, on disk and reached by no link; those
//! of shards go again if nothing comes of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::OutputProblem;
use super::commit::sync_folders;
use super::temporary::folder_of;
use crate::error::{Error, Result};
use crate::store::Location;

/// Makes `folder`, with all that is missing above it, and returns what it made. Below `root`, which the user named, no link is
/// followed: it could lead anywhere, and what stands there would be written to. With `sync` a crash forgets none of them.
pub(crate) fn make_folder(root: &Path, folder: &Path, sync: bool) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut folders = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect::<Vec<_>>();
    folders.reverse();
    for folder in folders {
        let is_below = folder != root && folder.starts_with(root);
        let found = match is_below {
            true => fs::symlink_metadata(folder),
            false => fs::metadata(folder),
        };
        match found {
            Ok(found) if found.is_symlink() => {
                return Err(Error::Output { path: folder.to_owned(), problem: OutputProblem::LinkedFolder });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => made.extend(make(folder, sync)?),
            // Whatever is no folder is told by what needs it to be one.
            Ok(_) => {}
            Err(error) => return Err(Error::io("inspect", folder)(error)),
        }
    }
    Ok(made)
}

/// Makes a folder, unless another model is quicker.
fn make(folder: &Path, sync: bool) -> Result<Option<PathBuf>> {
    match fs::create_dir(folder) {
        Ok(()) => sync_folders(&[folder.to_owned()], sync).map(|()| Some(folder.to_owned())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(Error::io("create the folder", folder)(error)),
    }
}

/// Folders made for shards whose names have them; those that are empty go again, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Makes the folders below `root` that `places` stand in. The root itself has to be there. Stores have no folders.
    pub(super) fn create(root: &Location, places: &[Location], sync: bool) -> Result<NewFolders> {
        let mut made = NewFolders::default();
        for path in places.iter().filter_map(Location::as_file) {
            let folder = folder_of(path);
            if folder != root.path() {
                made.0.extend(make_folder(root.path(), folder, sync)?);
            }
        }
        Ok(made)
    }

    pub(super) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // Fails, as it should, where something is in it.
        self.0.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_told() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        assert_eq!(make_folder(root.path(), &deep, true).unwrap().len(), 3);
        assert!(deep.is_dir() && make_folder(root.path(), &deep, true).unwrap().is_empty());
        // Above the root it is the user's choice.
        assert_eq!(make_folder(&root.path().join("d/e"), &root.path().join("d/e/f"), false).unwrap().len(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_above_the_root_and_not_below_it() {
        let all = tempfile::tempdir().unwrap();
        let at = |name: &str| all.path().join(name);
        ["elsewhere", "real"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        std::os::unix::fs::symlink("real", at("out")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", at("real/link")).unwrap();
        make_folder(&at("out"), &at("out/x"), false).unwrap();
        for below in ["out/link", "out/link/y"] {
            let error = make_folder(&at("out"), &at(below), false).unwrap_err();
            assert!(
                matches!(&error, Error::Output { path, problem: OutputProblem::LinkedFolder } if *path == at("out/link"))
            );
        }
        assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 0);
    }
}
