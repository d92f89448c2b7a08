//! `bnfold-gpu archs`: the architectures that the catalogue knows, and their eps.

use bnfold_gpu::plan::{Architecture, architectures, nearest_architecture};

use super::arguments::ArchsArguments;
use super::values::Format;
use super::{Status, console};

pub(crate) fn run(arguments: &ArchsArguments) -> anyhow::Result<Status> {
    let all = architectures();
    let found = match &arguments.glob {
        None => all,
        Some(glob) => {
            let glob = glob.compile_matcher();
            // A name without its library is one in any.
            let bare = |name: &str| name.split_once('/').is_some_and(|(_, bare)| glob.is_match(bare));
            all.into_iter().filter(|known| glob.is_match(&known.name) || bare(&known.name)).collect()
        }
    };
    if let (Some(glob), []) = (&arguments.glob, found.as_slice()) {
        let near = nearest_architecture(glob.glob()).map(|near| format!("; is {near} meant?"));
        anyhow::bail!("the catalogue has no architecture that matches {glob}{}", near.unwrap_or_default());
    }
    match arguments.format {
        Format::Json => console::json(&found, true)?,
        Format::Human => console::lines(&found.iter().map(line).collect::<String>())?,
    }
    Ok(Status::Done)
}

/// One line of text.
fn line(known: &Architecture) -> String {
    let Architecture { name, eps, parts, unless, source, .. } = known;
    let parts = parts.iter().map(|part| format!("; {:e} for {}", part.eps, part.norms.join(", "))).collect::<String>();
    let unless = unless.as_ref().map(|(eps, when)| format!("; {eps:e} {when}")).unwrap_or_default();
    format!("{name}  {eps:e}{parts}{unless}  ({source})\n")
}
