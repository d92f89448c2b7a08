//! Hostile `config.json` files beside a good checkpoint. One that is no configuration is passed over, which is said; an eps
//! that is none is never used.

use super::Outcome::{Refused, Warned};
use super::file::{File, nested};
use super::{Case, Outcome};

/// A configuration with this text. The model is named as a repository names it, so that the configuration is about it.
fn config(name: &str, text: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    let files = vec![("model.safetensors", File::new().bytes()), ("config.json", text.into())];
    let options = &["--style", "strip"];
    Case { name: format!("config: {name}"), files, input: "model.safetensors", options, outcome }
}

pub fn cases() -> Vec<Case> {
    let ignored = Warned("config.json: not read as JSON");
    let eps = |value: &str| config(&format!("eps {value}"), format!("{{\"batch_norm_eps\":{value}}}"), Warned("eps"));
    let mut cases = vec![
        config("empty", "", ignored),
        config("spaces", "  \n", ignored),
        config("web page", "<!DOCTYPE html>", ignored),
        config("cut", "{\"batch_norm_eps\": 1e-", ignored),
        config("text behind the end", "{} {}", ignored),
        config("not a number", "{\"batch_norm_eps\": NaN}", ignored),
        config("infinity", "{\"batch_norm_eps\": Infinity}", ignored),
        config("beyond f64", "{\"batch_norm_eps\": 1e400}", ignored),
        config("byte order mark", "\u{feff}{}", ignored),
        config(
            "UTF-16",
            "{\"batch_norm_eps\":1e-5}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
            ignored,
        ),
        config("no UTF-8", b"{\"model_type\":\"\xff\"}".to_vec(), ignored),
        config("100,000 levels deep in an unknown key", format!("{{\"x\":{}}}", nested(100_000)), ignored),
        config("100 levels deep in an unknown key", format!("{{\"x\":{}}}", nested(100)), Warned("eps")),
        config("17 MB", vec![b' '; 17 << 20], Warned("larger than any configuration")),
        config("array", "[]", Warned("eps")),
        config("string", "\"batch_norm_eps\"", Warned("eps")),
        config("null", "null", Warned("eps")),
        config(
            "a million keys",
            format!("{{{}}}", (0..100_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",")),
            Warned("eps"),
        ),
        config("architectures that is a number", "{\"architectures\":1,\"model_type\":[]}", Warned("eps")),
        config("steering class", "{\"architectures\":[\"\\u001b[2J\\u202e\"]}", Warned("eps")),
        config("architecture that nobody has", "{\"architecture\":\"../../etc/passwd\"}", Warned("eps")),
    ];
    cases.extend(["\"1e-3\"", "null", "[]", "{}", "true", "-1e-5", "\"\""].map(eps));
    for (value, words) in [("1e300", "eps"), ("0.5", "eps")] {
        cases.push(config(&format!("eps {value}"), format!("{{\"batch_norm_eps\":{value}}}"), Refused(words)));
    }
    cases
}
