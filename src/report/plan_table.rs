//! 6 REPORT: a plan for people.
//!
//! In: a plan. Out: a table, without colour codes or control characters out of files.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use crate::network::names;
use crate::plan::{Action, FoldLine, Layer, Plan};
use crate::text::{counted, shown};

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
pub(super) fn template(path: &str) -> String {
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
