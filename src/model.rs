//! One model, from file to file: the pipeline, stage by stage.
//!
//! In: the path of a checkpoint, settings, where the result goes, an engine. Out: the folded checkpoint and a
//! [`ModelReport`], or an error and nothing on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result, counted, shown};
use crate::fold::{Engine, FoldOptions, FoldStats, Job, Scales, Shifts, fold};
use crate::output::{Content, Layout, NormPlan, Replace, Style, Target, header_bytes, style_norms, write_unfolded};
use crate::plan::{Fold, PlanSettings, Planned, plan};
use crate::report::{Layers, ModelReport, Seconds, Verification};

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
        }
    }
}

/// Folds the checkpoint at `input` into `output`: [`Model::open`] and [`Model::fold_into`] in one call.
pub fn fold_model(
    input: &Path,
    output: &Path,
    settings: Settings<'_>,
    engine: &mut Engine,
    options: FoldOptions<'_>,
) -> Result<ModelReport> {
    Model::open(input, settings)?.fold_into(output, engine, options)
}

/// A checkpoint that was read and planned.
#[derive(Debug)]
pub struct Model<'a> {
    checkpoint: Checkpoint,
    planned: Planned,
    settings: Settings<'a>,
    opened: Instant,
    plan_time: Duration,
}

impl<'a> Model<'a> {
    /// Reads the header of the checkpoint at `input` and plans it. No device is needed, and nothing is written.
    pub fn open(input: &Path, settings: Settings<'a>) -> Result<Model<'a>> {
        let opened = Instant::now();
        let checkpoint = Checkpoint::open(input)?;
        let planned = plan(&checkpoint, &settings.planning, settings.plan)?;
        check_strict(&checkpoint, &planned, settings.strict)?;
        Ok(Model { checkpoint, planned, settings, opened, plan_time: opened.elapsed() })
    }

    /// Folds it into `output`.
    pub fn fold_into(&self, output: &Path, engine: &mut Engine, options: FoldOptions<'_>) -> Result<ModelReport> {
        let Model { checkpoint, planned, settings, .. } = self;
        let (device, adapter) = (engine.device(), engine.adapter());

        let stored_as = |float| settings.dtype.unwrap_or(float);
        let plans = style_norms(checkpoint, &planned.folds, settings.style, stored_as)?;
        let mut shifts = Shifts::compute(&plans, engine);
        shifts.check(checkpoint, &planned.folds, &plans, options)?;
        let layout = Layout::new(checkpoint, &planned.folds, &plans, &shifts.values, stored_as)?;

        let target = Target::create(output, settings.replace, checkpoint)?;
        let header = header_bytes(output, layout.metadata.as_ref(), &layout.entries)?;
        let data = header.len() as u64;
        let bytes_out = data + layout.entries.last().map_or(0, |entry| entry.begin + entry.bytes);
        target.set_len(bytes_out)?;
        target.write_at(0, &header)?;

        let timed = Instant::now();
        write_unfolded(checkpoint, &layout, data, &target, options)?;
        let copy_time = timed.elapsed();

        let jobs = jobs(&planned.folds, &plans, stored_as);
        let places = places(&layout, jobs.len());
        let stats = fold(checkpoint, &jobs, engine, options, &|job, first, folded| {
            target.write_at(data + places[job] + first * jobs[job].to.bytes() as u64, folded)
        })?;

        let timed = Instant::now();
        checkpoint.shards().iter().try_for_each(|shard| shard.file.check_unchanged())?;
        options.check_cancelled()?;
        target.commit(bytes_out, settings.sync)?;
        let commit_time = timed.elapsed();

        let (folded, kept) = planned.plan.counts();
        Ok(ModelReport {
            input: checkpoint.path().to_owned(),
            output: output.to_owned(),
            device,
            adapter,
            elements: stats.elements,
            elements_on_gpu: stats.elements_on_gpu,
            style: settings.style,
            layers: Layers { folded, kept },
            kept: planned.plan.kept().map(|(norm, reason)| (norm.to_owned(), reason.to_owned())).collect(),
            bytes_in: checkpoint.shards().iter().map(|shard| shard.file.bytes()).sum(),
            bytes_out,
            seconds: seconds(&stats, self.plan_time, copy_time, commit_time, self.opened.elapsed()),
            verification: options.verify.then(|| verification(&stats, &shifts)),
            warnings: self.warnings(&stats, &shifts),
        })
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

/// Where in the data section every folded weight begins.
fn places(layout: &Layout, folds: usize) -> Vec<u64> {
    let mut places = vec![0; folds];
    for entry in &layout.entries {
        if let Content::Folded { fold } = entry.content {
            places[fold] = entry.begin;
        }
    }
    places
}

fn verification(stats: &FoldStats, shifts: &Shifts) -> Verification {
    Verification {
        elements: stats.compared + shifts.compared,
        differ: stats.differ,
        worst_ulp: stats.worst_ulp,
        worst_shift_ulp: shifts.worst_ulp,
    }
}

fn seconds(stats: &FoldStats, plan: Duration, copy: Duration, commit: Duration, total: Duration) -> Seconds {
    Seconds {
        plan: plan.as_secs_f64(),
        read: stats.read.as_secs_f64(),
        copy: copy.as_secs_f64(),
        fold: stats.compute.as_secs_f64(),
        verify: stats.verify.as_secs_f64(),
        write: stats.write.as_secs_f64(),
        commit: commit.as_secs_f64(),
        total: total.as_secs_f64(),
    }
}
