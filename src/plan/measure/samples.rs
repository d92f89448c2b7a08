//! 2 PLAN, measure: pairs that are alike, and which of them are looked at.
//!
//! In: the board. Out: [`Template`]s of planned folds, and samples of them. Pairs whose names differ in nothing but the
//! numbers of the scopes around them come from one piece of code: what is shown for a few of them holds for all.

use std::collections::BTreeMap;

use super::FEWEST_CHANNELS;
use super::transposed::other_kinds;
use super::values::Values;
use crate::error::Result;
use crate::network::names::template;
use crate::network::{ChannelMap, Inventory, NormId, Op, Weight, WeightId};
use crate::plan::board::Board;

/// A planned fold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) norm: NormId,
    pub(super) weight: WeightId,
    pub(super) map: ChannelMap,
}

/// Planned folds that are alike.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) pairs: Vec<Pair>,
}

/// Pairs of one template that a sample holds at most.
pub(super) const SAMPLES: usize = 3;

/// Weights or norms that one pair is compared with at most.
const RIVALS: usize = 8;

/// Names that a search for rivals looks at, at most: a flat list of names is one scope.
const LOOKED_AT: usize = 2000;

impl Template {
    /// The planned folds, by template; those with a doubt apart, so that neither kind speaks for or against the other.
    pub(super) fn group(board: &Board<'_>) -> Vec<Template> {
        let mut templates: BTreeMap<_, Template> = BTreeMap::new();
        for (norm, pair) in board.pairs() {
            let key = key(&board.network[norm].name, &board.network[pair.weight].module);
            let alone = pair.doubt.as_ref().map(|doubt| if doubt.is_its_own { Some(norm) } else { None });
            let template = templates.entry((key, alone)).or_insert_with(|| Template { pairs: Vec::new() });
            template.pairs.push(Pair { norm, weight: pair.weight, map: pair.map });
        }
        templates.into_values().collect()
    }
}

/// What alike pairs have in common: the scope around both without its numbers, and the rest of both names.
fn key(norm: &str, weight: &str) -> (String, String, String) {
    let separator = |c: char| c == '.' || c == '/';
    let common = norm.bytes().zip(weight.bytes()).take_while(|(a, b)| a == b).count();
    let scope = norm.get(..common).and_then(|common| common.rfind(separator)).map_or(0, |end| end + 1);
    // Names without a scope are numbered themselves, and so are the members of a list.
    let rest = |name: &str| {
        let rest = name.get(scope..).unwrap_or(name);
        let parts = rest.split(separator).map(|part| match part.parse::<u64>() {
            Ok(_) => "#".to_owned(),
            Err(_) if scope == 0 => template(part),
            Err(_) => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join(".")
    };
    (template(norm.get(..scope).unwrap_or_default()), rest(norm), rest(weight))
}

/// What tells `other` from `name`: the differences of their numbers, or the part of it that `name` does not share.
pub(super) fn differing(name: &str, other: &str) -> String {
    let numbers =
        |name: &str| name.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect::<Vec<i64>>();
    if template(name) == template(other) {
        let differences = numbers(name).into_iter().zip(numbers(other)).map(|(a, b)| b.wrapping_sub(a).to_string());
        return differences.collect::<Vec<_>>().join(" ");
    }
    let common = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let scope = other.get(..common).and_then(|common| common.rfind(['.', '/'])).map_or(0, |end| end + 1);
    other.get(scope..).unwrap_or(other).to_owned()
}

/// A few pairs of every template, whose weights and their rivals' take at most `bytes` together.
pub(super) fn sample(values: &mut Values<'_>, templates: &[Template], bytes: u64) -> Result<Vec<Vec<Pair>>> {
    let mut queues = Vec::new();
    for template in templates {
        let mut queue = Vec::new();
        for &pair in &template.pairs {
            let channels = values.inventory[pair.norm].channels;
            if channels >= FEWEST_CHANNELS && values.statistics(pair.norm)?.is_some() {
                // Small weights, but not so small that their channels say little.
                queue.push((channels < 32, values.bytes(pair.weight), pair));
            }
        }
        queue.sort_by_key(|&(few, bytes, pair)| (few, bytes, pair.norm));
        queues.push(queue.into_iter().map(|(.., pair)| pair).take(SAMPLES).collect::<Vec<_>>());
    }
    let mut samples = vec![Vec::new(); templates.len()];
    let mut left = bytes;
    for round in 0..SAMPLES {
        for (queue, sample) in queues.iter().zip(&mut samples) {
            let Some(&pair) = queue.get(round) else { continue };
            let rivals = rival_weights(values.inventory, pair).into_iter().map(|(weight, _)| values.bytes(weight));
            // A square weight is read once more for each other kind of layer that it may be.
            let readings = 1 + other_kinds(values.inventory, pair).len() as u64;
            let cost = values.bytes(pair.weight) * readings + rivals.sum::<u64>();
            if cost <= left {
                left -= cost;
                sample.push(pair);
            }
        }
    }
    Ok(samples)
}

/// Other weights near a pair that put as many channels out: those of the innermost scope around the norm that has any.
pub(super) fn rival_weights(inventory: &Inventory, pair: Pair) -> Vec<(WeightId, ChannelMap)> {
    let norm = &inventory[pair.norm];
    nearest(
        &norm.name,
        &inventory.weights,
        |weight| &weight.tensor,
        |index, weight| {
            let id = WeightId::new(index);
            let map = free_map(weight, norm.channels).filter(|_| id != pair.weight)?;
            Some((id, map))
        },
    )
}

/// Other norms near a pair with as many channels.
pub(super) fn rival_norms(inventory: &Inventory, pair: Pair) -> Vec<NormId> {
    let norm = &inventory[pair.norm];
    let module = &inventory[pair.weight].module;
    nearest(
        module,
        &inventory.norms,
        |norm| &norm.name,
        |index, other| {
            let id = NormId::new(index);
            (id != pair.norm && other.channels == norm.channels && other.defect.is_none()).then_some(id)
        },
    )
}

/// How `weight` puts out `channels`, if nothing about the weight itself keeps it from being folded.
pub(super) fn free_map(weight: &Weight, channels: u64) -> Option<ChannelMap> {
    free_operation(weight, channels).map(|(_, map)| map)
}

/// The same with the kind of layer: the likeliest that shapes allow.
///
/// Almost any layer that *follows* a norm could by its shape be a transposed one that feeds it, and trained ones look
/// like it (their columns go with the norm's variances): only kernels that are even in all directions are taken for
/// such.
pub(super) fn free_operation(weight: &Weight, channels: u64) -> Option<(Op, ChannelMap)> {
    if weight.aliased.is_some() || weight.side_tensor.is_some() || weight.dtype.float().is_none() {
        return None;
    }
    likely_operation(weight, channels)
}

/// The likeliest kind of layer as which `weight` puts out `channels` by its shape.
pub(super) fn likely_operation(weight: &Weight, channels: u64) -> Option<(Op, ChannelMap)> {
    let even = weight.kernel().is_some_and(|kernel| kernel.iter().all(|size| size % 2 == 0));
    let likely = |(op, map): &(Op, ChannelMap)| *op != Op::ConvTranspose || even && map.groups == 1;
    weight.producers(channels).into_iter().find(likely)
}

/// What `accept` takes of the items in the innermost scope around `path` in which it takes any; items are sorted by
/// name.
fn nearest<T, R>(
    path: &str,
    items: &[T],
    name: impl Fn(&T) -> &String,
    accept: impl Fn(usize, &T) -> Option<R>,
) -> Vec<R> {
    let separator = |c: char| c == '.' || c == '/';
    let mut scope = path;
    for _ in 0..3 {
        let end = scope.rfind(separator);
        scope = end.map_or("", |end| &scope[..end]);
        let prefix = end.map_or("", |end| &path[..=end]);
        let first = items.partition_point(|item| name(item).as_str() < prefix);
        let inside = items[first..].iter().take_while(|item| name(item).starts_with(prefix)).take(LOOKED_AT);
        let found = inside.enumerate().filter_map(|(index, item)| accept(first + index, item));
        let found = found.take(RIVALS).collect::<Vec<_>>();
        if !found.is_empty() || end.is_none() {
            return found;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_pairs_share_a_key() {
        let same = |a: (&str, &str), b: (&str, &str)| assert_eq!(key(a.0, a.1), key(b.0, b.1));
        same(("layer1.0.bn1", "layer1.0.conv1"), ("layer3.12.bn1", "layer3.12.conv1"));
        same(("features.3.conv.0.1", "features.3.conv.0.0"), ("features.17.conv.0.1", "features.17.conv.0.0"));
        same(("block1a_expand_bn", "block1a_expand_conv"), ("block4a_expand_bn", "block4a_expand_conv"));
        same(("features.4", "features.3"), ("features.7", "features.6"));
        assert_ne!(key("layer1.0.bn1", "layer1.0.conv1"), key("layer1.0.bn2", "layer1.0.conv2"));
        assert_ne!(key("layer1.0.bn1", "layer1.0.conv1"), key("stem.0.bn1", "stem.0.conv1"));
    }

    #[test]
    fn the_innermost_scope_with_rivals_is_searched() {
        let names = ["a.0.conv1", "a.0.conv2", "a.1.x.conv", "a.1.y.conv", "b"].map(str::to_owned);
        let near = |path: &str| {
            let own =
                names.iter().position(|name| name.starts_with(path.rsplit_once('.').map_or(path, |(scope, _)| scope)));
            nearest(path, &names, |name| name, |index, _| (Some(index) != own).then_some(index))
        };
        assert_eq!(near("a.0.bn1"), [1], "the scope itself");
        assert_eq!(near("a.1.x.bn"), [3], "the scope around it, where its own has none");
    }
}
