//! 4 WRITE: hidden names, which nobody asks for.
//!
//! In: a folder. Out: a new file there under such a name, removed when it is dropped. As long as a run is alive it holds a lock
//! on each of its hidden files, so that another one can tell what a killed run has left behind.

use std::ffi::OsStr;
use std::fs::File;
#[cfg(unix)]
use std::fs::TryLockError;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = ".bnfold-";

/// How the names of files end that are written, and of folders that hold what is being replaced.
const WRITTEN: &str = ".tmp";
const REPLACED: &str = ".old";

/// A new file under a hidden name, of mode 0666 less umask.
pub(super) fn hidden_in(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here rather than by tempfile: the mode is the usual one, and the system's error stays as it is.
    let open = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
    loop {
        let file = hidden().make_in(folder, open)?;
        if is_claimed(&file) {
            return Ok(file);
        }
    }
}

/// Names for files on their way. Short, so that a name as long as the file system allows still works for the output itself.
pub(super) fn hidden() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(WRITTEN);
    builder
}

/// Names for folders of what is being replaced.
pub(super) fn hidden_folder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(REPLACED);
    builder
}

/// What a hidden name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    /// A file that is being written.
    Written,
    /// A folder of what is being replaced.
    Replaced,
}

impl Hidden {
    /// What `name` stands for, if it is one of ours.
    pub(super) fn of(name: &OsStr) -> Option<Hidden> {
        let name = name.to_str()?.strip_prefix(PREFIX)?;
        match (name.ends_with(WRITTEN), name.ends_with(REPLACED)) {
            (true, _) => Some(Hidden::Written),
            (_, true) => Some(Hidden::Replaced),
            _ => None,
        }
    }
}

/// Marks a new file as that of a living run; `false` if another run took it for one of a dead run before that, and removed it.
#[cfg(unix)]
fn is_claimed(file: &NamedTempFile) -> bool {
    match file.as_file().try_lock() {
        Ok(()) => super::still::is_still(file.path(), file.as_file()),
        // Another run looks at it, and will remove it.
        Err(TryLockError::WouldBlock) => false,
        // Where there are no locks nothing is ever taken for a dead run's.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Locks of this system would keep others from reading what is locked, and no run removes what another has left.
#[cfg(not(unix))]
fn is_claimed(_: &NamedTempFile) -> bool {
    true
}
