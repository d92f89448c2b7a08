//! 5 VERIFY: a folded checkpoint held against its original, whoever made it.
//!
//! In: two checkpoints and the plan of the original. Out: a [`VerifyReport`]. What is compared is what the network
//! computes: per output channel the effective scale and shift of layer and norm together, before and after, in f64. So
//! norms that are gone, norms that became an identity and norms that were left alone are judged by one rule. Every
//! other tensor must be the same.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Result;
use crate::fold::affine::Affine;
use crate::fold::{Elements, oracle};
use crate::network::{Fold, Norm};
use crate::plan::Planned;

/// Elements compared at a time.
const CHUNK: u64 = 1 << 18;

/// The default for the largest error accepted, in ulp. Ours are within 1.5 (weights) and 2 (biases); PyTorch's own
/// `fuse_conv_bn_weights` in f32 was measured at 3.0 and 3.2 and is bounded by about 4.5 and 6.
pub const DEFAULT_MAX_ULP: f64 = 8.0;

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Whether everything is as it should be.
    pub ok: bool,
    /// Norms that are folded.
    pub folded: usize,
    /// Norms that the plan would fold, but that were left as they were.
    pub left: usize,
    /// Norms that the plan would fold, and that are not the same network folded: one problem each.
    pub failed: usize,
    /// Weights and biases compared, those of failed norms included as far as there is something to compare.
    pub elements: u64,
    /// Largest error of a weight, in ulp of its type, those of failed norms included; not a number or infinite (`null` in
    /// JSON) if a weight is.
    pub worst_ulp: f64,
    /// Largest error of a bias, in ulp of the largest number it is the sum of; the same.
    pub worst_shift_ulp: f64,
    /// Tensors that are the same in both.
    pub same: usize,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

/// Compares `folded` with `original`, whose plan is `planned`; errors beyond `max_ulp` are problems.
pub fn verify(original: &Checkpoint, folded: &Checkpoint, planned: &Planned, max_ulp: f64) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut judged = BTreeSet::new();
    for fold in &planned.folds {
        judged.extend(fold.norm.tensors());
        judged.extend([fold.weight.as_str(), fold.bias.as_str()]);
        if let Err(Problem { text, is_numeric }) = layer(original, folded, fold, max_ulp, &mut report)? {
            let advice = if is_numeric { better_eps(original, folded, fold, max_ulp) } else { String::new() };
            report.failed += 1;
            report.problems.push(format!("norm `{}`: {text}{advice}", fold.norm.name));
        }
    }
    for (name, tensor) in original.tensors().iter().filter(|(name, _)| !judged.contains(name.as_str())) {
        match folded.tensors().get(name) {
            None => report.problems.push(format!("tensor `{name}` is missing")),
            Some(other) if same(original, tensor, folded, other)? => report.same += 1,
            Some(_) => report.problems.push(format!("tensor `{name}` differs, and no fold explains it")),
        }
    }
    for name in folded.tensors().keys() {
        if !original.tensors().contains_key(name) && !judged.contains(name.as_str()) {
            report.problems.push(format!("tensor `{name}` is new, and no fold explains it"));
        }
    }
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// eps that networks are trained with.
const COMMON_EPS: [f64; 6] = [1e-3, 1e-5, 1e-4, 1e-2, 1e-6, 0.0];

/// What is wrong with a layer.
struct Problem {
    text: String,
    /// Numbers differ; everything else is as it should be.
    is_numeric: bool,
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { text, is_numeric: false }
    }
}

/// The common eps with which a layer whose numbers differ would be right, as the end of a sentence; empty if none is. Of
/// several, as a large variance leaves them, the one that comes nearest.
fn better_eps(original: &Checkpoint, folded: &Checkpoint, fold: &Fold, max_ulp: f64) -> String {
    let mut best = None;
    for eps in COMMON_EPS.into_iter().filter(|&eps| eps != fold.eps) {
        let (other, mut figures) = (Fold { eps, ..fold.clone() }, VerifyReport::default());
        // An error is no news of the files, which were read before: a variance of 0 does not go with an eps of 0.
        let fits = matches!(layer(original, folded, &other, max_ulp, &mut figures), Ok(Ok(())));
        let ulp = figures.worst_ulp.max(figures.worst_shift_ulp);
        if fits && best.is_none_or(|(least, _)| ulp < least) {
            best = Some((ulp, eps));
        }
    }
    match best {
        Some((_, 0.0)) => "; it fits with eps 0: pass --eps 0".to_owned(),
        Some((_, eps)) => format!("; it fits with eps {eps:e}: pass --eps {eps:e}"),
        None => String::new(),
    }
}

/// What is left of a norm in the folded file, as `(factor, mean, beta)` a channel.
struct Rest {
    factor: Vec<f64>,
    mean: Vec<f64>,
    beta: Vec<f64>,
    /// The element type that holds the shift.
    float: Float,
    /// No tensor of the norm is left.
    gone: bool,
}

/// Compares one layer. The outer result is for input and output, the inner one says what is wrong with the layer.
fn layer(
    original: &Checkpoint,
    folded: &Checkpoint,
    fold: &Fold,
    max_ulp: f64,
    report: &mut VerifyReport,
) -> Result<Result<(), Problem>> {
    let affine = Affine::read(original, fold)?;
    let rest = match rest(folded, fold)? {
        Ok(rest) => rest,
        Err(problem) => return Ok(Err(problem.into())),
    };
    if let Err(problem) = bias_and_spares(original, folded, fold, rest.gone)? {
        return Ok(Err(problem.into()));
    }
    let Some(weight) = folded.tensors().get(&fold.weight) else {
        return Ok(Err(format!("weight `{}` is missing", fold.weight).into()));
    };
    let Some(float) = weight.dtype.float().filter(|_| weight.shape == fold.shape) else {
        let (dtype, shape) = (&weight.dtype, &weight.shape);
        let text = format!("weight `{}` is {dtype} of shape {shape:?}, expected {:?}", fold.weight, fold.shape);
        return Ok(Err(text.into()));
    };
    let scale = affine.gamma.iter().zip(&affine.var).map(|(&gamma, &var)| oracle::scale(gamma, var, fold.eps));
    let scale = scale.collect::<Vec<_>>();
    let shifts = shifts(original, folded, fold, &affine, &scale, &rest, max_ulp, report)?;
    let worst = weights(original, (folded, weight, float), fold, &scale, &rest.factor, report)?;
    // After both were compared, so that the figures are those of the whole layer.
    if let Err(text) = shifts {
        return Ok(Err(Problem { text, is_numeric: true }));
    }
    if !(worst.ulp <= max_ulp) {
        let channel = fold.map.channel(worst.element);
        let text = format!(
            "weight `{}`, element {}, channel {channel}: {} instead of {} ({:.1} ulp, {max_ulp} accepted)",
            fold.weight, worst.element, worst.got, worst.expected, worst.ulp
        );
        return Ok(Err(Problem { text, is_numeric: true }));
    }
    let untouched = !rest.gone && unchanged(original, folded, fold)?;
    if untouched {
        report.left += 1
    } else {
        report.folded += 1
    }
    Ok(Ok(()))
}

/// Checks what no comparison of numbers would miss: a bias whose absence means zeros, and tensors of the norm that have
/// no part in the arithmetic. Code that loads the file asks for them all the same.
fn bias_and_spares(
    original: &Checkpoint,
    folded: &Checkpoint,
    fold: &Fold,
    norm_gone: bool,
) -> Result<Result<(), String>> {
    match folded.tensors().get(&fold.bias) {
        None if fold.bias_float.is_some() => return Ok(Err(format!("bias `{}` is missing", fold.bias))),
        Some(bias) if bias.dtype.float().is_none() || bias.shape != [fold.channels] => {
            let (name, dtype, shape, channels) = (&fold.bias, &bias.dtype, &bias.shape, fold.channels);
            return Ok(Err(format!(
                "bias `{name}` is {dtype} of shape {shape:?}, expected floats of shape [{channels}]"
            )));
        }
        _ => {}
    }
    for name in fold.norm.spare.iter().filter(|_| !norm_gone) {
        match folded.tensors().get(name) {
            None => return Ok(Err(format!("its `{name}` is missing, but the rest of it is there"))),
            Some(other) if same(original, original.tensor(name)?, folded, other)? => {}
            Some(_) => return Ok(Err(format!("its `{name}` differs, and no fold explains it"))),
        }
    }
    Ok(Ok(()))
}

/// Reads what is left of the norm.
fn rest(folded: &Checkpoint, fold: &Fold) -> Result<Result<Rest, String>> {
    let Norm { gamma, beta, mean, var, .. } = &fold.norm;
    let channels = usize::try_from(fold.channels).unwrap_or(usize::MAX);
    let numbers = [Some(var), Some(mean), gamma.as_ref(), beta.as_ref()].into_iter().flatten();
    let (there, gone): (Vec<_>, Vec<_>) = numbers.partition(|name| folded.tensors().contains_key(*name));
    if there.is_empty() {
        let float = folded.tensors().get(&fold.bias).and_then(|bias| bias.dtype.float());
        return Ok(Ok(Rest {
            factor: vec![1.0; channels],
            mean: vec![0.0; channels],
            beta: vec![0.0; channels],
            float: float.unwrap_or(fold.float),
            gone: true,
        }));
    }
    if let Some(missing) = gone.first() {
        return Ok(Err(format!("its `{missing}` is missing, but its `{}` is there", there[0])));
    }
    let read = |name: &String| -> Result<Option<Vec<f64>>> {
        Ok(folded.read_f64(name)?.filter(|values| values.len() == channels))
    };
    let optional = |name: &Option<String>, absent: f64| match name {
        Some(name) => read(name),
        None => Ok(Some(vec![absent; channels])),
    };
    let (gamma, beta_values) = (optional(gamma, 1.0)?, optional(beta, 0.0)?);
    let (mean_values, var) = (read(mean)?, read(var)?);
    let (Some(gamma), Some(beta_values), Some(mean_values), Some(var)) = (gamma, beta_values, mean_values, var) else {
        return Ok(Err("a tensor of it has another length or type than in the original".to_owned()));
    };
    let holder = folded.tensor(beta.as_ref().unwrap_or(mean))?;
    Ok(Ok(Rest {
        factor: gamma.iter().zip(&var).map(|(&gamma, &var)| oracle::scale(gamma, var, fold.eps)).collect(),
        mean: mean_values,
        beta: beta_values,
        float: holder.dtype.float().unwrap_or(Float::F32),
        gone: false,
    }))
}

/// Compares the effective shifts; the inner error names the first channel that is wrong.
#[expect(clippy::too_many_arguments, reason = "one call, and every argument is another thing")]
fn shifts(
    original: &Checkpoint,
    folded: &Checkpoint,
    fold: &Fold,
    affine: &Affine,
    scale: &[f64],
    rest: &Rest,
    max_ulp: f64,
    report: &mut VerifyReport,
) -> Result<Result<(), String>> {
    let bias_of = |checkpoint: &Checkpoint| -> Result<Vec<f64>> {
        let zeros = || vec![0.0; scale.len()];
        match checkpoint.tensors().contains_key(&fold.bias) {
            true => Ok(checkpoint.read_f64(&fold.bias)?.filter(|bias| bias.len() == scale.len()).unwrap_or_else(zeros)),
            false => Ok(zeros()),
        }
    };
    let (before, after) = (bias_of(original)?, bias_of(folded)?);
    let mut compared = Ok(());
    for channel in 0..scale.len() {
        let (mean, beta) = (affine.mean[channel], affine.beta[channel]);
        let (expected, largest) = oracle::shift(before[channel], mean, scale[channel], beta);
        let got = (after[channel] - rest.mean[channel]) * rest.factor[channel] + rest.beta[channel];
        let ulp = if got == expected { 0.0 } else { (got - expected).abs() / rest.float.ulp(largest) };
        report.elements += 1;
        report.worst_shift_ulp = worse(report.worst_shift_ulp, ulp);
        if !(ulp <= max_ulp) && compared.is_ok() {
            let holder = if rest.gone { &fold.bias } else { fold.norm.beta.as_ref().unwrap_or(&fold.norm.mean) };
            let missing = if folded.tensors().contains_key(holder) { "" } else { " (the tensor is missing)" };
            compared = Err(format!(
                "shift in `{holder}`{missing}, channel {channel}: {got} instead of {expected} ({ulp:.1} ulp of the largest \
                 addend, {max_ulp} accepted)"
            ));
        }
    }
    Ok(compared)
}

/// The larger of two errors; nothing is worse than a NaN.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

/// Compares the effective weights: those of the folded file times what is left of the norm.
fn weights(
    original: &Checkpoint,
    (folded, weight, float): (&Checkpoint, &Tensor, Float),
    fold: &Fold,
    scale: &[f64],
    factor: &[f64],
    report: &mut VerifyReport,
) -> Result<oracle::Worst> {
    let geometry = oracle::Geometry { axis: fold.axis, shape: &fold.shape, channels: fold.channels };
    // What is left of the norm is moved to the other side, so that one comparison serves all styles.
    // An equal factor was left alone, and may be 0.
    let rest = |(scale, factor): (&f64, &f64)| if scale == factor { 1.0 } else { scale / factor };
    let reference = scale.iter().zip(factor).map(rest).collect::<Vec<_>>();
    let stored = original.tensor(&fold.weight)?;
    let mut worst = oracle::Worst::default();
    let mut first = 0;
    while first < fold.elements {
        let elements = CHUNK.min(fold.elements - first);
        let read = |checkpoint: &Checkpoint, tensor: &Tensor, float: Float| -> Result<Vec<u8>> {
            let size = float.bytes() as u64;
            let mut bytes = vec![0; usize::try_from(elements * size).unwrap_or(usize::MAX)];
            checkpoint.read(tensor, first * size, &mut bytes)?;
            Ok(bytes)
        };
        let before = read(original, stored, fold.float)?;
        let after = read(folded, weight, float)?;
        let mut values = before.chunks_exact(fold.float.bytes()).zip(after.chunks_exact(float.bytes()));
        let blown_up =
            |(before, after): (&[u8], &[u8])| fold.float.widen(before).is_finite() && !float.widen(after).is_finite();
        if let Some(index) = values.position(blown_up) {
            // The oracle takes an infinity for a right result where the type ends; a network is not the same with it.
            let got = float.widen(&after[index * float.bytes()..]);
            let expected = fold.float.widen(&before[index * fold.float.bytes()..]);
            worst.merge(oracle::Worst { ulp: f64::INFINITY, element: first + index as u64, got, expected });
        }
        let (before, after) = (Elements { float: fold.float, bytes: &before }, Elements { float, bytes: &after });
        worst.merge(oracle::compare(geometry, &reference, first, before, after));
        report.elements += elements;
        first += elements;
    }
    report.worst_ulp = worse(report.worst_ulp, worst.ulp);
    Ok(worst)
}

/// Whether the layer and its norm are byte for byte what they were.
fn unchanged(original: &Checkpoint, folded: &Checkpoint, fold: &Fold) -> Result<bool> {
    for name in fold.norm.tensors().chain([fold.weight.as_str(), fold.bias.as_str()]) {
        let equal = match (original.tensors().get(name), folded.tensors().get(name)) {
            (None, None) => true,
            (Some(a), Some(b)) => a.dtype == b.dtype && same(original, a, folded, b)?,
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two tensors are the same: bytes where the types agree, values rounded once where floats were converted.
fn same(a: &Checkpoint, tensor_a: &Tensor, b: &Checkpoint, tensor_b: &Tensor) -> Result<bool> {
    if tensor_a.shape != tensor_b.shape {
        return Ok(false);
    }
    let floats = match (tensor_a.dtype == tensor_b.dtype, tensor_a.dtype.float(), tensor_b.dtype.float()) {
        (true, ..) => None,
        (false, Some(from), Some(to)) => Some((from, to)),
        _ => return Ok(false),
    };
    let (size_a, size_b) = floats.map_or((1, 1), |(from, to)| (from.bytes() as u64, to.bytes() as u64));
    let units = tensor_a.bytes / size_a;
    if units * size_b != tensor_b.bytes {
        return Ok(false);
    }
    let mut first = 0;
    while first < units {
        let count = CHUNK.min(units - first);
        let read = |checkpoint: &Checkpoint, tensor: &Tensor, size: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(count * size).unwrap_or(usize::MAX)];
            checkpoint.read(tensor, first * size, &mut bytes)?;
            Ok(bytes)
        };
        let (bytes_a, bytes_b) = (read(a, tensor_a, size_a)?, read(b, tensor_b, size_b)?);
        let equal = match floats {
            None => bytes_a == bytes_b,
            Some((from, to)) => to.narrow_all(&from.widen_all(&bytes_a)) == bytes_b,
        };
        if !equal {
            return Ok(false);
        }
        first += count;
    }
    Ok(true)
}
