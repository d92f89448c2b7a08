//! 6 REPORT: the head of the page: what became of the run, readable at a glance, and every failure by name.
//!
//! In: a [`RunReport`]. Out: HTML.

use std::io::{self, Write};

use super::text::{Escaped, duration, grouped, moment};
use crate::report::{Ended, Outcome, RunReport, Totals};
use crate::text::{bytes, counted};

/// The run in one line.
pub(super) fn headline(run: &RunReport) -> String {
    headline_of(&run.totals(), run.ended.as_ref())
}

fn headline_of(totals: &Totals, ended: Option<&Ended>) -> String {
    let Totals { folded, skipped, failed, not_reached, .. } = *totals;
    let all = folded + skipped + failed + not_reached;
    let done = |how: &str| format!("{how}, {} of {} done", grouped(folded + skipped), counted(all, "model"));
    let (mut line, skipped) = match ended {
        Some(Ended::Interrupted) => (done("interrupted"), 0),
        Some(Ended::Error(_)) => (done("ended early"), 0),
        None if folded == all => (format!("{} folded", counted(all, "model")), skipped),
        None => (format!("{} of {} folded", grouped(folded), counted(all, "model")), skipped),
    };
    for (count, what) in [(skipped, "skipped"), (failed, "failed")] {
        if count > 0 {
            line += &format!(", {} {what}", grouped(count));
        }
    }
    line
}

pub(super) fn write(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let totals = run.totals();
    writeln!(out, "<p class=\"program\">bnfold-gpu {}</p>", Escaped(run.version))?;
    writeln!(out, "<h1>{}</h1>", Escaped(&headline(run)))?;
    if let Some(ended) = &run.ended {
        writeln!(out, "<p class=\"verdict bad\">{}</p>", Escaped(&cut_short(ended, totals.not_reached)))?;
    }
    let (class, verdict) = verdict(&totals);
    writeln!(out, "<p class=\"verdict {class}\">{}</p>", Escaped(&verdict))?;
    figures(&totals, out)?;
    writeln!(out, "<p class=\"when\">{}, took {}</p>", moment(run.started), duration(run.took))?;
    let command = run.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    writeln!(out, "<details class=\"command\"><summary>Command line</summary>")?;
    writeln!(out, "<code>{}</code></details>", Escaped(&command))?;
    failures(run, out)
}

/// Why the run is not what was asked for.
fn cut_short(ended: &Ended, not_reached: usize) -> String {
    let (how, next) = match ended {
        Ended::Interrupted => ("The run was interrupted".to_owned(), "The same command goes on from there."),
        Ended::Error(error) => (format!("The run ended early: {error}"), ""),
    };
    match not_reached {
        0 => format!("{how}; every model had been reached. {next}"),
        count => format!("{how}; not reached: {}. {next}", counted(count, "model")),
    }
}

/// What verification says of the whole run, and whether that is good.
fn verdict(totals: &Totals) -> (&'static str, String) {
    let Totals { folded, unverified, compared, worst_ulp, worst_shift_ulp, .. } = *totals;
    match (folded, unverified) {
        (0, _) => ("open", "Nothing was folded, so there is nothing to verify.".to_owned()),
        (_, 0) => (
            "good",
            format!(
                "Every folded value was verified: {} of them, weights within {worst_ulp:.2} ulp of the f64 reference, \
                 biases within {worst_shift_ulp:.2} ulp of their largest addend.",
                grouped(compared)
            ),
        ),
        (folded, unverified) => {
            ("open", format!("{} of {} not verified.", grouped(unverified), counted(folded, "folded model")))
        }
    }
}

fn figures(totals: &Totals, out: &mut impl Write) -> io::Result<()> {
    let Totals { folded, skipped, failed, not_reached, norms, lints, bytes: (read, written), .. } = *totals;
    let mut figures = vec![
        ("Models folded", grouped(folded), ""),
        ("Skipped", grouped(skipped), ""),
        ("Failed", grouped(failed), if failed > 0 { "bad" } else { "" }),
        ("Norms folded", grouped(norms.0), ""),
        ("Norms kept", grouped(norms.1), ""),
        ("Numerical remarks", grouped(lints), ""),
        ("Read", bytes(read), ""),
        ("Written", bytes(written), ""),
    ];
    if not_reached > 0 {
        figures.insert(3, ("Not reached", grouped(not_reached), "bad"));
    }
    writeln!(out, "<dl class=\"figures\">")?;
    for (name, value, class) in figures {
        writeln!(out, "<div class=\"{class}\"><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    writeln!(out, "</dl>")
}

fn failures(run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let failed = run.models.iter().enumerate().filter_map(|(index, outcome)| match outcome {
        Outcome::Failed(failure) => Some((index, failure)),
        _ => None,
    });
    let failed = failed.collect::<Vec<_>>();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section class=\"failures\" aria-labelledby=\"failures\"><h2 id=\"failures\">Failed</h2><ul>")?;
    for (index, failure) in failed {
        // The name stands above the error; most errors begin with it.
        let name = failure.input.to_string_lossy();
        let error = failure.error.strip_prefix(&format!("{name}: ")).unwrap_or(&failure.error);
        writeln!(out, "<li><a href=\"#model-{index}\">{}</a><p>{}</p></li>", Escaped(&name), Escaped(error))?;
    }
    writeln!(out, "</ul></section>")
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_counts_what_there_is() {
        let totals = |folded, skipped, failed| Totals { folded, skipped, failed, ..Totals::default() };
        let headline = |totals| headline_of(&totals, None);
        assert_eq!(headline(totals(1, 0, 0)), "1 model folded");
        assert_eq!(headline(totals(195, 0, 5)), "195 of 200 models folded, 5 failed");
        assert_eq!(headline(totals(0, 2, 0)), "0 of 2 models folded, 2 skipped");
    }

    #[test]
    fn a_run_that_was_cut_short_says_so_first() {
        let totals = Totals { folded: 1, skipped: 1, not_reached: 4, ..Totals::default() };
        assert_eq!(headline_of(&totals, Some(&Ended::Interrupted)), "interrupted, 2 of 6 models done");
        let error = Ended::Error("no adapter".to_owned());
        assert_eq!(headline_of(&totals, Some(&error)), "ended early, 2 of 6 models done");
        assert!(cut_short(&error, 4).starts_with("The run ended early: no adapter; not reached: 4 models."));
        assert!(cut_short(&Ended::Interrupted, 0).contains("every model had been reached"));
    }

    #[test]
    fn the_verdict_is_good_only_if_everything_was_verified() {
        let totals = |folded, unverified| Totals { folded, unverified, ..Totals::default() };
        assert_eq!(
            [verdict(&totals(2, 0)).0, verdict(&totals(2, 1)).0, verdict(&totals(0, 0)).0],
            ["good", "open", "open"]
        );
        assert!(verdict(&totals(2, 1)).1.starts_with("1 of 2 folded models not verified"));
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs_them() {
        assert_eq!(["a/b-c.d", "", "it's", "a b"].map(quoted), ["a/b-c.d", "''", r"'it'\''s'", "'a b'"]);
    }
}
