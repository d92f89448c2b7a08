//! 2 PLAN, eps: what is at stake where an eps is only assumed.
//!
//! In: a plan and the running variances of the norms in question. Out: for every assumed eps the largest factor by which
//! a channel's scale would change under the other value that it may really have.

use std::collections::HashSet;

use super::EpsLookup;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::{Fold, Inventory};
use crate::plan::Plan;
use crate::plan::catalogue::suggested;
use crate::warning::Warning;

/// Norms with one assumed eps, and how much is at stake.
struct Stake {
    assumed: f64,
    other: f64,
    norms: usize,
    /// The largest factor between a channel's scales under the two, and the norm where that is.
    factor: f64,
    norm: String,
}

/// For every eps that is only assumed: how much the scales would change under the other value.
pub(in crate::plan) fn at_stake(
    plan: &Plan,
    folds: &[Fold],
    checkpoint: &Checkpoint,
    lookup: &EpsLookup,
) -> Result<Vec<Warning>> {
    let assumed = plan.folds().filter(|(_, line)| line.eps_source.is_assumed()).map(|(norm, _)| norm);
    let assumed = assumed.collect::<HashSet<_>>();
    let mut stakes: Vec<Stake> = Vec::new();
    for fold in folds.iter().filter(|fold| assumed.contains(fold.norm.name.as_str())) {
        let (eps, other) = (fold.eps, lookup.other(&fold.norm, fold.eps));
        let factor = factor(&checkpoint.read_f64(&fold.norm.var)?.unwrap_or_default(), eps, other);
        match stakes.iter_mut().find(|stake| (stake.assumed, stake.other) == (eps, other)) {
            None => stakes.push(Stake { assumed: eps, other, norms: 1, factor, norm: fold.norm.name.clone() }),
            Some(stake) => {
                stake.norms += 1;
                if factor > stake.factor {
                    (stake.factor, stake.norm) = (factor, fold.norm.name.clone());
                }
            }
        }
    }
    let is_open = !stakes.is_empty() && lookup.architecture().is_none();
    let suggested = is_open.then(|| suggested(checkpoint.path(), &Inventory::of(checkpoint))).flatten();
    Ok(stakes.into_iter().map(|stake| stake.warning(suggested.clone())).collect())
}

/// The largest factor between the scales that go with two values of eps. A variance that is no number is another stage's
/// error.
fn factor(var: &[f64], eps: f64, other: f64) -> f64 {
    let ratios = var.iter().filter(|var| **var >= 0.0).map(|var| ((var + other) / (var + eps)).sqrt());
    ratios.map(|ratio| ratio.max(1.0 / ratio)).fold(1.0, f64::max)
}

impl Stake {
    fn warning(self, suggested: Option<String>) -> Warning {
        let Stake { assumed, other, norms, factor, norm } = self;
        Warning::EpsAssumed { norms, assumed, other, factor, norm, suggested }
    }
}
