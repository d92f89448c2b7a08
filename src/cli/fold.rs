//! `bnfold-gpu --input PATH...`: folds models one after the other; a failing one does not stop the rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bnfold_gpu::Error;
use bnfold_gpu::fold::{Engine, FoldOptions};
use bnfold_gpu::model::{Model, Settings};
use bnfold_gpu::output::Replace;
use bnfold_gpu::report::{FailureReport, ModelReport};

use super::arguments::{FoldArguments, Format};
use super::{Status, console, settings};

pub(crate) fn run(arguments: &FoldArguments) -> anyhow::Result<Status> {
    let outputs = settings::outputs(&arguments.input, arguments.output.as_deref())?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    // Without a handler a signal would leave the temporary file behind; where none can be set, that is all that is lost.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // Asked a second time: at once, whatever is left behind.
            #[expect(clippy::exit, reason = "there is no other way out of a signal handler")]
            std::process::exit(130);
        }
    });
    let mut engine = None;
    let mut failed = Vec::new();
    for (input, output) in arguments.input.iter().zip(&outputs) {
        match one(input, output, arguments, &mut engine, &cancelled) {
            Ok(report) => print(&report, arguments)?,
            // These stop everything: no other model would fare better.
            Err(error @ (Error::Interrupted | Error::NoAdapter { .. } | Error::Gpu { .. })) => return Err(error.into()),
            Err(error) => {
                if arguments.format == Format::Json {
                    console::json(&FailureReport { input: input.clone(), error: error.to_string() }, false)?;
                }
                console::error(&error);
                failed.push(input);
            }
        }
    }
    summarise(&failed, arguments.input.len());
    Ok(if failed.is_empty() { Status::Done } else { Status::Failed })
}

/// Folds one model. The engine is opened for the first one that gets as far as to need it.
fn one(
    input: &Path,
    output: &Path,
    arguments: &FoldArguments,
    engine: &mut Option<Engine>,
    cancelled: &AtomicBool,
) -> Result<ModelReport, Error> {
    let settings = Settings {
        planning: settings::plan_settings(&arguments.planning, input, arguments.verbosity.quiet),
        plan: arguments.plan.as_deref(),
        style: arguments.style.into(),
        dtype: arguments.dtype.float(),
        strict: arguments.strict,
        replace: if arguments.force { Replace::Always } else { Replace::Never },
        sync: !arguments.no_sync,
    };
    let model = Model::open(input, settings)?;
    let engine = match engine {
        Some(engine) => engine,
        None => engine.insert(settings::engine(arguments.device, arguments.verbosity.quiet)?),
    };
    // Only now: nothing is created by a call that fails before.
    if let Some(folder) = output.parent().filter(|&folder| arguments.output.as_deref() == Some(folder)) {
        std::fs::create_dir_all(folder).map_err(|source| Error::Io {
            action: "create the output folder",
            path: folder.to_owned(),
            source,
        })?;
    }
    let bytes = std::fs::metadata(input).map_or(0, |metadata| metadata.len());
    let name = input.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let bar = console::progress(bytes, &name, arguments.verbosity.quiet);
    let options = FoldOptions {
        verify: !arguments.no_verify,
        allow_non_finite: arguments.allow_non_finite,
        cancelled,
        progress: &|done| bar.inc(done),
        ..FoldOptions::default()
    };
    let report = model.fold_into(output, engine, options);
    bar.finish_and_clear();
    report
}

fn print(report: &ModelReport, arguments: &FoldArguments) -> anyhow::Result<()> {
    if !arguments.verbosity.quiet {
        for warning in &report.warnings {
            console::warning(&format!("{}: {warning}", report.input.display()));
        }
    }
    match arguments.format {
        Format::Json => console::json(report, false),
        Format::Human => {
            let detail = if arguments.verbosity.verbose { report.details() } else { String::new() };
            console::data(&format!("{report}\n{detail}"))
        }
    }
}

/// After several models: which ones failed.
fn summarise(failed: &[&PathBuf], all: usize) {
    if !failed.is_empty() && all > 1 {
        let names = failed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        console::note(&format!("{} of {all} models failed: {names}", failed.len()));
    }
}
