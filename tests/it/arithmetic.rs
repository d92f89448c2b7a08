//! 3 FOLD: a layer and its norm compute the same before and after, whatever the layer.
//!
//! In: random layers of every framework, rank, grouping and mix of element types, with and without bias, gamma and beta.
//! Out: the folded file's layer, run by `layers.rs`, must give what layer and norm gave. Both engines, both styles.

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Engine;
use bnfold_gpu::fold::Style;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::case::Case;
use crate::fixture::{Folder, Model};
use crate::layers::{KINDS, Layer, Layout};
use crate::library::{How, Tensors, USUAL, engines, fold, write_plan};

/// Every eps that frameworks use by default, one so large that it shows everywhere, and none.
pub const EPS: &[f64] = &[1e-5, 1e-3, 1e-6, 1e-1, 0.0];

fn cases() -> impl Strategy<Value = Case> {
    let layer = (select(KINDS), prop::array::uniform3(1..=3usize), 1..=3usize, 1..=3usize, 1..=3usize);
    let layer = layer.prop_map(|((layout, rank), kernel, groups, inputs, outputs)| Layer {
        layout,
        kernel: kernel[..rank].to_vec(),
        groups: if layout.may_be_grouped() || layout == Layout::KerasDepthwise { groups } else { 1 },
        inputs: if layout == Layout::KerasDepthwise { 1 } else { inputs },
        outputs,
    });
    let float = || select(&Float::ALL[..]);
    let there = any::<(bool, bool)>();
    (layer, float(), prop::option::of(float()), float(), there, select(EPS), any::<u64>()).prop_map(
        |(layer, weight, bias, norm, (has_gamma, has_beta), eps, seed)| {
            // A Flax norm is only recognised by gamma or beta.
            let flax = matches!(layer.layout, Layout::FlaxConv | Layout::FlaxDense);
            let has_beta = has_beta || (flax && !has_gamma);
            Case { prefix: "l0".into(), layer, weight, bias, norm, has_gamma, has_beta, eps, seed }
        },
    )
}

/// Folds a model of these cases with every engine and style and hands out the files, after the engines were seen to
/// agree on every byte.
pub fn fold_everywhere(cases: &[Case], engines: &mut [Engine], check: impl Fn(&Tensors, &Tensors, Style)) {
    let mlx = matches!(cases[0].layer.layout, Layout::MlxConv | Layout::MlxConvTranspose | Layout::MlxLinear);
    let start = if mlx { Model::new().metadata("format", "mlx") } else { Model::new() };
    let model = cases.iter().fold(start, |model, case| case.add_to(model));
    let folder = Folder::new();
    let (input, plan) = (folder.file("m.safetensors", &model), folder.path("plan.json"));
    write_plan(&plan, &cases.iter().map(Case::plan_line).collect::<Vec<_>>());
    let original = Tensors::read(&input);
    for style in [Style::Strip, Style::DropIn] {
        let mut files = Vec::new();
        for engine in &mut *engines {
            let (device, output) = (engine.device(), folder.path("out.safetensors"));
            let report = fold(engine, &input, &plan, &output, How { style, ..USUAL });
            let report = report.unwrap_or_else(|e| panic!("{device}, {style:?}: {e}; {}", shown(cases)));
            assert_eq!(report.layers.folded, cases.len(), "every norm is folded");
            // A GPU that is given up would leave the CPU's results to be compared with themselves.
            assert_eq!((engine.device(), &report.warnings[..]), (device, &[][..]));
            files.push(std::fs::read(&output).unwrap());
            check(&original, &Tensors::read(&output), style);
        }
        assert!(
            files.iter().all(|file| *file == files[0]),
            "{style:?}: CPU and GPU wrote different files; {}",
            shown(cases)
        );
    }
}

/// One case in full; many would drown the message.
fn shown(cases: &[Case]) -> String {
    if cases.len() == 1 { format!("{:?}", cases[0]) } else { format!("{} layers", cases.len()) }
}

#[test]
fn folded_layer_computes_what_layer_and_norm_did() {
    let config = Config { cases: 600, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let engines = std::cell::RefCell::new(engines());
    let outcome = runner.run(&cases(), |case| {
        fold_everywhere(std::slice::from_ref(&case), &mut engines.borrow_mut(), |original, folded, style| {
            case.check_forward(original, folded, style);
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
