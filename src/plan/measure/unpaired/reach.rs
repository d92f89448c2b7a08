//! 2 PLAN, measure: where the weight of an open norm may lie.
//!
//! In: why names left a norm open. Out: its [`Reach`]. The first norm of a unit that runs its norms first is fed through an
//! addition, a concatenation or a pool, and where a single layer feeds it (the stem, in the first unit) the unit's way around
//! reads that layer too: its running statistics follow the layer, and it must stay all the same.

use crate::network::{NormId, Weight};
use crate::plan::board::{Board, Standing};
use crate::plan::propose::tokens::Segment;
use crate::plan::reason::Objection;
use crate::plan::rulebook::Rule;

/// Where the weight of a norm may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    Anywhere,
    /// In modules whose paths begin like this.
    Below(String),
}

impl Reach {
    /// The reach of a norm that names left open.
    pub(super) fn of(board: &Board<'_>, norm: NormId) -> Reach {
        let Standing::Kept(objections) = board.standing(norm) else { return Reach::Anywhere };
        let runs_first =
            |objection: &Objection| matches!(objection, Objection::PreActivation(_) | Objection::NamedBefore);
        let name = &board.network[norm].name;
        let own = scope(name);
        // A scope of one norm is a link of the unit around it.
        let norms = &board.network.norms;
        let first = norms.partition_point(|other| other.name.as_str() < own);
        let is_link = norms.get(first + 1).is_none_or(|second| !second.name.starts_with(own));
        let link = if is_link { own.trim_end_matches(['.', '/']) } else { name };
        let [outer, inner] = [link, name].map(|path| Segment::read(&path[scope(path).len()..]));
        // The first of an `nn.Sequential` of layers; in a list of norms the first is one of several.
        let weights = &board.network.weights;
        let next = weights.get(weights.partition_point(|weight| weight.tensor.as_str() < own));
        let is_first_of_layers = inner.index == Some(0) && next.is_some_and(|weight| weight.tensor.starts_with(own));
        let opens_scope = is_link && outer.index == Some(0);
        let is_first = opens_scope || outer.before || inner.before || objections.iter().any(runs_first);
        match (board.book.has(Rule::OpensUnit), is_first_of_layers, is_first) {
            (false, ..) | (true, false, false) => Reach::Anywhere,
            (true, true, _) => Reach::Below(own.to_owned()),
            (true, false, true) => Reach::Below(scope(link).to_owned()),
        }
    }

    /// Whether `weight` may be the norm's.
    pub(super) fn holds(&self, weight: &Weight) -> bool {
        match self {
            Reach::Anywhere => true,
            Reach::Below(scope) => weight.module.starts_with(scope),
        }
    }
}

/// The path of the scope around a module, with the separator behind it.
fn scope(path: &str) -> &str {
    path.rfind(['.', '/']).map_or("", |end| &path[..=end])
}
