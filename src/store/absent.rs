//! STORE: what a program without object stores says.
//!
//! In: an object. Out: an error that names the feature to build with.

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;

use super::{Finished, Listed, Object, Same, UrlProblem};
use crate::error::{Error, Result};

/// There are none.
#[derive(Debug)]
pub(crate) struct OpenObject(Infallible);

impl OpenObject {
    pub(crate) fn open(object: &Object) -> Result<OpenObject> {
        Err(absent(object))
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match self.0 {}
    }
}

pub(crate) fn length(object: &Object) -> Result<Option<u64>> {
    Err(absent(object))
}

pub(crate) fn check_writable(object: &Object) -> Result<()> {
    let path = || object.path().to_owned();
    Err(match object.is_repository() {
        true => Error::Url { path: path(), problem: UrlProblem::RepositoryNotWritable },
        false => absent(object),
    })
}

pub(crate) fn list(folder: &Object) -> Result<Vec<Listed>> {
    Err(absent(folder))
}

pub(crate) fn is_same(_a: &Object, _b: &Object) -> bool {
    false
}

pub(crate) fn publish(files: &[Finished<'_>], _replace: bool, _same: Same<'_>, _cancelled: &AtomicBool) -> Result<()> {
    files.first().map_or(Ok(()), |file| Err(absent(file.object)))
}

fn absent(object: &Object) -> Error {
    let path = object.path().to_owned();
    match object.is_repository() {
        true => Error::Url { path, problem: UrlProblem::NotFetched },
        false => Error::NoStores { path },
    }
}
