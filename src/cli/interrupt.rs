//! Ctrl-C and its like: asked once, the work stops where it can be undone; asked twice, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Has signals set `cancelled`. Without a handler a signal would leave temporary files behind; where none can be set,
/// that is all that is lost.
pub(crate) fn set(cancelled: &Arc<AtomicBool>) {
    let flag = Arc::clone(cancelled);
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // Asked a second time: at once, whatever is left behind.
            #[expect(clippy::exit, reason = "there is no other way out of a signal handler")]
            std::process::exit(130);
        }
    });
}
