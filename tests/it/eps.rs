//! Where the eps of a norm comes from, as users see it.
//!
//! In: small checkpoints, a `config.json` beside them, options. Out: the plan's `eps`, `eps_source` and `architecture`,
//! and warnings.

use bnfold_gpu::checkpoint::Float;
use serde_json::{Value, json};

use crate::fixture::{Folder, Model, Run, bnfold};

/// Two convolutions with their norms; the variances are 1e-3 and 1.
fn model(convs: [&str; 2], norms: [&str; 2]) -> Model {
    let layer = |model: Model, index: usize, shape: [usize; 4], var: f64| {
        let count = shape.iter().product();
        let gamma = vec![1.0; shape[0]];
        let zero = vec![0.0; shape[0]];
        model.floats(&format!("{}.weight", convs[index]), Float::F32, &shape, &vec![0.5; count]).norm(
            norms[index],
            Float::F32,
            &gamma,
            &zero,
            &zero,
            &vec![var; shape[0]],
        )
    };
    layer(layer(Model::new(), 0, [4, 3, 3, 3], 1e-3), 1, [6, 4, 1, 1], 1.0)
}

fn plain() -> Model {
    model(["layer1.0.conv1", "layer2.0.conv1"], ["layer1.0.bn1", "layer2.0.bn1"])
}

/// Plans `model` beside `config`.
fn plan(model: &Model, config: Option<&Value>, options: &[&str]) -> Run {
    let folder = Folder::new();
    let path = folder.file("model.safetensors", model);
    if let Some(config) = config {
        std::fs::write(folder.path("config.json"), config.to_string()).unwrap();
    }
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"plan", &"--input", &path, &"--format", &"json"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
    bnfold(&arguments).expect(0)
}

/// The eps of a plan's layers and the beginnings of their sources.
fn eps(run: &Run) -> Vec<(f64, String)> {
    let plan = run.json();
    let layers = plan["layers"].as_array().unwrap().iter();
    let folds = layers.inspect(|layer| assert_eq!(layer["action"], "fold", "{layer}"));
    folds.map(|layer| (layer["eps"].as_f64().unwrap(), layer["eps_source"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn sources_of_eps_rank_as_documented() {
    let field = json!({"model_type": "efficientnet", "batch_norm_eps": 0.01});
    let timm = json!({"architecture": "tf_efficientnet_b0"});
    let transformers = json!({"model_type": "resnet", "architectures": ["ResNetModel"]});
    let crepe = json!({"model_type": "unheard-of", "auto_map": {}});
    let arch = ["--arch", "timm/tf_efficientnet_b0"];
    let with = |more: &[&'static str]| [&arch[..], more].concat();
    let cases: &[(Option<&Value>, Vec<&str>, f64, &str)] = &[
        (Some(&field), with(&["--eps", "0.02", "--eps-for", "*=0.1"]), 0.1, "--eps-for *"),
        (Some(&field), with(&["--eps", "0.02"]), 0.02, "--eps"),
        (Some(&field), with(&["--eps", "0"]), 0.0, "--eps"),
        (Some(&field), with(&[]), 0.01, "config.json: batch_norm_eps"),
        (Some(&transformers), with(&[]), 1e-3, "catalogue: timm tf_efficientnet* (timm 1.0.31"),
        (Some(&timm), vec![], 1e-3, "catalogue: timm tf_efficientnet* (timm 1.0.31"),
        (Some(&transformers), vec![], 1e-5, "catalogue: transformers (transformers 5.23.0"),
        (Some(&crepe), vec![], 1e-5, "assumed: the default of pytorch"),
        (None, with(&[]), 1e-3, "catalogue: timm tf_efficientnet* (timm 1.0.31"),
        (None, vec!["--arch", "tf_efficientnet_b0"], 1e-3, "catalogue: timm tf_efficientnet* (timm 1.0.31"),
        (None, vec!["--arch", "timm/resnet50.a1_in1k"], 1e-5, "catalogue: timm (timm 1.0.31"),
        (None, vec!["--arch", "torchvision/fasterrcnn_resnet50_fpn"], 1e-5, "assumed: but 0e0 with the published"),
        (None, vec![], 1e-5, "assumed: the default of pytorch"),
    ];
    for (config, options, value, source) in cases {
        let run = plan(&plain(), *config, options);
        for (got, by) in eps(&run) {
            assert!(got == *value && by.starts_with(source), "{config:?} {options:?}: {got} by {by}");
        }
    }
}

#[test]
fn a_plans_line_goes_before_everything() {
    let folder = Folder::new();
    let input = folder.file("model.safetensors", &plain());
    let file = folder.path("plan.json");
    let line = |norm: &str, eps: Option<f64>| {
        let mut line =
            json!({"norm": format!("{norm}.bn1"), "action": "fold", "weight": format!("{norm}.conv1.weight")});
        line["op"] = "conv".into();
        eps.into_iter().for_each(|eps| line["eps"] = eps.into());
        line
    };
    let plan = json!({"version": 1, "layers": [line("layer1.0", Some(0.5)), line("layer2.0", None)]});
    std::fs::write(&file, plan.to_string()).unwrap();
    let run =
        bnfold(&[&"plan", &"--input", &input, &"--plan", &file, &"--format", &"json", &"--arch", &"yolox/yolox_s"]);
    let run = run.expect(0);
    let eps = eps(&run);
    assert_eq!(eps[0], (0.5, "plan".to_owned()));
    assert!(eps[1].0 == 1e-3 && eps[1].1.starts_with("catalogue: yolox"), "what a line leaves out: {eps:?}");
    assert_eq!(run.json()["architecture"], "yolox/yolox_s");
}

#[test]
fn eps_that_a_models_code_fixes_goes_before_its_config() {
    let mixed = model(
        ["mobilenet_v2.conv_stem.first_conv.convolution", "segmentation_head.conv_pool.convolution"],
        ["mobilenet_v2.conv_stem.first_conv.normalization", "segmentation_head.conv_pool.normalization"],
    );
    let config = json!({"model_type": "mobilenet_v2", "layer_norm_eps": 0.002});
    let eps = eps(&plan(&mixed, Some(&config), &[]));
    assert_eq!(eps[0], (0.002, "config.json: layer_norm_eps".to_owned()));
    assert!(eps[1].0 == 1e-5 && eps[1].1.contains("segmentation_head.**"), "{eps:?}");
}

#[test]
fn names_that_belong_to_one_family_tell_its_eps() {
    let names =
        model(["encoder._conv_stem", "encoder._blocks.0._depthwise_conv"], ["encoder._bn0", "encoder._blocks.0._bn1"]);
    for (eps, source) in eps(&plan(&names, None, &[])) {
        assert!(eps == 1e-3 && source.contains("the names of EfficientNet of efficientnet_pytorch"), "{eps} {source}");
    }
    let run = plan(&names, None, &["--arch", "smp/Unet__resnet18"]);
    assert!(eps(&run).iter().all(|(eps, _)| *eps == 1e-5), "--arch goes before names");
}

#[test]
fn the_plan_says_which_architecture() {
    assert_eq!(plan(&plain(), None, &[]).json()["architecture"], Value::Null);
    assert_eq!(
        plan(&plain(), None, &["--arch", "timm/tf_efficientnet_b0"]).json()["architecture"],
        "timm/tf_efficientnet_b0"
    );
    assert_eq!(
        plan(&plain(), None, &["--arch", "tf_efficientnet_b0"]).json()["architecture"],
        "timm/tf_efficientnet_b0"
    );
    let smp = json!({"_model_class": "Unet", "encoder_name": "resnet18"});
    assert_eq!(plan(&plain(), Some(&smp), &[]).json()["architecture"], "smp/Unet__resnet18");
}

#[test]
fn warnings_say_what_is_not_known_and_what_is_at_stake() {
    let stderr = |config: Option<&Value>, options: &[&str]| plan(&plain(), config, options).stderr;
    // sqrt((1e-3 + 1e-3) / (1e-3 + 1e-5)) and, for 0, sqrt((1e-3 + 1e-5) / 1e-3).
    let assumed = stderr(None, &[]);
    assert!(assumed.contains("eps 1e-5 is assumed for 2 norms") && assumed.contains("--arch"), "{assumed}");
    assert!(assumed.contains("with 1e-3 a channel's scale would change by up to x1.407"), "{assumed}");
    let frozen = stderr(None, &["--arch", "torchvision/maskrcnn_resnet50_fpn"]);
    assert!(frozen.contains("with 0e0 a channel's scale would change by up to x1.005"), "{frozen}");
    let timm = json!({"architecture": "tf_efficientnet_b0"});
    let conflict = stderr(Some(&timm), &["--arch", "timm/efficientnet_b0"]);
    assert!(
        conflict.contains("config.json says timm/tf_efficientnet_b0; the former is followed; without --arch"),
        "{conflict}"
    );
    assert_eq!(stderr(Some(&timm), &[]), "", "what is known needs no warning");
    assert_eq!(stderr(Some(&timm), &["--arch", "tf_efficientnet_b0"]), "", "nor does what agrees");
}
