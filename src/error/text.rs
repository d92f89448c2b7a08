//! Text in messages: what several errors share, names out of files, counts.
//!
//! In: the fields of an error. Out: parts of its message.

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

/// How to fold a model without one of its norms.
pub(super) const KEEP_ONE: &str = "to fold the other layers, write a plan with `bnfold-gpu plan --format json`, change this norm's \
                        action to \"keep\" and pass it with --plan";

/// Why a folded element is not finite, with what helps besides a plan: a wider type, if it is the type that ends.
pub(super) fn not_finite(stored: f64, element: u64, value: f64, dtype: &str) -> String {
    if !stored.is_finite() {
        return format!("element {element} is {stored} before folding, so that folding gives {value}");
    }
    let widens = dtype != "F32" && value.abs() <= f64::from(f32::MAX);
    let advice = if widens { "; widen with --dtype f32" } else { "" };
    format!("folding gives {value}, which {dtype} cannot hold{advice}")
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
