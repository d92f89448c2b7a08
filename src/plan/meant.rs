//! 2 PLAN: for which checkpoint a plan of a plan file is.
//!
//! In: the `input` of every plan of a file, and the checkpoint at hand. Out: the plans that are meant for it.
//!
//! `plan --format json` writes the path that it was given, but folders are moved and named from elsewhere. So the path counts
//! first, then the place below the folder that was named, as far as the file tells where its own folder was.

use std::path::{Component, Path, PathBuf};

/// The checkpoint that a plan is looked for.
pub(super) struct Model<'a> {
    /// Its path.
    pub(super) input: &'a Path,
    /// Its place below the folder that was named, if one was.
    pub(super) below: Option<&'a Path>,
    /// Whether a plan could be meant for another checkpoint of the same call.
    pub(super) is_one_of_several: bool,
}

impl Model<'_> {
    /// Which of the plans with these `input`s are meant. A plan by itself is, for a checkpoint by itself, whatever it says,
    /// since files are moved.
    pub(super) fn among(&self, inputs: &[Option<&str>], is_array: bool) -> Vec<usize> {
        let must_be_told = is_array || (self.is_one_of_several && inputs.iter().any(Option::is_some));
        if !must_be_told {
            return (0..inputs.len()).collect();
        }
        let paths = inputs.iter().enumerate().filter_map(|(at, input)| Some((at, Path::new((*input)?))));
        let paths = paths.collect::<Vec<_>>();
        let that = |is_meant: &dyn Fn(&Path) -> bool| {
            paths.iter().filter(|(_, path)| is_meant(path)).map(|(at, _)| *at).collect::<Vec<_>>()
        };
        let same = that(&|path| self.is_at(path));
        let Some(below) = self.below.filter(|_| same.is_empty()) else { return same };
        let root = common_folder(paths.iter().map(|(_, path)| *path));
        let placed_alike = that(&|path| path.strip_prefix(&root).is_ok_and(|rest| rest == below));
        // A name alone, as that of a `model.safetensors` in any folder, says too little.
        let is_telling = placed_alike.is_empty() && below.components().count() > 1;
        if is_telling { that(&|path| path.ends_with(below)) } else { placed_alike }
    }

    /// Whether `path` is this checkpoint's, by whatever detour.
    fn is_at(&self, path: &Path) -> bool {
        let absolute = |path: &Path| std::path::absolute(path).map(|path| path.components().collect::<PathBuf>()).ok();
        self.input == path || absolute(self.input).is_some_and(|input| Some(input) == absolute(path))
    }
}

/// The lowest folder that holds all of these files.
fn common_folder<'p>(mut files: impl Iterator<Item = &'p Path>) -> PathBuf {
    let folder = |file: &'p Path| file.parent().unwrap_or(Path::new("")).components().collect::<Vec<Component<'_>>>();
    let Some(mut common) = files.next().map(folder) else { return PathBuf::new() };
    for other in files.map(folder) {
        let shared = common.iter().zip(&other).take_while(|(a, b)| a == b).count();
        common.truncate(shared);
    }
    common.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(below: &str, inputs: &[&str]) -> Vec<usize> {
        let input = Path::new("/today").join(below);
        let model = Model { input: &input, below: Some(Path::new(below)), is_one_of_several: true };
        model.among(&inputs.iter().map(|input| Some(*input)).collect::<Vec<_>>(), true)
    }

    #[test]
    fn a_plan_is_known_by_its_place_in_the_zoo() {
        let zoo = ["/old/zoo/a/model.safetensors", "/old/zoo/b/model.safetensors", "/old/zoo/model.safetensors"];
        assert_eq!(among("a/model.safetensors", &zoo), [0]);
        assert_eq!(among("model.safetensors", &zoo), [2], "the one that stands in the folder itself");
        assert_eq!(among("c/model.safetensors", &zoo), [0; 0]);
        assert_eq!(among("a/model.safetensors", &zoo[..1]), [0], "a zoo of one model does not tell its folder");
        assert_eq!(among("b.safetensors", &["x/b.safetensors", "y/b.safetensors"]), [0; 0], "which one?");
        assert_eq!(among("n/b.safetensors", &["x/n/b.safetensors", "y/n/b.safetensors"]), [0, 1], "which is told");
    }

    #[test]
    fn the_path_itself_goes_first() {
        let inputs = ["/old/m.safetensors", "/today/./m.safetensors", "/old/x/m.safetensors"];
        assert_eq!(among("m.safetensors", &inputs), [1]);
        let named = Model { input: Path::new("m.safetensors"), below: None, is_one_of_several: false };
        assert_eq!(named.among(&[Some("./m.safetensors"), Some("n/m.safetensors")], true), [0], "named itself");
    }

    #[test]
    fn a_plan_by_itself_is_for_a_checkpoint_by_itself() {
        let model = |is_one_of_several| Model { input: Path::new("n"), below: None, is_one_of_several };
        assert_eq!(model(false).among(&[Some("m")], false), [0]);
        assert_eq!(model(true).among(&[Some("m")], false), [0; 0]);
        assert_eq!(model(true).among(&[None], false), [0], "it says nothing else");
    }
}
