//! One model, from file to file: the pipeline, stage by stage.
//!
//! In: the path of a checkpoint (a file, or the index of a sharded one), settings, where the result goes, an engine. Out:
//! the folded checkpoint and a [`ModelReport`], or an error and nothing on disk.

mod denied;
mod record;
mod remarks;
mod report;
mod settings;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::fold::{Engine, FoldOptions, FoldedLayer, ShiftStats, Storage, check_shifts, compute_shifts, fold_layers};
use crate::output::{Destination, Figures, Files, Layout, Record, make_folder};
use crate::parallel;
use crate::plan::{Planned, follow, plan};
use crate::report::{ModelReport, Verification};
use crate::store::Location;
pub use denied::{Denied, RemarkKind};
pub use record::record;
pub use settings::{PlanSource, Recording, Settings};

use record::sampled_record;

/// Folds the checkpoint at `input` into `output`: [`Model::plan`] and [`Model::fold_into`] in one call.
pub fn fold_model(
    input: impl Into<Location>,
    output: impl Into<Location>,
    settings: Settings<'_>,
    engine: &mut Engine,
    options: FoldOptions<'_>,
) -> Result<ModelReport> {
    Model::plan(Checkpoint::open(input)?, settings)?.fold_into(output, engine, options)
}

/// A checkpoint that was read and planned.
#[derive(Debug)]
pub struct Model<'a> {
    checkpoint: Checkpoint,
    planned: Planned,
    settings: Settings<'a>,
    began: Instant,
    plan_time: Duration,
}

impl<'a> Model<'a> {
    /// Reads the header of the checkpoint at `input` and plans it. No device is needed, and nothing is written.
    pub fn open(input: impl Into<Location>, settings: Settings<'a>) -> Result<Model<'a>> {
        Model::plan(Checkpoint::open(input)?, settings)
    }

    /// Plans an open checkpoint.
    pub fn plan(checkpoint: Checkpoint, settings: Settings<'a>) -> Result<Model<'a>> {
        let began = Instant::now();
        let mut planned = match settings.plan {
            Some(PlanSource::Plan(plan)) => follow(plan, &checkpoint, &settings.planning)?,
            source => plan(&checkpoint, &settings.planning, source.and_then(PlanSource::file))?,
        };
        planned.warnings.splice(0..0, settings.warnings.iter().cloned());
        let plan_time = checkpoint.opening() + began.elapsed();
        Ok(Model { checkpoint, planned, settings, began, plan_time })
    }

    /// The plan and what it stands for.
    pub fn into_planned(self) -> Planned {
        self.planned
    }

    /// Whether nothing is denied of what is known before the model is folded; [`Model::fold`] fails where it is.
    ///
    /// # Errors
    ///
    /// The first warning that is denied.
    pub fn check(&self) -> Result<()> {
        self.settings.denied.check(self.checkpoint.path(), &self.remarks())
    }

    /// Size of the original's `.safetensors` files.
    pub fn bytes(&self) -> u64 {
        self.checkpoint.bytes()
    }

    /// Folds it into `output`: a file; for a sharded model the index to write, beside which its shards go under their own
    /// names.
    pub fn fold_into(
        &self,
        output: impl Into<Location>,
        engine: &mut Engine,
        options: FoldOptions<'_>,
    ) -> Result<ModelReport> {
        self.fold(output, engine, options)?.publish()
    }

    /// The same without the last step: everything is written, but nothing has its name. The engine is not needed any more.
    pub fn fold<'m>(
        &'m self,
        output: impl Into<Location>,
        engine: &mut Engine,
        options: FoldOptions<'m>,
    ) -> Result<Finished<'m>> {
        let output = output.into();
        self.check()?;
        let (mut finished, layout) = self.fold_files(&output, engine, options)?;
        finished.complete(layout)?;
        Ok(finished)
    }

    /// Whether the result says where it comes from. Where nothing was done nothing has to be said.
    fn is_recorded(&self) -> bool {
        match self.settings.record {
            Recording::None => false,
            Recording::Sampled => !self.planned.folds.is_empty() || self.settings.dtype.is_some(),
            Recording::Known(_) => true,
        }
    }

    /// Everything but what the header says about the checks.
    fn fold_files<'m>(
        &'m self,
        output: &Location,
        engine: &mut Engine,
        options: FoldOptions<'m>,
    ) -> Result<(Finished<'m>, Layout)> {
        let checkpoint = &self.checkpoint;
        let (device, adapter) = (engine.device(), engine.adapter());
        let (layers, record) =
            parallel::both(options.threads, || self.layers(options.threads), || self.record(options));
        let (mut layers, record) = (layers?, record?);
        let mut warnings = self.remarks();
        let differ = compute_shifts(&mut layers, engine, &mut warnings);
        let shifts = ShiftStats { differ, ..check_shifts(checkpoint, &layers, options)? };
        let layout = self.lay_out(&mut layers, record, options)?;
        let files = self.create(output, &layout, &layers)?;
        let copy = || {
            let timed = Instant::now();
            files.write_unfolded(checkpoint, &layout, options).map(|()| timed.elapsed())
        };
        let fold = || {
            fold_layers(checkpoint, &mut layers, engine, options, &|layer, offset, folded| {
                files.write_at(layer.place, offset, folded)
            })
        };
        let (weights, copy) = parallel::both(options.threads, fold, copy);
        let (mut weights, copy) = (weights?, copy?);
        options.check_cancelled()?;
        weights.warnings.splice(0..0, warnings);
        let work = report::Work { device, adapter, layers: &layers, shifts, weights, copy };
        let report = self.report(output.path(), files.bytes(), work, options.verify);
        self.settings.denied.check(checkpoint.path(), &report.warnings)?;
        self.settings.denied.check_lints(checkpoint.path(), &report.lints)?;
        Ok((Finished { model: self, files, report, cancelled: options.cancelled }, layout))
    }

    /// How the result is stored.
    fn storage(&self) -> Storage {
        Storage { style: self.settings.style, dtype: self.settings.dtype }
    }

    /// The norms that are folded, with their parameters.
    fn layers(&self, threads: usize) -> Result<Vec<FoldedLayer<'_>>> {
        parallel::map(&self.planned.folds, threads, |fold| FoldedLayer::new(&self.checkpoint, fold, self.storage()))
    }

    /// What every tensor of the output is and where it lies; the layers learn where their weights go.
    fn lay_out(
        &self,
        layers: &mut [FoldedLayer<'_>],
        record: Option<Record>,
        options: FoldOptions<'_>,
    ) -> Result<Layout> {
        let mut layout = Layout::new(&self.checkpoint, layers, self.storage())?;
        layout.place(layers);
        if let Some(record) = record {
            let figures = Figures::of(&self.planned.plan, self.settings.style);
            // The largest errors are known in the end: here they take their room.
            let figures = if options.verify { figures.with_room() } else { figures };
            for shard in &mut layout.shards {
                record.put_into(&mut shard.metadata, &self.planned);
                figures.put_into(&mut shard.metadata);
            }
        }
        Ok(layout)
    }

    /// Where the result comes from, if it is to say so.
    fn record(&self, options: FoldOptions<'_>) -> Result<Option<Record>> {
        match self.settings.record.known() {
            _ if !self.is_recorded() => Ok(None),
            Some(record) => Ok(Some(record.clone())),
            None => sampled_record(&self.checkpoint, &self.settings, options).map(Some),
        }
    }

    /// Opens the files of the output.
    fn create(&self, output: &Location, layout: &Layout, layers: &[FoldedLayer<'_>]) -> Result<Files> {
        let settings = &self.settings;
        if let (Some(root), Some(folder)) = (&settings.root, output.folder().as_file()) {
            make_folder(root, folder, settings.sync)?;
        }
        let is_this = settings.record.known().map(|record| |at: &Location| record.is_carried_by(at));
        let same = is_this.as_ref().map(|is_this| is_this as &dyn Fn(&Location) -> bool);
        let destination =
            Destination { at: output, replace: settings.replace, same, known: &settings.known, sync: settings.sync };
        Files::create(destination, &self.checkpoint, layout, layers)
    }
}

/// A folded model that has no name yet; dropped, it is gone.
#[derive(Debug)]
pub struct Finished<'m> {
    model: &'m Model<'m>,
    files: Files,
    report: ModelReport,
    /// An upload takes a while.
    cancelled: &'m AtomicBool,
}

impl Finished<'_> {
    /// Says in the headers what is known only now: the largest errors.
    fn complete(&mut self, mut layout: Layout) -> Result<()> {
        let Finished { model, files, report, .. } = self;
        let Some(Verification { worst_ulp, worst_shift_ulp, .. }) = report.verification else { return Ok(()) };
        if !model.is_recorded() {
            return Ok(());
        }
        let figures = Figures::of(&model.planned.plan, model.settings.style).found(worst_ulp, worst_shift_ulp);
        layout.shards.iter_mut().for_each(|shard| figures.put_into(&mut shard.metadata));
        files.complete_headers(&layout)
    }

    /// Gives the result its name, if the original is still what was read.
    pub fn publish(self) -> Result<ModelReport> {
        let Finished { model, files, mut report, cancelled } = self;
        let timed = Instant::now();
        model.checkpoint.shards().iter().try_for_each(|shard| shard.file.check_unchanged())?;
        let is_this = model.settings.record.known().map(|record| |at: &Location| record.is_carried_by(at));
        let same = is_this.as_ref().map(|is_this| is_this as &dyn Fn(&Location) -> bool);
        files.commit(model.settings.root.as_deref(), same, model.settings.sync, cancelled)?;
        report.seconds.commit = timed.elapsed().as_secs_f64();
        report.seconds.total = (model.checkpoint.opening() + model.began.elapsed()).as_secs_f64();
        Ok(report)
    }
}
