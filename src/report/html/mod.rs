//! 6 REPORT: a run as one page for a browser, which loads nothing from anywhere else.
//!
//! In: a [`RunReport`]. Out: HTML, piece by piece. The summary and the table of models are drawn here, so that they can be
//! read without scripts; the figures of each model lie beside them as JSON, and `report.js` draws a model when it is
//! opened.
//!
//! Nothing that comes out of a file is trusted: text is escaped here and set as text by the script; the page's content
//! security policy runs no script and no style but those of this folder.

mod inert;
mod names;
mod summary;
mod table;
mod text;

use std::io::{self, Write};

use super::RunReport;
use super::layer::BINS_A_DECADE;
use super::lint::{F16_MAX, F16_MIN_NORMAL, LARGE_SCALE};
use names::Names;
use text::Escaped;

const PAGE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPTS: [&str; 5] = [
    include_str!("plots.js"),
    include_str!("sqnr.js"),
    include_str!("csv.js"),
    include_str!("address.js"),
    include_str!("report.js"),
];

/// How every page begins: what tells a report from any other file.
pub const BEGINNING: &str = "<!doctype html>\n<!-- bnfold-gpu report -->\n";

/// Writes the page of `run` to `out`.
pub fn render(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    out.write_all(BEGINNING.as_bytes())?;
    let names = Names::of(&run.models);
    for part in PAGE.split("{{") {
        match part.split_once("}}") {
            None => out.write_all(part.as_bytes())?,
            Some((slot, rest)) => {
                fill(slot, run, &names, out)?;
                out.write_all(rest.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// What stands in the page's `{{slot}}`.
fn fill(slot: &str, run: &RunReport, names: &Names, out: &mut impl Write) -> io::Result<()> {
    match slot {
        "nonce" => out.write_all(nonce(run).as_bytes()),
        "style" => out.write_all(STYLE.as_bytes()),
        "script" => SCRIPTS.iter().try_for_each(|script| out.write_all(script.as_bytes())),
        "title" => write!(out, "{}", Escaped(&summary::headline(run))),
        "summary" => summary::write(run, names, out),
        "filters" => table::filters(run, out),
        "root" => table::root(names, out),
        "rows" => table::rows(run, names, out),
        "data" => data(run, out),
        _ => Err(io::Error::other(format!("report.html has a slot `{slot}` that nothing fills"))),
    }
}

/// One JSON object a model, and the numbers that the script shares with the lint.
fn data(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let constants = serde_json::json!({
        "bins_a_decade": BINS_A_DECADE,
        "large_scale": LARGE_SCALE,
        "f16_max": F16_MAX,
        "f16_min_normal": F16_MIN_NORMAL,
    });
    json("constants", &constants, out)?;
    run.models.iter().enumerate().try_for_each(|(index, model)| json(&format!("data-{index}"), model, out))
}

/// A block of JSON that the scripts read.
fn json(id: &str, value: &impl serde::Serialize, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<script type=\"application/json\" id=\"{id}\">")?;
    out.write_all(&inert::to_vec(value)?)?;
    writeln!(out, "</script>")
}

/// The word that scripts and styles must carry to be obeyed. It depends on the whole run, times included, so that nobody
/// who chooses a name inside of one model can know it.
fn nonce(run: &RunReport) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {:?} {:?}", run.command, run.started, run.took).as_bytes());
    for model in &run.models {
        hasher.update(model.input().as_os_str().as_encoded_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::report::{Earlier, Ended, FailureReport, Outcome};

    /// A run of models with these names, each of which failed once and was skipped once.
    fn run(names: &[&str]) -> RunReport {
        let models = |name: &&str| {
            let (input, error) = (PathBuf::from(name), format!("{name}: not a valid file"));
            let earlier =
                Earlier { done_before: true, figures: None, bytes_in: 2, bytes_out: 1, finished_unix: Some(0) };
            let (output, reason, earlier) = (input.clone(), format!("has {name}"), Box::new(earlier));
            let skipped = Outcome::Skipped { input: input.clone(), output, reason, earlier };
            [Outcome::Failed(FailureReport { input, error, transient: false }), skipped]
        };
        RunReport {
            version: "0.0.0",
            command: vec!["bnfold-gpu".to_owned()],
            started: SystemTime::UNIX_EPOCH,
            took: Some(Duration::from_millis(1500)),
            models: names.iter().flat_map(models).collect(),
            ended: None,
        }
    }

    fn page(run: &RunReport) -> String {
        let mut out = Vec::new();
        render(run, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_slot_is_filled() {
        let page = page(&run(&["a"]));
        assert!(page.contains("<h1>0 of 2 models folded, 1 done before, 1 failed</h1>"), "{page}");
        assert!(page.starts_with(BEGINNING) && !page.contains("{{") && page.ends_with("</html>\n"), "{page}");
    }

    #[test]
    fn models_that_were_not_reached_are_listed() {
        let mut run = run(&["a"]);
        run.models.push(Outcome::NotReached { input: "later".into() });
        run.ended = Some(Ended::Interrupted);
        let page = page(&run);
        assert!(page.contains("<title>interrupted, 1 of 3 models done, 1 failed ·"), "{page}");
        for text in
            ["<dt>Not reached</dt><dd>1</dd>", "Not reached <b>1</b>", "status not_reached\">not reached<", ">later<"]
        {
            assert!(page.contains(text), "no {text} in {page}");
        }
    }

    #[test]
    fn names_are_inert_wherever_they_stand() {
        let name = "</script><img src=x onerror=alert(1)>\"'&\u{202e}\u{1b}";
        let page = page(&run(&[name]));
        assert!(!page.contains("<img"), "{page}");
        assert_eq!(page.matches("</script").count(), page.matches("<script").count(), "{page}");
        assert!(!page.contains(['\u{202e}', '\u{1b}']), "{page}");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&run(&["a"]));
        let allowed = "http://www.w3.org/2000/svg";
        let addresses = page.match_indices("://").map(|(at, _)| &page[at - 4..]).filter(|at| !at.starts_with(allowed));
        assert_eq!(addresses.collect::<Vec<_>>(), [] as [&str; 0]);
        assert!(page.contains("default-src 'none'") && !page.contains("unsafe-"));
    }
}
