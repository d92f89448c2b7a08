//! 2 PLAN, measure: an activation before the norm, from running statistics alone.
//!
//! In: pairs. Out: objections. Behind a ReLU no value is negative, so no running mean is. A norm that a layer
//! feeds directly has means of both signs: if signs fell by chance, all `p` of them would be >= 0 once in `2^p`.
//! Measured: of 5,140 norms fed directly in 98 networks (`scripts/make_networks.py`) none had only means >= 0, at most
//! 15 of 16.

use super::FEWEST_CHANNELS;
use super::samples::Template;
use super::values::{Statistics, Values};
use crate::error::Result;
use crate::plan::board::{Board, Finding};
use crate::plan::reason::Objection;
use crate::plan::rulebook::Rule;

/// How `--explain` calls this test.
const STAGE: &str = "activation";

/// Whether no running mean is negative, in enough channels to say so.
pub(super) fn stands_before(statistics: &Statistics) -> bool {
    statistics.mean.len() as u64 >= FEWEST_CHANNELS && statistics.mean.iter().all(|&mean| mean >= 0.0)
}

/// Whether all values may lie between -1 and 1, as behind a tanh or a softsign, which keep the order and both signs, so that
/// no rank tells: the mean of their squares is `mean^2 + var`.
pub(super) fn may_be_squashed(statistics: &Statistics) -> bool {
    statistics.mean.iter().zip(&statistics.var).all(|(mean, var)| mean * mean + var <= 1.0)
}

/// Refuses folds of norms behind an activation, and of all that are alike.
pub(super) fn refuse(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<()> {
    for template in Template::group(board) {
        let mut behind = Vec::new();
        for pair in &template.pairs {
            if let Some(statistics) = values.statistics(pair.norm)?
                && stands_before(&statistics)
            {
                behind.push(pair.norm);
            }
        }
        for &norm in &behind {
            let channels = values.inventory[norm].channels;
            board.apply(STAGE, norm, Finding::kept(Objection::BehindActivation { channels }));
        }
        // One piece of code runs them all: behind a GELU or a SiLU, too, most norms have a mean that is a little negative.
        let Some(&first) = behind.first() else { continue };
        let has_kin = board.book.has(Rule::KinBehindActivation);
        let others = template.pairs.iter().map(|pair| pair.norm).filter(|norm| has_kin && !behind.contains(norm));
        board.apply_all(STAGE, others.map(|norm| (norm, Finding::kept(Objection::KinBehindActivation(first)))));
    }
    Ok(())
}
