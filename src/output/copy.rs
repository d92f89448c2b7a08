//! 4 WRITE: files as they are, at another place: configurations beside weights, results that two models share.
//!
//! In: files. Out: their copies, which appear whole and together or not at all, as every output does.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::target::{Replace, Target};
use super::{OutputProblem, Same, place};
use crate::checkpoint::InputFile;
use crate::error::{Error, Result};
use crate::fold::FoldOptions;
use crate::store;

/// Copies the regular file `from` to `to`, whose folder is made if it is missing.
pub fn copy_file(from: &Path, to: &Path, replace: Replace, sync: bool) -> Result<()> {
    copy_files(&[(from.to_owned(), to.to_owned())], replace, None, sync, FoldOptions::default().cancelled)
}

/// Copies files, each to its place. They get their names in order, when all of them are complete.
pub fn copy_files(
    files: &[(PathBuf, PathBuf)],
    replace: Replace,
    same: Same<'_>,
    sync: bool,
    cancelled: &AtomicBool,
) -> Result<()> {
    let targets = files.iter().map(|(from, to)| {
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty() && !store::is_url(to));
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(Error::io("create the output folder", folder))?;
        }
        check(from, to, replace, same)?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let input = InputFile::open(from)?;
        let target = Target::create(to, input.bytes())?;
        target.copy_from(&input, 0, input.bytes(), 0)?;
        target.finish(sync)?;
        input.check_unchanged().map(|()| target)
    });
    place::place(targets.collect::<Result<Vec<_>>>()?, replace, same, sync, cancelled)
}

/// Whether `to` may become a copy of `from`.
fn check(from: &Path, to: &Path, replace: Replace, same: Same<'_>) -> Result<()> {
    if store::is_url(to) {
        store::check_writable(to)?;
    }
    let path = to.to_owned();
    if !store::exists(to)? || same.is_some_and(|same| same(to)) {
        return Ok(());
    }
    if replace == Replace::Never {
        return Err(Error::OutputExists { path });
    }
    if store::is_same(from, to) || same_file::is_same_file(from, to).unwrap_or(false) {
        return Err(Error::Output { path, problem: OutputProblem::IsInput });
    }
    match !store::is_url(to) && to.is_dir() {
        true => Err(Error::NotARegularFile { path, found: "a folder", advice: "pass another --output" }),
        false => Ok(()),
    }
}
