//! Hostile plan files.

use super::Outcome::{Folded, Refused};
use super::file::{File, nested};
use super::{Case, Outcome};

fn plan(name: &str, text: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    let files = vec![("m.safetensors", File::new().bytes()), ("plan.json", text.into())];
    let options = &["--plan", "@plan"];
    Case { name: format!("plan: {name}"), files, input: "m.safetensors", options, outcome }
}

/// A plan of these lines.
fn lines(lines: &str) -> String {
    format!("{{\"version\":1,\"layers\":[{lines}]}}")
}

/// The line that folds the network, with `more` in it.
fn line(more: &str) -> String {
    format!("{{\"norm\":\"bn\",\"action\":\"fold\",\"weight\":\"conv.weight\"{more}}}")
}

/// The plan with a part of that line replaced.
fn other(part: &str, with: &str) -> String {
    lines(&line("").replace(part, with))
}

pub fn cases() -> Vec<Case> {
    let refused = |name: &str, text: String, words| plan(name, text, Refused(words));
    let with = |more: &'static str, words| refused(more, lines(&line(more)), words);
    let nest = nested(100_000);
    let mut cases = vec![
        plan("nothing wrong", lines(&line(",\"eps\":1e-5")), Folded),
        plan("no eps", lines(&line("")), Folded),
        plan(
            "codes that nobody knows",
            lines(&line(",\"eps\":1e-5,\"evidence\":[\"\\u001b[2J\"],\"evidence_codes\":[\"x\"]")),
            Folded,
        ),
        refused("empty", String::new(), "not a plan"),
        refused("array of nothing", "[]".into(), "plan.json"),
        refused("null", "null".into(), "not a plan"),
        refused("number", "1".into(), "not a plan"),
        refused("no version", "{\"layers\":[]}".into(), "version"),
        refused("no layers", "{\"version\":1}".into(), "layers"),
        refused("version of tomorrow", "{\"version\":2,\"layers\":[]}".into(), "version 2"),
        refused("version that is text", "{\"version\":\"1\",\"layers\":[]}".into(), "version"),
        refused("version 100,000 levels deep", format!("{{\"version\":{nest},\"layers\":[]}}"), "127 levels"),
        refused(
            "version of a megabyte",
            format!("{{\"version\":\"{}\",\"layers\":[]}}", "v".repeat(1 << 20)),
            "version",
        ),
        refused("layers that is null", "{\"version\":1,\"layers\":null}".into(), "not a plan"),
        refused("layers that is an object", "{\"version\":1,\"layers\":{}}".into(), "not a plan"),
        refused("layer that is a number", lines("1"), "not a layer"),
        refused("layer that is null", lines("null"), "not a layer"),
        refused("layer 100,000 levels deep", lines(&nest), "127 levels"),
        refused("unknown key", "{\"version\":1,\"layers\":[],\"x\":1}".into(), "unknown field"),
        refused(
            "unknown key 100,000 levels deep",
            format!("{{\"version\":1,\"layers\":[],\"x\":{nest}}}"),
            "127 levels",
        ),
        refused("text behind the end", lines("") + "x", "trailing characters"),
        refused("cut", lines(&line(""))[..50].into(), "not a plan"),
        refused("no norm", lines("{\"action\":\"fold\",\"weight\":\"conv.weight\"}"), "norm"),
        refused("no action", lines("{\"norm\":\"bn\",\"weight\":\"conv.weight\"}"), "action"),
        refused("no weight", lines("{\"norm\":\"bn\",\"action\":\"fold\"}"), "weight"),
        refused("action of tomorrow", lines("{\"norm\":\"bn\",\"action\":\"melt\"}"), "unknown variant"),
        refused("norm that is not there", other("\"bn\"", "\"other\""), "`other`"),
        refused("norm with a steering name", other("\"bn\"", "\"\\u001b[2J\\u2028\""), "u{1b}"),
        refused("weight that is not there", other("conv.weight", "ghost"), "ghost"),
        refused("the norm's own gamma as weight", other("conv.weight", "bn.weight"), "bn.weight"),
        refused("a path as weight", other("conv.weight", "../../etc/passwd"), "etc/passwd"),
        refused("norm twice", lines(&format!("{},{}", line(""), line(""))), "bn"),
        plan("no UTF-8", b"{\"version\":1,\"layers\":[\xff]}".to_vec(), Refused("plan.json")),
        plan("byte order mark", format!("\u{feff}{}", lines("")), Refused("not a plan")),
    ];
    cases.extend([
        with(",\"eps\":-1e-5", "eps"),
        with(",\"eps\":1e400", "not a layer"),
        with(",\"eps\":NaN", "not a plan"),
        with(",\"eps\":\"1e-5\"", "not a layer"),
        with(",\"eps\":[1e-5]", "not a layer"),
        with(",\"eps\":1e30", "eps"),
        with(",\"eps\":1e-5,\"eps\":1e-5", "duplicate field"),
        with(",\"op\":\"linear\"", "can be conv, not linear"),
        with(",\"op\":\"melt\"", "unknown variant"),
        with(",\"channels\":5", "channels"),
        with(",\"channels\":-1", "not a layer"),
        with(",\"channels\":18446744073709551616", "not a layer"),
        with(",\"groups\":2", "groups"),
        with(",\"groups\":0", "groups"),
        with(",\"bias\":\"bn.bias\"", "bn.bias"),
        with(",\"bias_exists\":true", "bias"),
        with(",\"dtype\":\"F16\"", "dtype"),
        with(",\"direction\":\"forward\"", "not supported"),
        with(",\"sources\":[{\"weight\":\"conv.weight\",\"channels\":[0,4]}]", "not supported"),
        with(",\"x\":1", "unknown field"),
    ]);
    cases
}
