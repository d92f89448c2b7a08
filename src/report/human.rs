//! 6 REPORT: text for people.
//!
//! In: the data of a report or a plan. Out: text without colour codes or control characters out of files.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::{Layers, Lint, ModelReport, Outcome, Seconds, Totals, Verification};
use crate::fold::Style;
use crate::network::names;
use crate::plan::{Action, FoldLine, Layer, Plan};
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
        writeln!(f, "  {folded} of {} folded, style {style}", counted(all, "norm"))?;
        match &self.adapter {
            Some(adapter) if self.elements_on_gpu == self.elements => writeln!(f, "  on the GPU: {adapter}")?,
            Some(adapter) => {
                let (gpu, all) = (self.elements_on_gpu, self.elements);
                writeln!(f, "  {gpu} of {all} values on the GPU ({adapter}), the others on the CPU")?;
            }
            None => writeln!(f, "  on the CPU")?,
        }
        match &self.verification {
            None => writeln!(f, "  not verified")?,
            Some(Verification { elements, differ, worst_ulp, worst_shift_ulp }) => {
                writeln!(
                    f,
                    "  verified: {elements} values, weights within {worst_ulp:.2} ulp of the f64 reference, biases \
                     within {worst_shift_ulp:.2} ulp of their largest addend"
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
        let Totals { folded, skipped, failed, norms, bytes: (read, _), unverified, .. } = *self;
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
        write!(f, "; {}", bytes(read))
    }
}

impl ModelReport {
    /// The norms that stay, numerical remarks and the seconds by stage: what `-v` adds.
    pub fn details(&self) -> String {
        let kept = self.kept.iter().map(|(norm, reason)| format!("  kept {}: {}\n", shown(norm), shown(reason)));
        let remark = |lint: &Lint| format!("  remark on {}: {}\n", shown(&lint.layer), lint.message);
        let remarks = self.lints.iter().map(remark);
        let Seconds { plan, read, copy, fold, verify, write, commit, .. } = self.seconds;
        let stages = format!(
            "  seconds: plan {plan:.3}, copy {copy:.3}, read {read:.3}, fold {fold:.3}, verify {verify:.3}, write {write:.3}, commit {commit:.3}\n"
        );
        kept.chain(remarks).chain([stages]).collect()
    }
}

/// A plan for people: a line a template (module paths with their numbers taken out), or a line a norm.
pub struct PlanTable<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// A line a norm.
    pub all: bool,
}

impl Display for PlanTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        let (folded, kept) = plan.counts();
        let dialect = plan.dialect.as_deref().unwrap_or("none");
        let architecture =
            plan.architecture.as_deref().map(|name| format!(", architecture {name}")).unwrap_or_default();
        let head = format!(
            "{}: dialect {dialect}{architecture}, {} to fold, {kept} to keep",
            plan.input,
            counted(folded, "norm")
        );
        writeln!(f, "{}", shown(&head))?;
        // Rows by template; a template with one instance shows that instance.
        let mut rows: BTreeMap<Key, Vec<&Layer>> = BTreeMap::new();
        for layer in &plan.layers {
            rows.entry(self.key(layer)).or_default().push(layer);
        }
        for layers in rows.into_values() {
            match layers[..] {
                [layer] => writeln!(f, "        {}", shown(&self.row(layer, Names::Whole)))?,
                [first, ..] => writeln!(f, "{:>5} x {}", layers.len(), shown(&self.row(first, Names::Template)))?,
                [] => {}
            }
        }
        Ok(())
    }
}

/// How a row shows module paths.
#[derive(Clone, Copy)]
enum Names {
    Whole,
    Template,
}

/// What the norms of one row have in common: whether they are folded, their template, and how, or the code of the reason to
/// keep them.
type Key = (&'static str, String, String);

impl PlanTable<'_> {
    fn key(&self, layer: &Layer) -> Key {
        let name = if self.all { layer.norm.clone() } else { template(&layer.norm) };
        match &layer.action {
            Action::Fold(line) => ("fold", name, self.folded(line, Names::Template)),
            Action::Keep(reason) => ("keep", name, reason.code.to_string()),
        }
    }

    /// What is done with one norm, or with all that are alike; of the reason to keep these one instance is shown, with its own
    /// names and figures.
    fn row(&self, layer: &Layer, names: Names) -> String {
        let norm = names.of(&layer.norm);
        match (&layer.action, names) {
            (Action::Fold(line), _) => format!("fold  {norm} <- {}", self.folded(line, names)),
            (Action::Keep(reason), Names::Whole) => format!("keep  {norm}: {}", reason.text),
            (Action::Keep(reason), Names::Template) => {
                format!("keep  {norm}, such as {}: {}", layer.norm, reason.text)
            }
        }
    }

    /// How a norm is folded.
    fn folded(&self, line: &FoldLine, names: Names) -> String {
        let FoldLine { op, weight, channels, dtype, eps, eps_source, evidence, .. } = line;
        // A tensor's name is a module's path and a last segment of its own.
        let weight = match weight.rsplit_once(['.', '/']) {
            Some((module, leaf)) => names.of(module) + &weight[weight.len() - leaf.len() - 1..],
            None => names.of(weight),
        };
        // What the catalogue cites is for those who ask for more.
        let source = if self.all { eps_source.to_string() } else { eps_source.brief() };
        let row = format!("{weight} ({}), eps {eps:e} ({source})", op.name());
        let evidence = evidence.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>();
        match self.all {
            true => format!("{row}, {channels} channels, {dtype}: {}", evidence.join("; ")),
            false => row,
        }
    }
}

impl Names {
    fn of(self, path: &str) -> String {
        match self {
            Names::Whole => path.to_owned(),
            Names::Template => template(path),
        }
    }
}

/// A module's path with the numbers of the scopes around it replaced by `#`; its own name keeps them, since `bn1` and
/// `bn2` of a block are different things. In a flat name list there are no scopes, and every number goes.
fn template(path: &str) -> String {
    match path.rfind(['.', '/']) {
        Some(end) => names::template(&path[..end]) + &path[end..],
        None => names::template(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_replace_whole_numbers() {
        assert_eq!(template("layer10.2.conv1"), "layer#.#.conv1");
        assert_eq!(template("features.18.1"), "features.#.1");
        assert_eq!(template("conv2d_12"), "conv#d_#");
    }
}
