//! 2 PLAN, measure: pairs from values alone, for norms that names left open.
//!
//! In: kept norms and the weights that no norm holds. Out: pairs, each weight to at most one norm. Norms and weights are
//! compared width by width, and what an earlier way finds is taken from what a later one may find:
//!
//! 1. `predicted`: a norm before the weight predicts the norm's running means;
//! 2. `rank_agreement`: row sums and norms follow running means and variances in rank, and leave nothing that
//!    something else explains.
//!
//! 3. last, `image`: the few means of an image predict the running means behind a first layer.
//!
//! In all ways a pair must be *direct* (neither an activation nor a pool stands between) and the norm's statistics
//! must be *its own* (`concatenated`). A weight that a second norm follows as well, which no weight feeds, is used twice and
//! feeds neither (`width`); the first norm of a unit that runs its norms first takes nothing from outside the unit, whatever
//! values say (`reach`): what it follows there has a second reader; and a pair must fit by shape in every block
//! (`template_vote`). What stays undetected is a layer whose output has a second reader without a norm.
//!
//! By default the bytes of weights that may be read are limited; narrow widths come first, and what several blocks showed
//! then holds for the others of the same names (`kin`).

mod concatenated;
mod gates;
mod image;
mod kin;
mod linear_map;
mod predicted;
pub(in crate::plan) mod rank_agreement;
mod reach;
mod template_vote;
mod width;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::FEWEST_CHANNELS;
use super::values::{Reading, Values};
use crate::error::Result;
use crate::network::{NormId, WeightId};
use crate::plan::board::{Board, Finding};
use crate::plan::rulebook::Rule;
use gates::Gates;
use reach::Reach;
use template_vote::Templates;
use width::{Fitting, Found, Width, candidates_of, fitting, is_askable, is_free, norms_of};

/// How `--explain` calls what happens here.
const STAGE: &str = "values alone";

/// Pairs of a norm and a weight that are compared at most for one width; beyond that, the width is left to names.
const MOST_PAIRS: usize = 1 << 20;

/// What must not be paired.
pub(super) struct Forbidden {
    /// Pairs that values refused once.
    pub(super) refused: HashSet<(NormId, WeightId)>,
    /// Weights that are stored under several names.
    pub(super) tied: HashSet<WeightId>,
}

/// What the budget left unread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::plan) struct Unread {
    /// Norms that were not held against all weights that may feed them.
    pub(in crate::plan) norms: usize,
    /// Bytes of these weights.
    pub(in crate::plan) bytes: u64,
}

/// What is found about norms.
type Findings = Vec<(NormId, Finding)>;

/// One width of which some norm is open and may be fed by a weight that no norm holds.
struct Asked {
    channels: u64,
    norms: Vec<NormId>,
    fitting: Vec<Fitting>,
    open: usize,
    bytes: u64,
}

/// Decides what names left open; reads at most the bytes of weights that are `left`.
pub(super) fn decide(
    values: &mut Values<'_>,
    board: &mut Board<'_>,
    mut forbidden: Forbidden,
    mut left: u64,
) -> Result<Unread> {
    let mut unread = Unread::default();
    let mut asked = asked(values, board, &forbidden.tied);
    asked.retain(|width| width.norms.len().saturating_mul(width.fitting.len()) <= MOST_PAIRS);
    if asked.is_empty() {
        return Ok(unread);
    }
    asked.sort_by_key(|width| (width.bytes, width.channels));
    let concatenated = concatenated::holders(values)?;
    let befores = predicted::befores(values, &shapes(&asked, board, &forbidden.tied))?;
    let (templates, gates) = (Templates::of(board.network), Gates::of(board.network));
    for Asked { channels, norms, fitting, open, bytes } in &asked {
        let (&channels, &open, &bytes) = (channels, open, bytes);
        if bytes > left {
            (unread.norms, unread.bytes) = (unread.norms + open, unread.bytes + bytes);
            continue;
        }
        left -= bytes;
        let norms = norms_of(values, board, norms, &concatenated)?;
        let candidates = candidates_of(values, board, channels, fitting, &forbidden.tied)?;
        let width = Width { channels, norms, candidates, templates: &templates, gates: &gates, board };
        let Found { pairs, objections, refused } = width.pairs(values, &befores, &forbidden)?;
        board.apply_all(STAGE, pairs);
        board.apply_all(STAGE, objections);
        forbidden.refused.extend(refused);
    }
    kin::extend(values, board, &templates, &forbidden, &concatenated, left)?;
    if board.book.has(Rule::ImageBefore) && !image::may_be_added(values, board)? {
        for Asked { channels, norms, fitting, .. } in &asked {
            let fitting = fitting.iter().filter(|(weight, ..)| image::may_see_one(&board.network[*weight])).copied();
            let norms = norms_of(values, board, norms, &concatenated)?;
            let candidates = candidates_of(values, board, *channels, &fitting.collect::<Vec<_>>(), &forbidden.tied)?;
            let width = Width { channels: *channels, norms, candidates, templates: &templates, gates: &gates, board };
            let pairs = width.pairs_of_image(values, &forbidden)?;
            board.apply_all(STAGE, pairs);
        }
    }
    Ok(unread)
}

/// Channels in and out of the free weights, as they are in their widths.
fn shapes(asked: &[Asked], board: &Board<'_>, tied: &HashSet<WeightId>) -> BTreeSet<(u64, u64)> {
    let fitting = asked.iter().flat_map(|width| width.fitting.iter().map(|fitting| (fitting.0, width.channels)));
    let free = fitting.filter(|(weight, _)| is_free(board, *weight, tied));
    let shape = |(weight, channels): (WeightId, u64)| {
        let weight = &board.network[weight];
        Some((if weight.is_channelwise() { 1 } else { weight.inputs()? }, channels))
    };
    free.filter_map(shape).collect()
}

/// All widths worth asking about, with what asking costs.
fn asked(values: &Values<'_>, board: &Board<'_>, tied: &HashSet<WeightId>) -> Vec<Asked> {
    let mut widths: BTreeMap<u64, (Vec<NormId>, Vec<NormId>)> = BTreeMap::new();
    for norm in board.norms().filter(|norm| board.network[*norm].channels >= FEWEST_CHANNELS) {
        let (all, open) = widths.entry(board.network[norm].channels).or_default();
        all.push(norm);
        open.extend(is_askable(board, norm).then_some(norm));
    }
    let asked = widths.into_iter().filter(|(_, (_, open))| !open.is_empty()).map(|(channels, (norms, open))| {
        let fitting = fitting(board.network, channels);
        let free = fitting.iter().map(|&(weight, ..)| weight).filter(|&weight| is_free(board, weight, tied));
        let free = free.collect::<Vec<_>>();
        let is_reached = |norm: &&NormId| {
            let reach = Reach::of(board, **norm);
            free.iter().any(|&weight| reach.holds(&board.network[weight]))
        };
        let open = open.iter().filter(is_reached).count();
        let unread = |&&(weight, _, map): &&Fitting| !values.is_read(Reading { weight, map, channels });
        let bytes = fitting.iter().filter(unread).map(|&(weight, ..)| values.bytes(weight)).sum();
        Asked { channels, norms, fitting, open, bytes }
    });
    asked.filter(|width| width.open > 0).collect()
}
