//! STORE: one object, read by position.
//!
//! In: an object. Out: bytes at an offset, from several threads. The first request brings the length and the beginning, where
//! a checkpoint's header is. Every later one asks for the same version of the object and is held against the first, so
//! that bytes of two versions never mix.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt};

use super::Object;
use super::blocks::{self, BLOCK};
use super::bucket::{self, Place};
use super::failure::describe;
use crate::error::{Error, Result};

/// Bytes that the first request asks for: most headers fit.
const HEAD: u64 = 64 << 10;

/// An object as it was when it was opened.
#[derive(Debug)]
pub(crate) struct OpenObject {
    object: Object,
    opened: Arc<Opened>,
    head: Vec<u8>,
    /// Its number in the cache.
    id: u64,
}

/// Where it is and which version is meant.
#[derive(Debug)]
struct Opened {
    place: Place,
    meta: ObjectMeta,
}

impl OpenObject {
    pub(crate) fn open(object: &Object) -> Result<OpenObject> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let place = bucket::place(object)?;
        let (meta, head) = bucket::wait("read", object, beginning(&place))?;
        let opened = Arc::new(Opened { place, meta });
        Ok(OpenObject { object: object.clone(), opened, head, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.opened.meta.size
    }

    pub(crate) fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.bytes() {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(Error::Io { action: "read", path: self.object.path().to_owned(), source });
        }
        if end <= self.head.len() as u64 {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            buffer.copy_from_slice(&self.head[from..][..buffer.len()]);
            return Ok(());
        }
        while !buffer.is_empty() {
            let read = self.read_block(offset, buffer)?;
            buffer = &mut buffer[read..];
            offset += read as u64;
        }
        Ok(())
    }

    /// Reads what one block holds of the bytes from `offset` on.
    fn read_block(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let number = offset / BLOCK;
        let fetch = |number: u64| {
            let opened = Arc::clone(&self.opened);
            async move { opened.fetch(number * BLOCK..((number + 1) * BLOCK).min(opened.meta.size)).await }
        };
        let block = blocks::get(self.id, number, self.bytes().div_ceil(BLOCK), fetch)?;
        let bytes = block.wait().as_ref().map_err(|error| {
            blocks::forget(self.id, number);
            describe("read", &self.object, error)
        })?;
        let from = usize::try_from(offset % BLOCK).unwrap_or(usize::MAX);
        let available = bytes.get(from..).unwrap_or_default();
        let read = available.len().min(buffer.len());
        if read == 0 {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(Error::Io { action: "read", path: self.object.path().to_owned(), source });
        }
        buffer[..read].copy_from_slice(&available[..read]);
        Ok(read)
    }

    /// Fails if it is another object by now. A byte is asked for rather than the head: signed URLs allow nothing else.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match self.bytes() {
            0 => Ok(()),
            _ => bucket::wait("read", &self.object, self.opened.fetch(0..1)).map(drop),
        }
    }
}

impl Drop for OpenObject {
    fn drop(&mut self) {
        blocks::forget_all(self.id);
    }
}

impl Opened {
    async fn fetch(&self, range: std::ops::Range<u64>) -> object_store::Result<Vec<u8>> {
        // A weak tag cannot be asked for, only compared.
        let if_match = self.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let expected = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match, ..GetOptions::default() };
        let got = self.place.bucket.store.get_opts(&self.place.key, options).await?;
        // Servers may pass over the condition.
        if !is_same(&self.meta, &got.meta) {
            let (path, source) = (self.place.key.to_string(), "another version was sent".into());
            return Err(object_store::Error::Precondition { path, source });
        }
        let bytes = Vec::from(got.bytes().await?);
        match bytes.len() as u64 == expected {
            true => Ok(bytes),
            false => Err(object_store::Error::Generic {
                store: "object store",
                source: format!("{} of {expected} bytes were sent", bytes.len()).into(),
            }),
        }
    }
}

/// What the object is, and its first bytes.
async fn beginning(place: &Place) -> object_store::Result<(ObjectMeta, Vec<u8>)> {
    let store = &place.bucket.store;
    let options = GetOptions { range: Some(GetRange::Bounded(0..HEAD)), ..GetOptions::default() };
    match store.get_opts(&place.key, options).await {
        Ok(got) => {
            let meta = got.meta.clone();
            Ok((meta, Vec::from(got.bytes().await?)))
        }
        // No range lies in an empty object.
        Err(error @ object_store::Error::Generic { .. }) => match store.head(&place.key).await {
            Ok(meta) if meta.size == 0 => Ok((meta, Vec::new())),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether both are the same version of one object.
fn is_same(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let by_tag = a.e_tag.is_some() || b.e_tag.is_some();
    a.size == b.size && if by_tag { a.e_tag == b.e_tag } else { a.last_modified == b.last_modified }
}
