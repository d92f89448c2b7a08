//! STORE: what a file's name says about its content.
//!
//! In: a path or a URL's path. Out: whether it is named like the index of a sharded checkpoint, and of which model.

use std::path::Path;

/// What stands between the name of a sharded model and the end of its index's name.
const INDEX: &str = ".safetensors.index.";

/// Whether a path is named like the index of a sharded checkpoint: `model.safetensors.index.json`, or with a variant as
/// in `model.safetensors.index.fp16.json`.
pub fn is_index(path: &Path) -> bool {
    index_stem(path).is_some() && path.as_os_str().as_encoded_bytes().ends_with(b".json")
}

/// `model`, for the path `a/model.safetensors.index.json`: what the names of its shards begin with.
pub fn index_stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    name.split_once(INDEX).map(|(stem, _)| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_told_by_its_name() {
        for (name, stem) in [
            ("model.safetensors.index.json", "model"),
            ("a/model.safetensors.index.fp16.json", "model"),
            ("m.fp16.safetensors.index.json", "m.fp16"),
        ] {
            assert!(is_index(Path::new(name)), "{name}");
            assert_eq!(index_stem(Path::new(name)).as_deref(), Some(stem));
        }
        let no_index = [
            "model.safetensors",
            "model.safetensors.json",
            "index.json",
            "model.safetensors.index.json.bak",
            "x.safetensors.index.d/model.json",
            "pytorch_model.bin.index.json",
            "model.safetensors.index",
            "/",
        ];
        for name in no_index {
            assert!(!is_index(Path::new(name)), "{name}");
        }
    }
}
