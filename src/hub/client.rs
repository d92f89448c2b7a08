//! HUB: what is asked of the Hub.
//!
//! In: a repository. Out: its snapshot in the cache, whole. First it is asked which commit is meant and what is in it; then
//! what the cache lacks of that is downloaded, under names that say so until it is there; then all lengths are held against
//! the list.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync, RepoTypeModel};

use super::cache::{Cache, length};
use super::failure;
use super::home::with_home;
use super::wanted::{Wanted, wanted};
use super::watched::{Counter, Ear, Ended, watched};
use super::{HubProblem, Repository, Transfer};
use crate::error::{Error, Result};
use crate::store::Location;
use crate::zoo::{Filter, discover};

/// What servers are told.
const AGENT: &str = concat!("bnfold-gpu/", env!("CARGO_PKG_VERSION"));

/// How often a download that ends early is begun.
const ATTEMPTS: u32 = 3;

/// One repository, on the Hub and in the cache.
pub(super) struct Client<'a> {
    repository: &'a Repository,
    hub: HFRepositorySync<RepoTypeModel>,
    all: PathBuf,
    cache: Cache,
}

impl<'a> Client<'a> {
    /// Ready to ask; nothing is asked yet.
    pub(super) fn new(repository: &'a Repository) -> Result<Client<'a>> {
        let failed = |error| failure::described(repository, &hf_hub::resolve_cache_dir(), error);
        let client = with_home(HFClient::builder().user_agent(AGENT)).build().map_err(failed)?;
        let all = client.cache_dir().to_owned();
        let hub = HFClientSync::from_inner(client).map_err(failed)?.model(repository.owner(), repository.name());
        Ok(Client { repository, hub, cache: Cache::of(repository, &all), all })
    }

    /// The folder of the repository, with everything in it that is wanted.
    pub(super) fn fetch(&self, cancelled: &AtomicBool, observe: &dyn Fn(Transfer)) -> Result<PathBuf> {
        if is_offline() {
            return self.cached(cancelled);
        }
        let (commit, listed) = self.listed(cancelled)?;
        let wanted = wanted(listed).map_err(|problem| self.repository.error(problem))?;
        self.complete(&commit, &wanted, cancelled, observe)?;
        self.cache.remember(self.repository.revision(), &commit)?;
        Ok(self.cache.snapshot(&commit))
    }

    /// The commit that the revision stands for, and everything in it.
    fn listed(&self, cancelled: &AtomicBool) -> Result<(String, Vec<RepoTreeEntry>)> {
        let (hub, revision) = (self.hub.clone(), self.repository.revision().to_owned());
        let ask = move || {
            let commit = hub.info().revision(revision).send()?.sha.unwrap_or_default();
            // It becomes a part of paths.
            if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(HFError::malformed_response("the hash of a commit"));
            }
            let listed = hub.list_tree().revision(commit.as_str()).recursive(true).send()?;
            Ok((commit, listed))
        };
        watched(cancelled, &|| 0, ask).map_err(|ended| self.ended(ended))
    }

    /// Downloads what the cache lacks until it lacks nothing.
    fn complete(
        &self,
        commit: &str,
        wanted: &[Wanted],
        cancelled: &AtomicBool,
        observe: &dyn Fn(Transfer),
    ) -> Result<()> {
        let snapshot = self.cache.snapshot(commit);
        let mut lacking = self.cache.lacking(&snapshot, wanted);
        let (files, bytes) = (lacking.len(), lacking.iter().map(|file| file.bytes).sum());
        let (mut attempts, mut cut) = (0, None);
        while !lacking.is_empty() && attempts < ATTEMPTS {
            self.cache.clear(&snapshot, &lacking);
            let observe = |done| observe(Transfer { files, bytes, done });
            match self.download(commit, &lacking, attempts > 0, cancelled, &observe) {
                Ok(()) => (attempts, cut) = (attempts + 1, None),
                // Another process downloads the same file; a lock of one that died is none.
                Err(Ended::Failed(HFError::CacheLockTimeout { .. })) => {}
                Err(Ended::Failed(error)) if failure::may_pass(&error) => (attempts, cut) = (attempts + 1, Some(error)),
                Err(ended) => return Err(self.ended(ended)),
            }
            lacking = self.cache.lacking(&snapshot, wanted);
        }
        let Some(first) = lacking.first() else { return Ok(()) };
        let found = length(&snapshot.join(&first.path)).unwrap_or(0);
        self.cache.clear(&snapshot, &lacking);
        Err(match cut {
            Some(error) => failure::described(self.repository, &self.all, error),
            None => {
                let (file, expected) = (first.path.clone(), first.bytes);
                self.repository.error(HubProblem::Length { file, expected, found })
            }
        })
    }

    /// Downloads `files` of a commit; anew even where the cache has content of that name, if it is `distrusted`.
    fn download(
        &self,
        commit: &str,
        files: &[Wanted],
        distrusted: bool,
        cancelled: &AtomicBool,
        observe: &dyn Fn(u64),
    ) -> Result<(), Ended> {
        let (hub, commit, counter) = (self.hub.clone(), commit.to_owned(), Arc::new(Counter::default()));
        let names = files.iter().map(|file| globset::escape(&file.path)).collect::<Vec<_>>();
        let ear = Ear(Arc::clone(&counter));
        let work = move || {
            let download = hub.snapshot_download().revision(commit).allow_patterns(names);
            download.force_download(distrusted).progress(ear).send().map(drop)
        };
        let tick = || {
            let bytes = counter.bytes();
            observe(bytes);
            bytes
        };
        watched(cancelled, &tick, work)
    }

    /// What the cache has, if that is something to fold.
    fn cached(&self, cancelled: &AtomicBool) -> Result<PathBuf> {
        let (hub, revision) = (self.hub.clone(), self.repository.revision().to_owned());
        let look = move || hub.snapshot_download().revision(revision).local_files_only(true).send();
        let not_cached = || {
            let (cache, revision) = (self.all.clone(), self.repository.revision().to_owned());
            self.repository.error(HubProblem::NotCached { cache, revision })
        };
        let folder = watched(cancelled, &|| 0, look).map_err(|ended| match ended {
            Ended::Failed(HFError::LocalEntryNotFound { .. }) => not_cached(),
            ended => self.ended(ended),
        })?;
        let found = discover(&[Location::File(folder.clone())], &Filter::default(), None)?;
        if found.sources.is_empty() && found.failures.is_empty() {
            return Err(not_cached());
        }
        Ok(folder)
    }

    fn ended(&self, ended: Ended) -> Error {
        match ended {
            Ended::Cancelled => Error::Interrupted,
            Ended::Stalled(seconds) => self.repository.error(HubProblem::Stalled { seconds }),
            Ended::Failed(error) => failure::described(self.repository, &self.all, error),
            Ended::Broken => {
                let what = "the library that downloads broke down".to_owned();
                Error::Bug { path: self.repository.to_string().into(), what }
            }
        }
    }
}

/// Whether the environment forbids the network, in the words that the Hub's own tools take.
fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}
