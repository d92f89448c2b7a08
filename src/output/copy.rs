//! 4 WRITE: files as they are, at another place: configurations beside weights, results that two models share.
//!
//! In: files. Out: their copies, which appear whole and together or not at all, as every output does.

use std::sync::atomic::Ordering;

use super::OutputProblem;
use super::commit::{self, Terms};
use super::folders::make_folder;
use super::target::{Replace, Target};
use crate::checkpoint::InputFile;
use crate::error::{Error, Result};
use crate::fold::FoldOptions;
use crate::store::{self, Location};

/// Copies the regular file `from` to `to`, below `root`; its folder is made if it is missing.
pub fn copy_file(from: &Location, root: &Location, to: &Location, replace: Replace, sync: bool) -> Result<()> {
    let terms = Terms { root: root.as_file(), replace, same: None, sync, cancelled: FoldOptions::default().cancelled };
    copy_files(&[(from.clone(), to.clone())], terms)
}

/// Copies files, each to its place. They get their names in order, when all of them are complete.
pub fn copy_files(files: &[(Location, Location)], terms: Terms<'_>) -> Result<()> {
    let targets = files.iter().map(|(from, to)| {
        if let Some(folder) = to.folder().as_file() {
            make_folder(terms.root.unwrap_or(folder), folder, terms.sync)?;
        }
        check(from, to, terms)?;
        if terms.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let input = InputFile::open(from)?;
        let target = Target::create(to, input.bytes())?;
        target.copy_from(&input, 0, input.bytes(), 0)?;
        target.finish(terms.sync)?;
        input.check_unchanged().map(|()| target)
    });
    commit::name_all(targets.collect::<Result<Vec<_>>>()?, terms, &|| Ok(()))
}

/// Whether `to` may become a copy of `from`.
fn check(from: &Location, to: &Location, Terms { replace, same, .. }: Terms<'_>) -> Result<()> {
    if let Location::Object(object) = to {
        store::check_writable(object)?;
    }
    let path = to.path().to_owned();
    if !to.exists()? || same.is_some_and(|same| same(to)) {
        return Ok(());
    }
    if replace == Replace::Never {
        return Err(Error::OutputExists { path });
    }
    if is_same(from, to)? {
        return Err(Error::Output { path, problem: OutputProblem::IsInput });
    }
    match to {
        Location::File(to) if to.is_dir() => {
            Err(Error::Output { path, problem: OutputProblem::NotAFile { found: "a folder" } })
        }
        _ => Ok(()),
    }
}

fn is_same(from: &Location, to: &Location) -> Result<bool> {
    match (from, to) {
        (Location::File(from), Location::File(to)) => store::is_same_file(from, to),
        (Location::Object(from), Location::Object(to)) => Ok(store::is_same(from, to)),
        _ => Ok(false),
    }
}
