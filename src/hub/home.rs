//! HUB: where the Hub's own tools keep their cache and their token.
//!
//! In: the environment. Out: a folder, where the library that downloads would take another than they: it knows homes by the
//! variable `HOME` alone, which Windows does not set, and takes a folder for temporary files there.

use std::path::PathBuf;

use hf_hub::HFClientBuilder;

/// Variables by which the library finds a home.
const HOMES: [&str; 3] = ["HF_HOME", "XDG_CACHE_HOME", "HOME"];

/// Variables that name a cache itself, and those that bear on the token.
const CACHES: [&str; 2] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
const TOKENS: [&str; 3] = ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"];

/// Tells the library of the user's home where it would not find it.
pub(super) fn with_home(mut builder: HFClientBuilder) -> HFClientBuilder {
    let is_set = |variables: &[&str]| variables.iter().any(|variable| std::env::var_os(variable).is_some());
    let Some(home) = std::env::home_dir().filter(|_| !is_set(&HOMES)) else { return builder };
    let home: PathBuf = [home, ".cache".into(), "huggingface".into()].iter().collect();
    if !is_set(&CACHES) {
        builder = builder.cache_dir(home.join("hub"));
    }
    match std::fs::read_to_string(home.join("token")) {
        Ok(token) if !is_set(&TOKENS) => builder.token(token.trim()),
        _ => builder,
    }
}
