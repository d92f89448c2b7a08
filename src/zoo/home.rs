//! ZOO: whether a file belongs to the folder that the user named, wherever a link leads.
//!
//! In: the folder, files that were met below it. Out: whether their content lies below it too, or among the blobs of the
//! Hugging Face cache that the folder is of. A repository that was downloaded may link to anything, and what it links to is
//! not to be copied to where others can read it.

use std::path::{Path, PathBuf};

use super::kinds::is_cache;
use crate::error::{Error, Result};

/// The folder that the user named, with links followed.
pub(super) struct Home(PathBuf);

impl Home {
    pub(super) fn of(root: &Path) -> Result<Home> {
        real(root).map(Home)
    }

    /// Whether the content of `file`, which was met below the folder, belongs there.
    pub(super) fn holds(&self, file: &Path) -> Result<bool> {
        let (folder, file) = (real(file.parent().unwrap_or(file))?, real(file)?);
        Ok(folder.starts_with(&self.0) && (file.starts_with(&self.0) || is_own_blob(&file, &folder)))
    }
}

/// Whether `file` is a blob of the cache that holds the snapshot `folder`.
fn is_own_blob(file: &Path, folder: &Path) -> bool {
    let snapshots = folder.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "snapshots"));
    let cache = snapshots.and_then(Path::parent).filter(|cache| is_cache(Some(cache)));
    cache.is_some_and(|cache| file.starts_with(cache.join("blobs")))
}

fn real(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(Error::io("find", path))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_within_the_folder_and_into_the_blobs_of_its_own_cache() {
        let all = tempfile::tempdir().unwrap();
        let at = |path: &str| all.path().join(path);
        for cache in ["models--a--b", "models--c--d"] {
            fs::create_dir_all(at(cache).join("snapshots/r1/sub")).unwrap();
            fs::create_dir_all(at(cache).join("blobs")).unwrap();
            fs::write(at(cache).join("blobs/1"), "").unwrap();
        }
        fs::write(at("keys"), "").unwrap();
        let own = at("models--a--b/snapshots/r1");
        let links = [
            ("blob", "../../blobs/1", true),
            ("sub/blob", "../../../blobs/1", true),
            ("chain", "sub/blob", true),
            ("foreign", "../../../models--c--d/blobs/1", false),
            ("keys", "../../../keys", false),
        ];
        for (name, target, _) in links {
            symlink(target, own.join(name)).unwrap();
        }
        symlink(all.path(), own.join("away")).unwrap();
        symlink("../../../models--c--d/snapshots/r1", own.join("other")).unwrap();
        symlink("../../blobs/1", at("models--c--d/snapshots/r1/theirs")).unwrap();
        let home = Home::of(&own).unwrap();
        for (name, _, expected) in links.into_iter().chain([("away/keys", "", false), ("other/theirs", "", false)]) {
            assert_eq!(home.holds(&own.join(name)).unwrap(), expected, "{name}");
        }
        assert!(Home::of(all.path()).unwrap().holds(&own.join("other/theirs")).unwrap());
        assert!(home.holds(&own.join("none")).is_err());
    }
}
