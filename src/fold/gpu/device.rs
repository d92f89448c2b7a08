//! 3 FOLD, GPU: a device whose every failure is an `Err`.
//!
//! In: an adapter. Out: an open [`Device`]. wgpu panics on errors that nobody catches, and reports a lost
//! device as success (buffers are created, error scopes stay silent), so all work goes through [`Device::checked`]:
//! error scopes for what wgpu says, a flag for what it says elsewhere, `catch_unwind` for what it does not foresee.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::EngineOptions;
use super::adapter::AdapterSummary;
use crate::error::{Error, Result};
use crate::text::panic_message;

/// A batch takes microseconds on hardware and milliseconds in software; a device that needs longer than this is taken for
/// hung.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// An open device.
pub(super) struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    /// The first failure that was reported outside an error scope: a lost device, an uncaptured error.
    failure: Arc<Mutex<Option<String>>>,
}

impl Device {
    /// Opens `adapter` with the default limits: what fits into them runs everywhere.
    pub(super) fn open(adapter: &wgpu::Adapter, summary: &AdapterSummary, options: EngineOptions) -> Result<Device> {
        // Neither is required of an adapter: the one saves copies, the other tells how long kernels take.
        let mut wished = wgpu::Features::empty();
        wished.set(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS, summary.shares_memory);
        wished.set(wgpu::Features::TIMESTAMP_QUERY, options.timed);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("bnfold-gpu"),
            required_features: adapter.features() & wished,
            // An adapter may have less of what is not needed, such as textures.
            required_limits: wgpu::Limits::default().or_worse_values_from(&adapter.limits()),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            catch_unwind(AssertUnwindSafe(|| pollster::block_on(adapter.request_device(&descriptor))))
                .map_err(|panic| Error::Gpu {
                    reason: format!("opening {} panicked: {}", summary.name, panic_message(&*panic)),
                })?
                .map_err(|error| Error::Gpu { reason: format!("{} cannot be opened: {error}", summary.name) })?;
        let failure = Arc::new(Mutex::new(None));
        let note = |failure: &Arc<Mutex<Option<String>>>| {
            let failure = Arc::clone(failure);
            move |reason: String| {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
            }
        };
        let lost = note(&failure);
        device.set_device_lost_callback(move |reason, message| lost(format!("device lost ({reason:?}): {message}")));
        let uncaptured = note(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured(error.to_string())));
        Ok(Device { device, queue, summary: summary.clone(), failure })
    }

    pub(super) fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// Runs `work` with everything caught that can go wrong in it.
    pub(super) fn checked<T>(&self, stage: &str, work: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> T) -> Result<T> {
        let fail = |reason: String| Error::Gpu { reason: format!("{stage} on {}: {reason}", self.summary.name) };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
            // Scopes are a stack: popped in reverse order.
            let scopes = [Internal, OutOfMemory, Validation].map(|filter| self.device.push_error_scope(filter));
            let done = work(&self.device, &self.queue);
            let errors =
                scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).collect::<Vec<_>>();
            (done, errors)
        }));
        let (done, errors) =
            outcome.map_err(|panic| fail(format!("the driver panicked: {}", panic_message(&*panic))))?;
        if let Some(error) = errors.first() {
            return Err(fail(error.to_string()));
        }
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(reason) => Err(fail(reason.clone())),
            None => Ok(done),
        }
    }

    /// Waits until `submission` is done, for [`TIMEOUT`] at most.
    pub(super) fn wait(&self, submission: &wgpu::SubmissionIndex) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(TIMEOUT) };
        // `poll` panics on a really lost device.
        let polled = self.checked("waiting", |device, _| device.poll(wait))?;
        let reason = |error| format!("{} did not finish: {error}", self.summary.name);
        polled.map(|_| ()).map_err(|error| Error::Gpu { reason: reason(error) })
    }

    pub(super) fn destroyer(&self) -> impl Fn() + use<> {
        let device = self.device.clone();
        move || device.destroy()
    }
}
