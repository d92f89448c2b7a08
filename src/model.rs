//! One model, from file to file: the pipeline, stage by stage.
//!
//! In: the path of a checkpoint (a file, or the index of a sharded one), settings, where the result goes, an engine. Out:
//! the folded checkpoint and a [`ModelReport`], or an error and nothing on disk.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result, counted, shown};
use crate::fold::{Engine, FoldOptions, FoldStats, Job, Scales, Shifts, fold};
use crate::network::Fold;
use crate::output::{Files, Layout, NormPlan, Record, Replace, Style, style_norms};
use crate::plan::{PlanSettings, Planned, plan_on};
use crate::report::layer::layer_reports;
use crate::report::{Layers, ModelReport, Seconds, Verification};
use crate::store::Location;

/// How a model is folded: the resolved command line.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// What bears on the plan.
    pub planning: PlanSettings,
    /// A plan to follow instead of the planner's.
    pub plan: Option<&'a Path>,
    /// How folded norms are stored.
    pub style: Style,
    /// The float type of the output; `None` keeps every tensor's.
    pub dtype: Option<Float>,
    /// Fail if a norm stays.
    pub strict: bool,
    /// Replace an existing output.
    pub replace: Replace,
    /// Flush to disk before the file gets its name.
    pub sync: bool,
    /// Make the output's folder if it is missing.
    pub make_folder: bool,
    /// What the result's metadata say about where it comes from; nothing, if there is none. Files at the output's place that
    /// say the same are this very result, and stay.
    pub record: Option<Record>,
}

impl Default for Settings<'_> {
    /// The command line's defaults; what is written is on disk before it gets its name.
    fn default() -> Self {
        Settings {
            planning: PlanSettings::default(),
            plan: None,
            style: Style::default(),
            dtype: None,
            strict: false,
            replace: Replace::default(),
            sync: true,
            make_folder: false,
            record: None,
        }
    }
}

/// Folds the checkpoint at `input` into `output`: [`Model::plan_on`] and [`Model::fold_into`] in one call.
pub fn fold_model(
    input: impl Into<Location>,
    output: impl Into<Location>,
    settings: Settings<'_>,
    engine: &mut Engine,
    options: FoldOptions<'_>,
) -> Result<ModelReport> {
    Model::plan_on(Checkpoint::open(input)?, settings, engine)?.fold_into(output, engine, options)
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

    /// Plans an open checkpoint, on the CPU.
    pub fn plan(checkpoint: Checkpoint, settings: Settings<'a>) -> Result<Model<'a>> {
        Model::plan_on(checkpoint, settings, &mut Engine::Cpu)
    }

    /// Plans an open checkpoint. The plan is the same on every engine; only `--evidence full` gives it something to do.
    pub fn plan_on(checkpoint: Checkpoint, settings: Settings<'a>, engine: &mut Engine) -> Result<Model<'a>> {
        let began = Instant::now();
        let planned = plan_on(&checkpoint, &settings.planning, settings.plan, engine)?;
        check_strict(&checkpoint, &planned, settings.strict)?;
        let plan_time = checkpoint.opening() + began.elapsed();
        Ok(Model { checkpoint, planned, settings, began, plan_time })
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
        let Model { checkpoint, planned, settings, .. } = self;
        let (device, adapter) = (engine.device(), engine.adapter());

        let stored_as = |float| settings.dtype.unwrap_or(float);
        let plans = style_norms(checkpoint, &planned.folds, settings.style, stored_as)?;
        let mut shifts = Shifts::compute(&plans, engine);
        shifts.check(checkpoint, &planned.folds, &plans, options)?;
        let mut layout = Layout::new(checkpoint, &planned.folds, &plans, &shifts.values, stored_as)?;
        if let Some(record) = &settings.record {
            layout.shards.iter_mut().for_each(|shard| record.put_into(&mut shard.metadata, planned));
        }

        if let Some(folder) = output.folder().as_file().filter(|_| settings.make_folder) {
            std::fs::create_dir_all(folder).map_err(Error::io("create the output folder", folder))?;
        }
        let is_this = settings.record.as_ref().map(|record| |at: &Location| record.is_carried_by(at));
        let same = is_this.as_ref().map(|is_this| is_this as &dyn Fn(&Location) -> bool);
        let files = Files::create(&output, checkpoint, &layout, &planned.folds, settings.replace, same)?;
        let timed = Instant::now();
        files.write_unfolded(checkpoint, &layout, options)?;
        let copy_time = timed.elapsed();

        let jobs = jobs(&planned.folds, &plans, stored_as);
        let places = layout.places(jobs.len());
        let stats = fold(checkpoint, &jobs, engine, options, &|job, first, folded| {
            files.write_at(places[job], first * jobs[job].to.bytes() as u64, folded)
        })?;
        options.check_cancelled()?;

        let (folded, kept) = planned.plan.counts();
        let (layers, lints) = layer_reports(planned, &plans, &shifts, &stats.ranges, stored_as);
        let report = ModelReport {
            input: checkpoint.path().to_owned(),
            output: output.path().to_owned(),
            device,
            adapter,
            elements: stats.elements,
            elements_on_gpu: stats.elements_on_gpu,
            style: settings.style,
            layers: Layers { folded, kept },
            kept: planned.plan.kept().map(|(norm, reason)| (norm.to_owned(), reason.to_owned())).collect(),
            folded: layers,
            lints,
            bytes_in: checkpoint.bytes(),
            bytes_out: files.bytes(),
            seconds: seconds(&stats, self.plan_time, copy_time),
            verification: options.verify.then(|| verification(&stats, &shifts)),
            warnings: self.warnings(&stats, &shifts),
        };
        Ok(Finished { model: self, files, report, cancelled: options.cancelled })
    }

    /// What the user should know about the result.
    fn warnings(&self, stats: &FoldStats, shifts: &Shifts) -> Vec<String> {
        let Model { planned, settings, .. } = self;
        let mut warnings = Vec::new();
        let (folded, kept) = planned.plan.counts();
        if folded + kept == 0 {
            warnings.push("no batch norm found; the tensors were copied as they are".to_owned());
        } else if let Some((norm, reason)) = planned.plan.kept().next() {
            let (all, norm) = (folded + kept, shown(norm));
            warnings.push(format!(
                "{kept} of {} kept; the first is `{norm}`: {reason} (`bnfold-gpu plan` lists all)",
                counted(all, "norm")
            ));
        }
        warnings.extend(planned.warnings());
        // transformers says `architectures`, timm `architecture`.
        let class = settings.planning.eps.config.as_ref().and_then(|config| {
            let class = config.get("architectures").and_then(|classes| classes.get(0));
            class.or_else(|| config.get("architecture"))?.as_str()
        });
        if let Some(class) = class.filter(|_| folded > 0 && settings.style == Style::Strip) {
            warnings.push(format!(
                "the config.json beside the input names a model class: unmodified code of `{}` has no place for the new \
                 biases and may load this file wrongly without failing; use --style drop-in for it",
                shown(class)
            ));
        }
        warnings.extend(shifts.warnings.iter().chain(&stats.warnings).cloned());
        let non_finite = stats.non_finite + shifts.non_finite;
        if non_finite > 0 {
            warnings.push(format!("{non_finite} folded values are not finite, as --allow-non-finite accepts"));
        }
        warnings
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
    /// Gives the result its name, if the original is still what was read.
    pub fn publish(self) -> Result<ModelReport> {
        let Finished { model, files, mut report, cancelled } = self;
        let timed = Instant::now();
        model.checkpoint.shards().iter().try_for_each(|shard| shard.file.check_unchanged())?;
        let is_this = model.settings.record.as_ref().map(|record| |at: &Location| record.is_carried_by(at));
        let same = is_this.as_ref().map(|is_this| is_this as &dyn Fn(&Location) -> bool);
        files.commit(same, model.settings.sync, cancelled)?;
        report.seconds.commit = timed.elapsed().as_secs_f64();
        report.seconds.total = (model.checkpoint.opening() + model.began.elapsed()).as_secs_f64();
        Ok(report)
    }
}

fn check_strict(checkpoint: &Checkpoint, planned: &Planned, strict: bool) -> Result<()> {
    let (folded, kept) = planned.plan.counts();
    match planned.plan.kept().next() {
        Some((norm, reason)) if strict => Err(Error::Strict {
            path: checkpoint.path().to_owned(),
            kept,
            all: folded + kept,
            norm: norm.to_owned(),
            reason: reason.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The weights to fold, in the order of the plan.
fn jobs<'a>(folds: &'a [Fold], plans: &[NormPlan], stored_as: impl Fn(Float) -> Float) -> Vec<Job<'a>> {
    let job = |(fold, plan): (&'a Fold, &NormPlan)| Job {
        fold,
        scales: Scales::new(plan.scales()),
        reference: plan.reference(),
        to: stored_as(fold.float),
    };
    folds.iter().zip(plans).map(job).collect()
}

fn verification(stats: &FoldStats, shifts: &Shifts) -> Verification {
    Verification {
        elements: stats.compared + shifts.compared,
        differ: stats.differ,
        worst_ulp: stats.worst_ulp,
        worst_shift_ulp: shifts.worst_ulp,
    }
}

/// Stages that are over before the result is published.
fn seconds(stats: &FoldStats, plan: Duration, copy: Duration) -> Seconds {
    Seconds {
        plan: plan.as_secs_f64(),
        read: stats.read.as_secs_f64(),
        copy: copy.as_secs_f64(),
        fold: stats.compute.as_secs_f64(),
        kernel: stats.kernel.map(|kernel| kernel.as_secs_f64()),
        verify: stats.verify.as_secs_f64(),
        write: stats.write.as_secs_f64(),
        commit: 0.0,
        total: 0.0,
    }
}
