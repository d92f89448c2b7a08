//! 4 WRITE: finished files get their names, all of them or none.
//!
//! In: files on disk without a name. Out: the same under their names. A single file replaces another in one step. Several
//! cannot, so what they replace is set aside first, the last file (the index, without which nobody finds the others)
//! before the others, and is put back if anything fails on the way. Runs that replace files of one folder wait for each
//! other, so that what is there in the end is one run's.
//!
//! What a crash in the middle of several leaves: shards without an index, never an index that describes other shards
//! than those beside it. Old files that were set aside are then still there, in a folder `.bnfold-*.old` beside them.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::aside::clear_stale;
use super::lock::{Hold, Locks};
use super::placing::{Placing, not_placed};
use super::target::{Replace, Target};
use super::temporary::folder_of;
use crate::error::{Error, Result};
use crate::store::{self, Same};

/// How files get their names.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The folder that the user named: what is missing below it is made, and no link there is followed.
    pub root: Option<&'a Path>,
    /// What becomes of files that exist.
    pub replace: Replace,
    /// Which of these stay where they are not replaced.
    pub same: Same<'a>,
    /// The names are on disk when all of them are given.
    pub sync: bool,
    /// Set to stop: an upload, or a run that is waited for, may take a while.
    pub cancelled: &'a AtomicBool,
}

/// Gives every file its name, in order; `check` is asked before, when no other run can replace anything there any more.
pub(super) fn name_all(targets: Vec<Target>, terms: Terms<'_>, check: &dyn Fn() -> Result<()>) -> Result<()> {
    let Terms { replace, same, sync, cancelled, .. } = terms;
    let uploads = targets.iter().filter_map(Target::finished).collect::<Vec<_>>();
    if !uploads.is_empty() {
        return store::publish(&uploads, replace == Replace::Always, same, cancelled);
    }
    let paths = targets.iter().map(|target| target.location.path().to_owned()).collect::<Vec<_>>();
    let locks = match (replace, &paths[..]) {
        // The system sees to it that one of several gets the name.
        (Replace::Never, [_]) => Locks::default(),
        (Replace::Always, [_]) => Locks::take(&paths, Hold::Shared, cancelled)?,
        _ => Locks::take(&paths, Hold::Alone, cancelled)?,
    };
    check()?;
    if replace == Replace::Always && targets.len() == 1 {
        for (path, target) in paths.iter().zip(targets) {
            target.file.replace(path).map_err(not_placed(path))?;
        }
        return sync_folders(&paths, sync);
    }
    let mut placing = Placing::default();
    placing.is_shared = same.is_some() && replace == Replace::Never;
    placing.keeps_equals = replace == Replace::Never && targets.len() > 1;
    match place_all(&mut placing, targets, &paths, terms) {
        Ok(()) if replace == Replace::Always => placing.aside.discard().and_then(|()| clear_stale(&paths, &locks)),
        Ok(()) => Ok(()),
        Err(error) => Err(placing.take_back(error)),
    }
}

/// Sets aside what stands at `paths`, if it is to be replaced, and gives every file its name.
fn place_all(placing: &mut Placing, targets: Vec<Target>, paths: &[PathBuf], terms: Terms<'_>) -> Result<()> {
    let Terms { replace, same, sync, .. } = terms;
    if replace == Replace::Always {
        paths.iter().rev().try_for_each(|path| placing.aside.put(path))?;
        sync_folders(&placing.aside.paths(), sync)?;
        sync_folders(paths, sync)?;
    }
    for target in targets {
        // The index must not be on disk before the shards are.
        sync_folders(&placing.names(), sync && paths.last().map(PathBuf::as_path) == target.location.as_file())?;
        placing.place(target, same)?;
    }
    sync_folders(paths, sync)
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
    use crate::output::aside::Stranded;
    use crate::output::temporary::{Kind, Temporary};
    use crate::store::Location;

    fn name_all(targets: Vec<Target>, replace: Replace, same: Same<'_>) -> Result<()> {
        let terms = Terms { root: None, replace, same, sync: true, cancelled: &AtomicBool::new(false) };
        super::name_all(targets, terms, &|| Ok(()))
    }

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
            self.target_of(name, Kind::default())
        }

        fn target_of(&self, name: &str, kind: Kind) -> Target {
            let target = Target::create_as(&self.path(name).into(), 3, kind).unwrap();
            target.write_at(0, b"new").unwrap();
            target
        }

        /// A file that cannot get a name, when its turn comes.
        fn doomed(&self, name: &str) -> Target {
            let mut target = self.target(name);
            target.file = Temporary::scratch().unwrap();
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
            name_all(["a", "b", "i"].map(|name| folder.target(name)).into(), replace, None).unwrap();
            assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new"), ("i", "new")]));
        }
    }

    #[test]
    fn one_that_cannot_be_placed_takes_all_others_back() {
        // The index's name is taken when its turn comes.
        let folder = Folder::with(&["i"]);
        let error = name_all(["a", "b", "i"].map(|name| folder.target(name)).into(), Replace::Never, None).unwrap_err();
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
        name_all(targets.into(), Replace::Always, None).unwrap_err();
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
    }

    /// Two runs fold the same model: the second finds what the first has placed, and neither takes anything back.
    #[test]
    fn the_very_same_files_of_another_run_are_left_and_counted_on() {
        let folder = Folder::with(&["b"]);
        let is_new = |new: &Location| std::fs::read_to_string(new.path()).is_ok_and(|text| text == "new");
        std::fs::write(folder.path("a"), "new").unwrap();
        let targets = || ["a", "b", "i"].map(|name| folder.target(name)).into();
        let error = name_all(targets(), Replace::Never, Some(&is_new)).unwrap_err();
        assert!(matches!(&error, Error::OutputExists { path } if path.ends_with("b")), "{error}");
        assert_eq!(folder.content(), content(&[("a", "new"), ("b", "old")]));
        std::fs::remove_file(folder.path("b")).unwrap();
        std::fs::create_dir(folder.path("i")).unwrap();
        name_all(targets(), Replace::Never, Some(&is_new)).unwrap_err();
        std::fs::remove_dir(folder.path("i")).unwrap();
        assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new")]), "another run may count on them");
        for _ in 0..2 {
            name_all(targets(), Replace::Never, Some(&is_new)).unwrap();
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
        name_all(targets.into(), Replace::Always, Some(&is_new)).unwrap_err();
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
    }

    #[test]
    fn a_file_that_another_program_put_there_meanwhile_is_not_taken_back() {
        let folder = Folder::with(&[]);
        let mut placing = Placing::default();
        ["a", "b"].iter().for_each(|name| placing.place(folder.target(name), None).unwrap());
        std::fs::remove_file(folder.path("a")).unwrap();
        std::fs::write(folder.path("a"), "another's").unwrap();
        assert!(matches!(placing.take_back(Error::Interrupted), Error::Interrupted));
        assert_eq!(folder.content(), content(&[("a", "another's")]));
    }

    #[test]
    fn files_set_aside_keep_their_names_and_are_dropped_only_when_all_is_done() {
        let folder = Folder::with(&["a", "i"]);
        let set_aside = || {
            let mut placing = Placing::default();
            ["i", "a", "none"].iter().for_each(|name| placing.aside.put(&folder.path(name)).unwrap());
            let [(hidden, _)] = &folder.content()[..] else { panic!("{:?}", folder.content()) };
            assert!(hidden.starts_with(".bnfold-") && hidden.ends_with(".old"));
            for name in ["a", "i"] {
                assert_eq!(std::fs::read_to_string(folder.path(hidden).join(name)).unwrap(), "old");
            }
            placing
        };
        assert!(matches!(set_aside().take_back(Error::Interrupted), Error::Interrupted));
        assert_eq!(folder.content(), content(&[("a", "old"), ("i", "old")]));
        set_aside().aside.discard().unwrap();
        assert_eq!(folder.content(), []);
    }

    /// As on exFAT, and what is mounted from a bucket: neither hard links nor renames that do not replace.
    #[test]
    fn files_are_placed_replaced_and_put_back_without_links() {
        let folder = Folder::with(&[]);
        let held = |names: &[&str]| names.iter().map(|name| folder.target_of(name, Kind::Held)).collect::<Vec<_>>();
        let all = content(&[("a", "new"), ("b", "new"), ("i", "new")]);
        name_all(held(&["a", "b", "i"]), Replace::Never, None).unwrap();
        assert_eq!(folder.content(), all);
        // What has the very same bytes may be there already, as a run that was killed leaves it.
        name_all(held(&["b", "i"]), Replace::Never, None).unwrap();
        std::fs::write(folder.path("i"), "old").unwrap();
        assert!(matches!(name_all(held(&["c", "i"]), Replace::Never, None), Err(Error::OutputExists { .. })));
        assert_eq!(folder.content(), content(&[("a", "new"), ("b", "new"), ("i", "old")]));
        ["a", "b", "i"].iter().for_each(|name| std::fs::write(folder.path(name), "old").unwrap());
        let mut doomed = held(&["a", "b"]);
        doomed.push(folder.doomed("i"));
        assert!(matches!(name_all(doomed, Replace::Always, None), Err(Error::Io { .. })));
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
        name_all(held(&["a", "b", "i"]), Replace::Always, None).unwrap();
        assert_eq!(folder.content(), all);
    }

    #[test]
    fn what_cannot_be_put_back_is_named_with_its_place() {
        let folder = Folder::with(&["a", "b", "i"]);
        let mut placing = Placing::default();
        ["i", "b", "a"].iter().for_each(|name| placing.aside.put(&folder.path(name)).unwrap());
        // Another program takes a name meanwhile.
        std::fs::write(folder.path("b"), "another's").unwrap();
        let error = placing.take_back(Error::Interrupted);
        let Error::NotTakenBack { left, .. } = &error else { panic!("{error}") };
        let [Stranded { at, place: Some(place) }] = &left[..] else { panic!("{left:?}") };
        assert_eq!((std::fs::read_to_string(at).unwrap().as_str(), place), ("old", &folder.path("b")));
        assert!(error.to_string().contains(&at.display().to_string()), "{error}");
        std::fs::remove_dir_all(at.parent().unwrap()).unwrap();
        assert_eq!(folder.content(), content(&[("a", "old"), ("b", "another's"), ("i", "old")]));
    }

    #[test]
    fn what_fails_while_old_files_are_aside_brings_them_back() {
        for names in [&["a", "b"][..], &["a"], &[]] {
            let folder = Folder::with(&["a", "b", "i"]);
            let mut targets = names.iter().map(|name| folder.target(name)).collect::<Vec<_>>();
            targets.push(folder.doomed("i"));
            targets.push(folder.target("z"));
            let error = name_all(targets, Replace::Always, None).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
            assert_eq!(folder.content(), content(&[("a", "old"), ("b", "old"), ("i", "old")]));
        }
    }
}
