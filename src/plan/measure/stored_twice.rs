//! 2 PLAN, measure: one norm that is stored under several names.
//!
//! In: pairs. Out: objections. A module that a network registers twice (`bn1` and `conv1.1`) is stored twice. Folded under one
//! name and kept under the other it is the identity or the norm, whichever a loader reads last. Norms that hold equal numbers
//! are one norm; where each of them is paired, with weights that are equal too, the file holds a network twice (an average
//! of its weights beside it), and both are folded alike.

use std::collections::BTreeMap;

use super::tied;
use super::values::Values;
use crate::error::Result;
use crate::network::NormId;
use crate::plan::board::{Board, Finding};
use crate::plan::reason::Objection;

/// How `--explain` calls this test.
const STAGE: &str = "stored twice";

/// Fewer channels than these may be equal by chance or by construction.
const FEWEST: usize = 4;

/// A norm's scale and shift, where it has them.
type Affine = Option<(Vec<f64>, Vec<f64>)>;

/// Refuses folds of norms that are stored under another name too, where they are not folded alike.
pub(super) fn refuse(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<()> {
    let mut same: BTreeMap<Vec<u64>, Vec<NormId>> = BTreeMap::new();
    for norm in board.norms().filter(|norm| !board.network[*norm].is_bare()) {
        let Some(statistics) = values.statistics(norm)?.filter(|found| found.mean.len() >= FEWEST) else { continue };
        let numbers = statistics.mean.iter().chain(&statistics.var).map(|number| number.to_bits());
        same.entry(numbers.collect()).or_default().push(norm);
    }
    for group in same.into_values().filter(|group| group.len() > 1) {
        let mut alike: Vec<(Affine, Vec<NormId>)> = Vec::new();
        for norm in group {
            let affine = values.affine(norm)?;
            match alike.iter_mut().find(|(known, _)| *known == affine) {
                Some((_, norms)) => norms.push(norm),
                None => alike.push((affine, vec![norm])),
            }
        }
        for (_, norms) in alike.into_iter().filter(|(affine, norms)| affine.is_some() && norms.len() > 1) {
            let weights = norms.iter().filter_map(|&norm| board.pair(norm)).map(|pair| pair.weight).collect::<Vec<_>>();
            if weights.len() == norms.len() && tied::are_equal(values, &weights)? {
                continue;
            }
            for &norm in &norms {
                let other = norms.iter().copied().find(|&other| other != norm).unwrap_or(norm);
                if board.pair(norm).is_some() {
                    board.apply(STAGE, norm, Finding::kept(Objection::StoredTwice(other)));
                }
            }
        }
    }
    Ok(())
}
