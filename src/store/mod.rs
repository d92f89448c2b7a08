//! STORE: where checkpoints are: files of this machine, and objects under URLs.
//!
//! In: a [`Location`]. Out: of an [`Object`] (`s3://bucket/key`, `gs://`, `az://`, `http(s)://`) bytes by position,
//! listings, whole objects. A repository of the Hugging Face Hub (`hf://`) is an object too, of which nothing can be had here:
//! [`hub`](crate::hub) makes a folder of it. Without the feature `cloud` there is nothing behind these functions but an error that says
//! so.

mod folder;
mod listings;
mod location;
mod names;
mod problem;
mod url;

#[cfg(feature = "cloud")]
mod blocks;
#[cfg(feature = "cloud")]
mod bucket;
#[cfg(feature = "cloud")]
mod failure;
#[cfg(feature = "cloud")]
mod listing;
#[cfg(feature = "cloud")]
mod object;
#[cfg(feature = "cloud")]
mod publish;

#[cfg(not(feature = "cloud"))]
mod absent;

use std::fs::File;

#[cfg(not(feature = "cloud"))]
pub(crate) use absent::{OpenObject, check_writable, is_same, length, list, publish};
pub(crate) use folder::{Identity, is_absence, is_circle, is_same_file, names_in, standing, target};
#[cfg(feature = "cloud")]
pub(crate) use listing::{is_same, length, list, remove};
pub(crate) use listings::Remembered;
pub use listings::{Listings, Names};
pub use location::Location;
pub use names::{index_stem, is_index};
#[cfg(feature = "cloud")]
pub(crate) use object::OpenObject;
pub use problem::UrlProblem;
#[cfg(feature = "cloud")]
pub(crate) use publish::{check_writable, publish};
#[cfg(feature = "hub")]
pub(crate) use url::one_line;
pub use url::{Object, redacted};

/// Threads that may read objects in places far apart: with more, one would lose the blocks that another has just fetched.
pub(crate) const READERS: usize = 8;

/// Tells whether what stands at a location is already the very file that is to get this name, as another run puts it there
/// that folds the same model: then it stays, and nobody takes it back, since the other one may count on it too. `None` if
/// nothing can be known to be the same.
pub type Same<'a> = Option<&'a dyn Fn(&Location) -> bool>;

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Where it is.
    pub(crate) object: Object,
    /// Its length.
    pub(crate) bytes: u64,
}

/// A finished file that is to become an object.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "nothing is uploaded"))]
pub(crate) struct Finished<'a> {
    /// What it becomes.
    pub(crate) object: &'a Object,
    /// Its content.
    pub(crate) file: &'a File,
    /// Its length.
    pub(crate) bytes: u64,
}
