//! STORE: connections to buckets.
//!
//! In: an object. Out: a [`Place`]: an open connection, shared by everything in one bucket, and the key in it. Endpoints,
//! credentials and options come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`), never from the URL.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::failure::failed;
use super::url::{is_web, split};
use super::{Object, UrlProblem};
use crate::error::{Error, Result};

/// A block of a few MiB has to fit in, on a slow line too.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// When to give up on a server that fails.
const RETRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(150);

/// Threads that only wait for the network.
const NETWORK_THREADS: usize = 2;

/// An open connection.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// None on web servers.
    pub(super) lister: Option<Arc<dyn PaginatedListStore>>,
}

/// A bucket and a key in it; the key is empty for a bucket's root, and on web servers.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) bucket: Bucket,
    pub(super) key: Key,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.bucket.store, self.key)
    }
}

/// Connects to the bucket of an object, unless that was done before.
pub(super) fn place(object: &Object) -> Result<Place> {
    // One for the process: a connection holds pools, and credentials that were fetched, which everything in a bucket is to
    // share. It is known by its name, since it depends on nothing else but the environment.
    static OPEN: Mutex<BTreeMap<String, Bucket>> = Mutex::new(BTreeMap::new());
    let Parts { scheme, bucket: name, key } = parts(object)?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let id = format!("{scheme}://{name}");
    let bucket = match open.get(&id) {
        Some(bucket) => bucket.clone(),
        None => {
            let bucket = connect(&scheme, &name).map_err(failed("connect to", object))?;
            open.insert(id, bucket.clone());
            bucket
        }
    };
    Ok(Place { bucket, key })
}

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    scheme: String,
    bucket: String,
    key: Key,
}

/// Takes a URL apart. Keys are taken as they are, as the stores' own tools do. A web address is its own bucket: it is not to
/// be taken apart and put together otherwise.
pub(super) fn parts(object: &Object) -> Result<Parts> {
    let wrong = |problem| Error::Url { path: object.path().to_owned(), problem };
    if object.is_repository() {
        return Err(wrong(UrlProblem::NotFetched));
    }
    let malformed = |problem: String| wrong(UrlProblem::Malformed(problem));
    let full = object.full();
    let (scheme, rest) = split(&full).ok_or_else(|| malformed("it is no URL".to_owned()))?;
    let scheme = scheme.to_owned();
    if rest.split('/').next().unwrap_or_default().contains('@') {
        return Err(wrong(UrlProblem::Credentials));
    }
    if is_web(&scheme) {
        Url::parse(&full).map_err(|error| malformed(error.to_string()))?;
        return Ok(Parts { scheme, bucket: rest.to_owned(), key: Key::default() });
    }
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong(UrlProblem::NoBucket));
    }
    let key = Key::parse(key).map_err(|error| malformed(error.to_string()))?;
    Ok(Parts { scheme, bucket: bucket.to_owned(), key })
}

fn connect(scheme: &str, name: &str) -> object_store::Result<Bucket> {
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let timeout = format!("{} seconds", REQUEST_TIMEOUT.as_secs());
    // An option of the environment goes before ours.
    let is_set = |variable| std::env::var_os(variable).is_some();
    let key = ClientConfigKey::Timeout;
    match scheme {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
            let key = AmazonS3ConfigKey::Client(key);
            let store = if is_set("AWS_TIMEOUT") { builder } else { builder.with_config(key, timeout) }.build()?;
            Ok(listed(store))
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(name).with_retry(retry);
            let key = GoogleConfigKey::Client(key);
            let store = if is_set("GOOGLE_TIMEOUT") { builder } else { builder.with_config(key, timeout) }.build()?;
            Ok(listed(store))
        }
        "az" => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(name).with_retry(retry);
            let key = AzureConfigKey::Client(key);
            let store = if is_set("AZURE_TIMEOUT") { builder } else { builder.with_config(key, timeout) }.build()?;
            Ok(listed(store))
        }
        _ => {
            // Who types http means it.
            let options = ClientOptions::new().with_allow_http(scheme == "http").with_timeout(REQUEST_TIMEOUT);
            let builder = HttpBuilder::new().with_url(format!("{scheme}://{name}"));
            let store = builder.with_client_options(options).with_retry(retry).build()?;
            Ok(Bucket { store: Arc::new(store), lister: None })
        }
    }
}

fn listed<S: ObjectStore + PaginatedListStore>(store: S) -> Bucket {
    let store = Arc::new(store);
    Bucket { store: store.clone(), lister: Some(store) }
}

/// What everything about the network runs on; the threads of the tool itself wait for it.
pub(super) fn runtime() -> Result<&'static Runtime> {
    // One for the process: blocks that one reader asked for are fetched on it while others read, and its threads outlive
    // every object.
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(NETWORK_THREADS).enable_all().build();
    RUNTIME.get_or_init(build).as_ref().map_err(|error| {
        let source = std::io::Error::new(error.kind(), error.to_string());
        Error::io("start the network's threads for", Path::new("object stores"))(source)
    })
}

/// Waits for a request about `object`.
pub(super) fn wait<T>(
    action: &'static str,
    object: &Object,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<T> {
    runtime()?.block_on(request).map_err(failed(action, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let parts_of = |url: &str| {
            let object = Object::parse(url).unwrap();
            parts(&object)
                .map(|parts| format!("{} {} {}", parts.scheme, parts.bucket, parts.key))
                .map_err(|e| e.to_string())
        };
        assert_eq!(parts_of("s3://b/a/x y%41.safetensors").unwrap(), "s3 b a/x y%41.safetensors");
        assert_eq!(parts_of("gs://b").unwrap(), "gs b ");
        assert_eq!(parts_of("az://c/zoo/").unwrap(), "az c zoo");
        assert_eq!(parts_of("https://h:1/a%20b?x=1").unwrap(), "https h:1/a%20b?x=1 ");
        for (url, words) in [
            ("s3:///k", "names no bucket"),
            ("s3://b/a//b", "empty path segment"),
            ("s3://b/../x", ".."),
            ("hf://org/name", "has to be fetched"),
            ("http://u:secret@h/x", "credentials come from the environment"),
            ("s3://key:secret@b/x", "credentials come from the environment"),
        ] {
            let error = parts_of(url).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }
}
