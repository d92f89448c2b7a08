//! 4 WRITE: the index of a sharded output.
//!
//! In: the original's index, the layout, the folded layers. Out: its text: the weight map without the tensors that are gone and
//! with the new biases, sizes and counts brought up to date, everything else in its place and as it was written. Indented
//! by two spaces and ended with a line feed, as the Hugging Face libraries write it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::ser::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::Layout;
use crate::checkpoint::{Checkpoint, Index, Part};
use crate::fold::FoldedLayer;
use crate::json::parse;

/// The text of the index of the output that is laid out as `layout`.
pub(super) fn index_text(
    checkpoint: &Checkpoint,
    index: &Index,
    layout: &Layout,
    layers: &[FoldedLayer<'_>],
) -> serde_json::Result<Vec<u8>> {
    let figures = Figures::new(checkpoint, layout, layers);
    let parts = index.parts.iter().map(|(key, part)| {
        let part = match part {
            Part::WeightMap => Written::WeightMap(Object(weight_map(index, layout))),
            Part::Metadata(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.as_str(), figures.updated(key, value)));
                Written::Metadata(Object(entries.collect()))
            }
            Part::Other(value) => Written::Other(value),
        };
        (key.as_str(), part)
    });
    let mut text = serde_json::to_vec_pretty(&Object(parts.collect()))?;
    text.push(b'\n');
    Ok(text)
}

/// The tensors of the output and the names of the shards that the layout puts them in: in the order of the original, a
/// new bias in its sorted place if that order is sorted, and after its weight if it is not.
fn weight_map<'a>(index: &'a Index, layout: &'a Layout) -> Vec<(&'a str, &'a str)> {
    let places = layout.entries().map(|(shard, entry)| (entry.name.as_str(), index.shards()[shard].as_str()));
    let places = places.collect::<BTreeMap<_, _>>();
    let names = index.weights().iter().map(|(name, _)| name);
    let names = names.flat_map(|name| std::iter::once(name).chain(layout.created.get(name)));
    let mut map = names
        .filter_map(|name| places.get_key_value(name.as_str()))
        .map(|(&name, &shard)| (name, shard))
        .collect::<Vec<_>>();
    if index.weights().is_sorted_by_key(|(name, _)| name) {
        map.sort_unstable();
    }
    map
}

/// What an index counts, before and after.
struct Figures {
    /// Bytes of all tensors of the output.
    bytes: u64,
    /// Elements of all tensors.
    elements: Change,
    /// Elements of what is trained and goes or is created: gammas, betas and biases, but no running statistics.
    trained: Change,
}

struct Change {
    before: u64,
    after: u64,
}

impl Figures {
    fn new(checkpoint: &Checkpoint, layout: &Layout, layers: &[FoldedLayer<'_>]) -> Figures {
        // A shape of a type that is not known may be beyond counting.
        let before = checkpoint.tensors().values().fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements()));
        let (mut bytes, mut elements, mut names) = (0, 0u64, BTreeSet::new());
        for (_, entry) in layout.entries() {
            bytes += entry.bytes;
            elements = elements.saturating_add(entry.shape.iter().fold(1, |product, &dim| product.saturating_mul(dim)));
            names.insert(entry.name.as_str());
        }
        let norms = layers.iter().map(|layer| &layer.fold.norm);
        let affine = norms.flat_map(|norm| [&norm.gamma, &norm.beta].into_iter().flatten());
        let gone = affine.filter_map(|name| checkpoint.tensors().get(name).filter(|_| !names.contains(name.as_str())));
        let created = layers.iter().map(|layer| layer.fold).filter(|fold| layout.created.contains_key(&fold.weight));
        Figures {
            bytes,
            elements: Change { before, after: elements },
            trained: Change {
                before: gone.map(|tensor| tensor.elements()).sum(),
                after: created.map(|fold| fold.channels).sum(),
            },
        }
    }

    /// An entry of the index's `metadata` as it is to be written; what is no number is left alone.
    fn updated<'a>(&self, key: &str, value: &'a RawValue) -> Cow<'a, RawValue> {
        let updated = match key {
            "total_size" => like(value, |_| Some(self.bytes)),
            "total_parameters" => like(value, |count| self.parameters(count)),
            _ => None,
        };
        updated.map_or(Cow::Borrowed(value), Cow::Owned)
    }

    /// What was a count of parameters: transformers counts what is trained, tensors that share memory once. So the count
    /// is changed by what came and went, unless it plainly is the number of all elements.
    fn parameters(&self, count: u64) -> Option<u64> {
        let Change { before, after } = if count == self.elements.before { &self.elements } else { &self.trained };
        count.checked_sub(*before)?.checked_add(*after)
    }
}

/// A number in the form that `value` has (integer, float, or text); `new` gives it from the old one.
fn like(value: &RawValue, new: impl Fn(u64) -> Option<u64>) -> Option<Box<RawValue>> {
    let text = value.get();
    if let Ok(old) = text.parse::<u64>() {
        return to_raw_value(&new(old)?).ok();
    }
    if let Ok(old) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        return to_raw_value(&(new(old as u64)? as f64)).ok();
    }
    let old = parse::<String>(text.as_bytes()).ok()?.parse::<u64>().ok()?;
    to_raw_value(&new(old)?.to_string()).ok()
}

/// A value of the new index.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Written<'a> {
    WeightMap(Object<'a, &'a str>),
    Metadata(Object<'a, Cow<'a, RawValue>>),
    Other(&'a RawValue),
}

/// An object whose entries keep their order.
struct Object<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for Object<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
