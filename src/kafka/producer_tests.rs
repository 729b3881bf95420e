//! What a producer hands over arrives as it was given, whichever way it went.

use std::ffi::CStr;

use actix::{Actor, Handler};
use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::kafka::test_support::{MockKafka, ReadRecord};
use crate::observe::test_support::PATIENCE;

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

/// The Kafka topic of most tests, as the configuration names one.
fn target(partitions: &Arc<Partitions>, kafka_partition: Option<i32>) -> Target<'_> {
    Target { number: 0, kafka_topic: TARGET, partitions, kafka_partition, is_named: false }
}

struct Stage {
    mock: MockKafka,
    partitions: Arc<Partitions>,
    producer: Producer,
}

impl Stage {
    fn new() -> Self {
        Self::of(1)
    }

    fn of(brokers: i32) -> Self {
        let mock = MockKafka::start(brokers, &[TARGET], PARTITIONS);
        let mut config = Config::for_test();
        config.kafka.brokers = vec![mock.brokers.clone()];
        let (actor, log) = (Deaf.start().recipient(), Logger::root(slog::Discard, o!()));
        let name = (Epoch::next(), Path::Pipelined);
        let login = Arc::new(Login::new(Arc::new(config.clone())));
        let producer = Producer::start(&config, &login, name, actor, &log).expect("a producer");
        Self { mock, partitions: Arc::new(Partitions::new("murmur2_random")), producer }
    }

    fn send(&mut self, kafka_partition: Option<i32>, records: &[Outgoing<'_>]) {
        let partitions = Arc::clone(&self.partitions);
        let to = target(&partitions, kafka_partition);
        let codes = self.producer.send(to, records.iter().copied()).expect("taken");
        assert!(codes.is_empty(), "{codes:?}");
    }

    fn send_one(&mut self, record: Outgoing<'_>, extras: Extras<'_>) -> Result<(), i32> {
        let partitions = Arc::clone(&self.partitions);
        let kafka_partition = partitions.of(record.key.unwrap_or(record.mqtt_topic));
        let to = target(&partitions, kafka_partition);
        self.producer.send_one(to, record, extras)
    }

    /// Sends what was given, and waits for so many reports of it.
    fn delivered(&mut self, count: usize) -> Vec<Report> {
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
    assert_eq!(stage.producer.context.in_flight.load(Relaxed), 0);
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

#[test]
fn kafka_topics_share_one_client_until_it_has_many_partitions() {
    let mut partitions = vec![0];
    let mut add = |count: usize| {
        let at = place(&partitions, true);
        partitions.resize(partitions.len().max(at + 1), 0);
        partitions[at] += count;
        at
    };
    let places: Vec<_> = (0..CLIENT_PARTITIONS).map(|_| add(1)).collect();
    assert_eq!(places, [0; CLIENT_PARTITIONS]);
    assert_eq!([add(1), add(CLIENT_PARTITIONS), add(1)], [1, 1, 2]);
    // At the bound the one with the fewest takes it.
    for expected in [2, 3, 4, 5, 6, 7, 0, 1, 3] {
        assert_eq!(add(2 * CLIENT_PARTITIONS), expected);
    }
    assert_eq!(place(&[CLIENT_PARTITIONS], false), 0, "the serial producer has one");
}

/// Kafka topics of one partition, the last of which have the second client.
struct Many {
    stage: Stage,
    names: Vec<String>,
    all: Vec<Arc<Partitions>>,
}

impl Many {
    const COUNT: usize = CLIENT_PARTITIONS + 20;

    /// Each has had a record, so that its partition is known.
    fn new(brokers: i32) -> Self {
        let stage = Stage::of(brokers);
        let names: Vec<String> = (0..Self::COUNT).map(|number| format!("many-{number}")).collect();
        for name in &names {
            stage.mock.cluster.create_topic(name, 1, 1).expect("made");
            stage.mock.cluster.partition_leader(name, 0, Some(1)).expect("led");
        }
        let all = names.iter().map(|_| Arc::new(Partitions::new("murmur2_random"))).collect();
        let mut many = Self { stage, names, all };
        (0..Self::COUNT).for_each(|number| many.send(number, number));
        many.stage.delivered(Self::COUNT);
        many
    }

    fn send(&mut self, number: usize, index: usize) {
        let (kafka_topic, partitions) = (&*self.names[number], &self.all[number]);
        let kafka_partition = partitions.of(b"k");
        let to = Target { number, kafka_topic, partitions, kafka_partition, is_named: true };
        let record = record(index, Some(b"k"), None);
        assert_eq!(self.stage.producer.send(to, [record].into_iter()), Ok(Vec::new()));
    }

    fn clients(&self) -> Vec<usize> {
        let kafka_topics = self.stage.producer.kafka_topics.iter().flatten();
        kafka_topics.map(|counted| counted.client).collect()
    }
}

#[actix::test]
async fn records_of_many_kafka_topics_go_through_several_clients_each_in_order() {
    const ROUNDS: usize = 20;
    let mut many = Many::new(1);
    let clients = many.clients();
    let expected = (0..Many::COUNT).map(|number| usize::from(number >= CLIENT_PARTITIONS));
    assert_eq!(clients, expected.collect::<Vec<_>>());
    // No report is waited for.
    for round in 1..=ROUNDS {
        for number in 0..Many::COUNT {
            many.send(number, round * Many::COUNT + number);
        }
        many.stage.producer.flush(0);
    }
    assert_eq!(many.clients(), clients, "each stays where it is");
    for report in many.stage.delivered(ROUNDS * Many::COUNT) {
        let round = i64::try_from(report.index / Many::COUNT).expect("a small number");
        assert_eq!(report.kafka_offset, round, "{report:?}");
    }
    assert_eq!(many.stage.producer.context.in_flight.load(Relaxed), 0);
    assert_eq!(many.stage.producer.silent_since(), None);
}

#[actix::test]
async fn a_round_is_flushed_unless_several_clients_have_taken_records_of_it() {
    let mut many = Many::new(1);
    let (first, second) = (0, CLIENT_PARTITIONS);
    for (numbers, expected) in [
        (vec![], None),
        (vec![first], Some(0)),
        (vec![first, first + 1], Some(0)),
        (vec![second, second], Some(1)),
        (vec![first, second], None),
    ] {
        let count = numbers.len();
        numbers.into_iter().for_each(|number| many.send(number, 0));
        assert_eq!(many.stage.producer.to_flush(), expected);
        many.stage.delivered(count);
    }
    many.send(first, 0);
    let (kafka_topic, partitions) = (&*many.names[second], &many.all[second]);
    let kafka_partition = Some(PARTITIONS);
    let to = Target { number: second, kafka_topic, partitions, kafka_partition, is_named: true };
    let refused = many.stage.producer.send(to, [record(1, None, None)].into_iter());
    assert_eq!(refused, Ok(vec![classify::UNKNOWN_PARTITION]));
    assert_eq!(many.stage.producer.to_flush(), Some(0), "the second one has taken nothing");
    many.stage.delivered(1);
}

#[actix::test]
async fn a_fatal_error_of_any_client_is_the_producers() {
    let mut many = Many::new(1);
    assert_eq!(many.stage.producer.fatal_error(), None);
    many.stage.mock.fail_produce(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    many.send(CLIENT_PARTITIONS, 0);
    let deadline = Instant::now() + PATIENCE;
    while many.stage.producer.fatal_error().is_none() {
        assert!(Instant::now() < deadline, "no fatal error");
        thread::sleep(Duration::from_millis(2));
    }
}

#[actix::test]
async fn a_client_that_reports_nothing_is_seen_while_the_other_one_delivers() {
    let mut many = Many::new(2);
    let (first, second) = (0, CLIENT_PARTITIONS);
    let cluster = &many.stage.mock.cluster;
    // The second client alone needs the broker that is gone.
    cluster.partition_leader(&many.names[second], 0, Some(2)).expect("led");
    cluster.broker_down(2).expect("down");
    let before = Instant::now();
    many.send(second, 0);
    let handed_over = Instant::now();
    for index in 1..5 {
        many.send(first, index);
        many.stage.delivered(1);
        let since = many.stage.producer.silent_since().expect("it has reported nothing");
        assert!((before..=handed_over).contains(&since));
    }
}

#[actix::test]
async fn kafka_topics_of_the_configuration_have_one_client_however_many_partitions_are_known() {
    let mut stage = Stage::new();
    let names = ["fixed-0", "fixed-1", "fixed-2"];
    for (number, kafka_topic) in names.into_iter().enumerate() {
        stage.mock.cluster.create_topic(kafka_topic, 64, 1).expect("made");
        let partitions = &Arc::new(Partitions::new("murmur2_random"));
        // As in an epoch before.
        partitions.told(2 * i32::try_from(CLIENT_PARTITIONS).expect("a small number"));
        let kafka_partition = None;
        let to = Target { number, kafka_topic, partitions, kafka_partition, is_named: false };
        let record = record(number, Some(b"k"), None);
        assert_eq!(stage.producer.send(to, [record].into_iter()), Ok(Vec::new()));
    }
    assert_eq!((stage.producer.clients.all.len(), stage.producer.to_flush()), (1, Some(0)));
    stage.delivered(names.len());
}

#[actix::test]
async fn where_no_more_clients_can_be_made_the_one_with_the_fewest_partitions_takes_more() {
    let mut many = Many::new(1);
    let mut config = Config::for_test();
    config.kafka.properties.insert("no.such.property".to_owned(), "1".to_owned());
    let clients = &mut many.stage.producer.clients;
    clients.login = Arc::new(Login::new(Arc::new(config)));
    clients.partitions = vec![CLIENT_PARTITIONS + 1, CLIENT_PARTITIONS + 2];
    for name in ["more-0", "more-1"] {
        many.stage.mock.cluster.create_topic(name, 1, 1).expect("made");
        many.names.push(name.to_owned());
        many.all.push(Arc::new(Partitions::new("murmur2_random")));
    }
    for number in Many::COUNT..Many::COUNT + 2 {
        assert_eq!(many.stage.producer.clients.may_grow, number == Many::COUNT, "tried once");
        many.send(number, number);
    }
    assert_eq!(many.clients()[Many::COUNT..], [0, 0]);
    assert_eq!(many.stage.producer.clients.all.len(), 2);
    many.stage.delivered(2);
}
