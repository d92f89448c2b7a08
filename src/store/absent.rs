//! STORE: what a program without object stores says.
//!
//! In: a URL. Out: an error that names the feature to build with.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::{Finished, Listed};
use crate::error::{Error, Result};
use crate::output::Same;

/// There are none.
#[derive(Debug)]
pub(crate) struct Object(Infallible);

impl Object {
    pub(crate) fn open(path: &Path) -> Result<Object> {
        Err(absent(path))
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

pub(crate) fn length(path: &Path) -> Result<Option<u64>> {
    Err(absent(path))
}

pub(crate) fn check_writable(path: &Path) -> Result<()> {
    Err(absent(path))
}

pub(crate) fn list(folder: &Path) -> Result<Vec<Listed>> {
    Err(absent(folder))
}

pub(crate) fn is_same(_a: &Path, _b: &Path) -> bool {
    false
}

pub(crate) fn publish(files: &[Finished<'_>], _replace: bool, _same: Same<'_>, _cancelled: &AtomicBool) -> Result<()> {
    files.first().map_or(Ok(()), |file| Err(absent(file.path)))
}

fn absent(path: &Path) -> Error {
    Error::NoStores { path: path.to_owned() }
}
