//! The command: arguments in, exit code out.
//!
//! 0 done, 1 a model or a check failed, 2 the command line was wrong, 130 interrupted.

use std::process::ExitCode;

use clap::Parser;

mod cli;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    match cli::run(arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            cli::console::error(&cli::hints::described_any(&error));
            cli::Status::of(&error).into()
        }
    }
}
