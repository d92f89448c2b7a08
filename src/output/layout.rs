//! 4 WRITE: every tensor of the output, where it lies and where its bytes come from.
//!
//! In: the original's tensors, the folds and their [`NormPlan`]s, the shifts. Out: a [`Layout`], shard by shard: a tensor
//! stays in the shard that held it, a new bias goes into its weight's. The order within a shard is the safetensors
//! library's: by element type, widest alignment first, then by name.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::NormPlan;
use crate::checkpoint::{Checkpoint, Dtype, Float, Metadata};
use crate::error::{Error, Result};
use crate::network::Fold;

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
    /// The folded weight of that fold.
    Folded {
        /// Index of the fold.
        fold: usize,
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

/// Where a folded weight is to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the shard.
    pub shard: usize,
    /// First byte, relative to the shard's data section.
    pub begin: u64,
}

impl Layout {
    /// Lays the output out. `shifts` holds one vector a fold; `stored_as` gives the element type that a float tensor takes
    /// in the output.
    pub fn new(
        checkpoint: &Checkpoint,
        folds: &[Fold],
        plans: &[NormPlan],
        shifts: &[Vec<f64>],
        stored_as: impl Fn(Float) -> Float,
    ) -> Result<Layout> {
        let mut contents = HashMap::new();
        let mut created = Vec::new();
        for (index, ((fold, plan), shift)) in folds.iter().zip(plans).zip(shifts).enumerate() {
            contents.insert(fold.weight.as_str(), Some((stored_as(fold.float), Content::Folded { fold: index })));
            contents.extend(plan.removed.iter().map(|name| (name.as_str(), None)));
            for (name, float, value) in &plan.constants {
                let values = vec![*value; shift.len()];
                contents.insert(name, Some((*float, Content::Bytes(float.narrow_all(&values)))));
            }
            let bytes = plan.shift_float.narrow_all(shift);
            if checkpoint.tensors().contains_key(&plan.shift_into) {
                contents.insert(&plan.shift_into, Some((plan.shift_float, Content::Bytes(bytes))));
            } else {
                created.push((fold, plan, bytes));
            }
        }
        let metadata = checkpoint.shards().iter().map(|shard| shard.metadata.clone());
        let mut shards = metadata.map(|metadata| ShardLayout { entries: Vec::new(), metadata }).collect::<Vec<_>>();
        for (name, tensor) in checkpoint.tensors() {
            let (dtype, content) = match contents.remove(name.as_str()) {
                Some(None) => continue,
                Some(Some((float, content))) => (float.dtype(), content),
                None => match tensor.dtype.float().map(|from| (from, stored_as(from))) {
                    Some((from, to)) if from != to => (to.dtype(), Content::Convert { from, to }),
                    _ => (tensor.dtype.clone(), Content::Copy),
                },
            };
            let bytes = match dtype.bits() {
                Some(bits) => tensor.elements() * bits / 8,
                None => tensor.bytes,
            };
            let entry = Entry { name: name.clone(), dtype, shape: tensor.shape.clone(), begin: 0, bytes, content };
            shards[tensor.shard].entries.push(entry);
        }
        let mut biases = BTreeMap::new();
        for (fold, plan, content) in created {
            biases.insert(fold.weight.clone(), plan.shift_into.clone());
            shards[checkpoint.tensor(&fold.weight)?.shard].entries.push(Entry {
                name: plan.shift_into.clone(),
                dtype: plan.shift_float.dtype(),
                shape: vec![fold.channels],
                begin: 0,
                bytes: content.len() as u64,
                content: Content::Bytes(content),
            });
        }
        shards.iter_mut().for_each(|shard| sort(&mut shard.entries));
        let layout = Layout { shards, created: biases };
        layout.check_names(checkpoint, folds)?;
        Ok(layout)
    }

    /// Every tensor's name and shard.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.shards
            .iter()
            .enumerate()
            .flat_map(|(shard, layout)| layout.entries.iter().map(move |entry| (shard, entry)))
    }

    /// Where the weights of so many folds go.
    pub fn places(&self, folds: usize) -> Vec<Place> {
        let mut places = vec![Place::default(); folds];
        for (shard, entry) in self.entries() {
            if let Content::Folded { fold } = entry.content {
                places[fold] = Place { shard, begin: entry.begin };
            }
        }
        places
    }

    /// No name may be given twice, in whatever shards.
    fn check_names(&self, checkpoint: &Checkpoint, folds: &[Fold]) -> Result<()> {
        let mut names = HashSet::with_capacity(checkpoint.tensors().len());
        match self.entries().find(|(_, entry)| !names.insert(entry.name.as_str())) {
            None => Ok(()),
            Some((_, twin)) => {
                let tensor = twin.name.clone();
                let fold = folds.iter().find(|fold| fold.bias == tensor);
                let norm = fold.map(|fold| fold.norm.name.clone()).unwrap_or_default();
                Err(Error::NameTaken { path: checkpoint.path().to_owned(), norm, tensor })
            }
        }
    }
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
