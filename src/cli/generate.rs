//! `bnfold-gpu completions SHELL` and `bnfold-gpu man`, made from the command line's own definition.

use clap::CommandFactory;

use super::arguments::Cli;
use super::{Status, console};

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bnfold-gpu", &mut script);
    console::data(&String::from_utf8_lossy(&script))?;
    Ok(Status::Done)
}

pub(crate) fn man() -> anyhow::Result<Status> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    console::data(&String::from_utf8_lossy(&page))?;
    Ok(Status::Done)
}
