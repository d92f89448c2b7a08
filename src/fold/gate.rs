//! 3 FOLD: nothing leaves this stage unchecked.
//!
//! In: stored and folded elements. Out: the folded elements, handed to the sink, or an error. A GPU's result is held
//! against the CPU's bits; whoever computed it, it is held against the f64 reference and must be finite.

use std::time::Instant;

use super::oracle::{self, Geometry};
use super::ranges::{Range, Ranges};
use super::workers::Worker;
use super::{Elements, ElementsMut, FoldOptions, FoldProblem, FoldStats, Piece, Sink, WeightJob, check, cpu, finite};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// The settling stage of one model; shared by all threads.
pub(super) struct Gate<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) jobs: &'a [WeightJob<'a>],
    pub(super) options: FoldOptions<'a>,
    sink: &'a Sink<'a>,
    ranges: Option<Ranges>,
}

impl<'a> Gate<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        jobs: &'a [WeightJob<'a>],
        options: FoldOptions<'a>,
        sink: &'a Sink<'a>,
    ) -> Gate<'a> {
        let ranges = options.ranges.then(|| Ranges::new(jobs));
        Gate { checkpoint, jobs, options, sink, ranges }
    }

    /// The ranges of all weights, one vector a job; empty unless asked for.
    pub(super) fn into_ranges(self) -> Vec<Vec<Range>> {
        self.ranges.map_or_else(Vec::new, Ranges::finish)
    }

    /// A piece from the file to the sink, on the CPU.
    pub(super) fn fold_on_cpu(&self, worker: &mut Worker, piece: &Piece) -> Result<()> {
        self.options.check_cancelled()?;
        let job = &self.jobs[piece.job];
        let (from, to) = (job.fold.float, job.to);
        let (stored, folded, stats) = worker.buffers(piece.elements * from.bytes(), piece.elements * to.bytes());
        let started = Instant::now();
        piece.read(self.checkpoint, self.jobs, stored)?;
        stats.read += started.elapsed();
        let started = Instant::now();
        let (elements, room) = (Elements { float: from, bytes: stored }, ElementsMut { float: to, bytes: folded });
        cpu::scale(job.fold.map, &job.scales, piece.first, elements, room);
        stats.compute += started.elapsed();
        self.piece(piece, stored, folded, stats)
    }

    /// A piece whose result is the CPU's: checked, then handed on.
    fn piece(&self, piece: &Piece, stored: &[u8], folded: &[u8], stats: &mut FoldStats) -> Result<()> {
        let job = &self.jobs[piece.job];
        let started = Instant::now();
        match self.options.verify {
            true => self.verify(piece, stored, folded, stats)?,
            false => self.finite(piece, stored, folded, stats)?,
        }
        if let Some(ranges) = &self.ranges {
            ranges.add(job, piece, stored);
        }
        stats.verify += started.elapsed();
        let started = Instant::now();
        (self.sink)(piece.job, piece.first, folded)?;
        stats.write += started.elapsed();
        stats.elements += piece.elements as u64;
        (self.options.progress)(stored.len() as u64);
        Ok(())
    }

    /// Holds a piece against the f64 reference. The quick pass answers for all elements where it can, finiteness
    /// included; where it cannot, or complains, the oracle has the last word.
    fn verify(&self, piece: &Piece, stored: &[u8], folded: &[u8], stats: &mut FoldStats) -> Result<()> {
        let job = &self.jobs[piece.job];
        let geometry = Geometry { axis: job.fold.axis, shape: &job.fold.shape, channels: job.fold.channels };
        let before = Elements { float: job.fold.float, bytes: stored };
        let after = Elements { float: job.to, bytes: folded };
        let quick = check::worst_ulp(geometry, &job.reference, piece.first, before, after);
        let ulp = match quick.filter(|&ulp| ulp <= oracle::bound(job.to)) {
            Some(ulp) => ulp,
            None => {
                self.finite(piece, stored, folded, stats)?;
                let worst = oracle::compare(geometry, &job.reference, piece.first, before, after);
                // Written so that a NaN distance fails.
                if !(worst.ulp <= oracle::bound(job.to)) {
                    return Err(self.out_of_bound(job, worst));
                }
                worst.ulp
            }
        };
        stats.compared += piece.elements as u64;
        stats.worst_ulp = stats.worst_ulp.max(ulp);
        Ok(())
    }

    /// Refuses results that are not finite, or counts them where they are allowed.
    fn finite(&self, piece: &Piece, stored: &[u8], folded: &[u8], stats: &mut FoldStats) -> Result<()> {
        let job = &self.jobs[piece.job];
        if let Some(index) = finite::first_non_finite(job.to, folded) {
            if !self.options.allow_non_finite {
                return Err(self.non_finite(job, piece, stored, index));
            }
            stats.non_finite += finite::count_non_finite(job.to, folded);
        }
        Ok(())
    }

    fn refuse(&self, job: &WeightJob<'_>, problem: FoldProblem) -> Error {
        Error::Fold { path: self.checkpoint.path().to_owned(), norm: job.fold.norm.name.clone(), problem }
    }

    fn non_finite(&self, job: &WeightJob<'_>, piece: &Piece, stored: &[u8], index: usize) -> Error {
        let channel = usize::try_from(job.fold.map.channel(piece.first + index as u64)).unwrap_or(usize::MAX);
        let weight = job.fold.float.widen(&stored[index * job.fold.float.bytes()..]);
        let problem = FoldProblem::NonFinite {
            tensor: job.fold.weight.clone(),
            channel,
            element: piece.first + index as u64,
            stored: weight,
            value: weight * job.scales.f64[channel],
            dtype: job.to.name(),
        };
        self.refuse(job, problem)
    }

    fn out_of_bound(&self, job: &WeightJob<'_>, worst: oracle::Worst) -> Error {
        let problem = FoldProblem::Verification {
            tensor: job.fold.weight.clone(),
            element: worst.element,
            got: worst.got,
            expected: worst.expected,
            ulp: worst.ulp,
            bound: oracle::bound(job.to),
        };
        self.refuse(job, problem)
    }
}

#[cfg(feature = "gpu")]
impl Gate<'_> {
    /// A piece that the GPU folded: its bytes are what is handed on, once the CPU has found every one of them the same. Where
    /// they are not, the CPU's are taken: a GPU may flush subnormals, and a NaN has no fixed bits. `false` if some
    /// difference has no such excuse, and the GPU must not be trusted.
    ///
    /// Without verification too: only the comparison with f64 is left out. A device can be wrong in more ways than any sign
    /// of it could tell, and this costs a pass in registers.
    pub(super) fn gpu_piece(&self, worker: &mut Worker, piece: &Piece, stored: &[u8], folded: &[u8]) -> Result<bool> {
        let job = &self.jobs[piece.job];
        let started = Instant::now();
        let elements = |bytes| Elements { float: job.to, bytes };
        if cpu::agrees(job.fold.map, &job.scales, piece.first, elements(stored), elements(folded)) {
            worker.stats.verify += started.elapsed();
            worker.stats.elements_on_gpu += piece.elements as u64;
            self.piece(piece, stored, folded, &mut worker.stats)?;
            return Ok(true);
        }
        let (_, twin, stats) = worker.buffers(0, folded.len());
        let room = ElementsMut { float: job.to, bytes: twin };
        cpu::scale(job.fold.map, &job.scales, piece.first, elements(stored), room);
        let (differ, excused) = differences(job, piece, stored, folded, twin);
        stats.differ += differ;
        stats.elements_on_gpu += if excused { piece.elements as u64 } else { 0 };
        stats.verify += started.elapsed();
        self.piece(piece, stored, twin, stats)?;
        Ok(excused)
    }
}

/// How many elements differ, and whether a flushed subnormal or a NaN excuses every one of them.
#[cfg(feature = "gpu")]
fn differences(job: &WeightJob<'_>, piece: &Piece, stored: &[u8], folded: &[u8], twin: &[u8]) -> (u64, bool) {
    let (float, size) = (job.fold.float, job.fold.float.bytes());
    let tiny = |value: f64| value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE);
    let (mut differ, mut excused) = (0, true);
    let elements = stored.chunks_exact(size).zip(folded.chunks_exact(size)).zip(twin.chunks_exact(size));
    for (index, ((stored, folded), twin)) in (piece.first..).zip(elements) {
        if folded != twin {
            differ += 1;
            let channel = usize::try_from(job.fold.map.channel(index)).unwrap_or(usize::MAX);
            let (stored, got, twin) = (float.widen(stored), float.widen(folded), float.widen(twin));
            let scale = f64::from(job.scales.f32[channel]);
            // A flush leaves a zero, whatever was flushed: an operand or the product.
            let flushed = got == 0.0 && (tiny(stored) || tiny(scale) || tiny(stored * scale));
            excused &= flushed || twin.is_nan();
        }
    }
    (differ, excused)
}

#[cfg(test)]
#[cfg(feature = "gpu")]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::checkpoint::{Dtype, Float};
    use crate::fold::Scales;
    use crate::network::{Axis, ChannelMap, Fold, Inventory, Op};

    /// A checkpoint with one convolution of two channels, three elements each.
    fn checkpoint(folder: &std::path::Path) -> Checkpoint {
        let path = folder.join("m.safetensors");
        let float = |name: &str, shape: &str, begin: usize, end: usize| {
            let dtype = Dtype::parse("F32");
            format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
        };
        let entries = [
            float("conv1.weight", "[2,3,1]", 0, 24),
            float("bn1.running_mean", "[2]", 24, 32),
            float("bn1.running_var", "[2]", 32, 40),
            float("bn1.weight", "[2]", 40, 48),
            float("bn1.bias", "[2]", 48, 56),
        ];
        let json = format!("{{{}}}", entries.join(","));
        let values = Float::F32.narrow_all(&[1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.5, 0.5, 4.0, 0.25, 1.0, 1.0, 0.0, 0.0]);
        let length = (json.len() as u64).to_le_bytes();
        std::fs::write(&path, [&length[..], json.as_bytes(), &values].concat()).unwrap();
        Checkpoint::open(&path).unwrap()
    }

    /// Its norm and its convolution.
    fn fold(checkpoint: &Checkpoint) -> Fold {
        let shape = vec![2, 3, 1];
        Fold {
            norm: Inventory::of(checkpoint).norms.swap_remove(0),
            weight: "conv1.weight".to_owned(),
            elements: 6,
            float: Float::F32,
            op: Op::Conv,
            axis: Axis::First,
            map: ChannelMap::new(Axis::First, &shape, 2).unwrap(),
            shape,
            channels: 2,
            bias: "conv1.bias".to_owned(),
            bias_float: None,
            eps: 1e-5,
            eps_source: crate::network::EpsSource::ForAll,
        }
    }

    /// Settles what a GPU claims the result to be; returns whether it is trusted, how many elements differ, and what
    /// was handed on.
    fn claim(folded: &[f32; 6]) -> (bool, u64, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = checkpoint(folder.path());
        let fold = fold(&checkpoint);
        let jobs = [WeightJob {
            fold: &fold,
            scales: Scales::new(vec![0.5, 2.0]),
            reference: vec![0.5, 2.0].into(),
            to: Float::F32,
        }];
        let written = Mutex::new(Vec::new());
        let sink = |_: usize, _: u64, bytes: &[u8]| {
            written.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        };
        let gate = Gate::new(&checkpoint, &jobs, FoldOptions::default(), &sink);
        let stored = [1.0f32, 2.0, 3.0, 4.0, 5.0, 0.0];
        let piece = Piece { job: 0, first: 0, elements: 6 };
        let mut worker = Worker::new();
        let trusted =
            gate.gpu_piece(&mut worker, &piece, bytemuck::cast_slice(&stored), bytemuck::cast_slice(folded)).unwrap();
        (trusted, worker.stats.differ, written.into_inner().unwrap())
    }

    #[test]
    fn a_gpu_that_is_wrong_is_not_trusted_and_its_numbers_go_nowhere() {
        let right = [0.5f32, 1.0, 1.5, 8.0, 10.0, 0.0];
        let bytes = bytemuck::cast_slice::<f32, u8>(&right).to_vec();
        assert_eq!(claim(&right), (true, 0, bytes.clone()));
        let poison = f32::from_bits(0x7fba_7fba);
        for (at, value) in
            [(0, 0.5 + f32::EPSILON), (2, 0.0), (4, -10.0), (3, poison), (5, poison), (5, 1e-3), (5, -0.0)]
        {
            let mut wrong = right;
            wrong[at] = value;
            assert_eq!(claim(&wrong), (false, 1, bytes.clone()), "element {at} as {value}");
        }
    }
}
