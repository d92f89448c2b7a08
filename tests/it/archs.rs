//! Architectures that a user states: right, or refused.
//!
//! In: small checkpoints with the names of real networks, `--arch`, `--arch-for`, `--eps-for`. Out: exit status 2 and
//! nothing written for what cannot be meant; of several models only the one that is not what it is said to be fails.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::{ArchitectureProblem, Error, Glob, Job, Zoo};

use crate::fixture::{Folder, Model, Run, bnfold};

/// Square layers with norms behind them: `bn1` behind `conv1`.
fn network(norms: &[&str]) -> Model {
    let layers = norms.iter().map(|norm| {
        let conv = norm.replace("bn", "conv");
        assert_ne!(*norm, conv);
        let (one, zero) = (vec![1.0; 4], vec![0.0; 4]);
        let weight = format!("{conv}.weight");
        Model::new().floats(&weight, Float::F32, &[4, 8, 3, 3], &[0.5; 288]).norm(
            norm,
            Float::F32,
            &one,
            &zero,
            &zero,
            &one,
        )
    });
    Model::merged(layers)
}

fn resnet(prefix: &str) -> Model {
    let norms = ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1", "layer2.0.bn2"];
    let norms = norms.map(|norm| format!("{prefix}{norm}"));
    network(&norms.each_ref().map(String::as_str))
}

fn efficientnet() -> Model {
    network(&[
        "bn1",
        "blocks.0.0.bn1",
        "blocks.1.0.bn1",
        "blocks.1.0.bn2",
        "blocks.1.0.bn3",
        "blocks.2.0.bn1",
        "blocks.2.0.bn2",
        "bn2",
    ])
}

fn planned(model: &Model, options: &[&str]) -> Run {
    let folder = Folder::new();
    let path = folder.file("network.safetensors", model);
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"plan", &"--input", &path, &"--format", &"json"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
    bnfold(&arguments)
}

/// A folder with a ResNet and an EfficientNet.
fn zoo() -> (Folder, PathBuf, PathBuf) {
    let folder = Folder::new();
    for (name, model) in [("resnet50", resnet("")), ("effnet", efficientnet())] {
        std::fs::create_dir_all(folder.path(&format!("zoo/{name}"))).unwrap();
        folder.file(&format!("zoo/{name}/model.safetensors"), &model);
    }
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    (folder, zoo, out)
}

fn eps(run: &Run) -> f64 {
    run.json()["layers"][0]["eps"].as_f64().unwrap()
}

#[test]
fn a_name_that_nobody_has_is_refused_with_the_nearest_one() {
    let refused = |arch: &str, words: &[&str]| {
        let run = planned(&resnet(""), &["--arch", arch]).error(2, words);
        assert_eq!(run.stdout, "");
    };
    refused(
        "timm/resnt50",
        &["architecture timm/resnt50", "no architecture `resnt50` of timm", "timm/resnet50 meant?"],
    );
    refused("resnt50", &["does not know whose architecture", "resnet50 meant?", "`bnfold-gpu archs` lists"]);
    refused("tim/resnet50", &["no library `tim`"]);
    refused("efficientnet_b5", &["write timm/efficientnet_b5 or torchvision/efficientnet_b5"]);
    refused("timm/tf_efficientnet_b99", &["timm/tf_efficientnet_b"]);
    for known in
        ["timm/resnet50", "timm/resnet50.a1_in1k", "torchvision/resnet50", "resnet50", "timm/gluon_resnet50_v1b"]
    {
        assert_eq!(eps(&planned(&resnet(""), &["--arch", known]).expect(0)), 1e-5, "{known}");
    }
}

#[test]
fn an_architecture_that_the_names_contradict_is_refused() {
    let arch = ["--arch", "timm/tf_efficientnet_b0"];
    let words = ["network.safetensors: architecture timm/tf_efficientnet_b0", "its norms are called `layer#.#.bn#`"];
    planned(&resnet(""), &arch).error(2, &[&words[..], &["`blocks.#.#.bn#`", "pass another --arch"]].concat());
    assert_eq!(eps(&planned(&efficientnet(), &arch).expect(0)), 1e-3);
    planned(&efficientnet(), &["--arch", "timm/resnet50"]).error(2, &["called `blocks.#.#.bn#`, `bn#`"]);
    planned(&efficientnet(), &["--arch", "timm/vit_base_patch16_224"]).error(2, &["has no batch norms"]);
}

#[test]
fn more_norms_than_the_architecture_has_are_refused() {
    let names = (0..30).map(|block| format!("layer3.{block}.bn1")).collect::<Vec<_>>();
    let deep = network(&names.iter().map(String::as_str).collect::<Vec<_>>());
    planned(&deep, &["--arch", "timm/resnet18"]).error(2, &["30 norms of the architecture's names", "only 20"]);
    planned(&deep, &["--arch", "timm/resnet101"]).expect(0);
}

#[test]
fn a_network_in_another_place_or_shape_is_not_refused() {
    let children =
        network(&["0.4.0.bn1", "0.4.0.bn2", "0.5.0.bn1"]).norm("0.1", Float::F32, &[1.0], &[0.0], &[0.0], &[1.0]);
    let children = children.norm("0.5.0.downsample.1", Float::F32, &[1.0], &[0.0], &[0.0], &[1.0]);
    let detector =
        Model::merged([resnet("backbone.body."), network(&["head.a.bn", "head.b.bn", "fpn.c.bn", "fpn.d.bn"])]);
    let legitimate = [
        ("module.", resnet("module.")),
        ("_orig_mod.", resnet("_orig_mod.model.")),
        ("a detector", detector),
        ("children of the original", children),
        ("most were folded before", network(&["bn1"])),
        ("no norms", Model::new().floats("a.weight", Float::F32, &[2, 2], &[0.0; 4])),
    ];
    for (what, model) in legitimate {
        let run = planned(&model, &["--arch", "torchvision/resnet50"]);
        assert!(!run.stderr.contains("error:"), "{what}: {}", run.stderr);
    }
}

#[test]
fn of_several_models_only_the_one_that_is_another_fails() {
    let (folder, zoo, out) = zoo();
    let arch = ["--arch", "timm/tf_efficientnet_b0"];
    let run = bnfold(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out, &arch[0], &arch[1]]);
    let run = run.error(1, &["resnet50/model.safetensors: architecture timm/tf_efficientnet_b0"]);
    assert!(run.stderr.contains("1 of 2 models failed"), "{}", run.stderr);
    assert!(
        folder.path("out/effnet/model.safetensors").exists()
            && !folder.path("out/resnet50").join("model.safetensors").exists()
    );
    bnfold(&[&"--input", &zoo, &"--output", &out, &"--arch", &"timm/resnt50"]).error(2, &["timm/resnet50 meant?"]);
    let one = zoo.join("resnet50/model.safetensors");
    bnfold(&[&"--input", &one, &arch[0], &arch[1]]).error(2, &["its norms are called"]);
    assert!(!zoo.join("resnet50/model.folded.safetensors").exists());
}

#[test]
fn models_of_one_call_may_be_of_different_architectures() {
    let (_folder, zoo, out) = zoo();
    let typed =
        ["--arch-for", "eff*=timm/tf_efficientnet_b0", "--arch-for", "*/model.safetensors=timm/dpn68", "--arch", "x"];
    let run = |arguments: &[&str]| {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"plan", &"--format", &"json", &"--input", &zoo];
        all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        bnfold(&all)
    };
    let plans = run(&[&typed[..2], &["--arch", "timm/resnet50"]].concat()).expect(0).json();
    let named = |plan: usize| plans[plan]["architecture"].as_str().unwrap().to_owned();
    assert_eq!([named(0), named(1)], ["timm/tf_efficientnet_b0", "timm/resnet50"]);
    run(&typed[..4]).error(1, &["resnet50/model.safetensors: architecture timm/dpn68"]);
    run(&typed).error(2, &["whose architecture `x` is"]);
    run(&["--arch-for", "mobile*=timm/resnet50"]).error(2, &["architecture for mobile*: matches none of 2 models"]);
    run(&["--arch-for", "eff*=timm/resnt50"]).error(2, &["timm/resnet50 meant?"]);
    let report = bnfold(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out, &typed[0], &typed[1]]).expect(0);
    assert!(report.stderr.contains("resnet50/model.safetensors: eps 1e-5 is assumed"), "{}", report.stderr);
    assert!(!report.stderr.contains("effnet/model.safetensors: eps"), "{}", report.stderr);
}

#[test]
fn a_single_file_is_meant_by_its_name_and_its_folders() {
    let (_folder, zoo, _) = zoo();
    let file = zoo.join("effnet/model.safetensors");
    for glob in ["effnet", "model.*", "effnet/model.safetensors"] {
        let stated = format!("{glob}=timm/tf_efficientnet_b0");
        let run = bnfold(&[&"plan", &"--input", &file, &"--format", &"json", &"--arch-for", &stated]);
        assert_eq!(eps(&run.expect(0)), 1e-3, "{glob}");
    }
    bnfold(&[&"plan", &"--input", &file, &"--arch-for", &"zoo=timm/resnet50"]).error(2, &["matches none of 1 model"]);
}

#[test]
fn an_eps_for_norms_that_no_model_has_is_refused() {
    let (_folder, zoo, out) = zoo();
    planned(&resnet(""), &["--eps-for", "blocks.*=1e-3"])
        .error(2, &["eps for blocks.*: matches none of", "plan -v` lists"]);
    let run = |glob: &str| bnfold(&[&"--device", &"cpu", &"--input", &zoo, &"--output", &out, &"--eps-for", &glob]);
    let none = run("nobody.*=1e-3").error(2, &["eps for nobody.*: matches none of 2 models, for example"]);
    assert!(none.stdout.is_empty() && !out.exists(), "{}", none.stdout);
    let some = run("blocks.*=1e-3").expect(0);
    assert!(some.stderr.contains("resnet50/model.safetensors: eps for blocks.*: matches none"), "{}", some.stderr);
}

#[test]
fn the_library_returns_what_is_wrong_as_data() {
    let (folder, zoo, out) = zoo();
    let file = zoo.join("resnet50/model.safetensors");
    let problem = |arch: &str| match Job::new(&*file).arch(arch).plan().unwrap_err() {
        Error::Architecture { problem, .. } => problem,
        error => panic!("{error}"),
    };
    let nearest = Some("timm/resnet50".to_owned());
    let unknown = ArchitectureProblem::NoName { name: "resnt50".into(), library: "timm".into(), nearest };
    assert_eq!(problem("timm/resnt50"), unknown);
    assert!(
        matches!(problem("timm/dpn68"), ArchitectureProblem::OtherNames { candidates, .. } if !candidates.is_empty())
    );
    let none = Job::new(&*file).eps_for(Glob::new("x").unwrap(), 0.1).plan().unwrap_err();
    assert!(matches!(none, Error::EpsForNone { norms: 5, .. }), "{none}");
    let effnet = || Glob::new("effnet").unwrap();
    let job = Job::new(zoo.join("effnet/model.safetensors")).arch_for(effnet(), "timm/tf_efficientnet_b0");
    assert_eq!(job.plan().unwrap().architecture.as_deref(), Some("timm/tf_efficientnet_b0"));
    let run = |zoo: Zoo| zoo.run(&Silent).unwrap_err();
    let zoo = || Zoo::find([&*zoo], &*out).unwrap();
    assert!(matches!(run(zoo().arch("timm/resnt50")), Error::Architecture { path: None, .. }));
    assert!(matches!(
        run(zoo().arch_for(Glob::new("x").unwrap(), "timm/dpn68")),
        Error::StatedForNone { models: 2, .. }
    ));
    assert!(!folder.path("out").exists());
}

#[test]
fn the_catalogue_lists_what_it_knows() {
    let archs = |arguments: &[&str]| {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"archs"];
        all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        bnfold(&all)
    };
    let lines = archs(&["tf_efficientnet_b0"]).expect(0).stdout;
    assert!(lines.starts_with("timm/tf_efficientnet_b0  1e-3  (timm 1.0.31"), "{lines}");
    let two = archs(&["timm/efficientvit_l1"]).expect(0).stdout;
    assert!(two.starts_with("timm/efficientvit_l1  1e-7; 1e-5 for head.in_conv.norm  ("), "{two}");
    let json = archs(&["*fasterrcnn_resnet50_fpn", "--format", "json"]).expect(0).json();
    assert_eq!(
        (json[0]["name"].as_str(), json[0]["unless"][0].as_f64()),
        (Some("torchvision/fasterrcnn_resnet50_fpn"), Some(0.0))
    );
    assert!(archs(&[]).expect(0).stdout.lines().count() > 3000);
    archs(&["timm/resnt50"]).error(1, &["no architecture that matches timm/resnt50; is timm/resnet50 meant?"]);
}

#[test]
fn bash_completes_the_names_of_architectures() {
    let folder = Folder::new();
    let script = bnfold(&[&"completions", &"bash"]).expect(0).stdout;
    let ask = "COMP_WORDS=(\"$1\" --arch timm/tf_efficientnet_b); COMP_CWORD=2; _bnfold-gpu-archs \"$1\"; echo \"${COMPREPLY[@]}\"";
    let script = folder.text("ask.sh", format!("{script}\n{ask}\n"));
    let answer = std::process::Command::new("bash").arg(script).arg(env!("CARGO_BIN_EXE_bnfold-gpu")).output().unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    assert!(answer.starts_with("timm/tf_efficientnet_b0 ") && !answer.contains("resnet"), "{answer}");
}

#[test]
fn the_name_of_a_file_or_folder_suggests_an_architecture() {
    let folder = Folder::new();
    let stderr = |name: &str, model: &Model| {
        std::fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
        bnfold(&[&"plan", &"--input", &folder.file(name, model)]).expect(0).stderr
    };
    let suggested = "the file's name suggests --arch timm/tf_efficientnet_b0";
    let named = [
        "tf_efficientnet_b0.safetensors",
        "tf_efficientnet_b0.in1k/model.safetensors",
        "models--timm--tf_efficientnet_b0.in1k/model.safetensors",
        "timm/tf_efficientnet_b0.safetensors",
    ];
    for name in named {
        let said = stderr(name, &efficientnet());
        assert!(said.contains(suggested), "{name}: {said}");
    }
    for (name, model) in [("tf_efficientnet_b0/x.safetensors", resnet("")), ("mine.safetensors", efficientnet())] {
        let said = stderr(name, &model);
        assert!(!said.contains("suggests") && said.contains("name the architecture with --arch"), "{name}: {said}");
    }
}

/// Is told nothing.
struct Silent;

impl bnfold_gpu::Observer for Silent {
    fn begin(&self, _: usize) {}
    fn advance(&self, _: usize, _: u64) {}
    fn end(&self, _: usize, _: bnfold_gpu::Outcome) {}
}
