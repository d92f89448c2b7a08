//! 2 PLAN, measure: what shapes say of a pair in all its instances.
//!
//! In: a pair that values made. Out: whether the same pair, in the other blocks of its names, does not even fit by shape: then
//! the code that runs them all does not run them so, and this one is fed by a sum, a part or a second reader's layer. The
//! weight's name may differ from the norm's by the same numbers in all blocks (`net.5` and `net.4`), or be the same one.

use std::collections::HashMap;

use super::Forbidden;
use super::reach::leaves_a_sum;
use crate::network::names::template;
use crate::network::{Inventory, NormId, WeightId};
use crate::plan::board::Board;
use crate::plan::measure::samples::likely_operation;
use crate::plan::rulebook::Rule;

/// Blocks that are asked at most.
const ASKED: usize = 256;

/// Norms by template, and weights by module.
pub(super) struct Templates<'n> {
    network: &'n Inventory,
    norms: HashMap<String, Vec<NormId>>,
    weights: HashMap<&'n str, WeightId>,
}

impl<'n> Templates<'n> {
    pub(super) fn of(network: &'n Inventory) -> Templates<'n> {
        let mut norms: HashMap<String, Vec<NormId>> = HashMap::new();
        for (index, norm) in network.norms.iter().enumerate() {
            norms.entry(template(&norm.name)).or_default().push(NormId::new(index));
        }
        let weights = network.weights.iter().enumerate();
        let weights = weights.map(|(index, weight)| (weight.module.as_str(), WeightId::new(index))).collect();
        Templates { network, norms, weights }
    }

    /// Norms of the same names as `norm` in other blocks that no weight feeds, as far as is known. `bn1` and `bn2` of a unit
    /// are fed by different layers; the members of a list are not told apart.
    pub(super) fn kin<'t>(&'t self, board: &'t Board<'_>, norm: NormId) -> impl Iterator<Item = NormId> + 't {
        let last = |norm: NormId| {
            let last = self.network[norm].name.rsplit(['.', '/']).next().unwrap_or_default();
            if last.bytes().all(|byte| byte.is_ascii_digit()) { "" } else { last }
        };
        let alike = self.norms.get(&template(&self.network[norm].name)).map_or(&[][..], Vec::as_slice);
        let is_kin = move |other: &NormId| *other != norm && board.pair(*other).is_none() && last(*other) == last(norm);
        alike.iter().copied().filter(is_kin).take(ASKED)
    }

    /// The weights that are to `other` what `weight` is to `norm`: with numbers that differ as the norms' do, or without
    /// numbers of its own the same one; each once, if it exists.
    pub(super) fn counterparts(&self, norm: NormId, weight: WeightId, other: NormId) -> Vec<WeightId> {
        let (name, module, other) = (&self.network[norm].name, &self.network[weight].module, &self.network[other].name);
        let scope = common_scope(name, module);
        let (own, rest) = (numbers(&name[scope..]), &module[scope..]);
        let begin = scope_of_depth(other, name[..scope].matches(['.', '/']).count());
        let shifted = shifted(rest, &own, &numbers(&other[begin..]));
        let at = |rest: &str| self.weights.get(format!("{}{rest}", &other[..begin]).as_str()).copied();
        let has_numbers = rest.contains(|c: char| c.is_ascii_digit());
        let same = at(rest).filter(|_| !has_numbers || shifted == rest);
        let shifted = at(&shifted);
        shifted.into_iter().chain(same.filter(|_| shifted != same)).collect()
    }

    /// Whether nothing but the values of the two themselves speaks against a pair.
    pub(super) fn allow(&self, board: &Board<'_>, forbidden: &Forbidden, norm: NormId, weight: WeightId) -> bool {
        let is_misfit = board.book.has(Rule::ValuesVote) && self.misfit(board, norm, weight);
        !is_misfit && !leaves_a_sum(board, norm, weight) && !forbidden.refused.contains(&(norm, weight))
    }

    /// Whether the pair does not fit in another block whose norm has no weight that is known.
    fn misfit(&self, board: &Board<'_>, norm: NormId, weight: WeightId) -> bool {
        self.kin(board, norm).any(|other| {
            let counterparts = self.counterparts(norm, weight, other);
            let fits =
                |weight: &WeightId| likely_operation(&self.network[*weight], self.network[other].channels).is_some();
            !counterparts.is_empty() && !counterparts.iter().any(fits)
        })
    }
}

/// Where the part begins that two paths do not share, after a separator.
fn common_scope(a: &str, b: &str) -> usize {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let shared = a.get(..common).unwrap_or_default();
    shared.rfind(['.', '/']).map_or(0, |end| end + 1)
}

/// Where the scope of so many segments ends.
fn scope_of_depth(path: &str, depth: usize) -> usize {
    let mut ends = path.match_indices(['.', '/']).map(|(end, _)| end + 1);
    depth.checked_sub(1).map_or(0, |nth| ends.nth(nth).unwrap_or(0))
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// `text` with its numbers moved by as much as `to` differs from `from`, place by place.
fn shifted(text: &str, from: &[i64], to: &[i64]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut moves = from.iter().zip(to).map(|(from, to)| to.wrapping_sub(*from));
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[begin..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| begin + length);
        out.push_str(&rest[..begin]);
        match (rest[begin..end].parse::<i64>(), moves.next()) {
            (Ok(number), Some(by)) => out.push_str(&number.wrapping_add(by).to_string()),
            _ => out.push_str(&rest[begin..end]),
        }
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_place_by_place() {
        assert_eq!(shifted("4.conv", &[5], &[9]), "8.conv");
        assert_eq!(shifted("conva", &[1], &[2]), "conva");
        assert_eq!(shifted("stage1.unit2.conv3", &[1, 3], &[2, 7]), "stage2.unit6.conv3");
    }

    #[test]
    fn scopes_are_whole_segments() {
        assert_eq!(common_scope("a.bn1", "a.bn2.conv"), 2);
        assert_eq!(common_scope("bn", "conv"), 0);
        assert_eq!(scope_of_depth("a.b.c", 2), 4);
        assert_eq!(scope_of_depth("a.b.c", 0), 0);
    }
}
