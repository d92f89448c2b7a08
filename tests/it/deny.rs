//! Warnings and remarks that are failures: by default, with `--strict`, with `--deny`.
//!
//! In: models that are remarkable in one way each. Out: exit statuses, what is said, and that nothing is written where a
//! remark is denied.

use bnfold_gpu::checkpoint::Float;
use serde_json::json;

use crate::fixture::{Folder, Model, bnfold, fold};

/// `layers` convolutions with norms in a row, whose running variance is `var`.
fn deep(layers: usize, var: f64) -> Model {
    let layer = |model: Model, n: usize| {
        let weights = vec![0.5; 16];
        let (ones, half) = ([1.0; 4], [0.5; 4]);
        model.floats(&format!("blocks.{n}.conv.weight"), Float::F32, &[4, 4, 1, 1], &weights).norm(
            &format!("blocks.{n}.bn"),
            Float::F32,
            &ones,
            &half,
            &half,
            &[var; 4],
        )
    };
    (0..layers).fold(Model::new(), layer)
}

/// The eps of a tf_efficientnet_b0 is 1e-3 and 1e-5 is assumed: a layer's scales move by 0.5 %, those of all layers together
/// by a quarter.
#[test]
fn an_assumed_eps_that_adds_up_is_said_beside_verified_and_denied_by_strict() {
    let folder = Folder::new();
    let input = folder.file("net.safetensors", &deep(49, 0.1));
    let run = fold(&input, &[&"--evidence", &"none"]).expect(0);
    assert!(run.stdout.contains("verified (eps assumed for 49 norms): "), "{}", run.stdout);
    assert!(
        run.stderr.contains("by up to x1.005") && run.stderr.contains("along all of them by up to x1.27"),
        "{run:?}"
    );
    let quiet = fold(&input, &[&"--evidence", &"none", &"--force", &"-q"]).expect(0);
    assert!(quiet.stderr.contains("eps 1e-5 is assumed for 49 norms"), "never hidden: {}", quiet.stderr);
    std::fs::remove_file(folder.path("net.folded.safetensors")).unwrap();
    let strict = &["--evidence", "none", "--strict"];
    let with = |more: &[&str]| {
        let options = strict.iter().chain(more).map(|option| option as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
        fold(&input, &options)
    };
    with(&[]).error(
        1,
        &["net.safetensors: not written: eps 1e-5 is assumed for 49 norms", "--allow assumed-eps accepts it"],
    );
    assert_eq!(folder.names(), ["net.safetensors"]);
    with(&["--eps", "1e-5"]).expect(0);
    with(&["--allow", "assumed-eps", "--force"]).expect(0);
    let out = folder.path("out");
    let zoo = bnfold(&[&"--device", &"cpu", &"--evidence", &"none", &"--input", &folder.path(""), &"--output", &out]);
    let zoo = zoo.expect(0).stdout;
    assert!(zoo.contains("49 norms folded, verified (eps assumed for 49 norms), "), "{zoo}");
    assert!(zoo.contains("; eps assumed in 1 model; "), "{zoo}");
}

/// With variances of a million the other eps changes the twelfth digit: a note, which nothing denies and quiet runs skip.
#[test]
fn an_eps_that_makes_no_difference_is_a_note() {
    let folder = Folder::new();
    let input = folder.file("net.safetensors", &deep(3, 1e6));
    let strict = [&"--evidence" as &dyn AsRef<_>, &"none", &"--strict", &"--deny", &"all", &"--format", &"json"];
    let run = fold(&input, &strict).expect(0);
    assert!(run.stderr.contains("note: ") && run.stderr.contains("x(1 + 5e-10)"), "{}", run.stderr);
    let json = run.json();
    assert_eq!((&json["warnings"], &json["warning_codes"]), (&json!([]), &json!([])));
    assert_eq!(json["notes"].as_array().unwrap().len(), 1);
    let human = fold(&input, &[&"--evidence", &"none", &"--force", &"-q"]).expect(0);
    assert_eq!(human.stderr, "");
    assert!(human.stdout.contains("verified: "), "{}", human.stdout);
    // A little more than a rounding of an F32, in 2^-24, is a warning.
    let input = folder.file("more.safetensors", &deep(3, 1e4));
    fold(&input, &[&"--evidence", &"none", &"--strict"]).error(1, &["not written: eps 1e-5 is assumed"]);
}

#[test]
fn every_kind_can_be_denied_and_allowed_and_leaves_nothing() {
    let folder = Folder::new();
    // Channel 2 of its gamma is 0.
    let dead = folder.file("dead.safetensors", &Model::conv_bn());
    let odd = folder.file("odd.safetensors", &Model::conv_bn().without("conv.weight"));
    let none = folder.file("none.safetensors", &Model::new().floats("x", Float::F32, &[1], &[0.0]));
    let before = folder.names();
    let denied = |input: &std::path::Path, kind: &str, words: &str| {
        fold(input, &[&"--eps", &"1e-5", &"--deny", &kind]).error(1, &[words, "not written"]);
        assert_eq!(folder.names(), before, "{kind}");
        fold(input, &[&"--eps", &"1e-5", &"--deny", &kind, &"--allow", &kind]).expect(0);
        std::fs::remove_file(input.with_extension("folded.safetensors")).unwrap();
    };
    denied(&dead, "dead-channels", "norm `bn`: 1 of 4 channels with a scale of 0");
    denied(&dead, "dead_channels", "--allow dead-channels accepts it");
    denied(&odd, "kept", "1 of 1 norm kept");
    denied(&none, "nothing-to-fold", "no batch norm found");
    fold(&dead, &[&"--deny", &"dead"]).error(2, &["no kind of remark; expected all, nothing-to-fold, kept"]);
    // What stops a build stops `plan` too, which prints its plan all the same.
    let plan = bnfold(&[&"plan", &odd, &"--deny", &"kept"]).error(1, &["1 of 1 norm kept", "--allow kept"]);
    assert!(plan.stdout.contains("keep  bn"), "{}", plan.stdout);
}

#[test]
fn an_eps_that_no_network_has_is_refused_unless_insisted_on() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    for eps in ["1", "1e5", "0.11"] {
        fold(&input, &[&"--eps", &eps]).error(2, &["hardly any network has one above 0.1", "--allow large-eps"]);
        let eps_for = format!("bn*={eps}");
        bnfold(&[&"plan", &input, &"--eps-for", &eps_for]).error(2, &["for bn*: hardly any network has one above 0.1"]);
    }
    // However it is stated: in a plan or a configuration it is that model's failure.
    let plan = json!({"version": 1, "layers": [{"norm": "bn", "action": "fold", "weight": "conv.weight", "eps": 1.0}]});
    let plan = folder.text("plan.json", plan.to_string());
    let words = ["m.safetensors: not written: eps 1e0 is stated for 1 norm (the first is `bn`)", "--allow large-eps"];
    fold(&input, &[&"--plan", &plan]).error(1, &words);
    assert_eq!(folder.names(), ["m.safetensors", "plan.json"]);
    fold(&input, &[&"--plan", &plan, &"--allow", &"large-eps"]).expect(0);
    fold(&input, &[&"--eps", &"0.1", &"--force"]).expect(0);
}

const TRANSFORMERS: &str = r#"{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}"#;

#[test]
fn beside_a_configuration_of_transformers_the_style_is_drop_in_unless_one_is_given() {
    let folder = Folder::new();
    let input = folder.file("model.safetensors", &Model::conv_bn());
    folder.text("config.json", TRANSFORMERS);
    let style = |more: &[&str]| {
        let more = more.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect::<Vec<_>>();
        let run = fold(&input, &[&more[..], &[&"--force", &"--format", &"json"]].concat()).expect(0);
        (run.json()["style"].as_str().unwrap().to_owned(), run.stderr)
    };
    let (chosen, said) = style(&[]);
    assert_eq!((chosen.as_str(), said.lines().count()), ("drop-in", 1), "{said}");
    assert!(said.contains("note: ") && said.contains("transformers' `ResNetForImageClassification`"), "{said}");
    assert!(said.ends_with("--style strip is followed if it is given\n"), "{said}");
    assert_eq!(style(&["--style", "drop-in"]), ("drop-in".to_owned(), String::new()));
    let (stripped, said) = style(&["--style", "strip"]);
    assert!(stripped == "strip" && said.starts_with("warning: ") && said.contains("use --style drop-in"), "{said}");
    folder.text("config.json", r#"{"architecture": "resnet18"}"#);
    assert_eq!(style(&[]).0, "strip", "timm's loader fails loudly");
    std::fs::remove_file(folder.path("config.json")).unwrap();
    assert_eq!(style(&[]).0, "strip");
}

#[test]
fn a_stripped_file_gets_no_copy_of_a_configuration_that_loads_it_wrongly() {
    let folder = Folder::new();
    let input = folder.file("model.safetensors", &Model::conv_bn());
    folder.text("config.json", TRANSFORMERS);
    let out = folder.path("out/");
    let strip: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--output", &out, &"--style", &"strip", &"--copy-sidecars"];
    let words =
        ["not written: the config.json beside the input names a model class", "--style drop-in", "--allow style"];
    fold(&input, strip).error(1, &words);
    assert!(!folder.path("out/model.safetensors").exists());
    fold(&input, &[strip, &[&"--allow", &"style"]].concat()).expect(0);
    fold(&input, &[&"--output", &out, &"--copy-sidecars", &"--force"]).expect(0);
    assert!(folder.path("out/config.json").exists());
}

/// What a `config.json` says about eps would be missing: only absence is absence.
#[cfg(unix)]
#[test]
fn a_configuration_that_cannot_be_read_fails_its_model() {
    let folder = Folder::new();
    let input = folder.file("model.safetensors", &Model::conv_bn());
    std::os::unix::fs::symlink("nowhere", folder.path("config.json")).unwrap();
    fold(&input, &[]).error(1, &["config.json: a link to nowhere"]);
    std::fs::remove_file(folder.path("config.json")).unwrap();
    std::fs::create_dir(folder.path("config.json")).unwrap();
    fold(&input, &[]).error(1, &["config.json: a folder"]);
    std::fs::remove_dir(folder.path("config.json")).unwrap();
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::PermissionsExt;
        let config = folder.text("config.json", r#"{"batch_norm_eps": 0.001}"#);
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o0)).unwrap();
        let arguments: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--device", &"cpu", &input];
        crate::fixture::Run::of(&mut crate::fixture::unprivileged(arguments))
            .error(1, &["config.json: cannot open", "Permission denied"]);
    }
    assert!(!folder.path("model.folded.safetensors").exists());
}

#[test]
fn warnings_that_many_models_share_are_counted() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("zoo")).unwrap();
    for n in 0..8 {
        folder.file(&format!("zoo/{n}.safetensors"), &Model::conv_bn());
    }
    let run = |more: &[&str]| {
        let mut program = crate::fixture::command(&[&"plan", &folder.path("zoo"), &"--evidence", &"none"]);
        crate::fixture::Run::of(program.args(more)).expect(0).stderr
    };
    let few = run(&[]);
    assert_eq!(few.lines().count(), 4, "{few}");
    assert!(
        few.contains("warning: the same for 5 more models (assumed-eps): ") && few.contains("3.safetensors"),
        "{few}"
    );
    assert!(few.ends_with(", ...; -v prints all\n"), "{few}");
    assert_eq!(run(&["-v"]).lines().count(), 8);
    assert_eq!(run(&["-q"]).lines().count(), 4, "it may change results");
    assert_eq!(run(&["--eps", "1e-5"]), "");
}
