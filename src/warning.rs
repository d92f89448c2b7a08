//! What a caller should know although the work was done, for every stage: one enum, fields rather than strings.
//!
//! In: what a stage found out. Out: a [`Warning`], with a code that stays the same from version to version and a sentence
//! that may not. The sentence says what is the matter; which option of the command line helps is for the command line to
//! say. It has no full stop, so that advice can follow it.

use std::path::PathBuf;

use crate::text::{counted, shown};

/// Something that is not as it should be, or may not be.
///
/// `thiserror` makes the sentences; nothing returns a warning as an error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// There is nothing to fold.
    #[error("no batch norm found; the tensors were copied as they are")]
    NoNorms,
    /// Norms stay.
    #[error("{kept} of {} kept; the first is `{}`: {reason}", counted(*all, "norm"), shown(norm))]
    NormsKept {
        /// How many stay.
        kept: usize,
        /// All norms.
        all: usize,
        /// The first of those that stay.
        norm: String,
        /// Why it stays.
        reason: String,
    },
    /// Values may settle more than was read.
    #[error(
        "values may settle {} more, but the {} of weights that would have to be read for it are beyond the budget",
        counted(*norms, "norm"),
        crate::text::bytes(*bytes)
    )]
    EvidenceLeft {
        /// How many norms are open.
        norms: usize,
        /// Bytes of the weights that may feed them.
        bytes: u64,
    },
    /// A second set of weights takes its running statistics from the norms that are folded.
    #[error(
        "`{}` repeats the parameters of the norms without running statistics of its own: it shares those that are folded \
         away, and is not folded with them",
        shown(module)
    )]
    StatisticsShared {
        /// The top-level module of the other set.
        module: String,
    },
    /// Nobody states an eps, and another one would make a difference.
    #[error(
        "eps {assumed:e} is assumed for {} (a checkpoint does not store it); with {other:e} a channel's scale would \
         change by up to x{factor:.3} (norm `{}`)",
        counted(*norms, "norm"), shown(norm)
    )]
    EpsAssumed {
        /// How many norms use it.
        norms: usize,
        /// The value assumed.
        assumed: f64,
        /// The other value that it may be.
        other: f64,
        /// The largest factor between a channel's scales under the two.
        factor: f64,
        /// The norm where that is.
        norm: String,
        /// The architecture that the checkpoint is named after, where its norms are called as that one's are.
        suggested: Option<String>,
    },
    /// The architecture that was stated and the names of the modules say different things.
    #[error(
        "norm {}: {} says eps {stated:e}, but its name says {by_names:e} ({source_of_names}); the former is followed",
        shown(norm),
        shown(architecture)
    )]
    EpsContradicted {
        /// The first norm that this is about.
        norm: String,
        /// The architecture.
        architecture: String,
        /// Its eps, which is taken.
        stated: f64,
        /// The eps of the family that the names belong to.
        by_names: f64,
        /// The family, and where its eps can be read.
        source_of_names: String,
    },
    /// An eps is stated for norms that are not there: likely a slip, which leaves another eps in force.
    #[error("eps for {}: matches none of {}{}", shown(glob), counted(*norms, "norm"), such_as(example.as_deref()))]
    EpsForNone {
        /// The glob.
        glob: String,
        /// The norms that there are.
        norms: usize,
        /// One of them.
        example: Option<String>,
    },
    /// A plan that states an eps goes before one that is stated beside it.
    #[error(
        "an eps stated beside the plan does not reach {norms} of {}, whose lines state another (norm `{}`: {planned:e}, \
         not {stated:e})",
        counted(*all, "folded norm"), shown(norm)
    )]
    EpsOverruled {
        /// How many norms are not reached.
        norms: usize,
        /// How many the plan folds.
        all: usize,
        /// The first that is not reached.
        norm: String,
        /// Its eps in the plan, which is taken.
        planned: f64,
        /// The eps that was stated for it beside the plan.
        stated: f64,
    },
    /// Two sources name two architectures.
    #[error(
        "architecture {} is stated, but config.json says {}; the former is followed{}",
        shown(stated), shown(configured), but_for(*config_eps)
    )]
    ArchitectureDisputed {
        /// The one that is followed.
        stated: String,
        /// The one that `config.json` names.
        configured: String,
        /// An eps that `config.json` states, which is taken all the same.
        config_eps: Option<f64>,
    },
    /// A rule of the catalogue does not fit the checkpoint.
    #[error("{what}")]
    CatalogueMisfit {
        /// The norm, the rule, and what does not fit.
        what: String,
    },
    /// There is a `config.json`, but it is not used.
    #[error("{}: {why}; its eps, if any, is not used", path.display())]
    ConfigIgnored {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Code of the model's class would not load the result rightly.
    #[error(
        "the config.json beside the input names a model class: unmodified code of `{}` has no place for the new biases \
         and may load this file wrongly without failing",
        shown(class)
    )]
    ModelClass {
        /// The class.
        class: String,
    },
    /// Values that are not finite were written, as the caller accepts.
    #[error("{count} folded values are not finite")]
    NonFinite {
        /// How many.
        count: u64,
    },
    /// A GPU failed while it folded.
    #[error("GPU {adapter} failed ({reason}); the rest was folded on the CPU")]
    GpuFailed {
        /// The adapter's name.
        adapter: String,
        /// What happened.
        reason: String,
    },
    /// A GPU that should have been used could not be opened.
    #[error("folding on the CPU: {reason}")]
    GpuUnavailable {
        /// What happened.
        reason: String,
    },
}

impl Warning {
    /// A name for it that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Warning::NoNorms => "no-norms",
            Warning::NormsKept { .. } => "norms-kept",
            Warning::EpsAssumed { .. } => "eps-assumed",
            Warning::EpsContradicted { .. } => "eps-contradicted",
            Warning::StatisticsShared { .. } => "statistics-shared",
            Warning::EvidenceLeft { .. } => "evidence-left",
            Warning::EpsForNone { .. } => "eps-for-none",
            Warning::EpsOverruled { .. } => "eps-overruled",
            Warning::ArchitectureDisputed { .. } => "architecture-disputed",
            Warning::CatalogueMisfit { .. } => "catalogue-misfit",
            Warning::ConfigIgnored { .. } => "config-ignored",
            Warning::ModelClass { .. } => "model-class",
            Warning::NonFinite { .. } => "non-finite",
            Warning::GpuFailed { .. } => "gpu-failed",
            Warning::GpuUnavailable { .. } => "gpu-unavailable",
        }
    }
}

fn such_as(example: Option<&str>) -> String {
    example.map_or_else(String::new, |example| format!(", for example {}", shown(example)))
}

fn but_for(eps: Option<f64>) -> String {
    eps.map_or_else(String::new, |eps| format!(", but for the eps that config.json states, {eps:e}"))
}
