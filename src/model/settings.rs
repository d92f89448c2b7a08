//! One model: how it is folded.
//!
//! In: the caller's wishes. Out: [`Settings`], and a [`PlanSource`] where there is a plan to follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::denied::Denied;
use crate::checkpoint::Float;
use crate::fold::Style;
use crate::output::{Known, Record, Replace};
use crate::plan::{Plan, PlanSettings};
use crate::warning::Warning;

/// A plan to follow.
#[derive(Debug, Clone)]
pub enum PlanSource {
    /// The one in this file, which may leave out what follows from the checkpoint.
    File(PathBuf),
    /// This one, made by the planner or by hand.
    Plan(Box<Plan>),
}

impl PlanSource {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            PlanSource::File(path) => Some(path),
            PlanSource::Plan(_) => None,
        }
    }
}

impl From<Plan> for PlanSource {
    fn from(plan: Plan) -> PlanSource {
        PlanSource::Plan(Box::new(plan))
    }
}

impl From<&Path> for PlanSource {
    fn from(path: &Path) -> PlanSource {
        PlanSource::File(path.to_owned())
    }
}

impl From<PathBuf> for PlanSource {
    fn from(path: PathBuf) -> PlanSource {
        PlanSource::File(path)
    }
}

/// Whether, and how, a result says where it comes from.
#[derive(Debug, Clone, Default)]
pub enum Recording {
    /// It does not.
    #[default]
    None,
    /// The original is hashed in part: reading all of it once more would take as long as folding it.
    Sampled,
    /// The original was hashed before, to see whether there is anything to do.
    Known(Record),
}

impl Recording {
    /// What is known before the model is folded.
    pub fn known(&self) -> Option<&Record> {
        if let Recording::Known(record) = self { Some(record) } else { None }
    }
}

/// How a model is folded: the resolved command line.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// What bears on the plan.
    pub planning: PlanSettings,
    /// What is known of the model's surroundings that the user should know too.
    pub warnings: Vec<Warning>,
    /// A plan to follow instead of the planner's.
    pub plan: Option<&'a PlanSource>,
    /// How folded norms are stored.
    pub style: Style,
    /// Whether nobody asked for that style, and it follows from [`Settings::model_class`].
    pub style_is_chosen: bool,
    /// The class, or the type, of the model whose code is to load the result, as the `config.json` beside it says.
    pub model_class: Option<String>,
    /// Whether the result gets a copy of that configuration.
    pub copies_config: bool,
    /// The float type of the output; `None` keeps every tensor's.
    pub dtype: Option<Float>,
    /// Which warnings and remarks make the model fail.
    pub denied: Denied,
    /// Replace an existing output.
    pub replace: Replace,
    /// Flush to disk before the file gets its name.
    pub sync: bool,
    /// What is known of folders, shared by all models of a run.
    pub known: Arc<Known>,
    /// The folder that the user named for results: below it the output's own is made if it is missing, and no link is
    /// followed. `None` if the output is named itself, and its folder has to be there.
    pub root: Option<PathBuf>,
    /// What the result's metadata say about where it comes from; nothing, if there is none. Files at the output's place that
    /// say the same are this very result, and stay.
    pub record: Recording,
}

impl Default for Settings<'_> {
    /// The command line's defaults; what is written is on disk before it gets its name.
    fn default() -> Self {
        Settings {
            planning: PlanSettings::default(),
            warnings: Vec::new(),
            plan: None,
            style: Style::default(),
            style_is_chosen: false,
            model_class: None,
            copies_config: false,
            dtype: None,
            denied: Denied::default(),
            replace: Replace::default(),
            sync: true,
            known: Arc::default(),
            root: None,
            record: Recording::None,
        }
    }
}
