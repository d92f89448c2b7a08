//! 2 PLAN: the eps of every norm, and where it comes from.
//!
//! In: what the user said, the `config.json` beside the checkpoint, the catalogue, the names of the modules, the norm's
//! dialect. Out: an eps and its source. A checkpoint does not store eps, and a wrong one moves a channel's scale by up to
//! ten times, so an eps that nobody stated is reported as assumed.

pub(super) mod overruled;
pub(super) mod sensitivity;
pub(super) mod settled;
#[cfg(test)]
mod tests;

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use super::architecture::{self, Misstated};
use super::catalogue::{Catalogue, Entry, Known, KnownPairs, Recognised, of_architecture, of_family, recognise};
use crate::network::{EpsSource, Inventory, Norm};
use crate::warning::Warning;

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
    field: Option<(f64, EpsSource)>,
    architecture: Option<Known>,
    recognised: Vec<Recognised>,
    /// What the user should know about the settings.
    pub(super) warnings: Vec<Warning>,
}

/// An eps and who says so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourcedEps {
    pub(super) value: f64,
    pub(super) source: EpsSource,
}

impl EpsLookup {
    pub(super) fn new(settings: &EpsSettings, inventory: &Inventory) -> Result<EpsLookup, Misstated> {
        let (architecture, warnings) =
            architecture::find(settings.arch.as_deref(), settings.config.as_ref(), inventory)?;
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
        Ok(lookup)
    }

    /// The same where nobody states anything.
    pub(super) fn unstated(inventory: &Inventory) -> EpsLookup {
        EpsLookup {
            for_norms: Vec::new(),
            all: None,
            field: None,
            architecture: None,
            recognised: recognise(Catalogue::built_in(), inventory),
            warnings: Vec::new(),
        }
    }

    /// Globs of [`EpsSettings::for_norms`] that no norm's name matches.
    fn unmatched(&self, inventory: &Inventory) -> Vec<Warning> {
        let is_idle = |glob: &GlobMatcher| !inventory.norms.iter().any(|norm| glob.is_match(&norm.name));
        let idle = self.for_norms.iter().filter(|(glob, _)| is_idle(glob));
        let warning = |(glob, _): &(GlobMatcher, f64)| Warning::EpsForNone {
            glob: glob.glob().to_string(),
            norms: inventory.norms.len(),
            example: inventory.norms.first().map(|norm| norm.name.clone()),
        };
        idle.map(warning).collect()
    }

    /// Norms whose names belong to a family with another eps than the architecture that was stated.
    fn contradicted(&self, inventory: &Inventory) -> Option<Warning> {
        let differs = |norm: &&Norm| {
            let is_stated = matches!(self.eps(norm).source, EpsSource::Catalogue { .. });
            let by_names = self.recognised(norm).filter(|_| is_stated);
            by_names.is_some_and(|entry| entry.eps != self.eps(norm).value)
        };
        let norm = inventory.norms.iter().find(differs)?;
        let (stated, by_names) = (self.eps(norm), self.recognised(norm)?);
        Some(Warning::EpsContradicted {
            norm: norm.name.clone(),
            architecture: self.architecture()?.to_owned(),
            stated: stated.value,
            by_names: by_names.eps,
            source_of_names: by_names.source.to_string(),
        })
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

    /// The eps of `norm`, and where it comes from.
    pub(super) fn eps(&self, norm: &Norm) -> SourcedEps {
        let assumed = EpsSource::AssumedDialect { dialect: norm.dialect.name };
        let assumed = SourcedEps { value: norm.dialect.eps, source: assumed };
        self.stated(norm).or_else(|| self.known_or_assumed(norm)).unwrap_or(assumed)
    }

    /// What the user says.
    fn stated(&self, norm: &Norm) -> Option<SourcedEps> {
        let for_this = self.for_norms.iter().find(|(glob, _)| glob.is_match(&norm.name));
        let for_this = for_this.map(|(glob, eps)| SourcedEps {
            value: *eps,
            source: EpsSource::ForNorms { glob: glob.glob().to_string() },
        });
        for_this.or_else(|| self.all.map(|value| SourcedEps { value, source: EpsSource::ForAll }))
    }

    /// What the configuration and the catalogue say.
    fn known_or_assumed(&self, norm: &Norm) -> Option<SourcedEps> {
        let entry = self.known(norm);
        if let (Some((eps, source)), false) = (&self.field, entry.as_ref().is_some_and(|entry| entry.fixed)) {
            return Some(SourcedEps { value: *eps, source: source.clone() });
        }
        // What is only assumed about a name that the catalogue does not know says less than the names of the modules.
        let (known, assumed) = match entry {
            Some(entry) if matches!(entry.source, EpsSource::AssumedLibrary { .. }) => (None, Some(entry)),
            entry => (entry, None),
        };
        let entry = known.or_else(|| self.recognised(norm)).or(assumed)?;
        Some(SourcedEps { value: entry.eps, source: entry.source })
    }

    /// The other value that an assumed eps may really have.
    pub(super) fn other(&self, norm: &Norm, assumed: f64) -> f64 {
        match self.known(norm).map(|entry| entry.source) {
            Some(EpsSource::AssumedUnless { other, .. }) if other != assumed => other,
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
