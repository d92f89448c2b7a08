//! 3 FOLD: sums of rows and of their squares, the shader's and the twin's, against sums of rounded elements in f64.
//!
//! In: weights of every layout and element type. Out: the same integers from all three, whatever the elements; and a
//! distance from the exact sums that is what the rounding of elements explains. The GPU tests need an adapter.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Engine;
#[cfg(feature = "gpu")]
use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
use bnfold_gpu::fold::reduce::{Measured, PART_ELEMENTS, Part, Reducer, Stretch, Sums};
use bnfold_gpu::network::channels::{Axis, ChannelMap};

use crate::fixture::Numbers;

/// Elements of a weight from `first` on.
struct Elements {
    float: Float,
    map: ChannelMap,
    first: usize,
    count: usize,
    words: Vec<u64>,
}

impl Elements {
    fn new(float: Float, map: ChannelMap, first: usize, stored: &[u8]) -> Elements {
        let mut words = vec![0; stored.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..stored.len()].copy_from_slice(stored);
        Elements { float, map, first, count: stored.len() / float.bytes(), words }
    }

    /// All of a weight of random elements.
    fn whole(numbers: &mut Numbers, float: Float, axis: Axis, shape: &[u64], channels: u64) -> Elements {
        let map = ChannelMap::new(axis, shape, channels).expect("test is broken: a shape that does not fit");
        let elements = shape.iter().product::<u64>() as usize;
        Elements::new(float, map, 0, &float.narrow_all(&numbers.many(elements, -2.0, 2.0)))
    }

    fn stretch(&self) -> Stretch<'_> {
        let Elements { float, map, first, count, ref words } = *self;
        Stretch { float, map, first: first as u64, elements: count, words }
    }

    fn parts(&self) -> Vec<Measured<'_>> {
        self.stretch().parts().map(|part| part.measure().expect("test is broken: not finite")).collect()
    }

    fn cut(&self, first: usize, count: usize) -> Elements {
        let size = self.float.bytes();
        let stored = &bytemuck::cast_slice::<u64, u8>(&self.words)[first * size..(first + count) * size];
        Elements::new(self.float, self.map, first, stored)
    }
}

/// The sums of a part, an element at a time in f64, which holds all of it exactly; checks the distance from the exact sums
/// on the way.
fn by_definition(part: &Part<'_>, measured: &Measured<'_>) -> Sums {
    let channels = measured.channels.len();
    let elements = part.float.widen_all(part.stored);
    let channel = |index: usize| part.map.channel(part.first + index as u64) as usize - measured.channels.start;
    let (mut largest, mut count, mut exact) = (vec![0.0f64; channels], vec![0.0; channels], vec![(0.0, 0.0); channels]);
    for (index, x) in elements.iter().enumerate() {
        let (at, (sum, square)) = (channel(index), &mut exact[channel(index)]);
        largest[at] = largest[at].max(x.abs());
        (*sum, *square, count[at]) = (*sum + x, *square + x * x, count[at] + 1.0);
    }
    // Subnormals share the exponent of the smallest normal numbers.
    let smallest = if part.float == Float::F16 { -14 } else { -126 };
    let exponent = |largest: f64| ((largest.to_bits() >> 52) as i32 - 1023).max(smallest);
    let units = largest.iter().map(|&largest| 2f64.powi(exponent(largest) - 13)).collect::<Vec<_>>();
    let mut sums = Sums { values: vec![0; channels], squares: vec![0; channels] };
    for (index, x) in elements.iter().enumerate() {
        let at = channel(index);
        let q = (x / units[at]).round();
        assert!(q.abs() <= 16384.0, "{x} is {q} units");
        sums.values[at] += q as i32;
        sums.squares[at] += (q * q) as u64;
    }
    for (channel, sum, square) in measured.rows(&sums) {
        let at = channel - measured.channels.start;
        let (half, (exact, exact_square)) = (units[at] / 2.0, exact[at]);
        // The exact ones are sums of f64, rounded themselves.
        let slack = 1.0 + 1e-9;
        assert!((sum - exact).abs() <= half * count[at] * slack, "{sum} instead of {exact}");
        let bound = count[at] * half * (2.0 * largest[at] + half);
        assert!((square - exact_square).abs() <= bound * slack, "{square} instead of {exact_square}");
    }
    sums
}

fn check_twin(elements: &Elements, what: &str) -> Vec<Sums> {
    let check = |measured: &Measured<'_>| {
        let sums = measured.sums();
        assert!(sums == by_definition(&measured.part, measured), "{what}, {:?}: the twin differs", elements.float);
        sums
    };
    elements.parts().iter().map(check).collect()
}

/// All three give the same integers; without graphics the two that there are.
#[track_caller]
fn check(gpu: &Gpu, elements: &Elements, what: &str) {
    let twin = check_twin(elements, what);
    #[cfg(feature = "gpu")]
    {
        let got = gpu.reduce(&elements.words, &elements.parts()).expect("the sums come back");
        let wrong = got.iter().zip(&twin).position(|(got, twin)| got != twin);
        assert!(got == twin, "{what}, {:?}: the shader differs in part {wrong:?}", elements.float);
    }
    #[cfg(not(feature = "gpu"))]
    let (Gpu, _) = (gpu, twin);
}

#[cfg(feature = "gpu")]
type Gpu = GpuEngine;

#[cfg(not(feature = "gpu"))]
struct Gpu;

#[cfg(feature = "gpu")]
fn open() -> Gpu {
    GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one")
}

#[cfg(not(feature = "gpu"))]
fn open() -> Gpu {
    Gpu
}

/// A batch of the GPU's.
#[cfg(feature = "gpu")]
const BATCH: usize = bnfold_gpu::fold::gpu::BATCH_BYTES;
#[cfg(not(feature = "gpu"))]
const BATCH: usize = 2 << 20;

const HALVES_AND_F32: [Float; 3] = [Float::F16, Float::Bf16, Float::F32];

#[test]
fn rows_of_every_size_are_summed_to_their_last_element() {
    let (gpu, mut numbers) = (open(), Numbers::new(21));
    for float in HALVES_AND_F32 {
        for n in [1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 1757, 2047, 2048, 2049] {
            // One channel, and a channel an element.
            for (shape, channels) in [([1, n], 1), ([n, 1], n)] {
                let elements = Elements::whole(&mut numbers, float, Axis::First, &shape, channels);
                check(&gpu, &elements, &format!("{shape:?}"));
            }
        }
    }
}

#[test]
fn every_layout_is_summed_wherever_a_part_begins() {
    let layouts: &[(Axis, &[u64], u64)] = &[
        (Axis::First, &[13, 7, 3, 5], 13),
        (Axis::First, &[300, 3, 3], 300),
        (Axis::SecondGrouped, &[6, 4, 5, 3], 12),
        (Axis::SecondGrouped, &[6, 4, 5, 3], 4),
        (Axis::SecondGrouped, &[7, 1, 3, 3], 7),
        (Axis::SecondGrouped, &[4, 300, 3, 3], 600),
        (Axis::SecondGrouped, &[4, 3, 31], 3),
        (Axis::SecondGrouped, &[4, 3, 32], 3),
        (Axis::Last, &[5, 3, 7, 11], 11),
        (Axis::Last, &[3, 300], 300),
        (Axis::LastTwo, &[5, 3, 7, 3], 21),
        (Axis::SecondLast, &[5, 3, 11, 7], 11),
        (Axis::SecondLast, &[3, 300, 5], 300),
    ];
    assert!(Axis::ALL.iter().all(|axis| layouts.iter().any(|(found, ..)| found == axis)), "test is broken");
    let (gpu, mut numbers) = (open(), Numbers::new(22));
    for float in HALVES_AND_F32 {
        for &(axis, shape, channels) in layouts {
            let whole = Elements::whole(&mut numbers, float, axis, shape, channels);
            for first in (0..whole.count.min(40)).chain([whole.count / 3, whole.count - 1]) {
                for count in [1 + first * 2, whole.count] {
                    let cut = whole.cut(first, count.min(whole.count - first));
                    check(&gpu, &cut, &format!("{axis:?} {shape:?} from {first}"));
                }
            }
        }
    }
}

/// Several parts, several dispatches, a full batch.
#[test]
fn weights_of_many_parts_and_channels_are_summed() {
    let (gpu, mut numbers) = (open(), Numbers::new(23));
    for float in HALVES_AND_F32 {
        let all = (BATCH / float.bytes()) as u64;
        for (axis, shape, channels) in [
            (Axis::First, [64, all / 64], 64),
            // Sums of more channels than a dispatch holds.
            (Axis::First, [all, 1], all),
            (Axis::Last, [all / 70_000, 70_000], 70_000),
            (Axis::Last, [3, 70_001], 70_001),
        ] {
            check(&gpu, &Elements::whole(&mut numbers, float, axis, &shape, channels), &format!("{axis:?} {shape:?}"));
        }
    }
}

/// The largest sums there can be: whole parts of one channel whose elements are all the largest of their exponent.
#[test]
fn no_sum_overflows() {
    let gpu = open();
    let count = PART_ELEMENTS as u64;
    // One long run, and one channel in short runs: each of its places is added up apart.
    let maps = [(Axis::First, vec![1, count]), (Axis::SecondGrouped, vec![count / 16, 1, 16])];
    for (float, digits) in [(Float::F16, 10), (Float::Bf16, 7), (Float::F32, 23)] {
        for (sign, (axis, shape)) in [1.0, -1.0].into_iter().flat_map(|sign| maps.iter().map(move |map| (sign, map))) {
            let below_two = sign * (2.0 - 2f64.powi(-digits));
            let stored = float.narrow_all(&[below_two]).repeat(PART_ELEMENTS);
            let map = ChannelMap::new(*axis, shape, 1).unwrap();
            check(&gpu, &Elements::new(float, map, 0, &stored), "all elements the largest");
        }
    }
}

/// All finite values of a half type, and of f32 those around every power of two, in one channel, and by their exponents.
fn extremes(float: Float) -> Vec<f64> {
    let bits: Vec<Vec<u8>> = match float {
        Float::F32 => {
            let fractions = [0, 1, 0x7ff, 0x800, 0x801, 0x40_0000, 0x7f_f7ff, 0x7f_ffff];
            (0..512u32).flat_map(|e| fractions.map(|f| (e << 23 | f).to_le_bytes().to_vec())).collect()
        }
        _ => (0..=u16::MAX).map(|bits| bits.to_le_bytes().to_vec()).collect(),
    };
    let values = bits.iter().map(|bits| float.widen(bits));
    values.filter(|value| value.is_finite()).collect()
}

/// Elements next to nothing but others of a like size: every top with every exponent below it.
fn extreme_rows(float: Float) -> Vec<Elements> {
    let mut all = extremes(float);
    let row = |values: &[f64]| {
        let map = ChannelMap::new(Axis::First, &[1, values.len() as u64], 1).unwrap();
        Elements::new(float, map, 0, &float.narrow_all(values))
    };
    let mut rows = vec![row(&[0.0, -0.0]), row(&[-0.0])];
    all.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    while !all.is_empty() {
        rows.push(row(&all));
        all.truncate(all.len() - all.len().div_ceil(16));
    }
    assert!(rows.len() > 60, "test is broken");
    rows
}

#[test]
fn extreme_elements_are_summed_alike() {
    let gpu = open();
    for float in HALVES_AND_F32 {
        extreme_rows(float).iter().for_each(|row| check(&gpu, row, "extremes"));
    }
}

/// F64 is cut to 21 digits before it is rounded, so these are not the integers of the definition; but the sums are as near.
#[test]
fn rows_of_f64_are_near_the_exact_ones() {
    let mut numbers = Numbers::new(24);
    for scale in [1.0, 1e-300, 1e150] {
        let map = ChannelMap::new(Axis::Last, &[50, 7], 7).unwrap();
        let values = numbers.many(350, -scale, scale);
        let elements = Elements::new(Float::F64, map, 0, &Float::F64.narrow_all(&values));
        for part in elements.parts() {
            for (channel, sum, square) in part.rows(&part.sums()) {
                let row = values.iter().skip(channel).step_by(7);
                let (exact, exact_square) = (row.clone().sum::<f64>(), row.map(|x| x * x).sum::<f64>());
                assert!((sum - exact).abs() <= 50.0 * scale / 16000.0, "{sum:e} instead of {exact:e}");
                assert!((square - exact_square).abs() <= exact_square / 4000.0, "{square:e}, not {exact_square:e}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_has_no_sums() {
    for float in Float::ALL {
        for bad in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            for (axis, shape, channels) in [(Axis::First, vec![3, 6], 3), (Axis::SecondGrouped, vec![3, 3, 2], 3)] {
                let map = ChannelMap::new(axis, &shape, channels).unwrap();
                for at in 0..18 {
                    let mut values = [0.5; 18];
                    values[at] = bad;
                    let elements = Elements::new(float, map, 0, &float.narrow_all(&values));
                    assert!(Reducer::new(&mut Engine::Cpu).reduce(elements.stretch()).is_none(), "{float:?} {bad}");
                }
            }
        }
    }
}

/// Lost before or after the first sums: the CPU's are given, with one warning, and the device is not asked again.
#[cfg(feature = "gpu")]
#[test]
fn a_device_that_is_lost_is_replaced_by_the_cpu() {
    let elements = Elements::whole(&mut Numbers::new(25), Float::F32, Axis::First, &[64, 3000], 64);
    let sums = |reducer: &mut Reducer<'_>| {
        let parts = reducer.reduce(elements.stretch()).expect("they are finite");
        parts.into_iter().map(|(_, sums)| sums).collect::<Vec<_>>()
    };
    let expected = sums(&mut Reducer::new(&mut Engine::Cpu));
    for before in [0, 1] {
        let gpu = open();
        let (adapter, lose) = (gpu.adapter().name.clone(), gpu.loser());
        let mut engine = Engine::Gpu(Box::new(gpu));
        let mut reducer = Reducer::new(&mut engine);
        for _ in 0..before {
            assert!(sums(&mut reducer) == expected && reducer.warnings.is_empty(), "{:?}", reducer.warnings);
        }
        lose();
        for _ in 0..2 {
            assert!(sums(&mut reducer) == expected);
            assert_eq!(reducer.warnings.len(), 1, "{:?}", reducer.warnings);
            assert!(reducer.warnings[0].starts_with(&format!("GPU {adapter} failed (")), "{:?}", reducer.warnings);
        }
        assert_eq!(engine.device(), "cpu", "it is given up for good");
    }
}
