//! Names that are not what they look like.
//!
//! In: a model whose tensors, file, folder, metadata and `config.json` are named with characters that steer a terminal, turn
//! the direction of writing, break lines or cannot be seen. Out: none of them, wherever names are printed.

use bnfold_gpu::text::misleads;

use crate::fixture::{Folder, Model, Run, bnfold};

/// One of each kind: a control sequence, C1, bidi, a line separator, a tag, private use, a variation selector, a filler.
const ODD: &str = "\u{1b}[2J\u{9b}\u{61c}\u{202e}\u{2028}\u{2029}\u{e0041}\u{e000}\u{fe0f}\u{3164}\u{ad}\u{feff}";

/// What was printed, without the line breaks that belong there.
fn printed(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr).replace('\n', "")
}

#[track_caller]
fn assert_plain(what: &str, text: &str) {
    if let Some(at) = text.find(misleads) {
        let begin = text[..at].char_indices().rev().nth(80).map_or(0, |(at, _)| at);
        panic!("{what}: {:?}", &text[begin..].chars().take(160).collect::<String>());
    }
}

/// A model of odd names in a folder of an odd name.
fn odd_model(folder: &Folder) -> std::path::PathBuf {
    let odd = format!("x{ODD}");
    let weights = [0.5; 36];
    let model = Model::new()
        .floats(&format!("{odd}.conv1.weight"), bnfold_gpu::checkpoint::Float::F32, &[4, 1, 3, 3], &weights)
        .norm(
            &format!("{odd}.bn1"),
            bnfold_gpu::checkpoint::Float::F32,
            &[1.0, 0.0, 2.0, 5000.0],
            &[0.5; 4],
            &[0.25; 4],
            &[1.0, 0.0, 1.0, 1.0],
        )
        .norm(&format!("{odd}.lonely"), bnfold_gpu::checkpoint::Float::F32, &[1.0], &[0.5], &[0.25], &[1.0])
        .metadata(&format!("key{ODD}"), ODD);
    std::fs::create_dir(folder.path(&odd)).unwrap();
    folder.file(&format!("{odd}/m{ODD}.safetensors"), &model)
}

#[test]
fn no_name_misleads_wherever_it_is_printed() {
    let folder = Folder::new();
    let input = odd_model(&folder);
    let norm = format!("x{ODD}.bn1");
    let (output, page) = (folder.path(&format!("out{ODD}.safetensors")), folder.path("page.html"));
    let fold: &[&dyn AsRef<std::ffi::OsStr>] = &[&"--input", &input, &"--output", &output, &"--device", &"cpu"];
    let runs: Vec<(&str, Vec<&dyn AsRef<std::ffi::OsStr>>)> = vec![
        ("plan", vec![&"plan", &input]),
        ("plan as JSON", vec![&"plan", &input, &"--format", &"json"]),
        ("explain", vec![&"plan", &input, &"--explain", &norm]),
        ("info", vec![&"info", &input]),
        ("info as JSON", vec![&"info", &input, &"--format", &"json"]),
        ("fold", [fold, &[&"-v", &"--report", &page]].concat()),
        ("fold again", fold.to_vec()),
        ("fold as JSON", [fold, &[&"--force", &"--format", &"json"]].concat()),
        ("strict", [fold, &[&"--force", &"--strict"]].concat()),
        ("verify", vec![&"verify", &input, &output]),
        ("verify what differs", vec![&"verify", &output, &input]),
        ("verify as JSON", vec![&"verify", &output, &input, &"--format", &"json"]),
    ];
    for (what, arguments) in runs {
        let run = bnfold(&arguments);
        let text = printed(&run);
        let may_be_silent = what == "verify as JSON";
        assert!(may_be_silent || text.contains("u{202e}") || text.contains("\\u202e"), "{what} prints no name: {text}");
        assert_plain(what, &text);
        if arguments.iter().any(|argument| argument.as_ref() == "json") {
            serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap();
        }
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("u{202e}"), "the page has no name");
    assert_plain("page", &page.replace('\n', ""));
    // What a script reads out of the page, and puts into cells and CSV.
    let (_, data) = page.split_once("id=\"data-0\">").unwrap();
    let data = data.split_once("</script>").unwrap().0;
    let data = serde_json::from_str::<serde_json::Value>(data).unwrap();
    assert_plain("data of the page", &serde_json::to_string(&data).unwrap());
    assert!(data["kept"][0]["norm"].as_str().unwrap().contains("\\u{202e}"), "{data}");
}

#[test]
fn a_zoo_of_odd_names_is_printed_plainly() {
    let folder = Folder::new();
    odd_model(&folder);
    std::fs::write(folder.path(&format!("broken{ODD}.safetensors")), b"no").unwrap();
    for format in ["human", "json"] {
        let out = folder.path(&format!("out-{format}"));
        let run = bnfold(&[&folder.path(""), &"--output", &out, &"--device", &"cpu", &"--format", &format]).expect(1);
        assert_plain(format, &printed(&run));
    }
}
