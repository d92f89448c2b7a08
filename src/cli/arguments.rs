//! The command line as typed: names and help.
//!
//! In: words. Out: a [`Cli`]. What values may be is in `values.rs`; nothing is resolved here.

mod fold;
mod machine;
mod shared;

use std::path::PathBuf;

use bnfold_gpu::store::Location;
use clap::{Args, Parser, Subcommand};

use shared::{REPORTS, WHAT_IS_FOLDED};

use super::values::{Format, location, max_ulp};
pub(crate) use fold::FoldArguments;
pub(crate) use machine::{ArchsArguments, BenchArguments, DevicesArguments};
pub(crate) use shared::{DenialArguments, InputArguments, PlanningArguments, SelectionArguments, Verbosity};

/// Fuse BatchNorm into the convolutions and linear layers before it (Conv-BN folding), right in .safetensors checkpoints.
#[derive(Debug, Parser)]
#[command(name = "bnfold-gpu", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(override_usage = "bnfold-gpu [OPTIONS] <PATH>...\n       bnfold-gpu <COMMAND>")]
#[command(after_help = "Examples:
  bnfold-gpu model.safetensors
      writes model.folded.safetensors beside it
  bnfold-gpu model.safetensors --style drop-in
      for model code that expects its norms
  bnfold-gpu zoo --output folded
      every checkpoint below zoo; the same command goes on after an interruption
  bnfold-gpu plan model.safetensors
      what would be folded, and why
  bnfold-gpu verify model.safetensors model.folded.safetensors
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
    /// Fold; the same as without a command
    Fold(Box<FoldArguments>),
    /// Show what would be folded and why; write nothing
    Plan(PlanArguments),
    /// Check a folded file, made by any tool, against its original
    Verify(VerifyArguments),
    /// Say what a checkpoint is and, of a result, how it was made
    Info(InfoArguments),
    /// Make one HTML page from what `fold --format json` printed, in one run or several
    Report(ReportArguments),
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
    /// Print the manual page of the program or of a command
    Man(ManArguments),
}

#[derive(Debug, Args)]
pub(crate) struct InfoArguments {
    /// Files, or indices of sharded checkpoints; URLs of these; repositories with one model (hf://ORG/NAME[@REVISION])
    #[arg(required = true, value_name = "PATH", value_parser = location())]
    pub(crate) paths: Vec<Location>,
    /// What is printed on stdout; json is one object a checkpoint
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Files of lines as `fold --format json` prints them; of several lines about one model the last one counts
    #[arg(required = true, value_name = "MANIFEST")]
    pub(crate) manifests: Vec<PathBuf>,
    /// The page, as --report writes it; an earlier report is replaced
    #[arg(short, long, value_name = "FILE.html", value_parser = location())]
    pub(crate) output: Location,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Whose page, if not the program's
    pub(crate) command: Option<String>,
    /// Write the pages of the program and of all its commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) inputs: InputArguments,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Check this plan against the checkpoint and print it completed
    #[arg(long, help_heading = WHAT_IS_FOLDED, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Print how this norm came to be folded or kept: every proposal, every objection, every measurement
    #[arg(long, help_heading = REPORTS, value_name = "NORM", conflicts_with_all = ["plan", "format"])]
    pub(crate) explain: Option<String>,
    /// What is printed on stdout; json is what --plan takes
    #[arg(long, help_heading = REPORTS, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) denial: DenialArguments,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
}

/// Two checkpoints, named in this order or by options.
#[derive(Debug, Args)]
pub(crate) struct PairArguments {
    /// The checkpoint before folding: a file, an index, a URL, a repository with one model (hf://ORG/NAME[@REVISION])
    #[arg(value_name = "ORIGINAL", value_parser = location(), conflicts_with_all = ["original", "folded"])]
    first: Option<Location>,
    /// The checkpoint after folding
    #[arg(value_name = "FOLDED", value_parser = location(), conflicts_with_all = ["original", "folded"])]
    second: Option<Location>,
    /// The first of the two, as an option
    #[arg(long, requires = "folded", value_name = "PATH", value_parser = location())]
    original: Option<Location>,
    /// The second
    #[arg(long, requires = "original", value_name = "PATH", value_parser = location())]
    folded: Option<Location>,
}

impl PairArguments {
    /// The checkpoint before folding.
    pub(crate) fn original(&self) -> Option<&Location> {
        self.original.as_ref().or(self.first.as_ref())
    }

    /// The checkpoint after folding.
    pub(crate) fn folded(&self) -> Option<&Location> {
        self.folded.as_ref().or(self.second.as_ref())
    }
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) pair: PairArguments,
    /// The plan that the file was folded with, if the planner would not make the same
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Largest error accepted, in units in the last place of any type [default: what a right fold may be off by: 8 of F32 and
    /// F64, one rounding of F16 and BF16]
    #[arg(long, value_name = "ULP", value_parser = max_ulp, allow_negative_numbers = true)]
    pub(crate) max_ulp: Option<f64>,
    /// Fail if norms could have been folded and were not
    #[arg(long)]
    pub(crate) strict: bool,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// On stderr only errors, and warnings of what may change results
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
