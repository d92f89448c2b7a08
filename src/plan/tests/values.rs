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
use crate::plan::eps::EpsLookup;
use crate::plan::measure::{EvidenceLevel, measure};
use crate::plan::rulebook::Rulebook;
use crate::plan::{Action, Layer, by_names, written};

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
        let eps = EpsLookup::unstated(&network);
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
    cases.insert("two layers without names", nameless().case(EvidenceLevel::Auto));
    cases.insert("a gate before a layer without names", gated().case(EvidenceLevel::Auto));
    cases.insert("a stem without names", image().case(EvidenceLevel::Auto));
    cases.insert("one norm under two names", stored_twice().case(EvidenceLevel::Auto));
    cases.insert("a stem in front of a unit that runs its norms first", stem_of_unit().case(EvidenceLevel::Auto));
    cases.insert("a stem in front of a unit that counts its layers", stem_of_counted().case(EvidenceLevel::Auto));
    cases.insert("the first of several layers that are concatenated", concatenated().case(EvidenceLevel::Auto));
    cases.insert("one layer and a norm a level", levels().case(EvidenceLevel::Auto));
    cases.insert("a stem whose output a residual unit adds", residual().case(EvidenceLevel::Auto));
    cases.insert("a second norm behind a layer that names give to one", second().case(EvidenceLevel::Auto));
    cases.insert("a neighbour with a partner of its own", neighbour().case(EvidenceLevel::Auto));
    cases.insert("a norm behind a residual unit", behind_unit().case(EvidenceLevel::Auto));
    cases.insert("a narrow block among wide ones", narrow().case(EvidenceLevel::Auto));
    cases.insert("two factors of a convolution, counted like their norm", factors().case(EvidenceLevel::Auto));
    cases.insert("a depthwise layer behind a pointwise one", blueprint().case(EvidenceLevel::Auto));
    cases.insert("a layer with a bias in front of a sum", sum_with_the_unknown().case(EvidenceLevel::Auto));
    cases.insert("a layer in front of a sum with a norm's output", sum_with_an_output().case(EvidenceLevel::Auto));
    cases.insert("a weight that a wrapper stores once more", stored_by_its_wrapper().case(EvidenceLevel::Auto));
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

/// The norm behind a gated layer has the means that its input's have, times 0.4; its variances tell nothing.
fn gated() -> Random {
    let mut random = Random::new();
    let rows = random.conv("m2", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    let rectified = random.norm("m7", &statistics);
    for (name, outputs, inputs) in [("m3", 8, WIDTH), ("m5", WIDTH, 8)] {
        random.conv(name, outputs, inputs);
        random.add(&format!("{name}.bias"), &[outputs], vec![0.1; outputs]);
    }
    let rows = random.conv("m4", 96, WIDTH);
    let mean = random.behind(&rows, &rectified).mean.iter().map(|mean| 0.4 * mean).collect();
    let var = (0..96).map(|_| random.normal().exp()).collect();
    random.norm("m1", &Statistics { mean, var });
    random
}

/// A first layer among others; the variances behind it tell nothing.
fn image() -> Random {
    let mut random = nameless();
    let rows = random.conv("m9", 48, 3);
    let mean = random.behind(&rows, &[0.4, -0.3, 0.2]).mean;
    let var = (0..48).map(|_| random.normal().exp()).collect();
    random.norm("m8", &Statistics { mean, var });
    random
}

fn stored_twice() -> Random {
    let mut random = Random::new();
    let rows = random.conv("conv1.0", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    random.norm("conv1.1", &statistics);
    for part in ["weight", "bias", "running_mean", "running_var"] {
        let (shape, values) = random.tensors[&format!("conv1.1.{part}")].clone();
        random.add(&format!("bn1.{part}"), &shape, values);
    }
    random
}

fn stem_of_unit() -> Random {
    let mut random = Random::new();
    let rows = random.conv("stem.conv", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    let rectified = random.norm("unit.norm1", &statistics);
    let rows = random.conv("unit.conv1", 96, WIDTH);
    let statistics = random.behind(&rows, &rectified);
    random.norm("unit.norm2", &statistics);
    random.conv("unit.conv2", WIDTH, 96);
    random
}

fn stem_of_counted() -> Random {
    let mut random = Random::new();
    let rows = random.conv("pool1_conv", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    let rectified = random.norm("conv2_block1_0_bn", &statistics);
    let rows = random.conv("conv2_block1_1_conv", 96, WIDTH);
    let statistics = random.behind(&rows, &rectified);
    random.norm("conv2_block1_1_bn", &statistics);
    random.conv("conv2_block1_2_conv", WIDTH, 96);
    random
}

fn concatenated() -> Random {
    let mut random = Random::new();
    let rows = random.conv("block.first", WIDTH, 16);
    let statistics = random.behind(&rows, &[1.0; 16]);
    let wide = random.conv("elsewhere", 96, 16);
    let other = random.behind(&wide, &[0.5; 16]);
    random.tensors.remove("elsewhere.weight");
    for (unit, inputs, statistics) in [("block.unit1", WIDTH, statistics), ("block.unit2", 96, other)] {
        random.norm(&format!("{unit}.x"), &statistics);
        random.conv(&format!("{unit}.a"), 32, inputs);
        random.conv(&format!("{unit}.b"), 8, 32);
    }
    random
}

fn levels() -> Random {
    let mut random = Random::new();
    let rows = random.conv("head.conv", WIDTH, 16);
    for (level, noise) in [0.0, 0.8].into_iter().enumerate() {
        let mut statistics = random.behind(&rows, &[1.0; 16]);
        statistics.mean.iter_mut().for_each(|mean| *mean += noise * random.normal());
        statistics.var.iter_mut().for_each(|var| *var *= (0.5 * noise * random.normal()).exp());
        random.norm(&format!("head.levels.{level}.x"), &statistics);
    }
    random
}

fn residual() -> Random {
    let mut random = Random::new();
    let rows = random.conv("m0", WIDTH, 16);
    let stem = random.behind(&rows, &[0.25; 16]);
    let rectified = random.norm("k0", &stem);
    let rows = random.conv("m1", WIDTH, WIDTH);
    let statistics = random.behind(&rows, &rectified);
    let rectified = random.norm("k1", &statistics);
    let rows = random.conv("m2", WIDTH, WIDTH);
    let mut sum = random.behind(&rows, &rectified);
    sum.mean.iter_mut().for_each(|mean| *mean *= 3.0);
    let (_, values) = random.tensors.get_mut("m2.weight").unwrap();
    values.iter_mut().for_each(|weight| *weight *= 3.0);
    sum.var.iter_mut().for_each(|var| *var *= 9.0);
    sum.mean.iter_mut().zip(&stem.mean).for_each(|(mean, stem)| *mean += stem);
    random.norm("k2", &sum);
    random
}

fn second() -> Random {
    let mut random = Random::new();
    let rows = random.conv("block.conv1", 2 * WIDTH, 16);
    for (name, level) in [("bn1", 1.0), ("extra", 2.0)] {
        let statistics = random.behind(&rows, &[level; 16]);
        random.norm(&format!("block.{name}"), &statistics);
    }
    random
}

fn neighbour() -> Random {
    let mut random = Random::new();
    random.conv("block.conv1", WIDTH, 16);
    let rows = random.conv("block.conv2", WIDTH, 32);
    let statistics = random.behind(&rows, &[1.0; 32]);
    random.norm("block.bn2", &statistics);
    // As training does it: the first norm's statistics are those of its neighbour, but for noise.
    let mut alike = statistics;
    alike.mean.iter_mut().for_each(|mean| *mean += 0.3 * random.normal());
    random.norm("block.bn1", &alike);
    random
}

fn behind_unit() -> Random {
    let mut random = Random::new();
    let rows = random.conv("unit.around", WIDTH, 16);
    random.conv("unit.branch.last", WIDTH, 32);
    let statistics = random.behind(&rows, &[1.0; 16]);
    random.norm("final.x", &statistics);
    random
}

fn narrow() -> Random {
    let mut random = Random::new();
    for (block, width) in [WIDTH, WIDTH, 4].into_iter().enumerate() {
        let rows = random.conv(&format!("blocks.{block}.c"), width, 16);
        let statistics = random.behind(&rows, &[1.0; 16]);
        random.norm(&format!("blocks.{block}.y.x"), &statistics);
    }
    random
}

/// A feed-forward part with its input added, of which the file tells nothing: the sum follows the layer in good part.
fn sum_with_the_unknown() -> Random {
    let mut random = Random::new();
    let rows = random.conv("layers.0.ff.3", WIDTH, 16);
    random.add("layers.0.ff.3.bias", &[WIDTH], vec![0.0; WIDTH]);
    let mut sum = random.behind(&rows, &[1.0; 16]);
    sum.mean.iter_mut().for_each(|mean| *mean += 0.5 * random.normal());
    sum.var.iter_mut().for_each(|var| *var += 0.5 * random.normal().abs());
    random.norm("layers.0.norm_ffn.1", &sum);
    random
}

/// The same, with the output of a norm that is there, and a layer without a bias.
fn sum_with_an_output() -> Random {
    let mut random = Random::new();
    let input = Statistics { mean: (0..WIDTH).map(|_| random.normal()).collect(), var: ones() };
    random.norm("layers.0.norm_attn.1", &input);
    let rows = random.conv("layers.0.ff.3", WIDTH, 16);
    let mut sum = random.behind(&rows, &[1.0; 16]);
    // What a shift adds to the means would be explained by the rectified output, too.
    let gamma = &random.tensors["layers.0.norm_attn.1.weight"].1;
    sum.var.iter_mut().zip(gamma).for_each(|(var, gamma)| *var += 10.0 * gamma * gamma);
    random.norm("layers.0.norm_ffn.1", &sum);
    random
}

fn stored_by_its_wrapper() -> Random {
    let mut random = Random::new();
    let rows = random.conv("stem.0", WIDTH, 16);
    let (shape, weight) = random.tensors["stem.0.weight"].clone();
    random.add("stem.0.same.weight", &shape, weight);
    let statistics = random.behind(&rows, &[1.0; 16]);
    random.norm("stem.1", &statistics);
    random
}

/// Two pairs of factors (ERFNet); of each the one whose name is smaller comes last.
fn factors() -> Random {
    let mut random = Random::new();
    for number in 1..=2 {
        random.conv(&format!("block.conv3x1_{number}"), WIDTH, WIDTH);
        let rows = random.conv(&format!("block.conv1x3_{number}"), WIDTH, WIDTH);
        for factor in ["3x1", "1x3"] {
            random.add(&format!("block.conv{factor}_{number}.bias"), &[WIDTH], vec![0.0; WIDTH]);
        }
        let mut statistics = random.behind(&rows, &ones());
        statistics.var.iter_mut().for_each(|var| *var *= (0.5 * random.normal()).exp());
        random.norm(&format!("block.bn{number}"), &statistics);
    }
    random
}

/// A pointwise layer, a depthwise one right behind it, and a norm (OSNet).
fn blueprint() -> Random {
    let mut random = Random::new();
    let rows = random.conv("block.conv1", WIDTH, WIDTH);
    let between = random.behind(&rows, &ones());
    let taps = (0..9 * WIDTH).map(|tap| random.normal() * (tap as f32 / 9.0).sin().exp()).collect::<Vec<_>>();
    let [mean, var] = [[0.0; WIDTH]; 2];
    let mut statistics = Statistics { mean: mean.to_vec(), var: var.to_vec() };
    for (channel, taps) in taps.chunks(9).enumerate() {
        statistics.mean[channel] = between.mean[channel] * taps.iter().sum::<f32>();
        statistics.var[channel] = between.var[channel] * taps.iter().map(|tap| tap * tap).sum::<f32>();
    }
    random.add("block.conv2.weight", &[WIDTH, 1, 3, 3], taps);
    random.norm("block.bn", &statistics);
    random
}

/// The weights that norms are folded into.
fn folded(case: &Case) -> Vec<(String, String)> {
    let fold = |layer: Layer| match layer.action {
        Action::Fold(fold) => Some((layer.norm, fold.weight)),
        Action::Keep(_) => None,
    };
    case.plan(Rulebook::default()).into_iter().filter_map(fold).collect()
}

#[test]
fn what_values_refuse_stays_and_what_they_show_is_folded() {
    let cases = cases();
    let pairs = |name: &str| folded(&cases[name]);
    let pair = |norm: &str, weight: &str| (norm.to_owned(), format!("{weight}.weight"));
    for nothing in [
        "one norm under two names",
        "the first of several layers that are concatenated",
        "one layer and a norm a level",
        "a norm behind a residual unit",
        "a second norm behind a layer that names give to one",
        "a layer with a bias in front of a sum",
        "a layer in front of a sum with a norm's output",
        "a weight that a wrapper stores once more",
    ] {
        assert_eq!(pairs(nothing), [], "{nothing}");
    }
    let stem = pairs("a stem in front of a unit that runs its norms first");
    assert_eq!(stem, [pair("unit.norm2", "unit.conv1")]);
    let counted = pairs("a stem in front of a unit that counts its layers");
    assert_eq!(counted, [pair("conv2_block1_1_bn", "conv2_block1_1_conv")]);
    assert_eq!(pairs("a stem whose output a residual unit adds"), [pair("k1", "m1")]);
    let neighbour = pairs("a neighbour with a partner of its own");
    assert_eq!(neighbour, [1, 2].map(|number| pair(&format!("block.bn{number}"), &format!("block.conv{number}"))));
    let factors = pairs("two factors of a convolution, counted like their norm");
    assert_eq!(factors, [1, 2].map(|number| pair(&format!("block.bn{number}"), &format!("block.conv1x3_{number}"))));
    assert_eq!(pairs("a depthwise layer behind a pointwise one"), [pair("block.bn", "block.conv2")]);
    let narrow = pairs("a narrow block among wide ones");
    assert_eq!(narrow, [0, 1, 2].map(|block| pair(&format!("blocks.{block}.y.x"), &format!("blocks.{block}.c"))));
}
