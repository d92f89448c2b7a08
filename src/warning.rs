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
    /// Nobody states an eps, and another one may make a difference.
    #[error(
        "eps {assumed:e} is assumed for {} (a checkpoint does not store it); {}",
        counted(*norms, "norm"), at_stake(stake)
    )]
    EpsAssumed {
        /// How many norms use it.
        norms: usize,
        /// The value assumed.
        assumed: f64,
        /// What another value would change.
        stake: Stake,
        /// The architecture that the checkpoint is named after, where its norms are called as that one's are.
        suggested: Option<String>,
    },
    /// An eps is stated that hardly any network has.
    #[error(
        "eps {eps:e} is stated for {} (the first is `{}`), and hardly any network has one above {LARGEST_EPS}",
        counted(*norms, "norm"), shown(norm)
    )]
    EpsLarge {
        /// How many norms have it.
        norms: usize,
        /// The value.
        eps: f64,
        /// The first of them.
        norm: String,
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
         and may load this file wrongly without failing{}",
        shown(class), if *is_copied { "; a copy of it beside the result would invite that" } else { "" }
    )]
    ModelClass {
        /// The class.
        class: String,
        /// Whether the result gets a copy of the configuration.
        is_copied: bool,
    },
    /// The result keeps its norms' tensors, since the code that is to load it wants them.
    #[error(
        "style drop-in, since the config.json beside it is for transformers' `{}`, which loads no other rightly",
        shown(class)
    )]
    StyleChosen {
        /// The class, or the model type.
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
    /// What an earlier run said, read back from what it printed.
    #[error("{text}")]
    Told {
        /// The sentence.
        text: String,
        /// Its code; empty for a note, whose code is not printed.
        code: &'static str,
    },
    /// A GPU that should have been used could not be opened.
    #[error("folding on the CPU: {reason}")]
    GpuUnavailable {
        /// What happened.
        reason: String,
    },
}

/// What hangs on an assumed eps.
#[derive(Debug, Clone, PartialEq)]
pub struct Stake {
    /// The other value that it may be.
    pub other: f64,
    /// The largest factor between a channel's scales under the two.
    pub factor: f64,
    /// The norm where that is.
    pub norm: String,
    /// The product of the largest factors of all norms that the eps is assumed for: what may become of it where the
    /// layers stand in a row.
    pub product: f64,
    /// Whether even that is less than rounding a weight once.
    pub is_below_rounding: bool,
}

/// Of the networks in the catalogue and in the libraries it is made from, none has a larger eps. PyTorch-GAN has 0.8.
pub const LARGEST_EPS: f64 = 0.1;

impl Warning {
    /// All codes.
    pub const CODES: &[&str] = &[
        "nothing-to-fold",
        "kept",
        "evidence-left",
        "statistics-shared",
        "assumed-eps",
        "large-eps",
        "eps-contradicted",
        "eps-for-none",
        "eps-overruled",
        "architecture-disputed",
        "catalogue-misfit",
        "config-ignored",
        "style",
        "style-chosen",
        "non-finite",
        "gpu-failed",
        "gpu-unavailable",
    ];

    /// Whether it is worth knowing but nothing to worry about.
    pub fn is_note(&self) -> bool {
        match self {
            Warning::EpsAssumed { stake, .. } => stake.is_below_rounding,
            Warning::StyleChosen { .. } => true,
            Warning::Told { code, .. } => code.is_empty(),
            _ => false,
        }
    }

    /// Whether what the network computes may not be what it should be.
    pub fn may_change_results(&self) -> bool {
        match self {
            Warning::NoNorms
            | Warning::NormsKept { .. }
            | Warning::EvidenceLeft { .. }
            | Warning::CatalogueMisfit { .. }
            | Warning::GpuFailed { .. }
            | Warning::GpuUnavailable { .. } => false,
            _ => !self.is_note(),
        }
    }

    /// Whether a model fails on it unless the caller allows it: what is likely a slip, and would be a wrong number or a
    /// model that loads wrongly.
    pub fn is_denied_by_default(&self) -> bool {
        matches!(self, Warning::EpsLarge { .. } | Warning::ModelClass { is_copied: true, .. })
    }

    /// A name for it that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Warning::NoNorms => "nothing-to-fold",
            Warning::NormsKept { .. } => "kept",
            Warning::EpsAssumed { .. } => "assumed-eps",
            Warning::EpsLarge { .. } => "large-eps",
            Warning::EpsContradicted { .. } => "eps-contradicted",
            Warning::StatisticsShared { .. } => "statistics-shared",
            Warning::EvidenceLeft { .. } => "evidence-left",
            Warning::EpsForNone { .. } => "eps-for-none",
            Warning::EpsOverruled { .. } => "eps-overruled",
            Warning::ArchitectureDisputed { .. } => "architecture-disputed",
            Warning::CatalogueMisfit { .. } => "catalogue-misfit",
            Warning::ConfigIgnored { .. } => "config-ignored",
            Warning::ModelClass { .. } => "style",
            Warning::StyleChosen { .. } => "style-chosen",
            Warning::Told { code, .. } => code,
            Warning::NonFinite { .. } => "non-finite",
            Warning::GpuFailed { .. } => "gpu-failed",
            Warning::GpuUnavailable { .. } => "gpu-unavailable",
        }
    }
}

fn at_stake(Stake { other, factor, norm, product, .. }: &Stake) -> String {
    let norm = shown(norm);
    let alone = format!("with {other:e} a channel's scale would change by up to {} (norm `{norm}`)", times(*factor));
    match product > factor {
        true => format!("{alone}, and along all of them by up to {}", times(*product)),
        false => alone,
    }
}

fn times(factor: f64) -> String {
    match factor {
        0.0..1.0005 => format!("x(1 + {:.0e})", factor - 1.0),
        0.0..1000.0 => format!("x{factor:.3}"),
        _ => "more than x1000".to_owned(),
    }
}

fn such_as(example: Option<&str>) -> String {
    example.map_or_else(String::new, |example| format!(", for example {}", shown(example)))
}

fn but_for(eps: Option<f64>) -> String {
    eps.map_or_else(String::new, |eps| format!(", but for the eps that config.json states, {eps:e}"))
}
