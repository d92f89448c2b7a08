//! 6 REPORT: what a run printed, read back.
//!
//! In: lines of `--format json`. Out: [`Outcome`]s. A number that is not finite was printed as `null` and comes back as a NaN;
//! warnings come back as the sentences that they were.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Outcome;
use crate::json;
use crate::warning::Warning;

impl Outcome {
    /// The outcome that `line` tells; keys that are not known are passed over.
    ///
    /// # Errors
    ///
    /// It is no JSON, or not of what `fold --format json` prints.
    pub fn from_json(line: &str) -> Result<Outcome, serde_json::Error> {
        json::parse(line.as_bytes())
    }
}

/// A number that is `null` where it was not finite.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Warnings and notes as a line has them: sentences, and the codes of the former.
#[derive(Deserialize)]
struct Sentences {
    warnings: Vec<String>,
    warning_codes: Vec<String>,
    notes: Vec<String>,
}

pub(super) fn told<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Warning>, D::Error> {
    let Sentences { warnings, warning_codes, notes } = Sentences::deserialize(deserializer)?;
    if warnings.len() != warning_codes.len() {
        return Err(D::Error::custom("`warnings` and `warning_codes` are of different lengths"));
    }
    let told = warnings.into_iter().zip(&warning_codes).map(|(text, code)| match known(code) {
        Some(code) => Ok(Warning::Told { text, code }),
        None => Err(D::Error::custom(format_args!("unknown code `{code}`"))),
    });
    told.chain(notes.into_iter().map(|text| Ok(Warning::Told { text, code: "" }))).collect()
}

fn known(code: &str) -> Option<&'static str> {
    Warning::CODES.iter().copied().find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = r#"{"status":"failed","input":"a.safetensors","error":"why","transient":true,"node":"n1"}"#;

    #[test]
    fn a_line_comes_back_as_it_was() {
        let outcome = Outcome::from_json(FAILED).unwrap();
        assert_eq!(serde_json::to_string(&outcome).unwrap(), FAILED.replace(",\"node\":\"n1\"", ""));
    }

    #[test]
    fn other_lines_are_refused() {
        for (line, why) in [
            ("", "EOF"),
            ("{\"status\":\"failed\"}", "missing field `input`"),
            ("{\"status\":\"planned\",\"input\":\"a\"}", "unknown variant `planned`"),
            ("{\"status\":\"folded\",\"input\":\"a\"}", "missing field"),
            (&FAILED[..40], "EOF"),
        ] {
            let error = Outcome::from_json(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
