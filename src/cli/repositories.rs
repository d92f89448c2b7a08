//! `hf://ORG/NAME@REVISION`: repositories among the inputs.
//!
//! In: what was typed. Out: the same with folders of this machine in the places of repositories, or, of a repository that was
//! named alone and holds one model, with that model: from here on it is an input like any other. Only where results go is
//! told from the repository's name: a cache is no place for them.

use std::cell::Cell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bnfold_gpu::Error;
use bnfold_gpu::checkpoint::is_index;
use bnfold_gpu::hub::{Repository, Transfer, fetch};
use bnfold_gpu::output::FOLDED;
use bnfold_gpu::store::{Location, Object};
use bnfold_gpu::text::{bytes, counted};
use bnfold_gpu::zoo::{Filter, Found, discover};
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::arguments::SelectionArguments;
use super::console;
use super::progress::style;
use super::settings::UsageError;

/// Where inputs are on this machine.
pub(crate) struct Inputs {
    all: Vec<Location>,
    repositories: Vec<Fetched>,
}

/// A repository that was fetched.
struct Fetched {
    repository: Repository,
    folder: PathBuf,
}

impl Inputs {
    /// Fetches what of `typed` has to be. If the user chooses among the models of folders, a repository is one.
    pub(crate) fn fetch(
        typed: Vec<Location>,
        selection: &SelectionArguments,
        quiet: bool,
        cancelled: &AtomicBool,
    ) -> Result<Inputs, Error> {
        let is_alone = typed.len() == 1 && selection.include.is_empty() && selection.exclude.is_empty();
        let (mut all, mut repositories) = (Vec::with_capacity(typed.len()), Vec::new());
        for input in typed {
            let Some(object) = repository(&input) else {
                all.push(input);
                continue;
            };
            let fetched = fetched(object, quiet, cancelled)?;
            all.push(if is_alone { only_model(&fetched.folder)? } else { Location::File(fetched.folder.clone()) });
            repositories.push(fetched);
        }
        Ok(Inputs { all, repositories })
    }

    /// All inputs.
    pub(crate) fn all(&self) -> &[Location] {
        &self.all
    }

    /// Where results go if the user does not say: none, if that is told from the inputs' own places.
    pub(crate) fn default_output(&self) -> Result<Option<Location>, UsageError> {
        match (self.repositories.as_slice(), self.all.as_slice()) {
            ([], _) => Ok(None),
            ([repository], [input]) => Ok(Some(repository.result_of(input))),
            ([repository, ..], _) => {
                let problem = "several inputs, of which it is one, have their results in a folder; pass --output DIR";
                Err(UsageError(format!("{}: {problem}", repository.repository)))
            }
        }
    }

    /// Among several inputs a folder goes by its name; that of a repository's folder is a commit's.
    pub(crate) fn name_places(&self, found: &mut Found) {
        if self.all.len() < 2 {
            return;
        }
        let named = |input: &Location, place: &mut PathBuf| {
            let of = |repository: &&Fetched| input.path().starts_with(&repository.folder);
            if let Some(repository) = self.repositories.iter().find(of) {
                *place = repository.place(place);
            }
        };
        found.sources.iter_mut().for_each(|source| named(&source.input, &mut source.place));
        found.sidecars.iter_mut().for_each(|sidecar| named(&sidecar.input, &mut sidecar.place));
    }
}

impl Fetched {
    /// `NAME.folded.safetensors` for one file, the folder `NAME.folded` for more.
    fn result_of(&self, input: &Location) -> Location {
        let is_folder = input.path() == self.folder || is_index(input.path());
        Location::File(PathBuf::from(format!(
            "{}{}",
            self.repository.name(),
            if is_folder { ".folded/" } else { FOLDED }
        )))
    }

    /// `place` with the repository's name for that of its folder.
    fn place(&self, place: &Path) -> PathBuf {
        let folder = self.folder.file_name().unwrap_or(OsStr::new(""));
        place
            .strip_prefix(folder)
            .map_or_else(|_| place.to_owned(), |rest| Path::new(self.repository.name()).join(rest))
    }
}

/// A checkpoint that stands by itself, not among the inputs of a zoo.
pub(crate) fn checkpoint(typed: &Location, quiet: bool) -> Result<Location, Error> {
    let Some(object) = repository(typed) else { return Ok(typed.clone()) };
    only_model(&fetched(object, quiet, &AtomicBool::new(false))?.folder)
}

fn repository(input: &Location) -> Option<&Object> {
    input.as_object().filter(|object| object.is_repository())
}

/// The model in `folder`, if it is one alone; else the folder.
fn only_model(folder: &Path) -> Result<Location, Error> {
    let folder = Location::File(folder.to_owned());
    let found = discover(std::slice::from_ref(&folder), &Filter::default(), None)?;
    match (found.sources.as_slice(), found.failures.as_slice()) {
        ([model], []) => Ok(model.input.clone()),
        _ => Ok(folder),
    }
}

/// Fetches a repository. A bar shows how far it is where a person looks, elsewhere a line says that something is fetched.
fn fetched(object: &Object, quiet: bool, cancelled: &AtomicBool) -> Result<Fetched, Error> {
    let repository = Repository::of(object)?;
    let (bar, said) = (ProgressBar::hidden(), Cell::new(false));
    let observe = |transfer: Transfer| {
        if !said.replace(true) {
            begin(&bar, &repository, transfer, quiet);
        }
        bar.set_position(transfer.done);
    };
    let folder = fetch(&repository, cancelled, &observe);
    bar.finish_and_clear();
    Ok(Fetched { folder: folder?, repository })
}

fn begin(bar: &ProgressBar, repository: &Repository, Transfer { files, bytes: length, .. }: Transfer, quiet: bool) {
    if quiet {
        return;
    }
    if !console::is_watched() {
        return console::note(&format!("{repository}: fetching {}, {}", counted(files, "file"), bytes(length)));
    }
    bar.set_style(style());
    bar.set_length(length);
    bar.set_message(repository.to_string());
    // Last: from here on every change is drawn.
    bar.set_draw_target(ProgressDrawTarget::stderr());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_named_after_the_repository_and_never_stand_in_the_cache() {
        let folder = PathBuf::from("/cache/models--a--net.v1/snapshots/0f");
        let one = |input: &str| {
            let repository = Repository::of(&Object::parse("hf://a/net.v1").unwrap()).unwrap();
            let fetched = Fetched { repository, folder: folder.clone() };
            Inputs { all: vec![Location::File(folder.join(input))], repositories: vec![fetched] }
        };
        for (input, expected) in [
            ("model.safetensors", "net.v1.folded.safetensors"),
            ("model.safetensors.index.json", "net.v1.folded/"),
            ("", "net.v1.folded/"),
        ] {
            assert_eq!(one(input).default_output().unwrap().unwrap().to_string(), expected);
        }
        let mut several = one("");
        several.all.push(Location::from("m.safetensors"));
        assert!(several.default_output().unwrap_err().to_string().contains("pass --output DIR"));
        let place = several.repositories[0].place(Path::new("0f/unet/model.safetensors"));
        assert_eq!(place, Path::new("net.v1/unet/model.safetensors"));
    }
}
