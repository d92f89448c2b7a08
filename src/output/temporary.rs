//! 4 WRITE: a file without its name yet.
//!
//! In: the folder it will stand in. Out: an open file, and later that file under a name. On Linux it has no name at all
//! until then (`O_TMPFILE`), so that not even a kill leaves anything. Where the file system has no such files it is a
//! hidden one, removed when it is dropped.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use tempfile::NamedTempFile;

use super::hidden::{hidden, hidden_in};
use super::naming::{Way, is_answer};

/// A file under way.
#[derive(Debug)]
pub(super) enum Temporary {
    /// In no folder: gone with the process.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// Under a name nobody asks for, until it gets its own in this way.
    Named(NamedTempFile, Way),
    /// In the system's temporary folder, readable by its owner alone; it is uploaded and never gets a name here.
    Scratch(File),
}

/// Which kind to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// Unnamed where the system can.
    #[default]
    Best,
    /// Named, everywhere.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the fallback against what is usual"))]
    Named,
    /// Named, and in a folder that knows neither links nor renames that do not replace.
    #[cfg(test)]
    Held,
}

impl Temporary {
    /// Opens a new file for `folder`, readable and writable, of mode 0666 less umask. That it can be given a name there is
    /// known when this returns: the kernel's own file systems link what has no name, and with hidden names it is tried.
    pub(super) fn create_in(folder: &Path, kind: Kind) -> io::Result<Temporary> {
        #[cfg(target_os = "linux")]
        if let Some(file) = (kind == Kind::Best).then(|| linux::unnamed_in(folder)).flatten() {
            return Ok(Temporary::Unnamed(file));
        }
        let file = hidden_in(folder)?;
        let way = match kind {
            Kind::Best | Kind::Named => Way::of(folder)?,
            #[cfg(test)]
            Kind::Held => Way::Held,
        };
        Ok(Temporary::Named(file, way))
    }

    /// Opens a new file that is to be uploaded.
    pub(super) fn scratch() -> io::Result<Temporary> {
        Ok(Temporary::Scratch(tempfile::tempfile()?))
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Temporary::Unnamed(file) => file,
            Temporary::Named(file, _) => file.as_file(),
            Temporary::Scratch(file) => file,
        }
    }

    /// Makes it `bytes` bytes long. Where that is known to help, room on the disk is found for all of it at once: a disk that
    /// is too full says so before the work, and the writes that follow need not find any (on ext4 they take 0.6 of the time).
    pub(super) fn lay_out(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if linux::reserve(self.file(), bytes)? {
            return Ok(());
        }
        self.file().set_len(bytes)
    }

    /// Gives it the name `path`, which must be free, whatever the race; hands the open file back.
    pub(super) fn name(self, path: &Path) -> io::Result<File> {
        match self {
            #[cfg(target_os = "linux")]
            Temporary::Unnamed(file) => match linux::link(&file, path) {
                Err(error) if !is_answer(&error) => Way::NoReplace.name(copied(&file, folder_of(path))?, path),
                linked => linked.map(|()| file),
            },
            Temporary::Named(file, way) => way.name(file, path),
            Temporary::Scratch(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Gives it the name `path` in the place of what stands there.
    pub(super) fn replace(self, path: &Path) -> io::Result<File> {
        match self {
            #[cfg(target_os = "linux")]
            Temporary::Unnamed(file) => match linux::link(&file, path) {
                // A link does not replace, a rename does.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Nobody may take its hidden name for that of a dead run; where there are no locks nobody does.
                    let _ = file.try_lock();
                    match hidden().make_in(folder_of(path), |path| linux::link(&file, path)) {
                        Ok(link) => link.persist(path)?,
                        Err(error) if is_answer(&error) => return Err(error),
                        Err(_) => return Ok(copied(&file, folder_of(path))?.persist(path)?),
                    }
                    Ok(file)
                }
                Err(error) if !is_answer(&error) => Ok(copied(&file, folder_of(path))?.persist(path)?),
                linked => linked.map(|()| file),
            },
            Temporary::Named(file, _) => Ok(file.persist(path)?),
            Temporary::Scratch(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What `file` holds, on disk and under a hidden name: for a file system that lets files be without a name, and does not link
/// them afterwards.
#[cfg(target_os = "linux")]
fn copied(mut file: &File, folder: &Path) -> io::Result<NamedTempFile> {
    let mut copy = hidden_in(folder)?;
    file.rewind()?;
    io::copy(&mut file, copy.as_file_mut())?;
    copy.as_file().sync_all()?;
    Ok(copy)
}

/// The folder that `path` stands in; it has a name, as a folder needs to be opened.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, fallocate, fstatfs, linkat, openat};
    use rustix::io::{Errno, retry_on_intr};

    // BTRFS_SUPER_MAGIC and EXT4_SUPER_MAGIC of linux/magic.h.
    const BTRFS: u64 = 0x9123_683e;
    pub(super) const EXT4: u64 = 0xef53;

    /// A file without a name, or `None` where that cannot be had or could not be given a name later.
    pub(super) fn unnamed_in(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Whatever the refusal is (EOPNOTSUPP; EISDIR and ENOENT of old kernels): if it is about the folder and not about
        // this kind of file, a named one meets it too and tells.
        let file = File::from(openat(CWD, folder, flags, Mode::from_raw_mode(0o666)).ok()?);
        // Without /proc it would stay unnamed for ever.
        std::fs::read_link(handle(&file)).ok()?;
        // btrfs does not flush a file without a name, so that after a crash its name may stand for an empty file.
        (!is_on(&file, BTRFS)).then_some(file)
    }

    /// Finds room for `bytes` bytes of `file` and makes it as long; `false` where that does not help or cannot be done.
    /// Only ext4 is asked: tmpfs would fill the pages twice, btrfs would not compress what goes there.
    pub(super) fn reserve(file: &File, bytes: u64) -> io::Result<bool> {
        if bytes == 0 || !is_on(file, EXT4) {
            return Ok(false);
        }
        match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
            Ok(()) => Ok(true),
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => Err(error.into()),
            // Its magic is that of ext2 and ext3 too, which cannot.
            Err(_) => Ok(false),
        }
    }

    pub(super) fn is_on(file: &File, kind: u64) -> bool {
        fstatfs(file).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|found| found == kind))
    }

    /// Gives `file` a name, which must be free.
    pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
        Ok(linkat(CWD, handle(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn handle(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KINDS: [Kind; 3] = [Kind::Best, Kind::Named, Kind::Held];

    fn written(folder: &Path, kind: Kind) -> Temporary {
        let temporary = Temporary::create_in(folder, kind).unwrap();
        temporary.file().write_all(b"new").unwrap();
        temporary
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn a_name_is_given_only_if_it_is_free() {
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x");
            written(folder.path(), kind).name(&path).unwrap();
            std::fs::write(folder.path().join("y"), "old").unwrap();
            let error = written(folder.path(), kind).name(&folder.path().join("y")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{kind:?}");
            assert_eq!(std::fs::read(&path).unwrap(), b"new", "{kind:?}");
            assert_eq!(std::fs::read(folder.path().join("y")).unwrap(), b"old", "{kind:?}");
            assert_eq!(names(folder.path()), ["x", "y"], "{kind:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_replaced_whole_and_never_written_through() {
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let [old, twin] = ["old", "twin"].map(|name| folder.path().join(name));
            std::fs::write(&old, "of old").unwrap();
            std::fs::hard_link(&old, &twin).unwrap();
            for name in ["old", "free"] {
                written(folder.path(), kind).replace(&folder.path().join(name)).unwrap();
            }
            assert_eq!(std::fs::read(&old).unwrap(), b"new", "{kind:?}");
            assert_eq!(std::fs::read(&twin).unwrap(), b"of old", "{kind:?}");
            assert_eq!(names(folder.path()), ["free", "old", "twin"], "{kind:?}");
        }
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let temporary = written(folder.path(), kind);
            let visible = usize::from(matches!(temporary, Temporary::Named(..)));
            assert_eq!(names(folder.path()).len(), visible, "{kind:?}");
            drop(temporary);
            assert!(names(folder.path()).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn named_is_what_is_asked_for_and_best_is_unnamed_on_linux() {
        // Linux keeps it in memory, in a file system that certainly has such files.
        let folder = if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(folder).unwrap();
        let is_named = |kind| matches!(Temporary::create_in(folder.path(), kind).unwrap(), Temporary::Named(..));
        assert!(is_named(Kind::Named));
        assert_eq!(is_named(Kind::Best), cfg!(not(target_os = "linux")));
    }

    #[test]
    fn a_file_is_laid_out_in_its_length() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, bytes) in KINDS.into_iter().zip([1 << 20, 0, 1 << 10]) {
            let temporary = Temporary::create_in(folder.path(), kind).unwrap();
            temporary.lay_out(bytes).unwrap();
            assert_eq!(temporary.file().metadata().unwrap().len(), bytes, "{kind:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_found_at_once_on_ext4_alone() {
        use std::os::unix::fs::MetadataExt;
        for folder in [std::env::temp_dir().as_path(), Path::new("/dev/shm")] {
            let temporary = Temporary::create_in(folder, Kind::Best).unwrap();
            temporary.lay_out(1 << 20).unwrap();
            let room = 512 * temporary.file().metadata().unwrap().blocks();
            let expected = if linux::is_on(temporary.file(), linux::EXT4) { 1 << 20 } else { 0 };
            // Where a file's blocks are listed may take a few more.
            assert!((expected..expected + (64 << 10)).contains(&room), "{room} bytes in {}", folder.display());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_by_either_kind() {
        let folder = tempfile::tempdir().unwrap();
        for kind in KINDS {
            let error = Temporary::create_in(&folder.path().join("none"), kind).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{kind:?}");
        }
    }
}
