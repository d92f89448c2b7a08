//! 5 VERIFY: no planted error passes, of whatever kind, in any type and style.
//!
//! In: a layer and its norm in one type, folded right; then one of the errors of `errors.rs` planted in the file. Out: `verify`
//! with its default bounds names the norm, and accepts the file before anything was planted.

mod errors;

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::{Engine, Style};
use bnfold_gpu::{Job, VerifyReport};

use crate::fixture::{Folder, Model, Numbers};
use crate::library::{How, Tensors, USUAL, fold, line, write_plan};

/// Output channels of the layer.
const CHANNELS: usize = 16;
/// Weights of one of them.
const ROW: usize = 72;
/// What the norm was trained with.
const EPS: f64 = 1e-5;
const STYLES: [Style; 2] = [Style::Strip, Style::DropIn];

/// A layer and its norm, with variances between `least` and `most`.
struct Net {
    folder: Folder,
    float: Float,
    original: PathBuf,
}

impl Net {
    fn new(float: Float, channels: usize, (least, most): (f64, f64)) -> Net {
        let n = &mut Numbers::new(5);
        let sign = |c: usize| [1.0, -1.0, -1.0][c % 3];
        let mut signed =
            |least: f64, most: f64| -> Vec<f64> { (0..channels).map(|c| n.between(least, most) * sign(c)).collect() };
        let (gamma, beta, mean, bias) = (signed(0.3, 2.0), signed(0.3, 2.0), signed(0.1, 1.0), signed(0.2, 1.0));
        let var = n.many(channels, least, most);
        let model = Model::new()
            .norm("bn", float, &gamma, &beta, &mean, &var)
            .floats("conv.bias", float, &[channels], &bias)
            .floats("conv.weight", float, &[channels, ROW / 9, 3, 3], &n.many(channels * ROW, -1.0, 1.0));
        let folder = Folder::new();
        let original = folder.file("original.safetensors", &model);
        Net { folder, float, original }
    }

    /// A plan with `eps`.
    fn plan(&self, eps: f64) -> PathBuf {
        let (path, mut line) = (self.folder.path(&format!("{eps:e}.json")), line("bn", "conv.weight", "conv"));
        line["eps"] = eps.into();
        write_plan(&path, &[line]);
        path
    }

    /// Folded by the program with `eps`.
    fn folded(&self, style: Style, eps: f64) -> Tensors {
        let output = self.folder.path("o.safetensors");
        fold(&mut Engine::Cpu, &self.original, &self.plan(eps), &output, How { style, ..USUAL }).unwrap();
        Tensors::read(&output)
    }

    /// Verified with the default bounds.
    fn verify(&self, folded: &Tensors) -> VerifyReport {
        let path = self.folder.file("folded.safetensors", &folded.model());
        Job::new(&self.original).follow(self.plan(EPS).as_path()).verify(path).unwrap()
    }
}

#[test]
fn every_planted_error_is_found_in_every_type_and_style() {
    let (mut planted, mut missed) = (0, Vec::new());
    for float in Float::ALL {
        let net = Net::new(float, CHANNELS, (0.02, 2.0));
        for style in STYLES {
            let right = net.folded(style, EPS);
            let report = net.verify(&right);
            assert!(report.ok && report.folded == 1, "{float:?} {style:?}, nothing planted: {:?}", report.problems);
            for (name, wrong) in errors::all(&net, style, &right) {
                assert_ne!(wrong, right, "test is broken: {float:?} {style:?}, {name}: nothing was planted");
                planted += 1;
                let report = net.verify(&wrong);
                if report.ok || !report.problems.iter().any(|problem| problem.text.starts_with("norm `bn`")) {
                    missed.push(format!("{float:?} {style:?}, {name}: {:?}", report.problems));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{} of {planted} missed: {missed:#?}", missed.len());
    assert!(planted >= 500, "docs/verification.md says 500: {planted} were planted");
}

#[test]
fn the_eps_that_fits_is_named_in_every_type() {
    for float in Float::ALL {
        let net = Net::new(float, CHANNELS, (0.02, 2.0));
        for style in STYLES {
            for eps in [1e-2, 1e-3, 1e-4] {
                let report = net.verify(&net.folded(style, eps));
                let named = report.problems.iter().map(|problem| problem.fits_with_eps).collect::<Vec<_>>();
                assert_eq!(named, [Some(eps)], "{float:?} {style:?}: {:?}", report.problems);
            }
        }
    }
}

/// Beside variances of 12 to 24 an eps of 1e-6 moves no F32 by more than is accepted of one, but all of them the same way.
#[test]
fn an_error_that_all_weights_share_is_found_below_the_bound_of_each() {
    let net = Net::new(Float::F32, 512, (12.0, 24.0));
    let (right, wrong) = (net.folded(Style::Strip, EPS), net.folded(Style::Strip, 1e-6));
    let report = net.verify(&right);
    assert!(report.ok, "{:?}", report.problems);
    let mut weights_alone = right.clone();
    *weights_alone.get_mut("conv.weight") = wrong.get("conv.weight").clone();
    let report = net.verify(&weights_alone);
    assert!(report.worst_ulp < 8.0, "test is broken: {} ulp is found anyway", report.worst_ulp);
    let [problem] = &report.problems[..] else { panic!("one problem expected: {:?}", report.problems) };
    assert!(problem.text.contains("too large on average over 512 channels"), "{problem}");
    // As far to either side by turns it is chance.
    let mut by_chance = right.clone();
    let weight = by_chance.get_mut("conv.weight");
    let alternate = |(i, w): (usize, f64)| w + Float::F32.ulp(w) * if (i / ROW).is_multiple_of(2) { 5.0 } else { -5.0 };
    weight.bytes = Float::F32.narrow_all(&weight.values().into_iter().enumerate().map(alternate).collect::<Vec<_>>());
    assert_eq!(net.verify(&by_chance).problems, []);
}
