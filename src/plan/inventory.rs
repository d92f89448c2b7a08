//! 2 PLAN: what the planner sees of a checkpoint: its norms and the weights that could feed them.
//!
//! In: names, dtypes and shapes. Out: an [`Inventory`]. Recognition is by name alone, through the dialect table; whether
//! a weight really feeds a norm is the pairing's business.

use std::collections::{BTreeMap, BTreeSet};

use super::Op;
use super::companion::Companions;
use super::dialect::{COLLECTIONS, DIALECTS, Dialect, SUFFIXES, WeightName};
use super::norms::Names;
use crate::checkpoint::{Checkpoint, Dtype, Metadata, Tensor};
use crate::fold::layout::{Axis, ChannelMap};

/// A batch norm: a module that holds a running mean and a running variance, or what is left of one that has lost either.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// The module's path, as the file spells it.
    pub name: String,
    /// Whose conventions it follows.
    pub dialect: &'static Dialect,
    /// Length of its statistics.
    pub channels: u64,
    /// Tensor of the scale, if there is one.
    pub gamma: Option<String>,
    /// Tensor of the shift, if there is one.
    pub beta: Option<String>,
    /// Tensor of the running mean, or the name it would have.
    pub mean: String,
    /// Tensor of the running variance, or the name it would have.
    pub var: String,
    /// Which of these two is not in the file; such a norm has a defect.
    pub missing: Option<String>,
    /// Other tensors of the norm that go with it.
    pub spare: Vec<String>,
    /// Why it can never be folded, whatever feeds it.
    pub defect: Option<String>,
}

impl Norm {
    /// Every tensor of the file that belongs to the norm.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        let missing = self.missing.as_ref();
        [self.gamma.as_ref(), self.beta.as_ref(), Some(&self.mean), Some(&self.var)]
            .into_iter()
            .flatten()
            .filter(move |&tensor| Some(tensor) != missing)
            .chain(&self.spare)
            .map(String::as_str)
    }
}

/// A weight of two or more dimensions that could feed a norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// The tensor.
    pub tensor: String,
    /// The module's path, as the file spells it.
    pub module: String,
    /// Which row of the dialect table it matched.
    pub kind: &'static WeightName,
    /// Whose conventions it follows.
    pub dialect: &'static Dialect,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// The bias tensor beside it, existing or to be created.
    pub bias: String,
    /// Whether that tensor exists.
    pub bias_exists: bool,
    /// Its length, if it exists and has one axis: as many as the layer has output channels.
    pub bias_channels: Option<u64>,
    /// Whether `__metadata__` says that other names mean this very tensor.
    pub aliased: bool,
    /// Another tensor that takes part in the layer's computation in a way that is not known (see
    /// `companion`).
    pub companion: Option<String>,
}

impl Weight {
    /// Where the output channels lie if the weight is an `op`.
    pub fn axis(&self, op: Op) -> Option<Axis> {
        match op {
            Op::Linear => self.kind.linear,
            Op::Conv => self.kind.conv,
            Op::ConvTranspose => self.kind.conv_transpose,
            Op::Depthwise => self.kind.depthwise,
        }
    }

    /// Every kind of layer that this weight can be if it puts out `channels` channels, with its channel map.
    pub fn producers(&self, channels: u64) -> Vec<(Op, ChannelMap)> {
        let ops: &[Op] = match self.shape.len() {
            2 => &[Op::Linear],
            // Where two have the same channel map, the plainer one comes first.
            _ => &[Op::Conv, Op::Depthwise, Op::ConvTranspose],
        };
        ops.iter().filter_map(|&op| Some((op, ChannelMap::new(self.axis(op)?, &self.shape, channels)?))).collect()
    }
}

/// Everything the pairing looks at. Order is by name, so that equal files give equal plans.
#[derive(Debug, Default)]
pub struct Inventory {
    /// All norms.
    pub norms: Vec<Norm>,
    /// All weights that could feed one.
    pub weights: Vec<Weight>,
}

impl Inventory {
    /// Lists the norms and weights of a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Inventory {
        let metadata = checkpoint.shards().iter().filter_map(|shard| shard.metadata.as_ref()).collect::<Vec<_>>();
        Inventory::new(checkpoint.tensors(), &metadata)
    }

    /// The dialect most of the norms follow; `None` without norms.
    pub fn dialect(&self) -> Option<&'static str> {
        dialects_of(&self.norms).first().map(|dialect| dialect.name)
    }

    /// The same from a table of tensors: a pure function of names, dtypes, shapes and metadata.
    pub fn new(tensors: &BTreeMap<String, Tensor>, metadata: &[&Metadata]) -> Inventory {
        let format = metadata.iter().find_map(|m| m.get("format")).map(String::as_str);
        let names = Names::new(tensors);
        let mut norms = names.norms(format);
        // safetensors' `save_model` drops all but one of the tensors that share memory and records `dropped = kept`.
        let aliased = metadata
            .iter()
            .flat_map(|m| m.iter())
            .filter(|(alias, kept)| !tensors.contains_key(*alias) && tensors.contains_key(*kept))
            .map(|(_, kept)| kept.as_str())
            .collect::<BTreeSet<_>>();
        for norm in &mut norms {
            let shared = norm.tensors().find(|tensor| aliased.contains(tensor)).map(str::to_owned);
            norm.defect = norm.defect.take().or(shared.map(|tensor| {
                format!("`{tensor}` is used under other names too, so that the norm stands in several places")
            }));
        }
        let taken = norms.iter().flat_map(Norm::tensors).collect::<BTreeSet<_>>();
        let dialects = dialects_of(&norms);
        let companions = Companions::of(tensors, &taken, &dialects);
        let weights = tensors
            .iter()
            .filter(|(name, tensor)| tensor.shape.len() >= 2 && !taken.contains(name.as_str()))
            .filter_map(|(name, tensor)| {
                let (dialect, kind, module) = dialects.iter().find_map(|dialect| {
                    let (kind, module) =
                        dialect.weights.iter().find_map(|kind| Some((kind, split(name, kind.name)?)))?;
                    Some((*dialect, kind, module))
                })?;
                let bias = rename(name, kind.name, kind.bias)?;
                Some(Weight {
                    tensor: name.clone(),
                    module,
                    kind,
                    dialect,
                    dtype: tensor.dtype.clone(),
                    shape: tensor.shape.clone(),
                    bias_exists: tensors.contains_key(&bias),
                    bias_channels: tensors
                        .get(&bias)
                        .and_then(|bias| <[u64; 1]>::try_from(&bias.shape[..]).ok())
                        .map(|[n]| n),
                    bias,
                    aliased: aliased.contains(name.as_str()),
                    companion: companions.of_weight(&plain(name)),
                })
            })
            .collect();
        Inventory { norms, weights }
    }
}

/// The dialects that occur, most frequent first. Whole norms tell them; parts of norms only where there is nothing else.
fn dialects_of(norms: &[Norm]) -> Vec<&'static Dialect> {
    let parts_only = norms.iter().all(|norm| norm.missing.is_some());
    let counts = |norm: &&Norm| parts_only || norm.missing.is_none();
    let count =
        |dialect: &Dialect| norms.iter().filter(counts).filter(|norm| norm.dialect.name == dialect.name).count();
    let mut found = DIALECTS.iter().filter(|dialect| count(dialect) > 0).collect::<Vec<_>>();
    found.sort_by_key(|dialect| std::cmp::Reverse(count(dialect)));
    found
}

/// A tensor's name without decorations and collection, `/` between segments: equal for all tensors of one module.
pub(super) fn plain(name: &str) -> String {
    let bare = SUFFIXES.iter().fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
    let bare = COLLECTIONS
        .iter()
        .find_map(|collection| bare.strip_prefix(collection)?.strip_prefix(['/', '.']))
        .unwrap_or(bare);
    bare.replace('.', "/")
}

/// The module's path as the file spells it, if `name` ends in `pattern`.
pub(super) fn split(name: &str, pattern: &str) -> Option<String> {
    let (begin, end) = find(name, pattern)?;
    let path = name[..begin].strip_suffix(['/', '.']).unwrap_or(&name[..begin]);
    debug_assert!(end <= name.len(), "a match lies within the name");
    Some(
        COLLECTIONS
            .iter()
            .find_map(|collection| path.strip_prefix(collection)?.strip_prefix(['/', '.']))
            .unwrap_or(path)
            .to_owned(),
    )
}

/// `name` with `pattern` at its end replaced, decorations kept.
pub(super) fn rename(name: &str, pattern: &str, with: &str) -> Option<String> {
    let (begin, end) = find(name, pattern)?;
    Some(format!("{}{with}{}", &name[..begin], &name[end..]))
}

/// Where `pattern` stands in `name`: at its end but for decorations, as whole segments.
pub(super) fn find(name: &str, pattern: &str) -> Option<(usize, usize)> {
    let end = SUFFIXES.iter().fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name)).len();
    let begin = end.checked_sub(pattern.len())?;
    let tail = name.get(begin..end)?;
    let same = tail.chars().zip(pattern.chars()).all(|(a, b)| a == b || (b == '/' && a == '.'));
    let whole = begin == 0 || name[..begin].ends_with(['/', '.']);
    (same && whole).then_some((begin, end))
}
