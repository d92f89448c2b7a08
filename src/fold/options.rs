//! 3 FOLD: how it is done, and who is told.
//!
//! In: the caller's wishes. Out: [`FoldOptions`], which every step of the stage asks.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::parallel;

/// How to fold.
#[derive(Clone, Copy)]
pub struct FoldOptions<'a> {
    /// Compare every result with the reference.
    pub verify: bool,
    /// Write results that are not finite.
    pub allow_non_finite: bool,
    /// Gather the range of every channel's weights, for the report.
    pub ranges: bool,
    /// Find out what rounding the weights to 8 bits would cost, for the report; needs `ranges`, and reads the weights once
    /// more.
    pub quantization: bool,
    /// Threads to use.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancelled: &'a AtomicBool,
    /// Told how many bytes were done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Default for FoldOptions<'static> {
    /// Verified, on all cores, without progress and never cancelled.
    fn default() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        FoldOptions {
            verify: true,
            allow_non_finite: false,
            ranges: false,
            quantization: false,
            threads: parallel::all_cores(),
            cancelled: &NEVER,
            progress: &|_| {},
        }
    }
}

impl FoldOptions<'_> {
    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// An error if so.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
