//! Many models.
//!
//! In: files and folders, a folder for the results, options. Out: an [`Outcome`](crate::report::Outcome) per model, told
//! to an observer; a model that fails does not touch the others.

use std::path::{Path, PathBuf};

use super::Options;
use super::builder::forward_options;
use crate::error::{Error, Result};
use crate::model::Settings;
use crate::output::clear_left_behind;
use crate::store::Location;
use crate::zoo::{Engines, Filter, Observer, Run, Source, Task, discover};

/// Models under way at a time: beyond this the disk is what they wait for.
const MOST_JOBS: usize = 8;

/// The models below some folders, each with the place of its result.
#[derive(Debug)]
pub struct Zoo {
    output: Location,
    options: Options,
    jobs: usize,
    tasks: Vec<Task>,
    failures: Vec<(PathBuf, Error)>,
}

impl Zoo {
    /// Finds the models behind `inputs`, files, indices of sharded checkpoints or folders of these; results go below the
    /// folder `output`, which is made and mirrors the tree.
    ///
    /// # Errors
    ///
    /// An input cannot be looked at.
    pub fn find<L: Into<Location>>(inputs: impl IntoIterator<Item = L>, output: impl Into<Location>) -> Result<Zoo> {
        let (inputs, output) = (inputs.into_iter().map(Into::into).collect::<Vec<_>>(), output.into());
        let found = discover(&inputs, &Filter::default(), Some(&output))?;
        let tasks = Task::all(found.sources, &output);
        let options = Options { one_of_several: true, ..Options::default() };
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_JOBS);
        Ok(Zoo { output, options, jobs, tasks, failures: found.failures })
    }

    /// Folds so many models at a time.
    #[must_use]
    pub fn jobs(self, jobs: usize) -> Zoo {
        Zoo { jobs, ..self }
    }

    /// The models, in the order of the numbers that an observer is told.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// What should have been a model and is none.
    pub fn failures(&self) -> &[(PathBuf, Error)] {
        &self.failures
    }

    /// Folds all models. Results that are there already, of the same bytes and options, are passed over, so that a run that
    /// was stopped can be taken up again.
    ///
    /// # Errors
    ///
    /// What ended the run before all models were done: it was cancelled, or there is no such device; what is stated is no
    /// architecture, or is for models or norms of which there are none. That a model failed is its outcome.
    pub fn run(&self, observer: &dyn Observer) -> Result<()> {
        self.options.check(self.tasks.iter().map(|task| &task.source))?;
        let outputs = self.tasks.iter().flat_map(Task::outputs);
        clear_left_behind(outputs.filter_map(|output| output.folder().as_file().map(Path::to_owned)));
        let bytes = self.tasks.iter().map(|task| task.source.bytes).sum();
        let engines = Engines::new(|| Ok(self.options.device.open(bytes)?.engines));
        let run = Run {
            tasks: &self.tasks,
            jobs: self.jobs,
            resume: self.options.record,
            engines: &engines,
            settings: &|source| self.settings(source),
            options: self.options.fold_options(&|_| {}),
            describe: &ToString::to_string,
            observer,
        };
        run.go()
    }

    fn settings(&self, source: &Source) -> Result<Settings<'_>> {
        self.options.settings_of(source, Some(&self.output))
    }
}

forward_options!(Zoo);
