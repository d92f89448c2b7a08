//! BENCH: how fast this machine folds, beside how fast it copies.
//!
//! In: a checkpoint, or the wish for a synthetic one, and a device. Out: a [`BenchReport`]. Everything is measured in
//! rounds, each step once a round, so that a machine whose speed drifts is unfair to none of them; the first round warms
//! caches and is not counted. Nothing is printed here, and what was written is removed again, whatever happens.

mod report;
mod run;
mod statistics;
pub mod synthetic;
mod table;
mod taken;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::checkpoint::Float;
use crate::error::{Error, Result};
pub use report::{BenchAdapter, BenchModel, BenchReport, Machine, Measurement, Shares, Step};
pub use run::run;
pub use statistics::Samples;
pub use synthetic::Shape;

/// What to measure.
#[derive(Clone)]
pub struct BenchSettings<'a> {
    /// What to fold.
    pub model: BenchInput,
    /// Rounds that count.
    pub rounds: usize,
    /// No round is begun that would end after this; one is counted always.
    pub budget: Duration,
    /// Where the outputs, and a synthetic model, are written for the time.
    pub folder: &'a Path,
    /// Threads to use.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancelled: &'a AtomicBool,
}

/// What is folded.
#[derive(Debug, Clone)]
pub enum BenchInput {
    /// This checkpoint.
    File(PathBuf),
    /// A synthetic one.
    Synthetic {
        /// Its shapes.
        shape: Shape,
        /// Its element type.
        float: Float,
        /// Its size; `None` for one whole network.
        bytes: Option<u64>,
    },
}

/// What to measure beside the CPU path.
pub enum BenchDevice {
    /// Nothing, for this reason.
    None(String),
    /// This adapter, which took so long to open, from asking the system what there is.
    #[cfg(feature = "gpu")]
    Adapter(std::sync::Arc<crate::fold::gpu::GpuEngine>, Duration),
}

/// Fails if `folder` has no room for `needed` bytes; where the system does not tell, the writing itself will.
fn check_room(folder: &Path, needed: u64) -> Result<()> {
    #[cfg(target_os = "linux")]
    if let Ok(found) = rustix::fs::statvfs(folder) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < needed {
            return Err(Error::NoRoom { folder: folder.to_owned(), needed, free });
        }
    }
    let _ = (folder, needed);
    Ok(())
}

/// The host, as far as the system tells.
fn machine(threads: usize) -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        cpu: cpu.map(|(_, name)| name.to_owned()),
        threads,
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}
