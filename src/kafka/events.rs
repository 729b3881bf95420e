//! What librdkafka tells: delivery reports, errors and log lines, taken from its queue by the poll
//! thread. rdkafka's own `poll` takes one report at a time, and spends the last millisecond of its
//! time-out in a busy loop (docs/performance.md).

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::Client;
use super::producer::Report;
use super::{classify, ffi};
use crate::message::Stamp;

/// Who is told.
pub(super) trait Listener {
    /// Delivery reports, in the order of their partition.
    fn reports(&self, reports: &[Report]);
    /// An error that concerns no record in particular, by librdkafka's code.
    fn error(&self, code: i32, detail: &str);
    /// A line for the log. Levels are those of syslog, from 0 for emergencies to 7 for debugging.
    fn log(&self, level: i32, facility: &str, line: &str);
}

/// The queue that everything comes through, as long as its client lives.
pub(super) struct Events<'a> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: PhantomData<&'a Client>,
    /// Used again for each batch.
    reports: Vec<Report>,
}

impl<'a> Events<'a> {
    /// Of a client.
    pub(super) fn of(client: &'a Client) -> Self {
        // SAFETY: the client lives; its main queue is there as long.
        let queue = unsafe { sys::rd_kafka_queue_get_main(client.ptr()) };
        let queue = NonNull::new(queue).expect("every client has a main queue");
        Self { queue, client: PhantomData, reports: Vec::new() }
    }

    /// Waits for one event, at most for `timeout`, and tells it; whether there was one.
    pub(super) fn poll(&mut self, timeout: Duration, listener: &impl Listener) -> bool {
        // Rounded up, so that the last millisecond is no busy loop.
        let timeout_ms =
            c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        // SAFETY: the queue is valid; the event is this function's until it is destroyed, once, by
        // `Event`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms) };
        let Some(event) = NonNull::new(event).map(Event) else { return false };
        // SAFETY: the event is valid.
        match unsafe { sys::rd_kafka_event_type(event.0.as_ptr()) } {
            sys::RD_KAFKA_EVENT_DR => {
                self.reports.clear();
                self.reports.extend(event.reports(Stamp::now()));
                listener.reports(&self.reports);
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                let (code, detail) = event.error();
                listener.error(code, &detail);
            }
            sys::RD_KAFKA_EVENT_LOG => {
                if let Some((level, facility, line)) = event.log() {
                    listener.log(level, facility.trim(), line.trim());
                }
            }
            // Nothing else is asked for.
            _ => {}
        }
        true
    }
}

impl Events<'_> {
    /// Lets a poll of another thread return, or its next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is valid, and may be used from any thread.
        unsafe { sys::rd_kafka_queue_yield(self.queue.as_ptr()) }
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is valid until here, and nobody else destroys this reference to it.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn reports(&self, at: Stamp) -> impl Iterator<Item = Report> {
        std::iter::from_fn(move || {
            // SAFETY: the event is valid, and of the kind that has messages; each lives as long as it.
            let message = unsafe { ffi::rd_kafka_event_message_next(self.0.as_ptr()).as_ref() }?;
            let ffi::Message { code, partition, offset, .. } = *message;
            let is_proven = offset != i64::from(sys::RD_KAFKA_OFFSET_INVALID);
            Some(Report {
                index: message.opaque.addr(),
                code: if code == 0 && !is_proven { classify::WITHOUT_OFFSET } else { code },
                kafka_partition: partition,
                kafka_offset: offset,
                at,
            })
        })
    }

    fn error(&self) -> (i32, String) {
        // SAFETY: the event is valid, and of the kind that has an error.
        unsafe {
            let code = ffi::rd_kafka_event_error(self.0.as_ptr());
            (code, text(sys::rd_kafka_event_error_string(self.0.as_ptr())))
        }
    }

    fn log(&self) -> Option<(i32, String, String)> {
        let (mut facility, mut line, mut level) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the event is valid; the strings are as long as it is.
        unsafe {
            let failed = sys::rd_kafka_event_log(
                self.0.as_ptr(),
                &raw mut facility,
                &raw mut line,
                &raw mut level,
            );
            (failed == 0).then(|| (level, text(facility), text(line)))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is valid until here.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// A C string, or null.
unsafe fn text(chars: *const c_char) -> String {
    if chars.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned()
}
