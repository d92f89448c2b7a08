//! Hostile indexes of sharded checkpoints.

use super::Outcome::{Folded, Refused};
use super::file::{File, nested};
use super::{Case, Outcome};

const INDEX: &str = "m.safetensors.index.json";
const NAMES: [&str; 5] = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

/// An index with this text beside one shard that holds the whole network.
fn index(name: &str, text: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    let files = vec![(INDEX, text.into()), ("m-1.safetensors", File::new().bytes())];
    Case { name: format!("index: {name}"), files, input: INDEX, options: &[], outcome }
}

/// A weight map that sends every tensor to the shard, with more entries behind.
fn map(more: &str) -> String {
    let entries = NAMES.map(|name| format!("\"{name}\":\"m-1.safetensors\"")).join(",");
    format!("{{{entries}{more}}}")
}

fn with_shard(shard: &str, words: &'static str) -> Case {
    let entries = NAMES.map(|name| format!("\"{name}\":\"{shard}\"")).join(",");
    index(&format!("shard {shard:?}"), format!("{{\"weight_map\":{{{entries}}}}}"), Refused(words))
}

pub fn cases() -> Vec<Case> {
    let refused = |name, text: String, words| index(name, text, Refused(words));
    let whole = |more: &str| format!("{{\"weight_map\":{}{more}}}", map(""));
    let nest = nested(100_000);
    let many = (0..500_001).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
    let mut cases = vec![
        index("nothing wrong", whole(""), Folded),
        index("unknown keys", whole(",\"metadata\":{\"total_size\":-1,\"x\":[1e400]},\"y\":null"), Folded),
        index("total size that is text", whole(",\"metadata\":{\"total_size\":\"many\"}"), Folded),
        index("metadata that is a list", whole(",\"metadata\":[1]"), Folded),
        index("metadata that is null", whole(",\"metadata\":null"), Folded),
        refused("empty", String::new(), "not the expected JSON"),
        refused("array", "[]".into(), "not the expected JSON"),
        refused("empty object", "{}".into(), "no weight_map"),
        refused("empty weight map", "{\"weight_map\":{}}".into(), "no weight_map"),
        refused("weight map that is null", "{\"weight_map\":null}".into(), "in its weight_map"),
        refused("weight map that is a list", "{\"weight_map\":[\"a\"]}".into(), "in its weight_map"),
        refused("shard that is a number", "{\"weight_map\":{\"a\":1}}".into(), "in its weight_map"),
        refused("shard that is null", "{\"weight_map\":{\"a\":null}}".into(), "in its weight_map"),
        refused("text behind the end", whole("") + "x", "trailing characters"),
        refused("cut in half", whole("")[..40].into(), "not the expected JSON"),
        refused("weight map twice", whole(&format!(",\"weight_map\":{}", map(""))), "twice"),
        refused("tensor twice", format!("{{\"weight_map\":{}}}", map(",\"bn.bias\":\"m-1.safetensors\"")), "twice"),
        refused(
            "tensor twice, once in escapes",
            format!("{{\"weight_map\":{}}}", map(",\"bn.b\\u0069as\":\"m-1.safetensors\"")),
            "twice",
        ),
        refused("metadata key twice", whole(",\"metadata\":{\"a\":1,\"a\":2}"), "twice"),
        refused("unknown key twice", whole(",\"a\":1,\"a\":2"), "twice"),
        refused("100,000 levels deep in an unknown key", whole(&format!(",\"x\":{nest}")), "127 levels"),
        refused("100,000 levels deep in metadata", whole(&format!(",\"metadata\":{{\"x\":{nest}}}")), "127 levels"),
        refused("500,001 keys", whole(&format!(",{many}")), "more than 500000"),
        refused("500,001 keys of metadata", whole(&format!(",\"metadata\":{{{many}}}")), "more than 500000"),
        refused(
            "tensor that no shard holds",
            format!("{{\"weight_map\":{}}}", map(",\"ghost\":\"m-1.safetensors\"")),
            "which does not hold it",
        ),
        refused(
            "shard that is not there",
            format!("{{\"weight_map\":{}}}", map(",\"x\":\"m-2.safetensors\"")),
            "is not there",
        ),
        refused("tensor left out", whole("").replacen("\"bn.bias\":\"m-1.safetensors\",", "", 1), "does not name"),
        refused("web page", "<!DOCTYPE html><html></html>".into(), "web page"),
        refused(
            "LFS pointer",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".into(),
            "Git LFS pointer",
        ),
        index(
            "no UTF-8",
            [b"{\"weight_map\":{\"a\":\"\xff.safetensors\"}}".as_slice()].concat(),
            Refused("not the expected JSON"),
        ),
        index("byte order mark", format!("\u{feff}{}", whole("")), Refused("not the expected JSON")),
    ];
    cases.extend([
        with_shard("../m-1.safetensors", "must not hold `..`"),
        with_shard("x/../m-1.safetensors", "must not hold `..`"),
        with_shard("/etc/m-1.safetensors", "must be relative"),
        with_shard("./m-1.safetensors", "must not hold `..`"),
        with_shard("x//m-1.safetensors", "empty folder name"),
        with_shard("..\\\\m-1.safetensors", "backslash"),
        with_shard("C:m-1.safetensors", "colon"),
        with_shard("file:///m-1.safetensors", "colon"),
        with_shard("m-1\\u0000.safetensors", "NUL"),
        with_shard("m-1.bin", "must end in .safetensors"),
        with_shard("", "must end in .safetensors"),
        with_shard(".safetensors", "is not there"),
        with_shard("\\u001b[2J\\u202e.safetensors", "is not there"),
        with_shard("M-1.safetensors", "is not there"),
        with_shard("m-1.safetensors/m-1.safetensors", "is not there"),
    ]);
    let long = format!("{}.safetensors", "n".repeat(5000));
    let entries = NAMES.map(|name| format!("\"{name}\":\"{long}\"")).join(",");
    cases.push(index("shard of 5,000 letters", format!("{{\"weight_map\":{{{entries}}}}}"), Refused("is not there")));
    let mut broken = index("shard that is broken", whole(""), Refused("m-1.safetensors"));
    broken.files[1].1.truncate(100);
    cases.push(broken);
    cases
}
