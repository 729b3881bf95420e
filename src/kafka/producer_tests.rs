//! What a producer hands over arrives as it was given, whichever way it went.

use std::ffi::CStr;

use actix::{Actor, Handler};

use super::*;
use crate::kafka::test_support::{MockKafka, PATIENCE, ReadRecord};

const PARTITIONS: i32 = 8;
const TARGET: &str = "a";

/// Nobody: the reports are fetched.
struct Deaf;

impl Actor for Deaf {
    type Context = actix::Context<Self>;
}

impl Handler<ProducerEvent> for Deaf {
    type Result = ();

    fn handle(&mut self, _: ProducerEvent, _: &mut actix::Context<Self>) {}
}

struct Stage {
    mock: MockKafka,
    partitions: Arc<Partitions>,
    producer: Producer,
}

impl Stage {
    fn new() -> Self {
        let mock = MockKafka::start(1, &[TARGET], PARTITIONS);
        let mut config = Config::for_test();
        config.kafka.brokers = vec![mock.brokers.clone()];
        let (actor, log) = (Deaf.start().recipient(), Logger::root(slog::Discard, o!()));
        let name = (Epoch::next(), Path::Pipelined);
        let login = Login::new(Arc::new(config.clone()));
        let producer = Producer::start(&config, &login, name, actor, &log).expect("a producer");
        Self { mock, partitions: Arc::new(Partitions::new("murmur2_random")), producer }
    }

    fn send(&mut self, kafka_partition: Option<i32>, records: &[Outgoing<'_>]) {
        let partitions = Arc::clone(&self.partitions);
        let to =
            Target { number: 0, kafka_topic: TARGET, partitions: &partitions, kafka_partition };
        let codes = self.producer.send(to, records.iter().copied()).expect("taken");
        assert!(codes.is_empty(), "{codes:?}");
    }

    fn send_one(&mut self, record: Outgoing<'_>, extras: Extras<'_>) -> Result<(), i32> {
        let partitions = Arc::clone(&self.partitions);
        let kafka_partition = partitions.of(record.key.unwrap_or(record.mqtt_topic));
        let to =
            Target { number: 0, kafka_topic: TARGET, partitions: &partitions, kafka_partition };
        self.producer.send_one(to, record, extras)
    }

    /// Sends what was given, and waits for so many reports of it.
    fn delivered(&self, count: usize) -> Vec<Report> {
        self.producer.flush(0);
        let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while all.len() < count {
            assert!(Instant::now() < deadline, "{} reports of {count}", all.len());
            let mut some = Vec::new();
            self.producer.take_reports(&mut some);
            all.append(&mut some);
            thread::sleep(Duration::from_millis(2));
        }
        assert!(all.iter().all(|report| report.code == 0), "{all:?}");
        all
    }

    fn read(&self, kafka_partition: i32) -> Vec<ReadRecord> {
        let mut records = self.mock.read(TARGET);
        records.retain(|record| record.kafka_partition == kafka_partition);
        records
    }
}

fn record<'a>(index: usize, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Outgoing<'a> {
    Outgoing { index, key, value, mqtt_topic: b"sensors/1" }
}

#[actix::test]
async fn null_and_empty_arrive_as_they_were_given_by_both_ways() {
    let mut stage = Stage::new();
    let parts: [Option<&[u8]>; 3] = [None, Some(b""), Some(b"x")];
    let pairs: Vec<_> = parts.iter().flat_map(|key| parts.map(|value| (*key, value))).collect();
    // The number of partitions is told by the first.
    stage.send(None, &[record(0, None, None)]);
    let kafka_partition = stage.delivered(1)[0].kafka_partition;
    let round = pairs.iter().zip(1..).map(|((key, value), index)| record(index, *key, *value));
    let round: Vec<_> = round.collect();
    stage.send(Some(kafka_partition), &round);
    for one in &round {
        let one = Outgoing { index: one.index + round.len(), ..*one };
        let extras = Extras { kafka_partition: Some(kafka_partition), ..Extras::default() };
        stage.send_one(one, extras).expect("taken");
    }
    stage.delivered(2 * round.len());
    let seen = stage.read(kafka_partition);
    let seen: Vec<_> = seen.iter().map(|it| (it.key.as_deref(), it.value.as_deref())).collect();
    assert_eq!(seen[0], (None, None));
    assert_eq!(seen[1..=round.len()], pairs, "in a batch");
    assert_eq!(seen[1 + round.len()..], pairs, "one by one");
}

#[actix::test]
async fn headers_timestamp_and_partition_arrive_as_they_were_given() {
    let mut stage = Stage::new();
    let headers: [(&CStr, Option<&[u8]>); 5] = [
        (c"b", Some(b"1")),
        (c"a", None),
        (c"b", Some(b"")),
        (c"b", Some(b"\0\xFF")),
        (c"", Some(b"2")),
    ];
    let last = PARTITIONS - 1;
    for (index, timestamp_ms) in [Some(1_700_000_000_123), Some(0), None].into_iter().enumerate() {
        let extras = Extras { headers: &headers, timestamp_ms, kafka_partition: Some(last) };
        stage.send_one(record(index, Some(b"k"), Some(b"v")), extras).expect("taken");
    }
    let reports = stage.delivered(3);
    assert_eq!(reports.iter().map(|report| report.index).collect::<Vec<_>>(), [0, 1, 2]);
    let seen = stage.read(last);
    let expected = headers
        .map(|(name, value)| (name.to_str().expect("it is").to_owned(), value.map(<[u8]>::to_vec)));
    assert!(seen.iter().all(|it| it.headers == expected), "{:?}", seen[0].headers);
    let timestamps: Vec<_> = seen.iter().filter_map(|it| it.timestamp_ms).collect();
    assert_eq!(timestamps[..2], [1_700_000_000_123, 1]);
    assert!(timestamps[2] > 1_700_000_000_123, "the time of producing");
}

#[actix::test]
async fn a_partition_that_kafka_has_not_is_said_at_once_and_nothing_is_reported() {
    let mut stage = Stage::new();
    stage.send(None, &[record(0, Some(b"k"), None)]);
    stage.delivered(1);
    for kafka_partition in [PARTITIONS, i32::MAX, -2] {
        let extras = Extras {
            headers: &[(c"a", Some(b"freed by librdkafka"))],
            kafka_partition: Some(kafka_partition),
            ..Extras::default()
        };
        let sent = stage.send_one(record(1, Some(b"k"), None), extras);
        assert_eq!(sent, Err(classify::UNKNOWN_PARTITION), "{kafka_partition}");
    }
    stage.send(None, &[record(2, Some(b"k"), None)]);
    assert_eq!(stage.delivered(1)[0].index, 2);
    assert_eq!(stage.producer.shared().context.in_flight.load(Relaxed), 0);
}

#[actix::test]
async fn a_record_without_a_key_goes_to_the_partition_of_its_mqtt_topic() {
    let mut stage = Stage::new();
    let mqtt_topics: Vec<String> = (0..20).map(|n| format!("sensors/{n}")).collect();
    let keyless = |index: usize| Outgoing {
        index,
        key: None,
        value: Some(b"v"),
        mqtt_topic: mqtt_topics[index % mqtt_topics.len()].as_bytes(),
    };
    let records: Vec<_> = (0..20).map(keyless).collect();
    // librdkafka does not know the partitions yet, then it does, and chooses again.
    for _ in 0..2 {
        stage.send(None, &records);
        let reports = stage.delivered(20);
        for report in reports {
            let expected = stage.partitions.of(mqtt_topics[report.index].as_bytes());
            assert_eq!(Some(report.kafka_partition), expected, "{}", mqtt_topics[report.index]);
        }
    }
    for record in records {
        stage.send_one(record, Extras::default()).expect("taken");
        let report = stage.delivered(1)[0];
        let expected = stage.partitions.of(record.mqtt_topic);
        assert_eq!(Some(report.kafka_partition), expected);
    }
}

#[actix::test]
async fn both_ways_keep_one_order_in_a_partition_and_need_one_flush() {
    let mut stage = Stage::new();
    stage.send(None, &[record(0, Some(b"k"), Some(b"0"))]);
    let kafka_partition = stage.delivered(1)[0].kafka_partition;
    let values: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
    for (index, value) in (1..).zip(&values) {
        let record = record(index, Some(b"k"), Some(value.as_bytes()));
        match index % 3 {
            0 => {
                let extras = Extras { headers: &[(c"h", None)], ..Extras::default() };
                stage.send_one(record, extras).expect("taken");
            }
            _ => stage.send(Some(kafka_partition), &[record]),
        }
    }
    let indices: Vec<_> = stage.delivered(9).iter().map(|report| report.index).collect();
    assert!(indices.is_sorted(), "{indices:?}");
    let seen = stage.read(kafka_partition);
    let seen: Vec<_> = seen.iter().filter_map(|it| it.value.clone()).collect();
    assert!(seen.is_sorted(), "{seen:?}");
}
