//! The `config.json` beside a checkpoint.
//!
//! In: the path of a checkpoint. Out: the configuration, if one lies in the same folder and is about this checkpoint; or
//! why one that is there is passed over.

use std::ffi::OsStr;

use serde_json::Value;

use crate::checkpoint::{InputFile, is_index};
use crate::error::{Error, Result};
use crate::json;
use crate::output::FOLDED;
use crate::store::{self, Listings, Location};
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

/// What code a configuration is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelClass {
    /// The class, or the model type where no class is named.
    pub(super) name: String,
    /// Whether it is transformers', which loads a file that does not fit its class with a mere remark in a log.
    pub(super) is_of_transformers: bool,
}

impl ModelClass {
    /// What `config` says. transformers writes `architectures` and `model_type`, timm `architecture`.
    pub(super) fn of(config: &Value) -> Option<ModelClass> {
        let named = |name: Option<&Value>| name.and_then(Value::as_str).map(str::to_owned);
        let class = config.get("architectures").and_then(|classes| classes.get(0));
        if let Some(name) = named(class).or_else(|| named(config.get("model_type"))) {
            return Some(ModelClass { name, is_of_transformers: true });
        }
        Some(ModelClass { name: named(config.get("architecture"))?, is_of_transformers: false })
    }
}

impl Beside {
    fn ignored(config: &Location, why: String) -> Beside {
        let warning = Warning::ConfigIgnored { path: config.path().to_owned(), why };
        Beside { config: None, ignored: Some(warning) }
    }
}

/// The `config.json` that describes `input`: one in the same folder, if `input` is what such a folder is about. `result`
/// is where the result of `input` is or goes.
///
/// # Errors
///
/// There is one, or there may be, and it cannot be read: what it says would be missing. Only absence is absence.
pub(super) fn config_beside(input: &Location, result: Option<&Location>, listings: &Listings) -> Result<Beside> {
    let path = input.folder().join("config.json");
    let file = match InputFile::open(&path) {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Beside::default()),
        Err(error) => return Err(error),
    };
    if file.bytes() > LIMIT {
        return Ok(Beside::ignored(&path, format!("larger than any configuration ({} bytes)", file.bytes())));
    }
    if !is_of_repository(input)
        && let Some(other) = another_checkpoint(input, result, listings)?
    {
        return Ok(Beside::ignored(&path, format!("may be that of {other}, which lies beside it too")));
    }
    Ok(match json::parse(&file.read_whole()?) {
        Ok(config) => Beside { config: Some(config), ignored: None },
        Err(error) => Beside::ignored(&path, format!("not read as JSON ({error})")),
    })
}

/// Whether it is called what transformers and timm call the weights of a repository: `model`, a variant, a shard.
fn is_of_repository(input: &Location) -> bool {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    stem == "model" || stem.starts_with("model.") || stem.starts_with("model-00")
}

/// A checkpoint in the same folder that is neither `input` nor its shard if it is an index, and no result of ours.
fn another_checkpoint(input: &Location, result: Option<&Location>, listings: &Listings) -> Result<Option<String>> {
    let stem = store::index_stem(input.path()).filter(|_| is_index(input.path()));
    // `model-00001-of-00002.safetensors`, or with a variant `model.fp16-00001-of-00002.safetensors`.
    let is_own_shard = |name: &str| {
        let rest = stem.as_ref().and_then(|stem| name.strip_prefix(stem.as_str()));
        rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    };
    let folder = input.folder();
    let is_result = |name: &str| -> Result<bool> {
        let Some(result) = result.filter(|_| !name.ends_with(FOLDED)) else { return Ok(name.ends_with(FOLDED)) };
        let file = folder.join(name).resolved()?;
        Ok(file.is_some() && file == result.resolved()?)
    };
    let is_other = |name: &&String| Some(OsStr::new(name)) != input.file_name() && !is_own_shard(name);
    for name in listings.names(&folder)?.checkpoints.iter().filter(is_other) {
        if !is_result(name)? {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_is_that_of_transformers_or_timm() {
        let of = |config: Value| ModelClass::of(&config).map(|class| (class.name, class.is_of_transformers));
        let resnet = || "ResNetForImageClassification".to_owned();
        assert_eq!(of(json!({"architectures": [resnet()], "model_type": "resnet"})), Some((resnet(), true)));
        assert_eq!(of(json!({"architectures": null, "model_type": "resnet"})), Some(("resnet".to_owned(), true)));
        let wrapped = json!({"architecture": "resnet18", "model_type": "timm_wrapper"});
        assert_eq!(of(wrapped), Some(("timm_wrapper".to_owned(), true)), "transformers loads it");
        assert_eq!(of(json!({"architecture": "resnet18"})), Some(("resnet18".to_owned(), false)));
        assert_eq!(of(json!({"architectures": [], "batch_norm_eps": 1e-5})), None);
        assert_eq!(of(json!(["architectures"])), None);
    }
}
