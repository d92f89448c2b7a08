//! HUB: `hf://`, repositories as inputs.
//!
//! In: a server on this machine that speaks as the Hub does. Out: what a folder with the same files gives; results never in
//! the cache; nothing in the cache that is not whole, whatever the server does.

mod server;

use std::path::{Path, PathBuf};

use bnfold_gpu::checkpoint::Float;

use crate::fixture::{Folder, Model, Run, fold};
use server::Hub;

const CONFIG: &str = r#"{"architectures": ["Net"], "batch_norm_eps": 0.0625}"#;
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// `org/net` with a checkpoint, its configuration, and what is not needed.
fn net() -> Hub {
    let hub = Hub::new();
    Model::conv_bn().write(&hub.file("org/net", "main", "model.safetensors"));
    std::fs::write(hub.file("org/net", "main", "config.json"), CONFIG).unwrap();
    for other in ["README.md", "pytorch_model.bin", "tokenizer.json", "onnx/model.onnx"] {
        std::fs::write(hub.file("org/net", "main", other), "not needed").unwrap();
    }
    hub
}

/// One megabyte of weights and a norm.
fn large() -> Model {
    let weights = vec![0.5; 512 * 512];
    let [ones, zeros] = [1.0, 0.0].map(|value| vec![value; 512]);
    let model = Model::new().floats("conv.weight", Float::F32, &[512, 512, 1, 1], &weights);
    model.norm("bn", Float::F32, &ones, &zeros, &zeros, &ones)
}

/// The smallest model in two shards: the convolution in one, its norm in the other.
fn put_sharded(hub: &Hub, repository: &str) {
    let folder = Folder::new();
    let bytes = std::fs::read(folder.file("whole", &Model::conv_bn())).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (shard, is_conv) in SHARDS.into_iter().zip([true, false]) {
        let mut part = tensors.tensors();
        part.retain(|(name, _)| name.starts_with("conv") == is_conv);
        part.iter().for_each(|(name, _)| drop(map.insert(name.clone(), shard.into())));
        std::fs::write(hub.file(repository, "main", shard), safetensors::serialize(part, None).unwrap()).unwrap();
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    std::fs::write(hub.file(repository, "main", "model.safetensors.index.json"), index).unwrap();
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    let mut files =
        files.map(|entry| entry.path().strip_prefix(folder).unwrap().display().to_string()).collect::<Vec<_>>();
    files.sort();
    files
}

/// Files of results in the cache, and unfinished downloads.
fn strays(hub: &Hub) -> Vec<String> {
    let mut files = files(&hub.home(""));
    files.retain(|file| file.contains("folded") || file.contains("bnfold") || file.ends_with(".incomplete"));
    files
}

#[test]
fn a_repository_is_folded_like_its_folder_and_to_the_current_one() {
    let mut hub = net();
    hub.serve(&[]);
    let run = hub.fold(&[&"hf://org/net"]).expect(0);
    assert!(run.stderr.contains("note: hf://org/net: fetching 2 files, "), "{}", run.stderr);
    let root = hub.file("org/net", "main", "");
    let expected = hub.home("expected.safetensors");
    fold(&root.join("model.safetensors"), &[&"--output", &expected]).expect(0);
    let (result, expected) = (hub.here("net.folded.safetensors"), std::fs::read(expected).unwrap());
    assert!(std::fs::read(&result).unwrap() == expected, "other bytes");
    assert_eq!(hub.downloads(), ["config.json", "model.safetensors"], "nothing else is needed");
    assert_eq!((files(&hub.here("")), strays(&hub)), (vec!["net.folded.safetensors".to_owned()], vec![]));
    // A second time nothing is fetched, and nothing replaced unasked.
    std::fs::write(&result, "somebody's").unwrap();
    let run = hub.fold(&[&"--input", &"hf://org/net/"]);
    run.error(1, &["net.folded.safetensors: exists already; pass --force to replace it, or another --output"]);
    assert_eq!(std::fs::read(&result).unwrap(), b"somebody's");
    let run = hub.fold(&[&"hf://org/net", &"--force"]).expect(0);
    assert!(!run.stderr.contains("fetching") && std::fs::read(&result).unwrap() == expected, "{}", run.stderr);
    hub.run(&[&"fold", &"--device", &"cpu", &"hf://org/net", &"-o", &"x.safetensors"]).expect(0);
    assert!(std::fs::read(hub.here("x.safetensors")).unwrap() == expected, "other bytes");
    assert_eq!(hub.downloads().len(), 2);
}

#[test]
fn other_commands_take_repositories_too() {
    let mut hub = net();
    hub.serve(&[]);
    let plan = hub.run(&[&"plan", &"hf://org/net", &"--format", &"json"]).expect(0).json();
    assert_eq!(plan["layers"].as_array().unwrap().len(), 1, "{plan}");
    hub.fold(&[&"hf://org/net", &"--style", &"strip"]).expect(0);
    let run = hub.run(&[&"verify", &"hf://org/net", &"net.folded.safetensors"]).expect(0);
    assert!(run.stdout.contains("ok, 1 norm folded"), "{}", run.stdout);
    let run = hub.run(&[&"info", &"hf://org/net"]).expect(0);
    assert!(run.stdout.contains("model.safetensors"), "{}", run.stdout);
    let output: &[&dyn AsRef<std::ffi::OsStr>] = &[&"net.folded.safetensors", &"-o", &"hf://org/net/x.safetensors"];
    hub.fold(output).error(1, &["hf://org/net/x.safetensors", "can be read, not written"]);
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let mut hub = net();
    for (revision, value) in [("v1.0", 3.0), ("refs/pr/7", -2.0)] {
        Model::conv_bn_with("bn.bias", value).write(&hub.file("org/net", revision, "model.safetensors"));
    }
    hub.serve(&[]);
    let bytes = |revision: &str| {
        hub.fold(&[&format!("hf://org/net{revision}"), &"--force"]).expect(0);
        std::fs::read(hub.here("net.folded.safetensors")).unwrap()
    };
    let [main, first, request] = ["", "@v1.0", "@refs/pr/7"].map(bytes);
    assert!(main != first && first != request && main == bytes("@main"), "the same bytes");
    let commits = hub.snapshots("org/net");
    assert_eq!(commits.len(), 3);
    let of_commits = commits.iter().map(|commit| bytes(&format!("@{}", commit.file_name().unwrap().display())));
    let of_commits = of_commits.collect::<Vec<_>>();
    assert!([main, first, request].iter().all(|bytes| of_commits.contains(bytes)), "other bytes");
    hub.fold(&[&"hf://org/net@v2"]).error(1, &["hf://org/net@v2: it has no revision `v2`; name a branch"]);
}

#[test]
fn a_sharded_model_and_several_models_get_a_folder() {
    let mut hub = Hub::new();
    put_sharded(&hub, "org/big");
    Model::conv_bn().write(&hub.file("org/parts", "main", "unet/model.safetensors"));
    Model::conv_bn_with("bn.bias", 3.0).write(&hub.file("org/parts", "main", "vae/model.safetensors"));
    std::fs::write(hub.file("org/parts", "main", "vae/config.json"), CONFIG).unwrap();
    hub.serve(&[]);
    for (repository, name, expected) in [
        ("org/big", "big.folded", vec![SHARDS[0], SHARDS[1], "model.safetensors.index.json"]),
        ("org/parts", "parts.folded", vec!["unet/model.safetensors", "vae/model.safetensors"]),
    ] {
        hub.fold(&[&format!("hf://{repository}")]).expect(0);
        assert_eq!(files(&hub.here(name)), expected);
        let local = hub.home("local");
        let root = hub.file(repository, "main", "");
        let input = if repository == "org/big" { root.join("model.safetensors.index.json") } else { root };
        fold(&input, &[&"--output", &local]).expect(0);
        for file in expected {
            assert!(
                std::fs::read(local.join(file)).unwrap() == std::fs::read(hub.here(name).join(file)).unwrap(),
                "{file}"
            );
        }
        std::fs::remove_dir_all(local).unwrap();
    }
    let run = hub.fold(&[&"hf://org/parts", &"--include", &"vae/*", &"-o", &"vae/", &"--copy-sidecars"]).expect(0);
    assert_eq!(files(&hub.here("vae")), ["vae/config.json", "vae/model.safetensors"], "{}", run.stderr);
    hub.run(&[&"verify", &"hf://org/parts", &"vae/vae/model.safetensors"]).error(1, &["expected a regular file"]);
    assert_eq!(strays(&hub), [] as [String; 0]);
}

#[test]
fn several_repositories_go_to_a_folder_by_their_names() {
    let mut hub = net();
    Model::conv_bn_with("bn.bias", 3.0).write(&hub.file("org/other", "main", "model.safetensors"));
    hub.serve(&[]);
    let both: [&dyn AsRef<std::ffi::OsStr>; 2] = [&"hf://org/net", &"hf://org/other"];
    hub.fold(&both).error(2, &["hf://org/net: several inputs, of which it is one", "pass --output DIR"]);
    hub.fold(&[&both[..], &[&"--output", &"out", &"--copy-sidecars"]].concat()).expect(0);
    assert_eq!(
        files(&hub.here("")),
        ["out/net/config.json", "out/net/model.safetensors", "out/other/model.safetensors"]
    );
    // What is done is not done again.
    let run = hub.fold(&[&both[..], &[&"--output", &"out"]].concat()).expect(0);
    assert!(run.stdout.contains("0 folded, 2 skipped"), "{}", run.stdout);
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let mut hub = net();
    hub.serve(&[]);
    let offline = |hub: &Hub, input: &str| {
        Run::of(hub.command(&[&"--device", &"cpu", &"--force", &input]).env("HF_HUB_OFFLINE", "1"))
    };
    let words = ["HF_HUB_OFFLINE is set", "has no checkpoint of revision `main`", "fetch it once without"];
    offline(&hub, "hf://org/net").error(1, &words);
    hub.fold(&[&"hf://org/net"]).expect(0);
    hub.stop();
    offline(&hub, "hf://org/net").expect(0);
    let commit = hub.snapshots("org/net")[0].file_name().unwrap().display().to_string();
    offline(&hub, &format!("hf://org/net@{commit}")).expect(0);
    offline(&hub, "hf://org/net@v1").error(1, &["has no checkpoint of revision `v1`"]);
    // Only its configuration is there, as other programs leave it.
    std::fs::remove_file(hub.snapshots("org/net")[0].join("model.safetensors")).unwrap();
    offline(&hub, "hf://org/net").error(1, &words);
    let words = ["hf://org/net: the Hub cannot be reached", "set HF_HUB_OFFLINE=1 to take what the cache has"];
    hub.fold(&[&"hf://org/net", &"--force"]).error(1, &words);
}

#[test]
fn the_cache_is_where_the_environment_says() {
    let mut hub = net();
    hub.serve(&[]);
    let elsewhere = hub.home("elsewhere");
    Run::of(hub.command(&[&"plan", &"hf://org/net"]).env("HF_HUB_CACHE", &elsewhere)).expect(0);
    assert!(elsewhere.join("models--org--net/refs/main").is_file() && !hub.home("hub").exists());
}

#[test]
fn a_private_repository_needs_a_token_and_no_other_host_gets_it() {
    let mut hub = net();
    hub.serve(&["--token", "hf_right"]);
    let private = ["hf://org/net: there is no such repository, or it is private", "set HF_TOKEN to a token"];
    hub.fold(&[&"hf://org/net"]).error(1, &private);
    let with =
        |token: &str| Run::of(hub.command(&[&"--device", &"cpu", &"hf://org/net", &"--force"]).env("HF_TOKEN", token));
    let run = with("hf_wrong");
    assert!(!run.stderr.contains("hf_wrong"), "{}", run.stderr);
    run.error(1, &private);
    with("hf_right").expect(0);
    // The file that a login leaves.
    std::fs::remove_dir_all(hub.home("hub")).unwrap();
    std::fs::write(hub.home("token"), "hf_right\n").unwrap();
    hub.fold(&[&"hf://org/net", &"--force"]).expect(0);
}

#[test]
fn what_cannot_be_had_is_told_with_what_to_do() {
    let mut hub = net();
    std::fs::write(hub.file("org/torch", "main", "pytorch_model.bin"), "pickled").unwrap();
    std::fs::write(hub.file("org/words", "main", "README.md"), "nothing").unwrap();
    hub.serve(&[]);
    for (input, words) in [
        ("hf://org/none", "there is no such repository, or it is private"),
        (
            "hf://org/torch",
            "no .safetensors file in it; there is pytorch_model.bin, which PyTorch wrote: `python -m bnfold_gpu convert FILE`",
        ),
        ("hf://org/words", "hf://org/words: no .safetensors file in it\n"),
        ("hf://net", "no repository: expected hf://ORG/NAME or hf://ORG/NAME@REVISION"),
        ("hf://org/net@../x", "what follows the @ is no name of a branch or tag, and no commit"),
        ("hf://org/net/model.safetensors", "pass hf://org/net; --include chooses among its checkpoints"),
    ] {
        for command in ["fold", "plan", "info"] {
            hub.run(&[&command, &input]).error(1, &[input, words]);
        }
    }
    assert!(!hub.home("hub").exists() && files(&hub.here("")).is_empty());
    hub.serve(&["--gated"]);
    let words = ["hf://org/net: access denied (403 Forbidden", "accept the repository's terms on its page", "HF_TOKEN"];
    hub.fold(&[&"hf://org/net"]).error(1, &words);
    let run = Run::of(hub.command(&[&"plan", &"hf://org/net"]).env("HF_ENDPOINT", "example"));
    run.error(1, &["hf://org/net: HF_ENDPOINT is no URL"]);
}

/// A connection that breaks, and a page that says no in the place of a file, which has a length of its own.
#[test]
fn a_download_that_ends_early_is_begun_anew_and_never_half_kept() {
    for (fault, words) in [("--cut", "the download ended early"), ("--refuse", "bytes came, expected")] {
        let mut hub = Hub::new();
        large().write(&hub.file("org/net", "main", "model.safetensors"));
        hub.serve(&[fault, "model.safetensors:99"]);
        let run = hub.fold(&[&"hf://org/net"]).error(1, &["hf://org/net: ", words, "try again"]);
        assert!(!run.stderr.contains("very-secret"), "{}", run.stderr);
        assert_eq!(hub.downloads().len(), 3, "so often it is tried");
        let blobs = hub.home("hub/models--org--net/blobs");
        let kept = files(&blobs).into_iter().filter(|file| !file.ends_with(".incomplete"));
        assert_eq!((kept.count(), files(&hub.here(""))), (0, vec![]));
        // It goes on with the same cache, over one more fault.
        hub.serve(&[fault, "model.safetensors:1"]);
        hub.fold(&[&"hf://org/net"]).expect(0);
        assert_eq!((hub.downloads().len(), strays(&hub)), (2, vec![]));
        let original = std::fs::read(hub.file("org/net", "main", "model.safetensors")).unwrap();
        assert!(
            std::fs::read(hub.snapshots("org/net")[0].join("model.safetensors")).unwrap() == original,
            "other bytes"
        );
    }
}

/// What other programs left half is not taken, whatever it is called.
#[test]
fn what_is_not_whole_in_the_cache_is_fetched_again() {
    let mut hub = net();
    hub.serve(&[]);
    hub.run(&[&"plan", &"hf://org/net"]).expect(0);
    let file = std::fs::canonicalize(hub.snapshots("org/net")[0].join("model.safetensors")).unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    hub.fold(&[&"hf://org/net"]).expect(0);
    assert!(std::fs::read(&file).unwrap() == whole, "other bytes");
    assert_eq!(hub.downloads(), ["config.json", "model.safetensors", "model.safetensors"]);
}

fn started(hub: &Hub, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> std::process::Child {
    let mut command = hub.command(arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

#[test]
fn runs_at_the_same_time_share_a_cache() {
    let mut hub = Hub::new();
    large().write(&hub.file("org/net", "main", "model.safetensors"));
    hub.serve(&["--pause", "0.02"]);
    let outputs = ["a.safetensors", "b.safetensors", "c.safetensors"];
    let runs = outputs.map(|output| started(&hub, &[&"--device", &"cpu", &"hf://org/net", &"-o", &output]));
    runs.into_iter().for_each(|run| drop(Run::end(run).expect(0)));
    let bytes = outputs.map(|output| std::fs::read(hub.here(output)).unwrap());
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2] && strays(&hub).is_empty(), "{:?}", strays(&hub));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_download_and_the_next_run_fetches_it() {
    let mut hub = Hub::new();
    large().write(&hub.file("org/net", "main", "model.safetensors"));
    hub.serve(&["--pause", "2"]);
    let run = started(&hub, &[&"--device", &"cpu", &"hf://org/net"]);
    let begun = std::time::Instant::now();
    let incomplete = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "incomplete");
    while !files(&hub.home("")).iter().map(PathBuf::from).any(|file| incomplete(&file)) {
        assert!(begun.elapsed().as_secs() < 60, "it was never begun");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the program was gone already");
    let at = std::time::Instant::now();
    Run::end(run).error(130, &["error: interrupted"]);
    assert!(at.elapsed().as_secs() < 10, "it took {:?}", at.elapsed());
    assert!(hub.snapshots("org/net").iter().all(|folder| files(folder).is_empty()) && files(&hub.here("")).is_empty());
    hub.serve(&[]);
    hub.fold(&[&"hf://org/net"]).expect(0);
    assert_eq!(strays(&hub), [] as [String; 0]);
}
