//! One model: where its result comes from, by hashes.
//!
//! In: a checkpoint and everything that bears on its result. Out: its [`Record`]. It holds no time and, but for plans over
//! several models, no path: the same bytes, folded in the same way, give the same record anywhere.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::{PlanSource, Settings};
use crate::checkpoint::{Checkpoint, InputFile};
use crate::error::{Error, Result};
use crate::fold::FoldOptions;
use crate::output::Record;
use crate::plan::{EpsSettings, PlanSettings};

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// The record of the result of `checkpoint`, which is read from end to end.
pub fn record(checkpoint: &Checkpoint, settings: &Settings<'_>, options: FoldOptions<'_>) -> Result<Record> {
    let is_over = || options.cancelled.load(Ordering::Relaxed);
    Ok(Record { source: hash_source(checkpoint, &is_over)?, ..without_source(checkpoint, settings, options)? })
}

/// The same before the checkpoint was read, with room for its hash. What lies in an object store is not read twice: there the
/// room stays empty.
pub(super) fn without_source(
    checkpoint: &Checkpoint,
    settings: &Settings<'_>,
    options: FoldOptions<'_>,
) -> Result<Record> {
    let is_local = checkpoint.location().as_file().is_some();
    Ok(Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        options: hash_options(checkpoint, settings, options)?,
        source: "0".repeat(if is_local { 2 * blake3::OUT_LEN } else { 0 }),
    })
}

/// BLAKE3 of all files of a checkpoint, or an interruption once it `is_over`.
pub(super) fn hash_source(checkpoint: &Checkpoint, is_over: &dyn Fn() -> bool) -> Result<String> {
    let mut all = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    if checkpoint.index().is_some() {
        all.update(&InputFile::open(checkpoint.path())?.read_whole()?);
    }
    for shard in checkpoint.shards() {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < shard.file.bytes() {
            if is_over() {
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
        make_folder: _,
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
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        PlanSource::Plan(plan) => serde_json::json!(plan),
    };
    let place = planning.below.as_deref().unwrap_or(checkpoint.path());
    let is_open = value.is_array() || planning.is_one_of_several;
    let place = is_open.then(|| place.to_string_lossy().into_owned());
    Ok((value, place))
}
