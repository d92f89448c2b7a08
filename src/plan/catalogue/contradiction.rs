//! 2 PLAN, catalogue: whether a checkpoint can be what it is said to be, by what its norms are called.
//!
//! In: the norms of a checkpoint, and an architecture as `networks.json` lists it. Out: a [`Contradiction`], if the two have
//! nothing to do with each other. A network may stand below any prefix, in a larger model, without its head, folded in part,
//! made of the children of the original (`0.4.0.bn1` for `layer1.0.bn1`), or spelt a little differently: none of this is
//! one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::networks::{Group, Listed, groups};
use crate::network::{Inventory, names};

/// A network is there if its names stand for so many percent of its norms...
const SHARE: u32 = 25;
/// ... or if one of so many of the checkpoint's norms has a name of it, as where most were folded before.
const ONE_OF: usize = 2;
/// What is shown at most of the names of norms, and of architectures.
const SHOWN: usize = 3;

/// What is wrong with an architecture that a checkpoint is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// What the checkpoint's norms are called, numbers as `#`, the most frequent first.
    pub(super) called: Vec<String>,
    /// What the architecture's are called; none if it has none.
    pub(super) expected: Vec<String>,
    /// How many norms of such names there are, and how many the architecture has, where there are too many.
    pub(super) too_many: Option<(usize, usize)>,
    /// Architectures whose names fit.
    pub(super) candidates: Vec<String>,
}

/// What the norms of a checkpoint are called.
pub(super) struct Called {
    /// By the end of a path, in the form of [`plain`]: what stands before it, once for every norm.
    ends: HashMap<String, Vec<String>>,
    /// By path, numbers as `#`: how many norms.
    paths: HashMap<String, usize>,
    norms: usize,
}

/// How far a network is found below one prefix.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    /// What part of its norms has the names that are there, in percent.
    share: u32,
    /// How many of its names are there.
    names: usize,
    /// How many of the checkpoint's norms have them.
    norms: usize,
}

impl Called {
    /// The norms that follow `dialect`.
    pub(super) fn of(inventory: &Inventory, dialect: &str) -> Called {
        let norms = inventory.norms.iter().filter(|norm| norm.dialect.name == dialect);
        Called::new(norms.map(|norm| norm.name.as_str()))
    }

    pub(super) fn new<'a>(norms: impl Iterator<Item = &'a str>) -> Called {
        let mut called = Called { ends: HashMap::new(), paths: HashMap::new(), norms: 0 };
        for path in norms {
            let path = path.replace('/', ".");
            called.norms += 1;
            *called.paths.entry(names::template(&path)).or_default() += 1;
            let starts = [0].into_iter().chain(path.match_indices('.').map(|(dot, _)| dot + 1));
            for start in starts {
                called.ends.entry(plain(&path[start..])).or_default().push(path[..start].to_owned());
            }
        }
        called
    }

    /// What speaks against the architecture.
    pub(super) fn contradicts(&self, listed: Listed) -> Option<Contradiction> {
        let group = listed.group.filter(|_| self.norms > 0)?;
        let there = self.find(group).into_iter().filter(|found| self.is_there(*found)).collect::<Vec<_>>();
        let most = listed.most.unwrap_or(usize::MAX);
        if there.iter().any(|found| found.norms <= most) {
            return None;
        }
        let too_many = there.iter().map(|found| (found.norms, most)).min();
        let candidates = self.candidates();
        Some(Contradiction { called: self.most_frequent(), expected: largest(group), too_many, candidates })
    }

    fn is_there(&self, found: Found) -> bool {
        found.share >= SHARE || found.norms * ONE_OF >= self.norms
    }

    /// How far a network of the group is found, below each prefix. Children that are counted must all be there: numbers
    /// alone are everybody's.
    fn find(&self, group: &Group) -> Vec<Found> {
        let as_is = merged(group.norms.iter().map(|(path, share)| (plain(path), *share)));
        let counted = merged(group.norms.iter().map(|(path, share)| (children_counted(path), *share)));
        let part = merged(group.norms.iter().filter_map(|(path, share)| Some((plain(part_of(path)?), *share))));
        let whole = self.below_prefixes(&counted).into_iter().filter(|found| found.names == counted.len());
        let others = self.below_prefixes(&as_is).into_iter().chain(self.below_prefixes(&part));
        others.chain(whole).collect()
    }

    fn below_prefixes(&self, ends: &BTreeMap<String, u32>) -> Vec<Found> {
        let mut below: BTreeMap<&str, Found> = BTreeMap::new();
        for (end, share) in ends {
            let prefixes = self.ends.get(end).map_or(&[][..], Vec::as_slice);
            for prefix in prefixes {
                below.entry(prefix).or_default().norms += 1;
            }
            for prefix in prefixes.iter().collect::<BTreeSet<_>>() {
                let found = below.entry(prefix).or_default();
                (found.share, found.names) = (found.share + share, found.names + 1);
            }
        }
        below.into_values().collect()
    }

    /// Architectures that have all the names, and as many norms if there are such: first those.
    fn candidates(&self) -> Vec<String> {
        let mut fitting = Vec::new();
        for group in groups().filter(|group| !group.of_library.contains(' ')) {
            let whole = |found: &Found| found.share >= 95 && found.norms * 20 >= self.norms * 19;
            let Some(found) = self.find(group).into_iter().filter(whole).map(|found| found.norms).max() else {
                continue;
            };
            let members = group.members().filter(|(_, most)| most.is_none_or(|most| most >= found));
            fitting.extend(members.map(|(name, most)| {
                let spare = most.map_or(0, |most| most - found);
                (spare, name.len(), format!("{}/{name}", group.of_library))
            }));
        }
        fitting.sort();
        fitting.into_iter().map(|(_, _, name)| name).take(SHOWN).collect()
    }

    fn most_frequent(&self) -> Vec<String> {
        let mut paths = self.paths.iter().map(|(path, norms)| (usize::MAX - norms, path)).collect::<Vec<_>>();
        paths.sort();
        paths.into_iter().map(|(_, path)| path.clone()).take(SHOWN).collect()
    }
}

/// The names of most of a group's norms.
fn largest(group: &Group) -> Vec<String> {
    let mut paths = group.norms.iter().map(|(path, share)| (u32::MAX - share, path)).collect::<Vec<_>>();
    paths.sort();
    paths.into_iter().map(|(_, path)| path.clone()).take(SHOWN).collect()
}

/// The path in a part that is saved by itself: without the words before the first numbered module, if that says more than a
/// number.
fn part_of(path: &str) -> Option<&str> {
    let numbered = path.find('#')?;
    let part = &path[path[..numbered].rfind('.')? + 1..];
    part.starts_with(char::is_alphabetic).then_some(part).filter(|part| part.contains('.'))
}

/// Shares of names that come to the same.
fn merged(ends: impl Iterator<Item = (String, u32)>) -> BTreeMap<String, u32> {
    let mut merged = BTreeMap::new();
    ends.for_each(|(end, share)| *merged.entry(end).or_default() += share);
    merged
}

/// A path without regard to case, and to what separates its words and numbers: versions of a library and wrappers differ in
/// these (`norm.1` and `norm1`, `layers.0` and `layers_0`).
fn plain(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 8);
    let mut last = None;
    for c in path.chars() {
        let is_number = c.is_ascii_digit() || c == '#';
        let kind = (is_number || c.is_alphabetic()).then_some(is_number);
        if kind.is_some() && kind != last && !out.is_empty() {
            out.push(' ');
        }
        match kind {
            Some(true) if last != kind => out.push('#'),
            Some(false) => out.push(c.to_ascii_lowercase()),
            _ => {}
        }
        last = kind;
    }
    out
}

/// The same with the first module named by its place among its parent's children.
fn children_counted(path: &str) -> String {
    plain(&match path.split_once('.') {
        Some((_, rest)) => format!("#.{rest}"),
        None => "#".to_owned(),
    })
}
