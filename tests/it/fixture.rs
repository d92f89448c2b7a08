//! What every other test module uses: checkpoints made to order, a folder to put them in, the program to run on them.
//!
//! In: tensors as numbers. Out: files, written by the `safetensors` crate (so that ours are never tested with our own
//! writer), and the program's output.

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

    /// Names of everything in it, sorted: to see that nothing was left behind.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder exists");
        let mut names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
        names.sort();
        names
    }
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

/// What a run of the program left.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
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
