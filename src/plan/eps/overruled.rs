//! 2 PLAN, eps: what the caller states in vain, because the plan that is followed states it otherwise.
//!
//! In: a plan and what was stated beside it. Out: a warning, if there are norms that it did not reach. A plan of the
//! planner's own never has any: there the caller's word is what it writes down.

use std::collections::HashMap;

use super::EpsLookup;
use crate::network::Inventory;
use crate::plan::{FoldLine, Plan};
use crate::warning::Warning;

/// The folds of `plan` with another eps than the caller states for their norms.
pub(in crate::plan) fn overruled(plan: &Plan, network: &Inventory, lookup: &EpsLookup) -> Option<Warning> {
    let norms = network.norms.iter().map(|norm| (norm.name.as_str(), norm)).collect::<HashMap<_, _>>();
    let differs = |(name, line): (&str, &FoldLine)| {
        let stated = lookup.stated(norms.get(name)?)?.value;
        (stated != line.eps).then(|| (name.to_owned(), line.eps, stated))
    };
    let mut differing = plan.folds().filter_map(differs);
    let (norm, planned, stated) = differing.next()?;
    Some(Warning::EpsOverruled { norms: 1 + differing.count(), all: plan.counts().0, norm, planned, stated })
}
