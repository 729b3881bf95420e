//! What librdkafka's C interface says with error codes, declared once more with numbers in their place.
//! The bindings return such a code as an enum of Rust, and a code that is none of its values is
//! undefined behaviour there: librdkafka passes on whatever number a broker sends.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{align_of, offset_of, size_of};

use rdkafka::bindings as sys;

/// `rd_kafka_message_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) code: c_int,
    pub(super) topic: *mut sys::rd_kafka_topic_t,
    pub(super) partition: i32,
    pub(super) payload: *mut c_void,
    pub(super) payload_length: usize,
    pub(super) key: *mut c_void,
    pub(super) key_length: usize,
    pub(super) offset: i64,
    pub(super) opaque: *mut c_void,
}

/// `rd_kafka_metadata_t`.
#[repr(C)]
pub(super) struct Metadata {
    pub(super) broker_count: c_int,
    pub(super) brokers: *const Broker,
    pub(super) topic_count: c_int,
    pub(super) topics: *const Topic,
    _origin_id: i32,
    _origin_name: *mut c_char,
}

/// `rd_kafka_metadata_broker_t`.
#[repr(C)]
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) host: *const c_char,
    pub(super) port: c_int,
}

/// `rd_kafka_metadata_topic_t`.
#[repr(C)]
pub(super) struct Topic {
    pub(super) name: *const c_char,
    pub(super) partition_count: c_int,
    pub(super) partitions: *const Partition,
    pub(super) code: c_int,
}

/// `rd_kafka_metadata_partition_t`.
#[repr(C)]
pub(super) struct Partition {
    pub(super) id: i32,
    pub(super) code: c_int,
    pub(super) leader: i32,
    _replica_count: c_int,
    _replicas: *mut i32,
    _in_sync_count: c_int,
    _in_sync: *mut i32,
}

/// Ours has a type of the bindings' size, and each of these fields where the bindings have it.
macro_rules! same_layout {
    ($ours:ty, $theirs:ty, $($field:ident = $their_field:ident),*) => {
        const _: () = assert!(size_of::<$ours>() == size_of::<$theirs>());
        const _: () = assert!(align_of::<$ours>() == align_of::<$theirs>());
        $(const _: () = assert!(offset_of!($ours, $field) == offset_of!($theirs, $their_field));)*
    };
}

same_layout!(
    Message,
    sys::rd_kafka_message_t,
    code = err,
    topic = rkt,
    partition = partition,
    payload = payload,
    payload_length = len,
    key = key,
    key_length = key_len,
    offset = offset,
    opaque = _private
);
same_layout!(
    Metadata,
    sys::rd_kafka_metadata_t,
    broker_count = broker_cnt,
    brokers = brokers,
    topic_count = topic_cnt,
    topics = topics
);
same_layout!(Broker, sys::rd_kafka_metadata_broker_t, id = id, host = host, port = port);
same_layout!(
    Topic,
    sys::rd_kafka_metadata_topic_t,
    name = topic,
    partition_count = partition_cnt,
    partitions = partitions,
    code = err
);
same_layout!(Partition, sys::rd_kafka_metadata_partition_t, id = id, code = err, leader = leader);

unsafe extern "C" {
    pub(super) fn rd_kafka_last_error() -> c_int;
    pub(super) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
    pub(super) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
    pub(super) fn rd_kafka_event_message_next(event: *mut sys::rd_kafka_event_t) -> *const Message;
    pub(super) fn rd_kafka_fatal_error(
        client: *mut sys::rd_kafka_t,
        text: *mut c_char,
        text_size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_flush(client: *mut sys::rd_kafka_t, timeout_ms: c_int) -> c_int;
    pub(super) fn rd_kafka_metadata(
        client: *mut sys::rd_kafka_t,
        all_topics: c_int,
        only_topic: *mut sys::rd_kafka_topic_t,
        metadata: *mut *const Metadata,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_offsets_for_times(
        client: *mut sys::rd_kafka_t,
        offsets: *mut sys::rd_kafka_topic_partition_list_t,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_metadata_destroy(metadata: *const Metadata);
    pub(super) fn rd_kafka_produce_batch(
        topic: *mut sys::rd_kafka_topic_t,
        partition: i32,
        flags: c_int,
        messages: *mut Message,
        count: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_purge(client: *mut sys::rd_kafka_t, flags: c_int) -> c_int;
    pub(super) fn rd_kafka_set_log_queue(
        client: *mut sys::rd_kafka_t,
        queue: *mut sys::rd_kafka_queue_t,
    ) -> c_int;
}
