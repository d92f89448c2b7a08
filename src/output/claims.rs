//! 4 WRITE: which files belong to sharded models.
//!
//! In: the place of an output and of its files. Out: an error if another index names one of these: a file that would be
//! replaced must not be a shard of another model, which would be broken.

use std::collections::HashMap;

use super::OutputProblem;
use crate::checkpoint::Index;
use crate::error::{Error, Result};
use crate::store::{Listings, Location, Remembered};

/// What a run knows of folders, of a moment ago.
#[derive(Debug, Default)]
pub struct Known {
    /// Names in them.
    pub listings: Listings,
    /// For every shard that an index there names, the names of these indices.
    claims: Remembered<HashMap<Location, Vec<String>>>,
}

impl Known {
    /// Fails if one of `places`, and something stands there, is named by another index than `output`.
    pub(super) fn check_claims(&self, output: &Location, places: &[Location]) -> Result<()> {
        let folder = output.folder();
        let claims = self.claims.get(&folder, || self.claims_in(&folder))?;
        for place in places {
            let mut owners = claims.get(place).into_iter().flatten();
            let other = owners.find(|index| Some(index.as_ref()) != output.file_name());
            if let Some(index) = other
                && place.exists()?
            {
                let problem = OutputProblem::InUse { index: index.clone() };
                return Err(Error::Output { path: place.path().to_owned(), problem });
            }
        }
        Ok(())
    }

    fn claims_in(&self, folder: &Location) -> Result<HashMap<Location, Vec<String>>> {
        let mut claims = HashMap::<_, Vec<_>>::new();
        for name in &self.listings.names(folder)?.indices {
            let index = folder.join(name);
            let shards = match Index::read(&index) {
                Ok(index) => index.shards().to_vec(),
                // What is no index describes nothing; what cannot be read may describe anything.
                Err(error) if error.is_io_failure() => return Err(error),
                Err(_) => continue,
            };
            for shard in shards {
                claims.entry(index.with_file_name(shard)).or_default().push(name.clone());
            }
        }
        Ok(claims)
    }
}
