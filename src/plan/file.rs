//! 2 PLAN: plan files.
//!
//! In: the text of a plan file, as the program writes it or as users edit it. Out: a [`Plan`], with what its lines may leave
//! out filled in from the checkpoint, if there is one; and for every layer the line it stands on, so that whatever is wrong
//! with it can be found.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::filled::ByName;
use super::json::Stated;
use super::meant::Model;
use super::{Layer, LineProblem, Misfit, Plan, VERSION};
use crate::error::{Error, Result};
use crate::json::parse;

/// Characters of a version that are shown.
const SHOWN: usize = 40;

/// Which plan of a file is meant.
pub(super) enum Meant<'a> {
    /// The only one.
    Only,
    /// The one for this checkpoint.
    For(Model<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    input: Option<String>,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(borrow)]
    layers: Vec<&'a RawValue>,
}

/// Where the layers of a plan file stand.
#[derive(Debug)]
pub(super) struct Places {
    path: PathBuf,
    lines: Vec<usize>,
}

impl Places {
    /// The error for a line of `plan` that does not fit the checkpoint.
    pub(super) fn misfit(&self, misfit: &Misfit, plan: &Plan) -> Error {
        let line = self.lines.get(misfit.layer).copied().unwrap_or(1);
        let norm = plan.layers.get(misfit.layer).map_or("", |layer| &layer.norm);
        let problem = format!("the plan does not fit the checkpoint: {}", about(norm, &misfit.problem));
        Error::PlanFile { path: self.path.clone(), line, problem }
    }
}

/// Reads the only plan of the file at `path`, which has to be complete.
pub(crate) fn load(path: &Path) -> Result<Plan> {
    Ok(read(path, &Meant::Only, None)?.0)
}

/// Reads the plan at `path`; of a JSON array, as `plan` prints it for several models, the one that is `meant`. Without `known`
/// its lines may leave out nothing that only the checkpoint tells.
pub(super) fn read(path: &Path, meant: &Meant<'_>, known: Option<&ByName<'_>>) -> Result<(Plan, Places)> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read the plan", path))?;
    let text = Text::new(path, &text);
    let raw = text.plan(meant)?;
    let lines = raw.layers.iter().map(|layer| text.line_of(layer)).collect();
    let layers = raw.layers.into_iter().map(|layer| text.layer(layer, known)).collect::<Result<_>>()?;
    let input = raw.input.unwrap_or_default();
    let plan = Plan { version: VERSION, input, dialect: raw.dialect, architecture: raw.architecture, layers };
    Ok((plan, Places { path: path.to_owned(), lines }))
}

fn about(norm: &str, problem: &LineProblem) -> String {
    format!("norm `{norm}`: {problem}")
}

/// The text of a plan file.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where its lines end.
    ends: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(path: &'a Path, text: &'a str) -> Text<'a> {
        Text { path, text, ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    fn refuse(&self, line: usize, problem: String) -> Error {
        Error::PlanFile { path: self.path.to_owned(), line, problem }
    }

    /// The line that a part of the text begins on. A raw value is a slice of the text, so its place in it is known.
    fn line_of(&self, part: &RawValue) -> usize {
        let offset = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.ends.partition_point(|&end| end < offset)
    }

    /// A layer, completed.
    fn layer(&self, raw: &RawValue, known: Option<&ByName<'_>>) -> Result<Layer> {
        let line = self.line_of(raw);
        let mut stated: Stated = parse(raw.get().as_bytes()).map_err(|error| {
            self.refuse(line + error.line().saturating_sub(1), format!("not a layer of a plan: {error}"))
        })?;
        let norm = stated.norm.clone();
        let filled = known.map_or(Ok(()), |known| known.fill_in(&mut stated));
        let layer = filled.and_then(|()| stated.layer());
        layer.map_err(|problem| self.refuse(line, about(&norm, &problem)))
    }

    /// The plan that is meant, if there is one and its version is ours.
    fn plan(&self, meant: &Meant<'_>) -> Result<RawPlan<'a>> {
        let syntax = |error: serde_json::Error| self.refuse(error.line(), format!("not a plan: {error}"));
        let is_array = self.text.trim_start().starts_with('[');
        let plans = match is_array {
            true => parse::<Vec<RawPlan<'a>>>(self.text.as_bytes()).map_err(syntax)?,
            false => vec![parse::<RawPlan<'a>>(self.text.as_bytes()).map_err(syntax)?],
        };
        let inputs = plans.iter().map(|plan| plan.input.as_deref()).collect::<Vec<_>>();
        let chosen = meant.among(&inputs, is_array);
        let mut found = plans.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, plan)| plan);
        let plan = found.next().ok_or_else(|| self.refuse(1, meant.is_missing()))?;
        if let Some(twin) = found.next() {
            let first = self.line_of(plan.version);
            return Err(self.refuse(self.line_of(twin.version), meant.comes_twice(first)));
        }
        match plan.version.get() {
            version if version.parse() == Ok(VERSION) => Ok(plan),
            version => {
                let version = version.chars().take(SHOWN).collect::<String>();
                let problem = format!("a plan of version {version}, and this program reads version {VERSION}");
                Err(self.refuse(self.line_of(plan.version), problem))
            }
        }
    }
}

impl Meant<'_> {
    /// Which of the plans with these `input`s are meant; more than one is an error.
    fn among(&self, inputs: &[Option<&str>], is_array: bool) -> Vec<usize> {
        match self {
            Meant::Only => (0..inputs.len()).collect(),
            Meant::For(model) => model.among(inputs, is_array),
        }
    }

    fn is_missing(&self) -> String {
        match self {
            Meant::Only => "there is no plan in it".to_owned(),
            Meant::For(Model { input, .. }) => format!("none of its plans has \"input\": \"{}\"", input.display()),
        }
    }

    fn comes_twice(&self, first: usize) -> String {
        match self {
            Meant::Only => format!("a second plan, after that of line {first}, and only one can be taken"),
            Meant::For(Model { input, .. }) => {
                let input = input.display();
                format!("a second plan for \"{input}\", after that of line {first}; remove one of them")
            }
        }
    }
}
