//! 5 VERIFY: a folded checkpoint held against its original, whoever made it.
//!
//! In: two checkpoints and the plan of the original. Out: a [`VerifyReport`]. What is compared is what the network
//! computes: per output channel the effective scale and shift of layer and norm together, before and after, in f64. So
//! norms that are gone, norms that became an identity and norms that were left alone are judged by one rule. Every
//! other tensor must be the same.

mod lean;
mod numbers;
mod pair;
mod remains;
mod tensor;
mod tolerance;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::plan::Planned;
use numbers::worse;
use pair::{Pair, State};
use tensor::Side;
use tolerance::Tolerance;

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Whether everything is as it should be.
    pub ok: bool,
    /// Norms that are folded.
    pub folded: usize,
    /// Norms that the plan would fold, but that were left as they were.
    pub left: usize,
    /// Norms that the plan would fold, and that are not the same network folded: one problem each.
    pub failed: usize,
    /// Weights and biases compared, those of failed norms included as far as there is something to compare.
    pub elements: u64,
    /// Largest error of a weight, in ulp of its type, those of failed norms included; not a number or infinite (`null` in
    /// JSON) if a weight is.
    pub worst_ulp: f64,
    /// Largest error of a bias, in ulp of the largest number it is the sum of; the same.
    pub worst_shift_ulp: f64,
    /// Tensors that are the same in both.
    pub same: usize,
    /// What is wrong.
    pub problems: Vec<VerifyProblem>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VerifyProblem {
    /// The norm or tensor, and what is wrong with it.
    pub text: String,
    /// An eps in common use with which a norm whose numbers differ would be right.
    pub fits_with_eps: Option<f64>,
}

impl fmt::Display for VerifyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.fits_with_eps.map_or(Ok(()), |eps| write!(f, "; it fits with eps {}", short(eps)))
    }
}

/// In JSON a sentence.
impl Serialize for VerifyProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An eps as people write it: `0`, `1e-5`.
fn short(eps: f64) -> String {
    if eps == 0.0 { "0".to_owned() } else { format!("{eps:e}") }
}

/// Why a layer cannot be said to be the same.
enum Mismatch {
    /// A file could not be read, or the original's norm cannot be folded.
    Unreadable(Error),
    /// Something else than numbers: a tensor is missing, or of another shape or type.
    Structure(String),
    /// Numbers differ; everything else is as it should be.
    Numbers(String),
}

impl From<Error> for Mismatch {
    fn from(error: Error) -> Mismatch {
        Mismatch::Unreadable(error)
    }
}

/// Compares `folded` with `original`, whose plan is `planned`. Errors that a right fold cannot have in the types at hand are
/// problems, or those beyond `max_ulp` units in the last place, whatever the type. An `Err` is a file that cannot be read, or
/// a norm of the original that cannot be folded.
pub fn verify(
    original: &Checkpoint,
    folded: &Checkpoint,
    planned: &Planned,
    max_ulp: Option<f64>,
) -> Result<VerifyReport> {
    let tolerance = Tolerance::new(max_ulp);
    let mut report = VerifyReport::default();
    let mut judged = BTreeSet::new();
    for fold in &planned.folds {
        judged.extend(fold.norm.tensors());
        judged.extend([fold.weight.as_str(), fold.bias.as_str()]);
        report.judge(Pair::new(original, folded, fold, tolerance))?;
    }
    report.compare_others(original, folded, &judged)?;
    report.ok = report.problems.is_empty();
    Ok(report)
}

impl VerifyReport {
    /// Adds a problem that no eps explains.
    fn complain(&mut self, text: String) {
        self.problems.push(VerifyProblem { text, fits_with_eps: None });
    }

    /// Takes in what a layer is.
    fn judge(&mut self, mut pair: Pair<'_>) -> Result<()> {
        let problem = match pair.judge() {
            Ok(State::Folded) => {
                self.folded += 1;
                None
            }
            Ok(State::Left) => {
                self.left += 1;
                None
            }
            Err(Mismatch::Unreadable(error)) => return Err(error),
            Err(Mismatch::Structure(text)) => Some((text, None)),
            Err(Mismatch::Numbers(text)) => Some((text, pair.better_eps())),
        };
        if let Some((text, fits_with_eps)) = problem {
            self.failed += 1;
            let text = format!("norm `{}`: {text}", pair.fold.norm.name);
            self.problems.push(VerifyProblem { text, fits_with_eps });
        }
        let figures = pair.figures;
        self.elements += figures.elements;
        self.worst_ulp = worse(self.worst_ulp, figures.worst_ulp);
        self.worst_shift_ulp = worse(self.worst_shift_ulp, figures.worst_shift_ulp);
        Ok(())
    }

    /// Tensors that are in no layer that was judged.
    fn compare_others(&mut self, original: &Checkpoint, folded: &Checkpoint, judged: &BTreeSet<&str>) -> Result<()> {
        for name in original.tensors().keys().filter(|name| !judged.contains(name.as_str())) {
            match (Side::find(original, name), Side::find(folded, name)) {
                (Some(before), Some(after)) if before.is_same(after)? => self.same += 1,
                (_, Some(_)) => self.complain(format!("tensor `{name}` differs, and no fold explains it")),
                (_, None) => self.complain(format!("tensor `{name}` is missing")),
            }
        }
        for name in folded.tensors().keys() {
            if !original.tensors().contains_key(name) && !judged.contains(name.as_str()) {
                self.complain(format!("tensor `{name}` is new, and no fold explains it"));
            }
        }
        Ok(())
    }
}
