//! HUB: one repository in the Hub's cache.
//!
//! In: what the Hub lists. Out: what of it the cache lacks. The library that downloads writes there; here it is looked at
//! whether that is all there and whole: it keeps whatever a server sends in the place of a file, a page that says no
//! included, and would never ask for that file again.

use std::fs;
use std::path::{Path, PathBuf};

use super::Repository;
use super::wanted::Wanted;
use crate::error::{Error, Result};

/// The folder of one repository.
#[derive(Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// That of `repository`, in the folder of all.
    pub(super) fn of(repository: &Repository, all: &Path) -> Cache {
        Cache(all.join(format!("models--{}--{}", repository.owner(), repository.name())))
    }

    /// Where the files of a commit are.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.0.join("snapshots").join(commit)
    }

    /// Those of `wanted` that are not in `snapshot`, or not whole.
    pub(super) fn lacking(&self, snapshot: &Path, wanted: &[Wanted]) -> Vec<Wanted> {
        let is_whole = |file: &&Wanted| length(&snapshot.join(&file.path)) == Some(file.bytes);
        wanted.iter().filter(|file| !is_whole(file)).cloned().collect()
    }

    /// Removes what stands in the places of files that are not whole, for others who trust the cache too. What cannot be
    /// removed is still not whole, and so never taken.
    pub(super) fn clear(&self, snapshot: &Path, lacking: &[Wanted]) {
        let blobs = fs::canonicalize(self.0.join("blobs")).ok();
        for place in lacking.iter().map(|file| snapshot.join(&file.path)) {
            let content = fs::canonicalize(&place).ok();
            let blob = content.filter(|content| blobs.as_deref().is_some_and(|blobs| content.parent() == Some(blobs)));
            let _ = blob.map(fs::remove_file);
            let _ = fs::remove_file(place);
        }
    }

    /// Notes what `revision` stands for, as whoever is offline asks later.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        let place = self.0.join("refs").join(revision);
        if revision == commit || fs::read_to_string(&place).is_ok_and(|known| known.trim() == commit) {
            return Ok(());
        }
        let folder = place.parent().unwrap_or(&place);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&place, commit));
        written.map_err(Error::io("write", &place))
    }
}

/// The length of what stands at `place`.
pub(super) fn length(place: &Path) -> Option<u64> {
    fs::metadata(place).ok().map(|metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Object;

    #[cfg(unix)]
    #[test]
    fn what_is_not_whole_is_lacking_and_removed_with_its_content() {
        let all = tempfile::tempdir().unwrap();
        let repository = Repository::of(&Object::parse("hf://a/b").unwrap()).unwrap();
        let (cache, folder) = (Cache::of(&repository, all.path()), all.path().join("models--a--b"));
        let snapshot = cache.snapshot("1");
        fs::create_dir_all(folder.join("blobs")).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        for (name, bytes) in [("whole", 3), ("half", 2)] {
            fs::write(folder.join("blobs").join(name), vec![0; bytes]).unwrap();
            std::os::unix::fs::symlink(format!("../../blobs/{name}"), snapshot.join(name)).unwrap();
        }
        fs::write(all.path().join("elsewhere"), "x").unwrap();
        std::os::unix::fs::symlink(all.path().join("elsewhere"), snapshot.join("stray")).unwrap();
        let wanted = ["whole", "half", "none", "stray"].map(|path| Wanted { path: path.to_owned(), bytes: 3 });
        let lacking = cache.lacking(&snapshot, &wanted);
        assert_eq!(lacking, wanted[1..]);
        cache.clear(&snapshot, &lacking);
        let there = ["blobs/whole", "blobs/half", "snapshots/1/whole", "snapshots/1/half", "snapshots/1/stray"];
        let there = there.map(|path| fs::symlink_metadata(folder.join(path)).is_ok());
        assert_eq!(there, [true, false, true, false, false]);
        assert!(all.path().join("elsewhere").exists(), "it is not the cache's");
    }
}
