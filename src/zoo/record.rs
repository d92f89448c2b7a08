//! ZOO: what a result says about where it comes from, so that a second run knows what is done.
//!
//! In: a checkpoint and everything that bears on its result. Out: a [`Record`], stored in the result's `__metadata__`
//! under [`KEY`]. It is part of the file, and a file appears whole or not at all, so a record can neither be missing from
//! a finished result nor stand for an unfinished one. It holds no time and, without a plan file, no path: the
//! same bytes, folded in the same way, give the same record anywhere.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, InputFile, Metadata};
use crate::error::{Error, Result, shown};
use crate::fold::FoldOptions;
use crate::model::{PlanSource, Settings};
use crate::network::dialect;
use crate::plan::{EpsSettings, PlanSettings, Planned};

/// The metadata key.
pub const KEY: &str = "bnfold-gpu";

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// Where a result comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this program: another one may plan otherwise.
    pub version: String,
    /// BLAKE3 of the original, all its files.
    pub source: String,
    /// BLAKE3 of everything else that bears on the result: options, plan file, `config.json`.
    pub options: String,
}

impl Record {
    /// Reads the original from end to end.
    pub fn of(checkpoint: &Checkpoint, settings: &Settings<'_>, options: FoldOptions<'_>) -> Result<Record> {
        Ok(Record {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options: hash_options(checkpoint, settings, options)?,
            source: hash_source(checkpoint, options.cancelled)?,
        })
    }

    /// As it is stored.
    pub fn to_metadata(&self) -> String {
        // Three strings: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Puts it into the metadata of a file of the result. Loaders of `transformers` want a `format` wherever there are
    /// metadata: it is added where the original had none.
    pub(crate) fn put_into(&self, metadata: &mut Option<Metadata>, planned: &Planned) {
        let metadata = metadata.get_or_insert_default();
        metadata.insert(KEY.to_owned(), self.to_metadata());
        let dialect = planned.plan.dialect.as_deref().and_then(dialect::named);
        let format = dialect.map_or("pt", |dialect| dialect.format);
        metadata.entry("format".to_owned()).or_insert_with(|| format.to_owned());
    }

    /// Whether every file of a result carries this record. `false` too for what is no checkpoint at all.
    pub fn is_carried_by(&self, result: &Path) -> bool {
        self.differs_from(result).is_none()
    }

    /// What `result` is, if any file of it is not of this record.
    pub fn differs_from(&self, result: &Path) -> Option<OtherResult> {
        let Ok(checkpoint) = Checkpoint::open(result) else { return Some(OtherResult::Unknown) };
        let expected = self.to_metadata();
        let mut carried = checkpoint.shards().iter().map(|shard| shard.metadata.as_ref()?.get(KEY));
        let other = carried.find(|carried| *carried != Some(&expected))?;
        Some(other.and_then(|other| serde_json::from_str(other).ok()).map_or(OtherResult::Unknown, |other: Record| {
            OtherResult::Of {
                source: other.source != self.source,
                options: other.options != self.options,
                version: (other.version != self.version).then_some(other.version),
            }
        }))
    }
}

/// What a file is that stands at the place of a result and is not this result: what its record tells of the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherResult {
    /// It has no record: another program's, folded by itself, or no checkpoint.
    Unknown,
    /// A result of this program.
    Of {
        /// Of an original of other bytes.
        source: bool,
        /// By other options, another plan file or another `config.json`: the record has one hash of all these.
        options: bool,
        /// By this version, which is another one.
        version: Option<String>,
    },
}

impl std::fmt::Display for OtherResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OtherResult::Of { source, options, version } = self else {
            return f.write_str("it carries no record of a run over several models");
        };
        let version = version.as_ref().map(|version| format!("the version ({})", shown(version)));
        let differing = [
            source.then(|| "the original's bytes".to_owned()),
            options.then(|| "the options, plan or config.json".to_owned()),
            version,
        ];
        match differing.into_iter().flatten().collect::<Vec<_>>().join(" and ") {
            differing if differing.is_empty() => f.write_str("its record is written otherwise"),
            differing => write!(f, "its record differs in {differing}"),
        }
    }
}

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
    let Settings { planning, notes: _, plan, style, dtype, strict, replace: _, sync: _, make_folder: _, record: _ } =
        settings;
    let PlanSettings { eps, evidence, is_one_of_several: _, threads: _ } = planning;
    let EpsSettings { for_norms, all, arch, config } = eps;
    let FoldOptions { verify, allow_non_finite, ranges: _, threads: _, cancelled: _, progress: _ } = options;
    // Which of several plans is followed is told by the path.
    let plan = plan.map(|plan| {
        let text = match plan {
            PlanSource::File(plan) => std::fs::read_to_string(plan).map_err(Error::io("read the plan", plan))?,
            PlanSource::Plan(plan) => serde_json::json!(plan).to_string(),
        };
        Ok::<_, Error>((text, checkpoint.path().to_string_lossy()))
    });
    let plan = plan.transpose()?;
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
        "strict": strict,
        "verify": verify,
        "allow_non_finite": allow_non_finite,
    });
    Ok(blake3::hash(stated.to_string().as_bytes()).to_hex().to_string())
}
