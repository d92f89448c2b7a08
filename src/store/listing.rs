//! STORE: what is in a bucket.
//!
//! In: objects. Out: everything below one, the length of an object, its removal.

use std::path::Path;

use object_store::ObjectStoreExt;
use object_store::list::PaginatedListOptions;

use super::bucket::{self, Place};
use super::failure::describe;
use super::{Listed, Object, UrlProblem};
use crate::error::{Error, Result};

/// All objects below `folder`, by name.
pub(crate) fn list(folder: &Object) -> Result<Vec<Listed>> {
    let Place { bucket, key } = bucket::place(folder)?;
    let Some(lister) = bucket.lister else {
        return Err(Error::Url { path: folder.path().to_owned(), problem: UrlProblem::NotListable });
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
                all.push(Listed { object: folder.join(Path::new(within)), bytes: object.size });
            }
        }
        page_token = page.page_token;
        if page_token.is_none() {
            break;
        }
    }
    all.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(all)
}

/// The length of an object, `None` if there is none.
pub(crate) fn length(object: &Object) -> Result<Option<u64>> {
    let Place { bucket, key } = bucket::place(object)?;
    match bucket::runtime()?.block_on(bucket.store.head(&key)) {
        Ok(meta) => Ok(Some(meta.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(describe("inspect", object, &error)),
    }
}

/// Removes an object.
pub(crate) fn remove(object: &Object) -> Result<()> {
    let Place { bucket, key } = bucket::place(object)?;
    bucket::wait("remove", object, bucket.store.delete(&key))
}

/// Whether two URLs are one object.
pub(crate) fn is_same(a: &Object, b: &Object) -> bool {
    matches!((bucket::parts(a), bucket::parts(b)), (Ok(a), Ok(b)) if a == b)
}
