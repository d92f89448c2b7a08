//! 4 WRITE: finished files get their names, all of them or none.
//!
//! In: files on disk without a name. Out: the same under their names. A single file replaces another in one step. Several
//! cannot, so what they replace is set aside first, the last file (the index, without which nobody finds the others)
//! before the others, and is put back if anything fails on the way.
//!
//! What a crash in the middle of several leaves: shards without an index, never an index that describes other shards
//! than those beside it. Old files that were set aside are then still there, as `.bnfold-*.tmp`.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tempfile::TempPath;

use super::target::{Replace, Target};
use super::temporary::{folder_of, hidden_in};
use crate::error::{Error, Result};
use crate::store::{self, Same};

/// Gives every file its name, in order. With `sync` the names are on disk when this returns. What is uploaded instead may
/// take a while, and stops when it is `cancelled`.
pub(super) fn name_all(
    targets: Vec<Target>,
    replace: Replace,
    same: Same<'_>,
    sync: bool,
    cancelled: &AtomicBool,
) -> Result<()> {
    let uploads = targets.iter().filter_map(Target::finished).collect::<Vec<_>>();
    if !uploads.is_empty() {
        return store::publish(&uploads, replace == Replace::Always, same, cancelled);
    }
    let paths = targets.iter().map(|target| target.location.path().to_owned()).collect::<Vec<_>>();
    if replace == Replace::Always && targets.len() == 1 {
        for (path, target) in paths.iter().zip(targets) {
            target.file.replace(path).map_err(not_placed(path))?;
        }
        return sync_folders(&paths, sync);
    }
    let mut placing = Placing::default();
    placing.is_shared = same.is_some() && replace == Replace::Never;
    if replace == Replace::Always {
        paths.iter().rev().try_for_each(|path| placing.set_aside(path))?;
        sync_folders(&paths, sync)?;
    }
    for target in targets {
        // The index must not be on disk before the shards are.
        sync_folders(&placing.names(), sync && paths.last().map(PathBuf::as_path) == target.location.as_file())?;
        placing.place(target, same)?;
    }
    sync_folders(&paths, sync)?;
    placing.done = true;
    Ok(())
}

/// Several files on the way to their names. Dropped before it is done, it takes everything back.
#[derive(Default)]
struct Placing {
    placed: Vec<(PathBuf, File)>,
    aside: Vec<(PathBuf, TempPath)>,
    /// Others may place the very same files at the same time; nothing new is taken back then.
    is_shared: bool,
    done: bool,
}

impl Placing {
    /// Moves what stands at `path`, if anything, to a hidden name beside it.
    fn set_aside(&mut self, path: &Path) -> Result<()> {
        if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(());
        }
        let folder = folder_of(path);
        let hidden = hidden_in(folder).map_err(Error::io("create a temporary file there", folder))?.into_temp_path();
        std::fs::rename(path, &hidden).map_err(Error::io("set aside the old file at", path))?;
        self.aside.push((path.to_owned(), hidden));
        Ok(())
    }

    fn place(&mut self, target: Target, same: Same<'_>) -> Result<()> {
        let Target { location, file, .. } = target;
        match file.name(location.path()) {
            Ok(file) => self.placed.push((location.path().to_owned(), file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && same.is_some_and(|same| same(&location)) => {}
            Err(error) => return Err(not_placed(location.path())(error)),
        }
        Ok(())
    }

    fn names(&self) -> Vec<PathBuf> {
        self.placed.iter().map(|(path, _)| path.clone()).collect()
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for (path, file) in self.placed.drain(..).rev() {
            // Only what is still ours: another program may have put its own file there meanwhile.
            if !self.is_shared && is_still(&path, file) {
                let _ = std::fs::remove_file(&path);
            }
        }
        // The index, set aside first, comes back last.
        for (path, hidden) in self.aside.drain(..).rev() {
            if let Err(failed) = hidden.persist_noclobber(&path) {
                // Rather a file under an odd name than none.
                let _ = failed.path.keep();
            }
        }
    }
}

/// Whether `path` is still the open `file`. Nothing is opened for it: there may be too many open files already.
#[cfg(unix)]
fn is_still(path: &Path, file: File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (ours, there) = (file.metadata().map(number), std::fs::symlink_metadata(path).map(number));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

/// Whether `path` is still the open `file`.
#[cfg(not(unix))]
fn is_still(path: &Path, file: File) -> bool {
    let same = || Ok::<_, std::io::Error>(same_file::Handle::from_file(file)? == same_file::Handle::from_path(path)?);
    same().unwrap_or(false)
}

fn not_placed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        ErrorKind::AlreadyExists => Error::OutputExists { path },
        _ => Error::Io { action: "put the finished file in place at", path, source },
    }
}

/// Makes the names of files and folders durable if `sync`: without it a crash may forget them.
pub(super) fn sync_folders(paths: &[PathBuf], sync: bool) -> Result<()> {
    let mut folders = paths.iter().map(|path| folder_of(path)).collect::<Vec<_>>();
    folders.sort_unstable();
    folders.dedup();
    let is_flushed = |_: &&Path| sync && cfg!(unix);
    folders.into_iter().filter(is_flushed).try_for_each(|folder| {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Some file systems (network ones, FUSE) cannot flush a folder; the files themselves are on disk.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            synced => synced.map_err(Error::io("flush to disk", folder)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::temporary::Temporary;
    use crate::store::Location;

    static NEVER: AtomicBool = AtomicBool::new(false);

    struct Folder(tempfile::TempDir);

    impl Folder {
        /// A folder with these files, each holding `old`.
        fn with(old: &[&str]) -> Folder {
            let folder = Folder(tempfile::tempdir().unwrap());
            old.iter().for_each(|name| std::fs::write(folder.path(name), "old").unwrap());
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn target(&self, name: &str) -> Target {
            let target = Target::create(&self.path(name).into(), 3).unwrap();
            target.write_at(0, b"new").unwrap();
            target
        }

        /// Names and contents of everything in it.
        fn content(&self) -> Vec<(String, String)> {
            let entries = std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap());
            let mut all = entries
                .map(|entry| {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or("a folder".into());
                    (entry.file_name().to_string_lossy().into_owned(), text)
                })
                .collect::<Vec<_>>();
            all.sort();
            all
        }
    }

    fn content(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
    }

    #[test]
    fn all_get_their_names() {
        for (replace, old) in [(Replace::Never, &[][..]), (Replace::Always, &["a", "i"])] {
            let folder = Folder::with(old);
            name_all(["a", "b", "i"].map(|name| folder.target(name)).into(), replace, None, true, &NEVER).unwrap();
            assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new"), ("i", "new")]));
        }
    }

    #[test]
    fn one_that_cannot_be_placed_takes_all_others_back() {
        // The index's name is taken when its turn comes.
        let folder = Folder::with(&["i"]);
        let error =
            name_all(["a", "b", "i"].map(|name| folder.target(name)).into(), Replace::Never, None, true, &NEVER)
                .unwrap_err();
        assert!(matches!(error, Error::OutputExists { .. }), "{error}");
        assert_eq!(folder.content(), content(&[("i", "old")]));
    }

    #[test]
    fn what_was_to_be_replaced_is_put_back() {
        let folder = Folder::with(&["a", "b", "i"]);
        std::fs::create_dir(folder.path("sub")).unwrap();
        let targets = ["a", "sub/b", "b", "i"].map(|name| folder.target(name));
        // A folder that is gone: what was to stand in it has nowhere to go.
        std::fs::remove_dir_all(folder.path("sub")).unwrap();
        name_all(targets.into(), Replace::Always, None, false, &NEVER).unwrap_err();
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
    }

    /// Two runs fold the same model: the second finds what the first has placed, and neither takes anything back.
    #[test]
    fn the_very_same_files_of_another_run_are_left_and_counted_on() {
        let folder = Folder::with(&["b"]);
        let is_new = |new: &Location| std::fs::read_to_string(new.path()).is_ok_and(|text| text == "new");
        std::fs::write(folder.path("a"), "new").unwrap();
        let targets = || ["a", "b", "i"].map(|name| folder.target(name)).into();
        let error = name_all(targets(), Replace::Never, Some(&is_new), true, &NEVER).unwrap_err();
        assert!(matches!(&error, Error::OutputExists { path } if path.ends_with("b")), "{error}");
        assert_eq!(folder.content(), content(&[("a", "new"), ("b", "old")]));
        std::fs::remove_file(folder.path("b")).unwrap();
        std::fs::create_dir(folder.path("i")).unwrap();
        name_all(targets(), Replace::Never, Some(&is_new), true, &NEVER).unwrap_err();
        std::fs::remove_dir(folder.path("i")).unwrap();
        assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new")]), "another run may count on them");
        for _ in 0..2 {
            name_all(targets(), Replace::Never, Some(&is_new), true, &NEVER).unwrap();
            assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new"), ("i", "new")]));
        }
    }

    /// With `--force` nobody counts on new files beside old ones: an index must never describe a mix of them.
    #[test]
    fn what_was_to_be_replaced_is_put_back_in_a_zoo_too() {
        let folder = Folder::with(&["a", "b", "i"]);
        std::fs::create_dir(folder.path("sub")).unwrap();
        let targets = ["a", "sub/b", "b", "i"].map(|name| folder.target(name));
        std::fs::remove_dir_all(folder.path("sub")).unwrap();
        let is_new = |new: &Location| std::fs::read_to_string(new.path()).is_ok_and(|text| text == "new");
        name_all(targets.into(), Replace::Always, Some(&is_new), false, &NEVER).unwrap_err();
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
    }

    #[test]
    fn a_file_that_another_program_put_there_meanwhile_is_not_taken_back() {
        let folder = Folder::with(&[]);
        let mut placing = Placing::default();
        ["a", "b"].iter().for_each(|name| placing.place(folder.target(name), None).unwrap());
        std::fs::remove_file(folder.path("a")).unwrap();
        std::fs::write(folder.path("a"), "another's").unwrap();
        drop(placing);
        assert_eq!(folder.content(), content(&[("a", "another's")]));
    }

    #[test]
    fn files_set_aside_are_dropped_only_when_all_is_done() {
        let folder = Folder::with(&["a", "i"]);
        let mut placing = Placing::default();
        placing.set_aside(&folder.path("i")).unwrap();
        placing.set_aside(&folder.path("a")).unwrap();
        placing.set_aside(&folder.path("none")).unwrap();
        let aside = folder.content();
        assert!(aside.len() == 2 && aside.iter().all(|(name, text)| name.starts_with(".bnfold-") && text == "old"));
        drop(placing);
        assert_eq!(folder.content(), content(&[("a", "old"), ("i", "old")]));
        // `Temporary` is what a target is made of; a name that is not free is refused by it already.
        let taken = Temporary::create_in(folder.0.path(), Default::default()).unwrap().name(&folder.path("a"));
        assert!(taken.is_err());
    }
}
