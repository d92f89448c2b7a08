//! Integration tests: one binary, one module an area.
//!
//! They run the program as a user would, on files in temporary folders, and hold the results against references of their
//! own. GPU tests need an adapter (a software one will do) and fail without it: a check that is skipped is no check.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails should say so and stop")]
#![expect(unreachable_pub, reason = "`pub` says that another module uses it; nothing leaves this binary")]
#![expect(clippy::cast_possible_truncation, reason = "numbers are the tests' own; rounding to f32 is what is wanted")]

// Folded layers compute what layers and norms did.
mod arithmetic;
// A layer and its norm, with the reference for everything folding makes of them.
mod case;
// A trained network keeps its logits and its accuracy.
mod digits;
// README and docs/ say what is true.
mod docs;
// `--dtype`: what is folded and what is not is rounded once.
mod dtypes;
// Every folded number is exact to the bit or the ulp; everything else is the same bytes.
mod exact;
// Files for the other modules, and ways to run the program.
mod fixture;
// The shaders, word for word.
#[cfg(feature = "gpu")]
mod kernels;
// Layers by the definitions of their frameworks.
mod layers;
// Folding through the library; tensors read back.
mod library;
// Weights that fill, share or span batches; results that overflow.
#[cfg(feature = "gpu")]
mod pieces;
// Networks that others trained.
mod real_models;
// `verify` passes what is right and finds what is wrong.
mod verify_catches;
