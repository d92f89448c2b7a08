//! 5 VERIFY: the errors that are planted.
//!
//! In: a layer folded right. Out: the same file with one thing wrong, under the mistake's name: of the arithmetic, of how
//! numbers are stored, of channels, of the norm that stays.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Style;

use super::{CHANNELS, Net, ROW};
use crate::library::{Tensors, ulp};

/// A file that is about to go wrong.
struct Plant<'a> {
    float: Float,
    style: Style,
    original: Tensors,
    right: &'a Tensors,
    wrong: Vec<(String, Tensors)>,
}

/// All errors that this type and style have room for.
pub fn all(net: &Net, style: Style, right: &Tensors) -> Vec<(String, Tensors)> {
    let original = Tensors::read(&net.original);
    let mut plant = Plant { float: net.float, style, original, right, wrong: Vec::new() };
    for eps in [1e-2, 1e-3, 1e-4, 1e-6, 0.0] {
        plant.wrong.push((format!("eps {eps:e}"), net.folded(style, eps)));
    }
    plant.scales();
    plant.elements();
    plant.types();
    plant.channels();
    plant.shifts();
    if style == Style::DropIn {
        plant.norm();
    }
    plant.wrong
}

impl Plant<'_> {
    fn add(&mut self, name: &str, plant: impl FnOnce(&mut Tensors)) {
        let mut wrong = self.right.clone();
        plant(&mut wrong);
        self.wrong.push((name.to_owned(), wrong));
    }

    /// Changes the numbers of one tensor, which are rounded once to its type.
    fn change(&mut self, name: &str, tensor: &str, change: impl FnOnce(&mut [f64])) {
        let float = self.float;
        self.add(name, |tensors| {
            let stored = tensors.get_mut(tensor);
            let mut values = stored.values();
            change(&mut values);
            stored.bytes = float.narrow_all(&values);
        });
    }

    fn weights(&mut self, name: &str, change: impl FnOnce(&mut [f64])) {
        self.change(name, "conv.weight", change);
    }

    fn all_weights(&mut self, name: &str, change: impl Fn(f64) -> f64) {
        self.weights(name, |weights| weights.iter_mut().for_each(|weight| *weight = change(*weight)));
    }

    /// The tensor that holds the shift.
    fn holder(&self) -> &'static str {
        if self.style == Style::Strip { "conv.bias" } else { "bn.bias" }
    }

    fn all_shifts(&mut self, name: &str, change: impl Fn(usize, f64) -> f64) {
        let each = |(channel, shift): (usize, &mut f64)| *shift = change(channel, *shift);
        self.change(name, self.holder(), |shifts| shifts.iter_mut().enumerate().for_each(each));
    }

    fn is_half(&self) -> bool {
        matches!(self.float, Float::F16 | Float::Bf16)
    }

    /// The next number away from 0 in a half type; more than roundings make in the others.
    fn step(&self) -> impl Fn(f64) -> f64 + use<> {
        let (float, count) = (self.float, if self.is_half() { 1.0 } else { 20.0 });
        move |value: f64| value + value.signum() * count * float.ulp(value)
    }

    /// What the original holds, a number a channel.
    fn read(&self, name: &str) -> Vec<f64> {
        self.original.get(name).values()
    }

    /// What the weight's channels are multiplied by: the scales over what remains of the norm, whose half types are too coarse
    /// for an identity.
    fn scales_of(&self) -> Vec<f64> {
        let scale = |(gamma, var): (&f64, f64)| gamma / (var + super::EPS).sqrt();
        let scales = |tensors: &Tensors| -> Vec<f64> {
            let (gamma, var) = (tensors.get("bn.weight").values(), tensors.get("bn.running_var").values());
            gamma.iter().zip(var).map(scale).collect()
        };
        let remains =
            if self.style == Style::DropIn && self.is_half() { scales(self.right) } else { vec![1.0; CHANNELS] };
        scales(&self.original).iter().zip(remains).map(|(scale, remains)| scale / remains).collect()
    }

    /// Weights folded with other scales.
    fn scaled_by(&mut self, name: &str, scale: impl Fn(usize) -> f64) {
        let stored = self.read("conv.weight");
        self.weights(name, |weights| {
            weights.iter_mut().enumerate().for_each(|(at, weight)| *weight = stored[at] * scale(at / ROW));
        });
    }

    fn scales(&mut self) {
        let (gamma, var, right) = (self.read("bn.weight"), self.read("bn.running_var"), self.scales_of());
        for factor in [1.01, 0.99, 1.001, 0.999, 2.0, 0.5, -1.0] {
            self.scaled_by(&format!("weights times {factor}"), |c| right[c] * factor);
        }
        self.scaled_by("variance for its root", |c| gamma[c] / (var[c] + super::EPS));
        self.scaled_by("gamma left out", |c| 1.0 / (var[c] + super::EPS).sqrt());
        self.scaled_by("gamma plus one", |c| (gamma[c] + 1.0) / (var[c] + super::EPS).sqrt());
        self.scaled_by("variance left out", |c| gamma[c]);
        self.scaled_by("variance of n - 1", |c| gamma[c] / (var[c] * 64.0 / 63.0 + super::EPS).sqrt());
        self.scaled_by("not folded", |_| 1.0);
        self.scaled_by("folded twice", |c| right[c] * right[c]);
        self.scaled_by("one channel 1 % off", |c| right[c] * if c == 3 { 1.01 } else { 1.0 });
        self.scaled_by("one channel without its scale", |c| if c == 3 { 1.0 } else { right[c] });
    }

    fn elements(&mut self) {
        let step = self.step();
        self.weights("one weight a step off", |weights| weights[100] = step(weights[100]));
        self.weights("the last weight a step off", |weights| {
            weights[CHANNELS * ROW - 1] = step(weights[CHANNELS * ROW - 1])
        });
        self.weights("one weight of the other sign", |weights| weights[77] = -weights[77]);
        self.weights("one weight 0", |weights| weights[78] = 0.0);
        self.weights("one weight infinite", |weights| weights[79] = f64::INFINITY);
        self.weights("one weight not a number", |weights| weights[80] = f64::NAN);
        self.weights("two weights exchanged", |weights| weights.swap(0, 1));
        self.weights("a page of zeros", |weights| weights[ROW * 4..ROW * 8].fill(0.0));
        self.all_weights("all weights a step off", &step);
    }

    /// Numbers that went through another type, or were not rounded to nearest.
    fn types(&mut self) {
        for through in [Float::F32, Float::F16, Float::Bf16] {
            // A BF16 of these sizes is an F16 too.
            let is_narrower =
                through.bytes() < self.float.bytes() || (self.float, through) == (Float::F16, Float::Bf16);
            if is_narrower {
                self.all_weights(&format!("weights through {}", through.name()), |weight| through.round(weight));
                let all = |_, shift| through.round(shift);
                self.all_shifts(&format!("shifts through {}", through.name()), all);
            }
        }
        let eight_bits = |weight: f64| {
            let unit = 16.0 * ulp(safetensors::Dtype::BF16, weight);
            (weight / unit).round() * unit
        };
        self.all_weights("weights through 8 bits", eight_bits);
        if self.is_half() {
            let (float, scales, stored) = (self.float, self.scales_of(), self.read("conv.weight"));
            let cut = |exact: f64| (exact / float.ulp(exact)).trunc() * float.ulp(exact);
            if self.style == Style::Strip {
                self.weights("weights cut off", |weights| {
                    weights
                        .iter_mut()
                        .enumerate()
                        .for_each(|(at, weight)| *weight = cut(stored[at] * scales[at / ROW]));
                });
            }
        }
    }

    fn channels(&mut self) {
        self.weights("two channels exchanged", |weights| (0..ROW).for_each(|at| weights.swap(at, ROW + at)));
        self.weights("channels rotated", |weights| weights.rotate_left(ROW));
        let right = self.scales_of();
        self.scaled_by("scales of the neighbours", |c| right[(c + 1) % CHANNELS]);
        let names = (0..CHANNELS).map(|c| c.to_string()).collect::<std::collections::BTreeSet<_>>();
        let order = names.iter().map(|name| name.parse::<usize>().unwrap()).collect::<Vec<_>>();
        self.scaled_by("scales in the order of their numbers' names", |c| right[order[c]]);
        let holder = self.holder();
        self.change("two shifts exchanged", holder, |shifts| shifts.swap(0, 1));
        self.change("shifts rotated", holder, |shifts| shifts.rotate_left(1));
    }

    fn shifts(&mut self) {
        let (holder, step, scale) = (self.holder(), self.step(), self.scales_of());
        let [mean, beta, bias] = ["bn.running_mean", "bn.bias", "conv.bias"].map(|name| self.read(name));
        self.change("one shift a step off", holder, |shifts| shifts[6] = step(shifts[6]));
        self.change("one shift of the other sign", holder, |shifts| shifts[7] = -shifts[7]);
        self.change("one shift 0", holder, |shifts| shifts[8] = 0.0);
        self.change("one shift not a number", holder, |shifts| shifts[9] = f64::NAN);
        self.all_shifts("shifts 1 % off", |_, shift| shift * 1.01);
        self.all_shifts("shifts twice", |_, shift| shift * 2.0);
        self.all_shifts("no shift", |_, _| 0.0);
        self.all_shifts("mean left out", |c, _| bias[c] * scale[c] + beta[c]);
        self.all_shifts("mean not scaled", |c, _| bias[c] * scale[c] - mean[c] + beta[c]);
        self.all_shifts("mean added", |c, _| (bias[c] + mean[c]) * scale[c] + beta[c]);
        self.all_shifts("beta left out", |c, _| (bias[c] - mean[c]) * scale[c]);
        self.all_shifts("beta scaled", |c, _| (bias[c] - mean[c] + beta[c]) * scale[c]);
        self.all_shifts("bias left out", |c, _| beta[c] - mean[c] * scale[c]);
        self.all_shifts("bias not scaled", |c, _| bias[c] - mean[c] * scale[c] + beta[c]);
        self.add("shift missing", |tensors| drop(tensors.0.remove(holder)));
        self.add("weight missing", |tensors| drop(tensors.0.remove("conv.weight")));
    }

    /// A norm that is no identity, or in part.
    fn norm(&mut self) {
        let original = self.original.clone();
        let tensors = ["bn.weight", "bn.running_mean", "bn.running_var", "conv.bias"];
        for name in tensors {
            self.add(&format!("`{name}` as it was"), |tensors| *tensors.get_mut(name) = original.get(name).clone());
        }
        self.add("norm as it was", |wrong| {
            for name in tensors.into_iter().filter(|name| name.starts_with("bn")) {
                *wrong.get_mut(name) = original.get(name).clone();
            }
        });
        self.change("gamma 1 % off", "bn.weight", |gamma| gamma.iter_mut().for_each(|gamma| *gamma *= 1.01));
        self.change("one gamma of the other sign", "bn.weight", |gamma| gamma[2] = -gamma[2]);
        self.change("one variance a percent off", "bn.running_var", |var| var[4] *= 1.01);
        for name in tensors {
            self.add(&format!("`{name}` missing"), |tensors| drop(tensors.0.remove(name)));
        }
        // A half type cannot tell.
        if !self.is_half() {
            self.change("variance 1 and not 1 - eps", "bn.running_var", |var| var.fill(1.0));
        }
    }
}
