//! The command line as typed: the commands that are about this machine and this program, and no checkpoint.
//!
//! In: words. Out: what `archs`, `devices` and `bench` are to do.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bnfold_gpu::Device;
use bnfold_gpu::store::Location;
use clap::Args;
use globset::Glob;

use crate::cli::values::{BenchDtypeArgument, Format, ShapeArgument, location};

#[derive(Debug, Args)]
pub(crate) struct DevicesArguments {
    /// What is printed on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ArchsArguments {
    /// Only those that match, by LIBRARY/NAME or by NAME alone
    #[arg(value_name = "GLOB", value_parser = Glob::new)]
    pub(crate) glob: Option<Glob>,
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
