//! HUB: a download that is watched.
//!
//! In: work that waits for the network. Out: its result; or that it was cancelled, or that nothing came for too long. The
//! library that downloads cannot be interrupted: it works on a thread of its own, which is left behind then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::HFResult;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};

/// How often the one who waits looks.
const TICK: Duration = Duration::from_millis(100);

/// A server that has sent nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes that have come, by file.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<BTreeMap<String, u64>>);

impl Counter {
    /// Of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// What the library tells.
pub(super) struct Ear(pub(super) Arc<Counter>);

impl ProgressHandler for Ear {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Download(DownloadEvent::Progress { files }) = event {
            let mut known = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(files.iter().map(|file| (file.filename.clone(), file.bytes_completed)));
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Ended {
    /// The caller no longer wants it.
    Cancelled,
    /// Nothing came for so many seconds.
    Stalled(u64),
    /// The library gave up.
    Failed(hf_hub::HFError),
    /// The library broke down.
    Broken,
}

/// Waits for `work`. `tick` is called meanwhile, and says how many bytes have come.
pub(super) fn watched<T: Send + 'static>(
    cancelled: &AtomicBool,
    tick: &dyn Fn() -> u64,
    work: impl FnOnce() -> HFResult<T> + Send + 'static,
) -> Result<T, Ended> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || drop(sender.send(work())));
    let (mut last, mut moved) = (tick(), Instant::now());
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(result) => {
                tick();
                return result.map_err(Ended::Failed);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Broken),
            Err(RecvTimeoutError::Timeout) if cancelled.load(Ordering::Relaxed) => return Err(Ended::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let bytes = tick();
        if bytes != last {
            (last, moved) = (bytes, Instant::now());
        }
        if moved.elapsed() > PATIENCE {
            return Err(Ended::Stalled(PATIENCE.as_secs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_waited_for_unless_it_is_cancelled_or_breaks_down() {
        let cancelled = AtomicBool::new(false);
        assert_eq!(watched(&cancelled, &|| 0, || Ok(7)).unwrap(), 7);
        assert!(matches!(watched::<()>(&cancelled, &|| 0, || panic!("on purpose")), Err(Ended::Broken)));
        cancelled.store(true, Ordering::Relaxed);
        let forever = || {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        };
        assert!(matches!(watched(&cancelled, &|| 0, forever), Err(Ended::Cancelled)));
    }
}
