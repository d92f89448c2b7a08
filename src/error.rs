//! Everything that can go wrong, for every stage: one enum, fields rather than strings.
//!
//! A message names the file, the layer or tensor, what was expected, what was found and what to do next; which option of
//! the command line does it is for the command line to say. It is lower case and has no full stop, so that it can follow
//! `error:`. Names that come out of a file are escaped before they
//! reach a terminal.

mod system;

use std::path::{Path, PathBuf};

use crate::checkpoint::{HeaderProblem, IndexProblem};
use crate::fold::FoldProblem;
use crate::hub::HubProblem;
use crate::output::{OutputProblem, Stranded};
use crate::plan::ArchitectureProblem;
use crate::store::UrlProblem;
use crate::text::{counted, shown};
use crate::warning::Warning;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The path is not a regular file: a folder, a FIFO, a device.
    #[error("{}: {found}, expected a regular file; {advice}", path.display())]
    NotARegularFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A symlink whose target is not there.
    #[error(
        "{}: a link to nowhere: {} is not there; fetch the file that it stands for, or leave the link out",
        path.display(), target.display()
    )]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// What it leads to, as it says.
        target: PathBuf,
    },
    /// The folder that an output should stand in is not there.
    #[error(
        "{}: there is no such folder, and {} should be written to it; make it first",
        folder.display(), shown(name)
    )]
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// File name of the output.
        name: String,
    },
    /// The file does not hold what the safetensors format promises.
    #[error("{}: not a valid safetensors file: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        problem: HeaderProblem,
    },
    /// The index of a sharded checkpoint is not what it should be, or its shards are not what it says.
    #[error("{}: not a valid index of a sharded checkpoint: {problem}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The rule that is broken.
        problem: IndexProblem,
    },
    /// The system lets a process open only so many files.
    #[error(
        "{}: too many open files: {} stay open until the model is written, in and out, and the system allows no more; \
         raise the limit (`ulimit -n`) and try again",
        path.display(), counted(*shards, "shard")
    )]
    TooManyFiles {
        /// The file that could not be opened.
        path: PathBuf,
        /// Shards of the checkpoint.
        shards: usize,
    },
    /// The file became shorter or changed while it was read.
    #[error("{}: changed while it was read (expected {expected} bytes, found {found}); nothing was written", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Length when it was opened.
        expected: u64,
        /// Length now.
        found: u64,
    },
    /// The file was written to while it was read, or moved, linked or given other rights.
    #[error("{}: was modified while it was read; nothing was written, try again", path.display())]
    Modified {
        /// The file.
        path: PathBuf,
    },
    /// A URL that leads nowhere, or cannot be used in this way.
    #[error("{}: not usable: {problem}", path.display())]
    Url {
        /// The URL, without secrets.
        path: PathBuf,
        /// Why not, and what to do.
        problem: UrlProblem,
    },
    /// A URL, and a program that cannot follow any.
    #[error(
        "{}: this program was built without object stores; build it with `--features cloud`, or copy the file first",
        path.display()
    )]
    NoStores {
        /// The URL, without secrets.
        path: PathBuf,
    },
    /// A repository of the Hugging Face Hub that cannot be had.
    #[error("{}: {problem}", path.display())]
    Hub {
        /// The repository, as it was named.
        path: PathBuf,
        /// Why not, and what to do.
        problem: HubProblem,
    },
    /// A tensor that a plan or another tensor names is not in the file.
    #[error("{}: no tensor `{}`{context}", path.display(), shown(tensor))]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name that was looked for.
        tensor: String,
        /// Who asked for it, and the next step; begins with `,` or `;` or is empty.
        context: String,
    },
    /// A norm that cannot be folded, or that was not folded rightly.
    #[error("{}: norm `{}`, {problem}", path.display(), shown(norm))]
    Fold {
        /// The checkpoint.
        path: PathBuf,
        /// The norm.
        norm: String,
        /// Which channel or tensor it is about, what was found and what to do.
        problem: FoldProblem,
    },
    /// A value that the element type that was asked for cannot hold.
    #[error(
        "{}: tensor `{}`, element {element}: {value} does not fit into {dtype}; choose a wider type, or accept infinities",
        path.display(), shown(tensor)
    )]
    Overflow {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Flat index.
        element: u64,
        /// The stored value.
        value: f64,
        /// The type it was to take.
        dtype: &'static str,
    },
    /// An architecture that is stated and is none, or not the checkpoint's.
    #[error("{}architecture {}: {problem}", of(path.as_deref()), shown(name))]
    Architecture {
        /// The checkpoint; `None` if it is wrong for any.
        path: Option<PathBuf>,
        /// What was stated.
        name: String,
        /// Why it cannot be followed, and what may be meant.
        problem: ArchitectureProblem,
    },
    /// An eps is stated for norms that are not there: likely a slip, which would leave another eps in force.
    #[error("{}: eps for {}: matches none of {}{}", path.display(), shown(glob), counted(*norms, "norm"), such_as(example.as_deref()))]
    EpsForNone {
        /// The checkpoint.
        path: PathBuf,
        /// The glob.
        glob: String,
        /// The norms that there are.
        norms: usize,
        /// One of them.
        example: Option<String>,
    },
    /// Something is stated for models or norms, and of all models none is meant or has such norms.
    #[error("{what} for {}: matches none of {}{}", shown(glob), counted(*models, "model"), such_as(example.as_deref()))]
    StatedForNone {
        /// What is stated: `eps`, `architecture`.
        what: &'static str,
        /// The glob.
        glob: String,
        /// The models that there are.
        models: usize,
        /// What a glob could match.
        example: Option<String>,
    },
    /// A plan file is not JSON of the right form, or does not fit the checkpoint.
    #[error("{}:{line}: {problem}", path.display())]
    PlanFile {
        /// The plan file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A plan in memory does not fit the checkpoint.
    #[error("{}: the plan does not fit the checkpoint: norm `{}`: {problem}", path.display(), shown(norm))]
    Plan {
        /// The checkpoint.
        path: PathBuf,
        /// The norm whose line does not fit.
        norm: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A folder has no room for what is to be written to it.
    #[error("{}: {needed} bytes are needed and {free} are free", folder.display())]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The output exists.
    #[error("{}: exists already", path.display())]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The files of a result could not be placed, and what had been done until then could not be undone.
    #[error(
        "{failed}; and not all could be made as it was: {}; move what stood elsewhere back before the next run",
        left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    NotTakenBack {
        /// Why they could not be placed.
        failed: Box<Error>,
        /// What is not where it should be.
        left: Vec<Stranded>,
    },
    /// The result cannot stand at its place.
    #[error("{}: {problem}", path.display())]
    Output {
        /// The output, or the file of it that is meant.
        path: PathBuf,
        /// Why not.
        problem: OutputProblem,
    },
    /// A part of a sharded model, named as if it were a model.
    #[error(
        "{}: a part of the sharded model of {}, and no model by itself",
        path.display(), index.display()
    )]
    Part {
        /// The part.
        path: PathBuf,
        /// The index of the model.
        index: PathBuf,
    },
    /// A checkpoint beside an index that cannot be read: a model, or a part of one.
    #[error(
        "{}: may be a part of the sharded model of {}, which cannot be read",
        path.display(), index.display()
    )]
    PerhapsPart {
        /// The checkpoint.
        path: PathBuf,
        /// The index.
        index: PathBuf,
    },
    /// Parts of a sharded checkpoint without the index that says what belongs together.
    #[error(
        "{}: {} of a sharded checkpoint, but no *.safetensors.index.json beside {} names {}; add the index, or name \
         a part itself if it is a whole model",
        path.display(), counted(*shards, "part"), if *shards == 1 { "it" } else { "them" },
        if *shards == 1 { "it" } else { "them" }
    )]
    Orphans {
        /// The first of them.
        path: PathBuf,
        /// How many there are.
        shards: usize,
    },
    /// Two indices of one folder share a shard, which can belong to one folded model only.
    #[error(
        "{}: names shards that {} names too, and a folded shard can belong to one of them only",
        path.display(), other.display()
    )]
    SharedShard {
        /// The index that is not folded.
        path: PathBuf,
        /// The one that is.
        other: PathBuf,
    },
    /// A fault of this program.
    #[error("{}: internal error: {what}; nothing was written for this model: please report this with its name", path.display())]
    Bug {
        /// The checkpoint it was at.
        path: PathBuf,
        /// The panic's message.
        what: String,
    },
    /// The folded model would hold two tensors of one name.
    #[error(
        "{}: folding norm `{}` needs a new tensor `{}`, but the checkpoint has one of that name already; keep this \
         norm by a plan",
        path.display(), shown(norm), shown(tensor)
    )]
    NameTaken {
        /// The checkpoint.
        path: PathBuf,
        /// The norm.
        norm: String,
        /// The name.
        tensor: String,
    },
    /// A warning that the caller does not accept.
    #[error("{}: not written: {warning}", path.display())]
    DeniedWarning {
        /// The checkpoint.
        path: PathBuf,
        /// The warning.
        warning: Box<Warning>,
    },
    /// A numerical remark that the caller does not accept.
    #[error("{}: not written: norm `{}`: {message}", path.display(), shown(norm))]
    DeniedRemark {
        /// The checkpoint.
        path: PathBuf,
        /// The norm of the layer.
        norm: String,
        /// The remark's code.
        code: &'static str,
        /// What is remarkable.
        message: String,
    },
    /// No adapter answers to what was asked for.
    #[error("no graphics adapter for {wanted}: {reason}")]
    NoAdapter {
        /// What was asked for: `auto`, `gpu`, `gpu:N`.
        wanted: String,
        /// Why not.
        reason: String,
    },
    /// The graphics device failed; callers finish on the CPU.
    #[error("graphics device failed: {reason}")]
    Gpu {
        /// What it said.
        reason: String,
    },
    /// The user pressed Ctrl-C or the like; kept apart so that nothing is reported as broken.
    #[error("interrupted; the model under way was not written")]
    Interrupted,
}

impl Error {
    /// Whether what the caller stated is wrong, and not a model.
    pub(crate) fn is_misstated(&self) -> bool {
        matches!(self, Error::Architecture { .. } | Error::EpsForNone { .. } | Error::StatedForNone { .. })
    }
}

/// A path in front of what is said of it.
fn of(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| format!("{}: ", path.display()))
}

fn such_as(example: Option<&str>) -> String {
    example.map_or_else(String::new, |example| format!(", for example {}", shown(example)))
}
