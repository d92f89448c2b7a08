//! 4 WRITE: what killed runs have left behind.
//!
//! In: folders of results. Out: nothing there that a dead run was writing; and the names of what only people can judge. That
//! a run is alive shows in its locks. On a disk that other machines write to they may not, so that there nothing is removed.

use std::collections::BTreeSet;
#[cfg(unix)]
use std::fs::TryLockError;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::hidden::Hidden;
use super::lock::is_busy;
use super::still::is_still;
use crate::store;
use crate::text::shown;

/// Names that are told of what was being replaced.
const NAMED: usize = 3;

/// What a run that was killed has left, and nobody but its user can judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// Where it is.
    pub path: PathBuf,
    /// Names of the files in it that were to be replaced; empty for a file that was being written.
    pub replaced: Vec<String>,
}

impl std::fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display().to_string();
        let path = shown(&path);
        if self.replaced.is_empty() {
            return write!(f, "{path}: a run that was killed may have left it; remove it if none is at work there");
        }
        let names = self.replaced.iter().take(NAMED).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
        let more = if self.replaced.len() > NAMED { ", ..." } else { "" };
        write!(
            f,
            "{path}: a run that was killed was about to replace what is in it ({names}{more}); move these files back, or \
             remove them"
        )
    }
}

/// Removes what dead runs were writing to `folders`, and tells what else they left. What cannot be looked at is left alone:
/// nothing depends on it.
pub fn clear_left_behind(folders: impl IntoIterator<Item = PathBuf>) -> Vec<LeftBehind> {
    let mut left = Vec::new();
    for folder in folders.into_iter().collect::<BTreeSet<_>>() {
        for name in store::names_in(&folder).unwrap_or_default() {
            let path = folder.join(&name);
            match Hidden::of(&name) {
                Some(Hidden::Written) if !is_removed(&path) => left.push(LeftBehind { path, replaced: Vec::new() }),
                Some(Hidden::Replaced) if is_busy(&folder).is_ok_and(|busy| busy != Some(true)) => {
                    let names = store::names_in(&path).unwrap_or_default().into_iter();
                    let replaced = names.map(|name| name.to_string_lossy().into_owned()).collect();
                    left.push(LeftBehind { path, replaced });
                }
                _ => {}
            }
        }
    }
    left
}

/// Whether nothing has to be said of the file at `path`: it is a living run's, or was a dead one's and is gone.
#[cfg(unix)]
fn is_removed(path: &Path) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return true;
    }
    let Ok(file) = File::open(path) else { return false };
    match file.try_lock() {
        Ok(()) if is_still(path, &file) => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return true,
        Err(TryLockError::Error(_)) => return false,
    }
    is_of_this_machine(&file) && fs::remove_file(path).is_ok()
}

#[cfg(not(unix))]
fn is_removed(_: &Path) -> bool {
    false
}

/// Whether only this machine can write to the file system: the magic numbers of linux/magic.h.
#[cfg(target_os = "linux")]
fn is_of_this_machine(file: &File) -> bool {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const TMPFS: u64 = 0x0102_1994;
    const F2FS: u64 = 0xf2f5_2010;
    const VFAT: u64 = 0x4d44;
    const EXFAT: u64 = 0x2011_bab0;
    const LOCAL: [u64; 7] = [EXT, XFS, BTRFS, TMPFS, F2FS, VFAT, EXFAT];
    let kind = rustix::fs::fstatfs(file).ok().and_then(|found| u64::try_from(found.f_type).ok());
    kind.is_some_and(|kind| LOCAL.contains(&kind))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_of_this_machine(_: &File) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::output::hidden::{hidden_folder, hidden_in};

    #[test]
    fn files_of_dead_runs_go_and_those_of_living_ones_stay() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let living = hidden_in(folder.path()).unwrap();
        let dead = hidden_in(folder.path()).unwrap().into_temp_path().keep().unwrap();
        let odd = folder.path().join(".bnfold-odd.tmp");
        fs::create_dir(&odd).unwrap();
        let other = folder.path().join(".other.tmp");
        fs::write(&other, "").unwrap();
        assert_eq!(clear_left_behind([folder.path().to_owned()]), []);
        assert!(living.path().exists() && odd.exists() && other.exists() && !dead.exists());
    }

    #[test]
    fn what_was_to_be_replaced_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = hidden_folder().tempdir_in(folder.path()).unwrap();
        ["a", "b"].iter().for_each(|name| fs::write(hidden.path().join(name), "").unwrap());
        let left = clear_left_behind([folder.path().to_owned(), folder.path().join("none")]);
        let [LeftBehind { path, replaced }] = &left[..] else { panic!("{left:?}") };
        assert_eq!((path.as_path(), replaced.len()), (hidden.path(), 2));
        assert!(left[0].to_string().contains("(a, b); move these files back"), "{}", left[0]);
        assert!(hidden.path().join("a").exists());
    }
}
