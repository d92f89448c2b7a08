//! 1 READ: one input file, read by position.
//!
//! In: a location. Out: bytes at an offset. Positioned reads leave no shared cursor behind, so several threads may
//! read at once, and a file that shrinks under the reader is an error rather than a signal.

use std::fs::{File, Metadata};
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::store::{Location, OpenObject};

/// An open, regular, readable file and the length it had when it was opened.
#[derive(Debug)]
pub struct InputFile {
    location: Location,
    content: Content,
    bytes: u64,
}

#[derive(Debug)]
enum Content {
    Local { file: File, stamp: Stamp },
    Remote(OpenObject),
}

impl InputFile {
    /// Opens a regular file; symlinks are followed, folders, FIFOs and devices are refused before they are opened
    /// (opening a FIFO would wait for a writer).
    pub fn open(location: impl Into<Location>) -> Result<InputFile> {
        match location.into() {
            Location::File(path) => InputFile::open_file(&path),
            Location::Object(object) => {
                let open = OpenObject::open(&object)?;
                let (location, bytes) = (Location::Object(object), open.bytes());
                Ok(InputFile { location, bytes, content: Content::Remote(open) })
            }
        }
    }

    fn open_file(path: &Path) -> Result<InputFile> {
        let refuse = |metadata: &Metadata| {
            let advice = match metadata.is_dir() {
                true => "name the .safetensors files in it one by one",
                false => "copy its content into a file first",
            };
            let found = if metadata.is_dir() { "a folder" } else { "a FIFO, socket or device" };
            Err(Error::NotARegularFile { path: path.to_owned(), found, advice })
        };
        let metadata = std::fs::metadata(path).map_err(|error| Error::not_opened(path, error))?;
        if !metadata.is_file() {
            return refuse(&metadata);
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        // Asked again of the handle: the path may have changed in between.
        let metadata = file.metadata().map_err(Error::io("inspect", path))?;
        if !metadata.is_file() {
            return refuse(&metadata);
        }
        Ok(InputFile::local(Location::File(path.to_owned()), file, &metadata))
    }

    /// A file that is open already; `location` is what errors call it.
    pub(crate) fn from_handle(location: &Location, file: File) -> Result<InputFile> {
        let metadata = file.metadata().map_err(Error::io("inspect", location.path()))?;
        Ok(InputFile::local(location.clone(), file, &metadata))
    }

    fn local(location: Location, file: File, metadata: &Metadata) -> InputFile {
        let content = Content::Local { file, stamp: Stamp::of(metadata) };
        InputFile { location, content, bytes: metadata.len() }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What messages call it.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    /// Length in bytes when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The open handle, if it is a file of this machine.
    pub fn handle(&self) -> Option<&File> {
        match &self.content {
            Content::Local { file, .. } => Some(file),
            Content::Remote(_) => None,
        }
    }

    /// Fills `buffer` from byte `offset` on.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let file = match &self.content {
            Content::Local { file, .. } => file,
            Content::Remote(object) => return object.read_at(offset, buffer),
        };
        read_exact_at(file, buffer, offset).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Changed {
                path: self.path().to_owned(),
                expected: self.bytes,
                found: file.metadata().map_or(0, |metadata| metadata.len()),
            },
            _ => Error::Io { action: "read", path: self.path().to_owned(), source },
        })
    }

    /// Whether another one has the same bytes.
    pub(crate) fn is_equal(&self, other: &InputFile) -> Result<bool> {
        const CHUNK: usize = 1 << 20;
        if self.bytes != other.bytes {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        for from in (0..self.bytes).step_by(CHUNK) {
            let bytes = usize::try_from(self.bytes - from).unwrap_or(CHUNK).min(CHUNK);
            self.read_at(from, &mut ours[..bytes])?;
            other.read_at(from, &mut theirs[..bytes])?;
            if ours[..bytes] != theirs[..bytes] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All of it: for small files.
    pub fn read_whole(&self) -> Result<Vec<u8>> {
        let bytes = usize::try_from(self.bytes).map_err(|_| std::io::ErrorKind::OutOfMemory.into());
        let mut content = vec![0; bytes.map_err(Error::io("read", self.path()))?];
        self.read_at(0, &mut content)?;
        Ok(content)
    }

    /// Fails if the file has another length, or was touched, since it was opened: a last look before a result is
    /// published.
    pub fn check_unchanged(&self) -> Result<()> {
        let (file, stamp) = match &self.content {
            Content::Local { file, stamp } => (file, stamp),
            Content::Remote(object) => return object.check_unchanged(),
        };
        let metadata = file.metadata().map_err(Error::io("inspect", self.path()))?;
        if metadata.len() != self.bytes {
            return Err(Error::Changed { path: self.path().to_owned(), expected: self.bytes, found: metadata.len() });
        }
        match Stamp::of(&metadata) == *stamp {
            true => Ok(()),
            false => Err(Error::Modified { path: self.path().to_owned() }),
        }
    }
}

/// When a file was last touched, where the file system tells.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// Written to; anybody can set this back.
    modified: Option<SystemTime>,
    /// Written to, renamed, linked or given other rights: only the system sets it.
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Stamp {
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = InputFile::open(&path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(50).unwrap();
        let error = file.read_at(0, &mut [0; 100]).unwrap_err();
        assert!(matches!(error, Error::Changed { expected: 100, found: 50, .. }), "{error}");
        assert!(file.check_unchanged().is_err());
        file.read_at(0, &mut [0; 50]).unwrap();
    }

    #[test]
    fn a_file_that_is_written_to_meanwhile_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = InputFile::open(&path).unwrap();
        file.check_unchanged().unwrap();
        // Clocks of file systems are coarse: the time is set rather than waited for.
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(matches!(file.check_unchanged(), Err(Error::Modified { .. })));
    }

    /// As programs do that patch a file and hide it: the time of writing is as it was.
    #[cfg(unix)]
    #[test]
    fn a_time_that_is_put_back_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = InputFile::open(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        // Clocks of file systems are coarse: written to until the clock has ticked.
        while Stamp::of(&std::fs::metadata(&path).unwrap()).changed
            == Stamp::of(&file.handle().unwrap().metadata().unwrap()).changed
            && file.check_unchanged().is_ok()
        {
            let same_length = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&same_length, &[8], 50).unwrap();
            same_length.set_modified(modified).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), modified);
        assert!(matches!(file.check_unchanged(), Err(Error::Modified { .. })));
    }

    #[test]
    fn folders_are_refused_with_advice() {
        let error = InputFile::open(std::env::temp_dir()).unwrap_err();
        assert!(error.to_string().contains("a folder, expected a regular file"), "{error}");
    }
}
