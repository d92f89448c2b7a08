//! 6 REPORT: what a checkpoint is, and, of a result of this program, how it was made.
//!
//! In: an open checkpoint; only headers are read. Out: an [`Info`], for programs or people.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::fold::Style;
use crate::network::Inventory;
use crate::output::{Figures, Record, SAMPLED};
use crate::text::{bytes, counted, shown};

/// What the headers of a checkpoint say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info<'c> {
    /// The file, or the index of a sharded checkpoint.
    pub input: String,
    /// Its `.safetensors` files.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
    /// Tensors and their bytes by element type.
    pub dtypes: BTreeMap<String, Tensors>,
    /// The dialect that most of its norms follow.
    pub dialect: Option<&'static str>,
    /// Batch norms.
    pub norms: usize,
    /// Weights that could feed one.
    pub weights: usize,
    /// Metadata, but for what this program put there.
    pub metadata: BTreeMap<&'c str, &'c str>,
    /// How it was made, if it is a result of this program that says so.
    pub made: Option<Made>,
}

/// Tensors of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tensors {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a result was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// Where it comes from: the version, hashes of the original and of the options.
    #[serde(flatten)]
    pub record: Record,
    /// Norms, eps and errors.
    pub figures: Option<Figures>,
}

impl Info<'_> {
    /// What the headers of `checkpoint` say.
    pub fn of(checkpoint: &Checkpoint) -> Info<'_> {
        let network = Inventory::of(checkpoint);
        let mut dtypes: BTreeMap<String, Tensors> = BTreeMap::new();
        for tensor in checkpoint.tensors().values() {
            let of_type = dtypes.entry(tensor.dtype.to_string()).or_default();
            of_type.count += 1;
            of_type.bytes += tensor.bytes;
        }
        let metadata = checkpoint.shards().iter().filter_map(|shard| shard.metadata.as_ref()).flatten();
        let is_ours = |key: &str| key.starts_with(crate::output::KEY);
        let metadata = metadata.filter(|(key, _)| !is_ours(key)).map(|(key, value)| (key.as_str(), value.as_str()));
        let figures = Figures::of_result(checkpoint);
        Info {
            input: checkpoint.path().to_string_lossy().into_owned(),
            files: checkpoint.shards().len(),
            bytes: checkpoint.bytes(),
            dtypes,
            dialect: network.dialect(),
            norms: network.norms.len(),
            weights: network.weights.len(),
            metadata: metadata.collect(),
            made: Record::of_result(checkpoint).map(|record| Made { record, figures }),
        }
    }
}

impl Display for Info<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors = self.dtypes.values().map(|tensors| tensors.count).sum::<u64>();
        let tensors = counted(usize::try_from(tensors).unwrap_or(usize::MAX), "tensor");
        let files = if self.files == 1 { String::new() } else { format!(" in {}", counted(self.files, "file")) };
        writeln!(f, "{}: {tensors}, {}{files}", shown(&self.input), bytes(self.bytes))?;
        for (dtype, Tensors { count, bytes: size }) in &self.dtypes {
            writeln!(f, "  {:<10} {count} x, {}", shown(dtype), bytes(*size))?;
        }
        match self.dialect {
            None => writeln!(f, "  no batch norm")?,
            Some(dialect) => {
                let (norms, weights) = (counted(self.norms, "batch norm"), counted(self.weights, "weight"));
                writeln!(f, "  {norms}, {weights} that could feed one, dialect {dialect}")?;
            }
        }
        for (key, value) in &self.metadata {
            let value = value.chars().take(MOST_SHOWN).collect::<String>();
            writeln!(f, "  metadata {}: {}", shown(key), shown(&value))?;
        }
        match &self.made {
            Some(made) => write!(f, "{made}"),
            None => Ok(()),
        }
    }
}

/// Characters of a value that are shown to people.
const MOST_SHOWN: usize = 100;

impl Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Made { record: Record { version, source, options }, figures } = self;
        writeln!(f, "  folded by bnfold-gpu {}", shown(version))?;
        let (source, of) = source.strip_prefix(SAMPLED).map_or((source.as_str(), ""), |hash| (hash, " of a sample"));
        writeln!(f, "    original, BLAKE3{of}: {}", shown(source))?;
        writeln!(f, "    options, BLAKE3: {}", shown(options))?;
        let Some(Figures { style, folded, kept, eps, worst_ulp, worst_shift_ulp }) = figures else { return Ok(()) };
        let style = match style {
            Some(Style::Strip) => ", style strip",
            Some(Style::DropIn) => ", style drop-in",
            None => "",
        };
        writeln!(f, "    {folded} of {} folded{style}", counted(folded + kept, "norm"))?;
        for used in eps {
            writeln!(f, "    eps {:e} ({}) for {}", used.eps, shown(&used.source), counted(used.norms, "norm"))?;
        }
        match (worst_ulp, worst_shift_ulp) {
            (Some(weight), Some(shift)) => {
                let (weight, shift) = (shown(weight), shown(shift));
                writeln!(
                    f,
                    "    verified: weights within {weight} ulp, biases within {shift} ulp of their largest addend"
                )
            }
            _ => writeln!(f, "    not verified"),
        }
    }
}
