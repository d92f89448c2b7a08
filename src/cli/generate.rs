//! `bnfold-gpu completions SHELL` and `bnfold-gpu man`, made from the command line's own definition.

use anyhow::Context;
use clap::CommandFactory;

use super::arguments::{Cli, ManArguments};
use super::settings::UsageError;
use super::{Status, console};

const NAME: &str = "bnfold-gpu";

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    let names = match shell {
        clap_complete::Shell::Bash => BASH,
        clap_complete::Shell::Fish => FISH,
        _ => "",
    };
    console::data(&(String::from_utf8_lossy(&script) + names))?;
    Ok(Status::Done)
}

/// `--arch` is completed with the names that the program itself lists: too many for the script.
const BASH: &str = r#"
_bnfold-gpu-archs() {
    if [[ "${COMP_WORDS[COMP_CWORD-1]}" == "--arch" ]]; then
        COMPREPLY=($("$1" archs "${COMP_WORDS[COMP_CWORD]}*" 2>/dev/null | cut -d ' ' -f 1))
    else
        _bnfold-gpu "$@"
    fi
}
complete -F _bnfold-gpu-archs -o bashdefault -o default bnfold-gpu
"#;
const FISH: &str = r#"
complete -c bnfold-gpu -l arch -x -a "(bnfold-gpu archs | string replace -r ' .*' '')"
"#;

/// The manual page of the program, or of a command; with `folder` a file for each of them.
pub(crate) fn man(arguments: &ManArguments) -> anyhow::Result<Status> {
    let mut program = Cli::command();
    // Gives the commands the names that their pages have.
    program.build();
    let Some(folder) = &arguments.out else {
        let page = match arguments.command.as_deref() {
            None => page(program)?,
            Some(name) => page(found(&program, name)?)?,
        };
        console::data(&page)?;
        return Ok(Status::Done);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    let commands = commands(&program).map(str::to_owned).collect::<Vec<_>>();
    let pages = commands.iter().map(|name| Ok((format!("{NAME}-{name}.1"), page(found(&program, name)?)?)));
    let all = pages.chain([page(program.clone()).map(|page| (format!("{NAME}.1"), page))]);
    for file in all.collect::<anyhow::Result<Vec<_>>>()? {
        let (path, page) = (folder.join(file.0), file.1);
        std::fs::write(&path, page).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(Status::Done)
}

/// A command of the program, under the name that its page has.
fn found(program: &clap::Command, name: &str) -> Result<clap::Command, UsageError> {
    let command = program.find_subcommand(name).cloned();
    let names = || commands(program).collect::<Vec<_>>().join(", ");
    command.ok_or_else(|| UsageError(format!("man {name}: no such command; there are {}", names())))
}

/// What has a page: not the command that prints help.
fn commands(program: &clap::Command) -> impl Iterator<Item = &str> {
    program.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help")
}

fn page(command: clap::Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
