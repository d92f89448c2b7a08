//! The command line as typed: names, help, value checks that need nothing but the value. Nothing is resolved here.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::output::Style;
use bnfold_gpu::plan::EvidenceLevel;
use bnfold_gpu::verify::DEFAULT_MAX_ULP;
use clap::{Args, Parser, Subcommand, ValueEnum};
use globset::Glob;

/// Fold the batch norms of .safetensors checkpoints into the layers that feed them.
#[derive(Debug, Parser)]
#[command(name = "bnfold-gpu", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  bnfold-gpu --input model.safetensors
      writes model.folded.safetensors beside it
  bnfold-gpu --input model.safetensors --style drop-in
      for model code that expects its norms
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
    /// Checkpoints to fold
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// Where the result goes: a file, or a folder for several inputs [default: NAME.folded.safetensors beside NAME]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// What computes; auto takes the best hardware GPU, or the CPU where there is none
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|gpu:N")]
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
    /// Do not wait until the output is on disk (fsync)
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Write results that are not finite instead of refusing them
    #[arg(long)]
    pub(crate) allow_non_finite: bool,
    /// Replace outputs that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
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
    /// Checkpoints to plan
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Check this plan against the checkpoint and print it completed
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// What is printed on stdout; json is what --plan takes
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The checkpoint before folding
    #[arg(long, value_name = "PATH")]
    pub(crate) original: PathBuf,
    /// The checkpoint after folding
    #[arg(long, value_name = "PATH")]
    pub(crate) folded: PathBuf,
    /// The plan it was folded by, if it is not what the planner would do
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) planning: PlanningArguments,
    /// Largest error accepted, in units in the last place
    #[arg(long, default_value_t = DEFAULT_MAX_ULP, value_name = "ULP")]
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
pub(crate) struct Verbosity {
    /// No progress and no warnings on stderr, errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More detail
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Human,
    /// JSON
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StyleArgument {
    /// Norm tensors removed, biases added: what a norm-free network loads
    Strip,
    /// Every tensor stays: what unmodified model code loads
    DropIn,
}

impl From<StyleArgument> for Style {
    fn from(style: StyleArgument) -> Style {
        match style {
            StyleArgument::Strip => Style::Strip,
            StyleArgument::DropIn => Style::DropIn,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArgument {
    /// Every tensor keeps its type
    Keep,
    /// All floats become f32
    F32,
    /// All floats become f16
    F16,
    /// All floats become bf16
    Bf16,
}

impl DtypeArgument {
    pub(crate) fn float(self) -> Option<Float> {
        match self {
            DtypeArgument::Keep => None,
            DtypeArgument::F32 => Some(Float::F32),
            DtypeArgument::F16 => Some(Float::F16),
            DtypeArgument::Bf16 => Some(Float::Bf16),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvidenceArgument {
    /// Running statistics, and a sample of the weights
    Auto,
    /// Every value
    Full,
    /// Names and shapes only
    None,
}

impl From<EvidenceArgument> for EvidenceLevel {
    fn from(evidence: EvidenceArgument) -> EvidenceLevel {
        match evidence {
            EvidenceArgument::Auto => EvidenceLevel::Auto,
            EvidenceArgument::Full => EvidenceLevel::Full,
            EvidenceArgument::None => EvidenceLevel::None,
        }
    }
}

/// Which device the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Auto,
    Cpu,
    Gpu,
    Number(usize),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            _ => {
                text.strip_prefix("gpu:").and_then(|number| number.parse().ok()).map(Device::Number).ok_or_else(|| {
                    "expected auto, cpu, gpu or gpu:N with a number from `bnfold-gpu devices`".to_owned()
                })
            }
        }
    }
}

fn eps(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|_| "expected a number such as 1e-5".to_owned())?;
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err("expected a finite number of at least 0".to_owned()),
    }
}

fn eps_for(text: &str) -> Result<(Glob, f64), String> {
    let (glob, value) = text.rsplit_once('=').ok_or("expected GLOB=VALUE, for example 'backbone.*=1e-3'")?;
    Ok((Glob::new(glob).map_err(|error| error.to_string())?, eps(value)?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn devices_and_eps_are_parsed_or_refused() {
        assert_eq!("gpu:3".parse(), Ok(Device::Number(3)));
        assert!("gpu:".parse::<Device>().is_err() && "cuda".parse::<Device>().is_err());
        assert_eq!(eps("0"), Ok(0.0));
        assert!(eps("-1e-5").is_err() && eps("nan").is_err() && eps("inf").is_err() && eps("x").is_err());
        let (glob, value) = eps_for("a=b.*=1e-3").unwrap();
        assert_eq!((glob.glob(), value), ("a=b.*", 1e-3));
        assert!(eps_for("1e-3").is_err() && eps_for("[=1").is_err());
    }
}
