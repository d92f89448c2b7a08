//! 2 PLAN, propose: what the catalogue knows about the architecture.
//!
//! In: the board as names and shapes left it, and the rules that are in force. Out: pairs, norms that stay. A rule is code that somebody
//! read, so it goes before names; but the name of the architecture comes from outside, so it must fit: one pair whose shapes
//! contradict condemns its line for the whole file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::produces::puts_out;
use super::transposed::KnownKinds;
use crate::network::{ChannelMap, Inventory, NormId, Op, WeightId};
use crate::plan::board::{Board, Finding, Hypothesis, Standing};
use crate::plan::catalogue::{KnownPairs, PairLine, Path};
use crate::plan::object::weight::{layer_of, stated_layer_of};
use crate::plan::reason::{Objection, RuleMisfit, Support};
use crate::plan::rulebook::Rulebook;

/// How `--explain` calls what happens here.
const STAGE: &str = "catalogue";

/// A pair that a line speaks for.
struct Claim<'k> {
    norm: NormId,
    weight: WeightId,
    layer: Result<(Op, ChannelMap), Objection>,
    line: &'k PairLine,
    source: &'k str,
}

/// Puts what is known onto the board; returns what does not fit.
pub(in crate::plan) fn apply(known: &[KnownPairs], board: &mut Board<'_>) -> Vec<Arc<RuleMisfit>> {
    let modules = Modules::of(board.network);
    let mut settled = BTreeSet::new();
    let mut misfits = Vec::new();
    for rules in known {
        let kept = rules.keep.iter().flat_map(|path| modules.norms_at(path, rules));
        for norm in kept.filter(|norm| settled.insert(*norm)).collect::<Vec<_>>() {
            let objection = Objection::CatalogueKeeps { why: rules.why, source: rules.source.as_str().into() };
            board.apply(STAGE, norm, Finding::kept(objection));
        }
        for line in rules.pairs {
            let claims = modules.claims(board.network, line, rules);
            let claims = claims.into_iter().filter(|claim| !settled.contains(&claim.norm)).collect::<Vec<_>>();
            match misfit(&claims) {
                None => {
                    settled.extend(claims.iter().map(|claim| claim.norm));
                    claims.iter().for_each(|claim| carry_out(claim, board));
                }
                Some(misfit) => {
                    let misfit = Arc::new(misfit);
                    // What names decided stands; what they left open is open because of the misfit, too.
                    let objected =
                        |claim: &Claim<'_>| (claim.norm, Finding::Objected(Objection::CatalogueMisfit(misfit.clone())));
                    board.apply_all(STAGE, claims.iter().map(objected));
                    misfits.push(misfit);
                }
            }
        }
    }
    misfits
}

/// How a line's weight puts out `channels`. Almost any shape could be a grouped transposed convolution's: that is
/// believed only where the line says so.
fn layer(network: &Inventory, weight: WeightId, channels: u64, line: &PairLine) -> Result<(Op, ChannelMap), Objection> {
    let book = Rulebook::default();
    match line.op {
        Some(op) => stated_layer_of(book, network, weight, channels, op),
        None if puts_out(book, &network[weight], channels) => {
            layer_of(book, network, weight, channels, &KnownKinds::default())
        }
        None => Err(Objection::WrongChannels { weight, channels }),
    }
}

/// Why the line of these claims does not hold in this file.
fn misfit(claims: &[Claim<'_>]) -> Option<RuleMisfit> {
    let mut wanted = BTreeMap::new();
    claims.iter().for_each(|claim| *wanted.entry(claim.weight).or_insert(0) += 1);
    claims.iter().find_map(|claim| {
        let problem = match &claim.layer {
            _ if wanted[&claim.weight] > 1 => Objection::SeveralNorms(claim.weight),
            Err(objection) => objection.clone(),
            Ok(_) => return None,
        };
        let rule = claim.line.text();
        Some(RuleMisfit { norm: claim.norm, rule, source: claim.source.into(), problem })
    })
}

fn carry_out(claim: &Claim<'_>, board: &mut Board<'_>) {
    let Ok((op, map)) = claim.layer else { return };
    let is_other =
        |norm: &NormId| *norm != claim.norm && board.pair(*norm).is_some_and(|pair| pair.weight == claim.weight);
    let other = board.owner(claim.weight).filter(is_other);
    if let Some(other) = other {
        let (weight, norm, source) = (claim.weight, claim.norm, claim.source.into());
        board.apply(STAGE, other, Finding::kept(Objection::FeedsAnother { weight, norm, source }));
    }
    let known = Support::Catalogue(format!("{}; {}", claim.line.text(), claim.source).into());
    let by_names = board.pair(claim.norm).filter(|pair| pair.weight == claim.weight && pair.op == op);
    let mut support = by_names.map_or_else(Vec::new, |pair| pair.support.clone());
    support.push(known);
    let pair = Hypothesis { weight: claim.weight, op, map, support, doubt: None };
    board.apply(STAGE, claim.norm, Finding::Stands(Standing::Paired(pair)));
}

/// Modules by their path, `/` between segments.
struct Modules {
    norms: Vec<String>,
    /// `None` for modules with several weights.
    weights: HashMap<String, Option<WeightId>>,
    all: BTreeSet<String>,
}

impl Modules {
    fn of(inventory: &Inventory) -> Modules {
        let slashed = |path: &String| path.replace('.', "/");
        let norms = inventory.norms.iter().map(|norm| slashed(&norm.name)).collect::<Vec<_>>();
        let mut weights = HashMap::new();
        for (index, weight) in inventory.weights.iter().enumerate() {
            weights
                .entry(slashed(&weight.module))
                .and_modify(|several| *several = None)
                .or_insert(Some(WeightId::new(index)));
        }
        let all = norms.iter().chain(weights.keys()).cloned().collect();
        Modules { norms, weights, all }
    }

    /// Whether there is a module at or below `path`.
    fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.all.contains(path) || self.all.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    fn norms_at<'m>(&'m self, path: &'m Path, rules: &'m KnownPairs) -> impl Iterator<Item = NormId> + 'm {
        let at = |name: &String| path.find(name).is_some_and(|(prefix, _)| rules.holds_below(prefix));
        self.norms.iter().enumerate().filter(move |(_, name)| at(name)).map(|(norm, _)| NormId::new(norm))
    }

    /// The pairs of a line: norms that it speaks for, where its weight and what must stand beside it are there too.
    fn claims<'k>(&self, inventory: &Inventory, line: &'k PairLine, rules: &'k KnownPairs) -> Vec<Claim<'k>> {
        let claim = |(norm, name): (usize, &String)| {
            let norm = NormId::new(norm);
            let (prefix, stars) = line.norm.find(name)?;
            let is_here = rules.holds_below(prefix) && inventory[norm].defect.is_none();
            let is_beside = line.beside.as_ref().is_none_or(|path| self.has(&path.fill(prefix, &stars)));
            let weight = self.weights.get(&line.weight.fill(prefix, &stars)).copied().flatten();
            let weight = weight.filter(|_| is_here && is_beside)?;
            let layer = layer(inventory, weight, inventory[norm].channels, line);
            Some(Claim { norm, weight, layer, line, source: &rules.source })
        };
        self.norms.iter().enumerate().filter_map(claim).collect()
    }
}
