//! Text that several errors share.
//!
//! In: the fields of an error. Out: parts of its message.

/// Why a folded element is not finite, with what helps besides a plan: a wider type, if it is the type that ends.
pub(super) fn not_finite(stored: f64, element: u64, value: f64, dtype: &str) -> String {
    if !stored.is_finite() {
        return format!("element {element} is {stored} before folding, so that folding gives {value}");
    }
    let widens = dtype != "F32" && value.abs() <= f64::from(f32::MAX);
    let advice = if widens { "; a wider type could" } else { "" };
    format!("folding gives {value}, which {dtype} cannot hold{advice}")
}
