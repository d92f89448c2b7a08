//! Which option helps: the library says what is wrong, the command line adds what to type.
//!
//! In: an error, a warning, a problem that verification found. Out: its words, and the option that does what it advises.
//! No other file of the command line knows options by what they mend.

use std::borrow::Cow;
use std::path::Path;

use bnfold_gpu::ArchitectureProblem::{OtherNames, TooMany};
use bnfold_gpu::hub::HubProblem;
use bnfold_gpu::job::Note;
use bnfold_gpu::output::OutputProblem;
use bnfold_gpu::report::{FailureReport, ModelReport, Outcome};
use bnfold_gpu::store::UrlProblem;
use bnfold_gpu::text::shown;
use bnfold_gpu::{Error, FoldProblem, VerifyProblem, Warning};

const KEEP: &str =
    "`bnfold-gpu plan --format json` writes a plan: change this norm's action to \"keep\" and pass it with --plan";
const REPLACE: &str = "pass --force to replace it, or another --output";
const FOR_NORMS: &str = "--eps-for takes names as `bnfold-gpu plan -v` lists them";
const ELSEWHERE: &str = "pass another --output";

/// An error in words, with what to type.
pub(crate) fn described(error: &Error) -> String {
    match hint(error) {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// The same for whatever ends a run.
pub(crate) fn described_any(error: &anyhow::Error) -> String {
    error.downcast_ref::<Error>().map_or_else(|| error.to_string(), described)
}

/// The same as a model's outcome.
pub(super) fn failed(input: &Path, error: &Error) -> Outcome {
    Outcome::Failed(FailureReport::new(input, error, described(error)))
}

/// Why a device was taken, with what would change that.
pub(super) fn noted(note: &Note) -> String {
    match note {
        Note::NotMeasured => format!("{note}; `bnfold-gpu bench` measures it"),
        note => note.to_string(),
    }
}

/// A warning in words, with what to type.
pub(crate) fn warned(warning: &Warning) -> String {
    match (warning, advice(warning)) {
        // A reason stands at the end, with advice of its own.
        (Warning::NormsKept { .. }, _) => format!("{warning} (`bnfold-gpu plan` lists all)"),
        (_, Some(advice)) => format!("{warning}; {advice}"),
        (_, None) => warning.to_string(),
    }
}

/// A warning that is a failure in words, with what to type.
pub(crate) fn denied(warning: &Warning) -> String {
    format!("{warning}; {}", denied_hint(warning))
}

/// What verification found in words, with what to type.
pub(crate) fn found(problem: &VerifyProblem) -> String {
    match problem.fits_with_eps {
        Some(0.0) => format!("{problem}: pass --eps 0"),
        Some(eps) => format!("{problem}: pass --eps {eps:e}"),
        None => problem.to_string(),
    }
}

/// The options that list what a report only counts; empty if it counts nothing.
pub(crate) fn on_remarks(report: &ModelReport) -> &'static str {
    if report.lints.is_empty() { "" } else { "  (-v, --report or --format json lists the remarks)\n" }
}

/// Which option helps against an error, if one does.
fn hint(error: &Error) -> Option<Cow<'static, str>> {
    Some(match error {
        Error::DanglingLink { .. } => "in a folder --exclude leaves it out".into(),
        Error::NoFolder { .. } => "or pass another --output".into(),
        Error::NoRoom { .. } => "name another folder with --output".into(),
        Error::Url { problem: UrlProblem::NotWritable | UrlProblem::RepositoryNotWritable, .. } => ELSEWHERE.into(),
        Error::Hub { problem: HubProblem::Within { .. }, .. } => "--include chooses among its checkpoints".into(),
        Error::Fold { problem, .. } => return fold_hint(problem),
        Error::Overflow { .. } => "--dtype chooses the type, --allow-non-finite accepts infinities".into(),
        Error::OutputExists { .. } => REPLACE.into(),
        Error::Output { problem, .. } => return output_hint(problem).map(Cow::Borrowed),
        Error::Architecture { problem: OtherNames { .. } | TooMany { .. }, .. } => {
            "pass another --arch, or state eps with --eps".into()
        }
        Error::Architecture { .. } => "`bnfold-gpu archs` lists what --arch takes".into(),
        Error::EpsForNone { .. } => FOR_NORMS.into(),
        Error::StatedForNone { what: "eps", .. } => FOR_NORMS.into(),
        Error::StatedForNone { .. } => "--arch-for takes globs over file names, folders' names and paths".into(),
        Error::Part { .. } => "pass that index as --input, or its folder".into(),
        Error::SharedShard { .. } => "leave one out with --exclude, or fold it to another --output".into(),
        Error::NameTaken { .. } => KEEP.into(),
        Error::DeniedWarning { warning, .. } => return Some(denied_hint(warning)),
        Error::DeniedRemark { code, .. } => format!("--allow {code} accepts it").into(),
        Error::NoAdapter { .. } => "`bnfold-gpu devices` lists what there is, --device cpu needs none".into(),
        _ => return None,
    })
}

/// Which option helps against what a warning is about, if one does.
fn advice(warning: &Warning) -> Option<Cow<'static, str>> {
    if let Warning::EpsAssumed { suggested: Some(name), .. } = warning {
        return Some(format!("the file's name suggests --arch {}", shown(name)).into());
    }
    advice_for_all(warning).map(Cow::Borrowed)
}

/// The same where it depends on nothing but what the warning is about.
fn advice_for_all(warning: &Warning) -> Option<&'static str> {
    Some(match warning {
        Warning::StyleChosen { .. } => "--style strip is followed if it is given",
        warning if warning.is_note() => return None,
        Warning::EpsAssumed { .. } => "name the architecture with --arch, or state eps with --eps or --eps-for",
        Warning::EpsLarge { .. } => "--allow large-eps accepts it",
        Warning::EpsContradicted { .. } => "state eps with --eps if it is wrong",
        Warning::StatisticsShared { .. } => "fold a file that holds one of the two sets",
        Warning::EvidenceLeft { .. } => "--evidence full reads them",
        Warning::EpsForNone { .. } => FOR_NORMS,
        Warning::EpsOverruled { .. } => "without \"eps\" in these lines --eps and --eps-for are followed",
        Warning::ArchitectureDisputed { config_eps: Some(_), .. } => "with --eps neither is asked",
        Warning::ArchitectureDisputed { config_eps: None, .. } => "without --arch config.json is followed",
        Warning::ModelClass { .. } => "use --style drop-in for it",
        Warning::NonFinite { .. } => "--allow-non-finite accepts them",
        _ => return None,
    })
}

/// What mends a warning, and what accepts it.
fn denied_hint(warning: &Warning) -> Cow<'static, str> {
    let accept = format!("--allow {} accepts it", warning.code());
    match advice(warning) {
        Some(advice) if advice != accept => format!("{advice}; {accept}").into(),
        _ => accept.into(),
    }
}

fn fold_hint(problem: &FoldProblem) -> Option<Cow<'static, str>> {
    Some(match problem {
        FoldProblem::Value { value, .. } if value.is_finite() => KEEP.into(),
        FoldProblem::Value { .. } => {
            format!("--allow-non-finite is about weights and biases, not about norms; {KEEP}").into()
        }
        FoldProblem::Scale { .. } => format!("--eps states it, or --eps-for for this norm; {KEEP}").into(),
        FoldProblem::NonFinite { stored, value, dtype, .. } => {
            let widens = stored.is_finite() && *dtype != "F32" && value.abs() <= f64::from(f32::MAX);
            let widen = if widens { "--dtype f32 widens, " } else { "" };
            format!("{widen}--allow-non-finite accepts; {KEEP}").into()
        }
        _ => return None,
    })
}

fn output_hint(problem: &OutputProblem) -> Option<&'static str> {
    match problem {
        OutputProblem::OtherResult { .. } | OutputProblem::Unfinished { .. } | OutputProblem::Empty => Some(REPLACE),
        OutputProblem::IsInput | OutputProblem::InUse { .. } | OutputProblem::NotAFile { .. } => Some(ELSEWHERE),
        OutputProblem::IsInputShard => Some("pass --output DIR"),
        OutputProblem::NoIndexName => Some("or pass a folder as --output (its shards keep their names)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_follows_the_words_of_an_error() {
        let exists = Error::OutputExists { path: "m".into() };
        assert_eq!(described(&exists), "m: exists already; pass --force to replace it, or another --output");
        assert_eq!(described_any(&exists.into()), "m: exists already; pass --force to replace it, or another --output");
        assert_eq!(described(&Error::Interrupted), Error::Interrupted.to_string());
    }

    #[test]
    fn an_option_follows_the_words_of_a_warning_or_problem() {
        let both =
            |config_eps| Warning::ArchitectureDisputed { stated: "a/b".into(), configured: "a/c".into(), config_eps };
        let words = "architecture a/b is stated, but config.json says a/c; the former is followed";
        assert_eq!(warned(&both(None)), format!("{words}; without --arch config.json is followed"));
        let eps = ", but for the eps that config.json states, 1e-3; with --eps neither is asked";
        assert_eq!(warned(&both(Some(1e-3))), format!("{words}{eps}"));
        assert_eq!(warned(&Warning::NoNorms), Warning::NoNorms.to_string());
    }

    /// A type that is wide enough is no type to advise.
    #[test]
    fn a_wider_type_is_advised_only_where_it_helps() {
        let found = |stored, value, dtype| {
            let problem =
                FoldProblem::NonFinite { tensor: "w".to_owned(), channel: 0, element: 0, stored, value, dtype };
            described(&Error::Fold { path: "m".into(), norm: "bn".to_owned(), problem })
        };
        assert!(found(1.0, 1e5, "F16").contains("--dtype f32"));
        for none in [found(1.0, 1e300, "F16"), found(1.0, 1e39, "F32"), found(f64::NAN, 1.0, "F16")] {
            assert!(!none.contains("--dtype") && none.contains("--allow-non-finite"), "{none}");
        }
    }
}
