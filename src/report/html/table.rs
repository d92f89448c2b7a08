//! 6 REPORT: the table of models: one row each, with what is needed to find the one to look at.
//!
//! In: an [`Outcome`]. Out: a row of HTML. `data-sort` holds what a cell is sorted by, `data-tags` what a row is filtered
//! by.

use std::io::{self, Write};
use std::path::Path;

use super::text::{Escaped, grouped};
use crate::report::{ModelReport, Outcome, RunReport, Seconds};
use crate::text::bytes;

/// What rows can be filtered by: a tag and its name.
const TAGS: [(&str, &str); 8] = [
    ("folded", "Folded"),
    ("kept", "With kept norms"),
    ("remarks", "With remarks"),
    ("assumed", "With an assumed eps"),
    ("unverified", "Not verified"),
    ("skipped", "Skipped"),
    ("failed", "Failed"),
    ("not_reached", "Not reached"),
];

/// Why a model that the run did not come to has no result.
const NOT_REACHED: &str = "the run ended before this model was done";

/// Differing eps that are shown.
const SHOWN_EPS: usize = 2;

/// The choices of the filter, with how many rows each leaves; those that would leave none are left out.
pub(super) fn filters(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<option value=\"\">All models ({})</option>", grouped(run.models.len()))?;
    for (tag, name) in TAGS {
        let count = run.models.iter().filter(|model| tags(model).contains(&tag)).count();
        if count > 0 {
            writeln!(out, "<option value=\"{tag}\">{name} ({})</option>", grouped(count))?;
        }
    }
    Ok(())
}

fn tags(outcome: &Outcome) -> Vec<&'static str> {
    let report = match outcome {
        Outcome::Skipped { .. } => return vec!["skipped"],
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

pub(super) fn row(index: usize, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<tr data-model=\"{index}\" data-tags=\"{}\">", tags(outcome).join(" "))?;
    name(index, outcome.input(), out)?;
    match outcome {
        Outcome::Folded(report) => folded(report, out)?,
        Outcome::Skipped { reason, .. } => without_result("skipped", reason, out)?,
        Outcome::Failed(failure) => without_result("failed", &failure.error, out)?,
        Outcome::NotReached { .. } => without_result("not_reached", NOT_REACHED, out)?,
    }
    writeln!(out, "</tr>")
}

/// The file's name, with its folder behind it: names differ, folders repeat.
fn name(index: usize, input: &Path, out: &mut impl Write) -> io::Result<()> {
    let whole = input.to_string_lossy();
    let (folder, file) = whole.rsplit_once(['/', '\\']).unwrap_or(("", &whole));
    write!(out, "<th scope=\"row\" data-sort=\"{}\">", Escaped(&whole))?;
    write!(out, "<a href=\"#model-{index}\">{}</a> <small>{}</small></th>", Escaped(file), Escaped(folder))
}

/// Why there is no new result, across the columns of figures.
fn without_result(status: &str, reason: &str, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<td class=\"status {status}\">{}</td>", status.replace('_', " "))?;
    write!(out, "<td colspan=\"7\" class=\"reason\">{}</td>", Escaped(reason))
}

fn folded(report: &ModelReport, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<td class=\"status folded\">folded</td>")?;
    for count in [report.layers.folded, report.layers.kept, report.lints.len()] {
        let class = if count == 0 { "number none" } else { "number" };
        write!(out, "<td class=\"{class}\" data-sort=\"{count}\">{}</td>", grouped(count))?;
    }
    write!(out, "<td class=\"eps\">{}</td>", Escaped(&eps(report)))?;
    match &report.verification {
        Some(found) => write!(out, "<td class=\"number\" data-sort=\"{0}\">{0:.2}</td>", found.worst_ulp)?,
        None => write!(out, "<td class=\"number\" data-sort=\"1e9\">not verified</td>")?,
    }
    let (read, written) = (report.bytes_in, report.bytes_out);
    write!(out, "<td class=\"number\" data-sort=\"{read}\">{}", bytes(read))?;
    write!(out, "<small> → {}</small></td>", bytes(written))?;
    let total = report.seconds.total;
    write!(out, "<td class=\"time\" data-sort=\"{total}\"><span>{total:.2} s</span>")?;
    stages(&report.seconds, out)?;
    write!(out, "</td>")
}

/// The differing eps of a model, each with the kind of its source: `1e-5 assumed`.
fn eps(report: &ModelReport) -> String {
    let mut found = Vec::new();
    for layer in &report.folded {
        let text = format!("{:e} {}", layer.eps, layer.eps_code);
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
