//! 2 PLAN, object: what speaks against a candidate.
//!
//! In: candidates of `propose`. Out: [`Objection`](super::reason::Objection)s, and votes, precedents and habits of the file
//! that strengthen or weaken them:
//!
//! ```text
//! template_vote  candidates of one template stand and fall together
//! precedent      what pairs of the same names proved nearby
//! habits         what the whole file shows: biases in front of norms, norms that run first
//! rules          one candidate, held against all that: a table
//! weight         the weight as such: shared, quantized, computed, transposed or not
//! ```

pub(super) mod habits;
pub(super) mod precedent;
pub(super) mod rules;
pub(super) mod template_vote;
pub(super) mod weight;
