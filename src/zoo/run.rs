//! ZOO: the models of a run, several at a time, each on its own.
//!
//! In: tasks, engines, settings. Out: an [`Outcome`] a task, handed to an [`Observer`] as soon as it is known and not kept
//! here, so that memory does not grow with the zoo. Whatever goes wrong with one model, a bug included, is that model's
//! outcome. Only what would fail every model ends the run: an interrupt, a device that is not there.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Engines, Source, Task};
use crate::checkpoint::{Checkpoint, HeaderBudget};
use crate::descriptors;
use crate::error::{Error, Result};
use crate::fold::FoldOptions;
use crate::model::{Model, Recording, Settings, record};
use crate::output::{Figures, OutputProblem, Record, Replace, Terms, copy_files, result_files};
use crate::parallel;
use crate::report::{Earlier, FailureReport, Outcome};
use crate::store::Location;
use crate::text::panic_message;

/// Told how a run goes; called from several threads.
pub trait Observer: Sync {
    /// A task begins.
    fn begin(&self, task: usize);
    /// So many more of its bytes are done.
    fn advance(&self, task: usize, bytes: u64);
    /// It has come to an end.
    fn end(&self, task: usize, outcome: Outcome);
}

/// Milliseconds that a model waits, again and again, that cannot open a file because too many are open.
const PAUSES: [u64; 6] = [20, 40, 80, 160, 320, 640];

/// A run over a zoo.
pub struct Run<'a> {
    /// What is to be done, as [`Task::all`] orders it: copies last.
    pub tasks: &'a [Task],
    /// Models at a time.
    pub jobs: usize,
    /// There may be several models: put a [`Record`] into every result, pass over results that carry theirs already, and
    /// go on after a model that is not what it was said to be.
    pub resume: bool,
    /// What computes.
    pub engines: &'a Engines<'a>,
    /// How a model is folded.
    pub settings: &'a (dyn Fn(&Source) -> Result<Settings<'a>> + Sync),
    /// How all of them are; `threads` is shared by the models under way.
    pub options: FoldOptions<'a>,
    /// How an error is told: by its own words, or with what the caller knows to do about it.
    pub describe: &'a (dyn Fn(&Error) -> String + Sync),
    /// Who is told.
    pub observer: &'a dyn Observer,
}

/// What the models under way take from each other.
struct Shared {
    headers: HeaderBudget,
    files: descriptors::Budget,
}

impl Run<'_> {
    /// Runs all tasks; an `Err` is what ended the run before all of them were done.
    pub fn go(&self) -> Result<()> {
        // What is copied comes last: by then the originals are done.
        let originals = self.tasks.iter().take_while(|task| task.same_as.is_none()).count();
        let shared = Shared { headers: HeaderBudget::default(), files: descriptors::Budget::of_process() };
        self.pass(0..originals, &shared)?;
        self.pass(originals..self.tasks.len(), &shared)
    }

    fn pass(&self, tasks: Range<usize>, shared: &Shared) -> Result<()> {
        let tasks = tasks.collect::<Vec<_>>();
        let jobs = self.jobs.clamp(1, tasks.len().max(1));
        // A panic of the observer, which is not ours, goes on.
        let done = parallel::each(
            &tasks,
            jobs,
            || (),
            |(), _, &task| {
                self.observer.begin(task);
                let part = shared.files.take(self.tasks[task].open_files());
                let outcome = self.isolated(task, self.options.threads.div_ceil(jobs), shared, part.is_enough)?;
                drop(part);
                self.observer.end(task, outcome);
                Ok(())
            },
        );
        done.map(drop)
    }

    /// One task; an `Err` ends the whole run.
    fn isolated(&self, task: usize, threads: usize, shared: &Shared, may_wait: bool) -> Result<Outcome> {
        let input = &self.tasks[task].source.input;
        let attempt = || {
            catch_unwind(AssertUnwindSafe(|| self.one(task, threads, &shared.headers)))
                .unwrap_or_else(|panic| Err(Error::Bug { path: input.path().to_owned(), what: panic_message(&*panic) }))
        };
        let mut outcome = attempt();
        for pause in PAUSES.into_iter().filter(|_| may_wait) {
            // Whoever has the files, here or elsewhere on the machine, will return some.
            if !outcome.as_ref().is_err_and(Error::is_of_open_files) {
                break;
            }
            std::thread::sleep(Duration::from_millis(pause));
            outcome = attempt();
        }
        match outcome {
            // Of a single model there is nothing else to do.
            Err(error) if error.is_misstated() && !self.resume => Err(error),
            Err(error @ (Error::Interrupted | Error::NoAdapter { .. } | Error::Gpu { .. })) => Err(error),
            Err(error) => Ok(Outcome::Failed(FailureReport::new(input.path(), &error, (self.describe)(&error)))),
            Ok(outcome) => Ok(outcome),
        }
    }

    fn one(&self, index: usize, threads: usize, headers: &HeaderBudget) -> Result<Outcome> {
        let Task { source, output, root, .. } = &self.tasks[index];
        let options = FoldOptions { threads, progress: &|bytes| self.observer.advance(index, bytes), ..self.options };
        options.check_cancelled()?;
        let checkpoint = Checkpoint::open_within(&source.input, headers)?;
        let root = root.as_ref().and_then(Location::as_file).map(Path::to_owned);
        let mut settings = Settings { root, ..(self.settings)(source)? };
        settings.planning.threads = threads;
        if self.resume {
            let record = record(&checkpoint, &settings, options)?;
            if let Some(reason) = self.without_folding(index, &checkpoint, &settings, &record)? {
                let earlier = Box::new(earlier(&checkpoint, output, reason == DONE));
                let [input, output] = [&source.input, output].map(|location| location.path().to_owned());
                return Ok(Outcome::Skipped { input, output, reason, earlier });
            }
            settings.record = Recording::Known(record);
        }
        let model = Model::plan(checkpoint, settings)?;
        // A model that cannot be planned, or is not accepted, does not open a device.
        model.check()?;
        let mut engine = self.engines.lend()?;
        let folded = model.fold(output, &mut engine, options)?;
        // Another model may have the device while this one goes to the disk.
        drop(engine);
        Ok(Outcome::Folded(Box::new(folded.publish()?)))
    }

    /// Why there is nothing to fold, if its result is there, or could be copied from a task of the very same files.
    fn without_folding(
        &self,
        index: usize,
        checkpoint: &Checkpoint,
        settings: &Settings<'_>,
        record: &Record,
    ) -> Result<Option<String>> {
        let Task { output, same_as, .. } = &self.tasks[index];
        if settings.replace == Replace::Never && is_done(checkpoint, output, record)? {
            return Ok(Some(DONE.to_owned()));
        }
        let twin = same_as.map(|twin| &self.tasks[twin]).filter(|twin| record.is_carried_by(&twin.output));
        let Some(twin) = twin else { return Ok(None) };
        let files = pairs(checkpoint, &twin.output, output)?;
        let same = |file: &Location| record.is_carried_by(file);
        let (replace, sync, cancelled) = (settings.replace, settings.sync, self.options.cancelled);
        copy_files(&files, Terms { root: settings.root.as_deref(), replace, same: Some(&same), sync, cancelled })?;
        Ok(Some(format!("the same file as {}; its result was copied", twin.source.input)))
    }
}

const DONE: &str = "done before: the result there is of the same bytes, options, config.json and version";

/// What the result at `output` says of itself; a result that goes away meanwhile says nothing.
fn earlier(original: &Checkpoint, output: &Location, done_before: bool) -> Earlier {
    let result = Checkpoint::open(output).ok();
    let modified = output.as_file().and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
    let since_1970 = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Earlier {
        done_before,
        figures: result.as_ref().and_then(Figures::of_result),
        bytes_in: original.bytes(),
        bytes_out: result.map_or(0, |result| result.bytes()),
        finished_unix: since_1970.map(|time| time.as_secs()),
    }
}

/// Whether the result is there. Files at its place must carry the record: what is not known to be this very result is
/// neither passed over nor replaced. Of a sharded one some may be there without the index, as a run that was killed, or
/// one that is still at work, leaves them; those stay, and the rest is put beside them.
fn is_done(checkpoint: &Checkpoint, output: &Location, record: &Record) -> Result<bool> {
    let files = result_files(checkpoint, output)?;
    let mut there = Vec::new();
    for file in &files {
        if file.exists()? {
            there.push(file);
        }
    }
    match there.iter().find_map(|file| Some((file, record.differs_from(file)?))) {
        Some((file, found)) => {
            Err(Error::Output { path: file.path().to_owned(), problem: OutputProblem::OtherResult { found } })
        }
        None => Ok(there.len() == files.len()),
    }
}

/// All files of a result, and where copies of them go, the index last.
fn pairs(checkpoint: &Checkpoint, from: &Location, to: &Location) -> Result<Vec<(Location, Location)>> {
    Ok(result_files(checkpoint, from)?.into_iter().zip(result_files(checkpoint, to)?).collect())
}
