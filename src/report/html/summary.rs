//! 6 REPORT: the head of the page: what became of the run, readable at a glance, and every failure by name.
//!
//! In: a [`RunReport`]. Out: HTML.

use std::io::{self, Write};

use super::names::Names;
use super::table::error_alone;
use super::text::{Escaped, duration, grouped, moment};
use crate::report::{Ended, Outcome, RunReport, Totals};
use crate::text::{bytes, counted};

/// The run in one line.
pub(super) fn headline(run: &RunReport) -> String {
    headline_of(&run.totals(), run.ended.as_ref())
}

fn headline_of(totals: &Totals, ended: Option<&Ended>) -> String {
    let Totals { folded, skipped, done_before, failed, not_reached, .. } = *totals;
    let all = folded + skipped + failed + not_reached;
    let done = |how: &str| format!("{how}, {} of {} done", grouped(folded + skipped), counted(all, "model"));
    let (mut line, skipped) = match ended {
        Some(Ended::Interrupted) => (done("interrupted"), (0, 0)),
        Some(Ended::Error(_)) => (done("ended early"), (0, 0)),
        None if folded == all => (format!("{} folded", counted(all, "model")), (0, 0)),
        None => {
            (format!("{} of {} folded", grouped(folded), counted(all, "model")), (done_before, skipped - done_before))
        }
    };
    for (count, what) in [(skipped.0, "done before"), (skipped.1, "copied"), (failed, "failed")] {
        if count > 0 {
            line += &format!(", {} {what}", grouped(count));
        }
    }
    line
}

/// How a figure or a verdict is to be taken: the class that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Good,
    Attention,
    Bad,
}

impl State {
    fn class(self) -> &'static str {
        match self {
            State::Plain => "plain",
            State::Good => "good",
            State::Attention => "attention",
            State::Bad => "bad",
        }
    }

    /// The state if there is anything to be counted.
    fn of(self, count: usize) -> State {
        if count > 0 { self } else { State::Plain }
    }
}

pub(super) fn write(run: &RunReport, names: &Names, out: &mut impl Write) -> io::Result<()> {
    let totals = run.totals();
    writeln!(out, "<p class=\"program\">bnfold-gpu {}</p>", Escaped(run.version))?;
    writeln!(out, "<h1>{}</h1>", Escaped(&headline(run)))?;
    if let Some(ended) = &run.ended {
        writeln!(out, "<p class=\"verdict bad\">{}</p>", Escaped(&cut_short(ended, totals.not_reached)))?;
    }
    let (state, verdict) = verdict(&totals);
    writeln!(out, "<p class=\"verdict {}\">{}</p>", state.class(), Escaped(&verdict))?;
    figures(&totals, out)?;
    let when = match run.took {
        Some(took) => format!("{}, took {}", moment(run.started), duration(took)),
        None => format!("Put together {}", moment(run.started)),
    };
    writeln!(out, "<p class=\"when\">{when}</p>")?;
    let command = run.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    writeln!(out, "<details class=\"command\"><summary>Command line</summary>")?;
    writeln!(out, "<code>{}</code></details>", Escaped(&command))?;
    failures(run, names, out)
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

/// What verification says of the whole run, and how that is to be taken. Verified is that the arithmetic was right with
/// the eps that was used; where that is a guess, it is no good news by itself.
fn verdict(totals: &Totals) -> (State, String) {
    let Totals { folded, unverified, compared, worst_ulp, worst_shift_ulp, assumed, .. } = *totals;
    let found = format!(
        "{} values, weights within {worst_ulp:.2} ulp of the f64 reference, biases within {worst_shift_ulp:.2} ulp of their \
         largest addend.",
        grouped(compared)
    );
    match (folded, unverified, assumed) {
        (0, _, _) if totals.done_before > 0 => (State::Plain, "Nothing was left to fold in this run.".to_owned()),
        (0, _, _) => (State::Attention, "Nothing was folded, so there is nothing to verify.".to_owned()),
        (_, 0, 0) => (State::Good, format!("Every folded value was verified: {found}")),
        (_, 0, assumed) => {
            let norms = counted(assumed, "norm");
            (State::Attention, format!("Every folded value was verified; eps assumed for {norms}: {found}"))
        }
        (folded, unverified, _) => {
            let text = format!("{} of {} not verified.", grouped(unverified), counted(folded, "folded model"));
            (State::Attention, text)
        }
    }
}

/// A figure of the run, and how it is to be taken.
type Tile = (&'static str, String, State);

fn figures(totals: &Totals, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<dl class=\"figures\">")?;
    for (name, value, state) in tiles(totals) {
        writeln!(out, "<div class=\"{}\"><dt>{name}</dt><dd>{}</dd></div>", state.class(), Escaped(&value))?;
    }
    writeln!(out, "</dl>")
}

fn tiles(totals: &Totals) -> Vec<Tile> {
    let Totals { folded, skipped, done_before, failed, not_reached, norms, norms_before, lints, .. } = *totals;
    let is_good = folded > 0 && totals.unverified == 0;
    let mut tiles = vec![
        ("Models folded", grouped(folded), if is_good { State::Good } else { State::Plain }),
        ("Done before", grouped(done_before), State::Plain),
        ("Failed", grouped(failed), State::Bad.of(failed)),
        ("Norms folded", grouped(norms.0), State::Plain),
        ("Norms kept", grouped(norms.1), State::Attention.of(norms.1)),
        ("Norms folded before", grouped(norms_before.0), State::Plain),
        ("Norms kept before", grouped(norms_before.1), State::Plain),
        ("Copied", grouped(skipped - done_before), State::Plain),
        ("Not reached", grouped(not_reached), State::Bad.of(not_reached)),
        ("eps assumed, norms", grouped(totals.assumed), State::Attention.of(totals.assumed)),
        ("Not verified", grouped(totals.unverified), State::Attention.of(totals.unverified)),
        ("Numerical remarks", grouped(lints), State::Plain),
        ("Read", bytes(totals.bytes.0), State::Plain),
        ("Written", bytes(totals.bytes.1), State::Plain),
    ];
    let always = ["Models folded", "Failed", "Norms folded", "Norms kept", "Numerical remarks", "Read", "Written"];
    tiles.retain(|(name, value, _)| value != "0" || always.contains(name));
    tiles
}

fn failures(run: &RunReport, names: &Names, out: &mut impl Write) -> io::Result<()> {
    let failed = names.order().iter().filter_map(|&index| match &run.models[index] {
        Outcome::Failed(failure) => Some((index, failure)),
        _ => None,
    });
    let failed = failed.collect::<Vec<_>>();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section class=\"failures\" aria-labelledby=\"failures\"><h2 id=\"failures\">Failed</h2><ul>")?;
    for (index, failure) in failed {
        let (name, error) = (Escaped(names.name(index)), Escaped(error_alone(failure)));
        writeln!(out, "<li><a href=\"#model-{index}\" data-model=\"{index}\">{name}</a><p>{error}</p></li>")?;
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
        let totals = |folded, skipped, failed| Totals {
            folded,
            skipped,
            done_before: 1.min(skipped),
            failed,
            ..Totals::default()
        };
        let headline = |totals| headline_of(&totals, None);
        assert_eq!(headline(totals(1, 0, 0)), "1 model folded");
        assert_eq!(headline(totals(195, 0, 5)), "195 of 200 models folded, 5 failed");
        assert_eq!(headline(totals(0, 2, 0)), "0 of 2 models folded, 1 done before, 1 copied");
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
    fn the_verdict_is_good_only_if_everything_was_verified_and_no_eps_assumed() {
        let totals = |folded, unverified, assumed| Totals { folded, unverified, assumed, ..Totals::default() };
        let verdicts = [(2, 0, 0), (2, 1, 0), (0, 0, 0), (2, 0, 3)].map(|(a, b, c)| verdict(&totals(a, b, c)));
        let states = verdicts.each_ref().map(|(state, _)| *state);
        assert_eq!(states, [State::Good, State::Attention, State::Attention, State::Attention]);
        assert!(verdicts[1].1.starts_with("1 of 2 folded models not verified"));
        assert!(verdicts[3].1.starts_with("Every folded value was verified; eps assumed for 3 norms: "));
    }

    #[test]
    fn tiles_say_how_they_are_to_be_taken() {
        let totals = Totals { folded: 2, assumed: 3, failed: 1, skipped: 4, done_before: 4, ..Totals::default() };
        let states =
            |totals: &Totals| tiles(totals).into_iter().map(|(name, _, state)| (name, state)).collect::<Vec<_>>();
        let found = states(&totals);
        for tile in [
            ("Models folded", State::Good),
            ("Done before", State::Plain),
            ("Failed", State::Bad),
            ("eps assumed, norms", State::Attention),
        ] {
            assert!(found.contains(&tile), "{tile:?} in {found:?}");
        }
        assert!(states(&Totals::default()).iter().all(|(_, state)| *state == State::Plain));
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs_them() {
        assert_eq!(["a/b-c.d", "", "it's", "a b"].map(quoted), ["a/b-c.d", "''", r"'it'\''s'", "'a b'"]);
    }
}
