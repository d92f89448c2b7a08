//! What can be typed, but is hardly meant.
//!
//! In: the command line. Out: an error of it that names what is likely meant, before any work.

use std::path::Path;

use bnfold_gpu::Warning;
use bnfold_gpu::model::Denied;
use bnfold_gpu::store::Location;
use bnfold_gpu::warning::LARGEST_EPS;
use clap::CommandFactory;

use super::arguments::{Cli, PlanningArguments};
use super::settings::{UsageError, shown_path};

/// Names at least so much alike, by Jaro's measure, are likely the same one misspelt.
const ALIKE: f64 = 0.8;

/// No network has such an eps: 1e5 is likely a slip for 1e-5.
pub(crate) fn check_eps(planning: &PlanningArguments, denied: &Denied) -> Result<(), UsageError> {
    let for_norms = planning.eps_for.iter().map(|(glob, eps)| (glob.glob().to_owned(), *eps));
    let stated = planning.eps.map(|eps| ("all norms".to_owned(), eps)).into_iter().chain(for_norms);
    for (norm, eps) in stated.filter(|(_, eps)| *eps > LARGEST_EPS) {
        let warning = Warning::EpsLarge { norms: 0, eps, norm: norm.clone() };
        if denied.has(&warning) {
            return Err(UsageError(format!(
                "eps {eps:e} for {norm}: hardly any network has one above {LARGEST_EPS}; --allow large-eps accepts it"
            )));
        }
    }
    Ok(())
}

/// No command, but the name of no file either: a slip in a command's name would otherwise be told as a missing file.
pub(crate) fn check_words(inputs: &[Location]) -> Result<(), UsageError> {
    let mut words = inputs
        .iter()
        .filter_map(Location::as_file)
        .filter(|input| is_word(input) && input.try_exists().is_ok_and(|there| !there));
    let Some(word) = words.next().map(shown_path) else { return Ok(()) };
    let commands = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect::<Vec<_>>();
    let likeness = |name: &&String| strsim::jaro(name, &word);
    let near = commands.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = near.filter(|near| likeness(near) > ALIKE).map(|near| format!("; is the command `{near}` meant?"));
    Err(UsageError(format!("{word}: no such file or folder, and no command{}", meant.unwrap_or_default())))
}

/// Whether a path is a mere word.
fn is_word(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
}
