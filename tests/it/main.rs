//! Integration tests: one binary, one module an area.
//!
//! They run the program as a user would, on files in temporary folders, and hold the results against references of their
//! own. GPU tests need an adapter (a software one will do) and fail without it: a check that is skipped is no check.

// A trained network keeps its logits and its accuracy.
mod digits;
// README and docs/ say what is true.
mod docs;
// Files for the other modules, and ways to run the program.
mod fixture;
// Networks that others trained.
mod real_models;
