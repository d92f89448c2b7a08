//! STORE: folders of this machine, and what files are told from others by.
//!
//! In: a path. Out: names in a folder; whether something stands at a path; the identity of a file. Only absence is absence:
//! whatever else the system answers is an error, since what it hides may bear on the result.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Error, Result};

/// Names of everything that stands in `folder`, sorted.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let mut names = read(folder).map_err(Error::io("read", folder))?;
    names.sort_unstable();
    Ok(names)
}

/// Read by system calls: the standard library panics where closing a folder fails, as it may on a disk that is dying.
#[cfg(unix)]
fn read(folder: &Path) -> io::Result<Vec<OsString>> {
    use std::os::unix::ffi::OsStringExt;
    let entries = rustix::fs::Dir::new(std::fs::File::open(folder)?)?;
    let names = entries.map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())));
    names.filter(|name| name.as_ref().is_ok_and(|name| name != "." && name != "..") || name.is_err()).collect()
}

#[cfg(not(unix))]
fn read(folder: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Whether an answer of the system says that there is nothing.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether an answer says that nothing can be reached: a name that is too long, links that lead in a circle.
pub(crate) fn is_no_place(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidFilename || is_circle(error)
}

/// Whether links lead to each other.
pub(crate) fn is_circle(error: &io::Error) -> bool {
    #[cfg(unix)]
    let code = Some(rustix::io::Errno::LOOP.raw_os_error());
    #[cfg(not(unix))]
    let code = None;
    code.is_some() && error.raw_os_error() == code
}

/// What stands at `path`, if anything; links are not followed.
pub(crate) fn standing(path: &Path) -> Result<Option<Metadata>> {
    present(std::fs::symlink_metadata(path)).map_err(Error::io("inspect", path))
}

/// What `path` leads to, if anything; links are followed.
pub(crate) fn target(path: &Path) -> Result<Option<Metadata>> {
    present(std::fs::metadata(path)).map_err(Error::io("inspect", path))
}

fn present<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Err(error) if is_absence(&error) => Ok(None),
        answer => answer.map(Some),
    }
}

/// What a file or folder is told from others by.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

#[cfg(unix)]
impl Identity {
    /// Of what `metadata` is about. Nothing is opened for it: there may be too many open files already.
    pub(crate) fn of(_path: &Path, metadata: &Metadata) -> io::Result<Identity> {
        use std::os::unix::fs::MetadataExt;
        Ok(Identity(metadata.dev(), metadata.ino()))
    }
}

/// What a file or folder is told from others by.
#[cfg(not(unix))]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity(same_file::Handle);

#[cfg(not(unix))]
impl Identity {
    /// Of what stands at `path`.
    pub(crate) fn of(path: &Path, _metadata: &Metadata) -> io::Result<Identity> {
        same_file::Handle::from_path(path).map(Identity)
    }
}

/// Whether both paths lead to one file; where there is nothing, there is no other file either.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> Result<bool> {
    let identity = |path: &Path| match target(path)? {
        Some(metadata) => Identity::of(path, &metadata).map(Some).map_err(Error::io("inspect", path)),
        None => Ok(None),
    };
    let (a, b) = (identity(a)?, identity(b)?);
    Ok(a.is_some() && a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_by_name_and_what_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        ["b", "a", ".c"].iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
        assert_eq!(names_in(folder.path()).unwrap(), [".c", "a", "b"]);
        assert!(matches!(names_in(&folder.path().join("a")), Err(Error::Io { action: "read", .. })));
        assert!(matches!(names_in(&folder.path().join("none")), Err(Error::Io { action: "read", .. })));
    }

    /// A link to itself is there, and cannot be followed: anything but nothing.
    #[cfg(unix)]
    #[test]
    fn only_absence_is_absence() {
        let folder = tempfile::tempdir().unwrap();
        let [file, none, circle] = ["file", "none", "circle"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        assert!(target(&none).unwrap().is_none() && target(&file.join("x")).unwrap().is_none());
        assert!(standing(&circle).unwrap().is_some() && target(&circle).is_err());
        assert!(is_same_file(&file, &circle).is_err());
        assert!(!is_same_file(&file, &none).unwrap() && !is_same_file(&none, &none).unwrap());
        assert!(is_same_file(&file, &file).unwrap());
    }
}
