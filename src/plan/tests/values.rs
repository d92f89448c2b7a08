//! 2 PLAN, tests of values: small networks whose running statistics belong to their weights, each for one rule.
//!
//! In: `tests/data/twins/` and networks of random numbers. Out: [`Case`]s, which [`rules`](super::rules) plans with and
//! without the rule that each is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::checkpoint::Checkpoint;
use crate::network::Inventory;
use crate::plan::eps::{EpsLookup, EpsSettings};
use crate::plan::measure::{EvidenceLevel, measure};
use crate::plan::rulebook::Rulebook;
use crate::plan::{Layer, by_names, written};

/// A checkpoint, and how much of its values is looked at.
pub(super) struct Case {
    path: PathBuf,
    level: EvidenceLevel,
    /// It is gone with this.
    _folder: Option<tempfile::TempDir>,
}

impl Case {
    /// The plan by these rules.
    pub(super) fn plan(&self, book: Rulebook) -> Vec<Layer> {
        let checkpoint = Checkpoint::open(self.path.as_path()).unwrap();
        let network = Inventory::of(&checkpoint);
        let eps = EpsLookup::new(&EpsSettings::default(), &network);
        let (mut board, _) = by_names(&network, &eps, book, None);
        measure(&checkpoint, &mut board, self.level, 1).unwrap();
        written::layers(&board, &eps)
    }
}

/// All cases by name.
pub(super) fn cases() -> BTreeMap<&'static str, Case> {
    let twin = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.safetensors"));
        Case { path, level: EvidenceLevel::Auto, _folder: None }
    };
    let twins = ["twins/conv-relu-norm", "twins/pre-activation", "twins/conv-pool-norm", "twins/post-activation"];
    let mut cases = twins.into_iter().map(|name| (name, twin(name))).collect::<BTreeMap<_, _>>();
    cases.insert("two layers of one width and one norm", several().case(EvidenceLevel::Auto));
    cases.insert("two names of one weight", tied().case(EvidenceLevel::Auto));
    cases.insert("one of two norms behind an activation", kin().case(EvidenceLevel::Auto));
    cases.insert("the last of four square layers is transposed", square().case(EvidenceLevel::Auto));
    cases.insert("layers with biases and small statistics", squashed().case(EvidenceLevel::Auto));
    cases.insert("two layers without names", nameless().case(EvidenceLevel::Full));
    cases
}

/// Running mean and variance of every channel.
#[derive(Clone)]
struct Statistics {
    mean: Vec<f32>,
    var: Vec<f32>,
}

/// A network of random numbers, always the same.
struct Random {
    state: u64,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Random {
    fn new() -> Random {
        Random { state: 1, tensors: BTreeMap::new() }
    }

    /// Normal, by twelve uniform ones.
    fn normal(&mut self) -> f32 {
        let mut sum = -6.0;
        for _ in 0..12 {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.state >> 40) as f32 / (1u64 << 24) as f32;
        }
        sum
    }

    fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    /// A 1x1 convolution of random numbers whose rows differ in length.
    fn conv(&mut self, name: &str, outputs: usize, inputs: usize) -> Vec<Vec<f32>> {
        let row = |random: &mut Random| {
            let scale = (0.5 * random.normal()).exp() / (inputs as f32).sqrt();
            (0..inputs).map(|_| scale * random.normal()).collect::<Vec<_>>()
        };
        let rows = (0..outputs).map(|_| row(self)).collect::<Vec<_>>();
        self.add(&format!("{name}.weight"), &[outputs, inputs, 1, 1], rows.concat());
        rows
    }

    /// What comes out of a layer of these rows, for inputs of these means and variance 1.
    fn behind(&mut self, rows: &[Vec<f32>], inputs: &[f32]) -> Statistics {
        let mean = rows.iter().map(|row| row.iter().zip(inputs).map(|(w, x)| w * x).sum());
        let var = rows.iter().map(|row| row.iter().map(|w| w * w).sum());
        Statistics { mean: mean.collect(), var: var.collect() }
    }

    /// A norm with random scale and shift; returns the means of its rectified output.
    fn norm(&mut self, name: &str, statistics: &Statistics) -> Vec<f32> {
        let channels = statistics.mean.len();
        let gamma = (0..channels).map(|_| 0.5 + 0.2 * self.normal().abs()).collect::<Vec<_>>();
        let beta = (0..channels).map(|_| 0.5 * self.normal()).collect::<Vec<_>>();
        let rectified = gamma.iter().zip(&beta).map(|(&gamma, &beta)| {
            let samples = (0..2000).map(|_| (beta + gamma * self.normal()).max(0.0));
            samples.sum::<f32>() / 2000.0
        });
        let rectified = rectified.collect::<Vec<_>>();
        self.add(&format!("{name}.weight"), &[channels], gamma);
        self.add(&format!("{name}.bias"), &[channels], beta);
        self.add(&format!("{name}.running_mean"), &[channels], statistics.mean.clone());
        self.add(&format!("{name}.running_var"), &[channels], statistics.var.clone());
        rectified
    }

    fn case(self, level: EvidenceLevel) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let stored = self.tensors.iter().map(|(name, (shape, values))| (name, shape, bytes(values)));
        let stored = stored.collect::<Vec<_>>();
        let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
        let views = stored.iter().map(|(name, shape, bytes)| (*name, view(shape, bytes)));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        Case { path, level, _folder: Some(folder) }
    }
}

const WIDTH: usize = 64;

fn ones() -> Vec<f32> {
    vec![1.0; WIDTH]
}

fn several() -> Random {
    let mut random = Random::new();
    random.conv("block.first", WIDTH, WIDTH);
    let rows = random.conv("block.second", WIDTH, WIDTH);
    let statistics = random.behind(&rows, &ones());
    random.norm("block.norm", &statistics);
    random
}

fn tied() -> Random {
    let mut random = Random::new();
    let rows = random.conv("head1.conv", WIDTH, 16);
    let weight = random.tensors["head1.conv.weight"].1.clone();
    random.add("head2.conv.weight", &[WIDTH, 16, 1, 1], weight);
    for (name, level) in [("head1.bn", 1.0), ("head2.bn", 2.0)] {
        let statistics = random.behind(&rows, &[level; 16]);
        random.norm(name, &statistics);
    }
    random
}

fn kin() -> Random {
    let mut random = Random::new();
    for (block, lowest) in [("blocks.0", 0.01), ("blocks.1", -0.01)] {
        let rows = random.conv(&format!("{block}.conv"), WIDTH, 16);
        let mut statistics = random.behind(&rows, &[1.0; 16]);
        // As behind a SiLU: hardly below zero.
        statistics.mean.iter_mut().for_each(|mean| *mean = mean.abs().max(0.01));
        statistics.mean[0] = lowest;
        random.norm(&format!("{block}.bn"), &statistics);
    }
    random
}

fn square() -> Random {
    let mut random = Random::new();
    let stem = random.conv("stem.conv", WIDTH, 3);
    let statistics = random.behind(&stem, &[1.0; 3]);
    random.norm("stem.bn", &statistics);
    for block in 0..4 {
        let rows = random.conv(&format!("blocks.{block}.conv"), WIDTH, WIDTH);
        let columns = (0..WIDTH).map(|column| rows.iter().map(|row| row[column]).collect::<Vec<_>>());
        let columns = columns.collect::<Vec<_>>();
        // Of four alike layers three are looked at: what the last one is its own weight has to tell.
        let of = if block == 3 { &columns } else { &rows };
        let statistics = random.behind(of, &ones());
        random.norm(&format!("blocks.{block}.bn"), &statistics);
    }
    random
}

fn squashed() -> Random {
    let mut random = Random::new();
    for (number, outputs, inputs) in [(1, WIDTH, 3), (2, 96, WIDTH)] {
        let rows = random.conv(&format!("conv{number}"), outputs, inputs);
        random.add(&format!("conv{number}.bias"), &[outputs], vec![0.0; outputs]);
        let mut statistics = random.behind(&rows, &vec![0.5; inputs]);
        statistics.mean.iter_mut().for_each(|mean| *mean *= 0.01);
        statistics.var.iter_mut().for_each(|var| *var *= 0.01);
        random.norm(&format!("bn{number}"), &statistics);
    }
    random
}

fn nameless() -> Random {
    let mut random = Random::new();
    let rows = random.conv("m2", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    let rectified = random.norm("m7", &statistics);
    let rows = random.conv("m4", 96, WIDTH);
    let statistics = random.behind(&rows, &rectified);
    random.norm("m1", &statistics);
    random
}
