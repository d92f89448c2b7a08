//! 3 FOLD: why a norm cannot be folded, or what is wrong with the result.
//!
//! In: what a check found. Out: a [`FoldProblem`], whose sentence begins with the channel or the tensor; the error around it
//! names file and norm.

use crate::text::shown;

/// What is wrong with a norm, or with what it was folded into.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldProblem {
    /// Norm parameters that no batch norm can have.
    #[error(
        "channel {channel}: {what} is {value}; a trained batch norm cannot hold that, so the file is damaged or was read \
         wrongly; to fold the other layers, keep this norm by a plan"
    )]
    Value {
        /// The first bad channel.
        channel: usize,
        /// Which value, for example `running variance`.
        what: &'static str,
        /// What was found.
        value: f64,
    },
    /// A variance that is too small for its eps: the norm would divide by zero, or nearly so.
    #[error(
        "channel {channel}: {what} is {value}: the running variance is {var} and eps is {eps}; state the eps that the \
         network was trained with; or, to fold the other layers, keep this norm by a plan"
    )]
    Scale {
        /// The first bad channel.
        channel: usize,
        /// Which value, for example `running variance + eps`.
        what: &'static str,
        /// What it comes to.
        value: f64,
        /// The running variance.
        var: f64,
        /// eps, wherever it comes from.
        eps: f64,
    },
    /// A folded value is not finite in the type it is stored in.
    #[error(
        "tensor `{}`, channel {channel}: {}; keep this norm by a plan, or accept it",
        shown(tensor), not_finite(*stored, *element, *value, dtype)
    )]
    NonFinite {
        /// The weight or bias.
        tensor: String,
        /// Output channel.
        channel: usize,
        /// Flat index in the tensor.
        element: u64,
        /// What is stored there, before folding.
        stored: f64,
        /// The value before it is rounded to `dtype`.
        value: f64,
        /// Output dtype.
        dtype: &'static str,
    },
    /// What was computed differs from the reference by more than the stated bound.
    #[error(
        "tensor `{}`, element {element}: verification failed: got {got}, expected {expected} ({ulp:.1} ulp, at most {bound} \
         allowed); nothing was written: please report this with the model's name",
        shown(tensor)
    )]
    Verification {
        /// The weight or bias.
        tensor: String,
        /// Flat index.
        element: u64,
        /// The folded value.
        got: f64,
        /// The reference.
        expected: f64,
        /// Distance in units in the last place of the output dtype.
        ulp: f64,
        /// Allowed distance.
        bound: f64,
    },
}

/// Why a folded element is not finite, with what helps besides a plan: a wider type, if it is the type that ends.
fn not_finite(stored: f64, element: u64, value: f64, dtype: &str) -> String {
    if !stored.is_finite() {
        return format!("element {element} is {stored} before folding, so that folding gives {value}");
    }
    let widens = dtype != "F32" && value.abs() <= f64::from(f32::MAX);
    let advice = if widens { "; a wider type could" } else { "" };
    format!("folding gives {value}, which {dtype} cannot hold{advice}")
}
