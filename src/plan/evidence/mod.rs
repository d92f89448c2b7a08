//! 2 PLAN: what values say about the pairs that names and shapes made.
//!
//! In: verdicts, and a checkpoint to read from. Out: verdicts. A norm's running statistics are the statistics of what
//! feeds it, so they can confirm a pair, contradict it (then the norm stays, with the reason), or say nothing. With
//! [`EvidenceLevel::Full`] they also make pairs of their own, where names left a norm open.
//!
//! ```text
//! templates  pairs of equal names but for numbers stand and fall together; which of them are looked at
//! values     running statistics and weights, read by several threads
//! row_sums   row sums and row norms of a weight, piece by piece
//! score      how far rows and statistics agree; the tests and their error rates
//! choose     what names leave open between a few weights, or say of one with a doubt
//! tied       one weight under several names
//! activation running statistics alone: does an activation stand before the norm?
//! judge      weights against statistics: confirm, contradict or nothing
//! turned     square weights, of which every one may be a transposed convolution
//! assign     norms that names left open, among the weights that are free, by what is
//!            predicted (running means from the norm before) and what is agreed (ranks)
//! activated  what comes out of a norm and an activation, on average
//! ```
//!
//! Statistics that were never touched (all running means 0) are no evidence either way, and nothing is read for them.

mod activated;
mod activation;
mod agreed;
mod assign;
mod choose;
mod judge;
mod predicted;
mod row_sums;
mod score;
mod templates;
mod tied;
mod turned;
mod values;

use serde::{Deserialize, Serialize};

use super::{Inventory, PlanSettings, Verdict};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use choose::Doubt;
use templates::Template;
use values::Values;

/// How much of a checkpoint's values the planner looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// Nothing: names and shapes decide alone.
    None,
    /// Running statistics of all pairs, the weights of a few pairs of every template, at most [`SAMPLE_BYTES`], and of what
    /// names leave open, at most half as much; some rows of every square weight.
    #[default]
    Auto,
    /// All of them; norms that names leave open are paired by values alone.
    Full,
}

/// Weight bytes that [`EvidenceLevel::Auto`] reads at most.
pub const SAMPLE_BYTES: u64 = 32 << 20;

/// Fewer channels than these say nothing: a sign or a rank among seven is chance.
const FEWEST_CHANNELS: u64 = 8;

/// Holds `verdicts`, in the order of the inventory's norms, against the checkpoint's values.
pub fn weigh(
    checkpoint: &Checkpoint,
    inventory: &Inventory,
    mut verdicts: Vec<Verdict>,
    &PlanSettings { evidence: level, threads, .. }: &PlanSettings,
) -> Result<Vec<Verdict>> {
    if level == EvidenceLevel::None {
        return Ok(verdicts.into_iter().map(without_values).collect());
    }
    let mut values = Values::new(checkpoint, inventory, threads);
    let is_kept = |verdict: &Verdict| matches!(verdict, Verdict::Keep { .. });
    // With all evidence, kept norms are assigned weights, or explain what others leave.
    let asked = (0..verdicts.len()).filter(|&norm| level == EvidenceLevel::Full || !is_kept(&verdicts[norm]));
    values.read_statistics(&asked.collect::<Vec<_>>())?;
    let doubts = choose::suppose(&mut values, &mut verdicts, level)?;
    let planned = verdicts.iter().map(weight).collect::<Vec<_>>();
    let tied = tied::refuse(&mut values, &mut verdicts)?;
    activation::refuse(&mut values, &Template::group(inventory, &verdicts, &doubts), &mut verdicts)?;
    judge::decide(&mut values, &Template::group(inventory, &verdicts, &doubts), &mut verdicts, level)?;
    turned::refuse(&mut values, &mut verdicts)?;
    for (norm, (verdict, doubt)) in verdicts.iter_mut().zip(doubts).enumerate() {
        let Some(doubt) = doubt else { continue };
        let is_hidden = match weight(verdict) {
            Some(weight) if inventory.weights[weight].bias_exists => {
                values.statistics(norm)?.is_some_and(|statistics| activation::may_be_squashed(&statistics))
            }
            _ => false,
        };
        confirmed_or_kept(verdict, doubt, is_hidden);
    }
    if level == EvidenceLevel::Full {
        // What values refused once is not made again from fewer of them.
        let refused = planned.iter().zip(&verdicts).map(|(planned, now)| planned.filter(|_| weight(now).is_none()));
        assign::decide(&mut values, (&refused.collect::<Vec<_>>(), &tied), &mut verdicts)?;
    }
    Ok(verdicts)
}

/// The weight that a verdict folds into.
fn weight(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Fold { weight, .. } => Some(*weight),
        Verdict::Likely { .. } | Verdict::Keep { .. } => None,
    }
}

/// What is only likely stays where no values are asked.
fn without_values(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Likely { reason, .. } => Verdict::Keep { reason },
        decided => decided,
    }
}

/// A fold that was only likely stays one if values singled its weight out and confirmed it, and what names warn of could not
/// be hidden from them.
fn confirmed_or_kept(verdict: &mut Verdict, Doubt { reason, is_singled_out, .. }: Doubt, is_hidden: bool) {
    if let Verdict::Fold { evidence, .. } = &*verdict
        && (is_hidden || !is_singled_out || !evidence.iter().any(|line| line.starts_with(judge::CONFIRMS)))
    {
        *verdict = Verdict::Keep { reason };
    }
}
