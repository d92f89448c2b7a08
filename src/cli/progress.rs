//! What is seen of a run while it goes on: bars on a terminal, a line from time to time elsewhere, and every model's
//! result as soon as there is one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bnfold_gpu::Error;
use bnfold_gpu::report::{Outcome, Totals};
use bnfold_gpu::text::{bytes, shown};
use bnfold_gpu::zoo::{Observer, Task};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::FoldArguments;
use super::report::Report;
use super::values::Format;
use super::{Status, console, hints};

/// Without a terminal: how often a run says how far it is.
const INTERVAL: Duration = Duration::from_secs(15);

/// The observer of a run.
pub(crate) struct Progress<'a> {
    tasks: &'a [Task],
    arguments: &'a FoldArguments,
    is_zoo: bool,
    bars: MultiProgress,
    all: ProgressBar,
    each: Mutex<HashMap<usize, ProgressBar>>,
    started: Instant,
    said: Mutex<Instant>,
    models: AtomicUsize,
    bytes: AtomicU64,
    told: Mutex<Told<'a>>,
}

/// What was printed, and what waits. Results are printed in the order of the tasks, so that the same run prints the same
/// text.
struct Told<'a> {
    next: usize,
    waiting: BTreeMap<usize, Outcome>,
    totals: Totals,
    failed: Vec<String>,
    report: Report<'a>,
    /// The first result that stdout did not take.
    unwritten: Option<anyhow::Error>,
}

impl<'a> Progress<'a> {
    /// Ready to watch `tasks`.
    pub(crate) fn new(
        tasks: &'a [Task],
        is_zoo: bool,
        arguments: &'a FoldArguments,
        report: Report<'a>,
    ) -> Progress<'a> {
        let bars = MultiProgress::new();
        if arguments.verbosity.quiet || !console::is_watched() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let all = match is_zoo {
            true => {
                let bar = ProgressBar::new(tasks.iter().map(|task| task.source.bytes).sum());
                bars.add(bar.with_style(style()).with_message(format!("0/{}", tasks.len())))
            }
            false => ProgressBar::hidden(),
        };
        let (totals, failed) = (Totals::default(), Vec::new());
        let told = Mutex::new(Told { next: 0, waiting: BTreeMap::new(), totals, failed, report, unwritten: None });
        let (started, said) = (Instant::now(), Mutex::new(Instant::now()));
        let (models, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        Progress { tasks, arguments, is_zoo, bars, all, each: Mutex::default(), started, said, models, bytes, told }
    }

    /// Tells what became of something that is not a task of the run.
    pub(crate) fn tell(&self, outcome: Outcome) {
        self.print(outcome, &mut self.told());
    }

    /// The run is over, or was ended: the sum, what failed, the report.
    pub(crate) fn finish(self, ended: Result<(), Error>) -> anyhow::Result<Status> {
        self.all.finish_and_clear();
        self.each.lock().unwrap_or_else(PoisonError::into_inner).drain().for_each(|(_, bar)| self.take_away(&bar));
        let mut told = self.told();
        // Models after one that an ended run did not reach.
        let waiting = std::mem::take(&mut told.waiting);
        let not_reached = (told.next..self.tasks.len()).filter(|task| !waiting.contains_key(task)).collect::<Vec<_>>();
        waiting.into_values().for_each(|outcome| self.print(outcome, &mut told));
        let not_reached = not_reached.into_iter().map(|task| &self.tasks[task].source.input);
        not_reached.for_each(|input| told.report.add(|| Outcome::NotReached { input: input.path().to_owned() }));
        drop(told);
        let summarised = match &ended {
            Ok(()) => self.summarise(),
            Err(Error::Interrupted) => {
                self.say_how_to_go_on();
                Ok(())
            }
            Err(_) => Ok(()),
        };
        let Told { failed, report, unwritten, .. } = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Whatever ended the run: what was done is worth reporting.
        let reported = report.finish(ended.as_ref().err());
        ended?;
        unwritten.map_or(Ok(()), Err)?;
        summarised?;
        reported?;
        Ok(if failed.is_empty() { Status::Done } else { Status::Failed })
    }

    fn told(&self) -> MutexGuard<'_, Told<'a>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model's result: data on stdout, warnings and errors on stderr.
    fn print(&self, outcome: Outcome, told: &mut Told<'_>) {
        self.bars.suspend(|| {
            match &outcome {
                Outcome::Failed(failure) => console::error(&failure.error),
                Outcome::Folded(report) if !self.arguments.verbosity.quiet => {
                    let input = report.input.display();
                    let warn = |warning| console::warning(&format!("{input}: {}", hints::warned(warning)));
                    report.warnings.iter().for_each(warn);
                }
                _ => {}
            }
            let written = match self.arguments.format {
                Format::Json => console::json(&outcome, false),
                Format::Human => console::data(&self.text(&outcome)),
            };
            // A full disk under stdout is no reason to stop folding, but one to say so in the end.
            told.unwritten = told.unwritten.take().or(written.err());
        });
        told.totals.count(&outcome);
        if let Outcome::Failed(failure) = &outcome {
            told.failed.push(failure.input.display().to_string());
        }
        told.report.add(|| outcome);
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
        let Told { totals, failed, .. } = &*self.told();
        // Of a single model that is another part's nothing else is said.
        let idle = self.arguments.zoo.shard.filter(|_| self.tasks.is_empty() && failed.is_empty());
        if !self.is_zoo && idle.is_none() {
            return Ok(());
        }
        let idle = idle.map(|share| format!("; no model falls to part {share} (--shard)")).unwrap_or_default();
        let text = format!("{totals}, {:.3} s{idle}", self.started.elapsed().as_secs_f64());
        match self.arguments.format {
            Format::Human => console::data(&(text + "\n"))?,
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
            let Totals { folded, skipped, .. } = self.told().totals;
            let (done, all) = (folded + skipped, self.tasks.len());
            console::note(&format!("{done} of {all} models were done; the same command goes on from there"));
        }
    }

    /// A bar that is only cleared would stay in the list of bars, one for every model.
    fn take_away(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.bars.remove(bar);
    }

    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.inc(bytes);
    }

    /// Where nobody sees bars: how far the run is, from time to time.
    fn say(&self) {
        if self.arguments.verbosity.quiet || console::is_watched() || !self.is_zoo {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() < INTERVAL {
            return;
        }
        *said = Instant::now();
        let (done, all) = (self.bytes.load(Ordering::Relaxed), self.tasks.iter().map(|task| task.source.bytes).sum());
        let left = remaining(self.started.elapsed(), done, all);
        let (done, all) = (bytes(done), bytes(all));
        let models = self.models.load(Ordering::Relaxed);
        console::note(&format!("{models} of {} models, {done} of {all}, about {left} s left", self.tasks.len()));
    }
}

/// Seconds left, if bytes go on as they went.
fn remaining(elapsed: Duration, done: u64, all: u64) -> u64 {
    let rate = done.max(1) as f64 / elapsed.as_secs_f64().max(1e-3);
    Duration::try_from_secs_f64(all.saturating_sub(done) as f64 / rate).map_or(u64::MAX, |left| left.as_secs())
}

impl Observer for Progress<'_> {
    fn begin(&self, task: usize) {
        let source = &self.tasks[task].source;
        let name = source.place.to_string_lossy();
        let bar = ProgressBar::new(source.bytes).with_style(style()).with_message(shown(&name).into_owned());
        let bar = if self.is_zoo { self.bars.insert_before(&self.all, bar) } else { self.bars.add(bar) };
        if !self.bars.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.each.lock().unwrap_or_else(PoisonError::into_inner).insert(task, bar);
    }

    fn advance(&self, task: usize, bytes: u64) {
        let each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = each.get(&task) {
            bar.inc(bytes);
        }
        drop(each);
        self.count(bytes);
        self.say();
    }

    fn end(&self, task: usize, outcome: Outcome) {
        let bar = self.each.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        // What failed or was passed over is done too.
        self.count(self.tasks[task].source.bytes.saturating_sub(bar.as_ref().map_or(0, ProgressBar::position)));
        bar.inspect(|bar| self.take_away(bar));
        let models = self.models.fetch_add(1, Ordering::Relaxed) + 1;
        self.all.set_message(format!("{models}/{}", self.tasks.len()));
        let mut told = self.told();
        told.waiting.insert(task, outcome);
        while let Some(outcome) = told.take_next() {
            self.print(outcome, &mut told);
        }
        drop(told);
        self.say();
    }
}

impl Told<'_> {
    fn take_next(&mut self) -> Option<Outcome> {
        let outcome = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(outcome)
    }
}

fn style() -> ProgressStyle {
    let template = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
