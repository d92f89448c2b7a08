//! 2 PLAN, eps: what is at stake where an eps is only assumed.
//!
//! In: a plan and the running variances of the norms in question. Out: for every assumed eps the largest factor by which
//! a channel's scale would change under the other value that it may really have, and the product of these over the norms,
//! since layers stand in a row. Variances are in the units of the layer's output, squared.

use std::collections::HashSet;

use super::EpsLookup;
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::network::{Fold, Inventory};
use crate::plan::Plan;
use crate::plan::catalogue::suggested;
use crate::warning::{Stake, Warning};

/// Norms with one assumed eps.
struct Assumed {
    eps: f64,
    norms: usize,
    stake: Stake,
    /// The smallest unit roundoff of their weights.
    rounding: f64,
}

/// For every eps that is only assumed: how much the scales would change under the other value.
pub(in crate::plan) fn at_stake(
    plan: &Plan,
    folds: &[Fold],
    checkpoint: &Checkpoint,
    network: &Inventory,
    lookup: &EpsLookup,
) -> Result<Vec<Warning>> {
    let assumed = plan.folds().filter(|(_, line)| line.eps_source.is_assumed()).map(|(norm, _)| norm);
    let assumed = assumed.collect::<HashSet<_>>();
    let mut found: Vec<Assumed> = Vec::new();
    for fold in folds.iter().filter(|fold| assumed.contains(fold.norm.name.as_str())) {
        let (eps, other) = (fold.eps, lookup.other(&fold.norm, fold.eps));
        let factor = factor(&checkpoint.read_f64(&fold.norm.var)?.unwrap_or_default(), eps, other);
        let norm = fold.norm.name.clone();
        let rounding = rounding(fold.float);
        match found.iter_mut().find(|found| (found.eps, found.stake.other) == (eps, other)) {
            None => {
                let stake = Stake { other, factor, norm, product: factor, is_below_rounding: false };
                found.push(Assumed { eps, norms: 1, stake, rounding });
            }
            Some(found) => found.add(factor, norm, rounding),
        }
    }
    let is_open = !found.is_empty() && lookup.architecture().is_none();
    let suggested = is_open.then(|| suggested(checkpoint.path(), network)).flatten();
    Ok(found.into_iter().map(|assumed| assumed.warning(suggested.clone())).collect())
}

impl Assumed {
    fn add(&mut self, factor: f64, norm: String, rounding: f64) {
        self.norms += 1;
        self.stake.product *= factor;
        self.rounding = self.rounding.min(rounding);
        if factor > self.stake.factor {
            (self.stake.factor, self.stake.norm) = (factor, norm);
        }
    }
}

/// The largest relative error of rounding a number to this type.
fn rounding(float: Float) -> f64 {
    f64::powi(
        2.0,
        match float {
            Float::Bf16 => -8,
            Float::F16 => -11,
            Float::F32 => -24,
            Float::F64 => -53,
        },
    )
}

/// The largest factor between the scales that go with two values of eps. A variance that is no number is another stage's
/// error.
fn factor(var: &[f64], eps: f64, other: f64) -> f64 {
    let ratios = var.iter().filter(|var| **var >= 0.0).map(|var| ((var + other) / (var + eps)).sqrt());
    ratios.map(|ratio| ratio.max(1.0 / ratio)).fold(1.0, f64::max)
}

impl Assumed {
    fn warning(self, suggested: Option<String>) -> Warning {
        let Assumed { eps, norms, mut stake, rounding } = self;
        stake.is_below_rounding = stake.product - 1.0 <= rounding;
        Warning::EpsAssumed { norms, assumed: eps, stake, suggested }
    }
}
