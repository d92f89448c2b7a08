//! Folding through the library, where starting the program for every case would take too long; and files read back.
//!
//! In: a path, a plan, an engine. Out: a [`ModelReport`], and [`Tensors`]: what the `safetensors` crate finds in a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::{Engine, FoldOptions, Style};
use bnfold_gpu::model::{PlanSource, Settings, fold_model};
use bnfold_gpu::output::Replace;
use bnfold_gpu::report::ModelReport;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::fixture::Model;

/// How to fold.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub style: Style,
    pub verify: bool,
    pub allow_non_finite: bool,
    /// The float type of the output, if not every tensor's own.
    pub dtype: Option<Float>,
}

/// The defaults of the command line.
pub const USUAL: How = How { style: Style::Strip, verify: true, allow_non_finite: false, dtype: None };

/// Folds `input` into `output` by the plan file `plan`; every norm must be in it.
pub fn fold(
    engine: &mut Engine,
    input: &Path,
    plan: &Path,
    output: &Path,
    how: How,
) -> bnfold_gpu::Result<ModelReport> {
    let plan = PlanSource::from(plan);
    let settings = Settings {
        plan: Some(&plan),
        style: how.style,
        dtype: how.dtype,
        denied: {
            let mut denied = bnfold_gpu::model::Denied::default();
            denied.deny("kept".parse().unwrap());
            denied
        },
        replace: Replace::Always,
        sync: false,
        ..Settings::default()
    };
    let options = FoldOptions {
        verify: how.verify,
        allow_non_finite: how.allow_non_finite,
        ranges: false,
        quantization: false,
        threads: 2,
        cancelled: &AtomicBool::new(false),
        progress: &|_| {},
    };
    fold_model(input, output, settings, engine, options)
}

/// The software or hardware adapter that is there; a test without one fails.
#[cfg(feature = "gpu")]
pub fn gpu() -> Engine {
    use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
    Engine::Gpu(GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one").into())
}

/// All engines this build has.
pub fn engines() -> Vec<Engine> {
    vec![
        Engine::Cpu,
        #[cfg(feature = "gpu")]
        gpu(),
    ]
}

/// A plan that folds, in the words of the plan file.
pub fn write_plan(path: &Path, layers: &[Value]) {
    let plan = json!({"version": 1, "input": "x", "layers": layers});
    std::fs::write(path, plan.to_string()).expect("the temporary folder is writable");
}

/// One line of it.
pub fn line(norm: &str, weight: &str, op: &str) -> Value {
    json!({"norm": norm, "action": "fold", "weight": weight, "op": op})
}

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// All tensors of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensors(pub BTreeMap<String, Stored>);

impl Tensors {
    #[track_caller]
    pub fn read(path: &Path) -> Tensors {
        let bytes = std::fs::read(path).expect("the file is there");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let stored = |view: &safetensors::tensor::TensorView<'_>| Stored {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Tensors(file.tensors().iter().map(|(name, view)| (name.clone(), stored(view))).collect())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &Stored {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}; there are {:?}", self.0.keys()))
    }

    pub fn get_mut(&mut self, name: &str) -> &mut Stored {
        self.0.get_mut(name).unwrap_or_else(|| panic!("test is broken: no tensor {name}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The same tensors as a file to be written.
    pub fn model(&self) -> Model {
        let tensors = self.0.iter();
        tensors.fold(Model::new(), |model, (name, t)| model.raw(name, t.dtype, &t.shape, &t.bytes))
    }
}

impl Stored {
    /// The numbers, exactly.
    #[track_caller]
    pub fn values(&self) -> Vec<f64> {
        let bytes = &self.bytes;
        match self.dtype {
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f64()).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            other => panic!("test is broken: {other} is not a float"),
        }
    }
}

/// The type in the words of the `safetensors` crate.
pub fn dtype(float: Float) -> Dtype {
    match float {
        Float::F16 => Dtype::F16,
        Float::Bf16 => Dtype::BF16,
        Float::F32 => Dtype::F32,
        Float::F64 => Dtype::F64,
    }
}

/// The gap between neighbouring numbers of a type at `value`.
pub fn ulp(dtype: Dtype, value: f64) -> f64 {
    let (fraction_bits, least_exponent) = match dtype {
        Dtype::F16 => (10, -14),
        Dtype::BF16 => (7, -126),
        Dtype::F32 => (23, -126),
        Dtype::F64 => (52, -1022),
        other => panic!("test is broken: {other} is not a float"),
    };
    let exponent = if value == 0.0 { least_exponent } else { value.abs().log2().floor() as i32 };
    // log2 may be rounded up to the next integer just below a power of two.
    let exponent = if 2f64.powi(exponent) > value.abs() { exponent - 1 } else { exponent };
    2f64.powi(exponent.max(least_exponent) - fraction_bits)
}

/// What a program that uses the library can rely on is listed in `src/lib.rs`; the rooms behind it are hidden.
#[test]
fn the_interface_is_small_and_the_rooms_are_hidden() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let lines = text.lines().collect::<Vec<_>>();
    let open = lines.windows(2).filter(|pair| pair[1].starts_with("pub mod") && pair[0] != "#[doc(hidden)]");
    assert_eq!(open.count(), 0, "a room that is not hidden");
    let code = lines.iter().filter(|line| !line.starts_with("//")).copied().collect::<Vec<_>>().join(" ");
    let uses = code.split("pub use ").skip(1).map(|rest| rest.split(';').next().unwrap());
    let names = uses.flat_map(|path| match path.split_once('{') {
        Some((_, list)) => list.trim_end_matches('}').split(',').map(str::trim).collect::<Vec<_>>(),
        None => vec![path],
    });
    let names = names.filter(|name| !name.is_empty()).collect::<Vec<_>>();
    assert!((30..=55).contains(&names.len()), "{} names: {names:?}", names.len());
}
