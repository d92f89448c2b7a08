//! `bnfold-gpu completions SHELL` and `bnfold-gpu man`, made from the command line's own definition.

use clap::CommandFactory;

use super::arguments::Cli;
use super::{Status, console};

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bnfold-gpu", &mut script);
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

pub(crate) fn man() -> anyhow::Result<Status> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    console::data(&String::from_utf8_lossy(&page))?;
    Ok(Status::Done)
}
