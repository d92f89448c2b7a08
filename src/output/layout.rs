//! 4 WRITE: every tensor of the output, where it lies and where its bytes come from.
//!
//! In: the original's tensors, the folded layers with their shifts. Out: a [`Layout`], shard by shard: a tensor stays in
//! the shard that held it, a new bias goes into its weight's. The order within a shard is the safetensors library's: by
//! element type, widest alignment first, then by name.

use std::collections::{BTreeMap, HashSet};

use super::norm_tensors::{Change, changes};
use crate::checkpoint::{Checkpoint, Dtype, Float, Metadata, Tensor};
use crate::error::{Error, Result};
use crate::fold::{FoldedLayer, Place, Storage};

/// One tensor of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// First byte, relative to the data section.
    pub begin: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Where its bytes come from.
    pub content: Content,
}

/// Where a tensor's bytes come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// The tensor of that name, byte for byte.
    Copy,
    /// The tensor of that name, converted between float types.
    Convert {
        /// Stored type.
        from: Float,
        /// Type in the output.
        to: Float,
    },
    /// The folded weight of a layer.
    Folded {
        /// Number of the layer.
        layer: usize,
    },
    /// These bytes.
    Bytes(Vec<u8>),
}

/// The output before it is written.
#[derive(Debug)]
pub struct Layout {
    /// Its files, numbered as [`Checkpoint::shards`].
    pub shards: Vec<ShardLayout>,
    /// Biases that the original does not have, by the weight they belong to.
    pub created: BTreeMap<String, String>,
}

/// One file of the output.
#[derive(Debug)]
pub struct ShardLayout {
    /// Tensors in file order.
    pub entries: Vec<Entry>,
    /// The header's `__metadata__`.
    pub metadata: Option<Metadata>,
}

impl ShardLayout {
    /// Length of the data section.
    pub fn data_bytes(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.begin + entry.bytes)
    }
}

impl Layout {
    /// Lays out the result of folding `layers`, whose shifts are computed.
    pub fn new(checkpoint: &Checkpoint, layers: &[FoldedLayer<'_>], storage: Storage) -> Result<Layout> {
        let changes = changes(layers);
        let metadata = checkpoint.shards().iter().map(|shard| shard.metadata.clone());
        let mut shards = metadata.map(|metadata| ShardLayout { entries: Vec::new(), metadata }).collect::<Vec<_>>();
        for (name, tensor) in checkpoint.tensors() {
            let entry = Entry::of(name, tensor, changes.get(name.as_str()), storage);
            shards[tensor.shard].entries.extend(entry);
        }
        let mut created = BTreeMap::new();
        for layer in layers.iter().filter(|layer| !checkpoint.tensors().contains_key(&layer.norm.shift_into)) {
            created.insert(layer.fold.weight.clone(), layer.norm.shift_into.clone());
            shards[checkpoint.tensor(&layer.fold.weight)?.shard].entries.push(Entry::new_bias(layer));
        }
        shards.iter_mut().for_each(|shard| sort(&mut shard.entries));
        let layout = Layout { shards, created };
        layout.check_names(checkpoint, layers)?;
        Ok(layout)
    }

    /// Every tensor's name and shard.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.shards
            .iter()
            .enumerate()
            .flat_map(|(shard, layout)| layout.entries.iter().map(move |entry| (shard, entry)))
    }

    /// Tells each of the `layers` that the output was laid out for where its weight goes.
    pub fn place(&self, layers: &mut [FoldedLayer<'_>]) {
        for (shard, entry) in self.entries() {
            if let Content::Folded { layer } = entry.content {
                layers[layer].place = Place { shard, begin: entry.begin };
            }
        }
    }

    /// No name may be given twice, in whatever shards.
    fn check_names(&self, checkpoint: &Checkpoint, layers: &[FoldedLayer<'_>]) -> Result<()> {
        let mut names = HashSet::with_capacity(checkpoint.tensors().len());
        match self.entries().find(|(_, entry)| !names.insert(entry.name.as_str())) {
            None => Ok(()),
            Some((_, twin)) => {
                let tensor = twin.name.clone();
                let layer = layers.iter().find(|layer| layer.fold.bias == tensor);
                let norm = layer.map(|layer| layer.fold.norm.name.clone()).unwrap_or_default();
                Err(Error::NameTaken { path: checkpoint.path().to_owned(), norm, tensor })
            }
        }
    }
}

impl Entry {
    /// The tensor `name` of the original after its `change`, its place still to be found; `None` if it goes.
    fn of(name: &str, tensor: &Tensor, change: Option<&Change<'_>>, storage: Storage) -> Option<Entry> {
        let stored = tensor.dtype.float();
        let (dtype, content) = match change {
            Some(Change::Remove) => return None,
            Some(Change::Fold(layer, folded)) => (folded.float.dtype(), Content::Folded { layer: *layer }),
            Some(Change::Shift(layer)) => (layer.norm.shift_float.dtype(), Content::Bytes(shift_bytes(layer))),
            Some(Change::Fill(value)) => {
                let float = storage.float(stored.unwrap_or(Float::F32));
                let values = vec![*value; usize::try_from(tensor.elements()).unwrap_or(usize::MAX)];
                (float.dtype(), Content::Bytes(float.narrow_all(&values)))
            }
            None => match stored.map(|from| (from, storage.float(from))) {
                Some((from, to)) if from != to => (to.dtype(), Content::Convert { from, to }),
                _ => (tensor.dtype.clone(), Content::Copy),
            },
        };
        let bytes = match dtype.bits() {
            Some(bits) => tensor.elements() * bits / 8,
            None => tensor.bytes,
        };
        Some(Entry { name: name.to_owned(), dtype, shape: tensor.shape.clone(), begin: 0, bytes, content })
    }

    /// The bias that takes the shift of a layer without one.
    fn new_bias(layer: &FoldedLayer<'_>) -> Entry {
        let bytes = shift_bytes(layer);
        Entry {
            name: layer.norm.shift_into.clone(),
            dtype: layer.norm.shift_float.dtype(),
            shape: vec![layer.fold.channels],
            begin: 0,
            bytes: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }
}

fn shift_bytes(layer: &FoldedLayer<'_>) -> Vec<u8> {
    layer.norm.shift_float.narrow_all(&layer.shift)
}

/// Puts entries into the library's order and gives each its place.
fn sort(entries: &mut [Entry]) {
    // Unknown types follow the known ones: their alignment is unknown too.
    let rank = |dtype: &Dtype| match dtype {
        Dtype::Known(known) => (0, std::cmp::Reverse(Some(*known))),
        Dtype::Unknown(_) => (1, std::cmp::Reverse(None)),
    };
    entries.sort_by(|a, b| rank(&a.dtype).cmp(&rank(&b.dtype)).then_with(|| a.name.cmp(&b.name)));
    let mut begin = 0;
    for entry in entries {
        entry.begin = begin;
        begin += entry.bytes;
    }
}
