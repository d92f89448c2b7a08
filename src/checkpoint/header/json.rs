//! 1 READ, header: its JSON.
//!
//! In: the text. Out: its entries as they stand there, and the first key that comes twice, which the usual maps would drop
//! without a word. What the entries say is not judged here, but for their number: nothing is built of a header that holds
//! more than any model has.

use std::borrow::Cow;
use std::collections::btree_map;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Entry;
use super::limits::{METADATA_LIMIT, RANK_LIMIT, TENSOR_LIMIT};
use crate::checkpoint::{Dtype, Metadata};
use crate::text::shown;

/// The header, before any check but that for duplicate keys, which only a streaming visitor can see.
pub(super) struct RawHeader {
    pub(super) metadata: Option<Metadata>,
    pub(super) entries: Vec<Entry>,
    pub(super) duplicate: Option<String>,
}

/// A value of the header. It lives as long as its line: the type's name, which most tensors share, is not kept.
#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl RawEntry<'_> {
    fn named(self, name: String) -> Entry {
        let (RawEntry { dtype, shape: Shape(shape), .. }, (begin, end)) = (&self, self.data_offsets);
        Entry { name, dtype: Dtype::parse(dtype), shape: shape.as_slice().into(), begin, end }
    }
}

const METADATA_KEY: &str = "__metadata__";

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with one entry a tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { metadata: None, entries: Vec::new(), duplicate: None };
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA_KEY {
                        let entry = map
                            .next_value::<RawEntry<'de>>()
                            .map_err(|error| A::Error::custom(format_args!("tensor `{}`: {error}", shown(&name))))?;
                        header.entries.push(entry.named(name));
                        check_count("tensors", header.entries.len(), TENSOR_LIMIT)?;
                    } else if has_metadata {
                        map.next_value::<IgnoredAny>()?;
                        header.duplicate = Some(name);
                    } else {
                        has_metadata = true;
                        let UniqueStrings(metadata, twin) = map
                            .next_value::<Option<UniqueStrings>>()
                            .map_err(|error| A::Error::custom(format_args!("{METADATA_KEY}: {error}")))?
                            .unwrap_or_default();
                        header.metadata = metadata;
                        header.duplicate = header.duplicate.or(twin.map(|key| format!("{METADATA_KEY}.{key}")));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A map of strings to strings, and the first key that came twice.
#[derive(Default)]
struct UniqueStrings(Option<Metadata>, Option<String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringsVisitor;
        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = UniqueStrings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
                let (mut strings, mut twin) = (Metadata::new(), None);
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    match strings.entry(key) {
                        btree_map::Entry::Vacant(free) => _ = free.insert(value),
                        btree_map::Entry::Occupied(there) => _ = twin.get_or_insert_with(|| there.key().clone()),
                    }
                    check_count("keys", strings.len(), METADATA_LIMIT)?;
                }
                Ok(UniqueStrings(Some(strings), twin))
            }
        }
        deserializer.deserialize_map(StringsVisitor)
    }
}

/// A shape of no more dimensions than there may be.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    dims.push(dim);
                    check_count("dimensions", dims.len(), RANK_LIMIT)?;
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

fn check_count<E: serde::de::Error>(what: &str, count: usize, limit: usize) -> Result<(), E> {
    match count <= limit {
        true => Ok(()),
        false => Err(E::custom(format_args!("more than {limit} {what}, which no model has"))),
    }
}
