//! 6 REPORT: the table of models: one row each, with what is needed to find the one to look at.
//!
//! In: an [`Outcome`]. Out: a row of HTML. `data-sort` holds what a cell is sorted by, `data-tags` what a row is filtered
//! by.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::names::Names;
use super::text::{Escaped, grouped, moment};
use crate::output::Figures;
use crate::report::{Earlier, FailureReport, ModelReport, Outcome, RunReport, Seconds};
use crate::text::bytes;

/// What rows can be filtered by: a tag and its name.
const TAGS: [(&str, &str); 9] = [
    ("folded", "Folded"),
    ("kept", "Kept norms"),
    ("remarks", "Remarks"),
    ("assumed", "Assumed eps"),
    ("unverified", "Not verified"),
    ("done_before", "Done before"),
    ("copied", "Copied"),
    ("failed", "Failed"),
    ("not_reached", "Not reached"),
];

/// Why a model that the run did not come to has no result.
const NOT_REACHED: &str = "the run ended before this model was done";

/// The largest error of a result that was not verified: sorted after every other one.
const NOT_VERIFIED: &str = "<td class=\"number\" data-sort=\"1e9\">not verified</td>";

/// What is known of a result of a version that did not say it.
const NO_FIGURES: &str = "the result carries no figures; folding it again would add them";

/// Differing eps that are shown.
const SHOWN_EPS: usize = 2;

/// A link a filter, with how many rows it leaves by itself; those that would leave none are left out. The address says
/// what is chosen, and the script puts the rest of the view into it.
pub(super) fn filters(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let mut filter = |tag: &str, name: &str, count: usize| {
        let count = grouped(count);
        writeln!(out, "<li><a href=\"#show={tag}\" data-show=\"{tag}\">{name} <b>{count}</b></a></li>")
    };
    filter("", "All", run.models.len())?;
    for (tag, name) in TAGS {
        let count = run.models.iter().filter(|model| tags(model).contains(&tag)).count();
        if count > 0 {
            filter(tag, name, count)?;
        }
    }
    Ok(())
}

fn tags(outcome: &Outcome) -> Vec<&'static str> {
    let report = match outcome {
        Outcome::Skipped { earlier, .. } => return tags_of_earlier(earlier),
        Outcome::Failed(_) => return vec!["failed"],
        Outcome::NotReached { .. } => return vec!["not_reached"],
        Outcome::Folded(report) => report,
    };
    let holds = [
        ("folded", true),
        ("kept", report.layers.kept > 0),
        ("remarks", !report.lints.is_empty()),
        ("assumed", report.folded.iter().any(|layer| layer.eps_code == "assumed")),
        ("unverified", report.verification.is_none()),
    ];
    holds.into_iter().filter(|(_, holds)| *holds).map(|(tag, _)| tag).collect()
}

fn tags_of_earlier(earlier: &Earlier) -> Vec<&'static str> {
    let has = |holds: fn(&Figures) -> bool| earlier.figures.as_ref().is_some_and(holds);
    let holds = [
        (if earlier.done_before { "done_before" } else { "copied" }, true),
        ("kept", has(|figures| figures.kept > 0)),
        ("assumed", has(|figures| figures.eps.iter().any(|used| used.source == "assumed"))),
        ("unverified", has(|figures| figures.worst_ulp.is_none())),
    ];
    holds.into_iter().filter(|(_, holds)| *holds).map(|(tag, _)| tag).collect()
}

/// Where the models are, said once for all rows.
pub(super) fn root(names: &Names, out: &mut impl Write) -> io::Result<()> {
    match names.root.as_str() {
        "" => Ok(()),
        root => writeln!(out, "<p class=\"note\">Below <code>{}</code></p>", Escaped(root)),
    }
}

/// All rows, in natural order of their names.
pub(super) fn rows(run: &RunReport, names: &Names, out: &mut impl Write) -> io::Result<()> {
    let mut ranked = (0..).zip(names.order());
    ranked.try_for_each(|(rank, &index)| row(rank, index, names.name(index), &run.models[index], out))
}

fn row(rank: usize, index: usize, name: &str, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<tr data-model=\"{index}\" data-tags=\"{}\">", tags(outcome).join(" "))?;
    // Sorted by rank: a click gives the order in which the page opens, whatever the browser's language.
    let (name, input) = (Escaped(name), outcome.input().to_string_lossy());
    write!(out, "<th scope=\"row\" data-sort=\"{rank}\" title=\"{}\">", Escaped(&input))?;
    write!(out, "<a href=\"#model-{index}\" data-model=\"{index}\">{name}</a></th>")?;
    match outcome {
        Outcome::Folded(report) => folded(report, out)?,
        Outcome::Skipped { earlier, .. } => self::earlier(earlier, out)?,
        Outcome::Failed(failure) => without_result("failed", error_alone(failure), out)?,
        Outcome::NotReached { .. } => without_result("not_reached", NOT_REACHED, out)?,
    }
    writeln!(out, "</tr>")
}

/// What is wrong with a model, without its path, which most errors begin with: its name stands beside it.
pub(super) fn error_alone(failure: &FailureReport) -> &str {
    let path = failure.input.to_string_lossy();
    let rest = failure.error.strip_prefix(&*path).and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(&failure.error)
}

/// Why there is no new result, across the columns of figures.
fn without_result(status: &str, reason: &str, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<td class=\"status {status}\">{}</td>", status.replace('_', " "))?;
    write!(out, "<td colspan=\"7\" class=\"reason\">{}</td>", Escaped(reason))
}

fn folded(report: &ModelReport, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<td class=\"status folded\">folded</td>")?;
    for count in [report.layers.folded, report.layers.kept, report.lints.len()] {
        self::count(count, out)?;
    }
    let eps = eps_list(report.folded.iter().map(|layer| (layer.eps, layer.eps_code.as_ref())));
    write!(out, "<td class=\"eps\">{}</td>", Escaped(&eps))?;
    match &report.verification {
        Some(found) => write!(out, "<td class=\"number\" data-sort=\"{0}\">{0:.2}</td>", found.worst_ulp)?,
        None => write!(out, "{NOT_VERIFIED}")?,
    }
    size(report.bytes_in, report.bytes_out, out)?;
    let total = report.seconds.total;
    write!(out, "<td class=\"time\" data-sort=\"{total}\"><span>{total:.2} s</span>")?;
    stages(&report.seconds, out)?;
    write!(out, "</td>")
}

/// A result that was there, with the figures that it carries. What only a fold tells, its remarks and its time, is not
/// among them: of the time there is when it was written.
fn earlier(earlier: &Earlier, out: &mut impl Write) -> io::Result<()> {
    let status = if earlier.done_before { "done before" } else { "copied" };
    write!(out, "<td class=\"status skipped\">{status}</td>")?;
    match &earlier.figures {
        Some(figures) => {
            for count in [figures.folded, figures.kept] {
                self::count(count, out)?;
            }
            let eps = eps_list(figures.eps.iter().map(|used| (used.eps, used.source.as_str())));
            write!(out, "<td></td><td class=\"eps\">{}</td>", Escaped(&eps))?;
            match &figures.worst_ulp {
                Some(ulp) => write!(out, "<td class=\"number\" data-sort=\"{0}\">{0}</td>", Escaped(ulp))?,
                None => write!(out, "{NOT_VERIFIED}")?,
            }
        }
        None => write!(out, "<td colspan=\"5\" class=\"reason\">{NO_FIGURES}</td>")?,
    }
    size(earlier.bytes_in, earlier.bytes_out, out)?;
    match earlier.finished_unix {
        Some(seconds) => {
            let written = moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            write!(out, "<td class=\"time\" data-sort=\"\"><small>on {written}</small></td>")
        }
        None => write!(out, "<td></td>"),
    }
}

fn count(count: usize, out: &mut impl Write) -> io::Result<()> {
    let class = if count == 0 { "number none" } else { "number" };
    write!(out, "<td class=\"{class}\" data-sort=\"{count}\">{}</td>", grouped(count))
}

fn size(read: u64, written: u64, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<td class=\"number\" data-sort=\"{read}\">{}", bytes(read))?;
    write!(out, "<small> → {}</small></td>", bytes(written))
}

/// The differing eps of a model, each with the kind of its source: `1e-5 assumed`.
fn eps_list<'a>(all: impl Iterator<Item = (f64, &'a str)>) -> String {
    let mut found = Vec::new();
    for (eps, source) in all {
        let text = format!("{eps:e} {source}");
        if !found.contains(&text) {
            found.push(text);
        }
    }
    let more = found.len().saturating_sub(SHOWN_EPS);
    found.truncate(SHOWN_EPS);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found.join(", ")
}

/// Where the time went, as a bar of one length: the number beside it says how much it was.
fn stages(seconds: &Seconds, out: &mut impl Write) -> io::Result<()> {
    let stages = seconds.stages();
    let sum = stages.iter().map(|(_, seconds)| seconds).sum::<f64>();
    let label = stages.map(|(name, seconds)| format!("{name} {seconds:.3} s")).join(", ");
    write!(out, "<svg class=\"stages\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\"")?;
    write!(out, " aria-label=\"{label}\"><title>{label}</title>")?;
    let mut at = 0.0;
    for (name, seconds) in stages {
        let width = if sum > 0.0 { seconds / sum * 100.0 } else { 0.0 };
        write!(out, "<rect class=\"stage-{name}\" x=\"{at:.2}\" y=\"0\" width=\"{width:.2}\" height=\"8\"/>")?;
        at += width;
    }
    write!(out, "</svg>")
}
