//! STORE: URLs as paths.
//!
//! In: what the user typed. Out: whether it is a URL, whether it names a folder, and a form of it that may be shown.
//! Nothing here needs a network. What a URL may hold besides a place (a user's name, a signature) never becomes part of
//! a path, and so can reach neither messages nor reports: [`conceal`] keeps it aside for the one who connects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::names::index_stem;

const SCHEMES: [&str; 5] = ["s3", "gs", "az", "http", "https"];

/// Whether a path is a URL of an object store or a web server.
pub fn is_url(path: &Path) -> bool {
    split(path).is_some()
}

/// Whether `path` is a folder. A store has none, so a URL's text decides: whatever does not end like a checkpoint or an
/// index stands for everything below it, except on web servers, which cannot list.
pub fn is_folder(path: &Path) -> bool {
    match split(path) {
        None => path.is_dir(),
        Some((scheme, _)) if is_web(scheme) => false,
        Some((_, rest)) => {
            let name = rest.rsplit('/').next().unwrap_or_default();
            !rest.contains('/') || !(name.ends_with(".safetensors") || index_stem(path).is_some())
        }
    }
}

/// Scheme and rest of a URL.
pub(super) fn split(path: &Path) -> Option<(&str, &str)> {
    path.to_str()?.split_once("://").filter(|(scheme, _)| SCHEMES.contains(scheme))
}

pub(super) fn is_web(scheme: &str) -> bool {
    scheme == "http" || scheme == "https"
}

/// Full texts of URLs that hold more than a place, by what is shown of them.
static CONCEALED: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());

/// Takes out of a URL what must not be shown: user and password, and the query of a web address, which may be a
/// signature. This process still connects with it. Other paths are as they were.
pub fn conceal(path: PathBuf) -> PathBuf {
    let Some((scheme, rest)) = split(&path) else { return path };
    let shown = without_secrets(scheme, rest);
    if shown == rest {
        return path;
    }
    let (place, full) = (format!("{scheme}://{shown}"), format!("{scheme}://{rest}"));
    let mut concealed = CONCEALED.lock().unwrap_or_else(PoisonError::into_inner);
    // Two that differ only in what is not shown are still two; a fragment is never sent.
    let mut names = (2u32..).map(|n| PathBuf::from(format!("{place}#{n}")));
    let mut name = PathBuf::from(&place);
    while concealed.get(&name).is_some_and(|other| *other != full) {
        name = names.next().unwrap_or_default();
    }
    concealed.insert(name.clone(), full);
    name
}

/// The URL that `path` stands for, in full.
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "nobody connects"))]
pub(super) fn revealed(path: &Path) -> String {
    let concealed = CONCEALED.lock().unwrap_or_else(PoisonError::into_inner);
    concealed.get(path).cloned().unwrap_or_else(|| path.to_string_lossy().into_owned())
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
    fn urls_are_told_from_paths_and_folders_from_files() {
        for path in ["s3://b/k", "gs://b", "az://c/x.safetensors", "http://h/x", "https://h/x"] {
            assert!(is_url(Path::new(path)), "{path}");
        }
        for path in ["s3:/b/k", "ftp://h/x", "x/s3://b", "C://x", "s3", "://"] {
            assert!(!is_url(Path::new(path)), "{path}");
        }
        for (path, expected) in [
            ("s3://b", true),
            ("s3://b.safetensors", true),
            ("s3://b/zoo", true),
            ("s3://b/zoo.safetensors/", true),
            ("gs://b/m.safetensors", false),
            ("az://c/model.safetensors.index.fp16.json", false),
            ("https://h/zoo", false),
        ] {
            assert_eq!(is_folder(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_secret_is_kept_aside() {
        let full = "https://user:pass@h.org/m.safetensors?X-Amz-Signature=abc";
        let path = conceal(full.into());
        assert_eq!(path, Path::new("https://h.org/m.safetensors"));
        assert_eq!(revealed(&path), full);
        assert_eq!(conceal(full.into()), path, "the same URL is the same path");
        let other = conceal("https://h.org/m.safetensors?v=2".into());
        assert_eq!(
            (other.to_str(), &*revealed(&other)),
            (Some("https://h.org/m.safetensors#2"), "https://h.org/m.safetensors?v=2")
        );
        for plain in ["x?y", "s3://b/k?v=1", "https://h/x"] {
            assert_eq!(conceal(plain.into()), Path::new(plain));
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
