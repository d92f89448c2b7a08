//! What the operating system answers, as an [`Error`] that says more.
//!
//! In: an `io::Error` and what was tried on which path. Out: the error to hand on.

use std::path::Path;

use super::Error;

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

    /// The same error, put as [`Error::TooManyFiles`] if that is what the system says.
    pub(crate) fn among(self, shards: usize) -> Error {
        // EMFILE and ENFILE have these numbers on every Unix; Windows says 4.
        let is_limit = |code| if cfg!(unix) { code == 24 || code == 23 } else { code == 4 };
        match self {
            Error::Io { path, source, .. } if shards > 1 && source.raw_os_error().is_some_and(is_limit) => {
                Error::TooManyFiles { path, shards }
            }
            other => other,
        }
    }
}
