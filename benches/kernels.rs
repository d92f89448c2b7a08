//! Criterion benches of the stages, with throughput in bytes.
//!
//! In: synthetic weights and headers. Out: time of the CPU kernel by type and layout, of the whole CPU path from file to
//! file, of a header of 100,000 tensors, and of the planner on one. `cargo bench`; whole models are `bnfold-gpu bench`.

use std::collections::BTreeMap;
use std::hint::black_box;

use bnfold_gpu::bench::{Shape, synthetic};
use bnfold_gpu::checkpoint::{Checkpoint, Dtype, Float, Tensor};
use bnfold_gpu::fold::{Elements, ElementsMut, Engine, FoldOptions, Scales, cpu};
use bnfold_gpu::model::{Settings, fold_model};
use bnfold_gpu::network::Inventory;
use bnfold_gpu::network::channels::{Axis, ChannelMap};
use bnfold_gpu::output::Replace;
use bnfold_gpu::plan::plan_by_names;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A weight of a ResNet's last stage, a depthwise one, and a Keras one.
const LAYOUTS: [(&str, Axis, &[u64], u64); 3] = [
    ("rows of 4608", Axis::First, &[512, 512, 3, 3], 512),
    ("rows of 9", Axis::First, &[262_144, 1, 3, 3], 262_144),
    ("last axis", Axis::Last, &[3, 3, 512, 512], 512),
];

fn cpu_scale(criterion: &mut Criterion) {
    for float in Float::ALL {
        let mut group = criterion.benchmark_group(format!("cpu scale {}", float.name()));
        for (name, axis, shape, channels) in LAYOUTS {
            let map = ChannelMap::new(axis, shape, channels).expect("the shape fits");
            let scales = Scales::new((0..channels).map(|c| 0.5 + c as f64 / channels as f64).collect::<Vec<f64>>());
            let elements = usize::try_from(shape.iter().product::<u64>()).expect("it fits into memory");
            let stored = float.narrow_all(&vec![0.75; elements]);
            let mut out = vec![0; stored.len()];
            group.throughput(Throughput::Bytes(stored.len() as u64));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let stored = Elements { float, bytes: black_box(&stored) };
                    cpu::scale(map, &scales, 0, stored, ElementsMut { float, bytes: &mut out });
                });
            });
        }
    }
}

/// A table of `blocks` residual blocks.
fn table(blocks: usize) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[u64]| {
        let bytes = shape.iter().product::<u64>() * 4;
        tensors.insert(name, Tensor { dtype: Dtype::parse("F32"), shape: shape.to_vec(), shard: 0, offset: 0, bytes });
    };
    for block in 0..blocks {
        for n in 1..=2 {
            add(format!("layer.{block}.conv{n}.weight"), &[64, 64, 3, 3]);
            for part in ["weight", "bias", "running_mean", "running_var"] {
                add(format!("layer.{block}.bn{n}.{part}"), &[64]);
            }
        }
    }
    tensors
}

fn planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner");
    for blocks in [100, 10_000] {
        let tensors = table(blocks);
        group.throughput(Throughput::Elements(tensors.len() as u64));
        group.bench_function(format!("{} tensors", tensors.len()), |bencher| {
            bencher.iter(|| plan_by_names(&Inventory::new(black_box(&tensors), &[])));
        });
    }
}

fn header(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("many.safetensors");
    // One float a tensor: all of the file is header.
    let entry = |n: usize| {
        let (begin, end) = (n * 4, n * 4 + 4);
        format!(r#""layers.{n}.weight":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}"#)
    };
    let tensors = 100_000;
    let json = format!("{{{}}}", (0..tensors).map(entry).collect::<Vec<_>>().join(","));
    let file = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; tensors * 4]].concat();
    std::fs::write(&path, file).expect("a temporary file");
    let mut group = criterion.benchmark_group("header");
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function(format!("{tensors} tensors"), |bencher| {
        bencher.iter(|| Checkpoint::open(black_box(&path)).expect("it was just written"));
    });
}

fn whole_models(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("file to file, CPU");
    group.sample_size(10);
    for float in [Float::F32, Float::F16, Float::Bf16] {
        let (input, output) = (folder.path().join(float.name()), folder.path().join("folded"));
        let bytes = synthetic::write(&input, Shape::Mobilenet, float, Some(32_000_000)).expect("it can be written");
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(float.name(), |bencher| {
            bencher.iter(|| {
                let settings = Settings { sync: false, replace: Replace::Always, ..Settings::default() };
                fold_model(&input, &output, settings, &mut Engine::Cpu, FoldOptions::default()).expect("it folds")
            });
        });
    }
}

criterion_group!(benches, cpu_scale, whole_models, planner, header);
criterion_main!(benches);
