//! Numbers and lists in prose.
//!
//! In: README, docs/ and the sources. Out: a document states the very number that the code or a test has, so that neither
//! changes alone. Constants are read from the sources, since most of them are nobody else's business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bnfold_gpu::network::dialect::DIALECTS;

use crate::docs::root;
use crate::traced::REACHED;

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// The text of a document with every run of white space as one blank: lines may break anywhere.
fn prose(document: &str) -> String {
    read(document).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The value of the constant `name` of the sources whose path ends in `file`; all of that name must agree.
fn constant(file: &str, name: &str) -> f64 {
    let texts = sources(&root().join("src")).into_iter().filter(|path| path.to_string_lossy().ends_with(file));
    let mut values = Vec::new();
    for text in texts.map(|path| std::fs::read_to_string(path).unwrap()) {
        let lines =
            text.lines().filter_map(|line| line.trim().split_once(&format!("const {name}: ")).map(|(_, rest)| rest));
        values.extend(lines.map(|rest| rest.split_once(" = ").unwrap().1.trim_end_matches(';').to_owned()));
    }
    let first = values.first().unwrap_or_else(|| panic!("no constant {name} in {file}"));
    assert!(values.iter().all(|value| value == first), "{name} is {values:?}");
    let number = |text: &str| text.replace('_', "").parse::<f64>().unwrap_or_else(|_| panic!("{name} = {first}"));
    match first.split_once(" << ") {
        Some((value, bits)) => number(value) * number(bits).exp2(),
        None => number(first),
    }
}

/// With commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

/// Every phrase stands in the document.
fn states(document: &str, phrases: &[String]) {
    let text = prose(document);
    for phrase in phrases {
        assert!(text.contains(phrase.as_str()), "{document} does not say \"{phrase}\"");
    }
}

#[test]
fn readme_states_what_the_traced_networks_reach() {
    let all = REACHED.right + REACHED.missed;
    let figures = [
        format!("plans {} real architectures", REACHED.networks),
        "from names and shapes alone no pair is wrong".to_owned(),
        format!("{} of {} norms", grouped(REACHED.right), grouped(all)),
        format!("{} networks are paired completely", REACHED.whole),
    ];
    states("README.md", &figures);
    states("tests/data/README.md", &[format!("{} real architectures of {} libraries", REACHED.networks, libraries())]);
    states("CONTRIBUTING.md", &[format!("{} real architectures", REACHED.networks)]);
}

/// Libraries of the traced networks.
fn libraries() -> usize {
    let names = crate::traced::NETWORKS.iter().map(|network| network.name.split('/').next().unwrap());
    names.collect::<BTreeSet<_>>().len()
}

#[test]
fn sizes_and_limits_in_prose_are_those_of_the_code() {
    let bytes = |file: &str, name: &str, unit: u32| constant(file, name) / f64::from(2u32.pow(unit));
    let [sample, open] = ["SAMPLE_BYTES", "OPEN_BYTES"].map(|name| constant("measure/mod.rs", name) / 1e6);
    assert_eq!(constant("measure/mod.rs", "SHARE"), 5.0, "README and docs/performance.md say a fifth");
    let rows = constant("measure/transposed.rs", "ROWS");
    assert_eq!(constant("choice.rs", "MOST_LOSS"), 0.1, "docs/performance.md says a tenth");
    let telling = constant("cli/bench.rs", "TELLING_BYTES") / 1e6;
    let [shared, rate] = ["SHARED", "ERROR_RATE"].map(|name| constant("verify/lean.rs", name));
    let [batch, bus] = ["BATCH_BYTES", "BUS_BATCH_BYTES"].map(|name| format!("{} MiB", bytes("gpu/mod.rs", name, 20)));
    let slots = constant("gpu/mod.rs", "SLOTS");
    let piece = format!("{} KiB", bytes("fold/mod.rs", "PIECE_BYTES", 10));
    let [block, blocks] = [bytes("blocks.rs", "BLOCK", 20), constant("blocks.rs", "CAPACITY")];
    assert_eq!(constant(".rs", "MOST_JOBS"), 8.0, "docs/zoo.md says eight");
    states(
        "README.md",
        &[
            format!("{sample:.0} MB at most, and {rows} rows of every square weight"),
            format!("a fifth of the file, or {open:.0} MB if that is more"),
            format!("Rust {} ", env!("CARGO_PKG_RUST_VERSION")),
        ],
    );
    states(
        "docs/performance.md",
        &[
            format!("some {sample:.0} MB"),
            format!("a fifth of the file or {open:.0} MB more"),
            format!("{rows} rows of every square one"),
            format!("on a model of {telling} MB or more"),
            format!("Batches of {batch} where host and adapter share memory, else of up to {bus}, {slots} under way"),
            format!("a buffer of {piece} per thread"),
        ],
    );
    states(
        "docs/architecture.md",
        &[
            format!(
                "{slots} under way on a GPU: of {batch} where host and adapter share memory, of up to {bus} over a bus"
            ),
            format!("reads pieces of {piece}"),
            format!("pieces of {} KiB", bytes("row_sums.rs", "PIECE_BYTES", 10)),
            format!("{} sums side by side", constant("row_sums.rs", "LANES")),
            format!("blocks of {block} MiB"),
            format!("{} MiB of them at most", block * blocks),
        ],
    );
    states(
        "docs/zoo.md",
        &["eight at most".to_owned(), format!("of up to {} MiB the store", bytes("publish.rs", "WHOLE", 20))],
    );
    let wide = 0.5 + constant("verify/tolerance.rs", "STEPS");
    let accepted = [
        format!("`verify` accepts {wide} by default"),
        format!("F32, F64 {wide} ulp;"),
        format!("{shared} ulp that all channels may share"),
        format!("at most {rate:e} of the layers"),
    ];
    states("docs/verification.md", &accepted);
    let header = constant("header.rs", "HEADER_LIMIT") / 1e6;
    states("docs/formats.md", &[format!("over {header} MB")]);
}

#[test]
fn thresholds_in_formats_are_those_of_the_code() {
    let lint = |name: &str| constant("lint.rs", name);
    let measure = |file: &str, name: &str| constant(&format!("measure/{file}.rs"), name);
    let listed = constant("report/channels.rs", "LISTED");
    let phrases = [
        format!("the numbers of the `first` {listed} |"),
        format!("the `first` {listed};"),
        format!("a scale is above {} |", lint("LARGE_SCALE")),
        format!("or above {}: `count`", lint("LARGE_SCALE")),
        format!("grew more than {} times", lint("RANGE_GROWTH")),
        format!("below 1/{} of the largest folded weight", lint("CHANNEL_SPREAD")),
        format!("above a quarter of {} |", lint("F16_MAX")),
        format!("norms of fewer than {} say nothing", measure("mod", "FEWEST_CHANNELS")),
        format!("({} each, {} of them different)", measure("tied", "ELEMENTS"), measure("tied", "DIFFERENT")),
        format!("by {} rows of it first", measure("transposed", "ROWS")),
        format!("{} for one from values alone", measure("rivals/verdict", "TOO_HIGH_ALONE")),
        format!("predict {:.0} % of the running means' variance", 100.0 * measure("unpaired/width", "PREDICTED")),
        format!("at most {:.0} % of the norms have no weight yet", 100.0 * measure("unpaired/image", "FEW")),
        format!("add up to {} and", measure("unpaired/rank_agreement", "SCORE")),
        format!("explains the rest by {} |", measure("unpaired/rank_agreement", "EXPLAINED")),
        format!("({} and {}); so must", measure("disambiguate", "LEFT"), measure("disambiguate", "FOLLOWED")),
        format!(
            "else by {} and with a score of {} |",
            measure("correlation", "SHARED"),
            measure("correlation", "SHARED_SCORE")
        ),
    ];
    states("docs/formats.md", &phrases);
    assert_eq!(lint("VARIANCE_IN_EPS"), 0.1, "docs/formats.md says a tenth of eps");
    assert_eq!([lint("SPREAD_SHARE"), lint("F16_HEADROOM")], [0.25, 4.0], "docs/formats.md says a quarter of both");
}

#[test]
fn bounds_of_errors_are_those_of_the_oracle() {
    use bnfold_gpu::checkpoint::Float;
    use bnfold_gpu::fold::oracle::{SHIFT_BOUND, bound};
    let [wide, half] = [Float::F32, Float::F16].map(bound);
    assert_eq!([Float::F64, Float::Bf16].map(bound), [wide, half]);
    let figures = [
        format!("F32 and F64 weights are within {wide} ulp"),
        format!("({half} ulp)"),
        format!("within {SHIFT_BOUND} ulp of their largest addend"),
    ];
    states("README.md", &figures);
    let bounds = format!("F32, F64 {wide} ulp; F16, BF16 {half} ulp of the type");
    states("docs/verification.md", &[bounds, format!("{SHIFT_BOUND} ulp of the largest number they are the sum of")]);
}

#[test]
fn dialects_and_their_eps_are_those_of_the_table() {
    let names = DIALECTS.iter().map(|dialect| format!("`{}`", dialect.name)).collect::<Vec<_>>().join(", ");
    states("docs/formats.md", &[format!("| `dialect` | {names};")]);
    let eps = |name: &str| {
        let dialect = DIALECTS.iter().find(|dialect| dialect.name == name).unwrap();
        format!("{:e}", dialect.eps)
    };
    states("README.md", &[format!("(PyTorch {}, Keras {})", eps("pytorch"), eps("keras"))]);
}

/// The strings that a function `code` in a file, or below a folder, may return: `=> "name"` in its body.
fn codes(place: &str) -> BTreeSet<String> {
    let (mut found, place) = (BTreeSet::new(), root().join(place));
    for path in if place.is_dir() { sources(&place) } else { vec![place] } {
        let text = std::fs::read_to_string(path).unwrap();
        for body in text.split("fn code(&self)").skip(1).map(|rest| rest.split("\n    }\n").next().unwrap()) {
            found.extend(body.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        let made = text.split("Reason::new(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        found.extend(made);
    }
    found
}

#[test]
fn every_code_of_a_plan_is_explained() {
    let text = read("docs/formats.md");
    let plan = codes("src/plan");
    assert!(plan.len() > 40, "the test found only {plan:?}");
    let mut eps = codes("src/network");
    eps.insert(bnfold_gpu::plan::EpsSource::ASSUMED.to_owned());
    assert!(eps.len() > 6, "the test found only {eps:?}");
    for code in plan.iter().chain(&eps) {
        assert!(text.contains(&format!("`{code}`")), "docs/formats.md does not explain the code {code}");
    }
    // And none that is gone.
    let (_, tables) = text.split_once("### Where eps comes from").unwrap();
    let (tables, _) = tables.split_once("### How a plan came about").unwrap();
    let first_cells = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    for code in first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|code| !code.contains('_')) {
        // Plans are made in Python, too.
        let is_of_python = || {
            read("python/bnfold_gpu/keras/_judge.py").contains(&format!("\"{code}\""))
                || read("python/bnfold_gpu/onnx/_plan.py").contains(&format!("\"{code}\""))
        };
        let is_known = plan.contains(code) || eps.contains(code) || code == "plan" || is_of_python();
        assert!(is_known, "docs/formats.md explains the code {code}, which the program does not have");
    }
}

#[test]
fn every_code_of_a_warning_is_explained() {
    let text = read("docs/formats.md");
    let (_, table) = text.split_once("| `warning_codes` |").unwrap();
    let first_cells = table.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("| `"));
    let explained = first_cells.flat_map(|line| line.split("` |").next().unwrap().split("`, `")).map(str::to_owned);
    let codes = codes("src/warning.rs");
    assert!(codes.len() > 12, "the test found only {codes:?}");
    assert_eq!(explained.collect::<BTreeSet<_>>(), codes);
}

#[test]
fn rules_that_documents_name_exist() {
    let rules = read("docs/rules.md");
    let formats = read("docs/formats.md");
    let rows = formats.lines().filter(|line| line.starts_with("| ") && line.contains("in [rules.md]"));
    let mut count = 0;
    for code in
        rows.flat_map(|row| row.strip_prefix("| ").unwrap().split(" | ").next().unwrap().split('`').skip(1).step_by(2))
    {
        assert!(rules.contains(&format!("\n| `{code}` |")), "docs/rules.md has no rule {code}");
        count += 1;
    }
    assert!(count > 10, "the test found only {count} rules");
}

#[test]
fn readme_is_short_and_its_pictures_are_small() {
    let text = read("README.md");
    assert!(text.lines().count() < 200, "README has {} lines", text.lines().count());
    let pictures = text.split("](docs/pictures/").skip(1).map(|rest| rest.split(')').next().unwrap());
    let mut count = 0;
    for picture in pictures {
        let path = root().join("docs/pictures").join(picture);
        let size = path.metadata().unwrap().len();
        assert!(size < 200_000, "{picture} has {size} bytes");
        count += 1;
    }
    assert_eq!(count, 2, "a run in a terminal, and the report page");
}

/// The terminal in the picture shows what the program prints, but for times.
#[test]
fn the_picture_of_a_run_shows_what_is_printed() {
    let picture = read("docs/pictures/terminal.svg");
    let shown = picture.lines().filter_map(|line| line.strip_suffix("</text>")?.split_once('>')).map(|(_, text)| text);
    let shown = shown.collect::<Vec<_>>().concat().replace("&lt;", "<").replace("&gt;", ">");
    let data = root().join("tests/data");
    let folder = crate::fixture::Folder::new();
    for name in ["digits-resnet.safetensors", "twins/conv-norm-relu.safetensors", "twins/conv-relu-norm.safetensors"] {
        let path = data.join(name);
        std::fs::copy(&path, folder.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    let commands =
        shown.split("$ bnfold-gpu ").skip(1).map(|rest| rest.split("--eps 1e-5").next().unwrap()).collect::<Vec<_>>();
    assert_eq!(commands.len(), 3, "{shown}");
    for command in commands {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_bnfold-gpu"));
        program.args(command.split_whitespace()).args(["--eps", "1e-5"]).current_dir(folder.path(""));
        let output = program.output().unwrap();
        assert!(output.status.success(), "{command}");
        // Sizes and times stand in one line.
        let printed = String::from_utf8(output.stdout).unwrap();
        for line in printed.lines().filter(|line| !line.contains(" in 0.") && !line.is_empty()) {
            assert!(
                shown.contains(line),
                "the picture does not show \"{line}\"; run scripts/make_pictures.py\n{shown}"
            );
        }
    }
}
