//! STORE: what goes wrong with a bucket.
//!
//! In: an error of the store's library, and what was tried. Out: one of ours, in one line and without secrets.

use super::Object;
use super::url::one_line;
use crate::error::Error;

/// An error of the library as one of ours.
pub(super) fn failed(action: &'static str, object: &Object) -> impl FnOnce(object_store::Error) -> Error {
    move |error| describe(action, object, &error)
}

/// The same for an error that several wait for.
pub(super) fn describe(action: &'static str, object: &Object, error: &object_store::Error) -> Error {
    use std::io::ErrorKind;
    let (path, text) = (object.path().to_owned(), one_line(error));
    let io = |kind, text: String| std::io::Error::new(kind, text);
    let source = match error {
        object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => {
            return Error::Modified { path };
        }
        object_store::Error::AlreadyExists { .. } => return Error::OutputExists { path },
        object_store::Error::NotFound { .. } => io(ErrorKind::NotFound, "there is no such object".to_owned()),
        object_store::Error::NotSupported { .. } if action == "read" => io(
            ErrorKind::Unsupported,
            "the server does not answer requests for a part of it; fetch the file first".to_owned(),
        ),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => io(
            ErrorKind::PermissionDenied,
            format!("access denied; credentials come from the environment (AWS_*, GOOGLE_*, AZURE_*): {text}"),
        ),
        _ => io(ErrorKind::Other, text),
    };
    Error::Io { action, path, source }
}
