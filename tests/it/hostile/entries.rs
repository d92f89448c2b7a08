//! Hostile entries of a header: ranges, shapes, types and names of tensors.

use super::Case;
use super::Outcome::{Folded, Kept, Refused};
use super::file::{Entry, File};

pub fn cases() -> Vec<Case> {
    [ranges(), fields(), twins(), shapes(), dtypes(), names()].into_iter().flatten().collect()
}

/// A case of the conv's entry with one thing changed.
fn conv(name: &str, change: impl FnOnce(&mut Entry), words: &'static str) -> Case {
    File::new().changed("conv.weight", change).case(name, Refused(words))
}

/// Ranges that overlap, leave holes, run backwards or lead out of the file.
fn ranges() -> Vec<Case> {
    let with = |name: &str, tensor: &str, offsets: &str, words| {
        let file = File::new().changed(tensor, |entry| entry.offsets = offsets.to_owned());
        file.case(&format!("range: {name}"), Refused(words))
    };
    let begins = "its range begins at byte";
    vec![
        with("that of another tensor", "bn.bias", "[432,448]", begins),
        with("over half of another", "bn.bias", "[440,456]", begins),
        with("within another", "bn.weight", "[16,32]", begins),
        with("behind a hole", "bn.running_var", "[496,512]", begins),
        with("backwards", "bn.bias", "[464,448]", "before it begins"),
        with("longer than the shape", "bn.running_var", "[480,500]", "takes 128 bits, but its range holds 160"),
        with("shorter than the shape", "bn.running_var", "[480,484]", "takes 128 bits, but its range holds 32"),
        with("beyond the file", "bn.running_var", "[480,18446744073709551615]", "its range holds"),
        with("at the end of counting", "bn.running_var", "[18446744073709551599,18446744073709551615]", begins),
        with("empty for four numbers", "bn.running_var", "[480,480]", "its range holds 0"),
        with("begins late", "conv.weight", "[4,436]", begins),
    ]
}

/// Fields that are missing, of another type or written otherwise.
fn fields() -> Vec<Case> {
    let json = "is not the expected JSON: tensor `conv.weight`";
    let offsets = |text: &'static str| conv(&format!("offsets {text}"), |entry| entry.offsets = text.to_owned(), json);
    let shape = |text: &'static str| conv(&format!("shape {text}"), |entry| entry.shape = text.to_owned(), json);
    let dtype = |text: &'static str| conv(&format!("dtype {text}"), |entry| entry.dtype = text.to_owned(), json);
    let mut cases = [
        "[0]",
        "[]",
        "[0,432,432]",
        "[\"0\",\"432\"]",
        "[0.0,432]",
        "[-1,432]",
        "[0,4.32e2]",
        "[0,1e400]",
        "null",
        "{}",
        "432",
        "[[0,432]]",
        "[0,18446744073709551616]",
    ]
    .map(offsets)
    .to_vec();
    cases.extend(
        ["[4,3,3,-3]", "[4.0,3,3,3]", "[\"4\"]", "null", "{}", "4", "[[4,3,3,3]]", "[18446744073709551616]"].map(shape),
    );
    cases.extend(["32", "null", "[\"F32\"]", "{}", "true"].map(dtype));
    let entry = |text: &str| {
        let file = File::new();
        let whole = "{\"dtype\":\"F32\",\"shape\":[4,3,3,3],\"data_offsets\":[0,432]}";
        super::file::framed(file.json().replacen(whole, text, 1), &file.data)
    };
    let missing = [
        ("no dtype", "{\"shape\":[4,3,3,3],\"data_offsets\":[0,432]}"),
        ("no shape", "{\"dtype\":\"F32\",\"data_offsets\":[0,432]}"),
        ("no offsets", "{\"dtype\":\"F32\",\"shape\":[4,3,3,3]}"),
        ("keys in capitals", "{\"DTYPE\":\"F32\",\"SHAPE\":[4,3,3,3],\"DATA_OFFSETS\":[0,432]}"),
    ];
    cases.extend(missing.map(|(name, text)| super::file::case(name, entry(text), Refused(json))));
    let more =
        "{\"dtype\":\"F32\",\"strides\":[9,3,1],\"shape\":[4,3,3,3],\"data_offsets\":[0,432],\"requires_grad\":null}";
    cases.push(super::file::case("keys of tomorrow", entry(more), Folded));
    cases
}

/// Names and fields that come twice.
fn twins() -> Vec<Case> {
    let again =
        |name: &str, tensor: &str| File::new().with(tensor, "F32", "[4]", &[0; 16]).case(name, Refused("twice"));
    let same = File::new();
    let mut whole = same.clone();
    whole.entries.push(same.entries[4].clone());
    let field = File::new().changed("conv.weight", |entry| entry.shape = "[4,3,3,3],\"shape\":[4,3,3,3]".to_owned());
    vec![
        again("variance twice", "bn.running_var"),
        again("variance twice, once in escapes", "bn.running\\u005fvar"),
        again("weight twice, of another shape", "conv.weight"),
        whole.case("the same entry twice", Refused("twice")),
        field.case("shape twice in an entry", Refused("duplicate field")),
        File::new()
            .with("\\u00e9", "U8", "[1]", &[0])
            .with("e\\u0301", "U8", "[1]", &[0])
            .case("names that look alike", Folded),
    ]
}

/// Shapes that cannot be counted, or have nothing in them.
fn shapes() -> Vec<Case> {
    let extra = |shape: &str, bytes: &[u8], outcome| {
        File::new().with("extra", "F32", shape, bytes).case(&format!("extra tensor of shape {shape}"), outcome)
    };
    let ones = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    let mut cases = vec![
        extra("[]", &[0; 4], Folded),
        extra("[0]", &[], Folded),
        extra("[3,0,5]", &[], Folded),
        extra("[0,18446744073709551615]", &[], Folded),
        extra("[18446744073709551615,18446744073709551615]", &[], Refused("more elements than can be counted")),
        extra("[4294967296,4294967296]", &[0; 4], Refused("more elements than can be counted")),
        extra("[2305843009213693952,2]", &[0; 4], Refused("more elements than can be counted")),
        extra("[4611686018427387904]", &[0; 4], Refused("more elements than can be counted")),
        extra("[]", &[], Refused("takes 32 bits, but its range holds 0")),
    ];
    cases.last_mut().expect("one").name = "scalar without its bytes".to_owned();
    cases.push(File::new().with("extra", "F32", &ones(64), &[0; 4]).case("64 dimensions", Folded));
    cases.push(
        File::new().with("extra", "F32", &ones(65), &[0; 4]).case("65 dimensions", Refused("more than 64 dimensions")),
    );
    cases.push(
        File::new()
            .with("extra", "F32", &ones(100_000), &[0; 4])
            .case("100,000 dimensions", Refused("more than 64 dimensions")),
    );
    let norm = |tensor: &str, shape: &str, count: usize| {
        let bytes = vec![0; count * 4];
        File::new().replaced(tensor, "F32", shape, &bytes).case(&format!("{tensor} of shape {shape}"), Kept("bn"))
    };
    cases.extend([
        norm("bn.running_var", "[5]", 5),
        norm("bn.running_var", "[2,2]", 4),
        norm("bn.running_var", "[]", 1),
        norm("bn.running_var", "[0]", 0),
        norm("bn.running_mean", "[1,4]", 4),
        norm("bn.weight", "[3]", 3),
        norm("bn.bias", "[4,1]", 4),
        norm("conv.weight", "[3,4,3,3]", 108),
        norm("conv.weight", "[5,3,3,3]", 135),
        norm("conv.weight", "[4]", 4),
        norm("conv.weight", "[]", 1),
        norm("conv.weight", "[0,3,3,3]", 0),
        norm("conv.weight", "[4,3,3,3,1,1,1]", 108),
    ]);
    let empty = File::new().replaced("conv.weight", "F32", "[4,0,3,3]", &[]);
    cases.push(empty.case("weight of no inputs", Folded));
    cases
}

/// Types that are unknown, of parts of a byte, or nothing to fold.
fn dtypes() -> Vec<Case> {
    let extra = |dtype: &str, shape: &str, bytes: usize, outcome| {
        let bytes = vec![0xa5; bytes];
        File::new().with("extra", dtype, shape, &bytes).case(&format!("extra tensor of {dtype} {shape}"), outcome)
    };
    // Several of what is no float may be an index of channels, or a mask of them.
    let aside = Kept("conv.weight");
    let mut cases = vec![
        extra("F4", "[2]", 1, aside),
        extra("F4", "[3]", 1, Refused("takes 12 bits")),
        extra("F6_E2M3", "[4]", 3, aside),
        extra("F8_E4M3", "[3]", 3, aside),
        extra("BOOL", "[3]", 3, aside),
        extra("C64", "[1]", 8, Folded),
        extra("U64", "[1]", 8, Folded),
        extra("Q4_K", "[1000]", 5, aside),
        extra("f32", "[1000]", 5, aside),
        extra("", "[1]", 3, Folded),
        extra("\\u001b[2J\\u202e", "[1]", 3, Folded),
        extra("F32\\u0000", "[1]", 3, Folded),
    ];
    let weight = |dtype: &str, bytes: usize| {
        let file = File::new().replaced("conv.weight", dtype, "[4,3,3,3]", &vec![1; bytes]);
        file.case(&format!("weight of {dtype}"), Kept("conv.weight"))
    };
    cases.extend([
        weight("I8", 108),
        weight("I32", 432),
        weight("BOOL", 108),
        weight("F8_E4M3", 108),
        weight("F32X", 7),
    ]);
    let var = |dtype: &str, bytes: usize| {
        let file = File::new().replaced("bn.running_var", dtype, "[4]", &vec![1; bytes]);
        file.case(&format!("variance of {dtype}"), Kept("bn"))
    };
    cases.extend([var("I64", 32), var("U8", 4), var("F8_E5M2", 4), var("F4", 2), var("F33", 9)]);
    cases
}

/// Names that are paths, markup, controls, or as long as a header.
fn names() -> Vec<Case> {
    let odd = [
        "",
        " ",
        ".",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\\\x",
        "\\\\\\\\host\\\\x",
        "~/.ssh/id_rsa",
        "con",
        "a/b/c",
        "$(reboot)",
        "`reboot`",
        "%s%n",
        "{0}",
        "</script><script>alert(1)</script>",
        "' OR 1=1",
        "__proto__",
        "constructor",
        "__metadata__\\u0000",
        "=1+1",
        "-rf",
        "a\\nerror: forged",
        "\\u001b]0;title\\u0007",
        "\\u0000",
        "\\u202ereversed",
        "\\u2028\\u2029\\u061c",
        "\\udb40\\udc41\\udb40\\udc7f",
        "\\ufeff",
        "\\uffff",
        "\\ud83d\\ude42",
        "\\u212b",
        "층.가중치",
        "Conv.Weight",
        "conv..weight",
        ".conv.weight",
    ];
    let mut cases =
        odd.map(|name| File::new().with(name, "U8", "[1]", &[7]).case(&format!("name {name:?}"), Folded)).to_vec();
    for name in ["conv.weight ", "conv.weight."] {
        let beside = File::new().with(name, "U8", "[1]", &[7]);
        cases.push(beside.case(&format!("name {name:?}"), Kept("lies beside it")));
    }
    let long = "n".repeat(1_000_000);
    cases.push(File::new().with(&long, "U8", "[1]", &[7]).case("name of a million letters", Folded));
    let dots = "a.".repeat(100_000);
    cases.push(File::new().with(&dots, "U8", "[1]", &[7]).case("name of 100,000 parts", Folded));
    let digits = format!("layer{}.weight", "9".repeat(10_000));
    cases.push(File::new().with(&digits, "U8", "[1]", &[7]).case("name with a number of 10,000 digits", Folded));
    cases
}
