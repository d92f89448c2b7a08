//! 2 PLAN, measure: norms behind concatenations.
//!
//! In: running statistics. Out: norms that hold those of other norms.

use std::collections::{HashMap, HashSet};

use super::super::values::{Statistics, Values};
use crate::error::Result;
use crate::network::NormId;

/// Norms that hold, in a quarter of their channels and at least eight, the very statistics of other norms' channels.
pub(super) fn holders(values: &mut Values<'_>) -> Result<HashSet<NormId>> {
    let count = values.inventory.norms.len();
    let mut seen: HashMap<(u64, u64), (NormId, bool)> = HashMap::new();
    let bits = |statistics: &Statistics| {
        let channels = statistics.mean.iter().zip(&statistics.var).filter(|(mean, _)| **mean != 0.0);
        channels.map(|(mean, var)| (mean.to_bits(), var.to_bits())).collect::<Vec<_>>()
    };
    for norm in (0..count).map(NormId::new) {
        let Some(statistics) = values.statistics(norm)? else { continue };
        for channel in bits(&statistics) {
            let entry = seen.entry(channel).or_insert((norm, false));
            entry.1 |= entry.0 != norm;
        }
    }
    let mut shared = HashSet::new();
    for norm in (0..count).map(NormId::new) {
        let Some(statistics) = values.statistics(norm)? else { continue };
        let twice = bits(&statistics).iter().filter(|channel| seen.get(channel).is_some_and(|entry| entry.1)).count();
        if twice >= 8 && 4 * twice >= statistics.mean.len() {
            shared.insert(norm);
        }
    }
    Ok(shared)
}
