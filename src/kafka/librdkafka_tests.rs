//! What librdkafka answers is read as it is, whatever number a broker sends.

use std::cell::RefCell;
use std::time::Instant;

use super::*;
use crate::config::{Config, KafkaClient, kafka_client};
use crate::kafka::delivery::ROUND_BYTES;
use crate::kafka::delivery::item::RECORD_BYTES;
use crate::observe::test_support::PATIENCE;

/// No value of the bindings' enums.
const UNKNOWN: [i32; 2] = [119, 133];
/// Kafka's TOPIC_AUTHORIZATION_FAILED.
const TOPIC_DENIED: i32 = 29;

/// A client of an emulated cluster, and the cluster.
fn with_cluster(sentences: Option<&Arc<Sentences>>) -> (Arc<Client>, Mock) {
    let mut settings = ClientConfig::new();
    settings.set("test.mock.num.brokers", "1").set("enable.idempotence", "true");
    let client = Arc::new(Client::new(&settings, sentences).expect("a client"));
    let cluster = Mock::of(&client);
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
    let deadline = Instant::now() + PATIENCE;
    while heard.0.borrow().is_empty() {
        client.poll(Duration::from_millis(100), &heard);
        assert!(Instant::now() < deadline, "no report");
    }
    heard.0.into_inner()[0]
}

#[test]
fn a_report_keeps_a_code_that_the_bindings_do_not_know() {
    for code in UNKNOWN {
        let (client, cluster) = with_cluster(None);
        cluster.fail_produce(code);
        let kafka_topic = client.kafka_topic("a").expect("a Kafka topic");
        let batch = [(7, &b"key"[..], &b"value"[..]).into()].into_iter().collect();
        assert!(kafka_topic.produce(UNASSIGNED, batch).is_empty());
        let report = first_report(&client);
        assert_eq!((report.index, report.code), (7, code));
    }
}

#[test]
fn metadata_keeps_a_code_that_the_bindings_do_not_know() {
    for code in UNKNOWN {
        let (client, cluster) = with_cluster(None);
        cluster.set_kafka_topic_error(c"a", code);
        let _kafka_topic = client.kafka_topic("a").expect("a Kafka topic");
        let metadata = client.metadata(PATIENCE).expect("an answer");
        let [kafka_topic] = &metadata.kafka_topics[..] else { panic!("{metadata:?}") };
        assert_eq!((&*kafka_topic.name, kafka_topic.code), ("a", code));
    }
}

/// What librdkafka tells then is the caller's array, without what it keeps behind a message of its own.
#[test]
fn a_record_that_is_not_even_taken_has_no_sentence() {
    let sentences = Arc::<Sentences>::default();
    let (client, cluster) = with_cluster(Some(&sentences));
    cluster.set_kafka_topic_error(c"a", TOPIC_DENIED);
    let kafka_topic = client.kafka_topic("a").expect("a Kafka topic");
    client.metadata(PATIENCE).expect("an answer");
    // Where librdkafka has a sentence, three messages further on, is the value of the third.
    let value = &b"another's payload\0"[..];
    let batch = (0..8).map(|index| (index, &b"key"[..], value).into()).collect();
    assert_eq!(kafka_topic.produce(UNASSIGNED, batch), [TOPIC_DENIED; 8]);
    assert_eq!(sentences.take(0), None);
}

#[test]
fn a_name_with_nul_is_refused() {
    let (client, _) = with_cluster(None);
    assert_eq!(client.kafka_topic("a\0b").err(), Some(TOPIC_EXCEPTION));
    assert_eq!(client.ask_leader("a\0b", 0, PATIENCE), Err(TOPIC_EXCEPTION));
    let codes = [
        client.describe_in_full(&["a\0b"], PATIENCE).err(),
        client.describe_settings(&["a\0b"], PATIENCE).err(),
        client.newest_timestamps(&[("a\0b", 0)], PATIENCE).err(),
    ];
    assert!(codes.iter().all(|it| it.as_ref().is_some_and(|(code, _)| *code == INVALID_ARGUMENT)));
}

#[test]
fn a_client_that_is_refused_says_why() {
    let mut settings = ClientConfig::new();
    settings.set("enable.idempotence", "true").set("queuing.strategy", "lifo");
    let error = Client::new(&settings, None).err().expect("a contradiction");
    assert!(error.contains("queuing.strategy"), "{error}");
    let error =
        Client::new(ClientConfig::new().set("nonsense", "1"), None).err().expect("no property");
    assert!(error.starts_with("nonsense: "), "{error}");
}

/// Else its rest waits inside librdkafka, which turns in a busy loop meanwhile: decisions 4 and 6.
#[test]
fn a_round_is_one_request_however_small_its_records_are() {
    let config = Config::for_test();
    let mut settings = kafka_client(&config, &config.kafka.properties, KafkaClient::Pipelined);
    settings.remove("bootstrap.servers").set("test.mock.num.brokers", "1");
    // Sizes are looked at here, not how soon librdkafka's thread wakes up while it is handed a round.
    settings.set("linger.ms", "2000");
    let client = Arc::new(Client::new(&settings, None).expect("a client"));
    let cluster = Mock::of(&client);
    cluster.create_kafka_topic(c"a", 1);
    cluster.track_requests();
    let kafka_topic = client.kafka_topic("a").expect("a Kafka topic");
    assert!(
        kafka_topic.produce(0, [(0, &b"k"[..], &b""[..]).into()].into_iter().collect()).is_empty()
    );
    assert_eq!(first_report(&client).code, 0);
    cluster.produce_requests();
    for bytes in [0, 1, 20, 200, 2_000, 200_000] {
        let (key, value) = (b"k", vec![b'v'; bytes]);
        let count = ROUND_BYTES / (key.len() + bytes + RECORD_BYTES);
        let round = (0..count).map(|index| (index, &key[..], &value[..]).into()).collect();
        assert!(kafka_topic.produce(0, round).is_empty());
        client.flush(1);
        let heard = Heard::default();
        let deadline = Instant::now() + PATIENCE;
        while heard.0.borrow().len() < count {
            client.poll(Duration::from_millis(100), &heard);
            assert!(Instant::now() < deadline, "no report");
        }
        assert_eq!(cluster.produce_requests(), 1, "{count} records of {bytes} bytes");
    }
}
