//! 2 PLAN, measure: what values say about the pairs that names and shapes made.
//!
//! In: the board, and a checkpoint to read from. Out: findings for the board. A norm's running statistics are the statistics of what
//! feeds it, so they can confirm a pair, contradict it (then the norm stays, with the reason), or say nothing. They also make
//! pairs of their own, where names left a norm open.
//!
//! ```text
//! samples           pairs of equal names but for numbers stand and fall together; which of them are looked at
//! values, row_sums  running statistics and weights, read by several threads; row sums and row norms
//! correlation       how far rows and statistics agree; the tests and their error rates
//! disambiguate      what names leave open between a few weights, or say of one with a doubt
//! product           of these, which of a depthwise layer and one that mixes channels comes last
//! tied              one weight under several names
//! stored_twice      one norm under several names
//! activation        running statistics alone: does an activation stand before the norm?
//! rivals            weights against statistics: confirm, contradict or nothing
//! transposed        square weights, of which every one may be a transposed convolution
//! unpaired/         norms that names left open, among the weights that are free, by what is
//!                   predicted (running means from the norm before, or from an image) and by rank agreement
//! activation_means  what comes out of a norm and an activation, on average
//! ```
//!
//! Statistics that were never touched (all running means 0) are no evidence either way, and nothing is read for them.

mod activation;
pub(super) mod activation_means;
mod correlation;
mod disambiguate;
mod product;
mod rivals;
mod row_sums;
mod samples;
mod stored_twice;
mod tied;
mod transposed;
mod unpaired;
mod values;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

pub(super) use correlation::Agreement;
pub(super) use rivals::Follower;

use super::board::{Board, Finding, Hypothesis, Standing};
use super::decide::after_values;
use super::reason::{Objection, Support};
use super::rulebook::Rule;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use unpaired::Forbidden;
pub(super) use unpaired::Unread;
use values::Values;

/// How `--explain` calls the decision that follows from all values.
const STAGE: &str = "decision";

/// How much of a checkpoint's values the planner looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// Nothing: names and shapes decide alone.
    None,
    /// All running statistics; the weights of a few pairs of every template, at most [`SAMPLE_BYTES`]; those that norms may
    /// have that names leave open, as far as a budget goes that grows with the file; some rows of every square weight.
    #[default]
    Auto,
    /// All of them.
    Full,
}

/// Weight bytes that [`EvidenceLevel::Auto`] reads at most.
pub const SAMPLE_BYTES: u64 = 32 << 20;

/// Weight bytes that [`EvidenceLevel::Auto`] may always read for norms that names leave open.
const OPEN_BYTES: u64 = 64 << 20;

/// Of a larger file it may read one part in so many.
const SHARE: u64 = 5;

/// Rank correlation of row norms and running variances from which on a weight is used as it is stored: rows of signs alone
/// are all of one length.
const LONG_ROWS: f64 = 0.4;

/// Fewer channels than these say nothing: a sign or a rank among seven is chance.
const FEWEST_CHANNELS: u64 = 8;

/// Bytes of weights that are read at most for norms that names leave open: of small files all, of large ones a part, so that
/// a plan takes a part of the time of a copy. Bytes, not time, so that a plan depends on the file alone.
fn budget(values: &Values<'_>, level: EvidenceLevel) -> u64 {
    match level {
        EvidenceLevel::Full => u64::MAX,
        _ => (values.checkpoint.bytes() / SHARE).max(OPEN_BYTES),
    }
}

/// Holds the board against the checkpoint's values, read by so many threads.
pub(super) fn measure(
    checkpoint: &Checkpoint,
    board: &mut Board<'_>,
    level: EvidenceLevel,
    threads: usize,
) -> Result<Unread> {
    if level == EvidenceLevel::None {
        without_values(board);
        return Ok(Unread::default());
    }
    let mut values = Values::new(checkpoint, board.network, threads);
    values.read_statistics(&board.norms().collect::<Vec<_>>())?;
    let mut left = budget(&values, level);
    disambiguate::suppose(&mut values, board, level, &mut left)?;
    let planned = board.pairs().map(|(norm, pair)| (norm, pair.weight)).collect::<Vec<_>>();
    let book = board.book;
    let tied = if book.has(Rule::TiedWeight) { tied::refuse(&mut values, board)? } else { HashSet::new() };
    if book.has(Rule::StoredTwice) {
        stored_twice::refuse(&mut values, board)?;
    }
    if book.has(Rule::BehindActivation) {
        activation::refuse(&mut values, board)?;
    }
    rivals::decide(&mut values, board, level)?;
    if book.has(Rule::ColumnsFollow) {
        transposed::refuse(&mut values, board)?;
    }
    answer_doubts(&mut values, board)?;
    if book.has(Rule::NoAffine) && board.network.is_mostly_bare() {
        refuse_binarised(&mut values, board)?;
    }
    without_values(board);
    // What values refused once is not made again from fewer of them.
    let refused = planned.into_iter().filter(|(norm, _)| board.pair(*norm).is_none()).collect();
    let before = board.pairs().count();
    let unread = unpaired::decide(&mut values, board, Forbidden { refused, tied }, left)?;
    if board.pairs().count() > before {
        // What names left open had no owner yet.
        if book.has(Rule::TiedWeight) {
            tied::refuse(&mut values, board)?;
        }
        if book.has(Rule::StoredTwice) {
            stored_twice::refuse(&mut values, board)?;
        }
    }
    Ok(unread)
}

/// In a file whose norms mostly have neither scale nor shift, the weights may be binarised when they are used, and then no row
/// goes with the norm: a pair stays one only if values confirm it, or say nothing at all.
fn refuse_binarised(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<()> {
    for norm in board.norms() {
        let is_confirmed = |pair: &Hypothesis| {
            pair.support
                .iter()
                .any(|support| matches!(support, Support::Confirmed { norms, .. } if *norms >= LONG_ROWS))
        };
        let Some(weight) = board.pair(norm).filter(|pair| !is_confirmed(pair)).map(|pair| pair.weight) else {
            continue;
        };
        if board.network[norm].is_bare() && values.statistics(norm)?.is_some() {
            board.apply(STAGE, norm, Finding::kept(Objection::MaybeBinarised(weight)));
        }
    }
    Ok(())
}

/// Pairs with a doubt stay pairs if values answer it.
fn answer_doubts(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<()> {
    for norm in board.norms() {
        let Some(pair) = board.pair(norm).filter(|pair| pair.doubt.is_some()) else { continue };
        // Behind a bias a tanh may stand, which keeps order and signs; hardly so behind a depthwise layer, which leaves the
        // mixing of channels to the next one.
        let is_hidden = board.book.has(Rule::MaybeSquashed)
            && !board.network[pair.weight].is_channelwise()
            && board.network[pair.weight].bias_exists
            && values.statistics(norm)?.is_some_and(|statistics| activation::may_be_squashed(&statistics));
        if let Some(standing) = after_values(pair, is_hidden) {
            board.apply(STAGE, norm, Finding::Stands(standing));
        }
    }
    Ok(())
}

/// What is still open stays, for the reason that it is open for.
pub(super) fn without_values(board: &mut Board<'_>) {
    for norm in board.norms() {
        if let Standing::Open(question) | Standing::Asked(question) = board.standing(norm) {
            let kept = Standing::Kept(question.objections.clone());
            board.apply(STAGE, norm, Finding::Stands(kept));
        }
    }
}
