//! 6 REPORT: what happened, as data; printers stand beside it.
//!
//! In: the figures of a model. Out: JSON lines, text for people or a page for a browser. Units are in the names.

pub mod channels;
pub mod html;
mod human;
pub mod info;
pub mod layer;
pub mod lint;
mod merged;
pub mod plan_table;
mod read;
mod run;
mod sqnr;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::Error;

use crate::fold::Style;
use crate::plan::Reason;
use crate::warning::Warning;
pub use layer::LayerReport;
pub use lint::Lint;
pub use merged::{Merged, OtherOutput};
pub use run::{Earlier, Ended, Outcome, RunReport, Totals};
pub use sqnr::{Decibels, Sqnr};

/// One folded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The original.
    #[serde(serialize_with = "lossy")]
    pub input: PathBuf,
    /// The result.
    #[serde(serialize_with = "lossy")]
    pub output: PathBuf,
    /// `cpu` or `gpu`: what the work began on.
    pub device: Cow<'static, str>,
    /// The adapter's name, with `gpu`.
    pub adapter: Option<String>,
    /// Weights, element by element, that were folded.
    pub elements: u64,
    /// Those of them that the GPU folded; F64 and changes of type are the CPU's work.
    pub elements_on_gpu: u64,
    /// How folded norms are stored.
    pub style: Style,
    /// How many norms were folded and how many stay.
    pub layers: Layers,
    /// The norms that stay, with the reason.
    pub kept: Vec<KeptNorm>,
    /// The norms that were folded, in figures.
    pub folded: Vec<LayerReport>,
    /// What rounding all folded weights to 8 bits would leave of them; `null` unless it was asked for.
    pub sqnr_db: Option<Sqnr>,
    /// What is numerically remarkable about them.
    pub lints: Vec<Lint>,
    /// Size of the original.
    pub bytes_in: u64,
    /// Size of the result.
    pub bytes_out: u64,
    /// Seconds by stage; stages overlap on a GPU, so they need not add up.
    pub seconds: Seconds,
    /// What was checked; `null` if nothing was.
    pub verification: Option<Verification>,
    /// Norms whose eps nobody states although another one would make a difference.
    pub assumed_eps: usize,
    /// What the user should know; in JSON the sentences and codes of warnings, and the sentences of notes.
    #[serde(flatten, serialize_with = "sentences_and_codes", deserialize_with = "read::told")]
    pub warnings: Vec<Warning>,
}

/// A norm that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNorm {
    /// Its module path.
    pub norm: String,
    /// The path with the numbers of the scopes around it replaced by `#`: equal for norms that differ in nothing else.
    pub template: String,
    /// The code of the reason, as in a plan.
    pub code: String,
    /// The reason as a sentence.
    pub reason: String,
}

/// Counts of norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Folded.
    pub folded: usize,
    /// Kept as they are.
    pub kept: usize,
}

/// Seconds by stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Header and plan.
    pub plan: f64,
    /// Reading weights.
    pub read: f64,
    /// Copying what is not folded.
    pub copy: f64,
    /// Multiplying, transfers to and from a GPU included.
    pub fold: f64,
    /// Multiplying alone, by the GPU's own clock; `null` on the CPU, and where an adapter has no clock.
    pub kernel: Option<f64>,
    /// Comparing with the references.
    pub verify: f64,
    /// Writing folded weights.
    pub write: f64,
    /// Flushing to disk, reading the header back, renaming.
    pub commit: f64,
    /// All of it, from the first byte of the header to the result under its name; in a zoo without the hashing that tells
    /// whether the result is there already.
    pub total: f64,
}

/// How many norms these warnings say an eps is assumed for.
pub(crate) fn assumed_eps(warnings: &[Warning]) -> usize {
    let assumed = warnings.iter().filter(|warning| !warning.is_note());
    assumed.map(|warning| if let Warning::EpsAssumed { norms, .. } = warning { *norms } else { 0 }).sum()
}

impl KeptNorm {
    /// The norm at `norm`, which stays for `reason`.
    pub(crate) fn new(norm: &str, reason: &Reason) -> KeptNorm {
        let (code, text) = (reason.code.to_string(), reason.text.clone());
        KeptNorm { norm: norm.to_owned(), template: plan_table::template(norm), code, reason: text }
    }
}

impl Seconds {
    /// The stages with their names, in the order in which they begin; without `total`.
    pub fn stages(&self) -> [(&'static str, f64); 7] {
        let Seconds { plan, read, copy, fold, verify, write, commit, .. } = *self;
        [
            ("plan", plan),
            ("copy", copy),
            ("read", read),
            ("fold", fold),
            ("verify", verify),
            ("write", write),
            ("commit", commit),
        ]
    }
}

/// What verification found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Weights and biases compared with the f64 reference.
    pub elements: u64,
    /// GPU results whose bits were not the CPU's, as of flushed subnormals; the CPU's were written.
    pub differ: u64,
    /// Largest error of a weight, in units in the last place of its type.
    #[serde(deserialize_with = "read::number")]
    pub worst_ulp: f64,
    /// Largest error of a bias, in units in the last place of the largest number it is the sum of.
    #[serde(deserialize_with = "read::number")]
    pub worst_shift_ulp: f64,
}

/// A model that failed, as a JSON line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailureReport {
    /// The original.
    #[serde(serialize_with = "lossy")]
    pub input: PathBuf,
    /// Why there is no result.
    pub error: String,
    /// Whether the same may succeed by itself later: see [`Error::may_pass`].
    #[serde(default)]
    pub transient: bool,
}

impl FailureReport {
    /// The failure of the model at `input`, told as `text`.
    pub fn new(input: &Path, error: &Error, text: String) -> FailureReport {
        FailureReport { input: input.to_owned(), error: text, transient: error.may_pass() }
    }
}

/// A path that is no Unicode is reported with the odd bytes replaced: serde would refuse it, and a report that fails
/// after the work is done helps nobody.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn sentences_and_codes<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    let (notes, warnings): (Vec<_>, Vec<_>) = warnings.iter().partition(|warning| warning.is_note());
    let sentences = |of: &[&Warning]| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("warnings", &sentences(&warnings))?;
    map.serialize_entry("warning_codes", &warnings.iter().map(|warning| warning.code()).collect::<Vec<_>>())?;
    map.serialize_entry("notes", &sentences(&notes))?;
    map.end()
}
