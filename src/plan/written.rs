//! 2 PLAN: the board, written down as a plan. Here findings become sentences.
//!
//! In: the board in the end, and the eps of every norm. Out: a [`Plan`].

use std::path::Path;

use super::board::{Board, Hypothesis, Standing};
use super::document::{Action, FoldLine, Layer, Plan, Reason, VERSION};
use super::eps::{EpsLookup, SourcedEps};
use super::reason::Objection;
use crate::network::{Inventory, NormId};

/// The plan for the checkpoint at `path`.
pub(super) fn plan(board: &Board<'_>, path: &Path, eps: &EpsLookup) -> Plan {
    Plan {
        version: VERSION,
        input: path.to_string_lossy().into_owned(),
        dialect: board.network.dialect().map(str::to_owned),
        architecture: eps.architecture().map(str::to_owned),
        layers: layers(board, eps),
    }
}

/// One layer per norm, in the order of the inventory.
pub(super) fn layers(board: &Board<'_>, eps: &EpsLookup) -> Vec<Layer> {
    let layer = |norm: NormId| {
        let action = match board.standing(norm) {
            Standing::Paired(pair) => Action::Fold(fold(board.network, norm, pair, eps)),
            Standing::Kept(objections) => Action::Keep(reason(board.network, objections)),
            Standing::Open(question) | Standing::Asked(question) => {
                Action::Keep(reason(board.network, &question.objections))
            }
        };
        Layer { norm: board.network[norm].name.clone(), action }
    };
    board.norms().map(layer).collect()
}

/// The first objection with its code; what else there is stands behind it.
fn reason(network: &Inventory, objections: &[Objection]) -> Reason {
    let code = objections.first().map_or("no-candidate", Objection::code);
    let sentences = objections.iter().map(|objection| objection.sentence(network)).collect::<Vec<_>>();
    Reason::new(code, sentences.join("; "))
}

fn fold(network: &Inventory, norm: NormId, pair: &Hypothesis, eps: &EpsLookup) -> FoldLine {
    let (norm, weight) = (&network[norm], &network[pair.weight]);
    let SourcedEps { value, source } = eps.eps(norm);
    let evidence = pair.support.iter().map(|support| Reason::new(support.code(), support.sentence(network)));
    FoldLine {
        op: pair.op,
        weight: weight.tensor.clone(),
        bias: weight.bias.clone(),
        bias_exists: weight.bias_exists,
        channels: norm.channels,
        groups: pair.map.groups,
        dtype: weight.dtype.to_string(),
        eps: value,
        eps_source: source,
        evidence: evidence.collect(),
    }
}
