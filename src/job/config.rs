//! The `config.json` beside a checkpoint.
//!
//! In: the path of a checkpoint. Out: the configuration, if one lies in the same folder and is about this checkpoint; or
//! why one that is there is passed over.

use std::ffi::OsStr;

use serde_json::Value;

use crate::checkpoint::{InputFile, is_index};
use crate::error::Error;
use crate::output::FOLDED;
use crate::store::{self, Location};
use crate::warning::Warning;

/// The longest `config.json` that is read; real ones take a few kilobytes.
const LIMIT: u64 = 16 << 20;

/// What lies beside a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The configuration that is about it.
    pub(super) config: Option<Value>,
    /// That there is a configuration, and why it is not used.
    pub(super) ignored: Option<Warning>,
}

impl Beside {
    fn ignored(config: &Location, why: String) -> Beside {
        let warning = Warning::ConfigIgnored { path: config.path().to_owned(), why };
        Beside { config: None, ignored: Some(warning) }
    }
}

/// The `config.json` that describes `input`: one in the same folder, if `input` is what such a folder is about. `result`
/// is where the result of `input` is or goes.
pub(super) fn config_beside(input: &Location, result: Option<&Location>) -> Beside {
    let path = input.folder().join("config.json");
    let file = match InputFile::open(&path) {
        Ok(file) if file.bytes() <= LIMIT => file,
        Err(Error::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
            return Beside::ignored(&path, format!("cannot be read ({source})"));
        }
        _ => return Beside::default(),
    };
    if !is_of_repository(input)
        && let Some(other) = another_checkpoint(input, result)
    {
        return Beside::ignored(&path, format!("may be that of {other}, which lies beside it too"));
    }
    let text = file.read_whole().map_err(|error| error.to_string());
    match text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())) {
        Ok(config) => Beside { config: Some(config), ignored: None },
        Err(error) => Beside::ignored(&path, format!("not read as JSON ({error})")),
    }
}

/// Whether it is called what transformers and timm call the weights of a repository: `model`, a variant, a shard.
fn is_of_repository(input: &Location) -> bool {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    stem == "model" || stem.starts_with("model.") || stem.starts_with("model-00")
}

/// A checkpoint in the same folder that is neither `input` nor its shard if it is an index, and no result of ours.
fn another_checkpoint(input: &Location, result: Option<&Location>) -> Option<String> {
    let stem = store::index_stem(input.path()).filter(|_| is_index(input.path()));
    // `model-00001-of-00002.safetensors`, or with a variant `model.fp16-00001-of-00002.safetensors`.
    let is_own_shard = |name: &str| {
        let rest = stem.as_ref().and_then(|stem| name.strip_prefix(stem.as_str()));
        rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    };
    let folder = input.folder();
    let is_result = |name: &str| {
        let is_there =
            |result: &Location| folder.join(name).resolved().is_some_and(|file| result.resolved() == Some(file));
        name.ends_with(FOLDED) || result.is_some_and(is_there)
    };
    let is_other = |name: &String| {
        let is_input = Some(OsStr::new(name)) == input.file_name();
        name.ends_with(".safetensors") && !is_input && !is_own_shard(name) && !is_result(name)
    };
    folder.names().ok()?.into_iter().find(is_other)
}
