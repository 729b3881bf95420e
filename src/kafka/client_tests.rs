//! What librdkafka answers is read as it is, whatever number a broker sends.

use std::cell::RefCell;
use std::time::Instant;

use super::*;
use crate::config::{Config, KafkaClient, kafka_client};
use crate::kafka::actor::{RECORD_BYTES, ROUND_BYTES};
use crate::kafka::events::Listener;
use crate::kafka::producer::Report;

/// No value of the bindings' enums.
const UNKNOWN: [i32; 2] = [119, 133];
const WITHIN: Duration = Duration::from_secs(20);
/// Kafka's TOPIC_AUTHORIZATION_FAILED.
const TOPIC_DENIED: i32 = 29;

unsafe extern "C" {
    fn rd_kafka_mock_topic_set_error(
        cluster: *mut sys::rd_kafka_mock_cluster_t,
        topic: *const c_char,
        code: c_int,
    );
}

/// A client of an emulated cluster, and the cluster.
fn with_cluster() -> (Arc<Client>, *mut sys::rd_kafka_mock_cluster_t) {
    with_cluster_heard_by(None)
}

fn with_cluster_heard_by(
    sentences: Option<&Arc<Sentences>>,
) -> (Arc<Client>, *mut sys::rd_kafka_mock_cluster_t) {
    let mut settings = ClientConfig::new();
    settings.set("test.mock.num.brokers", "1").set("enable.idempotence", "true");
    let client = Arc::new(Client::heard_by(sentences, &settings).expect("a client"));
    // SAFETY: the client is valid.
    let cluster = unsafe { sys::rd_kafka_handle_mock_cluster(client.ptr()) };
    assert!(!cluster.is_null());
    (client, cluster)
}

#[derive(Default)]
struct Heard(RefCell<Vec<Report>>);

impl Listener for Heard {
    fn reports(&self, reports: &[Report]) {
        self.0.borrow_mut().extend_from_slice(reports);
    }
    fn error(&self, _: i32, _: &str) {}
    fn log(&self, _: i32, _: &str, _: &str) {}
}

fn first_report(client: &Client) -> Report {
    let heard = Heard::default();
    let (mut events, deadline) = (client.events(), Instant::now() + WITHIN);
    while heard.0.borrow().is_empty() {
        events.poll(Duration::from_millis(100), &heard);
        assert!(Instant::now() < deadline, "no report");
    }
    heard.0.into_inner()[0]
}

#[test]
fn a_report_keeps_a_code_that_the_bindings_do_not_know() {
    for code in UNKNOWN {
        let (client, cluster) = with_cluster();
        let codes: [c_int; 1] = [code];
        // SAFETY: the cluster is its client's, which lives; the array has one code, read as numbers.
        unsafe {
            sys::rd_kafka_mock_push_request_errors_array(cluster, 0, 1, codes.as_ptr().cast());
        }
        let topic = client.topic("a", None).expect("a Kafka topic");
        let batch = [(7, &b"key"[..], &b"value"[..]).into()].into_iter().collect();
        assert!(topic.produce(UNASSIGNED, batch).is_empty());
        let report = first_report(&client);
        assert_eq!((report.index, report.code), (7, code));
    }
}

#[test]
fn metadata_keeps_a_code_that_the_bindings_do_not_know() {
    for code in UNKNOWN {
        let (client, cluster) = with_cluster();
        // SAFETY: the cluster is its client's, which lives, and copies the name.
        unsafe { rd_kafka_mock_topic_set_error(cluster, c"a".as_ptr(), code) };
        let _topic = client.topic("a", None).expect("a Kafka topic");
        let metadata = client.metadata(WITHIN).expect("an answer");
        let topics: Vec<_> = metadata.topics().collect();
        assert_eq!(topics, [("a".to_owned(), code, None)]);
    }
}

/// What librdkafka tells then is the caller's array, without what it keeps behind a message of its own.
#[test]
fn a_record_that_is_not_even_taken_has_no_sentence() {
    let sentences = Arc::<Sentences>::default();
    let (client, cluster) = with_cluster_heard_by(Some(&sentences));
    // SAFETY: the cluster is its client's, which lives, and copies the name.
    unsafe { rd_kafka_mock_topic_set_error(cluster, c"a".as_ptr(), TOPIC_DENIED) };
    let topic = client.topic("a", None).expect("a Kafka topic");
    client.metadata(WITHIN).expect("an answer");
    // Where librdkafka has a sentence, three messages further on, is the value of the third.
    let value = &b"another's payload\0"[..];
    let batch = (0..8).map(|index| (index, &b"key"[..], value).into()).collect();
    assert_eq!(topic.produce(UNASSIGNED, batch), [TOPIC_DENIED; 8]);
    assert_eq!(sentences.take(0), None);
}

#[test]
fn a_record_with_headers_is_delivered_and_one_for_a_name_with_nul_is_refused() {
    let (client, _) = with_cluster();
    let headers = [(c"reason", &b"because"[..]), (c"empty", b"")];
    client.produce("a", 3, Some(b"key"), b"value", &headers).expect("taken");
    let report = first_report(&client);
    assert_eq!((report.index, report.code), (3, 0));
    assert_eq!(client.produce("a\0b", 4, None, b"", &[]), Err(TOPIC_EXCEPTION));
}

#[test]
fn a_client_that_is_refused_says_why() {
    let mut settings = ClientConfig::new();
    settings.set("enable.idempotence", "true").set("queuing.strategy", "lifo");
    let error = Client::new(&settings).err().expect("a contradiction");
    assert!(error.contains("queuing.strategy"), "{error}");
    let error = Client::new(ClientConfig::new().set("nonsense", "1")).err().expect("no property");
    assert!(error.starts_with("nonsense: "), "{error}");
}

/// How many Produce requests came since the last time.
fn produce_requests(cluster: *mut sys::rd_kafka_mock_cluster_t) -> usize {
    let mut count = 0;
    // SAFETY: the cluster is its client's, which lives; the array is destroyed once.
    unsafe {
        let requests = sys::rd_kafka_mock_get_requests(cluster, &raw mut count);
        let of = |at| sys::rd_kafka_mock_request_api_key(requests.add(at).read());
        let produced = (0..count).filter(|at| of(*at) == 0).count();
        sys::rd_kafka_mock_request_destroy_array(requests, count);
        sys::rd_kafka_mock_clear_requests(cluster);
        produced
    }
}

/// Else its rest waits inside librdkafka, which turns in a busy loop meanwhile: decisions 4 and 6.
#[test]
fn a_round_is_one_request_however_small_its_records_are() {
    let config = Config::for_test();
    let mut settings = kafka_client(&config, KafkaClient::Pipelined);
    settings.remove("bootstrap.servers").set("test.mock.num.brokers", "1");
    // Sizes are looked at here, not how soon librdkafka's thread wakes up while it is handed a round.
    settings.set("linger.ms", "2000");
    let client = Arc::new(Client::new(&settings).expect("a client"));
    // SAFETY: the client is valid, and the cluster its own.
    let cluster = unsafe {
        let cluster = sys::rd_kafka_handle_mock_cluster(client.ptr());
        sys::rd_kafka_mock_topic_create(cluster, c"a".as_ptr(), 1, 1);
        sys::rd_kafka_mock_start_request_tracking(cluster);
        cluster
    };
    let topic = client.topic("a", None).expect("a Kafka topic");
    assert!(topic.produce(0, [(0, &b"k"[..], &b""[..]).into()].into_iter().collect()).is_empty());
    assert_eq!(first_report(&client).code, 0);
    produce_requests(cluster);
    for bytes in [0, 1, 20, 200, 2_000, 200_000] {
        let (key, value) = (b"k", vec![b'v'; bytes]);
        let count = ROUND_BYTES / (key.len() + bytes + RECORD_BYTES);
        let round = (0..count).map(|index| (index, &key[..], &value[..]).into()).collect();
        assert!(topic.produce(0, round).is_empty());
        client.flush(1);
        let (heard, mut events) = (Heard::default(), client.events());
        let deadline = Instant::now() + WITHIN;
        while heard.0.borrow().len() < count {
            events.poll(Duration::from_millis(100), &heard);
            assert!(Instant::now() < deadline, "no report");
        }
        assert_eq!(produce_requests(cluster), 1, "{count} records of {bytes} bytes");
    }
}
