//! The terminal: data on stdout, everything else on stderr; colours and bars only where a person looks.

use std::io::{IsTerminal, Write};

use bnfold_gpu::text::{escaped_json, shown};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const RESET: &str = "\x1b[0m";

/// Prints data. A reader that has seen enough (`| head`) is no error.
pub(crate) fn data(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("standard output: cannot write: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints lines for people: whatever they are made of, nothing in them misleads.
pub(crate) fn lines(text: &str) -> anyhow::Result<()> {
    data(&text.split('\n').map(shown).collect::<Vec<_>>().join("\n"))
}

/// What is data elsewhere, on stderr: stdout takes something else.
pub(crate) fn aside(text: &str, quiet: bool) {
    if !quiet {
        text.lines().for_each(|text| line(&shown(text)));
    }
}

/// Prints a value as one line of JSON, or as indented JSON.
pub(crate) fn json(value: &impl serde::Serialize, indented: bool) -> anyhow::Result<()> {
    let text = if indented { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
    data(&(escaped_json(text) + "\n"))
}

/// Prints a line on stderr. anstream takes the colours out where `NO_COLOR` or a pipe says so; that stderr is closed is
/// nobody's concern.
fn line(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// An error; its message holds its causes already.
pub(crate) fn error(error: &dyn std::fmt::Display) {
    line(&format!("{RED}error:{RESET} {}", shown(&error.to_string())));
}

/// A warning.
pub(crate) fn warning(text: &str) {
    line(&format!("{YELLOW}warning:{RESET} {}", shown(text)));
}

/// A remark.
pub(crate) fn note(text: &str) {
    line(&format!("note: {}", shown(text)));
}

/// Whether a person looks at stderr.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}
