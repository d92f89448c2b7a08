//! HUB: which files of a repository folding needs.
//!
//! In: everything that the Hub lists. Out: checkpoints, their indices, and the configurations beside them, that say of what
//! architecture they are; or what there is in the place of a checkpoint.

use std::path::{Component, Path};

use hf_hub::repository::RepoTreeEntry;

use super::HubProblem;
use crate::store::is_index;
use crate::zoo;

/// A file to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its path in the repository.
    pub(super) path: String,
    /// Its length.
    pub(super) bytes: u64,
}

/// The files that are needed of `listed`, of which one is a checkpoint.
pub(super) fn wanted(listed: Vec<RepoTreeEntry>) -> Result<Vec<Wanted>, HubProblem> {
    let files = listed.into_iter().filter_map(|entry| match entry {
        RepoTreeEntry::File { path, size, .. } => Some(Wanted { path, bytes: size }),
        RepoTreeEntry::Directory { .. } => None,
    });
    let (wanted, others): (Vec<_>, Vec<_>) = files.partition(|file| is_wanted(Path::new(&file.path)));
    if !wanted.iter().any(|file| zoo::is_checkpoint(Path::new(&file.path))) {
        let instead = others.iter().map(|file| Path::new(&file.path)).find(|path| zoo::is_weights(path));
        return Err(HubProblem::NoCheckpoint { instead: instead.map(zoo::how_to_convert) });
    }
    match wanted.iter().find(|file| leads_out(&file.path)) {
        Some(file) => Err(HubProblem::LeadsOut { file: file.path.clone() }),
        None => Ok(wanted),
    }
}

fn is_wanted(path: &Path) -> bool {
    zoo::is_checkpoint(path) || is_index(path) || path.file_name().is_some_and(|name| name == "config.json")
}

fn leads_out(path: &str) -> bool {
    path.contains(['\\', ':']) || !Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str]) -> Result<Vec<String>, HubProblem> {
        let entry = |path: &&str| serde_json::json!({"type": "file", "oid": "1", "size": 7, "path": path});
        let listed = files.iter().map(|path| serde_json::from_value(entry(path)).unwrap()).collect();
        Ok(wanted(listed)?.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn weights_indices_and_configurations_are_wanted_and_nothing_else() {
        let files = [
            ".gitattributes",
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "tokenizer_config.json",
            "unet/config.json",
            "unet/diffusion.fp16.safetensors",
        ];
        assert_eq!(of(&files).unwrap(), [files[2], files[3], files[4], files[7], files[8]]);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let found = of(&["config.json", "pytorch_model.bin"]).unwrap_err().to_string();
        assert!(found.contains("there is pytorch_model.bin, which PyTorch wrote"), "{found}");
        assert_eq!(of(&["README.md"]), Err(HubProblem::NoCheckpoint { instead: None }));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for file in [
            "../m.safetensors",
            "a/../../m.safetensors",
            "/etc/m.safetensors",
            "a\\..\\m.safetensors",
            "c:m.safetensors",
        ] {
            assert_eq!(of(&[file]), Err(HubProblem::LeadsOut { file: file.to_owned() }), "{file}");
        }
    }
}
