//! The command line as typed: names and help.
//!
//! In: words. Out: a [`Cli`]. What values may be is in `values.rs`; nothing is resolved here.

mod fold;
mod machine;
mod shared;

use std::path::PathBuf;

use bnfold_gpu::store::Location;
use bnfold_gpu::verify::DEFAULT_MAX_ULP;
use clap::{Args, Parser, Subcommand};

use super::values::{Format, location, max_ulp};
pub(crate) use fold::FoldArguments;
pub(crate) use machine::{ArchsArguments, BenchArguments, DevicesArguments};
pub(crate) use shared::{PlanningArguments, SelectionArguments, Verbosity};

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
    /// List the architectures that --arch takes, and their eps
    Archs(ArchsArguments),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
