//! One layer and its norm, made to order, with everything that a folded file must hold of it.
//!
//! In: a [`Case`]: layout, element types, which tensors there are, eps, a seed. Out: its tensors and its line of the
//! plan; later, of the folded file, whether every number is right and whether the layer computes what it did.
//!
//! The reference is this file's own, in f64, from the tensors as the `safetensors` crate reads them.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Style;
use serde_json::Value;

use crate::fixture::{Model, Numbers};
use crate::layers::{Layer, Layout, Tap};
use crate::library::{Tensors, dtype, line, ulp};

#[derive(Debug, Clone)]
pub struct Case {
    pub prefix: String,
    pub layer: Layer,
    pub weight: Float,
    /// `None`: the layer has no bias.
    pub bias: Option<Float>,
    pub norm: Float,
    pub has_gamma: bool,
    pub has_beta: bool,
    pub eps: f64,
    pub seed: u64,
}

/// Tensor names in the layer's framework.
pub struct Names {
    pub weight: String,
    pub bias: String,
    pub gamma: String,
    pub beta: String,
    pub mean: String,
    pub var: String,
}

/// What the norm makes of the layer, a number a channel.
struct Expected {
    scale: Vec<f64>,
    /// The scale of a channel over what remains of the norm.
    over: Box<dyn Fn(usize, f64) -> f64>,
    shift: Vec<f64>,
    /// The largest number that the shift is the sum of: its error is measured there, since the sum may cancel.
    largest: Vec<f64>,
}

/// The f64 nearest to gamma / sqrt(var + eps) / factor. The operations come within a few ulp of it; of the numbers around what
/// they come to it is the one for which (it * factor)^2 * (var + eps), multiplied out without rounding, is nearest to gamma^2.
fn nearest(gamma: f64, var: f64, eps: f64, factor: f64) -> f64 {
    let near = gamma / (var + eps).sqrt() / factor;
    let product = |a: f64, b: f64| (a * b, a.mul_add(b, -(a * b)));
    let off = |value: f64| {
        let ((back, back_rest), (whole, whole_rest)) = (product(value, factor), product(gamma, gamma));
        let (square, rest) = product(back, back);
        let rest = rest + 2.0 * back * back_rest;
        let ((a, a_rest), (b, b_rest)) = (product(square, var), product(square, eps));
        ((whole - a.max(b)) - a.min(b) + (whole_rest - a_rest - b_rest - rest * (var + eps))).abs()
    };
    let around = (-4..=4).map(|step: i64| f64::from_bits(near.to_bits().wrapping_add_signed(step)));
    if near == 0.0 { near } else { around.min_by(|&a, &b| off(a).total_cmp(&off(b))).unwrap() }
}

impl Case {
    pub fn names(&self) -> Names {
        let p = &self.prefix;
        let all = |weight: &str, bias: &str, [gamma, beta, mean, var]: [&str; 4]| Names {
            weight: weight.replace('@', p),
            bias: bias.replace('@', p),
            gamma: gamma.replace('@', p),
            beta: beta.replace('@', p),
            mean: mean.replace('@', p),
            var: var.replace('@', p),
        };
        let keras = ["@/bn/gamma", "@/bn/beta", "@/bn/moving_mean", "@/bn/moving_variance"];
        let flax = ["params/@/bn/scale", "params/@/bn/bias", "batch_stats/@/bn/mean", "batch_stats/@/bn/var"];
        let torch = ["@.bn.weight", "@.bn.bias", "@.bn.running_mean", "@.bn.running_var"];
        match self.layer.layout {
            Layout::KerasDepthwise => all("@/conv/depthwise_kernel", "@/conv/bias", keras),
            Layout::KerasConv | Layout::KerasConvTranspose | Layout::KerasDense => {
                all("@/conv/kernel", "@/conv/bias", keras)
            }
            Layout::FlaxConv | Layout::FlaxDense => all("params/@/conv/kernel", "params/@/conv/bias", flax),
            _ => all("@.conv.weight", "@.conv.bias", torch),
        }
    }

    fn norm_name(&self) -> String {
        let separator = if self.names().weight.ends_with("weight") { '.' } else { '/' };
        format!("{}{separator}bn", self.prefix)
    }

    pub fn plan_line(&self) -> Value {
        let op = match self.layer.layout {
            Layout::TorchLinear | Layout::KerasDense | Layout::FlaxDense | Layout::MlxLinear => "linear",
            Layout::TorchConvTranspose | Layout::KerasConvTranspose | Layout::MlxConvTranspose => "conv_transpose",
            Layout::KerasDepthwise => "depthwise",
            Layout::TorchConv | Layout::KerasConv | Layout::FlaxConv | Layout::MlxConv => "conv",
        };
        let mut line = line(&self.norm_name(), &self.names().weight, op);
        line["eps"] = self.eps.into();
        line
    }

    /// Adds the layer's and the norm's tensors: variances over six decades, gammas of either sign and one that is 0,
    /// means and betas far from 0, weights from 1 down to the subnormals of f16.
    pub fn add_to(&self, mut model: Model) -> Model {
        let mut numbers = Numbers::new(self.seed);
        let (names, channels, shape) = (self.names(), self.layer.channels(), self.layer.shape());
        let weight = (0..shape.iter().product())
            .map(|_| numbers.between(-1.0, 1.0).signum() * 10f64.powf(numbers.between(-6.0, 0.0)));
        model = model.floats(&names.weight, self.weight, &shape, &weight.collect::<Vec<_>>());
        if let Some(bias) = self.bias {
            model = model.floats(&names.bias, bias, &[channels], &numbers.many(channels, -2.0, 2.0));
        }
        let mut gamma = numbers.many(channels, -3.0, 3.0);
        if channels > 2 {
            gamma[channels / 2] = 0.0;
        }
        let beta = numbers.many(channels, -2.0, 2.0);
        let mean = numbers.many(channels, -4.0, 4.0);
        let var = (0..channels).map(|_| 10f64.powf(numbers.between(-3.0, 3.0))).collect::<Vec<_>>();
        let mut norm = vec![(&names.mean, mean), (&names.var, var)];
        norm.extend(self.has_gamma.then_some((&names.gamma, gamma)));
        norm.extend(self.has_beta.then_some((&names.beta, beta)));
        norm.into_iter().fold(model, |model, (name, values)| model.floats(name, self.norm, &[channels], &values))
    }

    /// The values of a tensor, or `absent` for every channel.
    fn read(&self, tensors: &Tensors, name: &str, absent: f64) -> Vec<f64> {
        if tensors.has(name) { tensors.get(name).values() } else { vec![absent; self.layer.channels()] }
    }

    /// gamma / sqrt(var + eps), (b - mean) * scale + beta: Ioffe and Szegedy 2015, algorithm 2.
    fn expected(&self, original: &Tensors) -> Expected {
        let names = self.names();
        let (gamma, beta) = (self.read(original, &names.gamma, 1.0), self.read(original, &names.beta, 0.0));
        let (mean, var) = (original.get(&names.mean).values(), original.get(&names.var).values());
        let bias = self.read(original, &names.bias, 0.0);
        let (channels, eps) = (0..self.layer.channels(), self.eps);
        let scale = channels.clone().map(|c| nearest(gamma[c], var[c], self.eps, 1.0)).collect::<Vec<_>>();
        let moved = |c: usize| (bias[c] - mean[c]) * scale[c];
        let largest = |c: usize| {
            [bias[c] * scale[c], mean[c] * scale[c], moved(c), beta[c]]
                .into_iter()
                .fold(0.0, |a: f64, b| a.max(b.abs()))
        };
        Expected {
            shift: channels.clone().map(|c| (bias[c] - mean[c]).mul_add(scale[c], beta[c])).collect(),
            over: Box::new(move |c, factor| nearest(gamma[c], var[c], eps, factor)),
            largest: channels.map(largest).collect(),
            scale,
        }
    }

    /// What is left of the norm: `(factor, mean, beta)` a channel. A runtime adds eps in the norm's arithmetic, which is
    /// f32 for all types but f64 (torch keeps a half norm's statistics in f32): where that sum is exactly 1 the factor
    /// is gamma, otherwise the sum is taken in f64.
    fn rest(&self, folded: &Tensors) -> [Vec<f64>; 3] {
        let names = self.names();
        let read = |name, absent| self.read(folded, name, absent);
        let factor = |(gamma, var): (f64, f64)| {
            let one = match self.norm {
                Float::F64 => var + self.eps == 1.0,
                _ => var as f32 + self.eps as f32 == 1.0,
            };
            if one { gamma } else { nearest(gamma, var, self.eps, 1.0) }
        };
        let factor = match folded.has(&names.var) {
            true => read(&names.gamma, 1.0).into_iter().zip(read(&names.var, 1.0)).map(factor).collect(),
            false => vec![1.0; self.layer.channels()],
        };
        [factor, read(&names.mean, 0.0), read(&names.beta, 0.0)]
    }

    /// Every tensor is there or gone as the style says, with its type and shape.
    pub fn check_tensors(&self, original: &Tensors, folded: &Tensors, style: Style) {
        let names = self.names();
        let (weight, bias) = (folded.get(&names.weight), original.0.get(&names.bias));
        assert_eq!((weight.dtype, &weight.shape), (dtype(self.weight), &self.layer.shape()), "{self:?}");
        let norm = [&names.gamma, &names.beta, &names.mean, &names.var];
        if style == Style::Strip {
            assert!(norm.iter().all(|name| !folded.has(name)), "{self:?}: the norm is still there");
            let created = folded.get(&names.bias);
            let expected = bias.map_or(dtype(self.weight), |bias| bias.dtype);
            assert_eq!((created.dtype, &*created.shape), (expected, &[self.layer.channels()][..]), "{self:?}");
            return;
        }
        for name in norm.into_iter().chain([&names.bias]) {
            let of = |tensors: &Tensors| tensors.0.get(name).map(|t| (t.dtype, t.shape.clone()));
            assert_eq!(of(folded), of(original), "{self:?}: {name}");
        }
    }

    /// The most that a folded weight may be off, in ulp of its type at the exact product.
    ///
    /// f32: the scale is rounded to f32 (half an ulp of it, which moves the product by up to one ulp of its own) and the
    /// product once (0.5). f16, bf16: that f32 product is off by 1.5 ulp of f32, which is 1.5 * 2^-13 of an f16's and
    /// 1.5 * 2^-16 of a bf16's, and is rounded once: below 0.501. f64: everything is f64, and so is the reference; one
    /// rounding each for the scale over what remains of the norm, and for the product.
    fn weight_bound(&self) -> f64 {
        match self.weight {
            Float::F32 | Float::F64 => 1.5,
            Float::F16 | Float::Bf16 => 0.501,
        }
    }

    /// Every folded weight and every shift is the exact one, rounded as often as is promised.
    pub fn check_elements(&self, original: &Tensors, folded: &Tensors, style: Style) {
        let (names, expected) = (self.names(), self.expected(original));
        let [factor, mean, beta] = self.rest(folded);
        let (before, after) = (original.get(&names.weight).values(), folded.get(&names.weight).values());
        let weight = dtype(self.weight);
        for (index, tap) in self.layer.taps().iter().enumerate() {
            let exact = before[index] * (expected.over)(tap.output, factor[tap.output]);
            let off = (after[index] - exact).abs();
            assert!(
                off <= self.weight_bound() * ulp(weight, exact),
                "{self:?}: {}[{index}], channel {}: {} instead of {exact}: {} ulp off",
                names.weight,
                tap.output,
                after[index],
                off / ulp(weight, exact)
            );
        }
        let bias = self.read(folded, &names.bias, 0.0);
        let (holder, negated) = self.shift_holder(style);
        let holder = folded.get(&holder);
        let stored = holder.values();
        for channel in 0..self.layer.channels() {
            // In the units of the tensor that holds it: a running mean is multiplied by what remains of the norm.
            let unit = if negated { -factor[channel] } else { 1.0 };
            let (exact, largest) = (expected.shift[channel] / unit, expected.largest[channel] / unit);
            let off = (stored[channel] - exact).abs();
            assert!(
                off <= SHIFT_BOUND * ulp(holder.dtype, largest),
                "{self:?}, channel {channel}: shift {} instead of {exact}: {} ulp of {largest} off",
                stored[channel],
                off / ulp(holder.dtype, largest)
            );
            if style == Style::DropIn {
                // f32 and f64 are fine enough for 1 - eps, and for the identity to be one in the runtime's arithmetic.
                let fine = matches!(self.norm, Float::F32 | Float::F64);
                assert!(!fine || factor[channel] == 1.0, "{self:?}: the norm multiplies by {}", factor[channel]);
                let others = [bias[channel], if negated { beta[channel] } else { mean[channel] }];
                assert_eq!(others, [0.0; 2], "{self:?}, channel {channel}: the shift must be in one place only");
            }
        }
    }

    /// The tensor that takes the shift, and whether it is subtracted and scaled.
    fn shift_holder(&self, style: Style) -> (String, bool) {
        let names = self.names();
        match style {
            Style::Strip => (names.bias, false),
            Style::DropIn if self.has_beta => (names.beta, false),
            Style::DropIn => (names.mean, true),
        }
    }

    /// Layer and norm compute what they did, on a random input.
    ///
    /// The bound is the layer itself, run on the errors that [`Case::check_elements`] allows every number and on the
    /// absolute input; plus 2^-44 of the sum of all absolute terms for the f64 sums of the two references: they have
    /// fewer than 2^8 terms, and each addition rounds by 2^-53.
    pub fn check_forward(&self, original: &Tensors, folded: &Tensors, style: Style) {
        let (names, expected) = (self.names(), self.expected(original));
        let mut numbers = Numbers::new(self.seed ^ 0x5EED);
        let input = numbers.many(self.layer.input_len(), -1.0, 1.0);
        let size = input.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let (before, after) = (original.get(&names.weight).values(), folded.get(&names.weight).values());
        assert!(before.len() < 1 << 10, "test is broken: longer sums need a wider bound");
        let (old, new) = (self.layer.forward(&before, &input), self.layer.forward(&after, &input));

        let [factor, mean, beta] = self.rest(folded);
        let error = self.layer.taps().into_iter().zip(&before).map(|(Tap { output, .. }, w)| {
            self.weight_bound() * ulp(dtype(self.weight), w * expected.scale[output] / factor[output])
        });
        let error = self.layer.forward(&error.collect::<Vec<_>>(), &size);
        let terms = self.layer.forward(&after.iter().map(|w| w.abs()).collect::<Vec<_>>(), &size);
        let bias = [original, folded].map(|tensors| self.read(tensors, &names.bias, 0.0));
        let [old_norm_mean, old_beta] = [self.read(original, &names.mean, 0.0), self.read(original, &names.beta, 0.0)];
        let (holder, negated) = self.shift_holder(style);
        let holder = folded.get(&holder).dtype;
        for c in 0..self.layer.channels() {
            let unit = if negated { factor[c] } else { 1.0 };
            let shift_error = SHIFT_BOUND * ulp(holder, expected.largest[c] / unit) * unit.abs();
            for at in 0..old[c].len() {
                let y = (old[c][at] + bias[0][c] - old_norm_mean[c]) * expected.scale[c] + old_beta[c];
                let folded = (new[c][at] + bias[1][c] - mean[c]) * factor[c] + beta[c];
                let slop = 2f64.powi(-44) * (terms[c][at] * factor[c].abs() + 3.0 * expected.largest[c]);
                let bound = error[c][at] * factor[c].abs() + shift_error + slop;
                assert!(
                    (y - folded).abs() <= bound,
                    "{self:?}, channel {c}, position {at}: {folded} instead of {y}, {:e} allowed",
                    bound
                );
            }
        }
    }
}

/// The most that a shift may be off, in ulp of its type at the largest number it is the sum of.
///
/// f32: (b - mean) * scale comes from f64 and is rounded once, 0.5; beta too where it is stored wider, 0.5; their sum is
/// at most twice the larger of the two, where an ulp is at most twice as large: 1.0. f16, bf16: the f32 sum is off by
/// 2^-12 of an ulp at most, and is rounded once at up to twice the larger number: 1.0. f64: the reference's own arithmetic.
const SHIFT_BOUND: f64 = 2.0;
