//! STORE: what is in a bucket.
//!
//! In: URLs. Out: everything below one, the length of an object, its removal.

use std::path::{Path, PathBuf};

use object_store::ObjectStoreExt;
use object_store::list::PaginatedListOptions;

use super::Listed;
use super::address::split;
use super::bucket::{self, Place};
use crate::error::{Error, Result};

/// All objects below `folder`, by name.
pub(crate) fn list(folder: &Path) -> Result<Vec<Listed>> {
    let Place { bucket, key } = bucket::place(folder)?;
    let Some(lister) = bucket.lister else {
        let problem = "a web server cannot be listed; name the files in it one by one".to_owned();
        return Err(Error::Url { path: folder.to_owned(), problem });
    };
    let prefix = Some(format!("{key}/")).filter(|_| !key.as_ref().is_empty());
    let (mut all, mut page_token) = (Vec::new(), None);
    loop {
        let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
        let page = bucket::wait("list", folder, lister.list_paginated(prefix.as_deref(), options))?;
        for object in page.result.objects {
            let key = object.location.as_ref();
            let within = prefix.as_deref().map_or(Some(key), |prefix| key.strip_prefix(prefix));
            // Consoles mark folders with empty objects; they are no files.
            let is_marker = object.size == 0 && object.location.extension().is_none();
            if let Some(within) = within.filter(|within| !within.is_empty() && !is_marker) {
                all.push(Listed { path: below(folder, within), bytes: object.size });
            }
        }
        page_token = page.page_token;
        if page_token.is_none() {
            break;
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// The URL of what is called `name` in `folder`.
fn below(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.to_string_lossy();
    PathBuf::from(format!("{}/{name}", folder.trim_end_matches('/')))
}

/// The length of an object, `None` if there is none.
pub(crate) fn length(path: &Path) -> Result<Option<u64>> {
    let Place { bucket, key } = bucket::place(path)?;
    match bucket::runtime()?.block_on(bucket.store.head(&key)) {
        Ok(meta) => Ok(Some(meta.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(bucket::describe("inspect", path, &error)),
    }
}

/// Removes an object.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let Place { bucket, key } = bucket::place(path)?;
    bucket::wait("remove", path, bucket.store.delete(&key))
}

/// Whether two URLs are one object.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    let both_urls = split(a).is_some() && split(b).is_some();
    both_urls && matches!((bucket::parts(a), bucket::parts(b)), (Ok(a), Ok(b)) if a == b)
}
