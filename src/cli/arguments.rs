//! The command line as typed: names, help, value checks that need nothing but the value. Nothing is resolved here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bnfold_gpu::bench::Shape;
use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::output::Style;
use bnfold_gpu::plan::EvidenceLevel;
use bnfold_gpu::store::conceal;
use bnfold_gpu::verify::DEFAULT_MAX_ULP;
use bnfold_gpu::zoo::{Filter, Share};
use clap::builder::{PathBufValueParser, TypedValueParser};
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
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH", value_parser = place())]
    pub(crate) input: Vec<PathBuf>,
    /// Where the result goes: a file, or a folder for several inputs, or a URL (s3://, gs://, az://) [default:
    /// NAME.folded.safetensors beside NAME]
    #[arg(short, long, value_name = "PATH", value_parser = place())]
    pub(crate) output: Option<PathBuf>,
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
    /// Do not wait until the output is on disk (fsync)
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Write results that are not finite instead of refusing them
    #[arg(long)]
    pub(crate) allow_non_finite: bool,
    /// Replace outputs that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Write a page for a browser: every model, layer and remark, with plots; an earlier report is replaced
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
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
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH", value_parser = place())]
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
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The checkpoint before folding
    #[arg(long, value_name = "PATH", value_parser = place())]
    pub(crate) original: PathBuf,
    /// The checkpoint after folding
    #[arg(long, value_name = "PATH", value_parser = place())]
    pub(crate) folded: PathBuf,
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
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["shape", "dtype", "size_mb"])]
    pub(crate) input: Option<PathBuf>,
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

/// With a NaN nothing would be accepted, whatever it is; with a negative number nothing but an error.
fn max_ulp(text: &str) -> Result<f64, String> {
    let ulp = text.parse::<f64>().ok().filter(|ulp| ulp.is_finite() && *ulp >= 0.0);
    ulp.ok_or_else(|| "expected a number of units in the last place, 0 or more".to_owned())
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
pub(crate) enum ShapeArgument {
    /// Long rows; 232 MB as f32
    Resnet152,
    /// Depthwise convolutions; 9 MB as f32
    Mobilenet,
    /// Grouped convolutions; 421 MB as f32
    Regnet,
}

impl From<ShapeArgument> for Shape {
    fn from(shape: ShapeArgument) -> Shape {
        match shape {
            ShapeArgument::Resnet152 => Shape::Resnet152,
            ShapeArgument::Mobilenet => Shape::Mobilenet,
            ShapeArgument::Regnet => Shape::Regnet,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchDtypeArgument {
    F32,
    F16,
    Bf16,
}

impl From<BenchDtypeArgument> for Float {
    fn from(dtype: BenchDtypeArgument) -> Float {
        match dtype {
            BenchDtypeArgument::F32 => Float::F32,
            BenchDtypeArgument::F16 => Float::F16,
            BenchDtypeArgument::Bf16 => Float::Bf16,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    Auto,
    Cpu,
    Gpu,
    /// Of the adapters of these numbers.
    Numbers(Vec<usize>),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            _ => {
                let number = |name: &str| name.strip_prefix("gpu:").and_then(|number| number.parse().ok());
                let numbers = text.split(',').map(number).collect::<Option<Vec<usize>>>();
                let is_distinct =
                    |numbers: &Vec<usize>| (1..numbers.len()).all(|n| !numbers[..n].contains(&numbers[n]));
                numbers.filter(is_distinct).map(Device::Numbers).ok_or_else(|| {
                    "expected auto, cpu, gpu or gpu:N with a number from `bnfold-gpu devices`; several as gpu:0,gpu:1"
                        .to_owned()
                })
            }
        }
    }
}

/// A path, or a URL without what must not be shown.
fn place() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(conceal)
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
    if glob.is_empty() {
        return Err("expected the name of a norm, or a glob, before `=`; for all norms there is --eps".to_owned());
    }
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
        assert_eq!("gpu:3".parse(), Ok(Device::Numbers(vec![3])));
        assert_eq!("gpu:3,gpu:1".parse(), Ok(Device::Numbers(vec![3, 1])));
        for wrong in ["gpu:", "cuda", "gpu:1,gpu:1", "gpu:1,2", "gpu,gpu:1", "gpu:1,"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
        assert_eq!(eps("0"), Ok(0.0));
        assert!(eps("-1e-5").is_err() && eps("nan").is_err() && eps("inf").is_err() && eps("x").is_err());
        let (glob, value) = eps_for("a=b.*=1e-3").unwrap();
        assert_eq!((glob.glob(), value), ("a=b.*", 1e-3));
        assert!(eps_for("1e-3").is_err() && eps_for("[=1").is_err() && eps_for("=1").is_err());
    }
}
