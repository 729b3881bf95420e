//! librdkafka's C interface. This is the only file with `unsafe`; its functions are safe: a client, its
//! Kafka topics, the records handed to it, its events.
//!
//! The `SAFETY` comments rely on the following:
//! - A client is valid until it is dropped. Each [`KafkaTopic`] holds its client, so no handle outlives it.
//! - librdkafka's functions may be called from any thread, with one client from several at once.
//! - librdkafka copies what it is given (keys, values, headers, names) before the call returns.
//! - Error codes are read as numbers, never as the bindings' enum: librdkafka passes on whatever number a
//!   broker sends, and in Rust an enum that holds none of its values is undefined behaviour. So functions
//!   that return a code are declared once more in [`ffi`], and a field with a code is read by [`code`].
//! - What a callback gets as its `opaque` is in [`Client::kept`], and dropped after the client has ended.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use openssl::x509::X509VerifyResult;
use parking_lot::Mutex;
use rdkafka::bindings as sys;
use rdkafka::config::{ClientConfig, NativeClientConfig};
use rdkafka::error::KafkaError;

use super::events::{Listener, Report};
use super::outgoing::{Extras, Outgoing};
use super::sentences::Sentences;
use super::token::Token;
use crate::message::{NewKafkaTopic, Stamp};

/// `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
pub(super) const UNASSIGNED: i32 = -1;
/// librdkafka's code for a Kafka topic whose name no broker takes.
const TOPIC_EXCEPTION: i32 = 17;
/// librdkafka's `_INVALID_ARG` and `_TIMED_OUT`.
const INVALID_ARGUMENT: i32 = -186;
const TIMED_OUT: i32 = -185;
/// Room for a sentence of librdkafka.
const TEXT_MAX: usize = 512;
/// The name of the interceptor.
const SENTENCES: &CStr = c"sentences";

/// The functions that return an error code, with a number in place of the bindings' enum.
mod ffi {
    use super::{c_char, c_int, sys};

    unsafe extern "C" {
        pub(super) fn rd_kafka_last_error() -> c_int;
        pub(super) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
        pub(super) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
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
            metadata: *mut *const sys::rd_kafka_metadata_t,
            timeout_ms: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_offsets_for_times(
            client: *mut sys::rd_kafka_t,
            offsets: *mut sys::rd_kafka_topic_partition_list_t,
            timeout_ms: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_oauthbearer_set_token(
            client: *mut sys::rd_kafka_t,
            value: *const c_char,
            expires_at_ms: i64,
            principal: *const c_char,
            extensions: *mut *const c_char,
            extensions_count: usize,
            text: *mut c_char,
            text_size: usize,
        ) -> c_int;
        pub(super) fn rd_kafka_AdminOptions_set_operation_timeout(
            options: *mut sys::rd_kafka_AdminOptions_t,
            timeout_ms: c_int,
            text: *mut c_char,
            text_size: usize,
        ) -> c_int;
        pub(super) fn rd_kafka_AdminOptions_set_request_timeout(
            options: *mut sys::rd_kafka_AdminOptions_t,
            timeout_ms: c_int,
            text: *mut c_char,
            text_size: usize,
        ) -> c_int;
        pub(super) fn rd_kafka_NewTopic_set_config(
            new_topic: *mut sys::rd_kafka_NewTopic_t,
            name: *const c_char,
            value: *const c_char,
        ) -> c_int;
        pub(super) fn rd_kafka_topic_result_error(
            result: *const sys::rd_kafka_topic_result_t,
        ) -> c_int;
        pub(super) fn rd_kafka_ConfigResource_error(
            resource: *const sys::rd_kafka_ConfigResource_t,
        ) -> c_int;
        pub(super) fn rd_kafka_purge(client: *mut sys::rd_kafka_t, flags: c_int) -> c_int;
        pub(super) fn rd_kafka_set_log_queue(
            client: *mut sys::rd_kafka_t,
            queue: *mut sys::rd_kafka_queue_t,
        ) -> c_int;
    }
}

const _: () = assert!(size_of::<sys::rd_kafka_resp_err_t>() == size_of::<c_int>());

/// A client. It may be used from any thread. When dropped it discards what it was given and has not sent,
/// and waits for its threads to end.
pub(super) struct Client {
    handle: *mut sys::rd_kafka_t,
    /// All its events come through this one.
    queue: *mut sys::rd_kafka_queue_t,
    /// What its callbacks use.
    kept: Mutex<Vec<Arc<dyn Send + Sync>>>,
}

// SAFETY: librdkafka's functions may be called from any thread, with one client from several at once.
unsafe impl Send for Client {}
// SAFETY: the same.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a producing client; needs no broker. `sentences` gets Kafka's reasons for refusing records.
    ///
    /// # Errors
    /// librdkafka's sentence. It may quote the value of a property.
    pub(super) fn new(
        settings: &ClientConfig,
        sentences: Option<&Arc<Sentences>>,
    ) -> Result<Self, String> {
        let mut settings = settings.clone();
        settings
            // Log lines come as events instead of going to stderr.
            .set("log.queue", "true")
            // Otherwise librdkafka never asks a `Partitioner` about a record without a key.
            .set("sticky.partitioning.linger.ms", "0");
        let native = settings.create_native_config().map_err(|error| match error {
            KafkaError::ClientConfig(_, text, name, _) => format!("{name}: {text}"),
            other => other.to_string(),
        })?;
        let verifies = settings.get("enable.ssl.certificate.verification") != Some("false");
        let mut text = [0; TEXT_MAX];
        let told = sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_STATS;
        // SAFETY: the configuration is valid, and belongs to the client once there is one; the opaque is
        // kept; librdkafka writes at most so many bytes of text.
        let handle = unsafe {
            if let Some(sentences) = sentences {
                let (name, opaque) = (SENTENCES.as_ptr(), opaque(sentences));
                sys::rd_kafka_conf_interceptor_add_on_new(native.ptr(), name, Some(on_new), opaque);
            }
            if verifies {
                sys::rd_kafka_conf_set_ssl_cert_verify_cb(native.ptr(), Some(why_not_trusted));
            }
            sys::rd_kafka_conf_set_events(native.ptr(), told);
            let kind = sys::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            sys::rd_kafka_new(kind, native.ptr(), text.as_mut_ptr(), text.len())
        };
        if handle.is_null() {
            return Err(sentence(&text));
        }
        mem::forget(native);
        let kept = sentences.map(|sentences| Arc::clone(sentences) as Arc<dyn Send + Sync>);
        // SAFETY: the client is valid, and so is its main queue as long; null stands for that one.
        let queue = unsafe {
            ffi::rd_kafka_set_log_queue(handle, ptr::null_mut());
            sys::rd_kafka_queue_get_main(handle)
        };
        Ok(Self { handle, queue, kept: Mutex::new(kept.into_iter().collect()) })
    }

    /// The Kafka topic of this name. The property `partitioner` chooses partitions.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn kafka_topic(self: &Arc<Self>, name: &str) -> Result<KafkaTopic, i32> {
        // SAFETY: null stands for the client's own configuration.
        unsafe { self.new_kafka_topic(&c_string(name)?, ptr::null_mut()) }
    }

    /// The same, but `partitioner` chooses.
    ///
    /// # Errors
    /// The same.
    pub(super) fn kafka_topic_with<P: Partitioner>(
        self: &Arc<Self>,
        name: &str,
        partitioner: &Arc<P>,
    ) -> Result<KafkaTopic, i32> {
        let name = c_string(name)?;
        self.kept.lock().push(Arc::clone(partitioner) as _);
        // SAFETY: the client is valid, the configuration is ours until it is given away, and the opaque is
        // kept, and what `choose::<P>` takes it for.
        unsafe {
            let configuration = sys::rd_kafka_default_topic_conf_dup(self.handle);
            sys::rd_kafka_topic_conf_set_opaque(configuration, opaque(partitioner));
            sys::rd_kafka_topic_conf_set_partitioner_cb(configuration, Some(choose::<P>));
            self.new_kafka_topic(&name, configuration)
        }
    }

    /// # Safety
    /// The configuration is null, or valid and given away.
    unsafe fn new_kafka_topic(
        self: &Arc<Self>,
        name: &CStr,
        configuration: *mut sys::rd_kafka_topic_conf_t,
    ) -> Result<KafkaTopic, i32> {
        // SAFETY: the client is valid; the caller's promise; the code is a variable of this thread.
        unsafe {
            let handle = sys::rd_kafka_topic_new(self.handle, name.as_ptr(), configuration);
            if handle.is_null() {
                return Err(ffi::rd_kafka_last_error());
            }
            Ok(KafkaTopic { handle, client: Arc::clone(self), arguments: Vec::new() })
        }
    }

    /// The client's next logins by PLAIN or SCRAM are with these; connections that are open stay so.
    pub(super) fn set_credentials(&self, username: &CStr, password: &CStr) {
        // SAFETY: the client is valid; librdkafka copies both, and an error is ours to destroy.
        unsafe {
            let error = sys::rd_kafka_sasl_set_credentials(
                self.handle,
                username.as_ptr(),
                password.as_ptr(),
            );
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
        }
    }

    /// The client's next logins by OAUTHBEARER are with this token.
    ///
    /// # Errors
    /// librdkafka's sentence: the token has expired, or the client logs in by another mechanism.
    pub(super) fn set_token(&self, token: &Token) -> Result<(), String> {
        let mut extensions: Vec<_> = token.extensions().iter().map(|text| text.as_ptr()).collect();
        let mut said = [0; TEXT_MAX];
        // SAFETY: the client is valid; librdkafka copies all it is given, and writes at most so many bytes
        // of text.
        let code = unsafe {
            ffi::rd_kafka_oauthbearer_set_token(
                self.handle,
                token.value().as_ptr(),
                token.expires_at_ms(),
                token.principal().as_ptr(),
                extensions.as_mut_ptr(),
                extensions.len(),
                said.as_mut_ptr(),
                said.len(),
            )
        };
        if code == 0 { Ok(()) } else { Err(sentence(&said)) }
    }

    /// Waits for one event, at most for `timeout`, and passes it on. Returns whether there was one.
    pub(super) fn poll(&self, timeout: Duration, listener: &impl Listener) -> bool {
        // Rounded up: librdkafka would spend the last millisecond in a busy loop.
        let timeout_ms =
            c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        // SAFETY: the queue is valid, and the event is ours until `Event` destroys it.
        let event = unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, timeout_ms);
            if event.is_null() {
                return false;
            }
            Event(event)
        };
        // SAFETY: the event is valid.
        match unsafe { sys::rd_kafka_event_type(event.0) } {
            sys::RD_KAFKA_EVENT_DR => {
                let at = Stamp::now();
                // SAFETY: the event is valid.
                let count = unsafe { sys::rd_kafka_event_message_count(event.0) };
                let mut reports = Vec::with_capacity(count);
                reports.extend(event.reports(at));
                listener.reports(&reports);
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
            sys::RD_KAFKA_EVENT_STATS => listener.statistics(&event.statistics()),
            // Nothing else is asked for.
            _ => {}
        }
        true
    }

    /// Makes the [`Client::poll`] of another thread return, or the next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is valid.
        unsafe { sys::rd_kafka_queue_yield(self.queue) }
    }

    /// Sends at once what it was given, and waits for the reports, but no longer than this.
    pub(super) fn flush(&self, timeout_ms: c_int) {
        // SAFETY: the client is valid. Reports come as events, so none is lost here.
        unsafe { ffi::rd_kafka_flush(self.handle, timeout_ms) };
    }

    /// The code and sentence of its fatal error, if there was one.
    pub(super) fn fatal_error(&self) -> Option<(i32, String)> {
        let mut text = [0; TEXT_MAX];
        // SAFETY: the client is valid; librdkafka writes at most so many bytes.
        let code = unsafe { ffi::rd_kafka_fatal_error(self.handle, text.as_mut_ptr(), text.len()) };
        (code != 0).then(|| (code, sentence(&text)))
    }

    /// Asks a broker for metadata of the client's Kafka topics, and waits at most `within`.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn metadata(&self, within: Duration) -> Result<Metadata, i32> {
        let mut metadata = ptr::null();
        let out = &raw mut metadata;
        // SAFETY: the client is valid, and no Kafka topic stands for those that it knows. On success alone
        // there is an answer, ours until it is destroyed, with as many elements as is said.
        unsafe {
            match ffi::rd_kafka_metadata(self.handle, 0, ptr::null_mut(), out, ms(within)) {
                0 => {
                    let read = Metadata::read(metadata);
                    sys::rd_kafka_metadata_destroy(metadata);
                    Ok(read)
                }
                code => Err(code),
            }
        }
    }

    /// Asks the leader of a partition for the partition's end, and waits at most `within`. Any answer shows
    /// that the leader is reachable.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(super) fn ask_leader(
        &self,
        kafka_topic: &str,
        kafka_partition: i32,
        within: Duration,
    ) -> Result<(), i32> {
        /// In place of a time: the end.
        const LATEST: i64 = -1;
        let kafka_topic = c_string(kafka_topic)?;
        // SAFETY: the client is valid; the list is ours until it is destroyed, once, and has the one
        // element that is written to.
        let code = unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(1);
            let partition =
                sys::rd_kafka_topic_partition_list_add(list, kafka_topic.as_ptr(), kafka_partition);
            (&raw mut (*partition).offset).write(LATEST);
            let code = ffi::rd_kafka_offsets_for_times(self.handle, list, ms(within));
            sys::rd_kafka_topic_partition_list_destroy(list);
            code
        };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Asks a broker about these Kafka topics, without creating any, and waits at most `within`. Returns for
    /// each the number of its partitions, or Kafka's code and sentence.
    ///
    /// # Errors
    /// librdkafka's code and sentence: there is no answer.
    pub(super) fn describe_kafka_topics(
        &self,
        names: &[&str],
        within: Duration,
    ) -> Result<Vec<OfKafkaTopic<i32>>, CodeAndSentence> {
        // SAFETY: the description is valid.
        self.describe(names, false, within, |kafka_topic| unsafe {
            let mut partitions = 0;
            sys::rd_kafka_TopicDescription_partitions(kafka_topic, &raw mut partitions);
            i32::try_from(partitions).unwrap_or(i32::MAX)
        })
    }

    /// The same, with the partitions and what this client may do.
    ///
    /// # Errors
    /// The same.
    pub(super) fn describe_in_full(
        &self,
        names: &[&str],
        within: Duration,
    ) -> Result<Vec<OfKafkaTopic<Description>>, CodeAndSentence> {
        // SAFETY: the description is valid, and so is all that belongs to it, with as many elements as is said.
        self.describe(names, true, within, |kafka_topic| unsafe {
            let mut count = 0;
            let partitions = sys::rd_kafka_TopicDescription_partitions(kafka_topic, &raw mut count);
            let partitions = (0..count).map(|at| {
                let partition = partitions.add(at).read();
                let (mut replicas, mut in_sync) = (0, 0);
                sys::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut replicas);
                sys::rd_kafka_TopicPartitionInfo_isr(partition, &raw mut in_sync);
                let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
                PartitionDescription {
                    id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
                    has_leader: !leader.is_null() && sys::rd_kafka_Node_id(leader) >= 0,
                    replicas,
                    in_sync,
                }
            });
            let partitions = partitions.collect();
            let mut count = 0;
            let first =
                sys::rd_kafka_TopicDescription_authorized_operations(kafka_topic, &raw mut count);
            Description { partitions, operations: operations(first, count) }
        })
    }

    fn describe<T>(
        &self,
        names: &[&str],
        with_operations: bool,
        within: Duration,
        read: impl Fn(*const sys::rd_kafka_TopicDescription_t) -> T,
    ) -> Result<Vec<OfKafkaTopic<T>>, CodeAndSentence> {
        let names = c_strings(names)?;
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: client, options and queue are valid; the names live until the collection has copied them,
        // which is ours until it is destroyed.
        let event = self.admin(op, within, with_operations, |options, queue| unsafe {
            let kafka_topics =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(self.handle, kafka_topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(kafka_topics);
        })?;
        // SAFETY: the event is valid and of this kind, with as many elements as is said; all belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
            let mut count = 0;
            let kafka_topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            let described = (0..count).map(|at| {
                let kafka_topic = kafka_topics.add(at).read();
                let name = text(sys::rd_kafka_TopicDescription_name(kafka_topic));
                let error = sys::rd_kafka_TopicDescription_error(kafka_topic);
                let found = match ffi::rd_kafka_error_code(error) {
                    0 => Ok(read(kafka_topic)),
                    code => Err((code, text(sys::rd_kafka_error_string(error)))),
                };
                (name, found)
            });
            Ok(described.collect())
        }
    }

    /// Asks what this client may do in the cluster as a whole, and waits at most `within`.
    ///
    /// # Errors
    /// librdkafka's code and sentence: there is no answer.
    pub(super) fn describe_cluster(
        &self,
        within: Duration,
    ) -> Result<ClusterDescription, CodeAndSentence> {
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        // SAFETY: client, options and queue are valid.
        let event = self.admin(op, within, true, |options, queue| unsafe {
            sys::rd_kafka_DescribeCluster(self.handle, options, queue);
        })?;
        // SAFETY: the event is valid and of this kind; all belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeCluster_result(event.0);
            let (mut count, mut nodes) = (0, 0);
            sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut nodes);
            let first =
                sys::rd_kafka_DescribeCluster_result_authorized_operations(result, &raw mut count);
            let id = text(sys::rd_kafka_DescribeCluster_result_cluster_id(result));
            Ok(ClusterDescription { id, nodes, operations: operations(first, count) })
        }
    }

    /// Asks for the settings of these Kafka topics, and waits at most `within`. Returns for each the settings
    /// with their values, or Kafka's code and sentence.
    ///
    /// # Errors
    /// librdkafka's code and sentence: there is no answer.
    pub(super) fn describe_settings(
        &self,
        names: &[&str],
        within: Duration,
    ) -> Result<Vec<OfKafkaTopic<NamesAndValues>>, CodeAndSentence> {
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: librdkafka copies the name, and what it makes is ours until it is destroyed.
        let resources = c_strings(names)?
            .into_iter()
            .map(|name| unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) });
        let mut resources = Resources(resources.filter(|made| !made.is_null()).collect());
        let pointers = &mut resources.0;
        // SAFETY: client, options and queue are valid, and so are as many resources as is said.
        let event = self.admin(op, within, false, |options, queue| unsafe {
            let (first, count) = (pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeConfigs(self.handle, first, count, options, queue);
        })?;
        // SAFETY: the event is valid and of this kind, with as many elements as is said; all belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.0);
            let mut count = 0;
            let found = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            let described = (0..count).map(|at| {
                let resource = found.add(at).read();
                let name = text(sys::rd_kafka_ConfigResource_name(resource));
                let settings = match ffi::rd_kafka_ConfigResource_error(resource) {
                    0 => {
                        let mut count = 0;
                        let entries =
                            sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
                        let setting = |at| {
                            let entry = entries.add(at).read();
                            let name = text(sys::rd_kafka_ConfigEntry_name(entry));
                            (name, text(sys::rd_kafka_ConfigEntry_value(entry)))
                        };
                        Ok((0..count).map(setting).collect())
                    }
                    code => Err((code, text(sys::rd_kafka_ConfigResource_error_string(resource)))),
                };
                (name, settings)
            });
            Ok(described.collect())
        }
    }

    /// Asks Kafka to create these Kafka topics, and waits at most `within`. Returns for each that it was
    /// created, or Kafka's code and sentence.
    ///
    /// # Errors
    /// librdkafka's code and sentence: there is no answer, and some may have been created.
    pub(super) fn create_kafka_topics(
        &self,
        kafka_topics: &[(&str, &NewKafkaTopic)],
        within: Duration,
    ) -> Result<Vec<OfKafkaTopic<()>>, CodeAndSentence> {
        /// As the brokers are configured.
        const DEFAULT: i32 = -1;
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let mut new = NewTopics(Vec::new());
        for (name, kafka_topic) in kafka_topics {
            let names = c_strings(&[name])?;
            let mut said = [0; TEXT_MAX];
            let partitions = kafka_topic.partitions.unwrap_or(DEFAULT);
            let replication = kafka_topic.replication.unwrap_or(DEFAULT);
            // SAFETY: librdkafka copies the name, and writes at most so many bytes of text; what it makes
            // is ours until it is destroyed.
            unsafe {
                let made = sys::rd_kafka_NewTopic_new(
                    names[0].as_ptr(),
                    partitions,
                    replication,
                    said.as_mut_ptr(),
                    said.len(),
                );
                if made.is_null() {
                    return Err((INVALID_ARGUMENT, sentence(&said)));
                }
                new.0.push(made);
                for (key, value) in &kafka_topic.config {
                    let setting = c_strings(&[key, value])?;
                    ffi::rd_kafka_NewTopic_set_config(
                        made,
                        setting[0].as_ptr(),
                        setting[1].as_ptr(),
                    );
                }
            }
        }
        let pointers = &mut new.0;
        // SAFETY: client, options and queue are valid, and so are as many new Kafka topics as is said.
        let event = self.admin(op, within, false, |options, queue| unsafe {
            let (first, count) = (pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_CreateTopics(self.handle, first, count, options, queue);
        })?;
        // SAFETY: the event is valid and of this kind, with as many elements as is said; all belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.0);
            let mut count = 0;
            let results = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            let created = (0..count).map(|at| {
                let result = results.add(at).read();
                let created = match ffi::rd_kafka_topic_result_error(result) {
                    0 => Ok(()),
                    code => Err((code, text(sys::rd_kafka_topic_result_error_string(result)))),
                };
                (text(sys::rd_kafka_topic_result_name(result)), created)
            });
            Ok(created.collect())
        }
    }

    /// Asks for the newest timestamp in these partitions, in milliseconds since 1970, and waits at most `within`.
    /// One without a record, or without an answer, is left out.
    ///
    /// # Errors
    /// librdkafka's code and sentence: there is no answer.
    pub(super) fn newest_timestamps(
        &self,
        partitions: &[(&str, i32)],
        within: Duration,
    ) -> Result<Vec<(String, i64)>, CodeAndSentence> {
        /// In place of an offset: that of the record with the newest timestamp.
        const NEWEST: i64 = -3;
        let names: Vec<_> = partitions.iter().map(|(name, _)| *name).collect();
        let names = c_strings(&names)?;
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        // SAFETY: client, options and queue are valid; the list copies the names, is ours until it is destroyed,
        // and has the elements that are written to.
        let event = self.admin(op, within, false, |options, queue| unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(0);
            for (name, (_, partition)) in names.iter().zip(partitions) {
                let added = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), *partition);
                (&raw mut (*added).offset).write(NEWEST);
            }
            sys::rd_kafka_ListOffsets(self.handle, list, options, queue);
            sys::rd_kafka_topic_partition_list_destroy(list);
        })?;
        // SAFETY: the event is valid and of this kind, with as many elements as is said; all belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(event.0);
            let mut count = 0;
            let found = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let newest = (0..count).filter_map(|at| {
                let info = found.add(at).read();
                let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                let timestamp_ms = sys::rd_kafka_ListOffsetsResultInfo_timestamp(info);
                let is_known = code(&raw const (*partition).err) == 0 && timestamp_ms > 0;
                is_known.then(|| (text((*partition).topic), timestamp_ms))
            });
            Ok(newest.collect())
        }
    }

    /// Sends an administrative request, and waits for the event that answers it; `with_operations` asks what this
    /// client may do as well.
    fn admin(
        &self,
        op: sys::rd_kafka_admin_op_t,
        within: Duration,
        with_operations: bool,
        send: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, CodeAndSentence> {
        let creates = op == sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let (within, mut said) = (ms(within), [0; TEXT_MAX]);
        // SAFETY: the client is valid; options and queue are ours until they are destroyed, once; the event is
        // ours until `Event` destroys it. An answer that comes later goes with the queue.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.handle, op);
            let (to, size) = (said.as_mut_ptr(), said.len());
            ffi::rd_kafka_AdminOptions_set_request_timeout(options, within, to, size);
            if creates {
                ffi::rd_kafka_AdminOptions_set_operation_timeout(options, within, to, size);
            }
            if with_operations {
                let set = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
                if !set.is_null() {
                    sys::rd_kafka_error_destroy(set);
                }
            }
            let queue = sys::rd_kafka_queue_new(self.handle);
            send(options, queue);
            // librdkafka answers in time; twice as long only bounds what it may get wrong.
            let event = sys::rd_kafka_queue_poll(queue, within.saturating_mul(2));
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            if event.is_null() {
                return Err((TIMED_OUT, "no answer".to_owned()));
            }
            let event = Event(event);
            match event.error() {
                (0, _) => Ok(event),
                failed => Err(failed),
            }
        }
    }

    /// Tells librdkafka again where the brokers are (`host:port` each, separated by commas). Kafka may
    /// answer without any broker while it starts; librdkafka then forgets all brokers and never asks again
    /// (librdkafka #5301). Brokers that it still knows are not affected.
    pub(super) fn remind_of_brokers(&self, brokers: &CStr) {
        // SAFETY: the client is valid.
        unsafe { sys::rd_kafka_brokers_add(self.handle, brokers.as_ptr()) };
    }

    /// How many events and records wait in it.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        // SAFETY: the client is valid.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.handle) }).unwrap_or_default()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let all = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: client and queue are valid until here. Topics are gone, for they hold the client, and so
        // are events, which do not leave `poll`.
        unsafe {
            ffi::rd_kafka_purge(self.handle, all);
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_destroy(self.handle);
        }
    }
}

/// librdkafka's code, or Kafka's, and what is said about it.
pub(super) type CodeAndSentence = (i32, String);

/// The settings of a Kafka topic.
pub(super) type NamesAndValues = Vec<(String, String)>;

/// The name of a Kafka topic, and what came of it.
pub(super) type OfKafkaTopic<T> = (String, Result<T, CodeAndSentence>);

/// Kafka topics that are to be created.
struct NewTopics(Vec<*mut sys::rd_kafka_NewTopic_t>);

impl Drop for NewTopics {
    fn drop(&mut self) {
        // SAFETY: each is valid until here, and nobody else destroys it.
        self.0.iter().for_each(|new| unsafe { sys::rd_kafka_NewTopic_destroy(*new) });
    }
}

/// Kafka topics whose settings are asked for.
struct Resources(Vec<*mut sys::rd_kafka_ConfigResource_t>);

impl Drop for Resources {
    fn drop(&mut self) {
        // SAFETY: each is valid until here, and nobody else destroys it.
        self.0.iter().for_each(|one| unsafe { sys::rd_kafka_ConfigResource_destroy(*one) });
    }
}

/// A Kafka topic, as Kafka describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) partitions: Vec<PartitionDescription>,
    /// What this client may do with it (`rd_kafka_AclOperation_t`); `None`: Kafka does not say.
    pub(super) operations: Option<Vec<u32>>,
}

/// See [`Description`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionDescription {
    pub(super) id: i32,
    pub(super) has_leader: bool,
    /// How many brokers are to have it, and how many have all of it.
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
}

/// The cluster, as Kafka describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterDescription {
    pub(super) id: String,
    pub(super) nodes: usize,
    /// As in [`Description`].
    pub(super) operations: Option<Vec<u32>>,
}

/// A Kafka topic of a client, which it keeps.
pub(super) struct KafkaTopic {
    handle: *mut sys::rd_kafka_topic_t,
    client: Arc<Client>,
    /// Of [`KafkaTopic::produce_one`]; empty, but for the memory.
    arguments: Vec<sys::rd_kafka_vu_t>,
}

// SAFETY: librdkafka's functions may be called from any thread.
unsafe impl Send for KafkaTopic {}

impl KafkaTopic {
    /// Hands over records for one partition; with [`UNASSIGNED`] librdkafka asks the partitioner for each.
    /// Never blocks. Returns librdkafka's code for each, 0 if it was taken; no codes if all were taken.
    pub(super) fn produce(&self, kafka_partition: i32, mut batch: Batch<'_>) -> Vec<i32> {
        let messages = &mut batch.messages;
        let count = c_int::try_from(messages.len()).unwrap_or(c_int::MAX);
        // SAFETY: the handle is valid, and so are as many messages as is said; librdkafka writes to their
        // codes alone, and gives the opaque back as it is.
        unsafe {
            let taken = sys::rd_kafka_produce_batch(
                self.handle,
                kafka_partition,
                sys::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr().cast(),
                count,
            );
            if taken == count {
                return Vec::new();
            }
            messages.iter().map(|message| code(&raw const (*message.as_ptr()).err)).collect()
        }
    }

    /// Hands over one record with headers and timestamp, which [`KafkaTopic::produce`] cannot pass on. Never
    /// blocks. librdkafka copies the headers into a list of its own, which it frees if it does not take the
    /// record.
    ///
    /// # Errors
    /// librdkafka's code. The record was not taken, and there will be no report about it.
    pub(super) fn produce_one(
        &mut self,
        kafka_partition: i32,
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
            (HEADER, Union { header: Header { name: name.as_ptr(), val, size } })
        };
        let fixed = [
            (TOPIC, Union { rkt: self.handle }),
            (PARTITION, Union { i32_: kafka_partition }),
            (FLAGS, Union { i: sys::RD_KAFKA_MSG_F_COPY }),
            (OPAQUE, Union { ptr: ptr::without_provenance_mut(record.index) }),
            (KEY, bytes(record.key)),
            (VALUE, bytes(record.value)),
        ];
        // librdkafka takes 0 for none, and none for now.
        let timestamp = extras.timestamp_ms.map(|ms| if ms == 0 { 1 } else { ms });
        let timestamp = timestamp.map(|ms| (TIMESTAMP, Union { i64_: ms }));
        let headers = extras.headers.iter().map(header);
        let arguments = fixed.into_iter().chain(timestamp).chain(headers);
        let arguments = arguments.map(|(vtype, u)| sys::rd_kafka_vu_t { vtype, u });
        self.arguments.extend(arguments);
        // SAFETY: client and handle are valid, each argument has the member that its kind names, and what
        // they point to lives until the call returns. The error is destroyed once.
        unsafe {
            let error = sys::rd_kafka_produceva(
                self.client.handle,
                self.arguments.as_ptr(),
                self.arguments.len(),
            );
            // What they point to is the caller's.
            self.arguments.clear();
            if error.is_null() {
                return Ok(());
            }
            let code = ffi::rd_kafka_error_code(error);
            sys::rd_kafka_error_destroy(error);
            Err(code)
        }
    }
}

impl Drop for KafkaTopic {
    fn drop(&mut self) {
        // SAFETY: the handle is valid until here, its client lives, and nobody else destroys it.
        unsafe { sys::rd_kafka_topic_destroy(self.handle) }
    }
}

/// Records for [`KafkaTopic::produce`].
pub(super) struct Batch<'a> {
    /// Never read as a whole: librdkafka writes codes to it.
    messages: Vec<MaybeUninit<sys::rd_kafka_message_t>>,
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
            let ((payload, len), (key, key_len)) = (raw(record.value), raw(record.key));
            MaybeUninit::new(sys::rd_kafka_message_t {
                err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                // This tells `on_acknowledgement` that it is not one of librdkafka's.
                rkt: ptr::null_mut(),
                partition: UNASSIGNED,
                payload,
                len,
                key,
                key_len,
                offset: 0,
                _private: ptr::without_provenance_mut(record.index),
            })
        };
        Self { messages: records.into_iter().map(message).collect(), bytes: PhantomData }
    }
}

/// A broker's answer about the Kafka topics of a client.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The id of each broker, and its `host:port` (`advertised.listeners`).
    pub(super) brokers: Vec<(i32, String)>,
    pub(super) kafka_topics: Vec<KafkaTopicMetadata>,
}

/// See [`Metadata`].
#[derive(Debug)]
pub(super) struct KafkaTopicMetadata {
    pub(super) name: String,
    /// Kafka's code.
    pub(super) code: i32,
    /// Each partition, and the id of the broker that leads it: negative if there is none.
    pub(super) leaders: Vec<(i32, i32)>,
}

impl Metadata {
    /// # Safety
    /// The metadata is valid, with as many elements as it says.
    unsafe fn read(metadata: *const sys::rd_kafka_metadata_t) -> Self {
        // SAFETY: the caller's promise. Only numbers and pointers are read.
        unsafe {
            let brokers = elements((*metadata).brokers, (*metadata).broker_cnt);
            let brokers = brokers.map(|broker| {
                ((*broker).id, format!("{}:{}", text((*broker).host), (*broker).port))
            });
            let kafka_topics =
                elements((*metadata).topics, (*metadata).topic_cnt).map(|kafka_topic| {
                    let partitions =
                        elements((*kafka_topic).partitions, (*kafka_topic).partition_cnt);
                    KafkaTopicMetadata {
                        name: text((*kafka_topic).topic),
                        code: code(&raw const (*kafka_topic).err),
                        leaders: partitions.map(|it| ((*it).id, (*it).leader)).collect(),
                    }
                });
            Self { brokers: brokers.collect(), kafka_topics: kafka_topics.collect() }
        }
    }
}

struct Event(*mut sys::rd_kafka_event_t);

impl Event {
    fn reports(&self, at: Stamp) -> impl Iterator<Item = Report> {
        std::iter::from_fn(move || {
            // SAFETY: the event is valid, and of the kind that has messages; each lives as long as it.
            unsafe {
                let message = sys::rd_kafka_event_message_next(self.0);
                (!message.is_null()).then(|| {
                    let (index, code) =
                        ((*message)._private.addr(), code(&raw const (*message).err));
                    Report::new(index, code, (*message).partition, (*message).offset, at)
                })
            }
        })
    }

    fn error(&self) -> (i32, String) {
        // SAFETY: the event is valid, and of the kind that has an error.
        unsafe {
            let code = ffi::rd_kafka_event_error(self.0);
            (code, text(sys::rd_kafka_event_error_string(self.0)))
        }
    }

    fn statistics(&self) -> String {
        // SAFETY: the event is valid, and of the kind that has statistics, which are as long as it is.
        unsafe { text(sys::rd_kafka_event_stats(self.0)) }
    }

    fn log(&self) -> Option<(i32, String, String)> {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        let (to_facility, to_line) = (&raw mut facility, &raw mut line);
        // SAFETY: the event is valid; the strings are as long as it is.
        unsafe {
            let failed = sys::rd_kafka_event_log(self.0, to_facility, to_line, &raw mut level);
            (failed == 0).then(|| (level, text(facility), text(line)))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is valid until here.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// Chooses the partitions of one Kafka topic, on any of librdkafka's threads.
pub(super) trait Partitioner: Send + Sync + 'static {
    /// The partition, of so many, of the record with this index and key.
    fn partition(&self, index: usize, key: Option<&[u8]>, count: i32) -> i32;
}

/// Called by librdkafka.
unsafe extern "C" fn choose<P: Partitioner>(
    _: *const sys::rd_kafka_topic_t,
    key: *const c_void,
    length: usize,
    count: i32,
    opaque: *mut c_void,
    index: *mut c_void,
) -> i32 {
    // SAFETY: the opaque is the one of `kafka_topic_with`; the key is null, or valid during this call.
    unsafe {
        let key = (!key.is_null()).then(|| slice::from_raw_parts(key.cast(), length));
        (*opaque.cast_const().cast::<P>()).partition(index.addr(), key, count)
    }
}

/// How librdkafka's partitioners hash a key. Those whose names end in `_random` differ only for records
/// without a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyHash {
    /// CRC32.
    Consistent,
    Fnv1a,
    /// The one of Kafka's own clients.
    Murmur2,
}

impl KeyHash {
    /// The partition, of so many, of a key.
    pub(super) fn partition(self, key: &[u8], count: i32) -> i32 {
        let choose = match self {
            Self::Consistent => sys::rd_kafka_msg_partitioner_consistent,
            Self::Fnv1a => sys::rd_kafka_msg_partitioner_fnv1a,
            Self::Murmur2 => sys::rd_kafka_msg_partitioner_murmur2,
        };
        let (key, length, null) = (key.as_ptr().cast(), key.len(), ptr::null_mut());
        // SAFETY: these functions read nothing but the key, and divide by the count.
        unsafe { choose(ptr::null(), key, length, count.max(1), null, null) }
    }
}

/// Called by librdkafka for each certificate of a broker, with OpenSSL's verdict. Leaves the verdict as it
/// is, and says why: without this, librdkafka tells an expired certificate and a wrong name in the same
/// words as an unknown authority.
unsafe extern "C" fn why_not_trusted(
    _: *mut sys::rd_kafka_t,
    _: *const c_char,
    _: i32,
    verdict: *mut c_int,
    _: c_int,
    _: *const c_char,
    _: usize,
    said: *mut c_char,
    said_size: usize,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the verdict is a number of OpenSSL's, and there is so much room for the text, its end included.
    unsafe {
        let verdict = verdict.read();
        if verdict == X509VerifyResult::OK.as_raw() {
            return 1;
        }
        let why = X509VerifyResult::from_raw(verdict).error_string();
        let length = why.len().min(said_size.saturating_sub(1));
        if said_size > 0 {
            ptr::copy_nonoverlapping(why.as_ptr().cast(), said, length);
            said.add(length).write(0);
        }
        0
    }
}

/// Called by librdkafka while it makes the client.
unsafe extern "C" fn on_new(
    client: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> sys::rd_kafka_resp_err_t {
    let (name, told) = (SENTENCES.as_ptr(), Some(on_acknowledgement as _));
    // SAFETY: the client is valid.
    unsafe { sys::rd_kafka_interceptor_add_on_acknowledgement(client, name, told, opaque) }
}

/// Called by librdkafka on the thread of a broker, before the report of this record is queued; or on the
/// thread that hands the record over, if it is not taken.
unsafe extern "C" fn on_acknowledgement(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the message is valid, and so is its sentence during this call, if it has one. Only librdkafka's
    // own messages, which name their Kafka topic, have room for a sentence behind them. A record that was
    // not taken is an element of `Batch`, which names none. The opaque is the one of `Client::new`.
    unsafe {
        if code(&raw const (*message).err) != 0 && !(*message).rkt.is_null() {
            let sentence = sys::rd_kafka_message_produce_errstr(message);
            if !sentence.is_null() {
                let sentences = &*opaque.cast_const().cast::<Sentences>();
                sentences.add((*message)._private.addr(), &text(sentence));
            }
        }
    }
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Why librdkafka refuses a property.
#[derive(Debug)]
pub(crate) enum PropertyError {
    /// There is no property of that name.
    Unknown,
    /// The value is not legal. librdkafka's sentence, which may quote it.
    Invalid(String),
}

/// Sets a property.
///
/// # Errors
/// librdkafka refuses it.
pub(crate) fn set_property(
    configuration: &mut NativeClientConfig,
    name: &str,
    value: &str,
) -> Result<(), PropertyError> {
    use sys::rd_kafka_conf_res_t::{
        RD_KAFKA_CONF_INVALID, RD_KAFKA_CONF_OK, RD_KAFKA_CONF_UNKNOWN,
    };
    let no_nul = |_| PropertyError::Invalid("a NUL character".to_owned());
    let (name, value) = (CString::new(name).map_err(no_nul)?, CString::new(value).map_err(no_nul)?);
    let (name, value, mut said) = (name.as_ptr(), value.as_ptr(), [0; TEXT_MAX]);
    // SAFETY: the configuration is valid, and nobody else has it meanwhile; librdkafka writes at most so
    // many bytes of text.
    let result = unsafe {
        sys::rd_kafka_conf_set(configuration.ptr(), name, value, said.as_mut_ptr(), said.len())
    };
    match result {
        RD_KAFKA_CONF_OK => Ok(()),
        RD_KAFKA_CONF_UNKNOWN => Err(PropertyError::Unknown),
        RD_KAFKA_CONF_INVALID => Err(PropertyError::Invalid(sentence(&said))),
    }
}

/// What a callback gets.
fn opaque<T>(kept: &Arc<T>) -> *mut c_void {
    Arc::as_ptr(kept).cast_mut().cast()
}

/// The numbers of operations. librdkafka has null where a broker did not say.
///
/// # Safety
/// `first` has `count` elements, or is null.
unsafe fn operations(first: *const sys::rd_kafka_AclOperation_t, count: usize) -> Option<Vec<u32>> {
    const _: () = assert!(size_of::<sys::rd_kafka_AclOperation_t>() == size_of::<u32>());
    // SAFETY: the caller's promise; read as numbers, which any of them is.
    let number = |at| unsafe { first.cast::<u32>().add(at).read() };
    (!first.is_null()).then(|| (0..count).map(number).collect())
}

/// A pointer and a length. librdkafka tells null from empty by the pointer, and only reads the bytes.
fn raw(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

fn c_strings(texts: &[&str]) -> Result<Vec<CString>, CodeAndSentence> {
    let nul = |_| (INVALID_ARGUMENT, "a NUL character".to_owned());
    texts.iter().map(|text| CString::new(*text).map_err(nul)).collect()
}

fn c_string(kafka_topic: &str) -> Result<CString, i32> {
    CString::new(kafka_topic).map_err(|_| TOPIC_EXCEPTION)
}

fn ms(within: Duration) -> c_int {
    c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX)
}

/// What librdkafka wrote to a buffer.
fn sentence(buffer: &[c_char; TEXT_MAX]) -> String {
    // Signed on some architectures, and unsigned on others.
    let bytes = buffer.iter().take_while(|byte| **byte != 0).flat_map(|byte| byte.to_ne_bytes());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).trim_end().to_owned()
}

/// An error code, whatever number it is.
///
/// # Safety
/// The pointer is valid.
unsafe fn code(error: *const sys::rd_kafka_resp_err_t) -> i32 {
    // SAFETY: the caller's promise; the type has the size of an `int` (above).
    unsafe { error.cast::<i32>().read() }
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

/// # Safety
/// `first` has `count` elements for as long as the result is used, or `count` is not positive.
unsafe fn elements<T>(first: *mut T, count: c_int) -> impl Iterator<Item = *const T> {
    let count = usize::try_from(count).unwrap_or_default();
    // SAFETY: the caller's promise.
    (0..count).map(move |at| unsafe { first.add(at).cast_const() })
}

/// librdkafka's own list of properties, a line for each.
#[cfg(test)]
pub(crate) fn list_of_properties() -> String {
    let (mut written, mut size) = (ptr::null_mut::<c_char>(), 0);
    // SAFETY: the stream is closed before its memory is read and freed, once.
    unsafe {
        let stream = libc::open_memstream(&raw mut written, &raw mut size);
        assert!(!stream.is_null());
        sys::rd_kafka_conf_properties_show(stream.cast());
        libc::fclose(stream);
        let list = text(written);
        libc::free(written.cast());
        list
    }
}

/// The error codes that the linked librdkafka knows, and their names.
#[cfg(test)]
pub(super) fn known_codes() -> Vec<(i32, String)> {
    let (mut table, mut count) = (ptr::null(), 0);
    // SAFETY: librdkafka sets both, to a static table of its own. It has gaps, without a name.
    unsafe {
        sys::rd_kafka_get_err_descs(&raw mut table, &raw mut count);
        let rows = (0..count).map(|at| table.add(at)).filter(|row| !(**row).name.is_null());
        rows.map(|row| (code(&raw const (*row).code), text((*row).name))).collect()
    }
}

/// The emulated cluster of a client that was made with `test.mock.num.brokers`.
#[cfg(test)]
pub(super) struct Mock {
    cluster: *mut sys::rd_kafka_mock_cluster_t,
    _client: Arc<Client>,
}

#[cfg(test)]
mod mock_ffi {
    use super::{c_char, c_int, sys};

    unsafe extern "C" {
        pub(super) fn rd_kafka_mock_topic_set_error(
            cluster: *mut sys::rd_kafka_mock_cluster_t,
            topic: *const c_char,
            code: c_int,
        );
    }
}

// SAFETY, of each: the cluster is its client's, which this keeps; librdkafka copies names and codes.
#[cfg(test)]
impl Mock {
    pub(super) fn of(client: &Arc<Client>) -> Self {
        // SAFETY: the client is valid.
        let cluster = unsafe { sys::rd_kafka_handle_mock_cluster(client.handle) };
        assert!(!cluster.is_null(), "made with test.mock.num.brokers");
        Self { cluster, _client: Arc::clone(client) }
    }

    pub(super) fn create_kafka_topic(&self, name: &CStr, partitions: i32) {
        // SAFETY: see above.
        unsafe { sys::rd_kafka_mock_topic_create(self.cluster, name.as_ptr(), partitions, 1) };
    }

    /// Metadata has this code for the Kafka topic from now on.
    pub(super) fn set_kafka_topic_error(&self, name: &CStr, code: i32) {
        // SAFETY: see above.
        unsafe { mock_ffi::rd_kafka_mock_topic_set_error(self.cluster, name.as_ptr(), code) };
    }

    /// The next Produce request is answered with this code.
    pub(super) fn fail_produce(&self, code: i32) {
        // SAFETY: see above; the array has one code, read as a number.
        unsafe {
            let codes = (&raw const code).cast();
            sys::rd_kafka_mock_push_request_errors_array(self.cluster, 0, 1, codes);
        }
    }

    /// Counts from now on.
    pub(super) fn track_requests(&self) {
        // SAFETY: see above.
        unsafe { sys::rd_kafka_mock_start_request_tracking(self.cluster) };
    }

    /// How many Produce requests came since the last time.
    pub(super) fn produce_requests(&self) -> usize {
        let mut count = 0;
        // SAFETY: see above; the array has so many elements, and is destroyed once.
        unsafe {
            let requests = sys::rd_kafka_mock_get_requests(self.cluster, &raw mut count);
            let of = |at| sys::rd_kafka_mock_request_api_key(requests.add(at).read());
            let produced = (0..count).filter(|at| of(*at) == 0).count();
            sys::rd_kafka_mock_request_destroy_array(requests, count);
            sys::rd_kafka_mock_clear_requests(self.cluster);
            produced
        }
    }
}

#[cfg(test)]
#[path = "librdkafka_tests.rs"]
mod tests;
