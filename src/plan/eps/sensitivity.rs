//! 2 PLAN, eps: what is at stake where an eps is only assumed.
//!
//! In: a plan and the running variances of the norms in question. Out: for every assumed eps the largest factor by which
//! a channel's scale would change under the other value that it may really have.

use super::EpsLookup;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::Fold;
use crate::plan::Plan;
use crate::text::{counted, shown};

/// An assumed eps and how much is at stake.
#[derive(Debug, Clone, PartialEq)]
pub struct EpsWarning {
    /// How many norms use it.
    pub norms: usize,
    /// The value assumed.
    pub assumed: f64,
    /// The other value that it may be.
    pub other: f64,
    /// The largest factor between a channel's scales under the two.
    pub factor: f64,
    /// The norm where that is.
    pub norm: String,
}

/// For every eps that is only assumed: how much the scales would change under the other value.
pub(in crate::plan) fn at_stake(
    plan: &Plan,
    folds: &[Fold],
    checkpoint: &Checkpoint,
    lookup: &EpsLookup,
) -> Result<Vec<EpsWarning>> {
    let assumed = plan.folds().filter(|(_, line)| line.eps_source.is_assumed()).map(|(norm, _)| norm);
    let assumed = assumed.collect::<std::collections::HashSet<_>>();
    let mut warnings: Vec<EpsWarning> = Vec::new();
    for fold in folds.iter().filter(|fold| assumed.contains(fold.norm.name.as_str())) {
        let (eps, other) = (fold.eps, lookup.other(&fold.norm, fold.eps));
        let var = checkpoint.read_f64(&fold.norm.var)?.unwrap_or_default();
        // Scales are compared by their squares' ratio; a variance that is no number is another stage's error.
        let ratios = var.iter().filter(|var| **var >= 0.0).map(|var| ((var + other) / (var + eps)).sqrt());
        let factor = ratios.map(|ratio| ratio.max(1.0 / ratio)).fold(1.0, f64::max);
        match warnings.iter_mut().find(|warning| (warning.assumed, warning.other) == (eps, other)) {
            None => warnings.push(EpsWarning { norms: 1, assumed: eps, other, factor, norm: fold.norm.name.clone() }),
            Some(warning) => {
                warning.norms += 1;
                if factor > warning.factor {
                    (warning.factor, warning.norm) = (factor, fold.norm.name.clone());
                }
            }
        }
    }
    Ok(warnings)
}

impl std::fmt::Display for EpsWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EpsWarning { norms, assumed, other, factor, norm } = self;
        write!(
            f,
            "eps {assumed:e} is assumed for {} (a checkpoint does not store it); with {other:e} a channel's \
             scale would change by up to x{factor:.3} (norm `{}`); name the architecture with --arch, or state eps with \
             --eps or --eps-for",
            counted(*norms, "norm"),
            shown(norm)
        )
    }
}
