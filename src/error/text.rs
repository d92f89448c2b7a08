//! Words of messages: names that come out of files, numbers of things.
//!
//! In: what is to be said. Out: text that a terminal shows and does not obey.

/// A name out of a file, safe to print: characters that steer a terminal are escaped, everything else is as it is.
pub fn shown(name: &str) -> std::borrow::Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown("layer1.0.卷积"), "layer1.0.卷积");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
    }
}
