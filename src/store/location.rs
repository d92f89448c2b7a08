//! STORE: where a file is.
//!
//! In: what the user typed, or a path. Out: a [`Location`]: a file of this machine, or an [`Object`] under a URL. It is
//! made once, where a path enters the program; from then on the type says which of the two it is. Nothing here needs a
//! network but [`Location::exists`] and [`Location::names`].

use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Object, folder, length, list};
use crate::error::{Error, Result};

/// A file or a folder of this machine, or what stands under a URL.
///
/// Anything path-like becomes one: text that begins with a known scheme (`s3://`, `gs://`, `az://`, `http://`,
/// `https://`, `hf://`) is an object, everything else is a path.
///
/// ```
/// use bnfold_gpu::store::Location;
///
/// assert!(Location::from("s3://bucket/model.safetensors").as_object().is_some());
/// assert!(Location::from("zoo/model.safetensors").as_file().is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// A path of this machine.
    File(PathBuf),
    /// An object, or everything below a URL.
    Object(Object),
}

impl Location {
    /// What messages and reports call it: the path of a file; of an object its URL without secrets, which nobody can open.
    pub fn path(&self) -> &Path {
        match self {
            Location::File(path) => path,
            Location::Object(object) => object.path(),
        }
    }

    /// The path, if it is a file of this machine.
    pub fn as_file(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Object(_) => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Location::File(_) => None,
            Location::Object(object) => Some(object),
        }
    }

    /// Whether it is a folder: of a URL the text decides ([`Object::is_folder`]).
    ///
    /// # Errors
    ///
    /// What stands there cannot be looked at. What cannot stand there, or leads in a circle, is none.
    pub fn is_folder(&self) -> Result<bool> {
        match self {
            Location::File(path) => match std::fs::metadata(path) {
                Ok(metadata) => Ok(metadata.is_dir()),
                Err(error) if folder::is_absence(&error) || folder::is_no_place(&error) => Ok(false),
                Err(error) => Err(Error::io("inspect", path)(error)),
            },
            Location::Object(object) => Ok(object.is_folder()),
        }
    }

    /// Its last component; none for `..` and the like.
    pub fn file_name(&self) -> Option<&OsStr> {
        self.path().file_name()
    }

    /// What stands at `below`, a relative path, in this folder.
    pub fn join(&self, below: impl AsRef<Path>) -> Location {
        match self {
            Location::File(path) => Location::File(path.join(below)),
            Location::Object(object) => Location::Object(object.join(below.as_ref())),
        }
    }

    /// The folder that it stands in; `.` for a name alone.
    pub fn folder(&self) -> Location {
        match self {
            Location::File(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Location::File(folder.unwrap_or(Path::new(".")).to_owned())
            }
            Location::Object(object) => Location::Object(object.folder()),
        }
    }

    /// What stands at `name`, a relative path, in the same folder. A secret is not handed on: a signature is one object's.
    pub fn with_file_name(&self, name: impl AsRef<Path>) -> Location {
        match self {
            Location::File(path) => Location::File(path.parent().unwrap_or(Path::new("")).join(name)),
            Location::Object(object) => Location::Object(object.folder().join(name.as_ref())),
        }
    }

    /// Whether something stands there, a link that leads nowhere included.
    pub fn exists(&self) -> Result<bool> {
        match self {
            Location::File(path) => Ok(folder::standing(path)?.is_some()),
            Location::Object(object) => Ok(length(object)?.is_some()),
        }
    }

    /// Names of the files and objects that stand directly in this folder, sorted; folders may be among them.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = match self {
            Location::File(folder) => {
                let names = folder::names_in(folder)?.into_iter();
                names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
            }
            Location::Object(folder) => {
                let paths = list(folder)?.into_iter().map(|listed| listed.object.path().to_owned());
                let direct = paths.filter(|path| path.parent() == Some(folder.path()));
                direct.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
            }
        };
        names.sort();
        Ok(names)
    }

    /// What a file is told from others by: symlinks are followed, an object is what it is. `None` if there is nothing.
    pub fn resolved(&self) -> Result<Option<Location>> {
        match self {
            Location::File(path) => match std::fs::canonicalize(path) {
                Ok(path) => Ok(Some(Location::File(path))),
                // Nothing can stand under a name that is too long.
                Err(error) if folder::is_absence(&error) || error.kind() == ErrorKind::InvalidFilename => Ok(None),
                Err(error) => Err(Error::io("find", path)(error)),
            },
            Location::Object(_) => Ok(Some(self.clone())),
        }
    }

    /// The place that it names, whether or not something stands there: its folder with links followed, as far as there is
    /// one, and what comes after. Two locations of one place are equal.
    pub fn absolute(&self) -> Location {
        match self {
            Location::File(path) => Location::File(absolute(path)),
            Location::Object(_) => self.clone(),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path };
    match std::fs::canonicalize(folder) {
        Ok(folder) => folder.join(name),
        Err(_) => absolute(folder).join(name),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Location {
        match path.to_str().and_then(Object::parse) {
            Some(object) => Location::Object(object),
            None => Location::File(path),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Location {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Location {
        path.clone().into()
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Location {
        PathBuf::from(text).into()
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Location {
        location.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        text.into()
    }

    #[test]
    fn objects_are_told_from_files_and_folders_from_both() {
        for path in ["s3://b/k", "gs://b", "az://c/x.safetensors", "http://h/x", "https://h/x", "hf://a/b"] {
            assert!(at(path).as_object().is_some(), "{path}");
        }
        for path in ["s3:/b/k", "ftp://h/x", "x/s3://b", "C://x", "s3", "://"] {
            assert_eq!(at(path).as_file(), Some(Path::new(path)));
        }
        for (path, expected) in [
            ("s3://b", true),
            ("s3://b.safetensors", true),
            ("s3://b/zoo", true),
            ("s3://b/zoo.safetensors/", true),
            ("gs://b/m.safetensors", false),
            ("az://c/model.safetensors.index.fp16.json", false),
            ("https://h/zoo", false),
            ("hf://a/b.safetensors", true),
        ] {
            assert_eq!(at(path).is_folder().unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn neighbours_are_found_alike_in_folders_and_in_stores() {
        for folder in ["a/b", "s3://b/zoo"] {
            let file = at(folder).join("m.safetensors");
            assert_eq!(file.to_string(), format!("{folder}/m.safetensors"));
            assert_eq!((file.folder(), file.file_name()), (at(folder), Some("m.safetensors".as_ref())));
            assert_eq!(file.with_file_name("sub/n").to_string(), format!("{folder}/sub/n"));
        }
        assert_eq!((at("m").folder(), at("m").with_file_name("n")), (at("."), at("n")));
        assert_eq!(at("s3://b/").join("m"), at("s3://b/m"));
        assert_eq!((at("s3://b/m").folder(), at("s3://b").with_file_name("n")), (at("s3://b"), at("s3://b/n")));
        assert_eq!(at("s3://b/zoo/"), at("s3://b/zoo"), "as paths are");
    }

    /// Whatever prints one prints no secret; two that differ in nothing else are two.
    #[test]
    fn a_secret_is_kept_and_never_shown() {
        let signed = at("https://user:hidden@h.org/m.safetensors?X-Amz-Signature=hidden");
        assert_eq!(signed.path(), Path::new("https://h.org/m.safetensors"));
        for shown in [signed.to_string(), format!("{signed:?}"), format!("{:?}", Some(&signed))] {
            assert!(shown.contains("h.org/m.safetensors") && !shown.contains("hidden"), "{shown}");
        }
        assert_ne!(signed, at("https://h.org/m.safetensors"));
        assert_eq!(signed.with_file_name("n"), at("https://h.org/n"), "a signature is one object's");
    }
}
