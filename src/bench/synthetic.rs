//! BENCH: checkpoints with the shapes of real networks and made-up values.
//!
//! In: a shape, an element type, a size. Out: a file that folds completely. A network smaller than the size is repeated,
//! a larger one is cut short. Values come from a fixed sequence, so that the same call writes the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::checkpoint::Float;
use crate::error::{Error, Result};
use crate::output::{Content, Entry, header_bytes};

/// The network whose shapes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// ResNet-152 (He et al. 2015, arXiv:1512.03385, table 1): long rows; 58 million weights.
    Resnet152,
    /// MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 2): depthwise rows of 9; 2.2 million weights.
    Mobilenet,
    /// RegNetX-32GF, but for its stem (Radosavovic et al. 2020, arXiv:2003.13678): grouped convolutions; 105 million.
    Regnet,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 3] = [Shape::Resnet152, Shape::Mobilenet, Shape::Regnet];

    /// Shapes of its convolutions, in order. Every one is followed by a norm.
    fn convolutions(self) -> Vec<[u64; 4]> {
        match self {
            Shape::Resnet152 => bottlenecks(64, &[(3, 64, 256), (8, 128, 512), (36, 256, 1024), (3, 512, 2048)], 0),
            Shape::Regnet => bottlenecks(32, &[(2, 336, 336), (7, 672, 672), (13, 1344, 1344), (1, 2520, 2520)], 168),
            Shape::Mobilenet => inverted_residuals(),
        }
    }
}

/// A stem, and stages of (blocks, inner width, outer width); 3x3 convolutions in groups of `group` channels, 0 for one
/// group.
fn bottlenecks(stem: u64, stages: &[(usize, u64, u64)], group: u64) -> Vec<[u64; 4]> {
    let mut convolutions = vec![[stem, 3, 7, 7]];
    let mut input = stem;
    for &(blocks, inner, outer) in stages {
        for block in 0..blocks {
            let middle = if group == 0 { inner } else { group };
            convolutions.extend([[inner, input, 1, 1], [inner, middle, 3, 3], [outer, inner, 1, 1]]);
            if block == 0 {
                convolutions.push([outer, input, 1, 1]);
            }
            input = outer;
        }
    }
    convolutions
}

fn inverted_residuals() -> Vec<[u64; 4]> {
    // Expansion, channels, blocks.
    let stages = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)];
    let mut convolutions = vec![[32, 3, 3, 3]];
    let mut input = 32;
    for (expansion, channels, blocks) in stages {
        for _ in 0..blocks {
            let hidden = input * expansion;
            if expansion > 1 {
                convolutions.push([hidden, input, 1, 1]);
            }
            convolutions.extend([[hidden, 1, 3, 3], [channels, hidden, 1, 1]]);
            input = channels;
        }
    }
    convolutions.push([1280, input, 1, 1]);
    convolutions
}

/// What stands for a trained value of each kind: the middle and the spread to either side. Means of both signs, or the
/// planner would take the norm for one that follows an activation.
const KINDS: [(&str, f64, f64); 4] =
    [("weight", 1.0, 0.5), ("bias", 0.0, 0.5), ("running_mean", 0.0, 1.0), ("running_var", 1.5, 1.0)];

/// Writes a checkpoint of about `bytes` bytes at `path`; `None` for one whole network. Returns the size of the file.
pub fn write(path: &Path, shape: Shape, float: Float, bytes: Option<u64>) -> Result<u64> {
    let entries = entries(shape, float, bytes);
    let header = header_bytes(path, None, &entries)?;
    let data = entries.last().map_or(0, |entry| entry.begin + entry.bytes);
    let mut sequence = Sequence::default();
    let weights = float.narrow_all(&sequence.take(WEIGHTS, 0.0, 0.1));
    let mut write = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        file.write_all(&header)?;
        for (number, entry) in entries.iter().enumerate() {
            match KINDS.iter().find(|(kind, ..)| entry.name.contains(".norm") && entry.name.ends_with(kind)) {
                Some(&(_, middle, spread)) => {
                    let values = sequence.take(usize::try_from(entry.shape[0]).unwrap_or(0), middle, spread);
                    file.write_all(&float.narrow_all(&values))?;
                }
                None => repeat(&mut file, &weights, number * STEP % WEIGHTS * float.bytes(), entry.bytes)?,
            }
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    };
    write().map_err(Error::io("write the synthetic model", path))?;
    Ok(header.len() as u64 + data)
}

/// Weights that are made; longer tensors repeat them. A number that is no multiple of a row, so that rows differ.
const WEIGHTS: usize = 1_000_003;

/// How much further on in them every tensor begins: two that begin alike would be taken for one weight in two places.
const STEP: usize = 7_919;

/// Writes `bytes` bytes of `block` from byte `from` on, again and again.
fn repeat(file: &mut impl Write, block: &[u8], from: usize, mut bytes: u64) -> std::io::Result<()> {
    let mut rest = &block[from..];
    while bytes > 0 {
        let part = &rest[..rest.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        file.write_all(part)?;
        bytes -= part.len() as u64;
        rest = block;
    }
    Ok(())
}

/// The tensors, in file order.
fn entries(shape: Shape, float: Float, bytes: Option<u64>) -> Vec<Entry> {
    let convolutions = shape.convolutions();
    let endless = (0..).flat_map(|copy| (0..).zip(&convolutions).map(move |(n, shape)| (copy, n, shape)));
    let mut entries = Vec::new();
    let mut begin = 0;
    let mut add = |name: String, shape: Vec<u64>| {
        let bytes = shape.iter().product::<u64>() * float.bytes() as u64;
        entries.push(Entry { name, dtype: float.dtype(), shape, begin, bytes, content: Content::Copy });
        begin += bytes;
        begin
    };
    for (copy, n, shape) in endless {
        if bytes.is_none() && copy > 0 {
            break;
        }
        let mut written = add(format!("net{copy}.block{n}.conv.weight"), shape.to_vec());
        for (kind, ..) in KINDS {
            written = add(format!("net{copy}.block{n}.norm.{kind}"), vec![shape[0]]);
        }
        if bytes.is_some_and(|bytes| written >= bytes) {
            break;
        }
    }
    entries
}

/// Evenly spread numbers, always the same ones: a linear congruential generator (Knuth's MMIX constants).
struct Sequence(u64);

impl Default for Sequence {
    fn default() -> Self {
        Sequence(1)
    }
}

impl Sequence {
    /// The next `n` of them, `middle` give or take `spread`.
    fn take(&mut self, n: usize, middle: f64, spread: f64) -> Vec<f64> {
        let next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            middle + spread * ((self.0 >> 33) as f64 / f64::from(1 << 30) - 1.0)
        };
        std::iter::repeat_with(next).take(n).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Settings};

    #[test]
    fn networks_have_their_number_of_weights() {
        let millions = |shape: Shape| {
            let weights = shape.convolutions().iter().map(|shape| shape.iter().product::<u64>()).sum::<u64>();
            weights / 100_000
        };
        assert_eq!(Shape::ALL.map(millions), [579, 21, 1051], "in hundred thousands, without classifier and norms");
    }

    #[test]
    fn every_norm_of_a_synthetic_model_folds() {
        let folder = tempfile::tempdir().unwrap();
        for (n, shape) in Shape::ALL.into_iter().enumerate() {
            let path = folder.path().join(format!("{n}.safetensors"));
            let size = write(&path, shape, Float::F16, Some(2_000_000)).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
            assert!((2_000_000..8_000_000).contains(&size), "{shape:?}: {size}");
            let planned = Model::open(&path, Settings::default()).unwrap().into_planned();
            assert_eq!(planned.plan.kept().next(), None, "{shape:?}");
        }
    }
}
