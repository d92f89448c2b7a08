//! Which option helps: the library's errors say what is wrong, the command line adds what to type.
//!
//! In: an error. Out: its words, and the option that does what it advises. No other file of the command line knows
//! options by the errors that they mend.

use std::borrow::Cow;

use bnfold_gpu::Error;
use bnfold_gpu::output::OutputProblem;
use bnfold_gpu::report::ModelReport;
use bnfold_gpu::store::UrlProblem;

const KEEP: &str =
    "`bnfold-gpu plan --format json` writes a plan: change this norm's action to \"keep\" and pass it with --plan";
const REPLACE: &str = "pass --force to replace it, or another --output";
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
        Error::Url { problem: UrlProblem::NotWritable, .. } => ELSEWHERE.into(),
        Error::NormValue { value, .. } if value.is_finite() => KEEP.into(),
        Error::NormValue { .. } => {
            format!("--allow-non-finite is about weights and biases, not about norms; {KEEP}").into()
        }
        Error::NormScale { .. } => format!("--eps states it, or --eps-for for this norm; {KEEP}").into(),
        Error::NonFinite { stored, value, dtype, .. } => {
            let widens = stored.is_finite() && *dtype != "F32" && value.abs() <= f64::from(f32::MAX);
            let widen = if widens { "--dtype f32 widens, " } else { "" };
            format!("{widen}--allow-non-finite accepts; {KEEP}").into()
        }
        Error::Overflow { .. } => "--dtype chooses the type, --allow-non-finite accepts infinities".into(),
        Error::OutputExists { .. } => REPLACE.into(),
        Error::Output { problem, .. } => return output_hint(problem).map(Cow::Borrowed),
        Error::Part { .. } => "pass that index as --input, or its folder".into(),
        Error::SharedShard { .. } => "leave one out with --exclude, or fold it to another --output".into(),
        Error::NameTaken { .. } => KEEP.into(),
        Error::Strict { .. } => "--strict allows none to stay".into(),
        Error::NoAdapter { .. } => "`bnfold-gpu devices` lists what there is, --device cpu needs none".into(),
        _ => return None,
    })
}

fn output_hint(problem: &OutputProblem) -> Option<&'static str> {
    match problem {
        OutputProblem::OtherResult { .. } => Some(REPLACE),
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

    /// A type that is wide enough is no type to advise.
    #[test]
    fn a_wider_type_is_advised_only_where_it_helps() {
        let found = |stored, value, dtype| {
            let (path, norm, tensor) = ("m".into(), "bn".to_owned(), "w".to_owned());
            described(&Error::NonFinite { path, norm, tensor, channel: 0, element: 0, stored, value, dtype })
        };
        assert!(found(1.0, 1e5, "F16").contains("--dtype f32"));
        for none in [found(1.0, 1e300, "F16"), found(1.0, 1e39, "F32"), found(f64::NAN, 1.0, "F16")] {
            assert!(!none.contains("--dtype") && none.contains("--allow-non-finite"), "{none}");
        }
    }
}
