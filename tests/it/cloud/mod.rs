//! STORE: checkpoints in object stores and on web servers.
//!
//! In: real servers on this machine. Out: the bytes that files of this machine give; an object appears whole or not at
//! all, is never replaced unasked, and is never read half old, half new.

mod servers;

use std::path::Path;

use bnfold_gpu::checkpoint::Float;

use crate::fixture::{Folder, Model, Numbers, Run, fold};
use servers::{Bucket, Page, Proxy, Web, bnfold, with_endpoint, with_stores};

const DIGITS: &str = "tests/data/digits-resnet.safetensors";

/// What folding `input`, a file of this machine, gives; without a record, which is of less of an object.
fn folded(folder: &Folder, input: &Path) -> Vec<u8> {
    let output = folder.path("expected.safetensors");
    fold(input, &[&"--output", &output, &"--force", &"--no-record"]).expect(0);
    std::fs::read(output).unwrap()
}

/// A convolution of 51 MB and its norm: several blocks to read, several parts to write.
fn large() -> Model {
    let (channels, weights) = (512, 512 * 512 * 7 * 7);
    let mut numbers = Numbers::new(5);
    let [gamma, beta, mean] = [0, 1, 2].map(|_| numbers.many(channels, -1.0, 1.0));
    let var = numbers.many(channels, 0.5, 2.0);
    let weights = numbers.many(weights, -1.0, 1.0);
    let model = Model::new().floats("conv.weight", Float::F32, &[channels, channels, 7, 7], &weights);
    model.norm("bn", Float::F32, &gamma, &beta, &mean, &var)
}

#[test]
fn a_file_becomes_the_same_bytes_wherever_it_is_and_goes() {
    let (bucket, folder) = (Bucket::new("file"), Folder::new());
    bucket.put_file("in/m.safetensors", Path::new(DIGITS));
    let expected = folded(&folder, Path::new(DIGITS));
    let (remote, local) = (bucket.url("in/m.safetensors"), folder.path("m.safetensors"));
    bnfold(&[&"--input", &remote, &"--output", &bucket.url("out/m.safetensors"), &"--no-record"]).expect(0);
    bnfold(&[&"--input", &remote, &"--output", &local, &"--no-record"]).expect(0);
    bnfold(&[&"--input", &DIGITS, &"--output", &bucket.url("up/"), &"--no-record"]).expect(0);
    // Beside the original, under a name of its own.
    let run = bnfold(&[&"--input", &remote, &"--format", &"json", &"--no-record"]).expect(0);
    assert_eq!(run.json()["output"], bucket.url("in/m.folded.safetensors"));
    assert_eq!(std::fs::read(local).unwrap(), expected);
    let results = ["in/m.folded.safetensors", "out/m.safetensors", "up/digits-resnet.safetensors"];
    results.iter().for_each(|key| assert_eq!(bucket.get(key).as_ref(), Some(&expected), "{key}"));
    assert_eq!(bucket.keys().len(), 4, "{:?}", bucket.keys());
    let verify: &[&dyn AsRef<_>] = &[&"verify", &"--original", &remote, &"--folded", &bucket.url(results[1])];
    let run = Run::of(&mut with_stores(verify)).expect(0);
    assert!(run.stdout.contains("ok, 12 norms folded"), "{}", run.stdout);
}

#[test]
fn a_large_file_is_read_in_blocks_and_written_in_parts() {
    let (bucket, folder) = (Bucket::new("large"), Folder::new());
    let input = folder.file("m.safetensors", &large());
    bucket.put_file("m.safetensors", &input);
    let (remote, output) = (bucket.url("m.safetensors"), bucket.url("out.safetensors"));
    bnfold(&[&"--input", &remote, &"--output", &output, &"--no-record"]).expect(0);
    assert!(bucket.get("out.safetensors") == Some(folded(&folder, &input)), "other bytes");
    let version = bucket.version("out.safetensors");
    bnfold(&[&"--input", &remote, &"--output", &output]).error(1, &["out.safetensors: exists already; pass --force"]);
    assert_eq!(bucket.version("out.safetensors"), version);
    bnfold(&[&"--input", &remote, &"--output", &output, &"--force"]).expect(0);
    assert_ne!(bucket.version("out.safetensors"), version);
    assert_eq!(bucket.keys(), ["m.safetensors", "out.safetensors"], "no upload is left open");
}

#[test]
fn what_exists_is_not_replaced_and_the_input_never() {
    let bucket = Bucket::new("exists");
    bucket.put_file("m.safetensors", Path::new(DIGITS));
    bucket.put("out.safetensors", b"somebody's");
    let (input, output) = (bucket.url("m.safetensors"), bucket.url("out.safetensors"));
    bnfold(&[&"--input", &input, &"--output", &output]).error(1, &["out.safetensors: exists already"]);
    assert_eq!(bucket.get("out.safetensors").unwrap(), b"somebody's");
    bnfold(&[&"--input", &input, &"--output", &output, &"--force"]).expect(0);
    assert_ne!(bucket.get("out.safetensors").unwrap(), b"somebody's");
    bnfold(&[&"--input", &input, &"--output", &input, &"--force"]).error(1, &["the output is the input itself"]);
    bnfold(&[&"--input", &input, &"--output", &"s3://exists/", &"--force"])
        .error(1, &["the output is the input itself"]);
    assert_eq!(bucket.get("m.safetensors").unwrap(), std::fs::read(DIGITS).unwrap());
}

/// The two halves of the smallest model: the convolution in one shard, its norm in another.
fn sharded(bucket: &Bucket, folder: &Folder, below: &str) -> [String; 3] {
    let names =
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"];
    let whole = folder.file("whole", &Model::conv_bn());
    let bytes = std::fs::read(whole).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (shard, is_conv) in [(names[0], true), (names[1], false)] {
        let mut part = tensors.tensors();
        part.retain(|(name, _)| name.starts_with("conv") == is_conv);
        part.iter().for_each(|(name, _)| drop(map.insert(name.clone(), shard.into())));
        let bytes = safetensors::serialize(part, None).unwrap();
        bucket.put(&format!("{below}{shard}"), &bytes);
        folder.text(shard, bytes);
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    bucket.put(&format!("{below}{}", names[2]), index.as_bytes());
    folder.text(names[2], index);
    names.map(str::to_owned)
}

#[test]
fn a_sharded_model_stays_sharded() {
    let (bucket, folder) = (Bucket::new("sharded"), Folder::new());
    let names = sharded(&bucket, &folder, "in/");
    let (index, expected) = (bucket.url("in/model.safetensors.index.json"), folder.path("expected/"));
    std::fs::create_dir(&expected).unwrap();
    fold(&folder.path(&names[2]), &[&"--output", &expected, &"--no-record"]).expect(0);
    for more in [&[][..], &[&"--force" as &dyn AsRef<_>]] {
        bnfold(
            &[&[&"--input" as &dyn AsRef<_>, &index, &"--output", &bucket.url("out/"), &"--no-record"], more].concat(),
        )
        .expect(0);
        for name in &names {
            let found = bucket.get(&format!("out/{name}")).unwrap_or_default();
            assert_eq!(found, std::fs::read(expected.join(name)).unwrap(), "{name}");
        }
    }
    // A shard that is there stops all of it, and is left alone.
    bucket.put(&format!("half/{}", names[1]), b"somebody's");
    let run = bnfold(&[&"--input", &index, &"--output", &bucket.url("half/")]);
    run.error(1, &["model-00002-of-00002.safetensors: exists already"]);
    assert_eq!(bucket.keys().iter().filter(|key| key.starts_with("half/")).count(), 1);
}

#[test]
fn a_zoo_is_folded_resumed_and_never_uploaded_twice() {
    let (bucket, folder) = (Bucket::new("zoo"), Folder::new());
    folder.file("a.safetensors", &Model::conv_bn_with("bn.bias", 0.5));
    folder.file("b.safetensors", &Model::conv_bn_with("bn.bias", 3.0));
    bucket.put_file("zoo/a.safetensors", &folder.path("a.safetensors"));
    bucket.put_file("zoo/x/model.safetensors", &folder.path("b.safetensors"));
    bucket.put("zoo/x/config.json", br#"{"architectures": ["Net"], "batch_norm_eps": 0.0625}"#);
    bucket.put("zoo/x/", b"");
    bucket.put("zoo/bad.safetensors", b"no header");
    bucket.put("zoo/skipped.safetensors", b"no header");
    bucket.put("zoo/.git/c.safetensors", b"no header");
    sharded(&bucket, &folder, "zoo/y/");
    // The results stand below the zoo itself, and are no models of it.
    let (zoo, out) = (bucket.url("zoo"), bucket.url("zoo/out"));
    let arguments: [&dyn AsRef<_>; 7] =
        [&"--input", &zoo, &"--output", &out, &"--exclude", &"skipped*", &"--copy-sidecars"];
    let run = bnfold(&arguments).expect(1);
    assert!(run.stdout.contains("3 folded"), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("s3://zoo/zoo/bad.safetensors: not a valid safetensors file"), "{}", run.stderr);
    let results = |bucket: &Bucket| {
        let keys = bucket.keys().into_iter().filter_map(|key| Some(key.strip_prefix("zoo/out/")?.to_owned()));
        keys.map(|key| (key.clone(), bucket.version(&format!("zoo/out/{key}")))).collect::<Vec<_>>()
    };
    let first = results(&bucket);
    let names = first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let shards = ["y/model-00001-of-00002.safetensors", "y/model-00002-of-00002.safetensors"];
    let expected = [
        "a.safetensors",
        "x/config.json",
        "x/model.safetensors",
        shards[0],
        shards[1],
        "y/model.safetensors.index.json",
    ];
    assert_eq!(names, expected);
    // The same as on this machine, record and eps of the configuration included.
    let local = folder.path("local/x");
    std::fs::create_dir_all(&local).unwrap();
    std::fs::copy(folder.path("b.safetensors"), local.join("model.safetensors")).unwrap();
    std::fs::write(local.join("config.json"), bucket.get("zoo/x/config.json").unwrap()).unwrap();
    fold(&folder.path("local"), &[&"--output", &folder.path("out")]).expect(0);
    let result = std::fs::read(folder.path("out/x/model.safetensors")).unwrap();
    assert_eq!(bucket.get("zoo/out/x/model.safetensors").unwrap(), result);

    let run = bnfold(&arguments).expect(1);
    assert!(run.stdout.contains("0 folded, 3 skipped, 1 failed"), "{}{}", run.stdout, run.stderr);
    assert_eq!(results(&bucket), first, "something was uploaded again");
    // A shard without its index, as a run that was killed leaves it, stays, and so does the rest; what is missing comes.
    assert_eq!(bucket.delete("zoo/out/y/model.safetensors.index.json"), 204);
    assert_eq!(bucket.delete(&format!("zoo/out/{}", shards[1])), 204);
    let run = bnfold(&arguments).expect(1);
    assert!(run.stdout.contains("1 folded, 2 skipped"), "{}{}", run.stdout, run.stderr);
    let third = results(&bucket);
    assert!(third.len() == 6 && third[..4] == first[..4], "{third:?}");
    assert!(third[4] != first[4] && third[5] != first[5], "{third:?}");
}

/// A page that is another, of the same length, for the request of number `change` alone: what is looked at last is what
/// was looked at first.
fn changing(change: usize, conditions: bool) -> impl Fn(usize) -> Page + Send + 'static {
    let folder = Folder::new();
    let old = std::fs::read(folder.file("m", &large())).unwrap();
    let mut new = old.clone();
    new.iter_mut().rev().take(1000).for_each(|byte| *byte ^= 1);
    move |request| {
        let (bytes, tag) = if request == change { (&new, "\"new\"") } else { (&old, "\"old\"") };
        Page { bytes: bytes.clone(), tag: Some(tag), ranges: true, conditions }
    }
}

#[test]
fn what_changes_while_it_is_read_is_refused() {
    for conditions in [true, false] {
        let folder = Folder::new();
        let output = folder.path("out.safetensors");
        let web = Web::new(changing(3, conditions));
        let run = bnfold(&[&"--input", &web.url("m.safetensors"), &"--output", &output]);
        run.error(1, &["m.safetensors: was modified while it was read; nothing was written, try again"]);
        let requests = web.requests();
        assert!(requests.len() > 3, "test is broken: it never changed");
        let asks = requests[2..].iter().filter(|(line, _)| line.starts_with("GET"));
        assert!(asks.clone().count() > 1 && asks.clone().all(|(_, headers)| headers["if-match"] == "\"old\""));
        // In an object store it is the same.
        let web = Web::new(changing(3, conditions));
        let input = "s3://bucket/m.safetensors";
        let arguments: &[&dyn AsRef<_>] = &[&"--device", &"cpu", &"--input", &input, &"--output", &output];
        let run = Run::of(&mut with_endpoint(&web.url(""), arguments));
        run.error(1, &["s3://bucket/m.safetensors: was modified while it was read"]);
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
}

#[test]
fn a_change_after_the_last_byte_was_read_is_seen_too() {
    let folder = Folder::new();
    let bytes = std::fs::read(DIGITS).unwrap();
    // The fourth request is the last look.
    let (output, page) = (folder.path("out.safetensors"), Page { bytes, ranges: true, ..Page::default() });
    let last_differs =
        move |request| Page { tag: Some(if request < 3 { "\"old\"" } else { "\"new\"" }), ..page.clone() };
    let web = Web::new(last_differs);
    let run = bnfold(&[&"--input", &web.url("m.safetensors"), &"--output", &output]);
    run.error(1, &["was modified while it was read"]);
    assert!(folder.names().is_empty());
}

#[test]
fn a_web_server_is_read_by_ranges_and_a_header_costs_one_request() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &large());
    let bytes = std::fs::read(&input).unwrap();
    let length = bytes.len();
    let web = Web::new(move |_| Page { bytes: bytes.clone(), ranges: true, ..Page::default() });
    let url = web.url("a%20b/m.safetensors?X-Signature=secret");
    let run = Run::of(&mut with_stores(&[&"plan", &"--evidence", &"none", &"--input", &url])).expect(0);
    let requests = web.requests();
    let gets = requests.iter().filter(|(line, _)| line.starts_with("GET")).collect::<Vec<_>>();
    assert_eq!(gets.len(), 1, "{requests:?}");
    assert!(gets[0].0.starts_with("GET /a%20b/m.safetensors?X-Signature=secret "), "{gets:?}");
    assert_eq!(gets[0].1["range"], "bytes=0-65535");
    assert!(!(run.stdout + &run.stderr).contains("secret"));

    let (output, report) = (folder.path("out.safetensors"), folder.path("report.html"));
    let run =
        bnfold(&[&"--input", &url, &"--output", &output, &"--report", &report, &"--format", &"json", &"--no-record"])
            .expect(0);
    assert!(std::fs::read(&output).unwrap() == folded(&folder, &input), "other bytes");
    assert!(!(run.stdout + &run.stderr + &std::fs::read_to_string(report).unwrap()).contains("secret"));
    let ranges = web.requests()[requests.len()..]
        .iter()
        .filter_map(|(_, headers)| headers.get("range").cloned())
        .collect::<Vec<_>>();
    let blocks = ranges
        .iter()
        .filter(|range| !["bytes=0-65535", "bytes=0-0"].contains(&range.as_str()))
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(blocks.len(), length.div_ceil(8 << 20), "{ranges:?}");
    assert_eq!(ranges.len(), blocks.len() + 2, "a block was fetched twice: {ranges:?}");
}

#[test]
fn what_cannot_be_done_with_a_web_address_is_said() {
    let folder = Folder::new();
    let bytes = std::fs::read(DIGITS).unwrap();
    let page = Page { bytes, tag: Some("W/\"weak\""), ranges: false, conditions: true };
    let without = page.clone();
    let web = Web::new(move |_| without.clone());
    let (url, output) = (web.url("m.safetensors?X-Signature=secret"), folder.path("out.safetensors"));
    let words =
        ["m.safetensors: cannot read: the server does not answer requests for a part of it; fetch the file first"];
    let run = bnfold(&[&"--input", &url, &"--output", &output]).error(1, &words);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    // A weak tag is no condition, but is compared.
    let web = Web::new(move |_| Page { ranges: true, ..page.clone() });
    let url = web.url("m.safetensors");
    bnfold(&[&"--input", &url, &"--output", &output, &"--no-record"]).expect(0);
    assert_eq!(std::fs::read(&output).unwrap(), folded(&folder, Path::new(DIGITS)));
    bnfold(&[&"--input", &url]).error(1, &["m.folded.safetensors: not usable: web addresses can be read, not written"]);
    bnfold(&[&"--input", &DIGITS, &"--output", &url]).error(1, &["web addresses can be read, not written"]);
    let signed = url.replace("http://", "http://user:secret@");
    let run = bnfold(&[&"--input", &signed, &"--output", &folder.path("x.safetensors")]);
    let run = run.error(1, &["credentials come from the environment"]);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

#[test]
fn what_is_not_there_is_named() {
    let bucket = Bucket::new("missing");
    let input = bucket.url("none.safetensors");
    bnfold(&[&"--input", &input]).error(1, &["s3://missing/none.safetensors: cannot read: there is no such object"]);
    bnfold(&[&"--input", &bucket.url("zoo"), &"--output", &"x/"])
        .error(2, &["no .safetensors file in s3://missing/zoo"]);
    bucket.put("empty.safetensors", b"");
    bnfold(&[&"--input", &bucket.url("empty.safetensors")]).error(1, &["not a valid safetensors file"]);
    // Nobody listens there.
    let mut nobody = with_endpoint("http://127.0.0.1:9", &[&"--input", &input]);
    let run = Run::of(&mut nobody).expect(1);
    assert!(run.stderr.contains("error: s3://missing/none.safetensors: cannot read: "), "{}", run.stderr);
    assert!(!run.stderr.contains("very-secret"), "{}", run.stderr);
}

#[test]
fn an_upload_that_fails_leaves_nothing() {
    let (bucket, folder) = (Bucket::new("fails"), Folder::new());
    let input = folder.file("m.safetensors", &large());
    let output = bucket.url("m.safetensors");
    let arguments: &[&dyn AsRef<_>] = &[&"--device", &"cpu", &"--input", &input, &"--output", &output];
    for refused in ["partNumber=3", "POST /fails/m.safetensors?uploadId="] {
        let proxy = Proxy::new(move |line| !line.contains(refused));
        let run = Run::of(&mut with_endpoint(&proxy.endpoint, arguments)).error(1, &["m.safetensors: cannot "]);
        assert!(run.stderr.contains("400"), "{}", run.stderr);
        assert!(bucket.keys().is_empty(), "{refused}: {:?}", bucket.keys());
    }
    // Of a sharded model, what is there already is taken back: its shards are of no use without the index.
    let names = sharded(&bucket, &folder, "in/");
    let before = bucket.keys();
    let proxy = Proxy::new(|line| !(line.starts_with("PUT") && line.contains(".index.json")));
    let (index, output) = (bucket.url(&format!("in/{}", names[2])), bucket.url("out/"));
    let arguments: &[&dyn AsRef<_>] = &[&"--device", &"cpu", &"--input", &index, &"--output", &output];
    Run::of(&mut with_endpoint(&proxy.endpoint, arguments)).error(1, &["index.json: cannot upload"]);
    assert_eq!(bucket.keys(), before);
}

#[cfg(unix)]
#[test]
fn an_interrupt_gives_an_upload_up() {
    let (bucket, folder) = (Bucket::new("interrupt"), Folder::new());
    let input = folder.file("m.safetensors", &large());
    let (began, seen) = std::sync::mpsc::channel();
    let last = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen_last = std::sync::Arc::clone(&last);
    let slow = move |line: &str| {
        if line.contains("partNumber=4") {
            seen_last.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        if line.contains("partNumber=") {
            // The test is over already, if nobody listens.
            let _ = began.send(());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        true
    };
    let proxy = Proxy::new(slow);
    let arguments: &[&dyn AsRef<_>] =
        &[&"--device", &"cpu", &"--input", &input, &"--output", &bucket.url("m.safetensors")];
    let mut command = with_endpoint(&proxy.endpoint, arguments);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    seen.recv_timeout(std::time::Duration::from_secs(60)).expect("an upload begins");
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    Run::end(child).error(130, &["interrupted"]);
    assert!(!last.load(std::sync::atomic::Ordering::Relaxed), "it went on with the last part");
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());
}

#[test]
fn an_object_that_appears_meanwhile_is_not_replaced() {
    let (bucket, folder) = (Bucket::new("late"), Folder::new());
    let output = bucket.url("m.safetensors");
    for (input, last) in [(Model::conv_bn(), "PUT /late/m.safetensors"), (large(), "partNumber=4")] {
        let input = folder.file("m.safetensors", &input);
        let late = move |line: &str| {
            if line.contains(last) {
                Bucket::existing("late").put("m.safetensors", b"somebody's");
            }
            true
        };
        let proxy = Proxy::new(late);
        let arguments: &[&dyn AsRef<_>] = &[&"--device", &"cpu", &"--input", &input, &"--output", &output];
        Run::of(&mut with_endpoint(&proxy.endpoint, arguments)).error(1, &["m.safetensors: exists already"]);
        assert_eq!(bucket.get("m.safetensors").unwrap(), b"somebody's", "{last}");
        assert_eq!(bucket.keys(), ["m.safetensors"], "{last}");
        assert_eq!(bucket.delete("m.safetensors"), 204);
    }
}

/// Another run that folds the same zoo is everywhere a moment ahead.
#[test]
fn the_very_same_objects_of_another_run_are_left_and_counted_on() {
    let (bucket, folder) = (Bucket::new("ahead"), Folder::new());
    std::fs::create_dir(folder.path("zoo")).unwrap();
    folder.file("zoo/a.safetensors", &Model::conv_bn());
    folder.file("zoo/large.safetensors", &large());
    let zoo = folder.path("zoo");
    bnfold(&[&"--input", &zoo, &"--output", &bucket.url("first")]).expect(0);
    let results = ["a.safetensors", "large.safetensors"];
    for last in ["PUT /ahead/second/a.safetensors", "partNumber=3"] {
        let ahead = move |line: &str| {
            if line.contains(last) {
                let bucket = Bucket::existing("ahead");
                for name in results {
                    bucket.put(&format!("second/{name}"), &bucket.get(&format!("first/{name}")).unwrap());
                }
            }
            true
        };
        let proxy = Proxy::new(ahead);
        let arguments: &[&dyn AsRef<_>] = &[&"--device", &"cpu", &"--input", &zoo, &"--output", &bucket.url("second")];
        let run = Run::of(&mut with_endpoint(&proxy.endpoint, arguments)).expect(0);
        assert!(!run.stderr.contains("error"), "{}", run.stderr);
        for name in results {
            let [first, second] = ["first", "second"].map(|folder| bucket.get(&format!("{folder}/{name}")));
            assert!(first.is_some() && first == second, "{last} {name}");
            assert_eq!(bucket.delete(&format!("second/{name}")), 204);
        }
        assert_eq!(bucket.keys().len(), 2, "{:?}", bucket.keys());
    }
}
