//! What the operating system answers, as an [`Error`] that says more.
//!
//! In: an `io::Error` and what was tried on which path. Out: the error to hand on.

use std::io::ErrorKind;
use std::path::Path;

use super::Error;
use crate::store::is_absence;

impl Error {
    /// An `Io` error's constructor, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// Why `path` cannot be opened: a link to nothing is called that.
    pub(crate) fn not_opened(path: &Path, source: std::io::Error) -> Error {
        let target = std::fs::read_link(path).ok().filter(|_| source.kind() == std::io::ErrorKind::NotFound);
        match target {
            Some(target) => Error::DanglingLink { path: path.to_owned(), target },
            None => Error::io("open", path)(source),
        }
    }

    /// Whether the same may succeed by itself later, with nothing changed: a disk or a store that did not answer, a device
    /// that was lost, a file that was being written. Asking again in vain costs little, so what is not known may pass.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Io { source, .. } => !is_lasting(source.kind()),
            // Another run placed it meanwhile; the next one says whether it is this very result.
            Error::OutputExists { .. } => true,
            Error::TooManyFiles { .. } | Error::Changed { .. } | Error::Modified { .. } => true,
            Error::NoAdapter { .. } | Error::Gpu { .. } | Error::Interrupted => true,
            _ => false,
        }
    }

    /// Whether the system refused what is there, or failed at it: what it holds is not known, and may be anything.
    pub(crate) fn is_io_failure(&self) -> bool {
        matches!(self, Error::Io { source, .. } if !is_absence(source))
    }

    /// The same error, put as [`Error::TooManyFiles`] if that is what the system says.
    pub(crate) fn among(self, shards: usize) -> Error {
        match self {
            Error::Io { path, source, .. } if shards > 1 && is_limit(&source) => Error::TooManyFiles { path, shards },
            other => other,
        }
    }

    /// Whether too many files are open.
    pub(crate) fn is_of_open_files(&self) -> bool {
        match self {
            Error::Io { source, .. } => is_limit(source),
            error => matches!(error, Error::TooManyFiles { .. }),
        }
    }
}

/// What stays as it is until somebody does something about it.
fn is_lasting(kind: ErrorKind) -> bool {
    use ErrorKind::{
        FileTooLarge, InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound,
        PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, TooManyLinks, Unsupported,
    };
    matches!(
        kind,
        FileTooLarge
            | InvalidData
            | InvalidFilename
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | NotFound
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | StorageFull
            | TooManyLinks
            | Unsupported
    )
}

fn is_limit(error: &std::io::Error) -> bool {
    // EMFILE and ENFILE have these numbers on every Unix; Windows says 4.
    let codes: &[i32] = if cfg!(unix) { &[23, 24] } else { &[4] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_from_what_may_pass() {
        let io = |kind: ErrorKind| Error::io("read", Path::new("m"))(kind.into());
        for passing in [ErrorKind::TimedOut, ErrorKind::StaleNetworkFileHandle, ErrorKind::Other] {
            assert!(io(passing).may_pass(), "{passing}");
        }
        assert!(Error::io("read", Path::new("m"))(std::io::Error::from_raw_os_error(5)).may_pass(), "EIO");
        assert!(Error::Gpu { reason: "lost".to_owned() }.may_pass());
        for lasting in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::StorageFull] {
            assert!(!io(lasting).may_pass(), "{lasting}");
        }
        assert!(!Error::Bug { path: "m".into(), what: "a panic".to_owned() }.may_pass());
    }
}
