//! The report page of whole zoos: what models are called, views that can be shared, tables that can be saved.
//!
//! In: zoos of small models, some done before, some broken. Out: a page whose rows, groups, address and CSV say what is
//! in the files.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::fixture::{Folder, Model, bnfold, fold, plan};
use crate::library::Tensors;
use crate::report::follow;

/// A name without a place to break it.
fn long(end: &str) -> String {
    format!("{}{end}", "Backbone_".repeat(22))
}

/// Twelve norms without layers, in numbered blocks, and one pair to fold.
fn with_norms_that_stay() -> Model {
    let norm = |model: Model, name: String| model.norm(&name, Float::F32, &[1.0; 3], &[0.0; 3], &[0.0; 3], &[1.0; 3]);
    let block = |model, block| norm(model, format!("{}.{block}.alone", long("net")));
    (0..12).fold(Model::conv_bn(), block)
}

/// Folds the zoo in `folder` and opens the page about it.
fn page_of(folder: &Folder, more: &[&dyn AsRef<std::ffi::OsStr>], code: i32) -> (Browser, PathBuf) {
    let report = folder.path("r.html");
    let (zoo, out) = (folder.path("zoo"), folder.path("out"));
    let fixed: [&dyn AsRef<std::ffi::OsStr>; 9] =
        [&"-q", &"--device", &"cpu", &"--input", &zoo, &"--output", &out, &"--report", &report];
    bnfold(&[&fixed[..], more].concat()).expect(code);
    let mut browser = Browser::start();
    browser.open(&report);
    (browser, report)
}

/// A zoo whose files are all called `model.safetensors`.
fn zoo(models: &[(&str, &Model)]) -> Folder {
    let folder = Folder::new();
    for (name, model) in models {
        std::fs::create_dir_all(folder.path(&format!("zoo/{name}"))).unwrap();
        folder.file(&format!("zoo/{name}/model.safetensors"), model);
    }
    folder
}

/// Four models: two that fold with a stated eps where it is stated, one with norms that stay, one that is broken.
fn mixed() -> Folder {
    let folder = zoo(&[("m10", &Model::conv_bn()), ("m2", &with_norms_that_stay()), ("m1", &Model::conv_bn())]);
    std::fs::create_dir_all(folder.path("zoo/m3")).unwrap();
    folder.text("zoo/m3/model.safetensors", "no checkpoint");
    folder
}

const SHOWN: &str = "[...document.querySelectorAll('#table tbody tr')].filter(row => row.offsetHeight > 0)\
                     .map(row => row.cells[0].textContent)";

#[test]
fn models_are_called_by_their_folders_and_sorted_by_numbers() {
    let folder = mixed();
    let (mut browser, _) = page_of(&folder, &[&"--eps", &"1e-5"], 1);
    assert_eq!(browser.value(SHOWN), json!(["m1", "m2", "m3", "m10"]));
    assert_eq!(browser.value("document.querySelector('.failures a').textContent"), "m3");
    let click = "document.querySelector('#table thead button').click()";
    browser.value(click);
    assert_eq!(browser.value(SHOWN), json!(["m10", "m3", "m2", "m1"]));
    browser.value(click);
    assert_eq!(browser.value(SHOWN), json!(["m1", "m2", "m3", "m10"]));
    follow(&mut browser, "document.querySelector('#table tbody tr:last-child a').click()");
    assert_eq!(browser.value("document.querySelector('#opened').textContent"), "m10");
    let input = folder.path("zoo/m10/model.safetensors");
    assert_eq!(browser.value("document.querySelector('#model .facts code').textContent"), json!(input));
    assert_eq!(browser.value("document.querySelector('#table').textContent.includes('model.safetensors')"), false);
    assert_eq!(browser.complaints, [] as [Value; 0]);
}

#[test]
fn norms_that_stay_for_one_reason_are_one_group_that_opens() {
    let (mut browser, _) = page_of(&mixed(), &[&"--eps", &"1e-5"], 1);
    follow(&mut browser, "[...document.querySelectorAll('#table a')].find(link => link.textContent === 'm2').click()");
    let groups = browser.value(
        "[...document.querySelectorAll('.groups > li')].map(group => [group.querySelector('b').textContent.trim(), \
         group.querySelector('code').textContent, group.querySelectorAll('details li').length])",
    );
    assert_eq!(groups, json!([["12 ×", format!("{}.#.alone", long("net")), 12]]));
    let last = "document.querySelector('.groups details li:last-child code')";
    assert_eq!(browser.value(&format!("{last}.textContent.endsWith('.11.alone')")), true, "natural order");
    assert_eq!(browser.value(&format!("{last}.closest('details').open")), false);
    browser.value("document.querySelector('.groups summary').click()");
    assert_eq!(browser.value(&format!("{last}.closest('details').open")), true);
}

#[test]
fn nothing_scrolls_sideways_however_long_names_are() {
    let folder = mixed();
    // An eps whose source cites a long name.
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--eps-for", &"bn=1e-3", &"--eps", &"1e-5"];
    std::fs::rename(folder.path("zoo/m1"), folder.path(&format!("zoo/{}", long("m1")))).unwrap();
    let (mut browser, report) = page_of(&folder, &arguments, 1);
    for width in [1280, 400] {
        browser.resize(width, 900);
        browser.open(&report);
        for model in 0..4 {
            follow(&mut browser, &format!("location.hash = 'model-{model}'"));
            browser.value("document.querySelectorAll('details').forEach(details => details.open = true)");
            let fits = "document.scrollingElement.scrollWidth <= innerWidth";
            assert_eq!(browser.value(fits), true, "{width} pixels, model {model}");
        }
        if width == 400 {
            let boxes = "[...document.querySelectorAll('.box')].map(box => box.scrollWidth - box.clientWidth)";
            let inner = browser.value(boxes);
            assert!(inner.as_array().unwrap().iter().all(|more| *more == 0), "tables are cards: {inner}");
        }
    }
}

#[test]
fn the_address_says_what_is_shown() {
    let folder = mixed();
    let (mut browser, report) = page_of(&folder, &[&"--eps", &"1e-5"], 1);
    let link = |tag: &str| format!("document.querySelector('.filters [data-show={tag}]')");
    let counts = "[...document.querySelectorAll('.filters a')].map(link => link.textContent)";
    assert_eq!(browser.value(counts), json!(["All 4", "Folded 3", "Kept norms 1", "Remarks 3", "Failed 1"]));
    follow(&mut browser, &format!("{}.click()", link("folded")));
    assert_eq!(browser.value(SHOWN), json!(["m1", "m2", "m10"]));
    browser.value("document.querySelector('[data-key=size] button').click()");
    browser.value("search.value = 'm1'; search.dispatchEvent(new Event('input'))");
    assert_eq!(browser.value("location.hash"), "#show=folded&search=m1&sort=size");
    assert_eq!(browser.value(SHOWN), json!(["m1", "m10"]));
    // A model is opened from this view, and the view stays.
    follow(&mut browser, "document.querySelector('#table tbody tr:not([hidden]) a').click()");
    let hash = browser.value("location.hash");
    assert!(hash.as_str().unwrap().ends_with("&show=folded&search=m1&sort=size"), "{hash}");
    assert_eq!(browser.value(SHOWN), json!(["m1", "m10"]));
    follow(&mut browser, "document.querySelector('#model nav a[href=\"#models\"]').click()");
    assert_eq!(browser.value("location.hash"), "#show=folded&search=m1&sort=size");
    assert_eq!(browser.value("document.querySelector('#model').hidden"), true);
    // Somebody else opens the address.
    let shared = "#show=folded,kept&sort=-model";
    let mut browser = Browser::start();
    browser.open(&PathBuf::from(format!("{}{shared}", report.display())));
    assert_eq!(browser.value(SHOWN), json!(["m2"]));
    assert_eq!(browser.value(&format!("{}.getAttribute('aria-current')", link("kept"))), "true");
    assert_eq!(browser.value("document.querySelector('[data-key=model]').ariaSort"), "descending");
    // A click on what is chosen takes it back; links are reached by the keyboard.
    follow(&mut browser, &format!("{}.click()", link("kept")));
    assert_eq!(browser.value(SHOWN), json!(["m10", "m2", "m1"]));
    assert_eq!(browser.value(&format!("{}.tabIndex", link("kept"))), 0);
    follow(&mut browser, "location.hash = ''");
    assert_eq!(browser.value(SHOWN), json!(["m1", "m2", "m3", "m10"]));
    assert_eq!(browser.complaints, [] as [Value; 0]);
}

/// What a click on the button that `selector` finds saves.
fn saved(browser: &mut Browser, selector: &str) -> String {
    let click = format!(
        "(async () => {{ let saved; URL.createObjectURL = (blob) => {{ saved = blob; return 'data:text/csv,'; }}; \
         document.querySelector({}).click(); return await saved.text(); }})()",
        json!(selector)
    );
    browser.value(&click).as_str().unwrap().to_owned()
}

#[test]
fn tables_are_saved_as_csv_that_no_spreadsheet_obeys() {
    let folder = zoo(&[("=1+1, \"x\"", &with_norms_that_stay()), ("b", &Model::conv_bn())]);
    let (mut browser, _) = page_of(&folder, &[&"--eps", &"1e-5"], 0);
    let models = saved(&mut browser, "section button.csv");
    let lines = models.split("\r\n").collect::<Vec<_>>();
    assert!(lines[0].starts_with("model,status,done_before,norms_folded,norms_kept,"), "{models}");
    assert!(lines[1].starts_with("\"'=1+1, \"\"x\"\"\",folded,,1,12,"), "{models}");
    assert!(lines[2].starts_with("b,folded,,1,0,"), "{models}");
    assert_eq!((lines.len(), lines[3]), (4, ""));
    // What the filter hides is not saved.
    follow(&mut browser, "document.querySelector('.filters [data-show=kept]').click()");
    assert_eq!(saved(&mut browser, "section button.csv").matches("\r\n").count(), 2);
    follow(&mut browser, "document.querySelector('#table a').click()");
    let layers = saved(&mut browser, "[aria-label='Save as CSV: folded layers']");
    assert!(layers.starts_with("norm,weight,op,dtype,channels,") && layers.contains("\r\nbn,conv.weight,conv,F32,4,"));
    assert_eq!(saved(&mut browser, "[aria-label='Save as CSV: norms that stay']").matches("\r\n").count(), 13);
    let cells = browser.value("['-1e-5', '-x', '+1', '@a', '\\t', 'a\"b', 'a\\nb', null, 1.5].map(csvCell)");
    assert_eq!(cells, json!(["-1e-5", "'-x", "+1", "'@a", "\"'\t\"", "\"a\"\"b\"", "\"a\nb\"", "", "1.5"]));
}

#[test]
fn models_that_were_done_before_are_listed_with_their_figures() {
    let folder = mixed();
    let row =
        "(name => [...document.querySelectorAll('#table tbody tr')].find(row => row.cells[0].textContent === name))";
    let cells = |browser: &mut Browser, name: &str| {
        browser.value(&format!("[...{row}('{name}').cells].slice(1, 8).map(cell => cell.textContent)"))
    };
    let (mut browser, _) = page_of(&folder, &[], 1);
    let first = cells(&mut browser, "m2");
    std::fs::remove_file(folder.path("out/m1/model.safetensors")).unwrap();
    let (mut browser, _) = page_of(&folder, &[], 1);
    let headline = "1 of 4 models folded, 2 done before, 1 failed";
    assert_eq!(browser.value("document.querySelector('h1').textContent"), headline);
    let second = cells(&mut browser, "m2");
    assert_eq!(second[0], "done before");
    for column in [1, 2, 4, 6] {
        assert_eq!(second[column], first[column], "column {column}");
    }
    // Rounded up to two digits, so that what is promised holds.
    let [now, before] = [&first, &second].map(|cells| cells[5].as_str().unwrap().parse::<f64>().unwrap());
    assert!((now..=now + 0.011).contains(&before) && before > 0.0, "{before} for {now}");
    let tiles = "[...document.querySelectorAll('.figures div')].map(tile => tile.textContent)";
    let tiles = browser.value(tiles);
    for tile in ["Models folded1", "Done before2", "Norms folded1", "Norms folded before2", "Norms kept before12"] {
        assert!(tiles.as_array().unwrap().contains(&json!(tile)), "{tile} in {tiles}");
    }
    follow(&mut browser, "document.querySelector('.filters [data-show=done_before]').click()");
    assert_eq!(browser.value(SHOWN), json!(["m2", "m10"]));
    follow(&mut browser, "document.querySelector('#table tr:not([hidden]) a[data-model]').click()");
    let facts = browser.value("document.querySelector('#model .facts').textContent");
    assert!(facts.as_str().unwrap().contains("1 folded, 12 kept"), "{facts}");
}

#[test]
fn a_result_without_figures_is_done_all_the_same() {
    let folder = zoo(&[("a", &Model::conv_bn()), ("b", &Model::conv_bn())]);
    page_of(&folder, &[], 0);
    for name in ["a", "b"] {
        let path = folder.path(&format!("out/{name}/model.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(19).position(|window| window == b"\"bnfold-gpu.figures").expect("the key");
        let bytes = [&bytes[..at], b"\"bnfold-gpu.nothing", &bytes[at + 19..]].concat();
        std::fs::write(path, bytes).unwrap();
    }
    let (mut browser, _) = page_of(&folder, &[], 0);
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "0 of 2 models folded, 2 done before");
    let reason = browser.value("document.querySelector('#table .reason').textContent");
    assert_eq!(reason, "the result carries no figures; folding it again would add them");
}

#[test]
fn a_guessed_eps_is_no_good_news() {
    let folder = zoo(&[("a", &Model::conv_bn()), ("b", &Model::conv_bn())]);
    let verdict =
        "[document.querySelector('header .verdict').className, document.querySelector('header .verdict').textContent]";
    let (mut browser, _) = page_of(&folder, &[], 0);
    let found = browser.value(verdict);
    let text = found[1].as_str().unwrap();
    assert!(found[0] == "verdict attention" && text.contains("verified; eps assumed for 2 norms"), "{found}");
    follow(&mut browser, "document.querySelector('#table a').click()");
    let own = browser.value("document.querySelector('#model .verdict.attention').textContent");
    assert_eq!(own, "Verified; eps assumed for 1 norm.");
    let (mut browser, _) = page_of(&folder, &[&"--eps", &"1e-5", &"--force"], 0);
    assert_eq!(browser.value(verdict)[0], "verdict good");
    follow(&mut browser, "document.querySelector('#table a').click()");
    assert_eq!(browser.value("document.querySelector('#model .verdict').className"), "verdict good");
}

/// The ratio in decibels for `values` in rows of `row`, each with its factor if `by_channel`, by the textbook.
fn decibels(values: &[f64], row: usize, by_channel: bool, largest: f64, round: fn(f64) -> f64) -> f64 {
    let most = |values: &[f64]| values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let all = most(values);
    let noise = values.chunks(row).flat_map(|row| {
        let step = if by_channel { most(row) } else { all } / largest;
        row.iter().map(move |value| if step == 0.0 { 0.0 } else { (value - round(value / step) * step).powi(2) })
    });
    let signal = values.iter().map(|value| value * value).sum::<f64>();
    10.0 * (signal / noise.sum::<f64>()).log10()
}

/// The nearest E4M3 number, ties to even.
fn e4m3(value: f64) -> f64 {
    let step = 2f64.powf(value.abs().log2().floor().max(-6.0) - 3.0);
    (value / step).round_ties_even() * step
}

#[test]
fn quantization_costs_what_rounding_the_files_costs() {
    let folder = Folder::new();
    let mut model = Model::conv_bn_with("bn.weight", -500.0);
    model.set("conv.weight", 5, 1e-4);
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let (input, output) = (folder.file("m.safetensors", &model), folder.path("out.safetensors"));
    for dtype in ["keep", "f16"] {
        let report = fold(
            &input,
            &[&"--plan", &plan, &"--output", &output, &"--format", &"json", &"--force", &"--dtype", &dtype],
        );
        let report = report.expect(0).json();
        for (when, path) in [("before", &input), ("after", &output)] {
            let values = Tensors::read(path).get("conv.weight").values();
            let expected = [
                ("int8_tensor", decibels(&values, 27, false, 127.0, f64::round_ties_even)),
                ("int8_channel", decibels(&values, 27, true, 127.0, f64::round_ties_even)),
                ("e4m3_tensor", decibels(&values, 27, false, 448.0, e4m3)),
                ("e4m3_channel", decibels(&values, 27, true, 448.0, e4m3)),
            ];
            for (scheme, expected) in expected {
                for figures in [&report["folded"][0]["sqnr_db"], &report["sqnr_db"]] {
                    let found = figures[when][scheme].as_f64().unwrap();
                    assert!((found - expected).abs() < 0.01, "{dtype} {when} {scheme}: {found} for {expected}");
                }
            }
        }
    }
    let unasked = bnfold_gpu::Job::new(&input).follow(&*plan).ranges(true).write(folder.path("again")).unwrap();
    assert!(unasked.folded[0].weights.is_some() && unasked.folded[0].sqnr_db.is_none() && unasked.sqnr_db.is_none());
}
