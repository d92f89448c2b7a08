//! 2 PLAN, measure: where the weight of an open norm may lie.
//!
//! In: why names left a norm open. Out: its [`Reach`]. The first norm of a unit that runs its norms first is fed through an
//! addition, a concatenation or a pool, and where a single layer feeds it (the stem, in the first unit) the unit's way around
//! reads that layer too: its running statistics follow the layer, and it must stay all the same. Nor does a norm elsewhere take
//! the layer of a unit that holds another free layer of that width: the two are added as they leave the unit (a residual
//! branch and a layer on the way around it).

use crate::network::{NormId, Weight, WeightId};
use crate::plan::board::{Board, Standing};
use crate::plan::measure::samples::likely_operation;
use crate::plan::propose::tokens::Segment;
use crate::plan::reason::Objection;
use crate::plan::rulebook::Rule;

/// Weights of a unit that are looked at.
const ASKED: usize = 256;

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
        if let Some(unit) = opened(&board.network.weights, name).filter(|_| board.book.has(Rule::OpensUnit)) {
            return Reach::Below(unit.to_owned());
        }
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

/// The unit that a norm opens by its number: units of flat names count their layers in the order in which they run
/// (`conv3_block1_0_bn`, `conv3_block1_1_conv`), and a norm below all of them runs before all of them.
fn opened<'a>(weights: &[Weight], norm: &'a str) -> Option<&'a str> {
    let (unit, number) = numbered(norm)?;
    let first = weights.partition_point(|weight| weight.tensor.as_str() < unit);
    let inside = weights[first..].iter().take_while(|weight| weight.tensor.starts_with(unit)).take(ASKED);
    let numbers =
        inside.map(|weight| numbered(&weight.module).filter(|(same, _)| *same == unit).map(|(_, number)| number));
    let least = numbers.min()??;
    (number < least).then_some(unit)
}

/// What stands before the last number of a name, and the number.
fn numbered(name: &str) -> Option<(&str, u32)> {
    let mut end = name.len();
    for token in name.rsplit('_') {
        let begin = end - token.len();
        if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some((&name[..begin], token.parse().ok()?));
        }
        end = begin.saturating_sub(1);
    }
    None
}

/// Whether the scope around `weight`, which does not hold `norm`, holds another weight that no norm owns and that puts out as
/// many channels.
pub(super) fn leaves_a_sum(board: &Board<'_>, norm: NormId, weight: WeightId) -> bool {
    let network = board.network;
    let unit = scope(&network[weight].module);
    if unit.is_empty() || network[norm].name.starts_with(unit) || !board.book.has(Rule::LeavesSum) {
        return false;
    }
    let channels = network[norm].channels;
    let first = network.weights.partition_point(|other| other.tensor.as_str() < unit);
    let inside = network.weights[first..].iter().take_while(|other| other.tensor.starts_with(unit)).enumerate();
    let is_added = |(index, other): (usize, &Weight)| {
        let id = WeightId::new(first + index);
        // A depthwise layer before the weight is the other half of a separable convolution.
        let is_half = other.is_depthwise() && !network[weight].is_depthwise();
        id != weight && !is_half && board.is_free(id) && likely_operation(other, channels).is_some()
    };
    inside.take(ASKED).any(is_added)
}

/// The path of the scope around a module, with the separator behind it.
fn scope(path: &str) -> &str {
    path.rfind(['.', '/']).map_or("", |end| &path[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_a_flat_name_counts() {
        assert_eq!(numbered("conv3_block1_0_bn"), Some(("conv3_block1_", 0)));
        assert_eq!(numbered("batch_normalization_12"), Some(("batch_normalization_", 12)));
        assert_eq!(numbered("a.b_2_x_y"), Some(("a.b_", 2)));
        for without in ["conv1_bn", "bn", "_", "a__b", "x_99999999999_y"] {
            assert_eq!(numbered(without), None, "{without}");
        }
    }
}
