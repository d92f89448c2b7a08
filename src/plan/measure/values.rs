//! 2 PLAN, measure: running statistics and weights, read when they are asked for, or by several threads ahead of that. What was
//! read is kept, but for first looks.
//!
//! In: a checkpoint and its inventory. Out: [`Statistics`] of norms and [`Layer`]s of weights, or nothing where they
//! say nothing: untouched, not finite, of another type or length than expected.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::FEWEST_CHANNELS;
use super::correlation::{Agreement, Offset, dot, offset, ranks};
use super::row_sums::{Rows, Stored};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::channels::ChannelMap;
use crate::network::{Inventory, NormId, Weight, WeightId};
use crate::parallel;

/// A norm's running statistics.
#[derive(Debug)]
pub(in crate::plan) struct Statistics {
    pub(in crate::plan) mean: Vec<f64>,
    pub(in crate::plan) var: Vec<f64>,
    // Ranks take longer than reading does, and most norms are not asked for theirs.
    mean_ranks: OnceLock<Vec<f64>>,
    var_ranks: OnceLock<Vec<f64>>,
}

impl Statistics {
    fn new(mean: Vec<f64>, var: Vec<f64>) -> Statistics {
        Statistics { mean, var, mean_ranks: OnceLock::new(), var_ranks: OnceLock::new() }
    }

    /// Ranks of the means.
    pub(in crate::plan) fn mean_ranks(&self) -> &[f64] {
        self.mean_ranks.get_or_init(|| ranks(&self.mean))
    }

    /// Ranks of the variances.
    pub(in crate::plan) fn var_ranks(&self) -> &[f64] {
        self.var_ranks.get_or_init(|| ranks(&self.var))
    }
}

/// A weight as a layer: its rows and its bias.
#[derive(Debug)]
pub(in crate::plan) struct Layer {
    pub(in crate::plan) rows: Rows,
    /// Ranks of the row sums.
    pub(in crate::plan) sum_ranks: Vec<f64>,
    /// Ranks of the row norms.
    pub(in crate::plan) norm_ranks: Vec<f64>,
    bias: Option<Vec<f64>>,
}

/// A weight as a layer.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan) struct Reading {
    pub(in crate::plan) weight: WeightId,
    /// Where its output channels lie.
    pub(in crate::plan) map: ChannelMap,
    /// How many there are.
    pub(in crate::plan) channels: u64,
}

/// What was read so far.
pub(in crate::plan) struct Values<'a> {
    pub(in crate::plan) checkpoint: &'a Checkpoint,
    pub(in crate::plan) inventory: &'a Inventory,
    statistics: Vec<Option<Option<Arc<Statistics>>>>,
    layers: HashMap<(WeightId, u64, u64), Option<Arc<Layer>>>,
    threads: usize,
}

impl<'a> Values<'a> {
    /// Nothing read yet; it will be with so many threads.
    pub(in crate::plan) fn new(checkpoint: &'a Checkpoint, inventory: &'a Inventory, threads: usize) -> Values<'a> {
        let statistics = vec![None; inventory.norms.len()];
        let threads = threads.min(checkpoint.readers());
        Values { checkpoint, inventory, statistics, layers: HashMap::new(), threads }
    }

    /// What `work` makes of every item, in order.
    pub(in crate::plan) fn in_parallel<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        parallel::map(items, self.threads, work)
    }

    /// The statistics of a norm; `None` if they were never touched or cannot be used.
    pub(in crate::plan) fn statistics(&mut self, norm: NormId) -> Result<Option<Arc<Statistics>>> {
        if self.statistics[norm.index()].is_none() {
            self.read_statistics(&[norm])?;
        }
        Ok(self.statistics[norm.index()].clone().flatten())
    }

    /// Reads the statistics of `norms`.
    pub(in crate::plan) fn read_statistics(&mut self, norms: &[NormId]) -> Result<()> {
        let Values { checkpoint, inventory, .. } = *self;
        let found = self.in_parallel(norms, |&norm| read_statistics(checkpoint, inventory, norm))?;
        for (&norm, found) in norms.iter().zip(found) {
            self.statistics[norm.index()] = Some(found.map(Arc::new));
        }
        Ok(())
    }

    /// A weight's rows as a layer; `None` if they cannot be used.
    pub(in crate::plan) fn layer(&mut self, reading: Reading) -> Result<Option<Arc<Layer>>> {
        if let Some(known) = self.layers.get(&key(reading)) {
            return Ok(known.clone());
        }
        let found = read_layer(self.checkpoint, self.inventory, reading)?.map(Arc::new);
        self.layers.insert(key(reading), found.clone());
        Ok(found)
    }

    /// Whether a weight was read as this layer.
    pub(in crate::plan) fn is_read(&self, reading: Reading) -> bool {
        self.layers.contains_key(&key(reading))
    }

    /// Reads all these at once.
    pub(in crate::plan) fn read_layers(&mut self, mut readings: Vec<Reading>) -> Result<()> {
        readings.retain(|&reading| !self.layers.contains_key(&key(reading)));
        // The largest first: the last ones to be done should be short.
        readings.sort_unstable_by_key(|&reading| (Reverse(self.bytes(reading.weight)), key(reading)));
        readings.dedup_by_key(|reading| key(*reading));
        let Values { checkpoint, inventory, .. } = *self;
        let found = self.in_parallel(&readings, |&reading| read_layer(checkpoint, inventory, reading))?;
        self.layers.extend(readings.into_iter().map(key).zip(found.into_iter().map(|found| found.map(Arc::new))));
        Ok(())
    }

    /// How far each weight, with channels that lie as its map says, agrees with a norm's statistics as far as its first
    /// elements tell, as many as `rows` rows have.
    pub(in crate::plan) fn first_looks(
        &self,
        looks: &[(WeightId, ChannelMap, Arc<Statistics>)],
        rows: u64,
    ) -> Result<Vec<Option<Agreement>>> {
        let Values { checkpoint, inventory, .. } = *self;
        self.in_parallel(looks, |(weight, map, statistics)| {
            first_look(checkpoint, &inventory[*weight], *map, statistics, rows)
        })
    }

    /// Bytes that reading a weight takes.
    pub(in crate::plan) fn bytes(&self, weight: WeightId) -> u64 {
        self.checkpoint.tensors().get(&self.inventory[weight].tensor).map_or(0, |tensor| tensor.bytes)
    }

    /// A norm's scale and shift, where it has them.
    pub(in crate::plan) fn affine(&self, norm: NormId) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
        let norm = &self.inventory[norm];
        let (Some(gamma), Some(beta)) = (&norm.gamma, &norm.beta) else { return Ok(None) };
        let (gamma, beta) = (self.checkpoint.read_f64(gamma)?, self.checkpoint.read_f64(beta)?);
        let finite = |values: &Vec<f64>| values.iter().all(|value| value.is_finite());
        Ok(gamma.filter(finite).zip(beta.filter(finite)).filter(|(gamma, beta)| gamma.len() == beta.len()))
    }
}

/// What tells a reading from others: a square weight has as many channels on either axis, but not as many elements between
/// them.
fn key(Reading { weight, map, channels }: Reading) -> (WeightId, u64, u64) {
    (weight, channels, map.inner)
}

fn read_statistics(checkpoint: &Checkpoint, inventory: &Inventory, norm: NormId) -> Result<Option<Statistics>> {
    let norm = &inventory[norm];
    if norm.defect.is_some() {
        return Ok(None);
    }
    // A fresh norm has mean 0 and variance 1. A norm that saw data has no mean that is 0 in every channel.
    let mean = checkpoint.read_f64(&norm.mean)?.filter(|mean| mean.iter().any(|&mean| mean != 0.0));
    let Some(mean) = mean.filter(|mean| mean.iter().all(|mean| mean.is_finite())) else { return Ok(None) };
    let Some(var) = checkpoint.read_f64(&norm.var)? else { return Ok(None) };
    if var.len() != mean.len() || var.iter().any(|var| !var.is_finite()) {
        return Ok(None);
    }
    Ok(Some(Statistics::new(mean, var)))
}

fn read_layer(
    checkpoint: &Checkpoint,
    inventory: &Inventory,
    Reading { weight, map, channels }: Reading,
) -> Result<Option<Layer>> {
    let weight = &inventory[weight];
    let Some(float) = weight.dtype.float() else { return Ok(None) };
    let tensor = checkpoint.tensor(&weight.tensor)?;
    let channels = usize::try_from(channels).unwrap_or(usize::MAX);
    let Some(rows) = Stored { checkpoint, tensor, float }.rows(map, channels, u64::MAX)? else { return Ok(None) };
    let bias = if weight.bias_exists { checkpoint.read_f64(&weight.bias)? } else { None };
    let bias = bias.filter(|bias| bias.len() == channels && bias.iter().all(|bias| bias.is_finite()));
    let (sum_ranks, norm_ranks) = (ranks(&rows.sums), ranks(&rows.squares));
    Ok(Some(Layer { rows, sum_ranks, norm_ranks, bias }))
}

/// How far a weight agrees with a norm's statistics as far as its first elements tell, as many as `rows` rows have: by the
/// channels of which they hold as much as of any. A bias is not looked at.
fn first_look(
    checkpoint: &Checkpoint,
    weight: &Weight,
    map: ChannelMap,
    statistics: &Statistics,
    rows: u64,
) -> Result<Option<Agreement>> {
    let Some(float) = weight.dtype.float() else { return Ok(None) };
    let tensor = checkpoint.tensor(&weight.tensor)?;
    let channels = statistics.mean.len();
    let stored = Stored { checkpoint, tensor, float };
    let all = stored.elements();
    let mut elements = (all / channels as u64).saturating_mul(rows).min(all);
    // Whole rounds of the channels, where there is one: of the last, a few channels would have more than the others.
    let round = map.inner.saturating_mul(map.row).max(1);
    if elements >= round {
        elements -= elements % round;
    }
    let Some(found) = stored.rows(map, channels, elements)? else { return Ok(None) };
    let counts = counts(map, elements, channels);
    let most = counts.iter().max().copied().unwrap_or(0);
    let whole = (0..channels).filter(|&channel| counts[channel] == most).collect::<Vec<_>>();
    let of = |values: &[f64]| ranks(&whole.iter().map(|&channel| values[channel]).collect::<Vec<_>>());
    let (sums, norms) = match whole.len() == channels {
        true => {
            (dot(&ranks(&found.sums), statistics.mean_ranks()), dot(&ranks(&found.squares), statistics.var_ranks()))
        }
        false => (dot(&of(&found.sums), &of(&statistics.mean)), dot(&of(&found.squares), &of(&statistics.var))),
    };
    Ok((whole.len() as u64 >= FEWEST_CHANNELS).then_some(Agreement { sums, norms, channels: whole.len() }))
}

/// How many of the first `elements` of a weight belong to each channel.
fn counts(map: ChannelMap, elements: u64, channels: usize) -> Vec<u64> {
    let mut counts = vec![0; channels];
    for run in map.runs(0, usize::try_from(elements).unwrap_or(usize::MAX)) {
        if run.moving {
            counts.iter_mut().skip(run.channel).take(run.len).for_each(|count| *count += 1);
        } else if let Some(count) = counts.get_mut(run.channel) {
            *count += run.len as u64;
        }
    }
    counts
}

impl Layer {
    /// The running means less the layer's bias, which has nothing to do with its rows.
    fn moved(&self, statistics: &Statistics) -> Option<Vec<f64>> {
        let bias = self.bias.as_ref()?;
        Some(statistics.mean.iter().zip(bias).map(|(mean, bias)| mean - bias).collect())
    }

    /// Whether there is a bias.
    pub(in crate::plan) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// The running means, less the bias where there is one.
    pub(in crate::plan) fn means(&self, statistics: &Statistics) -> Vec<f64> {
        self.moved(statistics).unwrap_or_else(|| statistics.mean.clone())
    }

    /// Ranks of the running means, less the bias where there is one.
    pub(in crate::plan) fn mean_ranks(&self, statistics: &Statistics) -> Vec<f64> {
        self.moved(statistics).map_or_else(|| statistics.mean_ranks().to_vec(), |mean| ranks(&mean))
    }

    /// How far the layer and the norm agree.
    pub(in crate::plan) fn agreement(&self, statistics: &Statistics) -> Agreement {
        let sums = match &self.bias {
            None => dot(&self.sum_ranks, statistics.mean_ranks()),
            Some(_) => dot(&self.sum_ranks, &self.mean_ranks(statistics)),
        };
        Agreement { sums, norms: dot(&self.norm_ranks, statistics.var_ranks()), channels: statistics.mean.len() }
    }

    /// How far the running means lie above what the rows predict.
    pub(in crate::plan) fn offset(&self, statistics: &Statistics) -> Option<Offset> {
        offset(&self.rows.sums, &self.means(statistics), &statistics.var)
    }
}
