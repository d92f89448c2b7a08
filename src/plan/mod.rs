//! 2 PLAN: which norm goes into which weight, with which eps, and why; or why it stays.
//!
//! In: a checkpoint's header and the user's wishes. Out: a [`Plan`], plain data that is printed as the dry run, edited
//! by users, taken back with `--plan` and carried out by the next stage. Nothing here writes a file or knows what a GPU is.
//!
//! ```text
//! names, shapes ─ inventory ─▶ norms, weights ─ pair ─▶ pairs ─ evidence ─▶ pairs ─ eps ─▶ Plan ─ resolve ─▶ folds
//!                                                          values ┘            └ --arch, config.json, catalogue
//! ```

mod architecture;
mod catalogue;
mod eps;
mod evidence;
mod file;
mod pair;
mod resolve;
mod stake;

use serde::{Deserialize, Serialize};

pub use eps::EpsSettings;
pub use evidence::{EvidenceLevel, SAMPLE_BYTES, weigh};
pub use pair::{Verdict, pair};
pub use resolve::{Misfit, resolve};
pub use stake::EpsWarning;

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::{Fold, Inventory, Op};
use crate::parallel;
use eps::EpsLookup;

/// Version of the plan's JSON form.
pub const VERSION: u32 = 1;

/// A reason, in words, that speaks for a pair.
pub type Evidence = String;

/// What is to be done with every norm of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The checkpoint it was made for.
    pub input: String,
    /// The most frequent dialect among its norms; `null` without norms.
    pub dialect: Option<String>,
    /// The architecture, where it is known.
    pub architecture: Option<String>,
    /// One entry a norm, by name.
    pub layers: Vec<Layer>,
}

/// What is to be done with one norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The norm's module path.
    pub norm: String,
    /// Fold it or keep it.
    #[serde(flatten)]
    pub action: Action,
}

/// Fold or keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// Multiply the scale into `weight`, put the shift into `bias`.
    Fold(FoldLine),
    /// Leave every tensor as it is.
    Keep {
        /// Why, and what would settle it.
        reason: String,
    },
}

/// How one norm is folded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldLine {
    /// Kind of the layer that feeds the norm; with the dialect it fixes where the output channels lie.
    pub op: Op,
    /// Its weight.
    pub weight: String,
    /// Its bias; where there is none, the name of the one that folding creates.
    pub bias: String,
    /// Whether the bias is in the checkpoint.
    pub bias_exists: bool,
    /// Output channels.
    pub channels: u64,
    /// Groups, as far as the channel map needs them: those of a transposed convolution. 1 elsewhere, since the groups
    /// of other convolutions are not in the file and do not matter.
    pub groups: u64,
    /// Element type of the weight.
    pub dtype: String,
    /// The norm's eps.
    pub eps: f64,
    /// Where that eps comes from.
    pub eps_source: String,
    /// What speaks for the pair.
    pub evidence: Vec<Evidence>,
}

impl Plan {
    /// Norms to fold and norms to keep.
    pub fn counts(&self) -> (usize, usize) {
        let folded = self.layers.iter().filter(|layer| matches!(layer.action, Action::Fold(_))).count();
        (folded, self.layers.len() - folded)
    }

    /// The norms that stay, with the reason.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        self.layers.iter().filter_map(|layer| match &layer.action {
            Action::Keep { reason } => Some((layer.norm.as_str(), reason.as_str())),
            Action::Fold(_) => None,
        })
    }
}

/// A plan together with the folds it stands for.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its folds, checked against the checkpoint.
    pub folds: Vec<Fold>,
    /// What is at stake where an eps is only assumed.
    pub assumed: Vec<EpsWarning>,
    /// What else the user should know, sentence by sentence.
    pub notes: Vec<String>,
}

impl Planned {
    /// Everything that the user should be warned of, sentence by sentence.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.notes.iter().cloned().chain(self.assumed.iter().map(ToString::to_string))
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
            threads: parallel::all_cores(),
        }
    }
}

/// Plans a checkpoint: with the plan file's lines if there is one, with the planner's own judgement otherwise.
pub fn plan(checkpoint: &Checkpoint, settings: &PlanSettings, file: Option<&Path>) -> Result<Planned> {
    let inventory = Inventory::of(checkpoint);
    let eps = EpsLookup::new(&settings.eps, &inventory);
    let mut notes = eps.warnings.clone();
    let (plan, folds) = match file {
        Some(path) => {
            let mut file = file::PlanFile::read(path, checkpoint.path(), settings.is_one_of_several, &inventory, &eps)?;
            let folds = resolve(&file.plan, &inventory, checkpoint).map_err(|misfit| file.misfit(misfit))?;
            keep_the_unmentioned(&mut file.plan, &inventory);
            file.plan.architecture = file.plan.architecture.or_else(|| eps.architecture().map(str::to_owned));
            (file.plan, folds)
        }
        None => {
            let mut plan = judge(checkpoint, &inventory, &eps, settings, &mut notes)?;
            let folds = resolve::resolve_or_keep(&mut plan, &inventory, checkpoint);
            (plan, folds)
        }
    };
    let assumed = stake::at_stake(&plan, &folds, checkpoint, &eps)?;
    Ok(Planned { plan, folds, assumed, notes })
}

/// The planner's own plan; what of the catalogue's rules does not fit the checkpoint is added to the notes.
fn judge(
    checkpoint: &Checkpoint,
    inventory: &Inventory,
    eps: &EpsLookup,
    settings: &PlanSettings,
    notes: &mut Vec<String>,
) -> Result<Plan> {
    let mut verdicts = pair(inventory);
    notes.extend(pair::apply(inventory, &eps.known_pairs(), &mut verdicts));
    let verdicts = weigh(checkpoint, inventory, verdicts, settings)?;
    let layers = inventory
        .norms
        .iter()
        .zip(verdicts)
        .map(|(norm, verdict)| {
            let action = match verdict {
                Verdict::Likely { reason, .. } | Verdict::Keep { reason } => Action::Keep { reason },
                Verdict::Fold { weight, op, map, evidence } => {
                    let weight = &inventory.weights[weight];
                    let sourced = eps.eps(norm);
                    let line = FoldLine {
                        op,
                        weight: weight.tensor.clone(),
                        bias: weight.bias.clone(),
                        bias_exists: weight.bias_exists,
                        channels: norm.channels,
                        groups: map.groups,
                        dtype: weight.dtype.to_string(),
                        eps: sourced.value,
                        eps_source: sourced.source,
                        evidence,
                    };
                    Action::Fold(line)
                }
            };
            Layer { norm: norm.name.clone(), action }
        })
        .collect();
    let plan = Plan {
        version: VERSION,
        input: checkpoint.path().to_string_lossy().into_owned(),
        dialect: inventory.dialect().map(str::to_owned),
        architecture: eps.architecture().map(str::to_owned),
        layers,
    };
    Ok(plan)
}

/// A norm that a plan file does not mention stays.
fn keep_the_unmentioned(plan: &mut Plan, inventory: &Inventory) {
    let mentioned = plan.layers.iter().map(|layer| layer.norm.as_str()).collect::<std::collections::HashSet<_>>();
    let rest = inventory.norms.iter().filter(|norm| !mentioned.contains(norm.name.as_str()));
    let rest = rest.map(|norm| Layer {
        norm: norm.name.clone(),
        action: Action::Keep { reason: "the plan does not mention it".to_owned() },
    });
    let rest = rest.collect::<Vec<_>>();
    plan.layers.extend(rest);
}
