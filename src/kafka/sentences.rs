//! Kafka's own sentence about a record that it refused.
//!
//! librdkafka 2.12.1 leaves it at the record as a pointer that dangles by the time that the delivery
//! report is read (`rd_kafka_message_produce_errstr`). It is good while the answer is being handled, which
//! is when librdkafka calls interceptors. They are called for each record, so only the careful producer
//! has one: what is delivered by the main producer pays nothing.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::bindings as sys;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as DONE;

use super::ffi;

/// So much of a sentence is kept, in characters.
const SENTENCE_MAX: usize = 500;
/// The interceptor's name.
const NAME: &CStr = c"sentences";

/// What Kafka said about records and nobody took yet, by the index that their reports name: one for each
/// record in flight at most.
#[derive(Debug, Default)]
pub(super) struct Sentences(Mutex<Vec<(usize, String)>>);

impl Sentences {
    /// Hears what the client that is made of `configuration` is answered.
    ///
    /// # Safety
    /// The configuration is valid, and `this` is kept for as long as that client lives.
    pub(super) unsafe fn listen(this: &Arc<Self>, configuration: *mut sys::rd_kafka_conf_t) {
        let opaque = Arc::as_ptr(this).cast_mut().cast::<c_void>();
        // SAFETY: the caller's promise; the name is a C string.
        unsafe {
            sys::rd_kafka_conf_interceptor_add_on_new(
                configuration,
                NAME.as_ptr(),
                Some(on_new),
                opaque,
            );
        }
    }

    /// What Kafka said about this record, which it refused.
    pub(super) fn take(&self, index: usize) -> Option<String> {
        let mut sentences = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sentences.iter().position(|(of, _)| *of == index)?;
        Some(sentences.swap_remove(at).1)
    }

    fn add(&self, index: usize, sentence: String) {
        let mut sentences = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody took is of a record before it.
        sentences.retain(|(of, _)| *of != index);
        sentences.push((index, sentence));
    }
}

/// librdkafka's call while it makes the client.
unsafe extern "C" fn on_new(
    client: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> sys::rd_kafka_resp_err_t {
    let answered = Some(on_acknowledgement as _);
    // SAFETY: the client is valid; the name is a C string.
    unsafe {
        sys::rd_kafka_interceptor_add_on_acknowledgement(client, NAME.as_ptr(), answered, opaque);
    }
    DONE
}

/// librdkafka's call on the thread of a broker, before the report of this record is queued; or on the
/// thread that hands it over, if it is not taken.
unsafe extern "C" fn on_acknowledgement(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the message is valid, and so is its sentence during this call, if it has one. It is asked
    // for only where there is room for it: behind librdkafka's own messages, which name their Kafka topic.
    // One that was not even taken is the caller's own, which names none (`client::Batch`).
    unsafe {
        let ffi::Message { code, topic, opaque: index, .. } = *message.cast::<ffi::Message>();
        if code != 0
            && !topic.is_null()
            && let Some(sentence) = sys::rd_kafka_message_produce_errstr(message).as_ref()
        {
            let sentence = CStr::from_ptr(sentence).to_string_lossy();
            // SAFETY: it is what `listen` gave.
            let this = &*opaque.cast_const().cast::<Sentences>();
            this.add(index.addr(), sentence.chars().take(SENTENCE_MAX).collect());
        }
    }
    DONE
}
