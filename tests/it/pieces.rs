//! 3 FOLD: weights that do not fit into a batch, weights that share one, and results that no type can hold.
//!
//! In: files whose weights end just before, on and after the boundaries of batches. Out: CPU and GPU wrote the same
//! bytes, checked by element against a product taken here; or an error that names layer and channel.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::gpu::{BATCH_BYTES, TILE_BYTES};
use safetensors::Dtype;

use crate::fixture::{Folder, Model, Numbers, bnfold};
use crate::library::{How, Tensors, USUAL, engines, fold, line, write_plan};

/// One weight of a file: `channels` rows of `row` elements, scales 1, -2, 3, -4, ...: no rounding but the type's own.
struct Rows {
    name: String,
    float: Float,
    channels: usize,
    row: usize,
}

impl Rows {
    fn new(number: usize, float: Float, channels: usize, row: usize) -> Rows {
        Rows { name: format!("l{number:04}"), float, channels, row }
    }

    fn scale(channel: usize) -> f64 {
        let size = (channel % 4 + 1) as f64;
        if channel.is_multiple_of(2) { size } else { -size }
    }

    /// Elements that can be told apart: small whole numbers, exact in every type, times 4 too.
    fn element(index: usize) -> f64 {
        (index * 7 % 61) as f64 - 30.0
    }

    fn add_to(&self, model: Model) -> Model {
        let values = (0..self.channels * self.row).map(Self::element).collect::<Vec<_>>();
        let gamma = (0..self.channels).map(Self::scale).collect::<Vec<_>>();
        let (zeros, ones) = (vec![0.0; self.channels], vec![1.0; self.channels]);
        model.floats(&format!("{}.fc.weight", self.name), self.float, &[self.channels, self.row], &values).norm(
            &format!("{}.bn", self.name),
            Float::F32,
            &gamma,
            &zeros,
            &zeros,
            &ones,
        )
    }

    fn check(&self, folded: &Tensors) {
        let values = folded.get(&format!("{}.fc.weight", self.name)).values();
        assert_eq!(values.len(), self.channels * self.row);
        for (index, value) in values.iter().enumerate() {
            let exact = Self::element(index) * Self::scale(index / self.row);
            assert!(*value == exact, "{} {:?}: element {index} is {value}, not {exact}", self.name, self.float);
        }
    }
}

/// Folds the weights in one file on every engine, checked and unchecked, and checks every element.
fn check(weights: &[Rows]) {
    let model = weights.iter().fold(Model::new(), |model, rows| rows.add_to(model));
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    let lines = weights.iter().map(|rows| {
        let mut line = line(&format!("{}.bn", rows.name), &format!("{}.fc.weight", rows.name), "linear");
        line["eps"] = 0.0.into();
        line
    });
    write_plan(&plan, &lines.collect::<Vec<_>>());
    for mut engine in engines() {
        for verify in [true, false] {
            let (device, output) = (engine.device(), folder.path("out.safetensors"));
            let report = fold(&mut engine, &input, &plan, &output, How { verify, ..USUAL }).unwrap();
            assert_eq!((engine.device(), &report.warnings[..]), (device, &[][..]));
            let differ = report.verification.map(|verification| verification.differ);
            assert_eq!(differ, verify.then_some(0), "{device}: nothing here can be flushed");
            let folded = Tensors::read(&output);
            weights.iter().for_each(|rows| rows.check(&folded));
        }
    }
}

#[test]
fn weights_around_the_size_of_a_batch_are_whole() {
    // BF16 is cut like F16.
    for float in [Float::F16, Float::F32, Float::F64] {
        let full = BATCH_BYTES / float.bytes();
        let tile = TILE_BYTES / float.bytes();
        let sizes = [full - tile, full - 1, full, full + 1];
        check(&sizes.iter().enumerate().map(|(n, &size)| Rows::new(n, float, 1, size)).collect::<Vec<_>>());
    }
}

/// Channels that no boundary falls between: rows of an odd number of elements, 1757 among them.
#[test]
fn long_weights_are_split_anywhere() {
    for float in [Float::F16, Float::F32] {
        let row = 1757;
        let channels = 2 * BATCH_BYTES / float.bytes() / row + 100;
        assert!(channels * row * float.bytes() > 2 * BATCH_BYTES, "test is broken");
        // The first weight moves the boundaries of the second.
        check(&[Rows::new(0, float, 5, 333), Rows::new(1, float, channels, row), Rows::new(2, float, 7, 1)]);
    }
}

/// More small weights than a batch has tiles, of all types in turn, so that batches end early too.
#[test]
fn thousands_of_small_weights_share_batches() {
    let tiles = BATCH_BYTES / TILE_BYTES;
    let alike = (0..tiles + 50).map(|n| Rows::new(n, Float::F16, 1 + n % 3, 1 + n % 19));
    check(&alike.collect::<Vec<_>>());
    let mixed = (0..300).map(|n| Rows::new(n, Float::ALL[n / 3 % 4], 1 + n % 5, 1 + n % 1757));
    check(&mixed.collect::<Vec<_>>());
}

/// A file of one layer, `channels` = 3, that overflows F16 in its second channel.
fn overflowing(folder: &Folder) -> (std::path::PathBuf, std::path::PathBuf) {
    let model = Model::new().floats("head.weight", Float::F16, &[3, 1, 1, 1], &[1.0, 40000.0, 2.0]).norm(
        "bn",
        Float::F32,
        &[1.0, -2.0, 1.0],
        &[0.0; 3],
        &[0.0; 3],
        &[1.0; 3],
    );
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[line("bn", "head.weight", "conv")]);
    (input, plan)
}

const DEVICES: &[&str] = if cfg!(feature = "gpu") { &["cpu", "gpu"] } else { &["cpu"] };

#[test]
fn overflowing_weight_is_refused_with_its_layer_and_channel() {
    let folder = Folder::new();
    let (input, plan) = overflowing(&folder);
    let before = folder.names();
    let output = folder.path("out.safetensors");
    for device in DEVICES {
        for verify in [&["--quiet"][..], &["--no-verify", "--quiet"][..]] {
            let mut command = crate::fixture::command(&[
                &"--input",
                &input,
                &"--output",
                &output,
                &"--plan",
                &plan,
                &"--device",
                device,
            ]);
            let run = command.args(verify).output().unwrap();
            let stderr = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(1), "{stderr}");
            for part in ["`bn`", "`head.weight`", "channel 1", "F16", "--allow-non-finite"] {
                assert!(stderr.contains(part), "{device}: no {part} in: {stderr}");
            }
            assert_eq!(folder.names(), before, "{device}: a failure leaves nothing behind");
        }
    }
}

#[test]
fn overflowing_weight_is_accepted_if_asked_for() {
    let folder = Folder::new();
    let (input, plan) = overflowing(&folder);
    for device in DEVICES {
        let output = folder.path(&format!("{device}.safetensors"));
        let run = bnfold(&[
            &"--input",
            &input,
            &"--output",
            &output,
            &"--plan",
            &plan,
            &"--device",
            device,
            &"--allow-non-finite",
        ]);
        let run = run.expect(0);
        assert!(run.stderr.contains("1 folded values are not finite"), "{}", run.stderr);
        let folded = Tensors::read(&output);
        let weight = folded.get("head.weight");
        assert_eq!(weight.dtype, Dtype::F16);
        // eps moves the others by 5e-6, which F16 does not show.
        assert_eq!(weight.values(), [1.0, f64::NEG_INFINITY, 2.0]);
    }
}

#[test]
fn overflowing_bias_is_refused_with_its_layer_and_channel() {
    let folder = Folder::new();
    let model = Model::new().floats("conv.weight", Float::F16, &[2, 1, 1, 1], &[1.0, 1.0]).norm(
        "bn",
        Float::F32,
        &[1.0, 100.0],
        &[0.0; 2],
        &[0.0, -5000.0],
        &[1.0; 2],
    );
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &[line("bn", "conv.weight", "conv")]);
    for device in DEVICES {
        let run = bnfold(&[&"--input", &input, &"--plan", &plan, &"--device", device]).expect(1);
        for part in ["`bn`", "`conv.bias`", "channel 1", "F16"] {
            assert!(run.stderr.contains(part), "{device}: no {part} in: {}", run.stderr);
        }
    }
}

/// Weights that are subnormal, huge, infinite or NaN give the same bytes on both engines, whatever the device flushes.
#[cfg(feature = "gpu")]
#[test]
fn extreme_weights_give_the_same_bytes_on_both_engines() {
    let mut numbers = Numbers::new(9);
    let halves = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let words = (0..65_536).map(|_| (numbers.unit() * f64::from(u32::MAX)) as u32).flat_map(u32::to_le_bytes);
    let words = words.collect::<Vec<_>>();
    let gamma = [1.0, -1e-39, 0.0, 3e38, 1e-20, 1e-45, -1.7, 1e30];
    let mut model = Model::new();
    let mut lines = Vec::new();
    for (name, dtype, bytes) in [("a", Dtype::F16, &halves), ("b", Dtype::BF16, &halves), ("c", Dtype::F32, &words)] {
        // Channels first, channels last: runs of one channel, and neighbours of different channels.
        for (order, shape) in [("first", [8, 8192]), ("each", [65_536, 1])] {
            let (prefix, channels) = (format!("{name}.{order}"), shape[0]);
            let gamma = (0..channels).map(|c| gamma[c % gamma.len()]).collect::<Vec<_>>();
            let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
            model = model.raw(&format!("{prefix}.fc.weight"), dtype, &shape, bytes);
            model = model.norm(&format!("{prefix}.bn"), Float::F32, &gamma, &zeros, &zeros, &ones);
            lines.push(line(&format!("{prefix}.bn"), &format!("{prefix}.fc.weight"), "linear"));
            lines.last_mut().unwrap()["eps"] = 0.0.into();
        }
    }
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &lines);
    let mut files = Vec::new();
    for mut engine in engines() {
        for verify in [true, false] {
            let (device, output) = (engine.device(), folder.path("out.safetensors"));
            let how = How { verify, allow_non_finite: true, ..USUAL };
            let report = fold(&mut engine, &input, &plan, &output, how).unwrap();
            let given_up = report.warnings.iter().find(|warning| warning.code() == "gpu-failed");
            assert_eq!((engine.device(), given_up), (device, None), "verify: {verify}");
            files.push(Tensors::read(&output));
        }
    }
    for (index, file) in files.iter().enumerate() {
        for (name, tensor) in &file.0 {
            let same = *tensor == files[0].0[name];
            assert!(same, "{name} of file {index} (cpu, cpu unchecked, gpu, gpu unchecked) differs from the first");
        }
    }
}
