//! 1 READ, index: a JSON object whose order counts and whose keys must differ.
//!
//! In: text. Out: entries, in the order of the file, or what is wrong with it.

use std::collections::HashSet;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

use super::IndexProblem;
use crate::checkpoint::TENSOR_LIMIT;
use crate::json::parse;

/// The entries of a JSON object in order, or what is wrong with it; no key may come twice. `part` is what the object is
/// within the index, empty for all of it.
pub(super) fn object<T: DeserializeOwned>(text: &[u8], part: &str) -> Result<Vec<(String, T)>, IndexProblem> {
    let Entries(entries) = parse(text).map_err(|error| IndexProblem::Json {
        reason: match part {
            "" => error.to_string(),
            // It was parsed apart.
            part => format!("in its {part}, lines counted from there: {error}"),
        },
    })?;
    let mut keys = HashSet::with_capacity(entries.len());
    match entries.iter().find(|(key, _)| !keys.insert(key.as_str())) {
        Some((twin, _)) => Err(IndexProblem::Duplicate { name: twin.clone() }),
        None => Ok(entries),
    }
}

/// The entries of an object, twins included: serde's own maps keep the last one without a word.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object, in `weight_map` one of tensor names and shard names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                    if entries.len() > TENSOR_LIMIT {
                        return Err(A::Error::custom(format_args!(
                            "more than {TENSOR_LIMIT} keys, which no model has"
                        )));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}
