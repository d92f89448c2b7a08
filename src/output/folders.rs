//! 4 WRITE: the folders that shards need.
//!
//! In: where shards go. Out: their folders, which go again if nothing comes of it.

use std::path::{Path, PathBuf};

use super::temporary::folder_of;
use crate::error::{Error, Result};
use crate::store::Location;

/// Folders made for shards whose names have them; those that are empty go again, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct NewFolders(pub(super) Vec<PathBuf>);

impl NewFolders {
    /// Makes the folders below `root` that `places` stand in. The root itself has to be there. Stores have no folders.
    pub(super) fn create(root: &Location, places: &[Location]) -> Result<NewFolders> {
        let mut made = NewFolders::default();
        let root = root.path();
        for path in places.iter().filter_map(Location::as_file) {
            let below_root = |folder: &&Path| *folder != root && !folder.as_os_str().is_empty();
            let missing = folder_of(path).ancestors().take_while(|folder| below_root(folder) && !folder.exists());
            for folder in missing.collect::<Vec<_>>().into_iter().rev() {
                match std::fs::create_dir(folder) {
                    Ok(()) => made.0.push(folder.to_owned()),
                    // Another model was quicker.
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(Error::io("create the folder", folder)(error)),
                }
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
        self.0.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}
