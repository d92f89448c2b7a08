//! 1 READ: hostile and odd indexes.
//!
//! In: indexes made by hand, one rule broken in each, and mutations of a good one. Out: the problem that is reported, or
//! the map. Nothing may panic.

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"{"metadata": {"total_size": 12, "by": [1.50, "x"]}, "weight_map": {"b": "m-2.safetensors", "a": "sub/m-1.safetensors"}, "z": 1e3}"#;

#[test]
fn a_good_index_keeps_its_order_and_its_odds_and_ends() {
    let index = Index::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(index.shards(), ["m-2.safetensors", "sub/m-1.safetensors"]);
    assert_eq!(index.weights(), [("b".to_owned(), 0), ("a".to_owned(), 1)]);
    let keys = index.parts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
    assert_eq!(keys, ["metadata", "weight_map", "z"]);
    assert!(matches!(&index.parts[2].1, Part::Other(raw) if raw.get() == "1e3"));
    let Part::Metadata(entries) = &index.parts[0].1 else { panic!("{:?}", index.parts[0]) };
    assert_eq!(entries[1].1.get(), r#"[1.50, "x"]"#);
}

#[test]
fn metadata_may_be_missing_or_odd() {
    for metadata in ["", r#""metadata": null, "#, r#""metadata": [], "#] {
        Index::parse(format!(r#"{{{metadata}"weight_map": {{"a": "m.safetensors"}}}}"#).as_bytes()).unwrap();
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_on_every_system() {
    let problem = |shard: &str| {
        let text = serde_json::json!({"weight_map": {"a": "m.safetensors", "b": shard}}).to_string();
        Index::parse(text.as_bytes()).map(|index| index.shards().to_vec())
    };
    for good in ["m-00001-of-00002.safetensors", "x/y/m.safetensors", "..m.safetensors", "é m.safetensors"] {
        problem(good).unwrap();
    }
    let cases = [
        ("/etc/m.safetensors", "relative"),
        ("../m.safetensors", "`..`"),
        ("x/../../m.safetensors", "`..`"),
        ("./m.safetensors", "`.`"),
        ("x//m.safetensors", "empty"),
        ("..\\m.safetensors", "backslash"),
        ("C:m.safetensors", "colon"),
        ("C:/m.safetensors", "colon"),
        ("\\\\host\\m.safetensors", "backslash"),
        ("m\0.safetensors", "NUL"),
        ("m.bin", "must end in .safetensors"),
        ("", "must end in .safetensors"),
        ("x/", "must end in .safetensors"),
    ];
    for (shard, rule) in cases {
        let problem = problem(shard).unwrap_err();
        assert!(matches!(&problem, IndexProblem::ShardName { tensor, .. } if tensor == "b"), "{shard:?}: {problem}");
        assert!(problem.to_string().contains(rule), "{shard:?}: {problem}");
    }
}

#[test]
fn a_key_that_comes_twice_is_refused_wherever_it_is_read() {
    let map = r#""weight_map": {"a": "m.safetensors"}"#;
    let cases = [
        (r#"{"weight_map": {"a": "m.safetensors", "\u0061": "n.safetensors"}}"#.to_owned(), "a"),
        (format!("{{{map}, {map}}}"), "weight_map"),
        (format!(r#"{{{map}, "x": 1, "x": 1}}"#), "x"),
        (format!(r#"{{{map}, "metadata": {{"total_size": 1, "total_size": 1}}}}"#), "total_size"),
    ];
    for (text, twin) in cases {
        let problem = Index::parse(text.as_bytes()).unwrap_err();
        assert_eq!(problem, IndexProblem::Duplicate { name: twin.to_owned() }, "{text}");
    }
}

#[test]
fn what_is_no_index_is_refused() {
    for text in ["{}", r#"{"weight_map": {}}"#, r#"{"metadata": {"weight_map": {"a": "m.safetensors"}}}"#] {
        assert_eq!(Index::parse(text.as_bytes()).unwrap_err(), IndexProblem::NoWeightMap, "{text}");
    }
    let cases = [
        ("", "EOF"),
        ("[]", "an object"),
        ("{\"weight_map\": {\"a\": 1}}", "in its weight_map, lines counted from there: invalid type: integer `1`"),
        ("{\"weight_map\": null}", "in its weight_map"),
        ("{\"weight_map\": {\"a\": \"m.safetensors\"}} x", "trailing characters"),
    ];
    for (text, reason) in cases {
        let problem = Index::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(&problem, IndexProblem::Json { reason: found } if found.contains(reason)),
            "{text}: {problem}"
        );
    }
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    Index::parse(deep.as_bytes()).unwrap_err();
}

proptest! {
    #[test]
    fn no_mutation_panics(at in 0..GOOD.len(), byte: u8, cut in 0..GOOD.len()) {
        let mut text = GOOD.as_bytes().to_vec();
        text[at] = byte;
        let _ = Index::parse(&text);
        let _ = Index::parse(&text[..cut]);
    }
}
