//! The command line as typed: what several commands take.
//!
//! In: words. Out: what bears on a plan, on the choice among the checkpoints of a folder, on how much is said.

use std::path::PathBuf;

use bnfold_gpu::RemarkKind;
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::Filter;
use clap::Args;
use globset::Glob;

use crate::cli::values::{EvidenceArgument, arch_for, eps, eps_for, location};

/// Headings of the help, in the order in which they stand there.
pub(super) const INPUT_AND_OUTPUT: &str = "Input and output";
pub(super) const WHAT_IS_FOLDED: &str = "What is folded";
pub(super) const CHECKS: &str = "Checks";
pub(super) const REPORTS: &str = "Reports";

/// The checkpoints, named with or without an option.
#[derive(Debug, Args)]
#[group(id = "inputs", required = true, multiple = true)]
pub(crate) struct InputArguments {
    /// Checkpoints: files, indices of sharded ones, folders with everything below them; URLs of these
    /// (s3://, gs://, az://; of files also https://); repositories of the Hugging Face Hub (hf://ORG/NAME[@REVISION])
    #[arg(value_name = "PATH", value_parser = location())]
    paths: Vec<Location>,
    /// The same checkpoints, as an option
    #[arg(short, long, help_heading = INPUT_AND_OUTPUT, num_args = 1.., value_name = "PATH", value_parser = location())]
    input: Vec<Location>,
}

impl InputArguments {
    /// All that were named.
    pub(crate) fn all(&self) -> Vec<Location> {
        self.paths.iter().chain(&self.input).cloned().collect()
    }
}

/// Which checkpoints of a folder count.
#[derive(Debug, Args)]
#[command(next_help_heading = "Folders and many models")]
pub(crate) struct SelectionArguments {
    /// From folders, take only checkpoints whose name, folder or path below the input folder matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = Filter::pattern)]
    pub(crate) include: Vec<Glob>,
    /// From folders, take no file whose name, folder or path below the input folder matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = Filter::pattern)]
    pub(crate) exclude: Vec<Glob>,
    /// Only the model at this place below the output folder, as `--dry-run --format json` prints it: for schedulers
    #[arg(long, value_name = "PLACE")]
    pub(crate) only: Option<PathBuf>,
}

/// What bears on the plan.
#[derive(Debug, Args)]
#[command(next_help_heading = WHAT_IS_FOLDED)]
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
    /// How far values may confirm or refute a pair, or settle one that names do not. auto: running statistics, and weights
    /// within a budget that grows with the file. full: all weights. none: names and shapes only
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) evidence: EvidenceArgument,
}

/// Which warnings and remarks are failures.
#[derive(Debug, Args)]
#[command(next_help_heading = CHECKS)]
pub(crate) struct DenialArguments {
    /// Fail if a norm would stay, or if an eps that makes a difference is only assumed: --deny kept,assumed-eps
    #[arg(long)]
    pub(crate) strict: bool,
    /// Fail on these kinds of warnings and numerical remarks, for example kept, assumed-eps, style, nothing-to-fold,
    /// dead-channels; or all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) deny: Vec<RemarkKind>,
    /// Do not fail on these kinds, not even those that are denied by default (large-eps; style with --copy-sidecars)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) allow: Vec<RemarkKind>,
}

/// How much is said.
#[derive(Debug, Args)]
#[command(next_help_heading = REPORTS)]
pub(crate) struct Verbosity {
    /// Print on stderr only errors, warnings about what may change results and, for several models, how many failed
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More detail
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
