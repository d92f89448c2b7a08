//! JSON that others wrote; no stage of its own.
//!
//! In: text out of a file. Out: what it says, or why it is no JSON that this program reads. serde_json counts levels of
//! nesting only in values that it builds; what is skipped, or kept as it was written, may be nested without end there.
//! Readers that build everything, the `safetensors` crate among them, refuse such a file, so it is refused here as well.

use serde::Deserialize;
use serde::de::Error as _;

/// Levels of arrays and objects that may lie within each other: as many as serde_json builds.
pub(crate) const LEVELS: usize = 127;

/// Parses JSON of at most [`LEVELS`] levels. It costs one more look at the text.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    if let Some(at) = too_deep(text) {
        let before = &text[..at];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        return Err(serde_json::Error::custom(format_args!(
            "nested more than {LEVELS} levels deep at line {line} column {column}"
        )));
    }
    serde_json::from_slice(text)
}

/// Where the first array or object beyond [`LEVELS`] begins. What is no JSON is told by the parser: here it only matters
/// which brackets stand outside of strings.
fn too_deep(text: &[u8]) -> Option<usize> {
    let (mut level, mut at) = (0_usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at),
            b'[' | b'{' if level == LEVELS => return Some(at),
            b'[' | b'{' => level += 1,
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at `at` has its closing quote; the end of the text if it has none.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = text.get(end) {
        match byte {
            b'"' => return end,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn nested(levels: usize, open: &str, close: &str) -> String {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn what_is_skipped_may_be_as_deep_as_what_is_built() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[1],", "]")] {
            for levels in [1, LEVELS - 1, LEVELS, LEVELS + 1, 100_000] {
                let text = nested(levels, open, close);
                let built = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                assert_eq!(parse::<IgnoredAny>(text.as_bytes()).is_ok(), built, "{levels} levels of {open}");
            }
        }
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        let text = format!(r#"["{}\"{}\\", "\u005b["]"#, "[".repeat(500), "{".repeat(500));
        assert_eq!(parse::<Vec<String>>(text.as_bytes()).unwrap().len(), 2);
        for unfinished in ["\"", "\"\\", "[\"\\\"", "]]]]", ""] {
            parse::<IgnoredAny>(unfinished.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn the_place_is_told() {
        let error = parse::<IgnoredAny>(format!("[\n {}", nested(LEVELS, "[", "]")).as_bytes()).unwrap_err();
        assert_eq!((error.line(), error.column()), (2, 1 + LEVELS), "{error}");
        assert!(error.to_string().starts_with("nested more than 127 levels deep at line 2"), "{error}");
    }
}
