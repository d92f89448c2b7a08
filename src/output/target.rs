//! 4 WRITE: one output file, while it is written.
//!
//! In: a location and bytes for it. Out: a finished file that has yet to get its name. Until then it is a [`Temporary`]
//! of the same folder, or of the system's for an object, which a failure removes. Nothing is ever written through a
//! symlink or a hard link: Hugging Face caches link to blobs that other snapshots share.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::temporary::{Kind, Temporary, folder_of};
use crate::checkpoint::{InputFile, check_readable};
use crate::error::{Error, Result};
use crate::store::{self, Location};

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// Refuse.
    #[default]
    Never,
    /// Replace it, whole.
    Always,
}

/// Bytes copied at a time where the system cannot copy by itself.
const CHUNK: usize = 1 << 20;

/// An output file under way.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) location: Location,
    pub(super) file: Temporary,
    bytes: u64,
}

impl Target {
    /// Opens a temporary file of `bytes` bytes for `location`, so that its pieces can be written in any order.
    pub(super) fn create(location: &Location, bytes: u64) -> Result<Target> {
        Target::create_as(location, bytes, Kind::default())
    }

    /// The same, of a chosen kind where it is a file.
    pub(super) fn create_as(location: &Location, bytes: u64, kind: Kind) -> Result<Target> {
        let (file, action) = match location {
            Location::File(path) => {
                let folder = folder_of(path);
                let file = Temporary::create_in(folder, kind);
                (file.map_err(|error| not_created(path, folder, error))?, "make room on the disk for")
            }
            Location::Object(object) => {
                let file = Temporary::scratch().map_err(Error::io("create a temporary file for", object.path()))?;
                (file, "make room in the system's temporary folder for")
            }
        };
        file.lay_out(bytes).map_err(Error::io(action, location.path()))?;
        Ok(Target { location: location.clone(), file, bytes })
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(self.file.file(), bytes, offset).map_err(Error::io("write", self.location.path()))
    }

    /// Copies a range of `input`, in the kernel where the system can; one range at a time.
    pub(super) fn copy_from(&self, input: &InputFile, from: u64, bytes: u64, to: u64) -> Result<()> {
        // It goes by the files' own positions, which reads and writes at an offset, going on at the same time, leave alone on
        // Unix and move on Windows.
        let Some(handle) = input.handle().filter(|_| cfg!(unix)) else {
            return self.copy_by_reading(input, from, bytes, to);
        };
        let copy = || {
            let (mut source, mut target) = (handle, self.file.file());
            source.seek(SeekFrom::Start(from))?;
            target.seek(SeekFrom::Start(to))?;
            std::io::copy(&mut std::io::Read::take(source, bytes), &mut target)
        };
        let copied = copy().map_err(Error::io("copy tensors to", self.location.path()))?;
        match copied == bytes {
            true => Ok(()),
            false => {
                let found = handle.metadata().map_or(0, |metadata| metadata.len());
                Err(Error::Changed { path: input.path().to_owned(), expected: input.bytes(), found })
            }
        }
    }

    /// Copies a range through memory: of an object, or where files have no positions to go by.
    fn copy_by_reading(&self, input: &InputFile, from: u64, bytes: u64, to: u64) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK)];
        let mut done = 0;
        while done < bytes {
            let chunk = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            input.read_at(from + done, &mut buffer[..chunk])?;
            self.write_at(to + done, &buffer[..chunk])?;
            done += chunk as u64;
        }
        Ok(())
    }

    /// Checks that all of it has arrived, and waits until it is on disk if `sync`.
    pub(super) fn finish(&self, sync: bool) -> Result<()> {
        let (file, path) = (self.file.file(), self.location.path());
        let found = file.metadata().map_err(Error::io("inspect", path))?.len();
        if found != self.bytes {
            let source = std::io::Error::other(format!("{found} of {} bytes have arrived in it", self.bytes));
            return Err(Error::Io { action: "finish", path: path.to_owned(), source });
        }
        // Of a file that is uploaded nothing is left after a crash anyway.
        let sync = sync && self.location.as_file().is_some();
        if sync { file.sync_all().map_err(Error::io("flush to disk", path)) } else { Ok(()) }
    }

    /// Whether a file of the very same bytes stands at its place.
    pub(super) fn is_there_already(&self) -> Result<bool> {
        let path = self.location.path();
        if !store::standing(path)?.is_some_and(|there| there.is_file() && there.len() == self.bytes) {
            return Ok(false);
        }
        let there = InputFile::open(&self.location)?;
        let ours =
            InputFile::from_handle(&self.location, self.file.file().try_clone().map_err(Error::io("read", path))?)?;
        there.is_equal(&ours)
    }

    /// What is to be uploaded, if it becomes an object.
    pub(super) fn finished(&self) -> Option<store::Finished<'_>> {
        let object = self.location.as_object()?;
        Some(store::Finished { object, file: self.file.file(), bytes: self.bytes })
    }

    /// Checks that its header, as it was written, is what readers accept.
    pub(super) fn check_readable(&self) -> Result<()> {
        check_readable(&self.location, self.file.file())
    }
}

/// Why no file can be opened in `folder`.
fn not_created(path: &Path, folder: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Error::NoFolder { folder: folder.to_owned(), name }
        }
        _ => Error::io("create a temporary file there", folder)(error),
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if n == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}
