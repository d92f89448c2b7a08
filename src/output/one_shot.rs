//! 4 WRITE: a file that is written from its beginning to its end, as a report is.
//!
//! In: a path, and what writes the content. Out: the file, whole or not at all, as every output.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::folders::make_folder;
use super::target::Replace;
use super::temporary::{Kind, Temporary, folder_of};
use crate::error::{Error, Result};

/// Writes what `content` writes to `path`, whose folder is made if it is missing, and flushes it to disk.
pub fn write_whole(
    path: &Path,
    replace: Replace,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let folder = folder_of(path);
    make_folder(folder, folder, true)?;
    let file = Temporary::create_in(folder, Kind::default()).map_err(Error::io("create a temporary file for", path))?;
    let mut out = BufWriter::new(file.file());
    content(&mut out).and_then(|()| out.flush()).map_err(Error::io("write", path))?;
    drop(out);
    file.file().sync_all().map_err(Error::io("flush to disk", path))?;
    let placed = match replace {
        Replace::Never => file.name(path),
        Replace::Always => file.replace(path),
    };
    placed.map(drop).map_err(Error::io("put the finished file in place at", path))
}
