//! A client of librdkafka that produces or asks, and its Kafka topics. With `ffi`, `events` and
//! `partitions` this is all that touches librdkafka's C interface; what leaves here is safe.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use super::events::Events;
use super::ffi;
use super::partitions::Chooser;
use super::sentences::Sentences;

/// `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
pub(super) const UNASSIGNED: i32 = -1;
/// librdkafka's code for a Kafka topic whose name no broker takes.
const TOPIC_EXCEPTION: i32 = 17;
/// Room for a sentence of librdkafka.
const TEXT_MAX: usize = 512;

/// A client. Whoever shares it may use it from any thread. Dropped, it forgets what it was given and has
/// not sent, and waits for its threads to end.
pub(super) struct Client {
    handle: NonNull<sys::rd_kafka_t>,
    /// What librdkafka may ask as long as it lives, and so dropped after it.
    choosers: Mutex<Vec<Arc<Chooser>>>,
    /// The same for what it is told.
    _sentences: Option<Arc<Sentences>>,
}

// SAFETY: librdkafka's functions may be called from any thread, with one client from several at once.
unsafe impl Send for Client {}
// SAFETY: the same.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a producing client. No broker needs to be there.
    ///
    /// # Errors
    /// librdkafka's sentence. It may quote a property's value.
    pub(super) fn new(settings: &ClientConfig) -> Result<Self, String> {
        Self::heard_by(None, settings)
    }

    /// The same, and `sentences` hears why records are refused.
    ///
    /// # Errors
    /// The same.
    pub(super) fn heard_by(
        sentences: Option<&Arc<Sentences>>,
        settings: &ClientConfig,
    ) -> Result<Self, String> {
        let mut settings = settings.clone();
        settings
            // What it logs comes as events, and not to stderr.
            .set("log.queue", "true")
            // Else it never asks a `Chooser` where a record without a key goes.
            .set("sticky.partitioning.linger.ms", "0");
        let native = settings.create_native_config().map_err(|error| match error {
            // As the others: the sentence alone.
            KafkaError::ClientConfig(_, text, name, _) => format!("{name}: {text}"),
            other => other.to_string(),
        })?;
        if let Some(sentences) = sentences {
            // SAFETY: the configuration is valid, and the client keeps what it tells.
            unsafe { Sentences::listen(sentences, native.ptr()) };
        }
        let mut text = [0; TEXT_MAX];
        // SAFETY: the configuration is valid, and the client's from here on if there is one; librdkafka
        // writes at most so many bytes.
        let handle = unsafe {
            sys::rd_kafka_conf_set_events(
                native.ptr(),
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR,
            );
            sys::rd_kafka_new(
                sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
                native.ptr(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        let Some(handle) = NonNull::new(handle) else { return Err(sentence(&text)) };
        mem::forget(native);
        let client = Self { handle, choosers: Mutex::default(), _sentences: sentences.cloned() };
        // SAFETY: the client is valid; no queue stands for the main one.
        unsafe { ffi::rd_kafka_set_log_queue(client.ptr(), ptr::null_mut()) };
        Ok(client)
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.handle.as_ptr()
    }

    /// What it tells.
    pub(super) fn events(&self) -> Events<'_> {
        Events::of(self)
    }

    /// Records of one Kafka topic go through this, and metadata is asked of it. librdkafka chooses
    /// their partitions by asking `chooser`; without, by the property `partitioner`.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn topic(
        self: &Arc<Self>,
        name: &str,
        chooser: Option<&Arc<Chooser>>,
    ) -> Result<Topic, i32> {
        let name = CString::new(name).map_err(|_| TOPIC_EXCEPTION)?;
        let handle = match chooser {
            // SAFETY: the client is valid, and keeps what it asks from before the first record until
            // after its own end.
            Some(chooser) => unsafe {
                self.choosers.lock().push(Arc::clone(chooser));
                let configuration = Chooser::configuration(chooser, self.ptr());
                sys::rd_kafka_topic_new(self.ptr(), name.as_ptr(), configuration)
            },
            // SAFETY: the client is valid, and librdkafka copies the name.
            None => unsafe { sys::rd_kafka_topic_new(self.ptr(), name.as_ptr(), ptr::null_mut()) },
        };
        let handle = NonNull::new(handle).ok_or_else(last_error)?;
        Ok(Topic { handle, client: Arc::clone(self) })
    }

    /// Hands over one record, which is copied. Never blocks.
    ///
    /// # Errors
    /// It was not taken, by librdkafka's code, and there will be no report about it.
    pub(super) fn produce(
        &self,
        kafka_topic: &str,
        index: usize,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&CStr, &[u8])],
    ) -> Result<(), i32> {
        use sys::rd_kafka_vtype_t::{
            RD_KAFKA_VTYPE_HEADER as HEADER, RD_KAFKA_VTYPE_KEY as KEY,
            RD_KAFKA_VTYPE_MSGFLAGS as FLAGS, RD_KAFKA_VTYPE_OPAQUE as OPAQUE,
            RD_KAFKA_VTYPE_TOPIC as TOPIC, RD_KAFKA_VTYPE_VALUE as VALUE,
        };
        use sys::rd_kafka_vu_s__bindgen_ty_1 as Union;
        use sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Bytes;
        use sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 as Header;
        let kafka_topic = CString::new(kafka_topic).map_err(|_| TOPIC_EXCEPTION)?;
        let bytes = |bytes: &[u8]| Union {
            mem: Bytes { ptr: bytes.as_ptr().cast_mut().cast(), size: bytes.len() },
        };
        let mut arguments = vec![
            (TOPIC, Union { cstr: kafka_topic.as_ptr() }),
            (FLAGS, Union { i: sys::RD_KAFKA_MSG_F_COPY }),
            (OPAQUE, Union { ptr: ptr::without_provenance_mut(index) }),
            (VALUE, bytes(value)),
        ];
        arguments.extend(key.map(|key| (KEY, bytes(key))));
        arguments.extend(headers.iter().map(|(name, value)| {
            let size = isize::try_from(value.len()).unwrap_or(isize::MAX);
            let header = Header { name: name.as_ptr(), val: value.as_ptr().cast(), size };
            (HEADER, Union { header })
        }));
        let arguments: Vec<_> =
            arguments.into_iter().map(|(vtype, u)| sys::rd_kafka_vu_t { vtype, u }).collect();
        // SAFETY: the client is valid, each argument has the member that its kind names, and what they
        // point to lives until the call returns, which copies all of it.
        unsafe { self.produce_arguments(&arguments) }
    }

    /// # Safety
    /// Each argument has the member that its kind names, and what it points to is valid.
    unsafe fn produce_arguments(&self, arguments: &[sys::rd_kafka_vu_t]) -> Result<(), i32> {
        // SAFETY: the client is valid, and the caller's promise. The error is destroyed once.
        unsafe {
            let error = sys::rd_kafka_produceva(self.ptr(), arguments.as_ptr(), arguments.len());
            if error.is_null() {
                return Ok(());
            }
            let code = ffi::rd_kafka_error_code(error);
            sys::rd_kafka_error_destroy(error);
            Err(code)
        }
    }

    /// Sends at once what it was given, and waits until all is reported, but for no longer than this.
    pub(super) fn flush(&self, timeout_ms: c_int) {
        // SAFETY: the client is valid. Reports come as events, so none is lost here.
        unsafe { ffi::rd_kafka_flush(self.ptr(), timeout_ms) };
    }

    /// Whether it is at its end, by librdkafka's code and sentence.
    pub(super) fn fatal_error(&self) -> Option<(i32, String)> {
        let mut text = [0; TEXT_MAX];
        // SAFETY: the client is valid; librdkafka writes at most so many bytes.
        let code = unsafe { ffi::rd_kafka_fatal_error(self.ptr(), text.as_mut_ptr(), text.len()) };
        (code != 0).then(|| (code, sentence(&text)))
    }

    /// Asks a broker for metadata of the Kafka topics that the client knows, and waits for so long.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn metadata(&self, within: Duration) -> Result<Metadata, i32> {
        let timeout_ms = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
        let mut metadata = ptr::null();
        // SAFETY: the client is valid; no Kafka topic means those that it knows; the metadata is set on
        // success only, and the caller's then.
        let code = unsafe {
            ffi::rd_kafka_metadata(self.ptr(), 0, ptr::null_mut(), &raw mut metadata, timeout_ms)
        };
        match NonNull::new(metadata.cast_mut()) {
            Some(metadata) if code == 0 => Ok(Metadata(metadata)),
            _ => Err(code),
        }
    }

    /// Asks the leader of a partition for its end, which changes nothing, and waits for so long. Whatever
    /// it answers, it is there.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn ask_leader(&self, leader: &Leader, within: Duration) -> Result<(), i32> {
        /// In place of a time: the end.
        const LATEST: i64 = -1;
        let timeout_ms = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
        let kafka_topic = CString::new(leader.kafka_topic.as_str()).map_err(|_| TOPIC_EXCEPTION)?;
        // SAFETY: the client is valid; the list is ours from here until it is destroyed, once, and has
        // the one element that is written to.
        let code = unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(1);
            let partition = sys::rd_kafka_topic_partition_list_add(
                list,
                kafka_topic.as_ptr(),
                leader.kafka_partition,
            );
            (&raw mut (*partition).offset).write(LATEST);
            let code = ffi::rd_kafka_offsets_for_times(self.ptr(), list, timeout_ms);
            sys::rd_kafka_topic_partition_list_destroy(list);
            code
        };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Tells librdkafka once more where the brokers are (`host:port` each, separated by commas). An
    /// answer without any broker, as Kafka may give one while it starts, makes it forget them all, and
    /// it then asks nobody ever again (librdkafka #5301). What it still knows stays as it is.
    pub(super) fn remind_of_brokers(&self, brokers: &CStr) {
        // SAFETY: the client is valid, and copies what it keeps of the list.
        unsafe { sys::rd_kafka_brokers_add(self.ptr(), brokers.as_ptr()) };
    }

    /// How many events and records wait inside.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        // SAFETY: the client is valid.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.ptr()) }).unwrap_or_default()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let all = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is valid until here. Its Kafka topics and events are gone, for they hold or
        // borrow it.
        unsafe {
            ffi::rd_kafka_purge(self.ptr(), all);
            sys::rd_kafka_destroy(self.ptr());
        }
    }
}

/// librdkafka's handle of a Kafka topic. It keeps its client.
pub(super) struct Topic {
    handle: NonNull<sys::rd_kafka_topic_t>,
    /// Ends after its handles.
    client: Arc<Client>,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Topic {}

impl Topic {
    /// Hands over records for one partition or, with [`UNASSIGNED`], one that librdkafka chooses for
    /// each. Never blocks. Returns the code of each, 0 for those that were taken; nothing if all were.
    pub(super) fn produce(&self, partition: i32, mut batch: Batch<'_>) -> Vec<i32> {
        let messages = &mut batch.messages;
        let count = c_int::try_from(messages.len()).unwrap_or(c_int::MAX);
        // SAFETY: the handle is valid, and so are as many messages as is said; librdkafka copies keys
        // and values, never writes to them, and gives the opaque back as it is.
        let taken = unsafe {
            ffi::rd_kafka_produce_batch(
                self.handle.as_ptr(),
                partition,
                sys::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                count,
            )
        };
        if taken == count {
            return Vec::new();
        }
        messages.iter().map(|message| message.code).collect()
    }
}

impl Topic {
    /// Hands over one record with what [`Topic::produce`] has no place for. librdkafka copies all of it,
    /// headers too, so nothing remains to be freed here, whether it takes the record or not. Never blocks.
    ///
    /// # Errors
    /// It was not taken, by librdkafka's code, and there will be no report about it.
    pub(super) fn produce_one(
        &self,
        partition: i32,
        record: Outgoing<'_>,
        extras: Extras<'_>,
    ) -> Result<(), i32> {
        use sys::rd_kafka_vtype_t::{
            RD_KAFKA_VTYPE_HEADER as HEADER, RD_KAFKA_VTYPE_KEY as KEY,
            RD_KAFKA_VTYPE_MSGFLAGS as FLAGS, RD_KAFKA_VTYPE_OPAQUE as OPAQUE,
            RD_KAFKA_VTYPE_PARTITION as PARTITION, RD_KAFKA_VTYPE_RKT as TOPIC,
            RD_KAFKA_VTYPE_TIMESTAMP as TIMESTAMP, RD_KAFKA_VTYPE_VALUE as VALUE,
        };
        use sys::rd_kafka_vu_s__bindgen_ty_1 as Union;
        use sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Bytes;
        use sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 as Header;
        let bytes = |bytes: Option<&[u8]>| {
            let (ptr, size) = raw(bytes);
            Union { mem: Bytes { ptr, size } }
        };
        let header = |(name, value): &(&CStr, Option<&[u8]>)| {
            let (val, size) = raw(*value);
            let size = isize::try_from(size).unwrap_or(isize::MAX);
            Union { header: Header { name: name.as_ptr(), val, size } }
        };
        let fixed = [
            (TOPIC, Union { rkt: self.handle.as_ptr() }),
            (PARTITION, Union { i32_: partition }),
            (FLAGS, Union { i: sys::RD_KAFKA_MSG_F_COPY }),
            (OPAQUE, Union { ptr: ptr::without_provenance_mut(record.index) }),
            (KEY, bytes(record.key)),
            (VALUE, bytes(record.value)),
        ];
        let timestamp = extras.timestamp_ms.map(|ms| {
            // 0 is librdkafka's word for now; this is nearer.
            (TIMESTAMP, Union { i64_: if ms == 0 { 1 } else { ms } })
        });
        let headers = extras.headers.iter().map(|it| (HEADER, header(it)));
        let arguments = fixed.into_iter().chain(timestamp).chain(headers);
        let arguments: Vec<_> =
            arguments.map(|(vtype, u)| sys::rd_kafka_vu_t { vtype, u }).collect();
        // SAFETY: the client and the handle are valid, each argument has the member that its kind names,
        // and what they point to lives until the call returns, which copies all of it.
        unsafe { self.client.produce_arguments(&arguments) }
    }
}

/// A pointer and a length. librdkafka tells null from empty by the pointer.
fn raw(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is valid until here, its client lives, and nobody else destroys it.
        unsafe { sys::rd_kafka_topic_destroy(self.handle.as_ptr()) }
    }
}

/// A record to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What its report names it by.
    pub index: usize,
    /// The key: `None` is null, and an empty one is a key as any other.
    pub key: Option<&'a [u8]>,
    /// The value: `None` is null, which deletes in a compacted Kafka topic; an empty one does not.
    pub value: Option<&'a [u8]>,
    /// What decides on its partition where it has no key: its MQTT topic.
    pub mqtt_topic: &'a [u8],
}

/// With the MQTT topic as key.
impl<'a> From<(usize, &'a [u8], &'a [u8])> for Outgoing<'a> {
    fn from((index, key, value): (usize, &'a [u8], &'a [u8])) -> Self {
        Self { index, key: Some(key), value: Some(value), mqtt_topic: key }
    }
}

/// What a record may have beside key and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The headers, written in this order, the same name as often as it is given; `None` is null.
    pub headers: &'a [(&'a CStr, Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch; `None`: now. Of 0 librdkafka knows nothing: it is written as 1.
    pub timestamp_ms: Option<i64>,
    /// The partition; `None`: by key or MQTT topic. One that Kafka has not comes back with librdkafka's
    /// `_UNKNOWN_PARTITION`: at once, or by a report while the partitions are not known yet.
    pub kafka_partition: Option<i32>,
}

/// Records for [`Topic::produce`].
pub(super) struct Batch<'a> {
    messages: Vec<ffi::Message>,
    bytes: PhantomData<&'a [u8]>,
}

impl Batch<'_> {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

impl<'a> FromIterator<Outgoing<'a>> for Batch<'a> {
    fn from_iter<I: IntoIterator<Item = Outgoing<'a>>>(records: I) -> Self {
        let message = |record: Outgoing<'_>| {
            let (payload, payload_length) = raw(record.value);
            let (key, key_length) = raw(record.key);
            ffi::Message {
                code: 0,
                // By this `sentences` knows it from one of librdkafka's.
                topic: ptr::null_mut(),
                partition: UNASSIGNED,
                payload,
                payload_length,
                key,
                key_length,
                offset: 0,
                opaque: ptr::without_provenance_mut(record.index),
            }
        };
        Self { messages: records.into_iter().map(message).collect(), bytes: PhantomData }
    }
}

/// An answer to [`Client::metadata`].
pub(super) struct Metadata(NonNull<ffi::Metadata>);

impl Metadata {
    /// Each Kafka topic: its name, its code, and the first partition that has no leader.
    pub(super) fn topics(&self) -> impl Iterator<Item = (String, i32, Option<i32>)> {
        // SAFETY: librdkafka's arrays have as many elements as is said, and live as long as this; all
        // their fields are numbers and pointers.
        unsafe {
            let metadata = self.0.as_ref();
            elements(metadata.topics, metadata.topic_count).iter().map(|topic| {
                let partitions = elements(topic.partitions, topic.partition_count);
                let leaderless = partitions.iter().find(|partition| partition.leader < 0);
                let name = CStr::from_ptr(topic.name).to_string_lossy().into_owned();
                (name, topic.code, leaderless.map(|partition| partition.id))
            })
        }
    }
}

impl Metadata {
    /// Each broker that leads a partition of these Kafka topics, once.
    pub(super) fn leaders(&self) -> Vec<Leader> {
        // SAFETY: as in `topics`.
        unsafe {
            let metadata = self.0.as_ref();
            let brokers = elements(metadata.brokers, metadata.broker_count);
            let leader = |broker: &ffi::Broker| {
                let topics = elements(metadata.topics, metadata.topic_count);
                let mut led = topics.iter().flat_map(|topic| {
                    let partitions = elements(topic.partitions, topic.partition_count).iter();
                    partitions
                        .filter(|partition| partition.leader == broker.id)
                        .map(move |partition| (topic.name, partition.id))
                });
                let (name, kafka_partition) = led.next()?;
                let host = CStr::from_ptr(broker.host).to_string_lossy();
                Some(Leader {
                    address: format!("{host}:{}", broker.port),
                    kafka_topic: CStr::from_ptr(name).to_string_lossy().into_owned(),
                    kafka_partition,
                })
            };
            brokers.iter().filter_map(leader).collect()
        }
    }
}

/// A broker that leads partitions of our Kafka topics, and one of them.
#[derive(Debug)]
pub(super) struct Leader {
    /// `host:port`, as Kafka tells its clients (`advertised.listeners`).
    pub(super) address: String,
    pub(super) kafka_topic: String,
    pub(super) kafka_partition: i32,
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: it is valid until here, and destroyed once.
        unsafe { ffi::rd_kafka_metadata_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `first` has `count` elements for as long as the result is used, or `count` is not positive.
unsafe fn elements<'a, T>(first: *const T, count: c_int) -> &'a [T] {
    match usize::try_from(count) {
        // SAFETY: promised by the caller.
        Ok(count) if count > 0 => unsafe { slice::from_raw_parts(first, count) },
        _ => &[],
    }
}

/// Why librdkafka's last call on this thread failed.
fn last_error() -> i32 {
    // SAFETY: it reads a variable of this thread.
    unsafe { ffi::rd_kafka_last_error() }
}

/// What librdkafka wrote to a buffer.
fn sentence(buffer: &[c_char; TEXT_MAX]) -> String {
    let bytes = buffer.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).trim_end().to_owned()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
