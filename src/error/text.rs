//! Text that several errors share.
//!
//! In: the fields of an error. Out: parts of its message.

/// How to fold a model without one of its norms.
pub(super) const KEEP_ONE: &str = "to fold the other layers, write a plan with `bnfold-gpu plan --format json`, change this norm's \
                        action to \"keep\" and pass it with --plan";

/// Why a folded element is not finite, with what helps besides a plan: a wider type, if it is the type that ends.
pub(super) fn not_finite(stored: f64, element: u64, value: f64, dtype: &str) -> String {
    if !stored.is_finite() {
        return format!("element {element} is {stored} before folding, so that folding gives {value}");
    }
    let widens = dtype != "F32" && value.abs() <= f64::from(f32::MAX);
    let advice = if widens { "; widen with --dtype f32" } else { "" };
    format!("folding gives {value}, which {dtype} cannot hold{advice}")
}
