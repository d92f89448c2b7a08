//! 6 REPORT: text for people.
//!
//! In: the data of a report. Out: text without colour codes or control characters out of files.

use std::fmt::{self, Display};

use super::{Layers, Lint, ModelReport, Outcome, Seconds, Totals, Verification};
use crate::fold::Style;
use crate::text::{bytes, counted, shown};

impl Display for ModelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folded, all) = (self.layers.folded, self.layers.folded + self.layers.kept);
        let style = match self.style {
            Style::Strip => "strip",
            Style::DropIn => "drop-in",
        };
        let [input, output] = [&self.input, &self.output].map(|path| path.to_string_lossy());
        writeln!(f, "{} -> {}", shown(&input), shown(&output))?;
        match all {
            0 => writeln!(f, "  no batch norm: copied as it is")?,
            _ => writeln!(f, "  {folded} of {} folded, style {style}", counted(all, "norm"))?,
        }
        match &self.adapter {
            Some(adapter) if self.elements_on_gpu == self.elements => writeln!(f, "  on the GPU: {adapter}")?,
            Some(adapter) => {
                let (gpu, all) = (self.elements_on_gpu, self.elements);
                writeln!(f, "  {gpu} of {all} values on the GPU ({adapter}), the others on the CPU")?;
            }
            None => writeln!(f, "  on the CPU")?,
        }
        match &self.verification {
            None => writeln!(f, "  not verified{}", but_assumed(self.assumed_eps))?,
            // There was nothing to be right or wrong about.
            Some(Verification { elements: 0, .. }) => {}
            Some(Verification { elements, differ, worst_ulp, worst_shift_ulp }) => {
                writeln!(
                    f,
                    "  verified{}: {elements} values, weights within {worst_ulp:.2} ulp of the f64 reference, biases \
                     within {worst_shift_ulp:.2} ulp of their largest addend",
                    but_assumed(self.assumed_eps)
                )?;
                if *differ > 0 {
                    writeln!(f, "  {differ} values differed from the CPU's, which were written")?;
                }
            }
        }
        if !self.lints.is_empty() {
            // Some of them need the weights' ranges.
            let more = if self.folded.iter().all(|layer| layer.weights.is_some()) { "" } else { " or more" };
            let (count, s) = (self.lints.len(), if self.lints.len() == 1 { "" } else { "s" });
            writeln!(f, "  {count}{more} numerical remark{s}")?;
        }
        let total = self.seconds.total;
        write!(f, "  {} -> {} in {total:.3} s", bytes(self.bytes_in), bytes(self.bytes_out))
    }
}

/// One line, for a model of many.
impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input().to_string_lossy();
        let input = shown(&input);
        match self {
            Outcome::Folded(report) => {
                let Layers { folded, kept } = report.layers;
                let output = report.output.to_string_lossy();
                let kept = if kept > 0 { format!(", {kept} kept") } else { String::new() };
                let verified = if report.verification.is_some() { "verified" } else { "not verified" };
                let (size, seconds) = (bytes(report.bytes_in), report.seconds.total);
                let folded = counted(folded, "norm");
                let verified = format!("{verified}{}", but_assumed(report.assumed_eps));
                write!(f, "{input} -> {}: {folded} folded{kept}, {verified}, {size} in {seconds:.3} s", shown(&output))
            }
            Outcome::Skipped { reason, .. } => write!(f, "{input}: {}", shown(reason)),
            Outcome::Failed(failure) => write!(f, "{input}: failed: {}", shown(&failure.error)),
            Outcome::NotReached { .. } => write!(f, "{input}: not reached"),
        }
    }
}

/// The sums that a person looks for after a run over many models.
impl Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { folded, skipped, failed, norms, bytes: (read, _), unverified, assumed_models, .. } = *self;
        write!(f, "{folded} folded")?;
        if skipped > 0 {
            write!(f, ", {skipped} skipped")?;
        }
        if failed > 0 {
            write!(f, ", {failed} failed")?;
        }
        write!(f, "; {} folded, {} kept", counted(norms.0, "norm"), norms.1)?;
        if unverified > 0 {
            write!(f, "; {} not verified", counted(unverified, "model"))?;
        }
        if assumed_models > 0 {
            write!(f, "; eps assumed in {}", counted(assumed_models, "model"))?;
        }
        write!(f, "; {}", bytes(read))
    }
}

/// What verification cannot know, beside what it says.
fn but_assumed(norms: usize) -> String {
    if norms == 0 { String::new() } else { format!(" (eps assumed for {})", counted(norms, "norm")) }
}

impl ModelReport {
    /// The norms that stay, numerical remarks and the seconds by stage: what `-v` adds.
    pub fn details(&self) -> String {
        let kept = self.kept.iter().map(|kept| format!("  kept {}: {}\n", shown(&kept.norm), shown(&kept.reason)));
        let remark = |lint: &Lint| format!("  remark on {}: {}\n", shown(&lint.layer), lint.message);
        let remarks = self.lints.iter().map(remark);
        let Seconds { plan, read, copy, fold, verify, write, commit, .. } = self.seconds;
        let stages = format!(
            "  seconds: plan {plan:.3}, copy {copy:.3}, read {read:.3}, fold {fold:.3}, verify {verify:.3}, write {write:.3}, commit {commit:.3}\n"
        );
        kept.chain(remarks).chain([stages]).collect()
    }
}
