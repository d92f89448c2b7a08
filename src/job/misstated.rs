//! What is stated for models or norms, and whether there are such.
//!
//! In: [`Options`], and the models that they are for. Out: an error where a name is no architecture, or a glob matches
//! nothing: it is likely misspelt, and what it was to mend would go unsaid.

use std::path::Path;

use globset::{Glob, GlobMatcher};

use super::Options;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::network::Inventory;
use crate::plan::check_architecture;
use crate::store::Location;
use crate::zoo::Source;

impl Options {
    /// Checks the names of architectures.
    ///
    /// # Errors
    ///
    /// The catalogue does not know one.
    #[doc(hidden)]
    pub fn check_names(&self) -> Result<()> {
        let names = self.arch.iter().chain(self.arch_for.iter().map(|(_, name)| name));
        names.into_iter().try_for_each(|name| check_architecture(name))
    }

    /// Checks the names of architectures, and that all globs are for some of the models or their norms. Of the models
    /// headers are read, as far as it takes to find such norms.
    ///
    /// # Errors
    ///
    /// The catalogue does not know a name, or a glob matches nothing.
    #[doc(hidden)]
    pub fn check<'s>(&self, sources: impl Iterator<Item = &'s Source> + Clone) -> Result<()> {
        self.check_names()?;
        let Some(first) = sources.clone().next() else { return Ok(()) };
        let none = |what, glob: &Glob, example: Option<String>| {
            let models = sources.clone().count();
            Err(Error::StatedForNone { what, glob: glob.glob().to_owned(), models, example })
        };
        for (glob, _) in &self.arch_for {
            let glob_of = glob.compile_matcher();
            if !sources.clone().any(|source| is_meant(&glob_of, &source.input, &source.place)) {
                return none("architecture", glob, Some(first.place.display().to_string()));
            }
        }
        match idle_norms(&self.eps_for, sources.clone()) {
            (Some(glob), example) => none("eps", glob, example),
            (None, _) => Ok(()),
        }
    }
}

/// The first glob that matches no norm of any model, if one of these can be read; and a norm that there is.
fn idle_norms<'g, 's>(
    eps_for: &'g [(Glob, f64)],
    sources: impl Iterator<Item = &'s Source>,
) -> (Option<&'g Glob>, Option<String>) {
    let mut open = eps_for.iter().map(|(glob, _)| (glob, glob.compile_matcher())).collect::<Vec<_>>();
    let (mut example, mut is_any_read) = (None, false);
    for source in sources {
        if open.is_empty() {
            break;
        }
        // What cannot be read fails by itself, later.
        let Ok(checkpoint) = Checkpoint::open(&source.input) else { continue };
        is_any_read = true;
        let norms = Inventory::of(&checkpoint).norms;
        open.retain(|(_, glob)| !norms.iter().any(|norm| glob.is_match(&norm.name)));
        example = example.or_else(|| norms.first().map(|norm| norm.name.clone()));
    }
    (open.first().map(|(glob, _)| *glob).filter(|_| is_any_read), example)
}

/// Whether a glob stands for the model at `input`, found at `place` below a folder: by a path below that, by a name on the
/// way, by its file's name or by that of its folder.
pub(super) fn is_meant(glob: &GlobMatcher, input: &Location, place: &Path) -> bool {
    let named = |path: &Path| path.file_name().is_some_and(|name| glob.is_match(path) || glob.is_match(name));
    let folder = input.absolute().folder();
    let in_folder = folder.path().file_name().zip(input.file_name());
    place.ancestors().any(named)
        || in_folder.is_some_and(|(folder, file)| {
            [Path::new(folder), Path::new(file), &Path::new(folder).join(file)]
                .into_iter()
                .any(|path| glob.is_match(path))
        })
}
