//! ZOO: what a file or folder is, by its name and its place.
//!
//! In: a path. Out: whether it is a checkpoint, a result of ours, another format's weights, or a folder that programs keep
//! for themselves.

use std::path::Path;

use crate::checkpoint::{CONVERT_LINE, TORCH_LINE};
use crate::error::Result;
use crate::output::FOLDED;
use crate::store::{self, Location};
use crate::text::shown;

pub(crate) fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"))
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder,
    /// A regular file, or an object.
    File,
    /// What cannot be read like a file: a pipe, a socket, a device.
    Odd,
}

/// What `file` leads to; links are followed.
pub(super) fn kind_of(file: &Location) -> Result<Kind> {
    let Location::File(path) = file else { return Ok(Kind::File) };
    Ok(match store::target(path)? {
        None => Kind::Nothing,
        Some(metadata) if metadata.is_dir() => Kind::Folder,
        Some(metadata) if metadata.is_file() => Kind::File,
        Some(_) => Kind::Odd,
    })
}

/// `m.safetensors`, for `m.folded.safetensors`.
pub(super) fn original_of(file: &Location) -> Option<Location> {
    let stem = file.file_name()?.to_str()?.strip_suffix(FOLDED)?;
    Some(file.with_file_name(format!("{stem}.safetensors")))
}

/// Folders in which programs keep their own: git, and Hugging Face caches, which hold contents under their hashes beside
/// the snapshots that link to them, and unfinished downloads.
pub(super) fn is_internal(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        ".git" | ".locks" => true,
        "blobs" | ".no_exist" => path.with_file_name("snapshots").is_dir() || is_cache(path.parent()),
        "download" => path.ends_with(".cache/huggingface/download"),
        _ => false,
    }
}

/// Whether a folder is named as those of a Hugging Face cache are.
pub(super) fn is_cache(folder: Option<&Path>) -> bool {
    let name = folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    ["models--", "datasets--", "spaces--"].iter().any(|kind| name.starts_with(kind))
}

/// Weights in formats that are not folded: a repository of folded weights must not carry them unfolded beside.
pub(crate) fn is_weights(path: &Path) -> bool {
    const FORMATS: [&str; 17] = [
        "safetensors",
        "bin",
        "pt",
        "pth",
        "ckpt",
        "h5",
        "keras",
        "hdf5",
        "msgpack",
        "onnx",
        "onnx_data",
        "gguf",
        "npz",
        "tflite",
        "pb",
        "ot",
        "incomplete",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    FORMATS.contains(&&*extension) || name.starts_with("pytorch_model.bin.index") || name.starts_with(".bnfold-")
}

/// Such weights, and how they become a checkpoint, in words that can follow `there is`.
pub fn how_to_convert(weights: &Path) -> String {
    let name = weights.display().to_string();
    let name = shown(&name);
    let is_one_of = |known: &[&str]| weights.extension().is_some_and(|extension| known.iter().any(|e| extension == *e));
    if is_one_of(&["bin", "pt", "pth"]) {
        format!("{name}, which PyTorch wrote: `{CONVERT_LINE}` makes a checkpoint of it; or {TORCH_LINE}")
    } else if is_one_of(&["ckpt", "h5", "hdf5", "keras", "msgpack", "npz", "onnx"]) {
        format!(
            "{name}: `{CONVERT_LINE}` makes a checkpoint of it; or load it with its library, and save its tensors with the \
             safetensors library"
        )
    } else {
        format!("{name}: load it with its library, and save its tensors with the safetensors library")
    }
}
