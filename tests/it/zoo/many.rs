//! ZOO: two hundred models of twelve architectures and four types, five of them broken.
//!
//! In: architectures as they were traced, an eighth as wide so that two hundred are quickly folded, with values of all
//! kinds. Out: 195 results, five names, and the same tree however often a run is killed.

use std::path::Path;
use std::process::Stdio;

use bnfold_gpu::checkpoint::Float;

use super::{fold_zoo, names, tree};
use crate::fixture::{Folder, Model, Numbers, bnfold, command};
use crate::traced;

const ARCHITECTURES: [&str; 12] = [
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_small",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/densenet121",
    "torchvision/googlenet",
    "torchvision/mnasnet0_5",
    "torchvision/efficientnet_b0",
    "pytorchcv/ghostnet",
    "timm/repvgg_a0",
    "timm/legacy_seresnet18",
    "timm/repghostnet_050",
];
const FLOATS: [Float; 4] = [Float::F32, Float::F16, Float::Bf16, Float::F64];
const MODELS: usize = 200;

/// A traced network an eighth as wide: every dimension is shrunk by the same rule, so that what was equal stays equal.
fn narrow(network: &traced::Network, float: Float, seed: u64) -> Model {
    let mut numbers = Numbers::new(seed);
    let (tensors, metadata) = network.saved();
    let mut model = Model::new().metadata("format", "pt");
    for (key, value) in &metadata {
        model = model.metadata(key, value);
    }
    for (name, tensor) in &tensors {
        let shape = tensor.shape.iter().map(|&dim| if dim < 8 { dim } else { dim.div_ceil(8) } as usize);
        let shape = shape.collect::<Vec<_>>();
        let count = shape.iter().product::<usize>();
        model = match tensor.dtype.float() {
            None => model.raw(name, safetensors::Dtype::I64, &shape, &vec![0; 8 * count]),
            Some(_) if name.ends_with("running_var") => {
                model.floats(name, float, &shape, &numbers.many(count, 0.1, 4.0))
            }
            Some(_) => model.floats(name, float, &shape, &numbers.many(count, -1.0, 1.0)),
        };
    }
    model
}

/// Writes the zoo; returns the names of the five that are broken.
fn make(root: &Path) -> [String; 5] {
    let networks = ARCHITECTURES.map(|name| {
        traced::NETWORKS.iter().find(|network| network.name == name).unwrap_or_else(|| panic!("no trace of {name}"))
    });
    let place = |n: usize| {
        let name = ARCHITECTURES[n % 12].replace('/', "-");
        format!("{name}/{n:03}.safetensors")
    };
    for n in 0..MODELS {
        let path = root.join(place(n));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        narrow(networks[n % 12], FLOATS[n / 12 % 4], n as u64).write(&path);
    }
    let broken = [17, 50, 99, 123, 188].map(place);
    let [cut, empty, garbage, not_a_number, folder] = broken.each_ref().map(|name| root.join(name));
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(empty, b"").unwrap();
    std::fs::write(garbage, [0xff; 1000]).unwrap();
    let nan = Model::conv_bn_with("bn.running_var", f32::NAN).floats("x", Float::F32, &[1], &[0.0]);
    nan.write(&not_a_number);
    std::fs::write(
        &folder,
        b"\x40\0\0\0\0\0\0\0{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 9]}}     ",
    )
    .unwrap();
    broken
}

#[test]
fn of_two_hundred_models_five_are_broken_and_named() {
    let folder = Folder::new();
    let broken = make(&folder.path("zoo"));
    let run = fold_zoo(&folder, &[&"--quiet"]).expect(1);
    assert!(run.stdout.contains("195 folded, 5 failed"), "{}", run.stdout);
    let originals = names(&folder.path("zoo")).into_iter().filter(|name| !broken.contains(name)).collect::<Vec<_>>();
    assert_eq!(names(&folder.path("out")), originals);
    for name in &broken {
        let errors = run.stderr.lines().filter(|line| line.starts_with("error: ") && line.contains(name)).count();
        assert_eq!(errors, 1, "{name} in {}", run.stderr);
    }
    // A sample is what the command makes of a single file, but for the record.
    for name in originals.iter().step_by(29) {
        let (input, single) = (folder.path("zoo").join(name), folder.path("single.safetensors"));
        bnfold(&[&"--device", &"cpu", &"--quiet", &"--input", &input, &"--output", &single, &"--force"]).expect(0);
        let [zoo, single] = [std::fs::read(folder.path("out").join(name)).unwrap(), std::fs::read(single).unwrap()];
        let data = |bytes: &[u8]| {
            bytes[8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap()..].to_vec()
        };
        assert_eq!(data(&zoo), data(&single), "{name}");
    }
}

/// Killed at twenty moments, without a chance to tidy up.
#[cfg(unix)]
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one() {
    let folder = Folder::new();
    make(&folder.path("zoo"));
    let started = std::time::Instant::now();
    fold_zoo(&folder, &[&"--quiet"]).expect(1);
    let whole_run = started.elapsed().as_secs_f64();
    let undisturbed = tree(&folder.path("out"));
    std::fs::remove_dir_all(folder.path("out")).unwrap();
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let (mut numbers, mut growth) = (Numbers::new(7), Vec::new());
    for _ in 0..20 {
        let mut command =
            command(&[&"--device", &"cpu", &"--quiet", &"--no-sync", &"--input", &zoo, &"--output", &out]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_secs_f64(numbers.between(0.0, whole_run / 5.0)));
        child.kill().unwrap();
        child.wait().unwrap();
        growth.push(if out.is_dir() { names(&out).len() } else { 0 });
    }
    assert!(growth.iter().any(|&done| done > 0 && done < 195), "no kill met the run at work: {growth:?}");
    fold_zoo(&folder, &[&"--quiet"]).expect(1);
    assert_eq!(tree(&out), undisturbed);
}

/// Every model asks what else lies in its folder, and with `--force` what the output's indices name. If each read the folder
/// for it, one of 4,000 would take more than three times as long as one of 500. The best of three attempts counts, since others
/// use the machine too.
#[test]
fn a_model_takes_no_longer_for_lying_beside_thousands_of_others() {
    let seconds_a_model = |models: usize| {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("zoo")).unwrap();
        folder.text("zoo/config.json", r#"{"batch_norm_eps": 0.001}"#);
        for n in 0..models {
            folder.file(&format!("zoo/m{n}.safetensors"), &Model::conv_bn_with("bn.bias", n as f32));
        }
        fold_zoo(&folder, &[&"--quiet"]).expect(0);
        let began = std::time::Instant::now();
        let run = fold_zoo(&folder, &[&"--quiet", &"--force"]).expect(0);
        assert!(run.stdout.contains(&format!("{models} folded")), "{}", run.stdout);
        began.elapsed().as_secs_f64() / models as f64
    };
    let is_linear = || {
        let (few, many) = (seconds_a_model(500), seconds_a_model(4000));
        (many < 2.0 * few).then_some(()).ok_or(format!("{few:e} s a model of 500, {many:e} s a model of 4,000"))
    };
    let mut slow = Vec::new();
    while let Err(measured) = is_linear() {
        slow.push(measured);
        assert!(slow.len() < 3, "{slow:?}");
    }
}
