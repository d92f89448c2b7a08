//! What became of the models of a run, for whoever reads stdout and stderr.
//!
//! In: outcomes, in any order. Out: results on stdout in the order of the tasks, so that the same run prints the same text;
//! warnings and errors on stderr; in the end the sums, the report, and the status that they come to.

use std::collections::BTreeMap;
use std::time::Instant;

use bnfold_gpu::Error;
use bnfold_gpu::report::{Outcome, Totals};
use bnfold_gpu::zoo::Task;

use super::arguments::FoldArguments;
use super::grouped::Grouped;
use super::report::Report;
use super::values::Format;
use super::{Status, console, hints};

/// What was printed, and what waits.
pub(super) struct Results<'a> {
    tasks: &'a [Task],
    is_zoo: bool,
    arguments: &'a FoldArguments,
    started: Instant,
    next: usize,
    waiting: BTreeMap<usize, Outcome>,
    totals: Totals,
    failed: Vec<String>,
    grouped: Grouped,
    report: Report<'a>,
    /// The first result that stdout did not take.
    unwritten: Option<anyhow::Error>,
}

impl<'a> Results<'a> {
    pub(super) fn new(
        tasks: &'a [Task],
        is_zoo: bool,
        arguments: &'a FoldArguments,
        report: Report<'a>,
    ) -> Results<'a> {
        Results {
            tasks,
            is_zoo,
            arguments,
            started: Instant::now(),
            next: 0,
            waiting: BTreeMap::new(),
            totals: Totals::default(),
            failed: Vec::new(),
            grouped: Grouped::new(arguments.verbosity.quiet, is_zoo && !arguments.verbosity.verbose),
            report,
            unwritten: None,
        }
    }

    /// A task has come to an end; it is told once all before it were.
    pub(super) fn end(&mut self, task: usize, outcome: Outcome) {
        self.waiting.insert(task, outcome);
        while let Some(outcome) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.tell(outcome);
        }
    }

    /// A model's result: data on stdout, warnings and errors on stderr.
    pub(super) fn tell(&mut self, mut outcome: Outcome) {
        if let (Outcome::Folded(report), true) = (&mut outcome, self.arguments.writes_to_stdout()) {
            report.output = "-".into();
        }
        match &outcome {
            Outcome::Failed(failure) => console::error(&failure.error),
            Outcome::Folded(report) => self.grouped.tell(&report.input.display().to_string(), &report.warnings),
            _ => {}
        }
        let written = match self.arguments.format {
            Format::Json => console::json(&outcome, false),
            Format::Human if self.arguments.writes_to_stdout() => {
                console::aside(&self.text(&outcome), self.arguments.verbosity.quiet);
                Ok(())
            }
            Format::Human => console::lines(&self.text(&outcome)),
        };
        // A full disk under stdout is no reason to stop folding, but one to say so in the end.
        self.unwritten = self.unwritten.take().or(written.err());
        self.totals.count(&outcome);
        if let Outcome::Failed(failure) = &outcome {
            self.failed.push(failure.input.display().to_string());
        }
        self.report.add(|| outcome);
    }

    /// The run is over, or was ended.
    pub(super) fn finish(mut self, ended: Result<(), Error>) -> anyhow::Result<Status> {
        // Models after one that an ended run did not reach.
        let waiting = std::mem::take(&mut self.waiting);
        let not_reached = (self.next..self.tasks.len()).filter(|task| !waiting.contains_key(task)).collect::<Vec<_>>();
        waiting.into_values().for_each(|outcome| self.tell(outcome));
        self.grouped.finish();
        let not_reached = not_reached.into_iter().map(|task| &self.tasks[task].source.input);
        not_reached.for_each(|input| self.report.add(|| Outcome::NotReached { input: input.path().to_owned() }));
        let summarised = match &ended {
            Ok(()) => self.summarise(),
            Err(Error::Interrupted) => {
                self.say_how_to_go_on();
                Ok(())
            }
            Err(_) => Ok(()),
        };
        // Whatever ended the run: what was done is worth reporting.
        let reported = self.report.finish(ended.as_ref().err());
        ended?;
        self.unwritten.map_or(Ok(()), Err)?;
        summarised?;
        reported?;
        Ok(if self.failed.is_empty() { Status::Done } else { Status::Failed })
    }

    /// A model's result for people: one line of many, or all there is to say.
    fn text(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Failed(_) => String::new(),
            Outcome::Folded(report) if self.arguments.verbosity.verbose => format!("{report}\n{}", report.details()),
            Outcome::Folded(report) if !self.is_zoo => format!("{report}\n{}", hints::on_remarks(report)),
            outcome => format!("{outcome}\n"),
        }
    }

    /// What became of all models of a zoo.
    fn summarise(&self) -> anyhow::Result<()> {
        let Results { totals, failed, .. } = self;
        // Of a single model that is another part's nothing else is said.
        let idle = self.arguments.zoo.shard.filter(|_| self.tasks.is_empty() && failed.is_empty());
        if !self.is_zoo && idle.is_none() {
            return Ok(());
        }
        let idle = idle.map(|share| format!("; no model falls to part {share} (--shard)")).unwrap_or_default();
        let text = format!("{totals}, {:.3} s{idle}", self.started.elapsed().as_secs_f64());
        match self.arguments.format {
            Format::Human => console::lines(&(text + "\n"))?,
            Format::Json if !self.arguments.verbosity.quiet => console::note(&text),
            Format::Json => {}
        }
        if !failed.is_empty() {
            let all = totals.folded + totals.skipped + totals.failed;
            console::note(&format!("{} of {all} models failed: {}", failed.len(), failed.join(", ")));
        }
        Ok(())
    }

    /// How far a zoo came that was interrupted.
    fn say_how_to_go_on(&self) {
        if self.is_zoo && !self.arguments.verbosity.quiet {
            let (done, all) = (self.totals.folded + self.totals.skipped, self.tasks.len());
            console::note(&format!("{done} of {all} models were done; the same command goes on from there"));
        }
    }
}
