//! 6 REPORT: what several runs told of the same models, as one.
//!
//! In: outcomes, in the order in which they were told. Out: one a model, in the order in which the models were first heard of.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Earlier, ModelReport, Outcome};
use crate::text::shown;

/// One outcome a model.
#[derive(Debug, Default)]
pub struct Merged {
    models: Vec<Outcome>,
    places: HashMap<PathBuf, usize>,
}

/// One model, and two results: runs that are not of one another.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} was folded to {} and to {}: two zoos, which take a page each",
    shown(&input.to_string_lossy()), shown(&outputs[0].to_string_lossy()), shown(&outputs[1].to_string_lossy())
)]
pub struct OtherOutput {
    /// The model.
    pub input: PathBuf,
    /// Where its results are.
    pub outputs: [PathBuf; 2],
}

impl Merged {
    /// Takes what was told last. That a run came upon a result says less than what was told when it was made, and a run
    /// that did not reach a model says nothing of it.
    ///
    /// # Errors
    ///
    /// It is about another result than what was told before.
    pub fn add(&mut self, outcome: Outcome) -> Result<(), OtherOutput> {
        let Some(&place) = self.places.get(outcome.input()) else {
            self.places.insert(outcome.input().to_owned(), self.models.len());
            self.models.push(outcome);
            return Ok(());
        };
        let before = &mut self.models[place];
        if let (Some(one), Some(other)) = (before.output(), outcome.output())
            && one != other
        {
            let outputs = [one.to_owned(), other.to_owned()];
            return Err(OtherOutput { input: outcome.input().to_owned(), outputs });
        }
        let says_less = match (&*before, &outcome) {
            (Outcome::Folded(made), Outcome::Skipped { earlier, .. }) => made.is_of(earlier),
            (_, Outcome::NotReached { .. }) => true,
            _ => false,
        };
        if !says_less {
            *before = outcome;
        }
        Ok(())
    }

    /// The models.
    pub fn into_models(self) -> Vec<Outcome> {
        self.models
    }
}

impl ModelReport {
    /// Whether the result that a run came upon may be the one that this is about.
    fn is_of(&self, earlier: &Earlier) -> bool {
        let Some(figures) = &earlier.figures else { return false };
        let counts = (figures.folded, figures.kept) == (self.layers.folded, self.layers.kept);
        let norms = |eps: f64, source: &str| {
            let of_it = self.folded.iter().filter(|layer| layer.eps == eps && layer.eps_code == source);
            of_it.count()
        };
        earlier.done_before
            && counts
            && figures.style == Some(self.style)
            && earlier.bytes_out == self.bytes_out
            && figures.eps.iter().all(|used| norms(used.eps, &used.source) == used.norms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Result<Vec<String>, OtherOutput> {
        let mut merged = Merged::default();
        lines.iter().try_for_each(|line| merged.add(Outcome::from_json(line).unwrap()))?;
        Ok(merged.into_models().iter().map(|model| serde_json::to_string(model).unwrap()).collect())
    }

    fn skipped(output: &str) -> String {
        let earlier = r#"{"done_before":true,"figures":null,"bytes_in":2,"bytes_out":1,"finished_unix":0}"#;
        format!(r#"{{"status":"skipped","input":"a","output":"{output}","reason":"there","earlier":{earlier}}}"#)
    }

    const FAILED: &str = r#"{"status":"failed","input":"a","error":"why","transient":true}"#;

    #[test]
    fn the_last_line_about_a_model_counts() {
        let done = skipped("o/a");
        let other = FAILED.replace("\"a\"", "\"b\"");
        assert_eq!(told(&[FAILED, &other, &done]).unwrap(), [done.clone(), other]);
        assert_eq!(told(&[&done, FAILED]).unwrap(), [FAILED]);
        assert_eq!(told(&[FAILED, r#"{"status":"not_reached","input":"a"}"#]).unwrap(), [FAILED]);
    }

    #[test]
    fn two_results_of_one_model_are_two_zoos() {
        let error = told(&[&skipped("o/a"), &skipped("p/a")]).unwrap_err();
        assert_eq!(error.to_string(), "a was folded to o/a and to p/a: two zoos, which take a page each");
    }
}
