//! What a new user types in the first minute, word for word.
//!
//! In: `scripts/first_minute.sh`. Out: its transcript, compared with `tests/it/snapshots/`: every command line, what it prints
//! and how it ends. To accept a change: `INSTA_UPDATE=always cargo test --test it first_minute`.
#![cfg(unix)]

use std::process::Command;

use crate::fixture::{Run, command};

#[test]
fn the_first_minute_is_as_printed() {
    let program = command(&[]).get_program().to_owned();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/first_minute.sh");
    let run = Run::of(Command::new(script).arg(program).env_remove("CLICOLOR_FORCE")).expect(0);
    let filters = vec![(r"\d+\.\d{3} s\b", "TIME s")];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!("first_minute", run.stdout);
    });
    assert!(run.stdout.matches("[exit status ").count() >= 20, "{}", run.stdout);
}
