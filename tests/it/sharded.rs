//! Sharded models: one model in several files, and the index that says which tensor is where.
//!
//! In: the digits network and small models, split into shards by rules that part a layer from its norm; indexes that are
//! broken in one way each. Out: shards that hold, tensor by tensor, what folding the single file gives; an index that is
//! the old one brought up to date; or an error that names what is wrong, and nothing written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bnfold_gpu::checkpoint::Float;
use serde_json::{Value, json};

use crate::fixture::{Folder, Model, Run, bnfold, fold, plan};
use crate::library::Tensors;

const DIGITS: &str = "tests/data/digits-resnet.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

type Arguments<'a> = &'a [&'a dyn AsRef<std::ffi::OsStr>];

/// Shards of a model: file name to tensors.
pub type Shards = BTreeMap<String, Tensors>;

pub fn shard_name(number: usize, of: usize) -> String {
    format!("model-{number:05}-of-{of:05}.safetensors")
}

/// Deals tensors out, one after the other, so that the tensors of a layer and of its norm lie apart.
fn dealt(tensors: &Tensors, shards: usize) -> Shards {
    let mut dealt = Shards::new();
    for (turn, (name, tensor)) in tensors.0.iter().enumerate() {
        let shard = dealt.entry(shard_name(turn % shards + 1, shards)).or_default();
        shard.0.insert(name.clone(), tensor.clone());
    }
    dealt
}

/// The conv and the bias-to-be in one shard, its norm in another.
pub fn parted() -> Shards {
    let folder = Folder::new();
    let all = Tensors::read(&folder.file("m", &Model::conv_bn()));
    let mut shards = Shards::new();
    for (name, tensor) in all.0 {
        let number = if name.starts_with("conv") { 1 } else { 2 };
        shards.entry(shard_name(number, 2)).or_default().0.insert(name, tensor);
    }
    shards
}

fn size(shards: &Shards) -> usize {
    shards.values().flat_map(|shard| shard.0.values()).map(|tensor| tensor.bytes.len()).sum()
}

fn map_of(shards: &Shards) -> BTreeMap<String, String> {
    let names = shards.iter().flat_map(|(shard, tensors)| tensors.0.keys().map(move |name| (name, shard)));
    names.map(|(name, shard)| (name.clone(), shard.clone())).collect()
}

/// Writes shards and the index `transformers` would write into `folder`, which is made; returns the index.
pub fn write(folder: &Path, shards: &Shards) -> PathBuf {
    for (name, tensors) in shards {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        tensors.model().metadata("format", "pt").metadata("shard", name).write(&path);
    }
    let index = json!({"metadata": {"total_size": size(shards)}, "weight_map": map_of(shards)});
    let path = folder.join(INDEX);
    std::fs::write(&path, serde_json::to_string_pretty(&index).unwrap() + "\n").unwrap();
    path
}

fn read_index(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The shards that the index at `path` names.
fn read(path: &Path) -> Shards {
    let index = read_index(path);
    let names = index["weight_map"].as_object().unwrap().values().map(|name| name.as_str().unwrap().to_owned());
    names.map(|name| (name.clone(), Tensors::read(&path.with_file_name(name)))).collect()
}

/// All tensors of all shards.
fn merged(shards: &Shards) -> Tensors {
    Tensors(shards.values().flat_map(|tensors| tensors.0.clone()).collect())
}

/// Every file below a folder with its content: to see that nothing has changed.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(content(&entry))
        } else {
            drop(found.insert(entry.clone(), std::fs::read(&entry).unwrap()))
        }
    }
    found
}

#[test]
fn seven_shards_hold_what_the_single_file_holds() {
    let folder = Folder::new();
    let whole = Tensors::read(Path::new(DIGITS));
    let original = dealt(&whole, 7);
    let index = write(&folder.path("in"), &original);
    let before = content(&folder.path("in"));
    let shard_of = map_of(&original);
    for device in ["cpu", if cfg!(feature = "gpu") { "gpu" } else { "cpu" }] {
        for style in ["strip", "drop-in"] {
            let (single, output) = (folder.path("single.safetensors"), folder.path(&format!("{device}-{style}")));
            let options: Arguments = &[&"--device", &device, &"--style", &style, &"--force", &"--no-sync"];
            bnfold(&[options, &[&"--input", &DIGITS, &"--output", &single]].concat()).expect(0);
            let run = bnfold(&[options, &[&"--input", &index, &"--output", &output, &"--format", &"json"]].concat());
            let report = run.expect(0).json();
            assert_eq!(report["layers"], json!({"folded": 12, "kept": 0}));
            assert_eq!(
                report["bytes_in"],
                before.iter().filter(|(path, _)| **path != index).map(|(_, bytes)| bytes.len()).sum::<usize>()
            );

            let folded = read(&output.join(INDEX));
            assert_eq!(folded.len(), 7);
            assert_eq!(merged(&folded), Tensors::read(&single), "{device} {style}");
            for (shard, tensors) in &folded {
                let bytes = std::fs::read(output.join(shard)).unwrap();
                let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
                assert_eq!(header.metadata().as_ref().unwrap()["shard"], *shard, "every shard keeps its metadata");
                for name in tensors.0.keys() {
                    let weight = name.replace(".bias", ".weight");
                    let home = shard_of.get(name).unwrap_or_else(|| &shard_of[&weight]);
                    assert_eq!(home, shard, "{name} moved");
                }
            }
            let folded_index = output.join(INDEX);
            for (original, folded) in [(&index, &folded_index), (&index, &single), (&DIGITS.into(), &folded_index)] {
                let run = bnfold(&[&"verify", &"--original", original, &"--folded", folded]).expect(0);
                assert!(run.stdout.contains(": ok, 12 norms folded"), "{}", run.stdout);
            }
        }
    }
    assert_eq!(content(&folder.path("in")), before, "the original was touched");
}

#[test]
fn a_plan_speaks_of_all_shards() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &dealt(&Tensors::read(Path::new(DIGITS)), 7));
    let sharded = bnfold(&[&"plan", &"--format", &"json", &"--input", &index]).expect(0).json();
    let whole = bnfold(&[&"plan", &"--format", &"json", &"--input", &DIGITS]).expect(0).json();
    assert_eq!(sharded["layers"], whole["layers"]);
    let plan = folder.text("plan.json", sharded.to_string());
    fold(&index, &[&"--plan", &plan, &"--output", &folder.path("out")]).expect(0);
}

#[test]
fn verify_finds_an_error_in_any_shard_and_a_tensor_in_the_wrong_one() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &dealt(&Tensors::read(Path::new(DIGITS)), 7));
    fold(&index, &[&"--output", &folder.path("out")]).expect(0);
    let folded = folder.path("out").join(INDEX);
    let good = read(&folded);
    let verify = || bnfold(&[&"verify", &"--quiet", &"--original", &index, &"--folded", &folded]);
    for shard in good.keys() {
        let mut bad = good.clone();
        let (name, tensor) = bad.get_mut(shard).unwrap().0.iter_mut().max_by_key(|(_, t)| t.bytes.len()).unwrap();
        // The exponent of an F32's first element, or the highest byte of anything else.
        let name = name.clone();
        tensor.bytes[3] ^= 0x20;
        bad[shard].model().write(&folded.with_file_name(shard));
        verify().error(1, &[&name]);
        good[shard].model().write(&folded.with_file_name(shard));
    }
    verify().expect(0);

    let mut names = good.keys();
    let (a, b) = (names.next().unwrap(), names.next().unwrap());
    let mut moved = good.clone();
    let (name, tensor) = moved.get_mut(a).unwrap().0.pop_first().unwrap();
    moved.get_mut(b).unwrap().0.insert(name.clone(), tensor);
    [a, b].iter().for_each(|shard| moved[*shard].model().write(&folded.with_file_name(shard)));
    verify().error(1, &[&format!("`{name}`"), "not of one model"]);
}

#[test]
fn the_index_is_the_old_one_brought_up_to_date() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let [one, two] = [shard_name(1, 2), shard_name(2, 2)];
    let bn = ["weight", "running_var", "running_mean", "num_batches_tracked", "bias"];
    let bn = bn.map(|leaf| format!("    \"bn.{leaf}\": \"{two}\"")).join(",\n");
    let odd = "{\n    \"total_size\": 520.0,\n    \"mergekit_version\": \"0.1\",\n    \"list\": [1.50, 1e2],\n    \"total_parameters\": \"118\"\n  }";
    let text = format!(
        "{{\n  \"weight_map\": {{\n{bn},\n    \"conv.weight\": \"{one}\"\n  }},\n  \"other\": [1,   2],\n  \"metadata\": {odd}\n}}\n"
    );
    std::fs::write(&index, &text).unwrap();
    let folded = |name: &str, more: Arguments| {
        let output = folder.path(name);
        fold(&index, &[&[&"--plan" as &dyn AsRef<_>, &plan, &"--output", &output], more].concat()).expect(0);
        std::fs::read_to_string(output.join(INDEX)).unwrap()
    };

    // 108 weights and 4 new biases are left; gamma and beta (8) are no longer counted, the biases (4) are.
    let figures = odd.replace("520.0", "448.0").replace("\"118\"", "\"114\"");
    let expected = format!(
        "{{\n  \"weight_map\": {{\n    \"conv.weight\": \"{one}\",\n    \"conv.bias\": \"{one}\"\n  }},\n  \"other\": [1,   2],\n  \"metadata\": {figures}\n}}\n"
    );
    assert_eq!(folded("strip", &[]), expected);
    // Every tensor stays, and so does the text but for the size, which was wrong: 108 + 16 floats and a counter.
    assert_eq!(folded("drop-in", &[&"--style", &"drop-in"]), text.replace("520.0", "504.0"));
    assert!(folded("half", &[&"--dtype", &"f16"]).contains("\"total_size\": 224.0"));

    // The norm's shard has no tensors left, but is there.
    assert_eq!(Tensors::read(&folder.path("strip").join(&two)), Tensors::default());

    // A sorted map stays sorted; whole numbers stay whole; a count of all elements stays one.
    write(&folder.path("in"), &parted());
    let mut sorted = read_index(&index);
    sorted["metadata"]["total_parameters"] = json!(108 + 16 + 1);
    std::fs::write(&index, sorted.to_string()).unwrap();
    let expected = json!({
        "metadata": {"total_size": 448, "total_parameters": 112},
        "weight_map": {"conv.bias": one, "conv.weight": one}
    });
    assert_eq!(folded("sorted", &[]), serde_json::to_string_pretty(&expected).unwrap() + "\n");
    // No figure is invented, and none is touched that is not understood.
    for metadata in ["null", "{}", "{\n    \"total_size\": \"big\"\n  }", "[1]"] {
        let text = format!("{{\n  \"metadata\": {metadata},\n  \"weight_map\": {}\n}}", sorted["weight_map"]);
        std::fs::write(&index, text).unwrap();
        let expected = format!("{{\n  \"metadata\": {metadata},\n");
        let found = folded(&format!("odd{}", metadata.len()), &[]);
        assert!(found.starts_with(&expected), "{found}");
    }
}

#[test]
fn shapes_beyond_counting_do_not_stop_an_index() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let huge = |name: &str| format!(r#""{name}":{{"dtype":"X9","shape":[{0},{0}],"data_offsets":[0,0]}}"#, u64::MAX);
    let json = format!("{{{},{}}}", huge("a"), huge("b"));
    folder.text("in/huge.safetensors", crate::fixture::raw_file(&json, &[]));
    let mut value = read_index(&index);
    value["metadata"]["total_parameters"] = json!(118);
    ["a", "b"].iter().for_each(|name| value["weight_map"][name] = json!("huge.safetensors"));
    std::fs::write(&index, value.to_string()).unwrap();
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    fold(&index, &[&"--plan", &plan, &"--output", &folder.path("out")]).expect(0);
    let metadata = &read_index(&folder.path("out").join(INDEX))["metadata"];
    assert_eq!(metadata, &json!({"total_size": 448, "total_parameters": 114}));
}

/// Folds and plans a model whose index or shards were changed by `change`; it must be refused with all of `words`.
#[track_caller]
fn refused(change: impl FnOnce(&Path, &mut Value), words: &[&str]) {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let mut value = read_index(&index);
    change(&folder.path("in"), &mut value);
    if !value.is_null() {
        std::fs::write(&index, value.to_string()).unwrap();
    }
    let named = format!("{INDEX}: not a valid index of a sharded checkpoint: ");
    let words = [&[&named[..]], words].concat();
    let run = fold(&index, &[&"--output", &folder.path("out")]).error(1, &words);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    bnfold(&[&"plan", &"--input", &index]).error(1, &words);
    bnfold(&[&"verify", &"--original", &DIGITS, &"--folded", &index]).error(1, &words);
    assert!(!folder.path("out").exists());
}

#[test]
fn what_index_and_shards_disagree_about_is_refused() {
    let [one, two] = [shard_name(1, 2), shard_name(2, 2)];
    let not_there = [&format!("its shard `{two}` (5 tensors) is not there")[..], "fetch"];
    refused(|folder, _| std::fs::remove_file(folder.join(&two)).unwrap(), &not_there);
    let elsewhere = format!("shard `{two}` holds tensor `bn.bias`, which the weight_map looks for in `{one}`");
    refused(|_, index| index["weight_map"]["bn.bias"] = json!(one), &[&elsewhere]);
    let unknown = format!("shard `{two}` holds tensor `bn.bias`, which the weight_map does not name");
    refused(|_, index| drop(index["weight_map"].as_object_mut().unwrap().shift_remove("bn.bias")), &[&unknown]);
    let absent = format!("tensor `fc.weight` should be in shard `{two}`, which does not hold it");
    refused(|_, index| index["weight_map"]["fc.weight"] = json!(two), &[&absent]);
    // The same tensor in both shards: the one that is not meant is found.
    let twice = format!("shard `{two}` holds tensor `conv.weight`, which the weight_map looks for in `{one}`");
    refused(|folder, _| merged(&parted()).model().write(&folder.join(&two)), &[&twice]);
}

#[test]
fn an_index_that_leads_elsewhere_or_is_none_is_refused() {
    for name in ["../x.safetensors", "/x.safetensors", "x\\y.safetensors", "a\u{1b}[2J/../x.safetensors"] {
        refused(
            |_, index| index["weight_map"]["conv.weight"] = json!(name),
            &["tensor `conv.weight` is said to be in `"],
        );
    }
    refused(|_, index| index["weight_map"]["bn.bias"] = json!("pytorch_model-1.bin"), &["must end in .safetensors"]);
    refused(|_, index| *index = json!({}), &["no weight_map"]);
    refused(|_, index| *index = json!({"weight_map": {"a": 1}}), &["in its weight_map", "expected a string"]);
    let twin = |folder: &Path, index: &mut Value| {
        let text = index.to_string().replace("\"bn.bias\"", "\"bn\\u002eweight\"");
        std::fs::write(folder.join(INDEX), text).unwrap();
        *index = Value::Null;
    };
    refused(twin, &["it holds `bn.weight` twice"]);
    let long = |folder: &Path, index: &mut Value| {
        std::fs::File::create(folder.join(INDEX)).unwrap().set_len(100_000_001).unwrap();
        *index = Value::Null;
    };
    refused(long, &["it has 100000001 bytes, and 100000000 is the limit"]);
}

#[test]
fn a_broken_shard_is_named() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    folder.text(&format!("in/{}", shard_name(2, 2)), "no header");
    let words = [&shard_name(2, 2)[..], "not a valid safetensors file"];
    fold(&index, &[&"--output", &folder.path("out")]).error(1, &words);
}

#[test]
fn a_sharded_model_needs_a_folder_of_its_own() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let before = content(&folder.path("in"));
    fold(&index, &[]).error(2, &[INDEX, "shards keep their names", "--output DIR"]);
    let own = folder.path("in");
    for output in [&own, &index, &own.join("new.safetensors.index.json")] {
        for force in ["--force", "--no-sync"] {
            let words = ["a file of the input itself", "shards keep their names", "--output DIR"];
            fold(&index, &[&"--output", output, &force]).error(1, &words);
        }
    }
    // By the way of a link, too.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("in", folder.path("link")).unwrap();
        fold(&index, &[&"--output", &folder.path("link"), &"--force"]).error(1, &["a file of the input itself"]);
    }
    assert_eq!(content(&own), before);
}

#[test]
fn what_exists_is_replaced_only_by_force_and_then_whole() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let output = folder.path("out");
    let options: Arguments = &[&"--plan", &plan, &"--output", &output];
    for existing in [INDEX, &shard_name(1, 2), &shard_name(2, 2)] {
        std::fs::create_dir_all(&output).unwrap();
        std::fs::write(output.join(existing), "another's").unwrap();
        let before = content(&output);
        fold(&index, options).error(1, &[existing, "exists already", "--force"]);
        assert_eq!(content(&output), before);
        fold(&index, &[options, &[&"--force"]].concat()).expect(0);
        let names = content(&output).into_keys().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names, [&shard_name(1, 2), &shard_name(2, 2), INDEX]);
        assert_eq!(merged(&read(&output.join(INDEX))).0.len(), 2);
        std::fs::remove_dir_all(&output).unwrap();
    }
    // A shard of another model in that folder is not replaced under its index.
    write(&output, &parted());
    std::fs::rename(output.join(INDEX), output.join("other.safetensors.index.json")).unwrap();
    let before = content(&output);
    let words = ["belongs to the sharded model of `other.safetensors.index.json`", "another --output"];
    fold(&index, &[options, &[&"--force"]].concat()).error(1, &words);
    assert_eq!(content(&output), before);
    // Several models into one folder must not be told apart by their shards' names only.
    let words = ["would both be written to"];
    let twin = write(&folder.path("twin"), &parted());
    bnfold(&[&"--input", &index, &twin, &"--output", &folder.path("both")]).error(2, &words);
}

#[test]
fn a_failure_on_the_way_leaves_nothing() {
    let folder = Folder::new();
    let mut shards = dealt(&Tensors::read(Path::new(DIGITS)), 7);
    // A value that folding refuses, in the last shard that has a weight to fold.
    let shard = shards.values_mut().rev().find(|s| s.0.keys().any(|name| name.contains("conv"))).unwrap();
    let (_, weight) = shard.0.iter_mut().rev().find(|(name, _)| name.contains("conv")).unwrap();
    weight.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    // One shard goes into folders that are made for it.
    let last = shards.pop_last().unwrap().1;
    shards.insert("x/y/last.safetensors".to_owned(), last);
    let index = write(&folder.path("in"), &shards);
    std::fs::create_dir(folder.path("out")).unwrap();
    let run = fold(&index, &[&"--output", &folder.path("out")]);
    run.error(1, &["element 0 is NaN before folding"]);
    assert_eq!(std::fs::read_dir(folder.path("out")).unwrap().count(), 0);
    // With --force the old model is what it was.
    write(&folder.path("out"), &parted());
    let before = content(&folder.path("out"));
    fold(&index, &[&"--output", &folder.path("out"), &"--force"]).error(1, &["element 0 is NaN before folding"]);
    assert_eq!(content(&folder.path("out")), before);
    // And where nothing is wrong the folders stay.
    fold(&index, &[&"--output", &folder.path("good"), &"--allow-non-finite"]).expect(0);
    assert!(folder.path("good/x/y/last.safetensors").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn limits_of_the_system_are_named_and_leave_nothing() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &dealt(&Tensors::read(Path::new(DIGITS)), 40));
    let output = folder.path("out");
    std::fs::create_dir(&output).unwrap();
    let arguments: Arguments = &[&"--device", &"cpu", &"--input", &index, &"--output", &output];
    // Few enough to fail while shards are opened, and while outputs are.
    for limit in [20, 60] {
        let run = Run::of(&mut crate::fixture::shell(&format!("ulimit -n {limit}"), arguments));
        run.error(1, &["too many open files", "40 shards", "ulimit -n"]);
    }
    // A disk that is full, as far as the program can tell.
    let run = Run::of(&mut crate::fixture::shell("trap '' XFSZ; ulimit -f 1", arguments));
    run.error(1, &["File too large"]);
    assert_eq!(std::fs::read_dir(&output).unwrap().count(), 0);
    Run::of(&mut crate::fixture::shell("ulimit -n 120", arguments)).expect(0);
}

/// A Hugging Face cache: snapshots hold links to blobs that are named by their hash.
#[cfg(unix)]
#[test]
fn blobs_of_a_cache_are_read_through_links_and_never_written() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    write(&folder.path("blobs"), &parted());
    let files = content(&folder.path("blobs"));
    for snapshot in ["snapshots/a", "snapshots/b"] {
        std::fs::create_dir_all(folder.path(snapshot)).unwrap();
        for (number, blob) in files.keys().enumerate() {
            let name = blob.file_name().unwrap();
            let hash = folder.path(&format!("blobs/{number:040}"));
            if blob.exists() {
                std::fs::rename(blob, &hash).unwrap();
            }
            symlink(format!("../../blobs/{number:040}"), folder.path(snapshot).join(name)).unwrap();
        }
    }
    let before = content(&folder.path(""));
    let input = folder.path("snapshots/a").join(INDEX);
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let output = folder.path("out");
    fold(&input, &[&"--plan", &plan, &"--output", &output]).expect(0);
    for path in content(&output).into_keys() {
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file(), "{}", path.display());
    }
    // Another snapshot of the same blobs is the input again, by whatever name.
    let run = fold(&input, &[&"--plan", &plan, &"--output", &folder.path("snapshots/b"), &"--force"]);
    run.error(1, &["a file of the input itself"]);
    // Links that stand in the output's place are replaced, not followed.
    let shared = folder.text("shared", "bytes that others share");
    std::fs::remove_dir_all(&output).unwrap();
    std::fs::create_dir(&output).unwrap();
    for name in [&shard_name(1, 2), &shard_name(2, 2), INDEX] {
        symlink(&shared, output.join(name)).unwrap();
    }
    fold(&input, &[&"--plan", &plan, &"--output", &output, &"--force"]).expect(0);
    assert_eq!(std::fs::read(&shared).unwrap(), b"bytes that others share");
    assert_eq!(read(&output.join(INDEX))[&shard_name(1, 2)].0.len(), 2);
    std::fs::remove_dir_all(&output).unwrap();
    [shared, plan].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(content(&folder.path("")), before);
}

#[test]
fn a_weight_that_another_shard_lists_as_an_alias_is_not_folded() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    let run = fold(&index, &[&"--output", &folder.path("out"), &"--format", &"json"]).expect(0);
    let folds = run.json()["layers"]["folded"].clone();
    let norm = shard_name(2, 2);
    parted()[&norm].model().metadata("head.weight", "conv.weight").write(&folder.path("in").join(norm));
    let plan = folder.text("plan.json", plan(&[("bn", "conv.weight")]));
    let words = ["plan.json:2: ", "weight `conv.weight` is shared: `__metadata__` lists other names for it"];
    fold(&index, &[&"--plan", &plan, &"--output", &folder.path("other")]).error(1, &words);
    let run = fold(&index, &[&"--output", &folder.path("other"), &"--format", &"json"]).expect(0);
    assert_eq!((folds, run.json()["layers"]["folded"].clone()), (json!(1), json!(0)));
}

#[test]
fn the_config_beside_an_index_tells_eps() {
    for (stem, other, known) in [
        ("model", Some("other.safetensors"), true),
        ("diffusion_pytorch_model", None, true),
        ("diffusion_pytorch_model", Some("other.safetensors"), false),
        ("diffusion_pytorch_model", Some("diffusion_pytorch_model2.safetensors"), false),
    ] {
        let folder = Folder::new();
        let shards = parted().into_iter().map(|(name, tensors)| (name.replacen("model", stem, 1), tensors)).collect();
        let written = write(&folder.path("in"), &shards);
        let index = written.with_file_name(format!("{stem}.safetensors.index.json"));
        std::fs::rename(&written, &index).unwrap();
        folder.text("in/config.json", r#"{"batch_norm_eps": 0.125}"#);
        if let Some(other) = other {
            folder.file(&format!("in/{other}"), &Model::new().floats("x", Float::F32, &[1], &[0.0]));
        }
        let plan = bnfold(&[&"plan", &"--quiet", &"--format", &"json", &"--input", &index]).expect(0).json();
        assert_eq!(plan["layers"][0]["eps"] == json!(0.125), known, "{stem} beside {other:?}: {plan}");
    }
}

#[test]
fn names_of_outputs_fit_what_they_hold() {
    let folder = Folder::new();
    let index = write(&folder.path("in"), &parted());
    // A name that an index has is the index; that of a file cannot hold several; any other is a folder.
    fold(&index, &[&"--output", &folder.path("x.safetensors")])
        .error(2, &["names one file, and a sharded model has several"]);
    fold(&index, &[&"--output", &folder.path("x.v2")]).expect(0);
    assert!(folder.path("x.v2").join(INDEX).is_file());
    std::fs::create_dir(folder.path("new")).unwrap();
    let renamed = folder.path("new/m.safetensors.index.fp16.json");
    fold(&index, &[&"--output", &renamed]).expect(0);
    assert!(renamed.is_file() && folder.path("new").join(shard_name(1, 2)).is_file());
    bnfold(&[&"verify", &"--original", &index, &"--folded", &renamed]).expect(0);
    let single = folder.file("m.safetensors", &Model::conv_bn());
    fold(&single, &[&"--output", &renamed, &"--force"])
        .error(2, &["the result is a .safetensors file, and its name would say otherwise"]);
    // An ending that says nothing about what is in the file.
    for name in ["m.out", "m.v1.0", "m.st"] {
        fold(&single, &[&"--output", &folder.path(name)]).expect(0);
        assert!(folder.path(name).is_file(), "{name}");
    }
}
