//! 3 FOLD, GPU: work on its way through the device and back to the host.
//!
//! In: commands, recorded by whoever has work. Out: the bytes of the buffer that they leave their result in. Whatever
//! fails on the way (an error of wgpu, a mapping that is refused or never comes, a device that hangs) is an `Err`.

use std::sync::mpsc::{Receiver, channel};

use super::device::{Device, TIMEOUT};
use crate::error::{Error, Result};

/// What commands are recorded with.
pub(super) struct Recorder<'a> {
    pub(super) device: &'a wgpu::Device,
    pub(super) queue: &'a wgpu::Queue,
    pub(super) encoder: wgpu::CommandEncoder,
}

impl<'a> Recorder<'a> {
    fn new(device: &'a wgpu::Device, queue: &'a wgpu::Queue, label: &str) -> Recorder<'a> {
        let encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
        Recorder { device, queue, encoder }
    }

    /// What was written to buffers since the last submission goes along, even if no command was recorded.
    fn submit(self) -> wgpu::SubmissionIndex {
        self.queue.submit([self.encoder.finish()])
    }
}

/// Submitted commands, and the mappings that come when they are done.
pub(super) struct Trip {
    submission: wgpu::SubmissionIndex,
    result: Mapping,
    /// Of what the host writes the next time.
    upload: Option<Mapping>,
}

impl Trip {
    /// Submits what `record` records and returns at once. `record` also tells which buffer is to be read.
    pub(super) fn start(
        device: &Device,
        label: &str,
        record: impl FnOnce(&mut Recorder<'_>) -> wgpu::Buffer,
    ) -> Result<Trip> {
        Trip::start_from(device, label, None, record)
    }

    /// The same with an `upload`, which is mapped: it is handed to the device, and comes back for the host to write.
    pub(super) fn start_from(
        device: &Device,
        label: &str,
        upload: Option<&wgpu::Buffer>,
        record: impl FnOnce(&mut Recorder<'_>) -> wgpu::Buffer,
    ) -> Result<Trip> {
        device.checked(label, |device, queue| {
            if let Some(upload) = upload {
                upload.unmap();
            }
            let mut recorder = Recorder::new(device, queue, label);
            let buffer = record(&mut recorder);
            let submission = recorder.submit();
            let upload = upload.map(|upload| Mapping::request(upload.clone(), wgpu::MapMode::Write));
            Trip { submission, result: Mapping::request(buffer, wgpu::MapMode::Read), upload }
        })
    }

    /// Waits for the result, all of the buffer, which is the caller's to unmap.
    pub(super) fn wait(&self, device: &Device) -> Result<wgpu::BufferView> {
        device.wait(&self.submission)?;
        self.upload.as_ref().map_or(Ok(()), Mapping::wait)?;
        self.result.wait()?;
        device.checked("readback", |_, _| {
            let found = self.result.buffer.get_mapped_range(..);
            found.map_err(|error| Error::Gpu { reason: format!("the result cannot be read: {error}") })
        })?
    }

    /// Waits for the result, hands all of its buffer to `read`, and unmaps it.
    pub(super) fn finish<T>(self, device: &Device, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let read = read(&self.wait(device)?);
        device.checked("readback", |_, _| self.result.buffer.unmap())?;
        Ok(read)
    }
}

/// A buffer that is being mapped.
struct Mapping {
    buffer: wgpu::Buffer,
    answer: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Mapping {
    fn request(buffer: wgpu::Buffer, mode: wgpu::MapMode) -> Mapping {
        let (sender, answer) = channel();
        buffer.map_async(mode, .., move |result| {
            // The receiver is gone only if the engine was given up.
            let _ = sender.send(result);
        });
        Mapping { buffer, answer }
    }

    fn wait(&self) -> Result<()> {
        match self.answer.recv_timeout(TIMEOUT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Gpu { reason: format!("a buffer cannot be mapped: {error}") }),
            Err(error) => Err(Error::Gpu { reason: format!("a mapping never came: {error}") }),
        }
    }
}
