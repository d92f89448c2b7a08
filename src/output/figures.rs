//! 4 WRITE: what a result says about how it was made, so that a later run can list it without folding it again.
//!
//! In: what was planned and what checking found. Out: [`Figures`], stored in the result's `__metadata__` under
//! [`FIGURES_KEY`], beside its record. Whether a result is done is told by the record alone: a result without figures,
//! or with other ones, is as good. They hold neither time nor device, so that the same bytes come out anywhere.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Metadata};
use crate::fold::Style;
use crate::json::parse;
use crate::plan::{Action, Plan};

/// The metadata key.
pub const FIGURES_KEY: &str = "bnfold-gpu.figures";

/// How a result was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How they are stored.
    #[serde(default)]
    pub style: Option<Style>,
    /// Norms that were folded.
    pub folded: usize,
    /// Norms that stay.
    pub kept: usize,
    /// The differing eps of the folded norms, in the order of the plan.
    pub eps: Vec<EpsUse>,
    /// Largest error of a weight in ulp, with two digits after the point; `None` if nothing was verified.
    pub worst_ulp: Option<String>,
    /// Largest error of a bias in ulp of its largest addend, likewise.
    pub worst_shift_ulp: Option<String>,
}

/// An eps and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpsUse {
    /// The value.
    pub eps: f64,
    /// The code of its source.
    pub source: String,
    /// How many norms have it.
    pub norms: usize,
}

impl Figures {
    /// Of a plan, before its weights are folded: the errors that are found are put in by [`Figures::found`].
    pub(crate) fn of(plan: &Plan, style: Style) -> Figures {
        let (folded, kept) = plan.counts();
        let mut eps: Vec<EpsUse> = Vec::new();
        for layer in &plan.layers {
            let Action::Fold(line) = &layer.action else { continue };
            let source = line.eps_source.code();
            match eps.iter_mut().find(|used| used.eps == line.eps && used.source == source) {
                Some(used) => used.norms += 1,
                None => eps.push(EpsUse { eps: line.eps, source: source.to_owned(), norms: 1 }),
            }
        }
        Figures { style: Some(style), folded, kept, eps, worst_ulp: None, worst_shift_ulp: None }
    }

    /// With room for the largest errors: the header is laid out before they are known.
    pub(crate) fn with_room(self) -> Figures {
        let room = || Some("?.??".to_owned());
        Figures { worst_ulp: room(), worst_shift_ulp: room(), ..self }
    }

    /// With the largest errors, rounded up: text of the length that there is room for, since what is verified is within a
    /// few ulp.
    pub(crate) fn found(self, worst_ulp: f64, worst_shift_ulp: f64) -> Figures {
        let text = |ulp: f64| Some(format!("{:.2}", (ulp * 100.0).ceil() / 100.0));
        Figures { worst_ulp: text(worst_ulp), worst_shift_ulp: text(worst_shift_ulp), ..self }
    }

    /// Puts them into the metadata of a file of the result.
    pub(crate) fn put_into(&self, metadata: &mut Option<Metadata>) {
        // Counts and finite numbers: there is nothing that could fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        metadata.get_or_insert_default().insert(FIGURES_KEY.to_owned(), text);
    }

    /// Those that a result carries.
    pub fn of_result(result: &Checkpoint) -> Option<Figures> {
        let metadata = result.shards().first()?.metadata.as_ref()?;
        parse(metadata.get(FIGURES_KEY)?.as_bytes()).ok()
    }
}
