//! 2 PLAN, catalogue: what can be wrong with an architecture that is stated.
//!
//! In: a name, and what the catalogue and the checkpoint know. Out: [`ArchitectureProblem`], with a sentence that gives
//! both, and what may be meant.

use std::fmt;

use crate::text::{counted, shown};

/// Why an architecture cannot be what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names of the fields say what they hold")]
pub enum ArchitectureProblem {
    /// There is no such library.
    NoLibrary { library: String, known: Vec<String> },
    /// The library has no architecture of this name; one that is spelt almost alike.
    NoName { name: String, library: String, nearest: Option<String> },
    /// No library has an architecture of this name; one that is spelt almost alike.
    Nobodys { name: String, nearest: Option<String> },
    /// A name without its library, which means several things.
    Ambiguous { name: String, meanings: Vec<String> },
    /// The checkpoint's norms have other names than the architecture's, which are none if it has no batch norms.
    OtherNames { called: Vec<String>, expected: Vec<String>, candidates: Vec<String> },
    /// The checkpoint has more norms of the architecture's names than the architecture.
    TooMany { found: usize, most: usize, candidates: Vec<String> },
}

impl fmt::Display for ArchitectureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchitectureProblem::NoLibrary { library, known } => {
                write!(f, "the catalogue has no library `{}` (it has {})", shown(library), known.join(", "))
            }
            ArchitectureProblem::NoName { name, library, nearest } => {
                write!(f, "the catalogue has no architecture `{}` of {library}", shown(name))?;
                is_meant(f, nearest.as_deref())
            }
            ArchitectureProblem::Nobodys { name, nearest } => {
                write!(f, "the catalogue does not know whose architecture `{}` is", shown(name))?;
                match nearest {
                    Some(_) => is_meant(f, nearest.as_deref()),
                    None => write!(f, "; write LIBRARY/{}", shown(name)),
                }
            }
            ArchitectureProblem::Ambiguous { name, meanings } => {
                let meanings = meanings.join(" or ");
                write!(f, "`{}` means another thing in another library; write {meanings}", shown(name))
            }
            ArchitectureProblem::OtherNames { called, expected, candidates } => {
                write!(f, "its norms are called {}, but the architecture", quoted(called))?;
                match expected.as_slice() {
                    [] => write!(f, " has no batch norms")?,
                    _ => write!(f, "'s {}", quoted(expected))?,
                }
                fitting(f, candidates)
            }
            ArchitectureProblem::TooMany { found, most, candidates } => {
                let norms = counted(*found, "norm");
                write!(f, "it has {norms} of the architecture's names, but the architecture has only {most}")?;
                fitting(f, candidates)
            }
        }
    }
}

fn is_meant(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    nearest.map_or(Ok(()), |near| write!(f, "; is {near} meant?"))
}

fn quoted(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{}`", shown(path))).collect::<Vec<_>>().join(", ")
}

fn fitting(f: &mut fmt::Formatter<'_>, candidates: &[String]) -> fmt::Result {
    match candidates {
        [] => Ok(()),
        _ => write!(f, "; the names fit, for example, {}", candidates.join(", ")),
    }
}
