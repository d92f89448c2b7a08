//! 6 REPORT: what models are called on the page, and in which order they stand.
//!
//! In: the paths of all models of a run. Out: a [`Names`]: of each model the path below the folder that all have in
//! common, without the file's name where that is the same everywhere, and its rank in natural order (`m2` before `m10`).

use std::cmp::Ordering;

use crate::report::Outcome;

/// Names of the models of a run, one a model.
pub(super) struct Names {
    /// The folder that they are below; empty if there is none.
    pub(super) root: String,
    names: Vec<String>,
    /// Models in natural order of their names.
    order: Vec<usize>,
}

impl Names {
    pub(super) fn of(models: &[Outcome]) -> Names {
        let paths = models.iter().map(|model| model.input().to_string_lossy().into_owned()).collect::<Vec<_>>();
        let root = common_root(&paths);
        let below = paths.iter().map(|path| &path[root..]).collect::<Vec<_>>();
        let first = below.first().map_or("", |path| stem(path));
        let alike = below.len() > 1 && below.iter().all(|path| stem(path) == first);
        let names = below.iter().map(|path| match split(path) {
            (folder @ Some(_), _) if alike => folder.unwrap_or(path).to_owned(),
            _ => (*path).to_owned(),
        });
        let names = names.collect::<Vec<_>>();
        let mut order = (0..names.len()).collect::<Vec<_>>();
        order.sort_by(|&a, &b| natural(&names[a], &names[b]));
        let root = paths.first().map_or("", |path| &path[..root]).to_owned();
        Names { root, names, order }
    }

    /// The name of model `index`.
    pub(super) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// Models in natural order of their names.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }
}

/// Length of the longest folder, its separator included, that all `paths` begin with.
fn common_root(paths: &[String]) -> usize {
    let Some((first, others)) = paths.split_first() else { return 0 };
    let folders = first.match_indices(std::path::is_separator).map(|(at, separator)| at + separator.len());
    let common = |end: &usize| others.iter().all(|path| path.as_bytes().starts_with(&first.as_bytes()[..*end]));
    folders.take_while(common).last().unwrap_or(0)
}

/// Folder and file name; no folder for a file that lies in none.
fn split(path: &str) -> (Option<&str>, &str) {
    match path.rsplit_once(std::path::is_separator) {
        Some((folder, file)) => (Some(folder), file),
        None => (None, path),
    }
}

/// A file's name up to its ending: a sharded `model` among single ones is called like them.
fn stem(path: &str) -> &str {
    let file = split(path).1;
    file.find(".safetensors").map_or(file, |end| &file[..end])
}

/// Numbers in names by their value, everything else by character, capitals like small letters. Names that differ in
/// neither are ordered by their bytes, so that the order is the same in every run.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let (order, taken) = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(left), digits(right));
            let [p, q] = [m, n].map(|digits| digits.trim_start_matches('0'));
            (p.len().cmp(&q.len()).then_with(|| p.cmp(q)), (m.len(), n.len()))
        } else {
            (x.to_lowercase().cmp(y.to_lowercase()), (x.len_utf8(), y.len_utf8()))
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (&left[taken.0..], &right[taken.1..]);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> (String, Vec<String>) {
        let models = paths.iter().map(|path| Outcome::NotReached { input: path.into() }).collect::<Vec<_>>();
        let Names { root, names, .. } = Names::of(&models);
        (root, names)
    }

    #[test]
    fn models_are_called_by_what_tells_them_apart() {
        let of = |paths: &[&str], root: &str, expected: &[&str]| {
            assert_eq!(names(paths), (root.to_owned(), expected.iter().map(|&name| name.to_owned()).collect()));
        };
        of(&["zoo/a/model.safetensors", "zoo/b/c/model.safetensors"], "zoo/", &["a", "b/c"]);
        of(&["zoo/a/model.safetensors", "zoo/b/model.safetensors.index.json"], "zoo/", &["a", "b"]);
        of(&["zoo/model.safetensors", "zoo/b/model.safetensors"], "zoo/", &["model.safetensors", "b"]);
        of(&["zoo/a/x.safetensors", "zoo/a/y.safetensors"], "zoo/a/", &["x.safetensors", "y.safetensors"]);
        of(&["zoo/a/model.safetensors", "zoo/b/y.safetensors"], "zoo/", &["a/model.safetensors", "b/y.safetensors"]);
        of(&["zoo/a/model.safetensors"], "zoo/a/", &["model.safetensors"]);
        of(&["s3://zoo/ä/m.safetensors", "s3://zoo/ö/m.safetensors"], "s3://zoo/", &["ä", "ö"]);
        of(&["x.safetensors", "zoo/x.safetensors"], "", &["x.safetensors", "zoo"]);
        of(&[], "", &[]);
    }

    #[test]
    fn numbers_in_names_count_by_value() {
        let mut names = ["m10", "M2", "m1", "m1b", "m", "m01", "n", "m1/9", "m1/10", "m99999999999999999999999"];
        names.sort_by(|a, b| natural(a, b));
        let expected = ["m", "m01", "m1", "m1/9", "m1/10", "m1b", "M2", "m10", "m99999999999999999999999", "n"];
        assert_eq!(names, expected);
    }
}
