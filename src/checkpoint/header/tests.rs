//! 1 READ: hostile and odd headers.
//!
//! In: headers made by hand, one rule broken in each; headers that the `safetensors` crate wrote, whole and mutated;
//! bytes at random. Out: the problem that is reported, or the entries. Nothing may panic, and what is accepted must be
//! what the library accepts, duplicates apart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::tensor::TensorView;

use super::*;
use crate::checkpoint::Checkpoint;

/// What a header says, before `data` bytes.
fn parse(json: &[u8], data: u64) -> Result<(Option<Metadata>, Vec<Entry>), HeaderProblem> {
    check(raw(json)?, data)
}

/// An entry of a header: `"name":{...}`.
fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

/// A header of the given entries.
fn header(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

/// The problem with a header made of `entries` before `data` bytes.
#[track_caller]
fn problem(entries: &[String], data: u64) -> HeaderProblem {
    parse(header(entries).as_bytes(), data).unwrap_err()
}

/// What is wrong with the JSON, in the parser's words.
#[track_caller]
fn json_problem(json: impl AsRef<[u8]>) -> String {
    match parse(json.as_ref(), 4) {
        Err(HeaderProblem::Json { reason }) => reason,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(json.as_ref())),
    }
}

/// Opens a file that holds `bytes`.
fn open(bytes: &[u8]) -> crate::Result<Checkpoint> {
    let (_folder, path) = file(bytes);
    Checkpoint::open(&path)
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The problem with a file that holds `bytes`.
#[track_caller]
fn file_problem(bytes: &[u8]) -> HeaderProblem {
    match open(bytes) {
        Err(crate::Error::Header { problem, .. }) => problem,
        other => panic!("{bytes:?}: {other:?}"),
    }
}

#[test]
fn a_file_without_room_for_the_length_is_too_short() {
    for bytes in 0..8 {
        assert_eq!(file_problem(&vec![0; bytes]), HeaderProblem::TooShort { found: bytes as u64 });
    }
}

#[test]
fn a_header_length_that_lies_is_found_before_anything_is_allocated() {
    let with = |declared: u64| [&declared.to_le_bytes()[..], b"{}"].concat();
    for declared in [u64::MAX, 1 << 63, HEADER_LIMIT + 1] {
        assert_eq!(file_problem(&with(declared)), HeaderProblem::TooLong { declared });
    }
    for declared in [3, HEADER_LIMIT] {
        assert_eq!(file_problem(&with(declared)), HeaderProblem::BeyondFile { declared, available: 2 });
    }
    assert!(open(&with(2)).is_ok(), "the truth");
    assert!(matches!(file_problem(&[0; 8]), HeaderProblem::Json { .. }), "a header of no bytes");
}

#[test]
fn what_is_not_a_json_object_of_entries_is_refused() {
    for json in
        ["", " ", "[]", "1", "null", "\"a\"", "{", "{}}", "{}{}", "{\"a\"}", "{\"a\":1}", "{\"a\":null}", "{}\0"]
    {
        json_problem(json);
    }
    json_problem(b"\xef\xbb\xbf{}");
    json_problem(b"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}");
    // Also where the parser need not look.
    json_problem(b"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":\"\xff\"}}");
    for part in [r#""dtype":"F32""#, r#""shape":[1]"#, r#""data_offsets":[0,4]"#] {
        let whole = header(&[entry("a", "F32", "[1]", 0, 4)]);
        let reason = json_problem(whole.replace(&format!("{part},"), "").replace(&format!(",{part}"), ""));
        assert!(reason.contains("tensor `a`: missing field"), "{reason}");
    }
}

#[test]
fn numbers_must_be_whole_and_not_negative() {
    assert!(parse(header(&[entry("a", "F32", "[1]", 0, 4)]).as_bytes(), 4).is_ok(), "the model of what follows");
    for shape in ["[1.0]", "[-1]", "[1e0]", "[\"1\"]", "1", "null", "[18446744073709551616]", "[[1]]"] {
        json_problem(header(&[entry("a", "F32", shape, 0, 4)]));
    }
    for offsets in ["[0,4.0]", "[-4,0]", "[0]", "[0,4,8]", "[]", "{}", "[0,1e400]", "\"0,4\""] {
        json_problem(format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}}}"#));
    }
    json_problem(r#"{"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}}"#);
}

#[test]
fn metadata_is_a_map_of_strings_or_absent() {
    for metadata in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":["b"]}"#, r#"{"a":{}}"#, "[]", "\"a\"", "1"] {
        json_problem(format!(r#"{{"__metadata__":{metadata}}}"#));
    }
    let metadata = |json: &str| parse(format!("{{\"__metadata__\":{json}}}").as_bytes(), 0).unwrap().0;
    assert_eq!(metadata("null"), None);
    assert_eq!(metadata("{}"), Some(BTreeMap::new()));
    assert_eq!(metadata(r#"{"b":"1","a":""}"#).unwrap().into_iter().collect::<Vec<_>>().len(), 2);
}

#[test]
fn nesting_without_end_is_an_error_and_no_stack_overflow() {
    for depth in [200, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nest = open.repeat(depth) + "1" + &close.repeat(depth);
            json_problem(&nest);
            json_problem(format!("{{\"a\":{nest}}}"));
            json_problem(format!("{{\"__metadata__\":{nest}}}"));
            json_problem(format!("{{\"a\":{{\"shape\":{nest}}}}}"));
            // Where values are skipped nothing is kept, so depth does no harm; only the outcome must be an answer.
            let _ = parse(format!("{{\"__metadata__\":{{}},\"__metadata__\":{nest}}}").as_bytes(), 0);
            let _ = parse(format!("{{\"a\":{{\"unknown\":{nest}}}}}").as_bytes(), 0);
        }
    }
}

#[test]
fn a_name_that_comes_twice_is_refused_however_it_is_spelt() {
    let twice = |entries: &[String], data, expected: &str| {
        let HeaderProblem::Duplicate { name } = problem(entries, data) else { panic!("{entries:?} has no twins") };
        assert_eq!(name, expected);
    };
    let first = entry("a", "F32", "[1]", 0, 4);
    twice(&[first.clone(), entry("a", "F32", "[1]", 4, 8)], 8, "a");
    twice(&[first.clone(), first.clone()], 4, "a");
    twice(&[first.clone(), entry("\\u0061", "F32", "[1]", 4, 8)], 8, "a");
    twice(&[entry("é", "F32", "[1]", 0, 4), entry("\\u00e9", "F32", "[1]", 4, 8)], 8, "é");
    let metadata = r#""__metadata__":{}"#.to_owned();
    twice(&[metadata.clone(), first.clone(), metadata.clone()], 4, "__metadata__");
    twice(&[metadata, entry("\\u005f_metadata__", "F32", "[1]", 0, 4)], 4, "__metadata__");
    twice(&[r#""__metadata__":{"k":"1","\u006b":"2"}"#.to_owned(), first], 4, "__metadata__.k");
    // Names that differ by more than spelling are two names.
    let composed = [entry("\\u00e9", "F32", "[1]", 0, 4), entry("e\\u0301", "F32", "[1]", 4, 8)];
    assert!(parse(header(&composed).as_bytes(), 8).is_ok());
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    let reason = json_problem(r#"{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}"#);
    assert!(reason.contains("duplicate field `shape`"), "{reason}");
}

#[test]
fn shapes_beyond_counting_are_refused() {
    for (dtype, shape) in
        [("F32", "[4294967296,4294967296]"), ("U8", "[18446744073709551615]"), ("F64", "[9007199254740992,2048]")]
    {
        let HeaderProblem::Overflow { tensor, .. } = problem(&[entry("a", dtype, shape, 0, 4)], 4) else {
            panic!("{dtype} {shape}");
        };
        assert_eq!(tensor, "a");
    }
    // An unknown type has no size to multiply by.
    assert!(parse(header(&[entry("a", "X", "[4294967296,4294967296,2]", 0, 4)]).as_bytes(), 4).is_ok());
}

#[test]
fn a_range_must_be_as_long_as_dtype_and_shape_say() {
    for (dtype, shape, end) in
        [("F32", "[1]", 3), ("F32", "[1]", 5), ("F32", "[]", 0), ("I64", "[0]", 8), ("F4", "[3]", 1)]
    {
        let HeaderProblem::Size { found, .. } = problem(&[entry("a", dtype, shape, 0, end)], end) else {
            panic!("{dtype} {shape}");
        };
        assert_eq!(found, u128::from(end) * 8);
    }
    let far = entry("a", "U8", "[1]", 0, u64::MAX);
    assert!(matches!(problem(&[far], 1), HeaderProblem::Size { expected: 8, .. }));
}

#[test]
fn ranges_must_follow_each_other_without_hole_or_overlap() {
    let not_contiguous = |entries: &[String], data, name: &str, at: (u64, u64)| {
        let tensor = name.to_owned();
        assert_eq!(problem(entries, data), HeaderProblem::NotContiguous { tensor, expected: at.0, found: at.1 });
    };
    let f32s = |name, begin| entry(name, "F32", "[1]", begin, begin + 4);
    not_contiguous(&[f32s("a", 0), f32s("b", 2)], 6, "b", (4, 2));
    not_contiguous(&[f32s("a", 0), f32s("b", 0)], 4, "b", (4, 0));
    not_contiguous(&[f32s("a", 0), f32s("b", 8)], 12, "b", (4, 8));
    not_contiguous(&[f32s("a", 4)], 8, "a", (0, 4));
    let contiguous_to_the_end_of_counting = [
        entry("a", "U8", "[9223372036854775808]", 0, 1 << 63),
        entry("b", "U8", "[9223372036854775807]", 1 << 63, u64::MAX),
    ];
    assert!(matches!(problem(&contiguous_to_the_end_of_counting, 4), HeaderProblem::Overflow { .. }));
}

#[test]
fn a_range_that_runs_backwards_is_refused() {
    let tensor = "a".to_owned();
    assert_eq!(problem(&[entry("a", "F32", "[1]", 4, 0)], 4), HeaderProblem::Reversed { tensor, begin: 4, end: 0 });
}

#[test]
fn data_must_end_where_the_last_tensor_ends() {
    let one = [entry("a", "F32", "[1]", 0, 4)];
    assert_eq!(problem(&one, 3), HeaderProblem::Length { expected: 4, found: 3 });
    assert_eq!(problem(&one, 5), HeaderProblem::Length { expected: 4, found: 5 });
    assert_eq!(problem(&[], 1), HeaderProblem::Length { expected: 0, found: 1 });
    assert!(problem(&one, 3).to_string().contains("the file is truncated"));
    assert!(problem(&one, 5).to_string().contains("the file is longer than it says"));
}

#[test]
fn legal_oddities_are_accepted() {
    let parsed = |json: &str, data| parse(json.as_bytes(), data).unwrap().1;
    assert!(parsed("{}", 0).is_empty());
    assert_eq!(parsed(&format!(" \n\t{}  ", header(&[entry("", "F32", "[]", 0, 4)])), 4)[0].name, "");
    // Tensors without elements lie between others, at any place that is not within one.
    let empty = [entry("b", "F32", "[2]", 0, 8), entry("a", "I64", "[3,0]", 8, 8), entry("c", "F32", "[0]", 0, 0)];
    let names = parsed(&header(&empty), 8).into_iter().map(|entry| entry.name).collect::<String>();
    assert_eq!(names, "cba");
    // Half a byte an element, a type of tomorrow, and a key that an entry may hold one day.
    assert_eq!(parsed(&header(&[entry("a", "F4", "[2,3]", 0, 3)]), 3)[0].dtype.bits(), Some(4));
    assert_eq!(parsed(&header(&[entry("a", "F2_X", "[9]", 0, 3)]), 3)[0].dtype, Dtype::Unknown("F2_X".into()));
    assert_eq!(parsed(r#"{"a":{"x":[{}],"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1).len(), 1);
}

#[test]
fn names_in_messages_cannot_move_the_cursor() {
    let text = problem(&[entry("\\u001b[2J", "F32", "[1]", 0, 5)], 5).to_string();
    assert!(text.contains("`\\u{1b}[2J`") && !text.contains('\x1b'), "{text}");
}

type RandomTensors = BTreeMap<String, (safetensors::Dtype, Vec<usize>)>;

/// One tensor at least: of metadata without tensors safetensors 0.8.0 makes a header that is no JSON (`{}"__metad...`).
fn tensors() -> impl Strategy<Value = RandomTensors> {
    use safetensors::Dtype as D;
    let dtype = prop::sample::select(vec![D::F32, D::F16, D::BF16, D::F64, D::I64, D::U8, D::BOOL, D::F8_E4M3, D::C64]);
    let shape = prop::collection::vec(0usize..5, 0..4);
    prop::collection::btree_map("[a-c.\\PC\"\\\\\n]{0,6}", (dtype, shape), 1..8)
}

fn metadata() -> impl Strategy<Value = Option<Metadata>> {
    prop::option::of(prop::collection::btree_map("\\PC{0,4}", ".{0,4}", 0..3))
}

/// The file as the library writes it; every byte of a tensor is the number of its bytes.
fn written(tensors: &RandomTensors, metadata: &Option<Metadata>) -> Vec<u8> {
    let bytes = |dtype: safetensors::Dtype, shape: &[usize]| dtype.bitsize() / 8 * shape.iter().product::<usize>();
    let data = tensors.iter().map(|(name, (dtype, shape))| {
        let bytes = bytes(*dtype, shape);
        (name, *dtype, shape, vec![u8::try_from(bytes % 251).unwrap(); bytes])
    });
    let data = data.collect::<Vec<_>>();
    let views =
        data.iter().map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, metadata.clone().map(|map| map.into_iter().collect())).unwrap()
}

proptest! {
    #[test]
    fn what_the_library_writes_is_read_as_it_was(tensors in tensors(), metadata in metadata()) {
        let (_folder, path) = file(&written(&tensors, &metadata));
        let checkpoint = Checkpoint::open(&path).unwrap();
        prop_assert_eq!(&checkpoint.shards()[0].metadata, &metadata);
        prop_assert_eq!(checkpoint.tensors().keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, (dtype, shape)) in &tensors {
            let tensor = checkpoint.tensor(name).unwrap();
            prop_assert_eq!(&tensor.dtype, &Dtype::Known(*dtype));
            prop_assert_eq!(&tensor.shape, &shape.iter().map(|&dim| dim as u64).collect::<Vec<_>>());
            let mut bytes = vec![0; usize::try_from(tensor.bytes).unwrap()];
            checkpoint.read(tensor, 0, &mut bytes).unwrap();
            prop_assert!(bytes.iter().all(|&byte| u64::from(byte) == tensor.bytes % 251), "{} {:?}", name, bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), length in 0u64..80) {
        let _ = open(&bytes);
        let _ = open(&[&length.to_le_bytes()[..], &bytes].concat());
        let _ = open(&[&(bytes.len() as u64).to_le_bytes()[..], &bytes].concat());
    }

    /// Bytes are changed, taken out and put in; the length is put right, so that the JSON is reached.
    #[test]
    fn a_mutated_header_is_accepted_only_if_the_library_accepts_it(
        tensors in tensors(),
        metadata in metadata(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of("[0-9a-c\"{}:,\\[\\]\\\\ .eFu_-]{1,2}"), 0usize..3), 1..3),
    ) {
        let whole = written(&tensors, &metadata);
        let length = usize::try_from(u64::from_le_bytes(*whole.first_chunk().unwrap())).unwrap();
        let (mut json, data) = (whole[8..8 + length].to_vec(), &whole[8 + length..]);
        for (at, put, take) in edits {
            let at = at.index(json.len());
            json.splice(at..json.len().min(at + take), put.unwrap_or_default().into_bytes());
        }
        let mutated = [&(json.len() as u64).to_le_bytes()[..], &json, data].concat();
        let theirs = safetensors::SafeTensors::deserialize(&mutated);
        match open(&mutated) {
            Ok(ours) => {
                let unknown = ours.tensors().values().any(|tensor| tensor.dtype.bits().is_none());
                prop_assert!(theirs.is_ok() || unknown, "{:?}: {:?}", String::from_utf8_lossy(&json), theirs.err());
            }
            Err(crate::Error::Header { problem: HeaderProblem::Duplicate { .. }, .. }) => {}
            Err(error) => prop_assert!(theirs.is_err(), "{:?}: {error}", String::from_utf8_lossy(&json)),
        }
    }
}

#[test]
fn what_is_skipped_is_nested_no_deeper_than_what_is_kept() {
    let with = |levels: usize| {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        [
            format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{deep}}}}}"#),
            format!(r#"{{"a":{{"x":{deep},"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#),
        ]
    };
    // What the library says to a file of that header and one number.
    let library = |json: &str| {
        let file = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[0; 4]].concat();
        safetensors::SafeTensors::deserialize(&file).map(drop)
    };
    for json in with(125) {
        assert!(parse(json.as_bytes(), 4).is_ok(), "the model of what follows");
        assert!(library(&json).is_ok());
    }
    for json in with(126).into_iter().chain(with(100_000)) {
        let reason = json_problem(&json);
        assert!(reason.starts_with("nested more than 127 levels deep at line 1"), "{reason}");
        assert!(library(&json).is_err());
    }
    let twice = format!(r#"{{"__metadata__":{{}},"__metadata__":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    json_problem(twice);
}

#[test]
fn more_than_any_model_has_is_refused() {
    let rank = |dims: usize| {
        let shape = format!("[{}]", vec!["1"; dims].join(","));
        parse(header(&[entry("a", "F32", &shape, 0, 4)]).as_bytes(), 4)
    };
    assert!(rank(limits::RANK_LIMIT).is_ok());
    let text = rank(limits::RANK_LIMIT + 1).unwrap_err().to_string();
    assert!(text.contains("tensor `a`: more than 64 dimensions, which no model has at line 1"), "{text}");

    let tensors = |count: usize| {
        let entries = (0..count).map(|number| entry(&number.to_string(), "U8", "[0]", 0, 0)).collect::<Vec<_>>();
        parse(header(&entries).as_bytes(), 0)
    };
    assert_eq!(tensors(limits::TENSOR_LIMIT).unwrap().1.len(), 500_000);
    let text = tensors(limits::TENSOR_LIMIT + 1).unwrap_err().to_string();
    assert!(text.contains("more than 500000 tensors, which no model has"), "{text}");

    let keys = |count: usize| {
        let keys = (0..count).map(|key| format!("\"{key}\":\"\"")).collect::<Vec<_>>();
        parse(format!("{{\"__metadata__\":{{{}}}}}", keys.join(",")).as_bytes(), 0)
    };
    assert_eq!(keys(limits::METADATA_LIMIT).unwrap().0.unwrap().len(), 100_000);
    let text = keys(limits::METADATA_LIMIT + 1).unwrap_err().to_string();
    assert!(text.contains("__metadata__: more than 100000 keys, which no model has"), "{text}");
}
