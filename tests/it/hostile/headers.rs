//! Hostile headers: lengths that lie, text that is no JSON, JSON that is no header, files of other kinds.

use super::Case;
use super::Outcome::{Folded, Refused};
use super::file::{File, case, framed, nested};

pub fn cases() -> Vec<Case> {
    [lengths(), other_kinds(), no_json(), no_header(), metadata(), legal()].into_iter().flatten().collect()
}

/// Truncated and padded files, and declared lengths that are not those.
fn lengths() -> Vec<Case> {
    let good = File::new().bytes();
    let header = 8 + File::new().json().len();
    let cuts = [
        (0, "it has 0 bytes"),
        (1, "as a failed download may leave it"),
        (7, "it has 7 bytes"),
        (8, "the file is truncated"),
        (9, "the file is truncated"),
        (header / 2, "the file is truncated"),
        (header - 1, "the file is truncated"),
        (header, "the file is truncated"),
        (header + 100, "the file is truncated"),
        (good.len() - 1, "the file is truncated"),
    ];
    let cut = cuts.map(|(at, words)| case(&format!("cut after {at} bytes"), good[..at].to_vec(), Refused(words)));
    let padded = [1, 8, 1 << 20].map(|more| {
        let bytes = [good.as_slice(), &vec![0; more]].concat();
        case(&format!("{more} bytes too many"), bytes, Refused("the file is longer than it says"))
    });
    let json = header as u64 - 8;
    let declared = [
        (0, "its header is not the expected JSON"),
        (1, "its header is not the expected JSON"),
        (json - 1, "its header is not the expected JSON"),
        (json + 1, "its header is not the expected JSON"),
        (good.len() as u64 - 8, "its header is not the expected JSON"),
        (good.len() as u64 - 7, "the file is truncated"),
        (100_000_000, "the file is truncated"),
        (100_000_001, "100000000 is the limit"),
        (1 << 32, "100000000 is the limit"),
        (1 << 63, "100000000 is the limit"),
        (u64::MAX, "100000000 is the limit"),
    ];
    let declared = declared.map(|(length, words)| {
        let bytes = [&length.to_le_bytes(), &good[8..]].concat();
        case(&format!("declares a header of {length} bytes"), bytes, Refused(words))
    });
    cut.into_iter().chain(padded).chain(declared).collect()
}

/// What is often found under a checkpoint's name.
fn other_kinds() -> Vec<Case> {
    let kinds: [(&str, &[u8], &str); 11] = [
        ("LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        ("zip", b"PK\x03\x04\x14\0\0\0\0\0\0\0archive/data.pkl", "zip archive"),
        ("pickle", b"\x80\x02}q\0X\x06\0\0\0weightq\x01K\x01s.", "pickle"),
        ("HDF5", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", "HDF5"),
        ("MessagePack", b"\x82\xa6params\x80\xabbatch_stats\x80", "MessagePack"),
        ("GGUF", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", "GGUF"),
        ("NumPy", b"\x93NUMPY\x01\0v\0{'descr': '<f4'}", "NumPy"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\0\0\0\0\0\0", "gzip"),
        ("web page", b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        ("text", b"Access denied, log in first", "Access denied"),
        ("noise", &[0xa5; 64], "100000000 is the limit"),
    ];
    kinds.map(|(name, bytes, words)| case(&format!("is: {name}"), bytes.to_vec(), Refused(words))).into()
}

/// Texts that are no JSON, or that some parsers take for JSON.
fn no_json() -> Vec<Case> {
    let json = File::new().json();
    let data = File::new().data;
    let texts: Vec<(&str, Vec<u8>)> = vec![
        ("comma behind the last entry", json.replace("}}", "},}").into()),
        ("single quotes", json.replace('"', "'").into()),
        ("comment", json.replacen('{', "{/* */", 1).into()),
        ("byte order mark", format!("\u{feff}{json}").into()),
        ("zero bytes as padding", format!("{json}\0\0\0").into()),
        ("UTF-16", json.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("second object", format!("{json}{{}}").into()),
        ("key without quotes", json.replacen("\"conv.weight\"", "conv", 1).into()),
        ("key that is a number", json.replacen("\"conv.weight\"", "1", 1).into()),
        ("half a surrogate pair", json.replacen("conv.weight", "\\ud800", 1).into()),
        ("bad escape", json.replacen("conv.weight", "\\x41", 1).into()),
        ("line end in a name", json.replacen("conv.weight", "a\nb", 1).into()),
        ("zero byte in a name", json.replacen("conv.weight", "a\0b", 1).into()),
        ("name that is no UTF-8", replaced(&json, b"\xff\xfe")),
        ("name in overlong UTF-8", replaced(&json, b"\xc0\xaf")),
        ("surrogate in UTF-8", replaced(&json, b"\xed\xa0\x80")),
        ("offsets in hexadecimal", json.replacen("[0,", "[0x0,", 1).into()),
        ("offset with a leading zero", json.replacen("[0,432]", "[0,0432]", 1).into()),
        ("not a number", json.replacen("[0,432]", "[0,NaN]", 1).into()),
        ("infinity", json.replacen("[0,432]", "[0,Infinity]", 1).into()),
        ("text that ends in a string", "{\"".into()),
        ("nothing but spaces", vec![b' '; 64]),
    ];
    let refused = |(name, text): (&str, Vec<u8>)| case(name, framed(text, &data), Refused("not the expected JSON"));
    texts.into_iter().map(refused).collect()
}

/// `json` with bytes that are no text for the conv's name.
fn replaced(json: &str, name: &[u8]) -> Vec<u8> {
    let (before, after) = json.split_once("conv.weight").expect("test is broken");
    [before.as_bytes(), name, after.as_bytes()].concat()
}

/// JSON that is no header, and JSON made to cost.
fn no_header() -> Vec<Case> {
    let texts = [
        ("array", "[]".to_owned()),
        ("string", "\"a\"".to_owned()),
        ("number", "1".to_owned()),
        ("null", "null".to_owned()),
        ("entry that is a number", "{\"a\":1}".to_owned()),
        ("entry that is null", "{\"a\":null}".to_owned()),
        ("empty entry", "{\"a\":{}}".to_owned()),
        ("a million brackets", nested(1_000_000)),
        ("a million brackets that do not close", "[".repeat(1_000_000)),
        ("a million braces", "{\"a\":".repeat(1_000_000)),
    ];
    let mut cases =
        texts.map(|(name, json)| case(&format!("header: {name}"), framed(json, &[]), Refused("JSON"))).to_vec();
    // The reference library reads it, and so does this program.
    let list = framed("{\"a\":[\"F32\",[1],[0,4]]}", &[]);
    cases.push(case("header: entry that is a list", list, Refused("the file is truncated")));
    let deep =
        |levels| format!("\"x\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":{}}}", nested(levels));
    cases.push(File::new().first(&deep(100)).case("unknown key 100 levels deep", Folded));
    cases.push(File::new().first(&deep(100_000)).case("unknown key 100,000 levels deep", Refused("127 levels")));
    let many = (0..500_001).map(|n| format!("\"{n}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"));
    let many = many.collect::<Vec<_>>().join(",");
    cases.push(case("half a million tensors and one", framed(format!("{{{many}}}"), &[]), Refused("more than 500000")));
    cases
}

/// Oddities of `__metadata__`.
fn metadata() -> Vec<Case> {
    let keys = |count: usize| {
        let keys = (0..count).map(|n| format!("\"{n}\":\"\"")).collect::<Vec<_>>().join(",");
        format!("\"__metadata__\":{{{keys}}}")
    };
    let with = |name: &str, metadata: &str, outcome| {
        File::new().first(&format!("\"__metadata__\":{metadata}")).case(&format!("metadata: {name}"), outcome)
    };
    let wrong = Refused("__metadata__");
    let mut cases = vec![
        with("null", "null", Folded),
        with("empty", "{}", Folded),
        with("list", "[]", wrong),
        with("string", "\"a\"", wrong),
        with("number as a value", "{\"a\":1}", wrong),
        with("null as a value", "{\"a\":null}", wrong),
        with("object as a value", "{\"a\":{}}", wrong),
        with("a tensor's entry", "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", wrong),
        with("key twice", "{\"a\":\"1\",\"\\u0061\":\"2\"}", Refused("holds `__metadata__.a` twice")),
        with("steering keys and values", "{\"\\u001b[2J\\u202e\":\"\\u0007\\u2028\\n\"}", Folded),
        with("format of tomorrow", "{\"format\":\"\\u0000x\"}", Folded),
        with("value of a megabyte", &format!("{{\"a\":\"{}\"}}", "v".repeat(1 << 20)), Folded),
        with("record that is no JSON", "{\"bnfold-gpu\":\"{\",\"bnfold-gpu.figures\":\"[[[\"}", Folded),
        with("record of someone else", "{\"bnfold-gpu\":\"{\\\"version\\\":\\\"9\\\"}\"}", Folded),
        with("alias of the weight", "{\"other.weight\":\"conv.weight\"}", super::Kept("conv.weight")),
        with("alias of the mean", "{\"other.running_mean\":\"bn.running_mean\"}", super::Kept("bn.running_mean")),
        with("alias of nothing", "{\"a\":\"no such tensor\"}", Folded),
    ];
    // `save_model` leaves out all but one of tensors that share memory: what is not there is not absent.
    for (dropped, says) in [("bn.weight", "bn.weight"), ("bn.bias", "bn.bias"), ("conv.bias", "conv.bias")] {
        let tied = format!("\"__metadata__\":{{\"{dropped}\":\"kept\"}}");
        let file = File::new().without(dropped).with("kept", "F32", "[4]", &[0; 16]).first(&tied);
        cases.push(file.case(&format!("metadata: {dropped} stored under another name"), super::Kept(says)));
    }
    let kept = File::new().with("conv.bias", "F32", "[4]", &[0; 16]);
    let kept = kept.first("\"__metadata__\":{\"other.bias\":\"conv.bias\"}");
    cases.push(kept.case("metadata: the layer's bias is another layer's, too", super::Kept("conv.bias")));
    cases.push(File::new().first(&keys(99_990)).case("metadata: 99,990 keys", Folded));
    let full = Refused("the output would hold 100003 keys of __metadata__");
    cases.push(File::new().first(&keys(100_000)).case("metadata: 100,000 keys, and none is left", full));
    cases.push(File::new().first(&keys(100_001)).case("metadata: 100,001 keys", Refused("more than 100000 keys")));
    let twice = "\"__metadata__\":{},\"__metadata__\":{}";
    cases.push(File::new().first(twice).case("metadata: twice", Refused("holds `__metadata__` twice")));
    cases
}

/// What looks odd and is right.
fn legal() -> Vec<Case> {
    let (json, data) = (File::new().json(), File::new().data);
    let spaced = json.replace(':', " :\t").replace(',', "\n,\r ");
    let mut reversed = File::new();
    reversed.entries.reverse();
    vec![
        File::new().case("nothing wrong", Folded),
        case("spaces before and behind", framed(format!("  \n{json}   "), &data), Folded),
        case("spaces everywhere", framed(spaced, &data), Folded),
        case("names in escapes", framed(json.replace("conv", "\\u0063onv"), &data), Folded),
        case("entries in another order than data", reversed.bytes(), Folded),
        case("no tensors", framed("{}", &[]), super::Kept("no batch norm")),
    ]
}
