//! The command line as typed: what bears on folding, one model or many.
//!
//! In: words. Out: [`FoldArguments`].

use std::path::PathBuf;

use bnfold_gpu::Device;
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::Share;
use clap::Args;

use super::shared::{
    CHECKS, DenialArguments, INPUT_AND_OUTPUT, InputArguments, PlanningArguments, REPORTS, SelectionArguments,
    Verbosity, WHAT_IS_FOLDED,
};
use crate::cli::values::{DtypeArgument, Format, StyleArgument, location};

/// The default command: fold.
#[derive(Debug, Args)]
pub(crate) struct FoldArguments {
    #[command(flatten)]
    pub(crate) inputs: InputArguments,
    /// Where the result goes: a file, a folder for several inputs, a URL (s3://, gs://, az://), or - for standard output
    /// [default: NAME.folded.safetensors beside NAME; of hf://ORG/NAME in the current folder, a folder NAME.folded for several
    /// files]
    #[arg(short, long, help_heading = INPUT_AND_OUTPUT, value_name = "PATH", value_parser = location())]
    pub(crate) output: Option<Location>,
    /// strip: norms go, biases are added. drop-in: every tensor stays, for unmodified model code
    /// [default: drop-in where a config.json beside the checkpoint is transformers', strip elsewhere]
    #[arg(long, help_heading = INPUT_AND_OUTPUT, value_enum)]
    pub(crate) style: Option<StyleArgument>,
    /// Float type of the output; conversions run on the CPU
    #[arg(long, help_heading = INPUT_AND_OUTPUT, value_enum, default_value = "keep")]
    pub(crate) dtype: DtypeArgument,
    /// Print which models there are and where their results would go, and stop
    #[arg(long, help_heading = INPUT_AND_OUTPUT)]
    pub(crate) dry_run: bool,
    /// Replace outputs that exist
    #[arg(long, help_heading = INPUT_AND_OUTPUT)]
    pub(crate) force: bool,
    /// Do not say in the results' metadata where they come from (`bnfold-gpu info` shows it); a zoo cannot be resumed then
    #[arg(long, help_heading = INPUT_AND_OUTPUT)]
    pub(crate) no_record: bool,
    /// Do not wait until the output is on disk (fsync); a power cut may leave it with zeros for weights
    #[arg(long, help_heading = INPUT_AND_OUTPUT)]
    pub(crate) no_sync: bool,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Follow this plan (as `plan --format json` prints it) instead of planning
    #[arg(long, help_heading = WHAT_IS_FOLDED, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) denial: DenialArguments,
    /// Skip the comparison with the f64 reference; what a GPU returns is compared with the CPU's bits all the same
    #[arg(long, help_heading = CHECKS)]
    pub(crate) no_verify: bool,
    /// Write results that are not finite instead of refusing them
    #[arg(long, help_heading = CHECKS)]
    pub(crate) allow_non_finite: bool,
    /// Where to fold: auto, cpu, gpu, or gpu:N (several as gpu:0,gpu:1). auto takes the best hardware GPU if `bench` has
    /// measured it on this machine and it is no slower than the CPU, and the CPU otherwise
    #[arg(long, help_heading = "Devices", default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: Device,
    /// Write a page for a browser: every model, layer and remark, with plots; an earlier report is replaced
    #[arg(long, help_heading = REPORTS, value_name = "FILE.html", value_parser = location())]
    pub(crate) report: Option<Location>,
    /// What is printed on stdout
    #[arg(long, help_heading = REPORTS, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(flatten)]
    pub(crate) zoo: ZooArguments,
}

impl FoldArguments {
    /// Whether the result itself goes to standard output.
    pub(crate) fn writes_to_stdout(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.path().as_os_str() == "-")
    }
}

/// What bears on folders and on many models.
#[derive(Debug, Args)]
#[command(next_help_heading = "Folders and many models")]
pub(crate) struct ZooArguments {
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
    /// Also copy what lies beside the weights (configurations, tokenizers), so that the output loads like the input
    #[arg(long, requires = "output")]
    pub(crate) copy_sidecars: bool,
    /// Models to process at a time [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Only part I of N (I from 0) of the models, by a hash of their names: for job arrays
    #[arg(long, value_name = "I/N", conflicts_with = "only")]
    pub(crate) shard: Option<Share>,
}
