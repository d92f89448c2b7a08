//! 3 FOLD, GPU: what the shaders give, word for word, before anything is compared or put right.
//!
//! In: pieces of weights, handed to the GPU engine as batches. Out: its bytes, against the CPU twin's and, for half
//! types, against the `half` crate's. Two differences are allowed: a NaN has no fixed bits, and a device may flush what
//! f32 holds as a subnormal to a zero (WGSL 15.7.2); neither excuses anything else.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::gpu::{BATCH_BYTES, GpuEngine, Wanted};
use bnfold_gpu::fold::{Elements, ElementsMut, Engine, Piece, Scales, WeightJob, cpu};
use bnfold_gpu::network::channels::{Axis, ChannelMap};
use bnfold_gpu::network::dialect::DIALECTS;
use bnfold_gpu::network::{Fold, Norm, Op};

use crate::fixture::Numbers;
use crate::library::{dtype, ulp};

/// A stretch of a weight: where it begins, its stored elements, its layout and its scales.
struct Part {
    first: u64,
    stored: Vec<u8>,
    map: ChannelMap,
    scales: Vec<f32>,
}

impl Part {
    /// All of a weight of random elements.
    fn whole(numbers: &mut Numbers, float: Float, axis: Axis, shape: &[u64], channels: u64) -> Part {
        let map = ChannelMap::new(axis, shape, channels).expect("test is broken: a shape that does not fit");
        let elements = shape.iter().product::<u64>() as usize;
        let scales = numbers.many(channels as usize, -4.0, 4.0).into_iter().map(|s| s as f32).collect();
        Part { first: 0, stored: float.narrow_all(&numbers.many(elements, -2.0, 2.0)), map, scales }
    }

    /// The elements from `first` on, `count` of them.
    fn cut(&self, float: Float, first: usize, count: usize) -> Part {
        let stored = self.stored[first * float.bytes()..(first + count) * float.bytes()].to_vec();
        Part { first: first as u64, stored, map: self.map, scales: self.scales.clone() }
    }

    /// What the CPU twin makes of it.
    fn on_cpu(&self, float: Float) -> Vec<u8> {
        let mut folded = vec![0; self.stored.len()];
        let scales = Scales::new(self.scales.iter().copied().map(f64::from).collect::<Vec<_>>());
        let stored = Elements { float, bytes: &self.stored };
        cpu::scale(self.map, &scales, self.first, stored, ElementsMut { float, bytes: &mut folded });
        folded
    }
}

fn open() -> GpuEngine {
    GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one")
}

/// What the GPU makes of the parts, in one batch.
fn on_gpu(gpu: &GpuEngine, float: Float, parts: &[Part]) -> Vec<Vec<u8>> {
    let folds = parts.iter().map(|part| fold_of(float, part)).collect::<Vec<_>>();
    let job = |(fold, part): (_, &Part)| WeightJob {
        fold,
        scales: Scales::new(part.scales.iter().copied().map(f64::from).collect::<Vec<_>>()),
        reference: Vec::new().into(),
        to: float,
    };
    let jobs = folds.iter().zip(parts).map(job).collect::<Vec<_>>();
    let piece =
        |(job, part): (usize, &Part)| Piece { job, first: part.first, elements: part.stored.len() / float.bytes() };
    let pieces = parts.iter().enumerate().map(|part| (piece(part), &part.1.stored[..])).collect::<Vec<_>>();
    gpu.fold_batch(&pieces, &jobs).expect("the batch comes back")
}

/// A fold that has what a batch needs: names and shapes do not matter to it.
fn fold_of(float: Float, part: &Part) -> Fold {
    let channels = part.scales.len() as u64;
    let elements = (part.stored.len() / float.bytes()) as u64;
    let norm = Norm {
        name: String::new(),
        dialect: &DIALECTS[0],
        channels,
        gamma: None,
        beta: None,
        mean: String::new(),
        var: String::new(),
        missing: None,
        spare: Vec::new(),
        defect: None,
    };
    Fold {
        norm,
        weight: String::new(),
        shape: vec![elements],
        elements,
        float,
        op: Op::Conv,
        axis: Axis::First,
        map: part.map,
        channels,
        bias: String::new(),
        bias_float: None,
        eps: 0.0,
        eps_source: bnfold_gpu::network::EpsSource::ForAll,
    }
}

/// Compares the GPU's bytes with the CPU's; returns how many elements it flushed.
#[track_caller]
fn compare(gpu: &GpuEngine, float: Float, parts: &[Part], what: &str) -> usize {
    let mut flushed = 0;
    for (number, (part, got)) in parts.iter().zip(on_gpu(gpu, float, parts)).enumerate() {
        let expected = part.on_cpu(float);
        let size = float.bytes();
        for (index, (got, expected)) in got.chunks_exact(size).zip(expected.chunks_exact(size)).enumerate() {
            if got == expected {
                continue;
            }
            let scale = f64::from(part.scales[part.map.channel(part.first + index as u64) as usize]);
            let stored = float.widen(&part.stored[index * size..]);
            let (value, twin) = (float.widen(got), float.widen(expected));
            let tiny = |x: f64| x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE);
            let flush = value == 0.0 && (tiny(stored) || tiny(scale) || tiny(stored * scale));
            // A flushed factor of an infinity gives a NaN, as zero does.
            let undefined = value.is_nan() && (twin.is_nan() || stored.is_infinite() && tiny(scale));
            flushed += usize::from(flush);
            assert!(
                flush || undefined,
                "{what}, {float:?}, part {number}, element {index}: {stored} * {scale} gave {value} ({got:x?}) and not \
                 {twin} ({expected:x?})"
            );
        }
    }
    flushed
}

const HALVES_AND_F32: [Float; 3] = [Float::F16, Float::Bf16, Float::F32];

/// Around everything that the kernels divide by: words, lanes, workgroups, tiles.
const SIZES: [u64; 17] = [1, 2, 3, 63, 64, 65, 255, 256, 257, 511, 1023, 1024, 1025, 1757, 2047, 2048, 2049];

#[test]
fn every_size_is_folded_to_its_last_element() {
    let (gpu, mut numbers) = (open(), Numbers::new(1));
    for float in HALVES_AND_F32 {
        // One channel, and a channel an element; all sizes of a type together in a batch.
        let shapes = SIZES.iter().flat_map(|&n| [([1, n], 1), ([n, 1], n)]);
        let parts = shapes.map(|(shape, channels)| Part::whole(&mut numbers, float, Axis::First, &shape, channels));
        assert_eq!(compare(&gpu, float, &parts.collect::<Vec<_>>(), "sizes"), 0);
    }
}

#[test]
fn every_layout_is_folded_wherever_a_piece_begins() {
    let layouts: &[(Axis, &[u64], u64)] = &[
        (Axis::First, &[13, 7, 3, 5], 13),
        (Axis::First, &[4, 3, 5, 17, 13], 4),
        (Axis::SecondGrouped, &[6, 4, 5, 3], 12),
        (Axis::SecondGrouped, &[6, 4, 5, 3], 4),
        (Axis::SecondGrouped, &[7, 1, 3, 3], 7),
        (Axis::Last, &[5, 3, 7, 11], 11),
        (Axis::LastTwo, &[5, 3, 7, 3], 21),
        (Axis::SecondLast, &[5, 3, 11, 7], 11),
        (Axis::SecondLast, &[5, 17, 13, 4, 3], 4),
    ];
    assert!(Axis::ALL.iter().all(|axis| layouts.iter().any(|(found, ..)| found == axis)), "test is broken");
    let (gpu, mut numbers) = (open(), Numbers::new(2));
    for float in HALVES_AND_F32 {
        for &(axis, shape, channels) in layouts {
            let whole = Part::whole(&mut numbers, float, axis, shape, channels);
            let elements = whole.stored.len() / float.bytes();
            // Every beginning in the first rows, odd ones too, and what is left from there on.
            let cut = |first: usize| whole.cut(float, first, (1 + first * 2).min(elements - first));
            let mut parts = (0..elements.min(70)).map(cut).collect::<Vec<_>>();
            parts.push(whole.cut(float, elements / 3, elements - elements / 3));
            parts.push(whole);
            assert_eq!(compare(&gpu, float, &parts, &format!("{axis:?} {shape:?}")), 0);
        }
    }
}

/// 70,000 channels: more than a dispatch may have workgroups in one dimension.
#[test]
fn more_channels_than_workgroups_are_folded() {
    let (gpu, mut numbers) = (open(), Numbers::new(3));
    for float in HALVES_AND_F32 {
        for (axis, shape) in [(Axis::First, [70_000, 3]), (Axis::Last, [3, 70_000])] {
            let part = Part::whole(&mut numbers, float, axis, &shape, 70_000);
            assert_eq!(compare(&gpu, float, &[part], "70,000 channels"), 0);
        }
    }
    let (moved, beta) = (numbers.many(70_000, -4.0, 4.0), numbers.many(70_000, -4.0, 4.0));
    let f32s = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    let (moved, beta) = (f32s(moved), f32s(beta));
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(gpu.shift(&moved, &beta).unwrap()), bits(cpu::shift(&moved, &beta)));
}

#[test]
fn shifts_of_every_size_are_the_twins_bits() {
    let (gpu, mut numbers) = (open(), Numbers::new(4));
    for channels in SIZES {
        let mut some = || numbers.many(channels as usize, -9.0, 9.0).into_iter().map(|x| x as f32).collect::<Vec<_>>();
        let (moved, beta) = (some(), some());
        assert_eq!(gpu.shift(&moved, &beta).unwrap(), cpu::shift(&moved, &beta), "{channels} channels");
    }
}

/// What a device flushes is put right, and no reason to give it up.
#[test]
fn shifts_with_subnormals_are_the_cpus_bits() {
    let mut numbers = Numbers::new(9);
    let mut some =
        || numbers.many(999, -4.0, 4.0).into_iter().map(|x| x as f32 * f32::MIN_POSITIVE).collect::<Vec<_>>();
    let (moved, beta) = (some(), some());
    let twin = cpu::shift(&moved, &beta);
    let tiny = [&moved, &beta, &twin].map(|values| values.iter().filter(|x| x.is_subnormal()).count());
    assert!(tiny.iter().all(|&count| count > 50), "test is broken: {tiny:?} subnormals");
    let (mut engine, mut warnings) = (Engine::Gpu(open().into()), Vec::new());
    let shifted = engine.shift(&moved, &beta, &mut warnings);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&shifted.values), bits(&twin));
    assert!(shifted.differ <= tiny.iter().sum::<usize>() as u64, "{} differ", shifted.differ);
    assert_eq!((warnings, engine.device()), (Vec::new(), "gpu"));
}

#[test]
fn a_batch_is_folded_to_its_last_byte() {
    let (gpu, mut numbers) = (open(), Numbers::new(5));
    for float in HALVES_AND_F32 {
        let elements = (BATCH_BYTES / float.bytes()) as u64;
        let full = Part::whole(&mut numbers, float, Axis::First, &[64, elements / 64], 64);
        assert_eq!(full.stored.len(), BATCH_BYTES, "test is broken");
        assert_eq!(compare(&gpu, float, std::slice::from_ref(&full), "a full batch"), 0);
    }
}

/// Several models are folded on a device at the same time.
#[test]
fn batches_that_are_under_way_together_stay_apart() {
    let (gpu, mut numbers) = (open(), Numbers::new(5));
    let parts = [3, 900, 5000].map(|n| Part::whole(&mut numbers, Float::F32, Axis::First, &[n, 2], n));
    std::thread::scope(|scope| {
        for part in &parts {
            scope.spawn(|| {
                for _ in 0..50 {
                    compare(&gpu, Float::F32, std::slice::from_ref(part), "one of three threads");
                }
            });
        }
    });
}

/// Scales around everything that rounding and the exponent range decide. None of them is subnormal.
fn scales() -> Vec<f32> {
    let powers = (-40..=30).map(|e| 2f32.powi(e));
    let odd = [1.5, 0.75, 1.0 / 3.0, std::f32::consts::PI, 1.000_976_6, 1.000_488_3, 0.999_755_9, 1.003_906_3, 1.998];
    let extreme = [0.0, -0.0, -1.0, -0.3, 1e30, -1e-30, f32::MAX, f32::MIN_POSITIVE, 65504.0, 1e-8, 6e-5];
    let random = Numbers::new(6).many(25, -3.0, 3.0).into_iter().map(|x| 10f32.powf(x as f32) * 1.1);
    powers.chain(odd).chain(extreme).chain(random).collect()
}

/// Bytes of all bit patterns of a half type.
const ALL_PATTERNS_BYTES: usize = 2 << 16;

/// All bit patterns of a half type, times one scale each.
fn all_patterns(scales: &[f32]) -> Vec<Part> {
    let stored = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let map = ChannelMap::new(Axis::First, &[1, 65_536], 1).unwrap();
    scales.iter().map(|&scale| Part { first: 0, stored: stored.clone(), map, scales: vec![scale] }).collect()
}

#[test]
fn every_half_times_many_scales_is_what_the_half_crate_rounds() {
    let gpu = open();
    let product = |float: Float, bits: u16, scale: f32| match float {
        Float::F16 => half::f16::from_f32(half::f16::from_bits(bits).to_f32() * scale).to_bits(),
        _ => half::bf16::from_f32(half::bf16::from_bits(bits).to_f32() * scale).to_bits(),
    };
    for float in [Float::F16, Float::Bf16] {
        let mut flushed = 0;
        for scales in scales().chunks(BATCH_BYTES / ALL_PATTERNS_BYTES) {
            let parts = all_patterns(scales);
            for part in &parts {
                let twin = part.on_cpu(float);
                for (bits, folded) in (0..=u16::MAX).zip(twin.as_chunks::<2>().0) {
                    let (expected, folded) = (product(float, bits, part.scales[0]), u16::from_le_bytes(*folded));
                    let nan = |bits: u16| float.widen(&bits.to_le_bytes()).is_nan();
                    assert!(
                        expected == folded || (nan(expected) && nan(folded)),
                        "{float:?} {bits:#06x} * {}: {folded:#06x} instead of {expected:#06x}",
                        part.scales[0]
                    );
                }
            }
            flushed += compare(&gpu, float, &parts, "all patterns");
        }
        // The widened f16 and every product that does not vanish are normal in f32: nothing can be flushed.
        assert!(float == Float::Bf16 || flushed == 0, "{flushed} f16 results were flushed");
    }
}

/// A subnormal scale has few digits in f32, so the CPU multiplies in f64; the GPU need only flush or come close: its
/// result is never written where such a scale is.
#[test]
fn every_half_times_a_subnormal_scale_is_rounded_once_from_the_exact_product() {
    for float in [Float::F16, Float::Bf16] {
        for scale in [1e-39f32, -1.1e-40, 1e-45] {
            assert!(scale.is_subnormal(), "test is broken");
            let part = &all_patterns(&[scale])[0];
            for (bits, folded) in (0..=u16::MAX).zip(part.on_cpu(float).chunks_exact(2)) {
                let stored = float.widen(&bits.to_le_bytes());
                // 24 and 11 significant bits: the product is exact in f64.
                let (exact, folded) = (stored * f64::from(scale), float.widen(folded));
                let right = match exact.is_finite() {
                    true => (folded - exact).abs() <= 0.5 * ulp(dtype(float), exact),
                    false => folded == exact || (folded.is_nan() && exact.is_nan()),
                };
                assert!(right, "{float:?} {bits:#06x} * {scale:e}: {folded:e} instead of {exact:e}");
            }
        }
    }
}

/// Every kind of f32: both signs of zero, subnormals, normals of every exponent, infinities, NaNs.
#[test]
fn every_exponent_of_f32_is_the_twins_bits() {
    let mut numbers = Numbers::new(8);
    let fraction = |numbers: &mut Numbers| (numbers.unit() * f64::from(1 << 23)) as u32;
    let bits = (0..512u32).flat_map(|sign_and_exponent| [0, 1, 0x7f_ffff].map(|f| sign_and_exponent << 23 | f));
    let mut bits = bits.collect::<Vec<_>>();
    bits.extend((0..512u32).flat_map(|e| [fraction(&mut numbers), fraction(&mut numbers)].map(|f| e << 23 | f)));
    let stored = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<_>>();
    let map = ChannelMap::new(Axis::First, &[1, bits.len() as u64], 1).unwrap();
    let part = |scale| Part { first: 0, stored: stored.clone(), map, scales: vec![scale] };
    compare(&open(), Float::F32, &scales().into_iter().map(part).collect::<Vec<_>>(), "every exponent");
}
