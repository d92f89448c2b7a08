//! What the user typed, and one file a command.
//!
//! In: the command line. Out: calls into the library, text on stdout (data) and stderr (everything else), a [`Status`].

mod archs;
pub(crate) mod arguments;
mod bench;
pub(crate) mod console;
mod destination;
mod devices;
mod fold;
mod generate;
mod grouped;
pub(crate) mod hints;
mod info;
mod interrupt;
mod listed;
mod manifests;
mod plan;
mod progress;
mod report;
mod repositories;
mod results;
mod settings;
mod slips;
mod standard_output;
mod values;
mod verify;

use std::process::ExitCode;

pub(crate) use arguments::Cli;
use arguments::Command;
use bnfold_gpu::Error;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything was done; warnings included.
    Done,
    /// A model or a check failed.
    Failed,
    /// The command line cannot be followed.
    Usage,
    /// The user stopped it.
    Interrupted,
}

impl Status {
    /// The status that an error which ends the run stands for.
    pub(crate) fn of(error: &anyhow::Error) -> Status {
        if error.is::<settings::UsageError>() || error.is::<report::ReportError>() {
            return Status::Usage;
        }
        match error.downcast_ref::<Error>() {
            Some(Error::Interrupted) => Status::Interrupted,
            Some(Error::Architecture { .. } | Error::EpsForNone { .. } | Error::StatedForNone { .. }) => Status::Usage,
            _ => Status::Failed,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::Interrupted => 130,
        })
    }
}

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Status> {
    bnfold_gpu::descriptors::raise_limit();
    interrupt::outlive_large_files();
    match cli.command {
        None => fold::run(&cli.fold),
        Some(Command::Fold(arguments)) => fold::run(&arguments),
        Some(Command::Plan(arguments)) => plan::run(&arguments),
        Some(Command::Verify(arguments)) => verify::run(&arguments),
        Some(Command::Info(arguments)) => info::run(&arguments),
        Some(Command::Report(arguments)) => manifests::run(&arguments),
        Some(Command::Devices(arguments)) => devices::run(&arguments),
        Some(Command::Archs(arguments)) => archs::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
        Some(Command::Completions { shell }) => generate::completions(shell),
        Some(Command::Man(arguments)) => generate::man(&arguments),
    }
}
