//! 2 PLAN: which norm goes into which weight, with which eps, and why; or why it stays.
//!
//! In: a checkpoint and the user's wishes. Out: a [`Plan`], plain data that is printed as the dry run, edited by users, taken
//! back with `--plan` and carried out by the next stage. Nothing here writes a file or knows what a GPU is.
//!
//! ```text
//! inventory ─▶ propose ──────▶ object ──────▶ measure ──────▶ decide ─▶ Plan ─▶ resolve ─▶ folds
//!              names, shapes   names, shapes  values          eps
//!              a pair may be   a pair may     a pair is       a pair is
//!              proposed        be objected to measured        decided
//! ```
//!
//! What each room finds is data (`reason`), and goes onto one `board`, by one method. Every rule is a row of one table
//! (`rulebook`); the order in which they are asked is another (`rounds`).

mod architecture;
mod board;
mod catalogue;
mod decide;
mod document;
mod eps;
mod explain;
mod file;
mod filled;
mod json;
mod meant;
mod measure;
mod object;
mod problem;
mod propose;
mod reason;
mod resolve;
mod rounds;
mod rulebook;
#[cfg(test)]
mod tests;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::network::EpsSource;
pub(crate) use architecture::check_name as check_architecture;
pub use catalogue::{Architecture, ArchitecturePart, ArchitectureProblem, architectures, nearest_architecture};
pub use document::{Action, FoldLine, Layer, Plan, Reason, VERSION};
pub use eps::EpsSettings;
pub use explain::{Explanation, Step, explain};
pub(crate) use file::load;
pub use measure::{EvidenceLevel, SAMPLE_BYTES};
pub use problem::LineProblem;
pub use resolve::{Misfit, resolve};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::network::{Fold, Inventory, NormId};
use crate::parallel;
use crate::warning::Warning;
use board::Board;
use eps::EpsLookup;
use file::Meant;
use filled::ByName;
use meant::Model;
use measure::Unread;
use propose::Names;
use reason::RuleMisfit;
use rulebook::Rulebook;

/// A plan together with the folds it stands for.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its folds, checked against the checkpoint.
    pub folds: Vec<Fold>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

impl Planned {
    /// That norms stay, or that there are none.
    pub fn kept(&self) -> Option<Warning> {
        let (folded, kept) = self.plan.counts();
        let all = folded + kept;
        if all == 0 {
            return Some(Warning::NoNorms);
        }
        let (norm, reason) = self.plan.kept().next()?;
        Some(Warning::NormsKept { kept, all, norm: norm.to_owned(), reason: reason.text.clone() })
    }
}

/// What bears on a plan besides the checkpoint itself.
#[derive(Debug, Clone)]
pub struct PlanSettings {
    /// What is known about eps.
    pub eps: EpsSettings,
    /// How much of the checkpoint's values is looked at.
    pub evidence: EvidenceLevel,
    /// Whether one call plans several checkpoints: a plan file's plan for another one is not followed then.
    pub is_one_of_several: bool,
    /// Where the checkpoint lies below the folder that was named, if one was: a plan file made for a copy of that folder
    /// knows it by this path.
    pub below: Option<PathBuf>,
    /// Threads that look at values; in a zoo, the share of its threads that a model has. The plan is the same for any number.
    pub threads: usize,
}

impl Default for PlanSettings {
    /// The command line's defaults, on all cores.
    fn default() -> Self {
        PlanSettings {
            eps: EpsSettings::default(),
            evidence: EvidenceLevel::default(),
            is_one_of_several: false,
            below: None,
            threads: parallel::all_cores(),
        }
    }
}

/// Plans a checkpoint: with the plan file's lines if there is one, with the planner's own judgement otherwise.
pub fn plan(checkpoint: &Checkpoint, settings: &PlanSettings, file: Option<&Path>) -> Result<Planned> {
    let network = Inventory::of(checkpoint);
    let eps = look_up(settings, &network, checkpoint)?;
    if let Some(path) = file {
        let meant = Meant::For(Model {
            input: checkpoint.path(),
            below: settings.below.as_deref(),
            is_one_of_several: settings.is_one_of_several,
        });
        let (plan, places) = file::read(path, &meant, Some(&ByName::new(&network, &eps)))?;
        return take_back(plan, &network, &eps, checkpoint, |misfit, plan| places.misfit(&misfit, plan));
    }
    let Judged { board, misfits, unread } = judge(checkpoint, &network, &eps, settings, None)?;
    let mut plan = written::plan(&board, checkpoint.path(), &eps);
    let folds = resolve::resolve_or_keep(&mut plan, &network, checkpoint);
    let mut warnings = eps.warnings.clone();
    let warning = |misfit: &Arc<RuleMisfit>| Warning::CatalogueMisfit { what: misfit.sentence(&network) };
    warnings.extend(misfits.iter().map(warning));
    let folds_any = plan.layers.iter().any(|layer| matches!(layer.action, Action::Fold(_)));
    let sharer = network.sharer.clone().filter(|_| folds_any);
    warnings.extend(sharer.map(|module| Warning::StatisticsShared { module }));
    let Unread { norms, bytes } = unread;
    warnings.extend((norms > 0).then_some(Warning::EvidenceLeft { norms, bytes }));
    warnings.extend(eps::sensitivity::at_stake(&plan, &folds, checkpoint, &network, &eps)?);
    Ok(Planned { plan, folds, warnings })
}

/// What is known about eps, if what the user states can be followed.
fn look_up(settings: &PlanSettings, network: &Inventory, checkpoint: &Checkpoint) -> Result<EpsLookup> {
    let path = checkpoint.path();
    let eps = EpsLookup::new(&settings.eps, network).map_err(|misstated| misstated.of(path))?;
    // Of several models some may have no such norms.
    let idle = eps.warnings.iter().find_map(|warning| match warning {
        Warning::EpsForNone { glob, norms, example } if !settings.is_one_of_several => Some(Error::EpsForNone {
            path: path.to_owned(),
            glob: glob.clone(),
            norms: *norms,
            example: example.clone(),
        }),
        _ => None,
    });
    idle.map_or(Ok(eps), Err)
}

/// Follows `plan`, made by the planner or by hand: its lines are held against the checkpoint as those of a plan file are.
pub fn follow(plan: &Plan, checkpoint: &Checkpoint, settings: &PlanSettings) -> Result<Planned> {
    let network = Inventory::of(checkpoint);
    let eps = look_up(settings, &network, checkpoint)?;
    take_back(plan.clone(), &network, &eps, checkpoint, |misfit, plan| misfit.of(plan, checkpoint))
}

/// What a plan that was not made here comes to; `refuse` makes the error for a line that does not fit.
fn take_back(
    mut plan: Plan,
    network: &Inventory,
    eps: &EpsLookup,
    checkpoint: &Checkpoint,
    refuse: impl FnOnce(Misfit, &Plan) -> Error,
) -> Result<Planned> {
    eps::settled::settle(&mut plan, network, eps);
    let folds = resolve(&plan, network, checkpoint).map_err(|misfit| refuse(misfit, &plan))?;
    keep_the_unmentioned(&mut plan, network);
    plan.input = checkpoint.path().to_string_lossy().into_owned();
    plan.dialect = plan.dialect.or_else(|| network.dialect().map(str::to_owned));
    plan.architecture = plan.architecture.or_else(|| eps.architecture().map(str::to_owned));
    let mut warnings = eps.warnings.clone();
    warnings.extend(eps::overruled::overruled(&plan, network, eps));
    warnings.extend(eps::sensitivity::at_stake(&plan, &folds, checkpoint, network, eps)?);
    Ok(Planned { plan, folds, warnings })
}

/// The layers of a plan that names and shapes alone give; nobody states an eps.
pub fn plan_by_names(network: &Inventory) -> Vec<Layer> {
    let eps = EpsLookup::unstated(network);
    let (mut board, _) = by_names(network, &eps, Rulebook::default(), None);
    measure::without_values(&mut board);
    written::layers(&board, &eps)
}

/// The planner's own judgement: the board as it stands in the end, and rules of the catalogue that do not fit the checkpoint.
/// The history of `explained` is kept.
fn judge<'n>(
    checkpoint: &Checkpoint,
    network: &'n Inventory,
    eps: &EpsLookup,
    settings: &PlanSettings,
    explained: Option<NormId>,
) -> Result<Judged<'n>> {
    let (mut board, misfits) = by_names(network, eps, Rulebook::default(), explained);
    let unread = measure::measure(checkpoint, &mut board, settings.evidence, settings.threads)?;
    Ok(Judged { board, misfits, unread })
}

/// What the planner makes of a checkpoint.
struct Judged<'n> {
    board: Board<'n>,
    /// Rules of the catalogue that do not fit.
    misfits: Vec<Arc<RuleMisfit>>,
    /// What values may settle yet.
    unread: Unread,
}

/// What names, shapes and the catalogue say.
fn by_names<'n>(
    network: &'n Inventory,
    eps: &EpsLookup,
    book: Rulebook,
    explained: Option<NormId>,
) -> (Board<'n>, Vec<Arc<RuleMisfit>>) {
    let mut names = Names::new(network, book, explained);
    rounds::run(&mut names);
    let misfits = propose::catalogue::apply(&eps.known_pairs(), &mut names.board);
    (names.board, misfits)
}

/// A norm that a plan file does not mention stays.
fn keep_the_unmentioned(plan: &mut Plan, network: &Inventory) {
    let mentioned = plan.layers.iter().map(|layer| layer.norm.as_str()).collect::<std::collections::HashSet<_>>();
    let rest = network.norms.iter().filter(|norm| !mentioned.contains(norm.name.as_str()));
    let keep = || Action::Keep(Reason::new("unmentioned", "the plan does not mention it".to_owned()));
    let rest = rest.map(|norm| Layer { norm: norm.name.clone(), action: keep() }).collect::<Vec<_>>();
    plan.layers.extend(rest);
}
