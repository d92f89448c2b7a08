//! Pairing, stage 9: what the catalogue knows about the architecture.
//!
//! In: the verdicts that names and shapes gave, and the rules that are in force. Out: verdicts. A rule is code that somebody
//! read, so it goes before names; but the name of the architecture comes from outside, so it must fit: one pair whose shapes
//! contradict condemns its line for the whole file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ledger::fold_into;
use super::shape::puts_out;
use super::{Verdict, refuse};
use crate::network::channels::ChannelMap;
use crate::network::{Inventory, Op, Weight};
use crate::plan::catalogue::{KnownPairs, PairLine, Path};

/// A pair that a line speaks for.
struct Claim<'k> {
    norm: usize,
    weight: usize,
    fold: Result<(Op, ChannelMap), String>,
    line: &'k PairLine,
    source: &'k str,
}

/// Puts what is known into `verdicts`; returns what does not fit, sentence by sentence.
pub(crate) fn apply(inventory: &Inventory, known: &[KnownPairs], verdicts: &mut [Verdict]) -> Vec<String> {
    let modules = Modules::of(inventory);
    let mut settled = BTreeSet::new();
    let mut problems = Vec::new();
    for rules in known {
        let kept = rules.keep.iter().flat_map(|path| modules.norms_at(path, rules));
        for norm in kept.filter(|norm| settled.insert(*norm)).collect::<Vec<_>>() {
            verdicts[norm] = Verdict::Keep { reason: format!("{}; {}", rules.why, rules.source) };
        }
        for line in rules.pairs {
            let claims = modules.claims(inventory, line, rules);
            let claims = claims.into_iter().filter(|claim| !settled.contains(&claim.norm)).collect::<Vec<_>>();
            match misfit(inventory, &claims) {
                None => {
                    settled.extend(claims.iter().map(|claim| claim.norm));
                    claims.iter().for_each(|claim| carry_out(inventory, claim, verdicts));
                }
                Some(problem) => {
                    claims.iter().for_each(|claim| explain(claim, &problem, verdicts));
                    problems.push(problem);
                }
            }
        }
    }
    problems
}

/// How a line's weight puts out `channels`. Almost any shape could be a grouped transposed convolution's: that is
/// believed only where the line says so.
fn fold(weight: &Weight, channels: u64, line: &PairLine) -> Result<(Op, ChannelMap), String> {
    match line.op {
        None if !puts_out(weight, channels) => Err(refuse::other_channels(weight, channels)),
        stated => fold_into(weight, channels, stated, &BTreeSet::new()),
    }
}

/// Why the line of these claims does not hold in this file.
fn misfit(inventory: &Inventory, claims: &[Claim<'_>]) -> Option<String> {
    let mut wanted = BTreeMap::new();
    claims.iter().for_each(|claim| *wanted.entry(claim.weight).or_insert(0) += 1);
    claims.iter().find_map(|claim| {
        let (norm, weight) = (&inventory.norms[claim.norm], &inventory.weights[claim.weight]);
        let problem = match &claim.fold {
            _ if wanted[&claim.weight] > 1 => format!("`{}` would feed several norms", weight.tensor),
            Err(reason) => reason.clone(),
            Ok(_) => return None,
        };
        let (rule, source) = (claim.line, claim.source);
        Some(format!(
            "norm `{}`: the rule that `{}` follows `{}` does not fit this file: {problem}; {source}",
            norm.name,
            rule.norm.text(),
            rule.weight.text()
        ))
    })
}

fn carry_out(inventory: &Inventory, claim: &Claim<'_>, verdicts: &mut [Verdict]) {
    let Ok((op, map)) = claim.fold else { return };
    let weight = &inventory.weights[claim.weight];
    for (norm, verdict) in verdicts.iter_mut().enumerate() {
        if norm != claim.norm && matches!(verdict, Verdict::Fold { weight, .. } if *weight == claim.weight) {
            let feeds = &inventory.norms[claim.norm].name;
            *verdict = Verdict::Keep { reason: refuse::feeds_another(weight, feeds, claim.source) };
        }
    }
    let known = format!("`{}` follows `{}`; {}", claim.line.norm.text(), claim.line.weight.text(), claim.source);
    let by_names = match &mut verdicts[claim.norm] {
        Verdict::Fold { weight, op: planned, evidence, .. } if *weight == claim.weight && *planned == op => {
            std::mem::take(evidence)
        }
        _ => Vec::new(),
    };
    let evidence = by_names.into_iter().chain([known]).collect();
    verdicts[claim.norm] = Verdict::Fold { weight: claim.weight, op, map, evidence };
}

/// What names decided stands; what they left open is open because of the misfit, too.
fn explain(claim: &Claim<'_>, problem: &str, verdicts: &mut [Verdict]) {
    if let Verdict::Keep { reason } | Verdict::Likely { reason, .. } = &mut verdicts[claim.norm] {
        *reason = format!("{reason}; {problem}");
    }
}

/// Modules by their path, `/` between segments.
struct Modules {
    norms: Vec<String>,
    /// `None` for modules with several weights.
    weights: HashMap<String, Option<usize>>,
    all: BTreeSet<String>,
}

impl Modules {
    fn of(inventory: &Inventory) -> Modules {
        let slashed = |path: &String| path.replace('.', "/");
        let norms = inventory.norms.iter().map(|norm| slashed(&norm.name)).collect::<Vec<_>>();
        let mut weights = HashMap::new();
        for (index, weight) in inventory.weights.iter().enumerate() {
            weights.entry(slashed(&weight.module)).and_modify(|several| *several = None).or_insert(Some(index));
        }
        let all = norms.iter().chain(weights.keys()).cloned().collect();
        Modules { norms, weights, all }
    }

    /// Whether there is a module at or below `path`.
    fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.all.contains(path) || self.all.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    fn norms_at<'m>(&'m self, path: &'m Path, rules: &'m KnownPairs) -> impl Iterator<Item = usize> + 'm {
        let at = |name: &String| path.find(name).is_some_and(|(prefix, _)| rules.holds_below(prefix));
        self.norms.iter().enumerate().filter(move |(_, name)| at(name)).map(|(norm, _)| norm)
    }

    /// The pairs of a line: norms that it speaks for, where its weight and what must stand beside it are there too.
    fn claims<'k>(&self, inventory: &Inventory, line: &'k PairLine, rules: &'k KnownPairs) -> Vec<Claim<'k>> {
        let claim = |(norm, name): (usize, &String)| {
            let (prefix, stars) = line.norm.find(name)?;
            let here = rules.holds_below(prefix) && inventory.norms[norm].defect.is_none();
            let beside = line.beside.as_ref().is_none_or(|path| self.has(&path.fill(prefix, &stars)));
            let weight = (*self.weights.get(&line.weight.fill(prefix, &stars))?).filter(|_| here && beside)?;
            let fold = fold(&inventory.weights[weight], inventory.norms[norm].channels, line);
            Some(Claim { norm, weight, fold, line, source: &rules.source })
        };
        self.norms.iter().enumerate().filter_map(claim).collect()
    }
}
