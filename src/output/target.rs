//! 4 WRITE: an output file that appears whole or not at all.
//!
//! In: a path and bytes for it. Out: the file, under its name only once all of it is on disk. Until then it is a
//! temporary file in the same folder, which a failure removes. Nothing is ever written through a symlink or a hard link:
//! Hugging Face caches link to blobs that other snapshots share.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::checkpoint::{Checkpoint, InputFile};
use crate::error::{Error, Result};

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// Refuse.
    #[default]
    Never,
    /// Replace it, whole.
    Always,
}

/// An output file under way.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    folder: PathBuf,
    file: NamedTempFile,
    replace: Replace,
}

impl Target {
    /// Checks that `path` may be written and opens a temporary file beside it.
    pub fn create(path: &Path, replace: Replace, input: &Checkpoint) -> Result<Target> {
        check(path, replace, input)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut builder = tempfile::Builder::new();
        // Short, so that a name as long as the file system allows still works for the output itself.
        builder.prefix(".bnfold-").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(&folder).map_err(Error::io("create a temporary file there", &folder))?;
        Ok(Target { path: path.to_owned(), folder, file, replace })
    }

    /// Gives the file its final length, so that its pieces can be written in any order.
    pub fn set_len(&self, bytes: u64) -> Result<()> {
        self.file.as_file().set_len(bytes).map_err(Error::io("write", &self.path))
    }

    /// Writes `bytes` at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(self.file.as_file(), bytes, offset).map_err(Error::io("write", &self.path))
    }

    /// Copies a range of `input`, in the kernel where the system can.
    pub fn copy_from(&self, input: &InputFile, from: u64, bytes: u64, to: u64) -> Result<()> {
        let copy = || {
            let (mut source, mut target) = (input.handle(), self.file.as_file());
            source.seek(SeekFrom::Start(from))?;
            target.seek(SeekFrom::Start(to))?;
            std::io::copy(&mut std::io::Read::take(source, bytes), &mut target)
        };
        let copied = copy().map_err(Error::io("copy tensors to", &self.path))?;
        match copied == bytes {
            true => Ok(()),
            false => {
                let found = input.handle().metadata().map_or(0, |metadata| metadata.len());
                Err(Error::Changed { path: input.path().to_owned(), expected: input.bytes(), found })
            }
        }
    }

    /// Puts the finished file in its place: it is read back and checked, flushed to disk if `sync`, and renamed.
    pub fn commit(self, bytes: u64, sync: bool) -> Result<()> {
        let Target { path, folder, file, replace } = self;
        let found = file.as_file().metadata().map_err(Error::io("inspect", &path))?.len();
        if found != bytes {
            let problem = format!("{found} of {bytes} bytes have arrived in it");
            return Err(Error::Io { action: "finish", path, source: std::io::Error::other(problem) });
        }
        if sync {
            file.as_file().sync_all().map_err(Error::io("flush to disk", &path))?;
        }
        // What was written must be what readers accept.
        Checkpoint::open(file.path()).map_err(|error| match error {
            Error::Header { problem, .. } => Error::Header { path: path.clone(), problem },
            other => other,
        })?;
        let renamed = match replace {
            // renameat2(RENAME_NOREPLACE) where there is one: no other writer's file is replaced, whatever the race.
            Replace::Never => file.persist_noclobber(&path),
            Replace::Always => file.persist(&path),
        };
        renamed.map_err(|failed| match failed.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::OutputExists { path: path.clone() },
            _ => Error::Io { action: "put the finished file in place at", path: path.clone(), source: failed.error },
        })?;
        if sync { sync_folder(&folder) } else { Ok(()) }
    }
}

/// Whether `path` may become the output for `input`.
fn check(path: &Path, replace: Replace, input: &Checkpoint) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A name that is too long, a parent that is no folder: better said now than after the work.
        Err(error) => return Err(Error::io("write", path)(error)),
    };
    // The comparison opens the file, and opening a FIFO would wait for its other end.
    let opens = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    for shard in input.shards() {
        if opens && same_file::is_same_file(path, shard.file.path()).unwrap_or(false) {
            return Err(Error::OutputIsInput { path: path.to_owned() });
        }
    }
    if replace == Replace::Never {
        return Err(Error::OutputExists { path: path.to_owned() });
    }
    if metadata.is_file() || metadata.is_symlink() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a folder" } else { "a FIFO, socket or device" };
    Err(Error::NotARegularFile { path: path.to_owned(), found, advice: "pass another --output" })
}

/// Makes the new name durable: without it a crash may forget the rename.
fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems (network ones, FUSE) cannot flush a folder; the file itself is on disk.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        synced => synced.map_err(Error::io("flush to disk", folder))?,
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
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
