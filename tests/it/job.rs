//! The library's face: it folds as the command does.
//!
//! In: the digits network, through `Job` and `Zoo` and through the examples that users copy. Out: the command's bytes, the
//! command's eps, and errors that say what does not fit.

use std::path::{Path, PathBuf};

use bnfold_gpu::{Action, Device, Error, Job, Options, Plan, Progress, Style};

use crate::fixture::{Folder, bnfold};

#[path = "../../examples/edit_a_plan.rs"]
mod edit_a_plan;
#[path = "../../examples/fold_a_zoo.rs"]
mod fold_a_zoo;
#[path = "../../examples/fold_one.rs"]
mod fold_one;

/// A folder with the digits network in it.
fn digits() -> (Folder, PathBuf) {
    let (folder, data) = (Folder::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    let input = folder.path("digits.safetensors");
    std::fs::copy(data.join("digits-resnet.safetensors"), &input).unwrap();
    (folder, input)
}

/// What the command makes of `input`.
fn by_command(folder: &Folder, input: &Path, options: &[&str]) -> Vec<u8> {
    let output = folder.path("command.folded.safetensors");
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--input", &input, &"--output", &output, &"--force"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
    bnfold(&arguments).expect(0);
    std::fs::read(output).unwrap()
}

#[test]
fn the_example_of_one_file_folds_as_the_command_does() {
    let (folder, input) = digits();
    let output = folder.path("library.safetensors");
    assert_eq!(fold_one::fold(&input, &output).unwrap(), 12);
    assert!(std::fs::read(&output).unwrap() == by_command(&folder, &input, &[]));
}

#[test]
fn the_example_of_an_edited_plan_keeps_a_norm_and_saves_what_the_command_follows() {
    let (folder, input) = digits();
    let output = folder.path("library.safetensors");
    let norm = Job::new(&input).plan().unwrap().layers[0].norm.clone();
    assert_eq!(edit_a_plan::fold(&input, &output, &norm).unwrap(), (11, 1));
    let plan = folder.path("library.plan.json");
    let expected = by_command(&folder, &input, &["--plan", plan.to_str().unwrap()]);
    assert!(std::fs::read(&output).unwrap() == expected);
}

#[test]
fn the_example_of_a_zoo_folds_every_model_once() {
    let (folder, input) = digits();
    for name in ["a", "b/c"] {
        let path = folder.path("zoo").join(name).with_extension("safetensors");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(&input, path).unwrap();
    }
    let (zoo, results) = (folder.path("zoo"), folder.path("results"));
    let totals = fold_a_zoo::fold(&zoo, &results).unwrap();
    assert_eq!((totals.folded, totals.norms, totals.failed), (2, (24, 0), 0));
    assert!(results.join("b/c.safetensors").exists());
    let again = fold_a_zoo::fold(&zoo, &results).unwrap();
    assert_eq!((again.folded, again.skipped), (0, 2));
}

/// Every option that bears on the bytes or the plan, by both ways.
#[test]
fn options_mean_what_the_flags_mean() {
    let (folder, input) = digits();
    folder.text("config.json", r#"{"batch_norm_eps": 0.01}"#);
    let some = || bnfold_gpu::Glob::new("*1*").unwrap();
    let ways: [(&[&str], Options); 4] = [
        (&[], Options::default()),
        (&["--style", "drop-in"], Options::default().style(Style::DropIn)),
        (&["--eps", "0.05", "--eps-for", "*1*=0.02"], Options::default().eps(0.05).eps_for(some(), 0.02)),
        (&["--dtype", "bf16"], Options::default().dtype(bnfold_gpu::Float::Bf16)),
    ];
    let mut seen = Vec::new();
    for (number, (flags, options)) in ways.into_iter().enumerate() {
        let output = folder.path(&format!("{number}.folded.safetensors"));
        Job::with(&input, options).device(Device::Cpu).write(&output).unwrap();
        let bytes = std::fs::read(&output).unwrap();
        assert!(bytes == by_command(&folder, &input, &[flags, &["--device", "cpu"]].concat()), "{flags:?}");
        assert!(!seen.contains(&bytes), "test is broken: {flags:?} makes no difference");
        seen.push(bytes);
    }
}

#[test]
fn a_config_beside_the_checkpoint_counts_and_one_that_may_be_anothers_is_warned_of() {
    let (folder, input) = digits();
    folder.text("config.json", r#"{"batch_norm_eps": 0.01}"#);
    let eps = |plan: &Plan| match &plan.layers[0].action {
        Action::Fold(line) => (line.eps, line.eps_source.to_string()),
        Action::Keep(reason) => panic!("{reason}"),
    };
    assert_eq!(eps(&Job::new(&input).plan().unwrap()), (0.01, "config.json: batch_norm_eps".to_owned()));
    std::fs::copy(&input, folder.path("other.safetensors")).unwrap();
    let planned = Job::new(&input).planned(None).unwrap();
    assert_eq!(eps(&planned.plan).0, 1e-5);
    assert_eq!(planned.warnings[0].code(), "config-ignored");
    let words = planned.warnings[0].to_string();
    assert!(words.contains("config.json: may be that of other.safetensors"), "{words}");
    // What is known to be the result is no other checkpoint.
    let planned = Job::new(&input).planned(Some(&folder.path("other.safetensors").into())).unwrap();
    assert_eq!(eps(&planned.plan).0, 0.01);
}

#[test]
fn a_plan_in_memory_is_followed_as_its_file_is() {
    let (folder, input) = digits();
    let mut plan = Job::new(&input).plan().unwrap();
    let Action::Fold(line) = &mut plan.layers[1].action else { panic!("test is broken") };
    line.eps = 0.25;
    plan.layers.pop();
    let file = folder.path("plan.json");
    plan.save(&file).unwrap();
    for (job, expected) in [(Job::new(&input), [1e-5, 0.25]), (Job::new(&input).eps(1e-3), [1e-3, 1e-3])] {
        let followed = job.clone().follow(plan.clone()).plan().unwrap();
        assert_eq!(followed, job.follow(file.clone()).plan().unwrap());
        let eps = followed.layers.iter().filter_map(|layer| match &layer.action {
            Action::Fold(line) => Some(line.eps),
            Action::Keep { .. } => None,
        });
        assert_eq!(
            eps.take(2).collect::<Vec<_>>(),
            expected,
            "an assumed eps yields, a number that was changed counts"
        );
        let last = &followed.layers[11].action;
        assert!(matches!(last, Action::Keep(reason) if reason.code == "unmentioned"), "{last:?}");
    }
}

#[test]
fn a_plan_that_does_not_fit_is_refused_and_nothing_is_written() {
    let (folder, input) = digits();
    let mut plan = Job::new(&input).plan().unwrap();
    let Action::Fold(line) = &mut plan.layers[2].action else { panic!("test is broken") };
    line.channels += 1;
    let norm = plan.layers[2].norm.clone();
    let output = folder.path("none.safetensors");
    let error = Job::new(&input).follow(plan).write(&output).unwrap_err();
    assert!(matches!(&error, Error::Plan { norm: named, .. } if *named == norm), "{error}");
    assert!(error.to_string().contains("channels are planned, but the norm has"), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_plan_that_is_no_plan_is_not_loaded() {
    let folder = Folder::new();
    let cases = [
        ("{\n\"version\": 1}", ":2: not a plan: missing field `layers`"),
        ("[\n]", ":1: there is no plan in it"),
        (
            "[{\"version\": 1, \"layers\": []},\n{\"version\": 1, \"layers\": []}]",
            ":2: a second plan, after that of line 1, and only one can be taken",
        ),
        (
            "{\"version\": 1, \"layers\": [\n{\"norm\": \"bn\",\n\"action\": \"keep\", \"esp\": 1}]}",
            ":3: not a layer of a plan: unknown field `esp`, expected one of",
        ),
        (
            "{\"version\": 1, \"layers\": [\n{\"norm\": \"bn\", \"action\": \"fold\", \"weight\": \"w\", \"eps\": 0}]}",
            ":2: norm `bn`: \"op\" is missing, and only the checkpoint tells it: follow the file instead of its plan",
        ),
        (
            "{\"version\": 1, \"layers\": [\n{\"norm\": \"bn\", \"action\": \"fold\", \"sources\": []}]}",
            ":2: norm `bn`: folding forward or into several sources is not supported",
        ),
        (
            r#"{"version": 9, "input": "m", "dialect": null, "architecture": null, "layers": []}"#,
            ":1: a plan of version 9, and this program reads version 1",
        ),
    ];
    for (text, expected) in cases {
        let error = Plan::load(folder.text("plan.json", text)).unwrap_err().to_string();
        assert!(error.ends_with(expected) || error.contains(expected), "{error}");
    }
}

#[test]
fn progress_adds_up_to_the_size_of_the_model() {
    #[derive(Default)]
    struct Seen(std::sync::atomic::AtomicU64, std::sync::atomic::AtomicU64);
    impl Progress for Seen {
        fn begin(&self, bytes: u64) {
            self.0.store(bytes, std::sync::atomic::Ordering::Relaxed);
        }
        fn advance(&self, bytes: u64) {
            self.1.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let (folder, input) = digits();
    let seen = Seen::default();
    Job::new(&input).progress(&seen).write(folder.path("x.safetensors")).unwrap();
    let (all, done) = (seen.0.into_inner(), seen.1.into_inner());
    assert_eq!(all, std::fs::metadata(&input).unwrap().len());
    assert!(done > all / 2 && done <= all, "{done} of {all}");
}
