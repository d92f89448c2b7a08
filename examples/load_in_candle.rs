//! Loads a checkpoint into candle, folded or not: `cargo run --example load_in_candle -- model.safetensors folded.safetensors`.
//!
//! In: `tests/data/digits-resnet.safetensors` and what was made of it. Out: the largest difference between what its first
//! two layers compute for the two files. `docs/loading.md` prints [`ConvNorm`].

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, VarBuilder, batch_norm, conv2d, conv2d_no_bias};

// In docs/loading.md from here on.
struct ConvNorm {
    conv: Conv2d,
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// A convolution of 3 x 3 and its norm; where the norm is folded away, the convolution has a bias instead.
    fn load(inputs: usize, outputs: usize, conv: VarBuilder<'_>, norm: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let make = if conv.contains_tensor("bias") { conv2d } else { conv2d_no_bias };
        let norm = norm.contains_tensor("running_var").then(|| batch_norm(outputs, 1e-5, norm)).transpose()?;
        Ok(Self { conv: make(inputs, outputs, 3, config, conv)?, norm })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv.forward(x)?;
        self.norm.as_ref().map_or(Ok(y.clone()), |norm| norm.forward_t(&y, false))
    }
}
// As far as this.

/// What the first two layers of the network compute for an image of sines.
pub(crate) fn run(file: &Path) -> Result<Tensor> {
    let weights = VarBuilder::from_buffered_safetensors(std::fs::read(file)?, DType::F32, &Device::Cpu)?;
    let image = Tensor::arange(0_f32, 64.0, &Device::Cpu)?.sin()?.reshape((1, 1, 8, 8))?;
    let stem = ConvNorm::load(1, 16, weights.pp("conv1"), weights.pp("bn1"))?;
    let block = weights.pp("layer1.0");
    let next = ConvNorm::load(16, 16, block.pp("conv1"), block.pp("bn1"))?;
    next.forward(&stem.forward(&image)?.relu()?)
}

/// The largest difference, in parts of the largest element.
pub(crate) fn difference(before: &Tensor, after: &Tensor) -> Result<f32> {
    let largest = |tensor: Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
    Ok(largest((before - after)?)? / largest(before.clone())?)
}

#[allow(dead_code, reason = "the test calls what is above")]
fn main() -> std::result::Result<(), String> {
    let arguments = std::env::args_os().skip(1).collect::<Vec<_>>();
    let [before, after] = arguments.as_slice() else { return Err("expected ORIGINAL FOLDED".to_owned()) };
    let difference = run(before.as_ref()).and_then(|before| difference(&before, &run(after.as_ref())?));
    println!("{:e}", difference.map_err(|error| error.to_string())?);
    Ok(())
}
