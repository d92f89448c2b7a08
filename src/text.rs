//! Words of messages and reports; no stage of its own.
//!
//! In: names out of files, counts, sizes, what a thread panicked with. Out: text that is safe to print.

use std::any::Any;
use std::borrow::Cow;

/// A name out of a file, safe to print: characters that are not what they look like are escaped, everything else is as it
/// is.
pub fn shown(name: &str) -> Cow<'_, str> {
    if !name.contains(misleads) {
        return name.into();
    }
    let mut text = String::with_capacity(name.len() * 2);
    for c in name.chars() {
        if misleads(c) { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text.into()
}

/// Whether a character steers a terminal, turns the direction of writing, breaks a line, or cannot be seen: control, format,
/// private, unassigned and all spaces but the one, as the standard library's tables have them, and what Unicode calls
/// default ignorable.
pub fn misleads(c: char) -> bool {
    !matches!(c, ' '..='~') && (!is_printable(c) || is_ignorable(c))
}

/// Whether the standard library prints the character between quotes as it is. Behind another one: by itself a mark that is
/// put onto a letter is escaped there too.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'x'; 5];
    let end = 1 + c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..end]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// Letters and marks that show nothing (`Default_Ignorable_Code_Point` of Unicode 16 without those that are no letters and
/// no marks), and the braille pattern without dots. Bytes can be hidden in variation selectors behind any letter.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}')
}

/// JSON whose strings hold escapes for what misleads (U+009B begins a control sequence). Such characters stand in strings
/// only; the line breaks between values are JSON's own.
pub fn escaped_json(json: String) -> String {
    let is_odd = |c: char| c != '\n' && misleads(c);
    if !json.contains(is_odd) {
        return json;
    }
    let mut text = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        match is_odd(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text += &format!("\\u{unit:04x}")),
            false => text.push(c),
        }
    }
    text
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
        assert_eq!(shown("a\u{61c}b\u{2028}c\u{e0041}\u{fe01}"), "a\\u{61c}b\\u{2028}c\\u{e0041}\\u{fe01}");
    }

    /// Every character that a class of `regex-syntax`, whose tables are not the standard library's, names.
    fn every(class: &str) -> impl Iterator<Item = char> {
        use regex_syntax::hir::{Class, HirKind};
        let hir = regex_syntax::parse(class).unwrap();
        let HirKind::Class(Class::Unicode(class)) = hir.into_kind() else { panic!("{class} is one character") };
        let ranges = class.ranges().to_vec();
        assert!(!ranges.is_empty(), "the test looks at nothing");
        ranges.into_iter().flat_map(|range| range.start()..=range.end())
    }

    #[test]
    fn what_hides_or_reorders_text_is_escaped_and_nothing_else() {
        let hidden = r"[[\p{Cc}\p{Cf}\p{Co}\p{Z}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\p{Bidi_Control}]--[ ]]";
        for c in every(hidden) {
            let (name, text) = (format!("a{c}b"), shown(&format!("a{c}b")).into_owned());
            assert!(text.is_ascii() && text.len() > name.chars().count(), "{:x}: {text}", u32::from(c));
        }
        for c in every(r"[[\p{L}\p{M}\p{N}\p{P}\p{S} ]--[\p{Default_Ignorable_Code_Point}\u{2800}]]") {
            assert_eq!(shown(&format!("a{c}b")), format!("a{c}b"), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn every_character_is_shown_as_itself_or_in_ascii() {
        for c in char::MIN..=char::MAX {
            let name = c.to_string();
            match shown(&name) {
                Cow::Borrowed(text) => assert!(text == name && !misleads(c)),
                Cow::Owned(text) => {
                    assert!(misleads(c) && text.starts_with('\\') && !text.contains(misleads), "{text}")
                }
            }
        }
    }

    #[test]
    fn json_says_the_same_without_characters_that_mislead() {
        let all = (char::MIN..=char::MAX).collect::<String>();
        let text = escaped_json(serde_json::to_string_pretty(&[&all]).unwrap());
        assert!(!text.replace('\n', "").contains(misleads));
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [all]);
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
