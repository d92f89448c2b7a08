//! A checkpoint that can be broken: entries of a header as text, and the data they point into.
//!
//! In: changes. Out: bytes.

use super::{Case, Outcome};

/// One entry of a header; every part of it is the text that stands there.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub dtype: String,
    pub shape: String,
    pub offsets: String,
}

/// A file under construction.
#[derive(Clone)]
pub struct File {
    pub entries: Vec<Entry>,
    /// What stands before the entries.
    pub first: String,
    pub data: Vec<u8>,
}

/// Output channels of the layer.
pub const CHANNELS: usize = 4;

impl File {
    /// A convolution of 3 channels into 4 and its norm, all F32.
    pub fn new() -> File {
        let mut file = File { entries: Vec::new(), first: String::new(), data: Vec::new() };
        let weights = crate::fixture::Numbers::new(3).many(CHANNELS * 27, -1.0, 1.0);
        file.f32s("conv.weight", "[4,3,3,3]", &weights.iter().map(|&w| w as f32).collect::<Vec<_>>());
        file.f32s("bn.weight", "[4]", &[1.5, -0.5, 0.75, 2.0]);
        file.f32s("bn.bias", "[4]", &[0.5, 0.25, -1.0, 0.0]);
        file.f32s("bn.running_mean", "[4]", &[3.0, -0.75, 0.5, 0.125]);
        file.f32s("bn.running_var", "[4]", &[4.0, 0.25, 9.0, 0.01]);
        file
    }

    /// Adds a tensor of F32.
    pub fn f32s(&mut self, name: &str, shape: &str, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        self.add(name, "F32", shape, &bytes);
    }

    /// Adds a tensor at the end of the data. `name` is JSON text between quotes.
    pub fn add(&mut self, name: &str, dtype: &str, shape: &str, bytes: &[u8]) {
        let (begin, end) = (self.data.len(), self.data.len() + bytes.len());
        let [name, dtype] = [name, dtype].map(|text| format!("\"{text}\""));
        self.entries.push(Entry { name, dtype, shape: shape.to_owned(), offsets: format!("[{begin},{end}]") });
        self.data.extend_from_slice(bytes);
    }

    /// The same with a tensor more.
    pub fn with(mut self, name: &str, dtype: &str, shape: &str, bytes: &[u8]) -> File {
        self.add(name, dtype, shape, bytes);
        self
    }

    /// The same without the tensor of that name; what follows moves up.
    pub fn without(self, name: &str) -> File {
        let mut file = File { entries: Vec::new(), data: Vec::new(), ..self.clone() };
        for entry in self.entries.iter().filter(|entry| entry.name != format!("\"{name}\"")) {
            let (name, dtype) = (entry.name.trim_matches('"'), entry.dtype.trim_matches('"'));
            file.add(name, dtype, &entry.shape, &self.data[self.range(entry)]);
        }
        file
    }

    /// The same with another tensor of that name, at the end.
    pub fn replaced(self, name: &str, dtype: &str, shape: &str, bytes: &[u8]) -> File {
        self.without(name).with(name, dtype, shape, bytes)
    }

    fn range(&self, entry: &Entry) -> std::ops::Range<usize> {
        let offsets =
            entry.offsets.trim_matches(['[', ']']).split(',').map(|at| at.parse().unwrap()).collect::<Vec<_>>();
        offsets[0]..offsets[1]
    }

    /// The same with `change` made to the entry `name`.
    pub fn changed(mut self, name: &str, change: impl FnOnce(&mut Entry)) -> File {
        let quoted = format!("\"{name}\"");
        change(self.entries.iter_mut().find(|entry| entry.name == quoted).expect("test is broken"));
        self
    }

    /// One f32 changed.
    pub fn set(mut self, name: &str, index: usize, value: f32) -> File {
        let quoted = format!("\"{name}\"");
        let entry = self.entries.iter().find(|entry| entry.name == quoted).expect("test is broken");
        let begin = self.range(entry).start + index * 4;
        self.data[begin..][..4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Text put before the entries.
    pub fn first(mut self, text: &str) -> File {
        self.first = text.to_owned();
        self
    }

    pub fn json(&self) -> String {
        let entries = self.entries.iter().map(|Entry { name, dtype, shape, offsets }| {
            format!("{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":{offsets}}}")
        });
        let first = (!self.first.is_empty()).then(|| self.first.clone()).into_iter();
        format!("{{{}}}", first.chain(entries).collect::<Vec<_>>().join(","))
    }

    pub fn bytes(&self) -> Vec<u8> {
        framed(self.json(), &self.data)
    }

    pub fn case(&self, name: &str, outcome: Outcome) -> Case {
        case(name, self.bytes(), outcome)
    }
}

/// Arrays within each other.
pub fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

/// A header, as it is, and data.
pub fn framed(json: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    [&(json.as_ref().len() as u64).to_le_bytes(), json.as_ref(), data].concat()
}

/// One file.
pub fn case(name: &str, bytes: Vec<u8>, outcome: Outcome) -> Case {
    Case { name: name.to_owned(), files: vec![("m.safetensors", bytes)], input: "m.safetensors", options: &[], outcome }
}
