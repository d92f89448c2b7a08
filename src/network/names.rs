//! Names of tensors and modules: how they are taken apart, and what is alike about them.
//!
//! In: a tensor's name or a module's path. Out: its module, its name with another ending, its [`template`].

use super::dialect::{COLLECTIONS, COPIED, SUFFIXES, WITHIN};

/// `text` with `#` for every run of digits: equal for all instances of a repeated block.
pub(crate) fn template(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match (c.is_ascii_digit(), out.ends_with('#')) {
            (true, true) => {}
            (true, false) => out.push('#'),
            (false, _) => out.push(c),
        }
    }
    out
}

/// A tensor's name without decorations and collection, `/` between segments: equal for all tensors of one module.
pub(crate) fn plain(name: &str) -> String {
    let bare = undecorated(name);
    let bare = COLLECTIONS
        .iter()
        .find_map(|collection| bare.strip_prefix(collection)?.strip_prefix(['/', '.']))
        .unwrap_or(bare);
    bare.replace('.', "/")
}

/// The module's path as the file spells it, if `name` ends in `pattern`.
pub(crate) fn split(name: &str, pattern: &str) -> Option<String> {
    let (begin, end) = find(name, pattern)?;
    let path = name[..begin].strip_suffix(['/', '.']).unwrap_or(&name[..begin]);
    debug_assert!(end <= name.len(), "a match lies within the name");
    Some(
        COLLECTIONS
            .iter()
            .find_map(|collection| path.strip_prefix(collection)?.strip_prefix(['/', '.']))
            .unwrap_or(path)
            .to_owned(),
    )
}

/// `name` with `pattern` at its end replaced, decorations kept.
pub(crate) fn rename(name: &str, pattern: &str, with: &str) -> Option<String> {
    let (begin, end) = find(name, pattern)?;
    Some(format!("{}{}{}", &name[..begin], ending(with), &name[end..]))
}

/// Where `pattern` stands in `name`: at its end but for decorations, as whole segments; a pattern behind [`WITHIN`] as the end
/// of one.
pub(crate) fn find(name: &str, pattern: &str) -> Option<(usize, usize)> {
    let end = undecorated(name).len();
    let text = ending(pattern);
    let begin = end.checked_sub(text.len())?;
    let tail = name.get(begin..end)?;
    let same = tail.chars().zip(text.chars()).all(|(a, b)| a == b || (b == '/' && a == '.'));
    let whole = begin == 0 || name[..begin].ends_with(['/', '.']);
    (same && whole != pattern.starts_with(WITHIN)).then_some((begin, end))
}

/// What a name that `pattern` finds ends in.
pub(crate) fn ending(pattern: &str) -> &str {
    pattern.strip_prefix(WITHIN).unwrap_or(pattern)
}

/// A name without what exporters append: [`SUFFIXES`], and the counter of copies that Paddle's exporter adds.
fn undecorated(name: &str) -> &str {
    let bare = SUFFIXES.iter().fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
    // Nearly all names end in a letter.
    if !bare.ends_with(|last: char| last.is_ascii_digit()) {
        return bare;
    }
    match bare.rsplit_once(COPIED) {
        Some((copied, counter)) if !counter.is_empty() && counter.bytes().all(|byte| byte.is_ascii_digit()) => copied,
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_digits_is_one_mark() {
        assert_eq!(template("layer1.12.conv2d"), "layer#.#.conv#d");
        assert_eq!(template("ünï.007"), "ünï.#");
        assert_eq!(template(""), "");
    }
}
