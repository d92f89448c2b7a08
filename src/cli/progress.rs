//! What is seen of a run while it goes on: bars on a terminal, a line from time to time elsewhere.
//!
//! In: what the run tells its observer. Out: bars on stderr; results are handed to [`Results`] as soon as there are any.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bnfold_gpu::Error;
use bnfold_gpu::report::Outcome;
use bnfold_gpu::text::{bytes, shown};
use bnfold_gpu::zoo::{Observer, Task};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::FoldArguments;
use super::report::Report;
use super::results::Results;
use super::{Status, console};

/// Without a terminal: how often a run says how far it is.
const INTERVAL: Duration = Duration::from_secs(15);

/// The observer of a run.
pub(crate) struct Progress<'a> {
    tasks: &'a [Task],
    /// Whether it says how far it is by lines, from time to time.
    says: bool,
    is_zoo: bool,
    bars: MultiProgress,
    all: ProgressBar,
    each: Mutex<HashMap<usize, ProgressBar>>,
    started: Instant,
    said: Mutex<Instant>,
    models: AtomicUsize,
    bytes: AtomicU64,
    results: Mutex<Results<'a>>,
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
        let (quiet, is_watched) = (arguments.verbosity.quiet, console::is_watched());
        if quiet || !is_watched {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let all = match is_zoo {
            true => {
                let bar = ProgressBar::new(tasks.iter().map(|task| task.source.bytes).sum());
                bars.add(bar.with_style(style()).with_message(format!("0/{}", tasks.len())))
            }
            false => ProgressBar::hidden(),
        };
        let results = Mutex::new(Results::new(tasks, is_zoo, arguments, report));
        let (started, said) = (Instant::now(), Mutex::new(Instant::now()));
        let (models, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let says = is_zoo && !quiet && !is_watched;
        Progress { tasks, says, is_zoo, bars, all, each: Mutex::default(), started, said, models, bytes, results }
    }

    /// Tells what became of something that is not a task of the run.
    pub(crate) fn tell(&self, outcome: Outcome) {
        let mut results = self.results();
        self.bars.suspend(|| results.tell(outcome));
    }

    /// The run is over, or was ended: the sum, what failed, the report.
    pub(crate) fn finish(self, ended: Result<(), Error>) -> anyhow::Result<Status> {
        self.all.finish_and_clear();
        self.each.lock().unwrap_or_else(PoisonError::into_inner).drain().for_each(|(_, bar)| self.take_away(&bar));
        self.results.into_inner().unwrap_or_else(PoisonError::into_inner).finish(ended)
    }

    fn results(&self) -> MutexGuard<'_, Results<'a>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !self.says {
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
        let mut results = self.results();
        self.bars.suspend(|| results.end(task, outcome));
        drop(results);
        self.say();
    }
}

pub(super) fn style() -> ProgressStyle {
    let template = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
