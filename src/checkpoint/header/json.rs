//! 1 READ, header: its JSON.
//!
//! In: the text. Out: its entries as they stand there, and the first key that comes twice, which the usual maps would drop
//! without a word. What the entries say is not judged here.

use std::collections::btree_map::Entry;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::checkpoint::Metadata;
use crate::text::shown;

/// The header, before any check but that for duplicate keys, which only a streaming visitor can see.
pub(super) struct RawHeader {
    pub(super) metadata: Option<Metadata>,
    pub(super) tensors: Vec<(String, RawEntry)>,
    pub(super) duplicate: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawEntry {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) data_offsets: (u64, u64),
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
                let mut header = RawHeader { metadata: None, tensors: Vec::new(), duplicate: None };
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA_KEY {
                        let entry = map
                            .next_value::<RawEntry>()
                            .map_err(|error| A::Error::custom(format_args!("tensor `{}`: {error}", shown(&name))))?;
                        header.tensors.push((name, entry));
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
                    if let Entry::Vacant(free) = strings.entry(key.clone()) {
                        free.insert(value);
                    } else {
                        twin.get_or_insert(key);
                    }
                }
                Ok(UniqueStrings(Some(strings), twin))
            }
        }
        deserializer.deserialize_map(StringsVisitor)
    }
}
