//! 6 REPORT: figures as JSON within a page.
//!
//! In: a value. Out: JSON in ASCII that no browser takes for anything else, whose strings are as people are shown them.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use crate::text::shown;

/// The JSON of `value`. In JSON a `<` stands in strings only, where it can be written as an escape, and without one no tag
/// ends the block. What misleads in a name is shown as it is in the table: scripts put these strings into cells and files.
pub(super) fn to_vec(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, Inert(CompactFormatter)))?;
    Ok(json)
}

struct Inert(CompactFormatter);

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        shown(fragment).chars().try_for_each(|c| match c {
            '\\' => writer.write_all(b"\\\\"),
            ' '..='~' if c != '<' => writer.write_all(&[c as u8]),
            _ => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}")),
        })
    }

    /// Control characters; the other two are in every text.
    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let control = match escape {
            CharEscape::Backspace => 8,
            CharEscape::Tab => b'\t',
            CharEscape::LineFeed => b'\n',
            CharEscape::FormFeed => 12,
            CharEscape::CarriageReturn => b'\r',
            CharEscape::AsciiControl(byte) => byte,
            other => return self.0.write_char_escape(writer, other),
        };
        self.write_string_fragment(writer, char::from(control).encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_people_are_shown() {
        for name in
            ["a.b", "</script>", "卷积 \u{1f600}", "\"\\", "\u{1b}\n\t\u{202e}\u{2028}\u{e0041}\u{7f}", "\\u{202e}"]
        {
            let json = to_vec(&[name]).unwrap();
            assert!(json.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'<'), "{name:?}");
            assert_eq!(serde_json::from_slice::<Vec<String>>(&json).unwrap(), [shown(name)]);
        }
    }
}
