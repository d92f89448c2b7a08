//! Warnings that many models of a zoo share.
//!
//! In: the warnings of every model, as they come. Out: the first few of a kind in full, the rest as one line with a count
//! at the end, so that what is said once is not drowned by what is said a thousand times.

use std::collections::BTreeMap;

use bnfold_gpu::Warning;
use bnfold_gpu::text::counted;

use super::{console, hints};

/// Warnings of a kind that are told in full.
const IN_FULL: usize = 3;

/// Models that are named in the line about the rest.
const NAMED: usize = 3;

/// What was told, and what waits for the end.
pub(super) struct Grouped {
    quiet: bool,
    is_grouping: bool,
    told: BTreeMap<&'static str, usize>,
    rest: BTreeMap<&'static str, Rest>,
}

/// Models with a warning of a kind that was told often enough.
struct Rest {
    is_note: bool,
    models: usize,
    named: Vec<String>,
}

impl Grouped {
    /// `quiet`: only what may change results. Without `is_grouping` everything is told in full.
    pub(super) fn new(quiet: bool, is_grouping: bool) -> Grouped {
        Grouped { quiet, is_grouping, told: BTreeMap::new(), rest: BTreeMap::new() }
    }

    /// Tells what the user should know of `input`, or keeps it for the end.
    pub(super) fn tell(&mut self, input: &str, warnings: &[Warning]) {
        for warning in warnings.iter().filter(|warning| !self.quiet || warning.may_change_results()) {
            let told = self.told.entry(warning.code()).or_default();
            *told += 1;
            if *told <= IN_FULL || !self.is_grouping {
                say(warning.is_note(), &format!("{input}: {}", hints::warned(warning)));
            } else {
                let new = || Rest { is_note: warning.is_note(), models: 0, named: Vec::new() };
                self.rest.entry(warning.code()).or_insert_with(new).add(input);
            }
        }
    }

    /// Tells the rest.
    pub(super) fn finish(&mut self) {
        for (code, Rest { is_note, models, named }) in std::mem::take(&mut self.rest) {
            let more = if models > named.len() { ", ..." } else { "" };
            let named = named.join(", ");
            let models = counted(models, "more model");
            say(is_note, &format!("the same for {models} ({code}): {named}{more}; -v prints all"));
        }
    }
}

impl Rest {
    fn add(&mut self, input: &str) {
        self.models += 1;
        if self.named.len() < NAMED {
            self.named.push(input.to_owned());
        }
    }
}

fn say(is_note: bool, text: &str) {
    if is_note { console::note(text) } else { console::warning(text) }
}
