//! What every other test module uses: checkpoints made to order, a folder to put them in, the program to run on them.
//!
//! In: tensors as numbers. Out: files, written by the `safetensors` crate (so that ours are never tested with our own
//! writer) or, where they must be broken, byte by byte; and the program's output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bnfold_gpu::checkpoint::Float;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A checkpoint under construction.
#[derive(Default, Clone)]
pub struct Model {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: Option<std::collections::HashMap<String, String>>,
}

impl Model {
    pub fn new() -> Model {
        Model::default()
    }

    /// A float tensor; every value is rounded to `float`.
    pub fn floats(mut self, name: &str, float: Float, shape: &[usize], values: &[f64]) -> Model {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "test file is broken: {name} {shape:?}");
        let bytes = float.narrow_all(values);
        let bnfold_gpu::checkpoint::Dtype::Known(dtype) = float.dtype() else { unreachable!("floats are known types") };
        self.tensors.push((name.to_owned(), dtype, shape.to_vec(), bytes));
        self
    }

    /// A tensor of any type, as bytes.
    pub fn raw(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Model {
        self.tensors.push((name.to_owned(), dtype, shape.to_vec(), bytes.to_vec()));
        self
    }

    /// A PyTorch batch norm: gamma, beta, running mean, running variance and the I64 counter.
    pub fn norm(self, prefix: &str, float: Float, gamma: &[f64], beta: &[f64], mean: &[f64], var: &[f64]) -> Model {
        let shape = [var.len()];
        self.floats(&format!("{prefix}.weight"), float, &shape, gamma)
            .floats(&format!("{prefix}.bias"), float, &shape, beta)
            .floats(&format!("{prefix}.running_mean"), float, &shape, mean)
            .floats(&format!("{prefix}.running_var"), float, &shape, var)
            .raw(&format!("{prefix}.num_batches_tracked"), Dtype::I64, &[], &7i64.to_le_bytes())
    }

    /// An entry of `__metadata__`.
    pub fn metadata(mut self, key: &str, value: &str) -> Model {
        self.metadata.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// A convolution without a bias, 3 channels into 4, and its norm: `conv` and `bn`, the smallest thing to fold.
    pub fn conv_bn() -> Model {
        let weights = Numbers::new(1).many(4 * 3 * 9, -1.0, 1.0);
        Model::new().floats("conv.weight", Float::F32, &[4, 3, 3, 3], &weights).norm(
            "bn",
            Float::F32,
            &[1.5, -0.5, 0.0, 2.0],
            &[0.5, 0.25, -1.0, 0.0],
            &[3.0, -0.75, 0.5, 0.125],
            &[4.0, 0.25, 9.0, 0.01],
        )
    }

    /// The same with channel 2 of one tensor of the norm changed to `value`.
    pub fn conv_bn_with(tensor: &str, value: f32) -> Model {
        let mut model = Model::conv_bn();
        model.set(tensor, 2, value);
        model
    }

    /// The same without one of its tensors.
    pub fn without(mut self, tensor: &str) -> Model {
        let before = self.tensors.len();
        self.tensors.retain(|(name, ..)| name != tensor);
        assert_eq!(self.tensors.len() + 1, before, "test file is broken: no {tensor}");
        self
    }

    /// Changes one element of an F32 tensor.
    pub fn set(&mut self, tensor: &str, element: usize, value: f32) {
        let (.., bytes) = self.tensors.iter_mut().find(|(name, ..)| name == tensor).expect("test file is broken");
        bytes[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// An F32 vector put in the place of the tensor of that name.
    pub fn floats_replaced(mut self, name: &str, values: &[f64]) -> Model {
        self.tensors.retain(|(other, ..)| other != name);
        self.floats(name, Float::F32, &[values.len()], values)
    }

    /// `name.fc.weight` of 8 rows of `row` elements and its norm `name.bn`: large, with few channels.
    #[cfg(feature = "gpu")]
    pub fn wide(numbers: &mut Numbers, name: &str, float: Float, row: usize) -> Model {
        let weights = numbers.many(8 * row, -1.0, 1.0);
        let [gamma, beta, mean] = [2.0, 1.0, 1.0].map(|most| numbers.many(8, -most, most));
        Model::new().floats(&format!("{name}.fc.weight"), float, &[8, row], &weights).norm(
            &format!("{name}.bn"),
            Float::F32,
            &gamma,
            &beta,
            &mean,
            &numbers.many(8, 0.01, 9.0),
        )
    }

    /// All tensors of several models, whose names must differ.
    pub fn merged(models: impl IntoIterator<Item = Model>) -> Model {
        let tensors = models.into_iter().flat_map(|model| model.tensors).collect();
        Model { tensors, metadata: None }
    }

    /// Writes it to `path`.
    pub fn write(&self, path: &Path) {
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("test file is broken"))
        });
        let bytes = safetensors::serialize(views, self.metadata.clone()).expect("test file is broken");
        std::fs::write(path, bytes).expect("the temporary folder is writable");
    }
}

/// A temporary folder with helpers; gone when dropped.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `model` under `name`; returns the path.
    pub fn file(&self, name: &str, model: &Model) -> PathBuf {
        let path = self.path(name);
        model.write(&path);
        path
    }

    /// Writes `text` under `name`; returns the path.
    pub fn text(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the temporary folder is writable");
        path
    }

    /// Names of everything in it, sorted: to see that nothing was left behind.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder exists");
        let mut names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
        names.sort();
        names
    }
}

/// A plan that folds norms into weights, a line a layer: the first layer stands on line 2.
pub fn plan(pairs: &[(&str, &str)]) -> String {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let line = |&(norm, weight): &(&str, &str)| {
        format!(r#"{{"norm": {}, "action": "fold", "weight": {}, "eps": 1e-5}}"#, quoted(norm), quoted(weight))
    };
    let lines = pairs.iter().map(line).collect::<Vec<_>>().join(",\n");
    format!("{{\"version\": 1, \"layers\": [\n{lines}\n]}}\n")
}

/// The same with eps left to the command line.
pub fn plan_without_eps(pairs: &[(&str, &str)]) -> String {
    plan(pairs).replace(", \"eps\": 1e-5", "")
}

/// A file with `json` as its header, as it is, and `data` after it.
pub fn raw_file(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

/// Folds `input` on the CPU.
pub fn fold(input: &Path, more: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    bnfold(&[&[&"--device" as &dyn AsRef<_>, &"cpu", &"--input", &input], more].concat())
}

/// Runs the program; arguments are anything that can be part of a command line.
pub fn bnfold(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    let output = command(arguments).output().expect("the program starts");
    Run::new(&output)
}

/// The same, not yet started.
pub fn command(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bnfold-gpu"));
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    // A Vulkan layer of Mesa complains on stderr where this is not set.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// The same under `sh`: after `setup`, which may change umask or limits, the shell becomes the program.
#[cfg(unix)]
pub fn shell(setup: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let program = command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")]).arg(program.get_program()).args(program.get_args());
    shell.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    shell
}

/// The same without the power of root to pass over a file's mode.
#[cfg(unix)]
pub fn unprivileged(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let setup = "test $(id -u) -ne 0 || exec setpriv --bounding-set=-dac_override,-dac_read_search \"$0\" \"$@\"";
    shell(setup, arguments)
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Run {
        Run::new(&command.output().expect("the program starts"))
    }

    /// Waits for a program that was started with both outputs piped; one that takes a minute hangs, and is killed.
    #[track_caller]
    pub fn end(mut child: std::process::Child) -> Run {
        let started = std::time::Instant::now();
        while child.try_wait().expect("it can be waited for").is_none() {
            if started.elapsed().as_secs() >= 60 {
                child.kill().expect("it can be killed");
                panic!("the program hangs");
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Run::new(&child.wait_with_output().expect("its output can be read"))
    }

    fn new(output: &Output) -> Run {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the program ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the program ended with `code` and one error that holds all of `words`.
    #[track_caller]
    pub fn error(self, code: i32, words: &[&str]) -> Run {
        let run = self.expect(code);
        // What may change results is said first, whatever else.
        assert!(run.stderr.lines().any(|line| line.starts_with("error: ")), "stderr:\n{}", run.stderr);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "no `{word}` in stderr:\n{}", run.stderr));
        run
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e} in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

/// A small generator of numbers, equal on every machine: seeded, so that a failure can be repeated.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // xorshift64*, Vigna 2016 (arXiv:1402.6246).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// `count` numbers in [low, high).
    pub fn many(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.between(low, high)).collect()
    }
}
