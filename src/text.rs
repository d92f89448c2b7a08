//! Words of messages and reports; no stage of its own.
//!
//! In: names out of files, counts, sizes, what a thread panicked with. Out: text that is safe to print.

use std::any::Any;
use std::borrow::Cow;

/// A name out of a file, safe to print: characters that steer a terminal are escaped, everything else is as it is.
pub fn shown(name: &str) -> Cow<'_, str> {
    // Marks and overrides of writing direction (Unicode annex 9) could make a line read as something else.
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if name.chars().any(steers) {
        name.chars()
            .flat_map(|c| if steers(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
            .collect::<String>()
            .into()
    } else {
        name.into()
    }
}

/// `1 norm`, `2 norms`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes with a decimal unit: `999 B`, `234.15 kB`, `1.20 GB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1000.0 {
        (value, unit) = (value / 1000.0, units.next());
    }
    format!("{value:.2} {}", unit.copied().unwrap_or_default())
}

/// The message of a panic that was caught.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown("layer1.0.卷积"), "layer1.0.卷积");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        let all = [0, 999, 1000, 234_146, 999_999, 31_000_000, 1_500_000_000_000, u64::MAX].map(bytes);
        assert_eq!(all, ["0 B", "999 B", "1.00 kB", "234.15 kB", "1000.00 kB", "31.00 MB", "1.50 TB", "18.45 EB"]);
    }

    #[test]
    fn a_panic_has_its_message() {
        let caught = |work: fn()| std::panic::catch_unwind(work).unwrap_err();
        assert_eq!(panic_message(&*caught(|| std::panic::panic_any("as it is"))), "as it is");
        assert_eq!(panic_message(&*caught(|| std::panic::panic_any(format!("number {}", 1)))), "number 1");
        assert_eq!(panic_message(&*caught(|| std::panic::panic_any(7))), "no message");
    }
}
