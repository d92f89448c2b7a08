//! Signals. Ctrl-C and its like: asked once, the work stops where it can be undone; asked twice, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes a file that would grow beyond the limit of the system's or the user's (`ulimit -f`) an error of the write that meets
/// it, and of its model; by default it is a signal that ends the program without a word. Where no handler can be set, it stays so.
pub(crate) fn outlive_large_files() {
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

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
