//! One model: where its result comes from, by hashes.
//!
//! In: a checkpoint and everything that bears on its result. Out: its [`Record`]. It holds no time and, but for plans over
//! several models, no path: the same bytes, folded in the same way, give the same record anywhere.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{PlanSource, Settings};
use crate::checkpoint::{Checkpoint, InputFile};
use crate::error::{Error, Result};
use crate::fold::FoldOptions;
use crate::json::parse;
use crate::output::{Record, SAMPLED};
use crate::plan::{EpsSettings, PlanSettings};

/// Pieces of a sample, and their bytes: 1 MiB, whatever the model.
const PIECES: u64 = 64;
const PIECE: usize = 1 << 14;

/// Bytes hashed at a time: they stay in a core's own cache between the read and the hash.
const CHUNK: usize = 1 << 18;

/// The record of the result of `checkpoint`, which is read from end to end.
pub fn record(checkpoint: &Checkpoint, settings: &Settings<'_>, options: FoldOptions<'_>) -> Result<Record> {
    of_source(hash_source(checkpoint, options.cancelled)?, checkpoint, settings, options)
}

/// The same without reading it from end to end: the hash is of a sample, and says so.
pub(super) fn sampled_record(
    checkpoint: &Checkpoint,
    settings: &Settings<'_>,
    options: FoldOptions<'_>,
) -> Result<Record> {
    of_source(format!("{SAMPLED}{}", hash_sample(checkpoint)?), checkpoint, settings, options)
}

fn of_source(
    source: String,
    checkpoint: &Checkpoint,
    settings: &Settings<'_>,
    options: FoldOptions<'_>,
) -> Result<Record> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Record { version, source, options: hash_options(checkpoint, settings, options)? })
}

/// BLAKE3 of pieces of every file: its beginning, with the header, its end, and as many evenly between; of an object only
/// the first, since every piece is a request. Then the files' lengths, which tell the pieces apart: bytes before the pieces
/// would put them out of step with the hash, which takes whole KiB at a time.
fn hash_sample(checkpoint: &Checkpoint) -> Result<String> {
    let mut all = blake3::Hasher::new();
    let mut buffer = vec![0; PIECE];
    for shard in checkpoint.shards() {
        let bytes = shard.file.bytes();
        let pieces = if shard.file.location().as_file().is_some() { PIECES } else { 1 };
        let length = usize::try_from(bytes).unwrap_or(PIECE).min(PIECE);
        let room = bytes - length as u64;
        let places =
            (0..pieces).map(|n| if pieces > 1 { u128::from(room) * u128::from(n) / u128::from(pieces - 1) } else { 0 });
        for place in places.filter_map(|place| u64::try_from(place).ok()) {
            shard.file.read_at(place, &mut buffer[..length])?;
            all.update(&buffer[..length]);
        }
    }
    for shard in checkpoint.shards() {
        all.update(&shard.file.bytes().to_le_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}

/// BLAKE3 of all files of a checkpoint.
fn hash_source(checkpoint: &Checkpoint, cancelled: &AtomicBool) -> Result<String> {
    let mut all = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    if checkpoint.index().is_some() {
        all.update(&InputFile::open(checkpoint.path())?.read_whole()?);
    }
    for shard in checkpoint.shards() {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < shard.file.bytes() {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let bytes = usize::try_from(shard.file.bytes() - at).unwrap_or(CHUNK).min(CHUNK);
            shard.file.read_at(at, &mut buffer[..bytes])?;
            hasher.update(&buffer[..bytes]);
            at += bytes as u64;
        }
        all.update(hasher.finalize().as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}

/// Everything is taken apart by name, so that an option that is added later cannot be forgotten here.
fn hash_options(checkpoint: &Checkpoint, settings: &Settings<'_>, options: FoldOptions<'_>) -> Result<String> {
    let Settings {
        planning,
        warnings: _,
        plan,
        style,
        // Both only say things about `style`.
        style_is_chosen: _,
        model_class: _,
        copies_config: _,
        dtype,
        denied,
        replace: _,
        sync: _,
        known: _,
        root: _,
        record: _,
    } = settings;
    let PlanSettings { eps, evidence, is_one_of_several: _, below: _, threads: _ } = planning;
    let EpsSettings { for_norms, all, arch, config } = eps;
    let FoldOptions { verify, allow_non_finite, ranges: _, quantization: _, threads: _, cancelled: _, progress: _ } =
        options;
    let plan = plan.map(|plan| stated_plan(plan, checkpoint, planning)).transpose()?;
    let for_norms = for_norms.iter().map(|(glob, eps)| (glob.glob(), eps.to_bits())).collect::<Vec<_>>();
    let stated = serde_json::json!({
        "eps_for": for_norms,
        "eps": all.map(f64::to_bits),
        "arch": arch,
        "config": config,
        "evidence": format!("{evidence:?}"),
        "plan": plan,
        "style": style,
        "dtype": dtype.map(|float| float.name()),
        "denied": format!("{denied:?}"),
        "verify": verify,
        "allow_non_finite": allow_non_finite,
    });
    Ok(blake3::hash(stated.to_string().as_bytes()).to_hex().to_string())
}

/// A plan as it stands, whatever its spaces. Where it may be meant for another checkpoint, that is told by the place of this
/// one.
fn stated_plan(plan: &PlanSource, checkpoint: &Checkpoint, planning: &PlanSettings) -> Result<(Value, Option<String>)> {
    let value = match plan {
        PlanSource::File(path) => {
            let text = std::fs::read_to_string(path).map_err(Error::io("read the plan", path))?;
            // What is no JSON is refused when it is followed.
            parse(text.as_bytes()).unwrap_or(Value::String(text))
        }
        PlanSource::Plan(plan) => serde_json::json!(plan),
    };
    let place = planning.below.as_deref().unwrap_or(checkpoint.path());
    let is_open = value.is_array() || planning.is_one_of_several;
    let place = is_open.then(|| place.to_string_lossy().into_owned());
    Ok((value, place))
}
