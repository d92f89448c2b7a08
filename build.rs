//! Makes the catalogue JSON, which every run of the program reads in a fraction of the time that TOML takes.
//!
//! In: `src/plan/catalogue/catalogue.toml`, which people write. Out: `catalogue.json` in Cargo's `OUT_DIR`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let source = "src/plan/catalogue/catalogue.toml";
    println!("cargo::rerun-if-changed={source}");
    let catalogue = std::fs::read_to_string(source)?.parse::<toml::Table>()?;
    let target = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?).join("catalogue.json");
    std::fs::write(target, serde_json::to_vec(&catalogue)?)?;
    Ok(())
}
