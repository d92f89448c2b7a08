//! STORE: URLs, and what of them may be shown.
//!
//! In: text. Out: an [`Object`], if the text is a URL of a known scheme. What a URL may hold besides a place (a user's
//! name, a signature) is kept apart as a secret that nothing prints: only who connects asks for the [`Object::full`] text.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use super::names::index_stem;

const SCHEMES: [&str; 6] = ["s3", "gs", "az", "http", "https", REPOSITORIES];

/// The scheme of repositories of the Hugging Face Hub.
const REPOSITORIES: &str = "hf";

/// What stands under a URL of an object store or a web server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Without secrets. It is compared as paths are: a slash at the end makes no difference.
    url: PathBuf,
    /// All of it, if that is more.
    secret: Option<Secret>,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Object {
    /// The object that `text` is the URL of. User and password, and the query of a web address, which may be a signature,
    /// are secrets.
    pub fn parse(text: &str) -> Option<Object> {
        let (scheme, rest) = split(text)?;
        let place = without_secrets(scheme, rest);
        let secret = (place != rest).then(|| Secret(text.to_owned()));
        Some(Object { url: format!("{scheme}://{place}").into(), secret })
    }

    /// What messages call it: the URL without secrets.
    pub fn path(&self) -> &Path {
        &self.url
    }

    /// Whether everything below it is meant. A store has no folders, so the text decides: whatever does not end like a
    /// checkpoint or an index is one, except on web servers, which cannot list. A repository is always one.
    pub fn is_folder(&self) -> bool {
        let text = self.text();
        let Some((scheme, rest)) = split(&text) else { return false };
        let name = rest.rsplit('/').next().unwrap_or_default();
        let is_file = name.ends_with(".safetensors") || index_stem(Path::new(name)).is_some();
        scheme == REPOSITORIES || (!is_web(scheme) && (!rest.contains('/') || !is_file))
    }

    /// Whether it is a repository of the Hugging Face Hub, which is fetched before anything in it can be read.
    pub fn is_repository(&self) -> bool {
        split(&self.text()).is_some_and(|(scheme, _)| scheme == REPOSITORIES)
    }

    /// Whether it holds more than may be shown.
    pub(crate) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The object at `below`, a relative path, in this folder.
    pub(super) fn join(&self, below: &Path) -> Object {
        let (folder, below) = (self.text(), below.to_string_lossy());
        let below = if cfg!(windows) { below.replace('\\', "/").into() } else { below };
        let slash = if folder.ends_with('/') || below.is_empty() { "" } else { "/" };
        Object { url: format!("{folder}{slash}{below}").into(), secret: None }
    }

    /// What it stands in; a bucket stands in itself.
    pub(super) fn folder(&self) -> Object {
        let text = self.text();
        let (scheme, rest) = split(&text).unwrap_or_default();
        let rest = rest.trim_end_matches('/');
        let folder = rest.rsplit_once('/').map_or(rest, |(folder, _)| folder);
        Object { url: format!("{scheme}://{folder}").into(), secret: None }
    }

    /// The URL without secrets.
    fn text(&self) -> Cow<'_, str> {
        self.url.to_string_lossy()
    }

    /// The whole URL, for the one who connects.
    #[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "nobody connects"))]
    pub(super) fn full(&self) -> Cow<'_, str> {
        self.secret.as_ref().map_or_else(|| self.text(), |Secret(full)| full.into())
    }
}

/// Scheme and rest of a URL.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").filter(|(scheme, _)| SCHEMES.contains(scheme))
}

pub(super) fn is_web(scheme: &str) -> bool {
    scheme == "http" || scheme == "https"
}

/// A text in which every URL has lost its user, password and query.
pub fn redacted(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>`)".contains(c)).unwrap_or(after.len());
        let scheme = if before.ends_with("http://") || before.ends_with("https://") { "https" } else { "" };
        out.push_str(before);
        out.push_str(&without_secrets(scheme, &after[..end]));
        rest = &after[end..];
    }
    out + rest
}

/// What an error of a library says in one line, without secrets, and the cause at the bottom of it, since libraries leave that
/// out. Answers of servers have many lines.
#[cfg(any(feature = "cloud", feature = "hub"))]
pub(crate) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let (mut text, cause) = (error.to_string(), cause.to_string());
    if !text.contains(&cause) {
        text = format!("{text}: {cause}");
    }
    redacted(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Host and path of what follows the scheme.
fn without_secrets(scheme: &str, rest: &str) -> String {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A key of a store may hold a question mark; a web address ends there.
    let path = if is_web(scheme) { path.split(['?', '#']).next().unwrap_or_default() } else { path };
    format!("{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_secret_is_kept_apart() {
        let full = "https://user:pass@h.org/m.safetensors?X-Amz-Signature=abc";
        let object = Object::parse(full).unwrap();
        assert_eq!((object.path(), &*object.full()), (Path::new("https://h.org/m.safetensors"), full));
        for plain in ["s3://b/k?v=1", "https://h/x"] {
            let object = Object::parse(plain).unwrap();
            assert_eq!((object.path(), &*object.full()), (Path::new(plain), plain));
        }
    }

    #[test]
    fn texts_lose_secrets_wherever_they_stand() {
        let text = "GET http://u:p@h/x?sig=1 failed (see https://h/y?t=2) for s3://b/k?v";
        assert_eq!(redacted(text), "GET http://h/x failed (see https://h/y) for s3://b/k?v");
        assert_eq!(redacted("--input=https://h/x?sig=1"), "--input=https://h/x");
        assert_eq!(redacted("no URL: a@b?c"), "no URL: a@b?c");
    }
}
