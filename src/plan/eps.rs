//! 2 PLAN: the eps of every norm, and where it comes from.
//!
//! In: what the user said, the `config.json` beside the checkpoint, the catalogue, the names of the modules, the norm's
//! dialect. Out: an eps and its source. A checkpoint does not store eps, and a wrong one moves a channel's scale by up to
//! ten times, so an eps that nobody stated is reported as assumed.

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use super::architecture;
use super::catalogue::{Catalogue, Entry, Known, KnownPairs, Recognised, of_architecture, of_family, recognise};
use crate::error::{counted, shown};
use crate::network::{Inventory, Norm};

/// What the user and the checkpoint's surroundings say about eps.
#[derive(Debug, Default, Clone)]
pub struct EpsSettings {
    /// `--eps-for GLOB=VALUE`, in the order given; the first glob that matches wins.
    pub for_norms: Vec<(Glob, f64)>,
    /// `--eps`.
    pub all: Option<f64>,
    /// `--arch`: `LIBRARY/NAME`, or a name that only one library has.
    pub arch: Option<String>,
    /// Content of the `config.json` beside the checkpoint.
    pub config: Option<Value>,
}

/// Looks the eps of norms up, in this order: `--eps-for`; `--eps`; what the catalogue knows to be fixed in the model's
/// code; a field of `config.json`; the catalogue by architecture (`--arch`, else `config.json`); the catalogue by names;
/// the dialect's default.
pub(super) struct EpsLookup {
    for_norms: Vec<(GlobMatcher, f64)>,
    all: Option<f64>,
    field: Option<(f64, String)>,
    architecture: Option<Known>,
    recognised: Vec<Recognised>,
    /// What the user should know about the settings.
    pub(super) warnings: Vec<String>,
}

/// An eps and who says so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourcedEps {
    pub(super) value: f64,
    /// Begins with [`ASSUMED`] if nobody stated it.
    pub(super) source: String,
}

/// Prefix of the source of an eps that nobody stated.
pub(super) const ASSUMED: &str = "assumed";

/// Prefix of the source of an eps that the catalogue has for an architecture.
const CATALOGUE: &str = "catalogue: ";

impl EpsLookup {
    pub(super) fn new(settings: &EpsSettings, inventory: &Inventory) -> EpsLookup {
        let (architecture, warnings) = architecture::find(settings.arch.as_deref(), settings.config.as_ref());
        let mut lookup = EpsLookup {
            for_norms: settings.for_norms.iter().map(|(glob, eps)| (glob.compile_matcher(), *eps)).collect(),
            all: settings.all,
            field: settings.config.as_ref().and_then(architecture::stated_eps),
            architecture,
            recognised: recognise(Catalogue::built_in(), inventory),
            warnings,
        };
        let more = lookup.unmatched(inventory).into_iter().chain(lookup.contradicted(inventory)).collect::<Vec<_>>();
        lookup.warnings.extend(more);
        lookup
    }

    /// Globs of `--eps-for` that no norm's name matches: likely a slip, which would leave another eps in force.
    fn unmatched(&self, inventory: &Inventory) -> Vec<String> {
        let is_idle = |glob: &GlobMatcher| !inventory.norms.iter().any(|norm| glob.is_match(&norm.name));
        let idle = self.for_norms.iter().filter(|(glob, _)| is_idle(glob));
        let example = inventory.norms.first().map_or_else(String::new, |norm| format!(", for example {}", norm.name));
        let count = inventory.norms.len();
        idle.map(|(glob, _)| {
            format!("--eps-for {}: matches none of {}{}", glob.glob(), counted(count, "norm"), shown(&example))
        })
        .collect()
    }

    /// Norms whose names belong to a family with another eps than the architecture that was stated.
    fn contradicted(&self, inventory: &Inventory) -> Option<String> {
        let differs = |norm: &&Norm| {
            let is_stated = self.eps(norm).source.starts_with(CATALOGUE);
            let by_names = self.recognised(norm).filter(|_| is_stated);
            by_names.is_some_and(|entry| entry.eps != self.eps(norm).value)
        };
        let norm = inventory.norms.iter().find(differs)?;
        let (stated, by_names) = (self.eps(norm), self.recognised(norm)?);
        Some(format!(
            "norm {}: {} says eps {:e}, but its name says {:e} ({}); the former is followed, state eps with --eps if it \
             is wrong",
            shown(&norm.name),
            shown(self.architecture()?),
            stated.value,
            by_names.eps,
            by_names.source
        ))
    }

    /// The architecture, where it is known.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.architecture.as_ref().map(|known| known.name.as_str())
    }

    /// What the catalogue knows about pairs; what it knows about the architecture itself goes first.
    pub(super) fn known_pairs(&self) -> Vec<KnownPairs> {
        let by_name = self.architecture.as_ref().and_then(of_architecture);
        by_name.into_iter().chain(self.recognised.iter().filter_map(of_family)).collect()
    }

    pub(super) fn eps(&self, norm: &Norm) -> SourcedEps {
        if let Some((glob, eps)) = self.for_norms.iter().find(|(glob, _)| glob.is_match(&norm.name)) {
            return SourcedEps { value: *eps, source: format!("--eps-for {}", glob.glob()) };
        }
        if let Some(eps) = self.all {
            return SourcedEps { value: eps, source: "--eps".to_owned() };
        }
        let entry = self.known(norm);
        if let (Some((eps, source)), false) = (&self.field, entry.as_ref().is_some_and(|entry| entry.fixed)) {
            return SourcedEps { value: *eps, source: source.clone() };
        }
        // What is only assumed about a name that the catalogue does not know says less than the names of the modules.
        let (known, assumed) = match entry {
            Some(entry) if entry.source.starts_with(ASSUMED) && entry.unless.is_none() => (None, Some(entry)),
            entry => (entry, None),
        };
        match known.or_else(|| self.recognised(norm)).or(assumed) {
            Some(Entry { eps, source, unless: None, .. }) => SourcedEps { value: eps, source },
            Some(Entry { eps, source, unless: Some((other, when)), .. }) => {
                SourcedEps { value: eps, source: format!("{ASSUMED}: but {other:e} {when}; {source}") }
            }
            None => {
                let Norm { dialect, .. } = norm;
                SourcedEps { value: dialect.eps, source: format!("{ASSUMED}: the default of {}", dialect.name) }
            }
        }
    }

    /// The other value that an assumed eps may really have.
    pub(super) fn other(&self, norm: &Norm, assumed: f64) -> f64 {
        match self.known(norm).and_then(|entry| entry.unless) {
            Some((other, _)) if other != assumed => other,
            _ if assumed < 1e-4 => 1e-3,
            _ => 1e-5,
        }
    }

    fn known(&self, norm: &Norm) -> Option<Entry> {
        self.architecture.as_ref().map(|known| known.entry(&norm.name.replace('.', "/")))
    }

    fn recognised(&self, norm: &Norm) -> Option<Entry> {
        self.recognised.iter().find_map(|family| family.entry(&norm.name, norm.dialect.name))
    }
}

/// Whether a number can be an eps.
pub(crate) fn is_eps(value: &f64) -> bool {
    value.is_finite() && *value >= 0.0
}
