//! The command line as typed: what several commands take.
//!
//! In: words. Out: what bears on a plan, on the choice among the checkpoints of a folder, on how much is said.

use bnfold_gpu::zoo::Filter;
use clap::Args;
use globset::Glob;

use crate::cli::values::{EvidenceArgument, arch_for, eps, eps_for};

/// Which checkpoints of a folder count.
#[derive(Debug, Args)]
#[command(next_help_heading = "Folders and many models")]
pub(crate) struct SelectionArguments {
    /// Of folders, only checkpoints whose name, path below the folder or folder matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = Filter::pattern)]
    pub(crate) include: Vec<Glob>,
    /// Of folders, no file whose name, path below the folder or folder matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = Filter::pattern)]
    pub(crate) exclude: Vec<Glob>,
}

/// What bears on the plan.
#[derive(Debug, Args)]
pub(crate) struct PlanningArguments {
    /// eps of every norm (checkpoints do not store it)
    #[arg(long, value_parser = eps, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) eps: Option<f64>,
    /// eps of the norms whose name matches a glob; the first match wins; may be repeated
    #[arg(long, value_parser = eps_for, value_name = "GLOB=VALUE")]
    pub(crate) eps_for: Vec<(Glob, f64)>,
    /// Architecture, as its library calls it, for example timm/tf_efficientnet_b0; tells eps where it is known
    #[arg(long, value_name = "LIBRARY/NAME")]
    pub(crate) arch: Option<String>,
    /// Architecture of the models whose path below the input, file name or folder matches a glob; the first match wins, and
    /// goes before --arch; may be repeated
    #[arg(long, value_parser = arch_for, value_name = "GLOB=LIBRARY/NAME")]
    pub(crate) arch_for: Vec<(Glob, String)>,
    /// How far values may speak for or against a pair. auto: running statistics, and a sample of the weights. full: all
    /// weights are read, and norms that names leave open are paired by values alone. none: names and shapes only
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) evidence: EvidenceArgument,
}

#[derive(Debug, Args)]
pub(crate) struct Verbosity {
    /// On stderr only errors, and of several models how many failed
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More detail
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
