//! 1 READ: an index and its shards become one checkpoint.
//!
//! In: where an index is. Out: its shards, open, and their tensors as one key space. What the index says and what the
//! shards hold must agree both ways: a tensor too many is as suspicious as one that is missing.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::time::Duration;

use super::{Checkpoint, HEADER_LIMIT, HeaderBudget, Index, IndexProblem, InputFile, Unread};
use crate::error::{Error, Result};
use crate::store::Location;

/// Opens the index at `location` and all its shards.
pub(super) fn open(location: Location, budget: &HeaderBudget) -> Result<Checkpoint> {
    let wrong = |problem| Error::Index { path: location.path().to_owned(), problem };
    let file = InputFile::open(&location)?;
    let mut shares = vec![budget.indexes.take(file.bytes())];
    let index = Index::of(&file)?;
    let unread = open_shards(&location, &index)?;
    let found = unread.iter().map(Unread::header_bytes).sum();
    if found > HEADER_LIMIT {
        return Err(wrong(IndexProblem::Headers { found }));
    }
    shares.push(budget.headers.take(found));
    let mapped = index.weights().iter().map(|(name, shard)| (name.as_str(), *shard)).collect::<HashMap<_, _>>();
    let (mut shards, mut tensors) = (Vec::new(), BTreeMap::new());
    for (number, unread) in unread.into_iter().enumerate() {
        let (shard, entries) = unread.read(number)?;
        for (tensor, entry) in entries {
            check_place(&index, mapped.get(tensor.as_str()).copied(), &tensor, number).map_err(wrong)?;
            tensors.insert(tensor, entry);
        }
        shards.push(shard);
    }
    if let Some((tensor, shard)) = index.weights().iter().find(|(tensor, _)| !tensors.contains_key(tensor)) {
        let (tensor, shard) = (tensor.clone(), index.shards()[*shard].clone());
        return Err(wrong(IndexProblem::NotInShard { tensor, shard }));
    }
    Ok(Checkpoint { location, index: Some(index), shards, tensors, opening: Duration::ZERO, shares })
}

/// The shards of `index`, which lies at `location`, with their headers unread.
fn open_shards(location: &Location, index: &Index) -> Result<Vec<Unread>> {
    let open = |(number, name): (usize, &String)| {
        Unread::open(&location.with_file_name(name)).map_err(|error| match error {
            error if is_missing(&error) => {
                let tensors = index.weights().iter().filter(|(_, shard)| *shard == number).count();
                let problem = IndexProblem::MissingShard { shard: name.clone(), tensors };
                Error::Index { path: location.path().to_owned(), problem }
            }
            other => other.among(index.shards().len()),
        })
    };
    index.shards().iter().enumerate().map(open).collect()
}

/// Whether there is no file, or a link that leads to none; nor can there be one of a name that no file system takes.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
        }
        error => matches!(error, Error::DanglingLink { .. }),
    }
}

/// Whether a tensor found in the shard of that number is the one the index means; `mapped` is where it looks for it.
fn check_place(index: &Index, mapped: Option<usize>, tensor: &str, shard: usize) -> Result<(), IndexProblem> {
    let (tensor, name) = (|| tensor.to_owned(), index.shards()[shard].clone());
    match mapped {
        Some(mapped) if mapped == shard => Ok(()),
        Some(mapped) => {
            let mapped = index.shards()[mapped].clone();
            Err(IndexProblem::Misplaced { tensor: tensor(), shard: name, mapped })
        }
        None => Err(IndexProblem::NotInMap { tensor: tensor(), shard: name }),
    }
}
