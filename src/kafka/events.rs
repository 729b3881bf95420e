//! What librdkafka tells: delivery reports, errors and log lines, taken from its queue by the poll
//! thread. rdkafka's own `poll` takes one report at a time, and spends the last millisecond of its
//! time-out in a busy loop (docs/performance.md).

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::classify;
use super::producer::Report;
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

/// The queue that everything comes through. Must not outlive the producer that it belongs to.
pub(super) struct Events {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Used again for each batch.
    reports: Vec<Report>,
}

impl Events {
    /// Of a producer, whose own `poll` takes nothing away any more as long as nobody calls it.
    pub(super) fn of<C: ProducerContext>(producer: &BaseProducer<C>) -> Self {
        // SAFETY: the client lives; its main queue is there as long.
        let queue = unsafe { sys::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("every client has a main queue");
        Self { queue, reports: Vec::new() }
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

impl Events {
    /// Lets a poll of another thread return, or its next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is valid, and may be used from any thread.
        unsafe { sys::rd_kafka_queue_yield(self.queue.as_ptr()) }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: the queue is valid until here, and nobody else destroys this reference to it.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn reports(&self, at: Stamp) -> impl Iterator<Item = Report> {
        std::iter::from_fn(move || {
            // SAFETY: the event is valid, and of the kind that has messages.
            let message = unsafe { sys::rd_kafka_event_message_next(self.0.as_ptr()) };
            // SAFETY: a message lives as long as its event. Its code is read as a number, because a
            // broker may send one that is no value of the bindings' enum.
            (!message.is_null()).then(|| unsafe {
                let code = (&raw const (*message).err).cast::<c_int>().read();
                let kafka_offset = (&raw const (*message).offset).read();
                let is_proven = kafka_offset != i64::from(sys::RD_KAFKA_OFFSET_INVALID);
                Report {
                    index: (&raw const (*message)._private).read().addr(),
                    code: if code == 0 && !is_proven { classify::WITHOUT_OFFSET } else { code },
                    kafka_partition: (&raw const (*message).partition).read(),
                    kafka_offset,
                    at,
                }
            })
        })
    }

    fn error(&self) -> (i32, String) {
        // SAFETY: the event is valid, and of the kind that has an error.
        unsafe {
            let code = sys::rd_kafka_event_error(self.0.as_ptr()) as i32;
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
