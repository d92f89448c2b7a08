//! 4 WRITE: one run at a time replaces files of a folder.
//!
//! In: where files are to stand. Out: locks on their folders, held until they are dropped or the process ends, however it
//! ends. The folder itself is locked, which leaves nothing behind; where only files can be locked (NFS, Windows), a hidden
//! one in it. Where there are no locks at all nothing is waited for.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::still::is_still;
use super::temporary::folder_of;
use crate::error::{Error, Result};

/// Files are in place within seconds. Whoever holds a lock for longer does not get on: it is stopped, or its disk hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at a lock that another one holds.
const PAUSE: Duration = Duration::from_millis(3);

/// Name of the file that is locked where a folder cannot be.
const LOCK_FILE: &str = ".bnfold-lock";

/// Who else may hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Others that replace single files, each in one step.
    Shared,
    /// Nobody.
    Alone,
}

/// Locks on folders.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Vec<Lock>,
}

impl Locks {
    /// Waits for the folders of all `paths`, in an order that is the same for every run.
    pub(super) fn take(paths: &[PathBuf], hold: Hold, cancelled: &AtomicBool) -> Result<Locks> {
        let folder = |path: &PathBuf| {
            let folder = folder_of(path);
            std::fs::canonicalize(folder).map_err(Error::io("find", folder))
        };
        let folders = paths.iter().map(folder).collect::<Result<BTreeSet<_>>>()?;
        let held = folders.iter().map(|folder| Lock::wait(folder, hold, cancelled)).collect::<Result<Vec<_>>>()?;
        Ok(Locks { held })
    }

    /// Whether others that lock these folders see it.
    pub(super) fn are_real(&self) -> bool {
        !self.held.is_empty() && self.held.iter().all(|lock| lock.file.is_some())
    }
}

/// Whether a run is placing files in `folder` right now; `None` where there are no locks to tell it.
pub(super) fn is_busy(folder: &Path) -> io::Result<Option<bool>> {
    Ok(match Lock::attempt(folder, Hold::Shared)? {
        None => Some(true),
        Some(lock) => lock.file.is_some().then_some(false),
    })
}

/// A lock on one folder; none, where there are no locks.
#[derive(Debug)]
struct Lock {
    file: Option<File>,
    /// The file that was made for it.
    made: Option<PathBuf>,
}

impl Lock {
    fn wait(folder: &Path, hold: Hold, cancelled: &AtomicBool) -> Result<Lock> {
        let began = Instant::now();
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if let Some(lock) = Lock::attempt(folder, hold).map_err(Error::io("lock", folder))? {
                return Ok(lock);
            }
            if began.elapsed() > PATIENCE {
                let source = io::Error::other(
                    "another run has been placing files there for minutes; wait for it, or end it, and try again",
                );
                return Err(Error::io("lock", folder)(source));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A lock, if nobody else holds it.
    fn attempt(folder: &Path, hold: Hold) -> io::Result<Option<Lock>> {
        match lock(folder, &|| File::open(folder), hold) {
            Err(error) if is_unknown(&error) => {}
            Ok(locked) => return Ok(locked.map(|file| Lock { file: Some(file), made: None })),
            Err(error) => return Err(error),
        }
        let path = folder.join(LOCK_FILE);
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        match lock(&path, &open, hold) {
            Err(error) if is_unknown(&error) => Ok(Some(Lock { file: None, made: None })),
            locked => Ok(locked?.map(|file| Lock { file: Some(file), made: Some(path.clone()) })),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked: whoever waits for it sees that it is gone, and makes another. What cannot be removed is no
        // more than an empty file.
        if let (Some(_), Some(made)) = (&self.file, &self.made) {
            let _ = std::fs::remove_file(made);
        }
    }
}

/// Opens and locks what is at `path`, if nobody else holds it.
fn lock(path: &Path, open: &dyn Fn() -> io::Result<File>, hold: Hold) -> io::Result<Option<File>> {
    let file = open()?;
    let locked = match hold {
        Hold::Shared => file.try_lock_shared(),
        Hold::Alone => file.try_lock(),
    };
    match locked {
        // What was locked may have been removed meanwhile, and another one may stand in its place.
        Ok(()) => Ok(is_still(path, &file).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a lock of this kind is not to be had here.
fn is_unknown(error: &io::Error) -> bool {
    // EBADF (NFS locks only what is open for writing); ENOLCK of Linux, macOS and the BSDs.
    const CODES: [i32; 3] = [9, 37, 77];
    let kinds = [ErrorKind::Unsupported, ErrorKind::InvalidInput, ErrorKind::PermissionDenied];
    kinds.contains(&error.kind()) || (cfg!(unix) && error.raw_os_error().is_some_and(|code| CODES.contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_run_or_by_several_that_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let attempt = |hold| Lock::attempt(folder.path(), hold).unwrap();
        let shared = [Hold::Shared, Hold::Shared].map(|hold| attempt(hold).unwrap());
        assert!(attempt(Hold::Alone).is_none());
        drop(shared);
        let alone = attempt(Hold::Alone).unwrap();
        assert!(attempt(Hold::Alone).is_none() && attempt(Hold::Shared).is_none());
        drop(alone);
        assert!(attempt(Hold::Alone).is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_waits_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let never = AtomicBool::new(false);
        let held = Locks::take(std::slice::from_ref(&path), Hold::Alone, &never).unwrap();
        let stopped = Locks::take(&[path], Hold::Alone, &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Interrupted)));
        drop(held);
    }
}
