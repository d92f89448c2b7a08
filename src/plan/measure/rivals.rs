//! 2 PLAN, measure: pairs held against weights and running statistics.
//!
//! In: templates of pairs. Out: support for those that values confirm, objections to those that they contradict. What lies
//! around a pair is looked at in [`surroundings`], what follows from it is settled in [`verdict`].

mod follower;
mod surroundings;
mod verdict;

use super::correlation::{Agreement, Offset};
use super::samples::{Pair, Template, sample};
use super::values::Values;
use super::{EvidenceLevel, SAMPLE_BYTES};
use crate::error::Result;
use crate::plan::board::{Board, Finding};
pub(in crate::plan) use follower::Follower;
use surroundings::Surroundings;
pub(super) use verdict::pooled_alone;

/// How `--explain` calls this test.
const STAGE: &str = "values";

/// Standard deviations by which a rival must agree with the sampled pairs together, and with a single one.
const RELATED: (f64, f64) = (5.0, 6.0);

/// A pair as values show it.
struct View {
    pair: Pair,
    own: Agreement,
    offset: Option<Offset>,
    /// The pair has a doubt.
    is_doubted: bool,
    rivals: Vec<Rival>,
}

/// Another pairing near a planned one.
#[derive(Clone)]
struct Rival {
    /// What is the same for the same rival of another pair of the template.
    slot: String,
    follower: Follower,
    agreement: Agreement,
    /// A norm that no weight is known to feed.
    is_unclaimed: bool,
}

/// Confirms and refuses.
pub(super) fn decide(values: &mut Values<'_>, board: &mut Board<'_>, level: EvidenceLevel) -> Result<()> {
    let templates = Template::group(board);
    let samples = match level {
        EvidenceLevel::Full => templates.iter().map(|template| template.pairs.clone()).collect(),
        _ => sample(values, &templates, SAMPLE_BYTES)?,
    };
    let mut surroundings = Vec::new();
    for sample in samples {
        let mut of_template = Vec::new();
        for pair in sample {
            of_template.extend(Surroundings::of(values, pair)?);
        }
        surroundings.push(of_template);
    }
    values.read_layers(surroundings.iter().flatten().flat_map(Surroundings::readings).collect())?;
    for (template, surroundings) in templates.iter().zip(surroundings) {
        let mut views = Vec::new();
        for surroundings in surroundings {
            views.extend(surroundings.look(values, board)?);
        }
        note(board, &views);
        board.apply_all(STAGE, verdict::judge(&views, template, board.book));
    }
    Ok(())
}

/// What was measured of the norm that is to be explained.
fn note(board: &mut Board<'_>, views: &[View]) {
    let Some(view) = views.iter().find(|view| board.explains(view.pair.norm)) else { return };
    board.apply(STAGE, view.pair.norm, Finding::Measured { instead: None, agreement: view.own });
    for Rival { follower, agreement, .. } in &view.rivals {
        let (instead, agreement) = (Some(*follower), *agreement);
        board.apply(STAGE, view.pair.norm, Finding::Measured { instead, agreement });
    }
}
