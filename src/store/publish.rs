//! STORE: finished files become objects, whole or not at all.
//!
//! In: local files and what they are to become. Out: the objects. Large files are uploaded in parts that nobody sees until
//! the upload is completed, and all parts of all files are there before the first is. Without `replace` an object that
//! exists stays: a small file is put on the condition that there is none (atomic where the store has such puts); before
//! a large one is completed the store is asked once more. In the moment between that question and the completion another
//! writer of the same name could be overtaken: the stores' library offers no condition there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::bucket::{self, Place};
use super::failure::failed;
use super::{Finished, Location, Object, Same, UrlProblem, length};
use crate::error::{Error, Result};

/// Up to here a file is put in one request.
const WHOLE: u64 = 32 << 20;

/// Bytes of a part; more for files that would need more parts than stores allow.
const PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 10_000;

/// Parts under way at a time.
const AT_ONCE: usize = 3;

/// Makes objects of `files`, the last one last. With `replace` they take the place of what is there; without it an object
/// that is the `same` stays.
pub(crate) fn publish(files: &[Finished<'_>], replace: bool, same: Same<'_>, cancelled: &AtomicBool) -> Result<()> {
    let is_same = |object: &Object| !replace && same.is_some_and(|same| same(&Location::Object(object.clone())));
    // Where others may upload the very same objects at the same time, they may count on them.
    let mut uploads = Uploads { waiting: VecDeque::new(), done: Vec::new(), take_back: !replace && same.is_none() };
    for &file in files.iter().filter(|file| !is_same(file.object)) {
        let place = writable(file.object)?;
        let parts = (file.bytes > WHOLE).then(|| upload_parts(file, &place, cancelled)).transpose()?;
        uploads.waiting.push_back(Upload { file, place, parts });
    }
    check_cancelled(cancelled)?;
    if let [_, .., index] = files
        && replace
        && length(index.object)?.is_some()
    {
        // An index must not describe other shards than those beside it, not even for a moment.
        super::remove(index.object)?;
    }
    while let Some(mut upload) = uploads.waiting.pop_front() {
        match upload.complete(replace) {
            Err(Error::OutputExists { .. }) if is_same(upload.file.object) => {}
            tag => uploads.done.push((upload.file.object, upload.place, tag?)),
        }
    }
    uploads.take_back = false;
    Ok(())
}

/// Whether objects can be written there at all.
pub(crate) fn check_writable(object: &Object) -> Result<()> {
    writable(object).map(drop)
}

/// The place of an object to be written.
fn writable(object: &Object) -> Result<Place> {
    let refused = |problem| Err(Error::Url { path: object.path().to_owned(), problem });
    if object.is_repository() {
        return refused(UrlProblem::RepositoryNotWritable);
    }
    let place = bucket::place(object)?;
    if place.bucket.lister.is_none() { refused(UrlProblem::NotWritable) } else { Ok(place) }
}

fn check_free(object: &Object) -> Result<()> {
    match length(object)? {
        Some(_) => Err(Error::OutputExists { path: object.path().to_owned() }),
        None => Ok(()),
    }
}

fn check_cancelled(cancelled: &AtomicBool) -> Result<()> {
    if cancelled.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Everything under way. Dropped before all is done, it takes back what it can.
struct Uploads<'a> {
    waiting: VecDeque<Upload<'a>>,
    done: Vec<(&'a Object, Place, Option<String>)>,
    take_back: bool,
}

struct Upload<'a> {
    file: Finished<'a>,
    place: Place,
    /// Its parts, if it has several; all are there.
    parts: Option<Parts>,
}

impl Upload<'_> {
    /// Makes it visible; returns its tag.
    fn complete(&mut self, replace: bool) -> Result<Option<String>> {
        let object = self.file.object;
        if let Some(parts) = &mut self.parts {
            if !replace {
                check_free(object)?;
            }
            let result = bucket::wait("finish the upload to", object, parts.upload.complete())?;
            parts.is_open = false;
            return Ok(result.e_tag);
        }
        let content = read(self.file, 0, self.file.bytes)?;
        let (store, key) = (&self.place.bucket.store, &self.place.key);
        let put = |mode: PutMode| store.put_opts(key, PutPayload::from(content.clone()), PutOptions::from(mode));
        let mode = if replace { PutMode::Overwrite } else { PutMode::Create };
        let result = match bucket::runtime()?.block_on(put(mode)) {
            // A store without conditional puts.
            Err(object_store::Error::NotImplemented { .. }) if !replace => {
                check_free(object)?;
                bucket::wait("upload", object, put(PutMode::Overwrite))?
            }
            put => put.map_err(failed("upload", object))?,
        };
        Ok(result.e_tag)
    }
}

impl Drop for Uploads<'_> {
    fn drop(&mut self) {
        for (object, place, tag) in self.done.drain(..).rev().filter(|_| self.take_back) {
            // Only what is still ours.
            let head = bucket::wait("inspect", object, place.bucket.store.head(&place.key));
            if tag.is_some() && head.is_ok_and(|head| head.e_tag == tag) {
                let _ = super::remove(object);
            }
        }
    }
}

/// A large object under way; dropped before it is complete, its parts are removed.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    under_way: VecDeque<Part>,
    is_open: bool,
}

/// A part on its way.
type Part = tokio::task::JoinHandle<object_store::Result<()>>;

impl Drop for Parts {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.is_open, bucket::runtime()) {
            // A part that arrives after the end would stay, and cost.
            self.under_way.drain(..).for_each(|part| drop(runtime.block_on(part)));
            let _ = runtime.block_on(self.upload.abort());
        }
    }
}

fn upload_parts(file: Finished<'_>, place: &Place, cancelled: &AtomicBool) -> Result<Parts> {
    let runtime = bucket::runtime()?;
    let upload = bucket::wait("upload", file.object, place.bucket.store.put_multipart(&place.key))?;
    let mut parts = Parts { upload, under_way: VecDeque::new(), is_open: true };
    let size = PART.max(file.bytes.div_ceil(MOST_PARTS));
    for number in 0..file.bytes.div_ceil(size) {
        wait_until(AT_ONCE - 1, &mut parts.under_way, file.object)?;
        check_cancelled(cancelled)?;
        let from = number * size;
        let content = read(file, from, size.min(file.bytes - from))?;
        let part = runtime.spawn(parts.upload.put_part(content.into()));
        parts.under_way.push_back(part);
    }
    wait_until(0, &mut parts.under_way, file.object)?;
    Ok(parts)
}

/// Waits until no more than `most` parts are on their way.
fn wait_until(most: usize, under_way: &mut VecDeque<Part>, object: &Object) -> Result<()> {
    while under_way.len() > most {
        let Some(part) = under_way.pop_front() else { break };
        bucket::wait("upload", object, async { part.await.unwrap_or_else(|panic| Err(panic.into())) })?;
    }
    Ok(())
}

/// Reads a range of the local file.
fn read(Finished { object, mut file, .. }: Finished<'_>, from: u64, bytes: u64) -> Result<Vec<u8>> {
    let read = |file: &mut &File| {
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| std::io::ErrorKind::OutOfMemory)?];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut content)?;
        Ok(content)
    };
    read(&mut file).map_err(Error::io("read what is to be uploaded to", object.path()))
}
