//! 3 FOLD: nothing leaves this stage unchecked.
//!
//! In: stored and folded elements. Out: the folded elements, handed to the sink, or an error. A GPU's result is held
//! against the CPU's bits; whoever computed it, it is held against the f64 reference and must be finite.

use std::time::Instant;

use super::oracle::{self, Geometry};
#[cfg(feature = "gpu")]
use super::{Batch, Scales};
use super::{FoldOptions, FoldStats, Job, Piece, cpu};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};

/// The settling stage of one model.
pub(super) struct Settle<'a> {
    checkpoint: &'a Checkpoint,
    jobs: &'a [Job<'a>],
    options: FoldOptions<'a>,
    sink: &'a mut dyn FnMut(usize, u64, &[u8]) -> Result<()>,
    pub(super) stats: FoldStats,
}

impl<'a> Settle<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        jobs: &'a [Job<'a>],
        options: FoldOptions<'a>,
        sink: &'a mut dyn FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Settle<'a> {
        Settle { checkpoint, jobs, options, sink, stats: FoldStats::default() }
    }

    /// A piece whose result is the CPU's.
    pub(super) fn piece(&mut self, piece: &Piece, stored: &[u8], folded: &[u8]) -> Result<()> {
        let job = &self.jobs[piece.job];
        self.check_finite(job, piece, stored, folded)?;
        if self.options.verify {
            let started = Instant::now();
            let worst = oracle::compare(
                Geometry { axis: job.fold.axis, shape: &job.fold.shape, channels: job.fold.channels },
                &job.reference,
                piece.first,
                (job.fold.float, stored),
                (job.to, folded),
            );
            self.stats.verify += started.elapsed();
            self.stats.compared += piece.elements as u64;
            self.stats.worst.merge(worst);
            let bound = oracle::bound(job.to);
            // Written so that a NaN distance fails.
            if !(worst.ulp <= bound) {
                return Err(Error::Verification {
                    path: self.checkpoint.path().to_owned(),
                    norm: job.fold.norm.name.clone(),
                    tensor: job.fold.weight.clone(),
                    element: worst.element,
                    got: worst.got,
                    expected: worst.expected,
                    ulp: worst.ulp,
                    bound,
                });
            }
        }
        (self.sink)(piece.job, piece.first, folded)?;
        self.stats.elements += piece.elements as u64;
        (self.options.progress)(stored.len() as u64);
        Ok(())
    }

    /// Finds the first result that is not finite, and refuses it unless the user accepts such.
    fn check_finite(&mut self, job: &Job<'_>, piece: &Piece, stored: &[u8], folded: &[u8]) -> Result<()> {
        let Some(index) = first_non_finite(job.to, folded) else { return Ok(()) };
        if self.options.allow_non_finite {
            self.stats.non_finite += count_non_finite(job.to, folded);
            return Ok(());
        }
        let channel = usize::try_from(job.fold.map.channel(piece.first + index as u64)).unwrap_or(usize::MAX);
        let weight = job.fold.float.widen(&stored[index * job.fold.float.bytes()..]);
        Err(Error::NonFinite {
            path: self.checkpoint.path().to_owned(),
            norm: job.fold.norm.name.clone(),
            tensor: job.fold.weight.clone(),
            channel,
            value: weight * job.scales.f64[channel],
            dtype: job.to.name(),
            hint: if weight.is_finite() { "" } else { " (the stored weight is not finite itself)" },
        })
    }
}

#[cfg(feature = "gpu")]
impl Settle<'_> {
    /// A batch that the GPU folded. Where its bits are not the CPU's, the CPU's are taken: a GPU may flush subnormals,
    /// and a NaN has no fixed bits. `false` if some difference has no such excuse, and the GPU must not be trusted.
    ///
    /// Without verification only pieces with a suspicious element (zero, subnormal, infinite, NaN: all that a flush or
    /// a dispatch that never ran can leave) are computed again.
    pub(super) fn gpu_batch(&mut self, batch: &Batch, folded: &[u8]) -> Result<bool> {
        let mut trusted = true;
        for piece in &batch.pieces {
            let job = &self.jobs[piece.job];
            let range = piece.at..piece.at + piece.elements * batch.float.bytes();
            let (stored, folded) = (&batch.stored[range.clone()], &folded[range]);
            if !self.options.verify && !has_suspicious(batch.float, folded) {
                self.piece(piece, stored, folded)?;
                continue;
            }
            let started = Instant::now();
            let mut twin = vec![0; folded.len()];
            cpu::scale(piece.map, &job.scales, piece.first, (batch.float, stored), (batch.float, &mut twin));
            if twin != folded {
                let (differ, excused) = differences(job, piece, stored, folded, &twin);
                self.stats.differ += differ;
                trusted &= excused;
            }
            self.stats.verify += started.elapsed();
            self.piece(piece, stored, &twin)?;
        }
        Ok(trusted)
    }
}

/// How many elements differ, and whether a flushed subnormal or a NaN excuses every one of them.
#[cfg(feature = "gpu")]
fn differences(job: &Job<'_>, piece: &Piece, stored: &[u8], folded: &[u8], twin: &[u8]) -> (u64, bool) {
    let (float, size) = (job.fold.float, job.fold.float.bytes());
    let scale = |index: usize, scales: &Scales| {
        let channel = piece.map.channel(piece.first + index as u64);
        scales.f32[usize::try_from(channel).unwrap_or(usize::MAX)]
    };
    let tiny = |value: f64| value.abs() < f64::from(f32::MIN_POSITIVE);
    let mut differ = 0;
    let mut excused = true;
    for (index, ((stored, folded), twin)) in
        stored.chunks_exact(size).zip(folded.chunks_exact(size)).zip(twin.chunks_exact(size)).enumerate()
    {
        if folded != twin {
            differ += 1;
            let (stored, twin) = (float.widen(stored), float.widen(twin));
            let scale = f64::from(scale(index, &job.scales));
            excused &= tiny(stored) || tiny(scale) || tiny(stored * scale) || twin.is_nan();
        }
    }
    (differ, excused)
}

/// Whether any element has an exponent of all zeros or all ones.
#[cfg(feature = "gpu")]
fn has_suspicious(float: Float, folded: &[u8]) -> bool {
    let extreme = |bits: u32, mask: u32| bits & mask == 0 || bits & mask == mask;
    let half =
        |mask: u16| folded.as_chunks::<2>().0.iter().any(|&h| extreme(u16::from_le_bytes(h).into(), mask.into()));
    match float {
        Float::F32 => folded.as_chunks::<4>().0.iter().any(|&w| extreme(u32::from_le_bytes(w), 0x7f80_0000)),
        Float::F16 => half(0x7c00),
        Float::Bf16 => half(0x7f80),
        Float::F64 => true,
    }
}

/// Index of the first infinity or NaN.
fn first_non_finite(float: Float, bytes: &[u8]) -> Option<usize> {
    match float {
        Float::F32 => bytes.as_chunks().0.iter().position(|&w| !f32::from_le_bytes(w).is_finite()),
        Float::F64 => bytes.as_chunks().0.iter().position(|&w| !f64::from_le_bytes(w).is_finite()),
        Float::F16 => bytes.as_chunks().0.iter().position(|&w| !half::f16::from_le_bytes(w).is_finite()),
        Float::Bf16 => bytes.as_chunks().0.iter().position(|&w| !half::bf16::from_le_bytes(w).is_finite()),
    }
}

fn count_non_finite(float: Float, bytes: &[u8]) -> u64 {
    bytes.chunks_exact(float.bytes()).filter(|element| !float.widen(element).is_finite()).count() as u64
}
