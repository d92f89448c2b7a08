//! 1 READ: what a file is that is no checkpoint.
//!
//! In: the beginning of a file whose header cannot be read. Out: what it looks like and what to do about it, if it is one of
//! the things that are commonly found under a checkpoint's name. Nothing is decided here: the file is refused already.

use crate::text::shown;

/// Bytes of a file that are looked at.
pub(super) const BEGINNING: usize = 128;

/// What turns weights of other formats into a checkpoint, where the Python package is installed.
pub(crate) const CONVERT_LINE: &str = "python -m bnfold_gpu convert FILE";

/// What turns a state dict that `torch.save` wrote into a checkpoint. Clones, since the library refuses tensors that share
/// their memory.
pub(crate) const TORCH_LINE: &str = "python3 -c \"import sys, torch, safetensors.torch as st; st.save_file({k: v.clone() for k, v in \
     torch.load(sys.argv[1], 'cpu', weights_only=True).items()}, sys.argv[2])\" IN.bin OUT.safetensors";

/// Characters of a text that are shown.
const SHOWN: usize = 40;

/// Something else than a checkpoint, by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Foreign {
    /// What a repository holds in the place of a file that was not downloaded.
    #[error(
        "it is a Git LFS pointer, which stands for a file that was not downloaded; run `git lfs pull` in its repository"
    )]
    LfsPointer,
    /// An archive, as `torch.save` and Keras write it.
    #[error(
        "it is a zip archive, as torch.save (.pt, .bin), Keras (.keras) and NumPy (.npz) write; `{CONVERT_LINE}` makes a \
         checkpoint of it; or load it there and save its tensors with the safetensors library; of a PyTorch state dict: \
         {TORCH_LINE}"
    )]
    Zip,
    /// Python objects, as old versions of `torch.save` write them.
    #[error(
        "it is a Python pickle, as torch.save wrote once; `{CONVERT_LINE}` makes a checkpoint of it; or load it with PyTorch \
         and save its tensors: {TORCH_LINE}"
    )]
    Pickle,
    /// Weights in another format.
    #[error("it is a file of {0}; load it there and save its tensors with the safetensors library")]
    Format(&'static str),
    /// Weights in another format, which the Python package reads.
    #[error(
        "it is a file of {0}; `{CONVERT_LINE}` makes a checkpoint of it; or load it there and save its tensors with the \
         safetensors library"
    )]
    Convertible(&'static str),
    /// A graph with or without its weights, which a converter has folded, or can.
    #[error(
        "it is a graph of {0}, and {1}: fold it with that program's own optimizer, or fold the checkpoint it was made of"
    )]
    Graph(&'static str, &'static str),
    /// Something packed.
    #[error("it is packed with {0}; unpack it first")]
    Packed(&'static str),
    /// A page of a web server: an error, a login.
    #[error("it is a web page (HTML or XML), as a failed download leaves it; download the file again")]
    Page,
    /// Any other text.
    #[error(
        "it is a text that begins `{}`, as a failed download may leave it; download the file again",
        shown(beginning)
    )]
    Text {
        /// Its first characters.
        beginning: String,
    },
}

/// What begins with these bytes.
const SIGNATURES: [(&[u8], Foreign); 8] = [
    (b"version https://git-lfs.github.com/spec/", Foreign::LfsPointer),
    (b"PK\x03\x04", Foreign::Zip),
    (b"\x89HDF\r\n\x1a\n", Foreign::Convertible("HDF5 (Keras .h5)")),
    (b"GGUF", Foreign::Format("GGUF (llama.cpp)")),
    (b"\x93NUMPY", Foreign::Format("NumPy")),
    (b"\x1f\x8b", Foreign::Packed("gzip")),
    (b"\x28\xb5\x2f\xfd", Foreign::Packed("zstd")),
    (b"\xfd7zXZ\0", Foreign::Packed("xz")),
];

/// What a file with this `beginning` is, if it is known.
pub(super) fn recognise(beginning: &[u8]) -> Option<Foreign> {
    // A length of less than 4 GB and the brace that opens the JSON: a checkpoint that is cut off.
    if matches!(beginning, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
        return None;
    }
    let known = SIGNATURES.iter().find(|(signature, _)| beginning.starts_with(signature));
    let known = known.map(|(_, foreign)| foreign.clone());
    let known = known.or_else(|| graph(beginning)).or_else(|| pickle(beginning));
    known.or_else(|| text(beginning)).or_else(|| message_pack(beginning))
}

/// Graphs of other programs. A flat buffer has its kind after a table's offset. Protocol buffers begin with the tag of their
/// first field: ONNX's `ir_version` and TensorFlow's `saved_model_schema_version` are integers of number 1 (tag 8), after
/// which a saved model has nothing but its graphs (tag 18).
fn graph(beginning: &[u8]) -> Option<Foreign> {
    const ONNX: Foreign = Foreign::Graph(
        "ONNX",
        "its weights are in the graph (`python -m bnfold_gpu convert FILE` makes a checkpoint of them)",
    );
    match beginning {
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => {
            Some(Foreign::Graph("TensorFlow Lite", "its weights are in the graph"))
        }
        [8, 1, 18, ..] => Some(Foreign::Graph("TensorFlow (a saved model)", "its weights lie beside it")),
        // Fields that a model has: producer, domain, versions, graph, operator sets.
        [8, 1..=32, 18 | 26 | 34 | 40 | 50 | 58 | 66, ..] => Some(ONNX),
        _ => None,
    }
}

/// The protocols from 2 on begin with their number, and the first object's opcode is never zero.
fn pickle(beginning: &[u8]) -> Option<Foreign> {
    matches!(beginning, [0x80, 2..=5, opcode, ..] if *opcode != 0).then_some(Foreign::Pickle)
}

/// A map whose first key is a name: what Flax writes. Text is asked for first, since a map of many keys may begin like one.
fn message_pack(beginning: &[u8]) -> Option<Foreign> {
    let key = match beginning {
        [0x81..=0x8f, key @ ..] | [0xde, _, _, key @ ..] | [0xdf, _, _, _, _, key @ ..] => key,
        _ => return None,
    };
    let (length, rest) = match key {
        [length @ 0xa1..=0xbf, rest @ ..] => (length & 0x1f, rest),
        [0xd9, length, rest @ ..] => (*length, rest),
        _ => return None,
    };
    let name = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    (!name.chars().any(char::is_control)).then_some(Foreign::Convertible("MessagePack (Flax .msgpack)"))
}

fn text(beginning: &[u8]) -> Option<Foreign> {
    let valid = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        // A character may be cut in two at the end.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&beginning[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = valid.trim_start_matches('\u{feff}').trim();
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    match ["<!doctype", "<html", "<?xml", "<head"].iter().any(|tag| lower.starts_with(tag)) {
        true => Some(Foreign::Page),
        false => Some(Foreign::Text { beginning: text.lines().next()?.chars().take(SHOWN).collect() }),
    }
}
