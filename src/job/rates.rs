//! What benchmarks measured on this machine, from one call to the next.
//!
//! In: the rates of an adapter. Out: the same in a file in the user's cache, `bnfold-gpu/rates.json`, one entry per adapter and
//! driver. It is a cache: where it cannot be read there are no rates, and where it is deleted a benchmark makes them again.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fold::choice::Rates;
use crate::json::parse;
use crate::output::{Replace, write_whole};

/// The rates of all adapters that were measured.
pub fn known() -> Vec<Rates> {
    file().map_or_else(Vec::new, |file| read(&file))
}

/// Keeps `rates` for later calls, in place of earlier ones of the same adapter; returns where. `None` if the system does not
/// tell where caches go.
///
/// # Errors
///
/// The file cannot be written.
pub fn remember(rates: Rates) -> Result<Option<PathBuf>> {
    let Some(file) = file() else { return Ok(None) };
    let mut all = read(&file);
    all.retain(|other| (&other.adapter, &other.driver) != (&rates.adapter, &rates.driver));
    all.push(rates);
    write_whole(&file, Replace::Always, |out| Ok(serde_json::to_writer_pretty(out, &all)?))?;
    Ok(Some(file))
}

fn read(file: &Path) -> Vec<Rates> {
    std::fs::read(file).ok().and_then(|json| parse(&json).ok()).unwrap_or_default()
}

/// Where the system keeps what programs can make again.
fn file() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = match std::env::consts::OS {
        "windows" => from("LOCALAPPDATA"),
        "macos" => from("HOME").map(|home| home.join("Library/Caches")),
        _ => from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache"))),
    };
    Some(caches?.join("bnfold-gpu/rates.json"))
}
