//! The command line as typed: names and help. What values may be is in `values.rs`; nothing is resolved here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bnfold_gpu::Device;
use bnfold_gpu::store::Location;
use bnfold_gpu::verify::DEFAULT_MAX_ULP;
use bnfold_gpu::zoo::{Filter, Share};
use clap::{Args, Parser, Subcommand};
use globset::Glob;

use super::values::{
    BenchDtypeArgument, DtypeArgument, EvidenceArgument, Format, ShapeArgument, StyleArgument, eps, eps_for, location,
    max_ulp,
};

/// Fold the batch norms of .safetensors checkpoints into the layers that feed them.
#[derive(Debug, Parser)]
#[command(name = "bnfold-gpu", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  bnfold-gpu --input model.safetensors
      writes model.folded.safetensors beside it
  bnfold-gpu --input model.safetensors --style drop-in
      for model code that expects its norms
  bnfold-gpu --input zoo --output folded
      every checkpoint below zoo; the same command goes on after an interruption
  bnfold-gpu plan --input model.safetensors
      what would be folded, and why
  bnfold-gpu verify --original a.safetensors --folded b.safetensors
      whether two files are the same network

Exit status: 0 done, 1 a model or a check failed, 2 the command line was wrong,
130 interrupted.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) fold: FoldArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would be folded and why; write nothing
    Plan(PlanArguments),
    /// Check a folded file, made by any tool, against its original
    Verify(VerifyArguments),
    /// List graphics adapters, their limits, and which one is picked
    Devices(DevicesArguments),
    /// Measure how fast this machine folds, beside how fast it copies
    Bench(BenchArguments),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// The default command: fold.
#[derive(Debug, Args)]
pub(crate) struct FoldArguments {
    /// Checkpoints to fold: files, indices of sharded ones, folders with everything below them; or URLs of these
    /// (s3://, gs://, az://; of files also https://)
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH", value_parser = location())]
    pub(crate) input: Vec<Location>,
    /// Where the result goes: a file, or a folder for several inputs, or a URL (s3://, gs://, az://) [default:
    /// NAME.folded.safetensors beside NAME]
    #[arg(short, long, value_name = "PATH", value_parser = location())]
    pub(crate) output: Option<Location>,
    /// What computes: auto, cpu, gpu, or gpu:N (several as gpu:0,gpu:1). auto takes the best hardware GPU where that is not
    /// slower than the CPU, which it is for small models
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: Device,
    /// strip: norms go, biases are added. drop-in: every tensor stays, for unmodified model code
    #[arg(long, value_enum, default_value = "strip")]
    pub(crate) style: StyleArgument,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Follow this plan (as `plan --format json` prints it) instead of planning
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Fail if any norm would be left unfolded
    #[arg(long)]
    pub(crate) strict: bool,
    /// Skip the comparisons with the f64 reference and, for a GPU, with the CPU
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Float type of the output; a change of type is the CPU's work
    #[arg(long, value_enum, default_value = "keep")]
    pub(crate) dtype: DtypeArgument,
    /// Do not wait until the output is on disk (fsync); a power cut may leave it with zeros for weights
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Write results that are not finite instead of refusing them
    #[arg(long)]
    pub(crate) allow_non_finite: bool,
    /// Replace outputs that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Write a page for a browser: every model, layer and remark, with plots; an earlier report is replaced
    #[arg(long, value_name = "FILE.html", value_parser = location())]
    pub(crate) report: Option<Location>,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(flatten)]
    pub(crate) zoo: ZooArguments,
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
    /// Models under way at a time [default: one a core, 8 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Only part I of N (I from 0) of the models, by a hash of their names: for job arrays
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Share>,
}

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
    /// How far values may speak for or against a pair. auto: running statistics, and a sample of the weights. full: all
    /// weights are read, and norms that names leave open are paired by values alone. none: names and shapes only
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) evidence: EvidenceArgument,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// Checkpoints to plan: files, indices of sharded ones, folders with everything below them; or URLs of these
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH", value_parser = location())]
    pub(crate) input: Vec<Location>,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Check this plan against the checkpoint and print it completed
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Print how this norm came to be folded or kept: every proposal, every objection, every measurement
    #[arg(long, value_name = "NORM", conflicts_with_all = ["plan", "format"])]
    pub(crate) explain: Option<String>,
    /// What is printed on stdout; json is what --plan takes
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The checkpoint before folding
    #[arg(long, value_name = "PATH", value_parser = location())]
    pub(crate) original: Location,
    /// The checkpoint after folding
    #[arg(long, value_name = "PATH", value_parser = location())]
    pub(crate) folded: Location,
    /// The plan it was folded by, if it is not what the planner would do
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Largest error accepted, in units in the last place
    #[arg(long, default_value_t = DEFAULT_MAX_ULP, value_name = "ULP", value_parser = max_ulp, allow_negative_numbers = true)]
    pub(crate) max_ulp: f64,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// No warnings on stderr, errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArguments {
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Checkpoint to fold instead of a synthetic one
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["shape", "dtype", "size_mb"], value_parser = location())]
    pub(crate) input: Option<Location>,
    /// Network whose shapes the synthetic checkpoint takes
    #[arg(long, value_enum, default_value = "resnet152")]
    pub(crate) shape: ShapeArgument,
    /// Its element type
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: BenchDtypeArgument,
    /// Its size in megabytes; the network is repeated or cut short [default: one whole network]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) size_mb: Option<u64>,
    /// Rounds that count; each measures everything once
    #[arg(long, default_value = "5", value_name = "N")]
    pub(crate) runs: NonZeroUsize,
    /// Begin no further round that would end after so many seconds
    #[arg(long, default_value_t = 45, value_name = "N")]
    pub(crate) seconds: u64,
    /// What is measured beside the CPU; auto takes hardware only, gpu a software adapter too
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: Device,
    /// Folder for what is written, and removed again [default: the system's temporary folder]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
