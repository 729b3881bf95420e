//! The delivery against a Kafka that is played here: no librdkafka, no runtime, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::output::VerdictMail;
use super::presence::Absence;
use super::*;
use crate::kafka::dead_letter::file::DeadLetterFile;
use crate::kafka::producer::{Extras, Outgoing, Report, Target};
use crate::kafka::questions::Question;
use crate::message::{
    Destinations, Header, IfMissing, KafkaTopicOrigin, Message, NO_ROUTE, NewKafkaTopic, Qos,
    Record, RecordExtras, Refusal, RouteId, Seq,
};
use crate::observe::HeldPlace;
use crate::stage::Placed;

const PARTITIONS: i32 = 3;
const SOURCES: u16 = 3;
const TOO_LARGE: i32 = 10;
const PURGED: i32 = -152;
const QUEUE_FULL: i32 = -184;

/// A record that was handed over and not reported.
struct Pending {
    index: usize,
    kafka_topic: String,
    kafka_partition: i32,
    value: Bytes,
}

/// Carries out what the delivery commands.
#[derive(Default)]
struct Kafka {
    epochs: Vec<Epoch>,
    pipelined: VecDeque<Pending>,
    serial: VecDeque<Pending>,
    /// Librdkafka takes so many at once, if that is bounded.
    room: Option<usize>,
    /// So many partitions has each Kafka topic, if not [`PARTITIONS`].
    partitions: Option<i32>,
    /// By partition.
    log: BTreeMap<(String, i32), Vec<u64>>,
    verdicts: Vec<(SourceId, Verdict)>,
    writes: Vec<(DeadLetterKind, usize)>,
    flushes: usize,
    holds: Vec<Hold>,
    questions: Vec<Question>,
    /// The names that this epoch's producers got to know, by number.
    numbers: BTreeMap<usize, BTreeSet<String>>,
    /// No producer of these can be made.
    cannot_start: Vec<Path>,
    starts: usize,
    /// A client has reported none of its records since then.
    silent_since: Option<Instant>,
}

impl Kafka {
    fn pending(&mut self, path: Path) -> &mut VecDeque<Pending> {
        match path {
            Path::Pipelined => &mut self.pipelined,
            Path::Serial => &mut self.serial,
        }
    }

    fn take(
        &mut self,
        path: Path,
        to: Target<'_>,
        record: Outgoing<'_>,
        wanted: Option<i32>,
    ) -> i32 {
        if self.room.is_some_and(|room| self.pending(path).len() >= room) {
            return QUEUE_FULL;
        }
        let partitions = self.partitions.unwrap_or(PARTITIONS);
        to.partitions.told(partitions);
        let chosen = || to.partitions.of(record.key.unwrap_or(record.mqtt_topic));
        let kafka_partition = wanted.or(to.kafka_partition).or_else(chosen).unwrap_or_default();
        if kafka_partition >= partitions {
            return classify::UNKNOWN_PARTITION;
        }
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        let (index, kafka_topic) = (record.index, to.kafka_topic.to_owned());
        self.numbers.entry(to.number).or_default().insert(kafka_topic.clone());
        let pending = Pending { index, kafka_topic, kafka_partition, value };
        self.pending(path).push_back(pending);
        0
    }

    /// The report of the oldest record that was handed over.
    fn report(&mut self, path: Path, code: i32, now: Stamp) -> Option<Report> {
        let Pending { index, kafka_topic, kafka_partition, value } =
            self.pending(path).pop_front()?;
        if code == 0 {
            let seq = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            self.log
                .entry((kafka_topic, kafka_partition))
                .or_default()
                .push(seq.expect("a number"));
        }
        Some(Report { index, code, kafka_partition, kafka_offset: 0, at: now })
    }
}

impl Output for Kafka {
    fn start(&mut self, _: Epoch, path: Path) -> bool {
        self.starts += 1;
        if self.cannot_start.contains(&path) {
            return false;
        }
        self.pending(path).clear();
        if path == Path::Pipelined {
            self.numbers.clear();
        }
        true
    }

    fn end(&mut self, path: Path) {
        self.pending(path).clear();
    }

    fn send<'a>(
        &mut self,
        path: Path,
        to: Target<'_>,
        records: impl Iterator<Item = Outgoing<'a>>,
    ) -> Result<Vec<i32>, i32> {
        let codes: Vec<_> = records.map(|record| self.take(path, to, record, None)).collect();
        Ok(if codes.iter().all(|code| *code == 0) { Vec::new() } else { codes })
    }

    fn send_one(
        &mut self,
        path: Path,
        to: Target<'_>,
        record: Outgoing<'_>,
        extras: Extras<'_>,
    ) -> Result<(), i32> {
        match self.take(path, to, record, extras.kafka_partition) {
            0 => Ok(()),
            code => Err(code),
        }
    }

    fn flush(&mut self, _: usize) {
        self.flushes += 1;
    }

    fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    fn ask(&mut self, question: Question) {
        self.questions.push(question);
    }

    fn sentence(&mut self, _: Path, _: usize) -> Option<String> {
        None
    }

    fn write(&mut self, kind: DeadLetterKind, _: DeadLetterFile, lines: Vec<Vec<u8>>) {
        self.writes.push((kind, lines.len()));
    }

    fn announce(&mut self, epoch: Epoch) {
        self.epochs.push(epoch);
    }

    fn verdicts(&mut self, source: SourceId, mail: VerdictMail, _: Instant) {
        self.verdicts.extend(mail.verdicts.into_iter().map(|verdict| (source, verdict)));
    }

    fn delivered(&mut self, _: &Item, _: &Report, _: Stamp) -> Option<Placed> {
        None
    }

    fn tell(&mut self, told: Told<'_>) {
        if let Told::Held { holds, .. } = told {
            self.holds = holds;
        }
    }
}

/// A delivery, its Kafka, and the time.
struct Stage {
    delivery: Delivery,
    kafka: Kafka,
    now: Stamp,
}

impl Stage {
    fn new(adjust: impl FnOnce(&mut Config)) -> Self {
        let (mut config, now) = (Config::for_test(), Stamp::now());
        adjust(&mut config);
        let delivery = Delivery::new(&config, Arc::default(), now.instant);
        let mut stage = Self { delivery, kafka: Kafka::default(), now };
        stage.wait(Duration::ZERO);
        stage
    }

    fn wait(&mut self, time: Duration) {
        self.now.instant += time;
        self.delivery.alarm(self.now, &mut self.kafka);
    }

    fn hand_on(&mut self, source: SourceId, messages: Vec<ForwardMsg>) {
        let Some(stage_epoch) = self.kafka.epochs.last().copied() else { return };
        let batch = ForwardBatch { stage_epoch, messages, source };
        self.delivery.batch(batch, self.now, &mut self.kafka);
    }

    /// Kafka answers so many of the oldest requests with these codes.
    fn report(&mut self, path: Path, codes: &[i32], fatal: Option<&str>) {
        let now = self.now;
        let report = |code: &i32| self.kafka.report(path, *code, now);
        let reports: Vec<_> = codes.iter().filter_map(report).collect();
        self.delivery.handle_reports(path, &reports, fatal, self.now, &mut self.kafka);
    }

    /// Kafka answers what it was asked. Returns the questions.
    fn answer(&mut self, found: impl Fn(&Question) -> Result<i32, Absence>) -> Vec<Question> {
        let questions = std::mem::take(&mut self.kafka.questions);
        let answer = |question: &Question| Answer {
            kafka_topic: Arc::clone(&question.kafka_topic),
            found: found(question),
        };
        let answers = questions.iter().map(answer).collect();
        self.delivery.answered(answers, self.now, &mut self.kafka);
        questions
    }

    fn tick(&mut self) {
        self.delivery.tick(self.now, &mut self.kafka);
    }

    fn verdicts(&mut self) -> Vec<Verdict> {
        self.write();
        std::mem::take(&mut self.kafka.verdicts).into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn write(&mut self) {
        for (kind, count) in std::mem::take(&mut self.kafka.writes) {
            self.delivery.written(kind, Ok(count), self.now, &mut self.kafka);
        }
    }

    /// All goes well for as long as anything is under way.
    fn run(&mut self) {
        for _ in 0..200 {
            self.report(Path::Pipelined, &[0; 100], None);
            self.report(Path::Serial, &[0; 100], None);
            self.write();
            self.wait(Duration::from_secs(10));
        }
    }
}

/// A message with these records, one destination after the other; the value of each is its number.
fn message(mqtt_topic: u64, count: usize) -> Vec<ForwardMsg> {
    let (seq, route) = (Seq::next(), RouteId(0));
    let mqtt_topic = Bytes::from(format!("sensors/{mqtt_topic}"));
    let value = Bytes::from(seq.0.to_string());
    let record = Record::new(route, "a".into(), value.clone());
    let mut destinations = vec![Destination::Record(record.clone()); count];
    if let Some(second) = destinations.get_mut(1) {
        // librdkafka does not take it together with the others.
        let headers = vec![Header { name: c"device".into(), value: None }];
        let extras = Some(Box::new(RecordExtras { headers, ..RecordExtras::default() }));
        *second = Destination::Record(Record { extras, ..record });
    }
    parts(seq, mqtt_topic, value, destinations)
}

/// A message with one record for a Kafka topic that a template names.
fn named(mqtt_topic: u64, kafka_topic: &str, if_missing: IfMissing) -> ForwardMsg {
    let (seq, route) = (Seq::next(), RouteId(0));
    let mqtt_topic = Bytes::from(format!("sensors/{mqtt_topic}"));
    let value = Bytes::from(seq.0.to_string());
    let origin = KafkaTopicOrigin::Template(if_missing);
    let record = Record { origin, ..Record::new(route, kafka_topic.into(), value.clone()) };
    parts(seq, mqtt_topic, value, vec![Destination::Record(record)]).remove(0)
}

/// The same, for a partition that the record names.
fn placed(mqtt_topic: u64, kafka_topic: &str, kafka_partition: i32) -> ForwardMsg {
    let ForwardMsg { id, message } = named(mqtt_topic, kafka_topic, IfMissing::DeadLetter);
    let (mqtt_topic, payload) = (message.mqtt_topic.clone(), message.payload.clone());
    let extras = RecordExtras { partition: Some(kafka_partition), ..RecordExtras::default() };
    let destination = match message.destinations.as_slice() {
        [Destination::Record(record)] => {
            Destination::Record(Record { extras: Some(Box::new(extras)), ..record.clone() })
        }
        other => unreachable!("one record: {other:?}"),
    };
    parts(id.seq, mqtt_topic, payload, vec![destination]).remove(0)
}

fn created() -> IfMissing {
    let new = NewKafkaTopic { partitions: Some(PARTITIONS), replication: None, config: Vec::new() };
    IfMissing::Create(Arc::new(new))
}

fn missing(creating: bool) -> Absence {
    Absence { code: 3, sentence: String::new(), creating }
}

fn parts(seq: Seq, mqtt_topic: Bytes, payload: Bytes, all: Vec<Destination>) -> Vec<ForwardMsg> {
    let count = u16::try_from(all.len()).expect("few");
    let message = Arc::new(Message {
        mqtt_topic,
        payload,
        properties: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at: Stamp::now(),
        destinations: Destinations::Several(all.into()),
    });
    let part = |index| ForwardMsg { id: RecordId { seq, index }, message: Arc::clone(&message) };
    (0..count).map(part).collect()
}

fn refused(reason: &'static str) -> ForwardMsg {
    let refusal = Refusal::new(reason, "found x".to_owned());
    let destination = Destination::DeadLetter(Box::new(refusal));
    parts(Seq::next(), "sensors/0".into(), "x".into(), vec![destination]).remove(0)
}

const ONE: SourceId = SourceId(0);

#[test]
fn a_round_is_flushed_once_and_each_record_has_its_verdict() {
    let mut stage = Stage::new(|_| {});
    let messages: Vec<_> = (0..40).flat_map(|nth| message(nth % 8, 1)).collect();
    stage.hand_on(ONE, messages.clone());
    assert_eq!(stage.kafka.pipelined.len(), 1, "the number of partitions is not known");
    stage.run();
    let ids: BTreeSet<_> = messages.iter().map(|msg| msg.id).collect();
    let verdicts: Vec<_> = stage.kafka.verdicts.iter().map(|(_, verdict)| *verdict).collect();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Delivered(_))));
    assert_eq!(verdicts.len(), 40);
    assert_eq!(verdicts.iter().map(|verdict| verdict.id()).collect::<BTreeSet<_>>(), ids);
    // One for the Kafka topic, one for each of its partitions, and one for the rest.
    assert!(stage.kafka.flushes <= 4, "{}", stage.kafka.flushes);
}

#[test]
fn a_full_queue_is_tried_again_and_keeps_the_order() {
    let mut stage = Stage::new(|_| {});
    stage.kafka.room = Some(2);
    stage.hand_on(ONE, (0..30).flat_map(|_| message(1, 1)).collect());
    // The number of partitions and the sequence of one of them become known.
    for _ in 0..2 {
        stage.report(Path::Pipelined, &[0], None);
        stage.wait(Duration::from_millis(10));
    }
    let full_retry = stage.delivery.next_alarm(stage.now.instant);
    assert!(full_retry.is_some_and(|at| at <= stage.now.instant + FULL_RETRY));
    stage.run();
    let log: Vec<_> = stage.kafka.log.into_values().flatten().collect();
    assert_eq!(log.len(), 30);
    assert!(log.is_sorted_by(|a, b| a < b), "{log:?}");
}

#[test]
fn a_producer_that_fails_is_replaced_when_its_last_reports_are_in_and_what_is_open_comes_again() {
    let mut stage = Stage::new(|_| {});
    let messages: Vec<_> = (0..10).flat_map(|_| message(1, 1)).collect();
    stage.hand_on(ONE, messages.clone());
    stage.report(Path::Pipelined, &[0], None);
    stage.wait(Duration::from_millis(10));
    stage.report(Path::Pipelined, &[0], None);
    stage.wait(Duration::from_millis(10));
    stage.report(Path::Pipelined, &[0, TOO_LARGE], Some("gapless"));
    assert_eq!(stage.kafka.epochs.len(), 1, "the others are not reported");
    stage.hand_on(ONE, message(1, 1));
    assert_eq!(stage.kafka.pipelined.len(), 6, "a producer that ends takes nothing");
    stage.report(Path::Pipelined, &[PURGED; 6], Some("gapless"));
    assert_eq!(stage.kafka.epochs.len(), 2);
    assert_eq!(stage.kafka.verdicts.len(), 3);
    stage.hand_on(ONE, messages[3..].to_vec());
    stage.report(Path::Serial, &[TOO_LARGE], None);
    stage.run();
    let dead = (ONE, Verdict::Rejected(messages[3].id));
    assert!(stage.kafka.verdicts.contains(&dead), "refused alone");
    let log: Vec<_> = stage.kafka.log.into_values().flatten().collect();
    assert_eq!(log.len(), 9);
    assert!(log.is_sorted_by(|a, b| a < b), "{log:?}");
}

#[test]
fn a_producer_that_is_replaced_for_new_certificates_delivers_what_is_in_flight_first() {
    let mut stage = Stage::new(|_| {});
    let messages: Vec<_> = (0..10).flat_map(|_| message(1, 1)).collect();
    stage.hand_on(ONE, messages.clone());
    for _ in 0..2 {
        stage.report(Path::Pipelined, &[0], None);
        stage.wait(Duration::from_millis(10));
    }
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.rotate("test", now.instant, kafka);
    stage.hand_on(ONE, message(1, 1));
    assert_eq!(stage.kafka.pipelined.len(), 8, "a producer that ends takes nothing");
    stage.report(Path::Pipelined, &[0; 8], None);
    assert_eq!(stage.kafka.epochs.len(), 2);
    assert_eq!(stage.kafka.verdicts.len(), 10, "nothing comes twice");

    // With reports that do not come it takes ten seconds, and what is open comes again, in order.
    let more: Vec<_> = (0..5).flat_map(|_| message(1, 1)).collect();
    stage.hand_on(ONE, more.clone());
    stage.wait(Duration::from_millis(10));
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.rotate("test", now.instant, kafka);
    stage.wait(Duration::from_millis(9_999));
    assert_eq!(stage.kafka.epochs.len(), 2);
    stage.wait(Duration::from_millis(1));
    assert_eq!(stage.kafka.epochs.len(), 3);
    stage.hand_on(ONE, more);
    stage.run();
    let log: Vec<_> = stage.kafka.log.into_values().flatten().collect();
    assert_eq!(log.len(), 15);
    assert!(log.is_sorted_by(|a, b| a < b), "{log:?}");
}

#[test]
fn a_producer_that_cannot_be_made_is_waited_for_and_everything_comes_again_in_order() {
    let mut stage = Stage::new(|_| {});
    let messages: Vec<_> = (0..10).flat_map(|_| message(1, 1)).collect();
    stage.hand_on(ONE, messages.clone());
    stage.kafka.cannot_start = vec![Path::Pipelined];
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.trouble(-150, "fatal", Some("fenced"), now.instant, kafka);
    stage.wait(Duration::from_secs(5));
    for _ in 0..20 {
        let next = stage.delivery.next_alarm(stage.now.instant).expect("it is tried again");
        stage.wait(next - stage.now.instant);
        stage.hand_on(ONE, messages.clone());
    }
    assert_eq!((stage.kafka.epochs.len(), stage.kafka.verdicts.len()), (1, 0));
    assert!(stage.kafka.starts < 30, "{}", stage.kafka.starts);
    stage.kafka.cannot_start.clear();
    stage.wait(Duration::from_secs(10));
    stage.hand_on(ONE, messages);
    stage.run();
    let log: Vec<_> = stage.kafka.log.into_values().flatten().collect();
    assert!(log.len() == 10 && log.is_sorted_by(|a, b| a < b), "{log:?}");
}

#[test]
fn a_serial_producer_that_cannot_be_made_stops_only_what_needs_it() {
    let mut stage = Stage::new(|_| {});
    // So that it knows the partitions.
    stage.hand_on(ONE, message(0, 1));
    stage.run();
    let refused = message(1, 1);
    stage.hand_on(ONE, refused.clone());
    // A gap ends the pipelined producer, and the record goes alone from then on.
    stage.report(Path::Pipelined, &[TOO_LARGE], Some("gapless"));
    stage.kafka.cannot_start = vec![Path::Serial];
    stage.kafka.starts = 0;
    stage.hand_on(ONE, refused);
    // Whichever partitions these have, only one of them waits.
    (2..40).for_each(|mqtt_topic| stage.hand_on(ONE, message(mqtt_topic, 1)));
    for _ in 0..100 {
        stage.report(Path::Pipelined, &[0; 100], None);
        stage.wait(Duration::from_millis(100));
        let next = stage.delivery.next_alarm(stage.now.instant).expect("it is tried again");
        assert!(next > stage.now.instant, "it does not spin");
    }
    let starts = stage.kafka.starts;
    assert!((10..=12).contains(&starts), "once a second: {starts}");
    let delivered = stage.kafka.verdicts.len();
    assert!((2..40).contains(&delivered), "{delivered}");
    stage.kafka.cannot_start.clear();
    for _ in 0..10 {
        stage.report(Path::Serial, &[TOO_LARGE], None);
        stage.run();
    }
    assert_eq!(stage.kafka.verdicts.len(), 40);
    assert_eq!(stage.kafka.epochs.len(), 2);
}

#[test]
fn reports_that_never_come_are_waited_for_five_seconds() {
    let mut stage = Stage::new(|_| {});
    stage.hand_on(ONE, message(1, 1));
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.trouble(-150, "fatal", Some("fenced"), now.instant, kafka);
    stage.wait(Duration::from_millis(4_999));
    assert_eq!(stage.kafka.epochs.len(), 1);
    stage.wait(Duration::from_millis(1));
    assert_eq!(stage.kafka.epochs.len(), 2);
}

#[test]
fn a_kafka_that_confirms_nothing_gets_a_new_producer_unless_it_is_unreachable() {
    for is_reachable in [true, false] {
        let mut stage = Stage::new(|_| {});
        stage.hand_on(ONE, message(1, 1));
        let Stage { delivery, kafka, now } = &mut stage;
        kafka.silent_since = Some(now.instant);
        if !is_reachable {
            delivery.trouble(classify::ALL_BROKERS_DOWN, "down", None, now.instant, kafka);
        }
        now.instant += Duration::from_secs(301);
        delivery.tick(*now, kafka);
        stage.wait(Duration::from_secs(5));
        assert_eq!(stage.kafka.epochs.len(), if is_reachable { 2 } else { 1 });
    }
}

#[test]
fn what_no_route_matches_is_dropped_where_what_is_refused_is_held() {
    let mut stage = Stage::new(|_| {});
    let (held, dropped) = (refused("payload_not_json"), refused(NO_ROUTE));
    stage.hand_on(ONE, vec![held, dropped.clone()]);
    for (kind, _) in std::mem::take(&mut stage.kafka.writes) {
        let full = Err("disk full".to_owned());
        stage.delivery.written(kind, full, stage.now, &mut stage.kafka);
    }
    assert_eq!(stage.kafka.verdicts, [(ONE, Verdict::Dropped(dropped.id))]);
    let hold = Hold { place: HeldPlace::DeadLetter, reason: "disk full".to_owned() };
    assert_eq!(stage.kafka.holds, [hold]);
    stage.run();
    assert_eq!(stage.kafka.verdicts.len(), 2, "written when there was room again");
}

#[test]
fn nothing_goes_to_a_kafka_topic_that_a_template_names_before_kafka_says_that_it_is_there() {
    let mut stage = Stage::new(|_| {});
    let messages: Vec<_> = (0..3).map(|_| named(1, "t", IfMissing::DeadLetter)).collect();
    stage.hand_on(ONE, messages.clone());
    stage.hand_on(ONE, message(1, 1));
    let sent = stage.kafka.pipelined.iter().chain(&stage.kafka.serial);
    let sent: Vec<_> = sent.map(|pending| &*pending.kafka_topic).collect();
    assert_eq!(sent, ["a"], "only the other one");
    let next = stage.delivery.next_alarm(stage.now.instant);
    assert!(next.is_none_or(|at| at > stage.now.instant), "it does not spin: {next:?}");
    let questions = stage.answer(|_| Ok(PARTITIONS));
    assert_eq!(questions.len(), 1, "asked once: {questions:?}");
    stage.run();
    let log: Vec<_> =
        stage.kafka.log.iter().filter(|((name, _), _)| name == "t").flat_map(|it| it.1).collect();
    let expected: Vec<_> = messages.iter().map(|msg| &msg.id.seq.0).collect();
    assert_eq!(log, expected);
    assert_eq!(stage.kafka.verdicts.len(), 4);
}

#[test]
fn a_record_for_a_missing_kafka_topic_goes_where_its_route_says_and_delays_no_other() {
    let mut stage = Stage::new(|_| {});
    let dead = named(1, "t", IfMissing::DeadLetter);
    let held = named(1, "t", IfMissing::Hold);
    stage.hand_on(ONE, vec![dead.clone(), held.clone()]);
    stage.answer(|_| Err(missing(false)));
    assert_eq!(stage.verdicts(), [Verdict::Rejected(dead.id)]);
    // The answer holds for a second.
    let again = named(1, "t", IfMissing::DeadLetter);
    stage.hand_on(ONE, vec![again.clone()]);
    assert_eq!(
        (stage.verdicts(), stage.kafka.questions.len()),
        (vec![Verdict::Rejected(again.id)], 0)
    );
    stage.tick();
    let place = HeldPlace::KafkaTopic("t".into());
    assert_eq!(stage.kafka.holds.iter().map(|hold| &hold.place).collect::<Vec<_>>(), [&place]);
    // What is held is asked about again, and goes on when the Kafka topic is there.
    stage.wait(Duration::from_secs(1));
    stage.tick();
    assert_eq!(stage.answer(|_| Ok(PARTITIONS)).len(), 1);
    stage.run();
    stage.tick();
    assert_eq!(
        (stage.verdicts(), &stage.kafka.holds[..]),
        (vec![Verdict::Delivered(held.id)], &[][..])
    );
}

#[test]
fn a_missing_kafka_topic_is_created_if_a_record_wants_that_and_what_waits_keeps_its_order() {
    let mut stage = Stage::new(|_| {});
    let first = named(1, "t", IfMissing::Hold);
    stage.hand_on(ONE, vec![first.clone()]);
    let second = named(1, "t", created());
    stage.hand_on(ONE, vec![second.clone()]);
    let create = |question: &Question| match &question.create {
        Some(_) => Ok(PARTITIONS),
        None => Err(missing(false)),
    };
    assert_eq!(stage.answer(create)[0].create, None);
    assert!(stage.answer(create)[0].create.is_some(), "asked again, for the one that wants it");
    stage.run();
    let delivered = [Verdict::Delivered(first.id), Verdict::Delivered(second.id)];
    assert_eq!(stage.verdicts(), delivered);
}

#[test]
fn a_kafka_topic_that_is_deleted_is_asked_about_and_what_waits_goes_where_its_route_says() {
    let mut stage = Stage::new(|_| {});
    stage.hand_on(ONE, vec![named(1, "t", IfMissing::DeadLetter)]);
    stage.answer(|_| Ok(PARTITIONS));
    stage.run();
    assert_eq!(stage.verdicts().len(), 1);
    let messages: Vec<_> = (0..3).map(|_| named(1, "t", IfMissing::DeadLetter)).collect();
    stage.hand_on(ONE, messages.clone());
    stage.report(Path::Pipelined, &[3, 3, 3], None);
    stage.tick();
    assert_eq!(stage.answer(|_| Err(missing(false))).len(), 1);
    stage.run();
    let rejected: Vec<_> = messages.iter().map(|msg| Verdict::Rejected(msg.id)).collect();
    assert_eq!(stage.verdicts(), rejected);
    stage.tick();
    assert_eq!(stage.kafka.holds, []);
}

/// Whether its producer has something in flight or not: the queues of the partitions that are gone are gone.
#[test]
fn a_kafka_topic_with_fewer_partitions_than_it_had_gets_a_new_producer_whatever_is_in_flight() {
    for is_in_flight in [false, true] {
        let mut stage = Stage::new(|_| {});
        stage.hand_on(ONE, vec![placed(1, "t", 2)]);
        stage.answer(|_| Ok(PARTITIONS));
        stage.run();
        assert_eq!(stage.verdicts().len(), 1);
        let waits = placed(1, "t", 2);
        stage.hand_on(ONE, vec![waits.clone()]);
        stage.report(Path::Pipelined, &[3], None);
        let neighbour = message(1, 1).remove(0);
        let mut expected = vec![Verdict::Rejected(waits.id)];
        if is_in_flight {
            stage.hand_on(ONE, vec![neighbour.clone()]);
            stage.wait(Duration::from_secs(1));
            expected.insert(0, Verdict::Delivered(neighbour.id));
        }
        stage.kafka.partitions = Some(1);
        assert_eq!(stage.answer(|_| Ok(1)).len(), 1);
        assert_eq!(stage.kafka.epochs.len(), 1 + usize::from(!is_in_flight));
        stage.report(Path::Pipelined, &[0; 9], None);
        stage.report(Path::Serial, &[0; 9], None);
        assert_eq!(stage.kafka.epochs.len(), 2);
        stage.hand_on(ONE, vec![waits]);
        stage.run();
        assert_eq!(stage.verdicts(), expected);
    }
}

#[test]
fn a_name_that_the_bridge_may_not_use_holds_nobody_up() {
    let mut stage = Stage::new(|_| {});
    let denied = named(1, "t", IfMissing::DeadLetter);
    stage.hand_on(ONE, vec![denied.clone()]);
    stage.answer(|_| Ok(PARTITIONS));
    // The first record of a name goes alone: its refusal ends no producer.
    stage.report(Path::Serial, &[29], None);
    assert_eq!(stage.verdicts(), [Verdict::Rejected(denied.id)]);
    stage.tick();
    assert_eq!((stage.kafka.epochs.len(), &stage.kafka.holds[..]), (1, &[][..]));
}

#[test]
fn one_more_name_than_allowed_goes_to_the_dead_letter_until_one_is_let_go() {
    let mut stage = Stage::new(|config| config.kafka.kafka_topics_max = 2);
    let hand_on = |stage: &mut Stage, kafka_topic: &str| {
        let msg = named(1, kafka_topic, IfMissing::DeadLetter);
        stage.hand_on(ONE, vec![msg.clone()]);
        stage.answer(|_| Ok(PARTITIONS));
        for path in [Path::Pipelined, Path::Serial, Path::Pipelined] {
            stage.report(path, &[0; 9], None);
            stage.now.instant += Duration::from_millis(10);
            stage.wait(Duration::ZERO);
        }
        stage.verdicts() == [Verdict::Delivered(msg.id)]
    };
    assert!(hand_on(&mut stage, "a"));
    assert!(hand_on(&mut stage, "b"));
    assert!(!hand_on(&mut stage, "c"), "there are two");
    assert!(hand_on(&mut stage, "a"), "those that are known go on");
    stage.now.instant += Duration::from_secs(60);
    assert!(hand_on(&mut stage, "a"));
    assert!(hand_on(&mut stage, "c"), "nobody has used b for a minute");
    assert!(!hand_on(&mut stage, "b"));
    // In an hour all are let go, and then librdkafka forgets them too.
    stage.now.instant += Duration::from_secs(3600);
    stage.tick();
    assert_eq!(stage.kafka.epochs.len(), 2);
    assert!(hand_on(&mut stage, "b") && hand_on(&mut stage, "d"));
}

/// However fast names are invented: what is created keeps its place, and no more are in an hour.
#[test]
fn no_more_kafka_topics_are_created_in_an_hour_than_may_be_named() {
    let mut stage = Stage::new(|config| config.kafka.kafka_topics_max = 3);
    let (mut created_at, mut verdicts) = (Vec::<Instant>::new(), Vec::new());
    let mut existing = BTreeSet::new();
    for nth in 0..180 {
        stage.now.instant += Duration::from_secs(60);
        stage.tick();
        let now = stage.now.instant;
        stage.hand_on(ONE, vec![named(nth, &format!("t{nth}"), created())]);
        // One question whether it exists, one to create it.
        for _ in 0..2 {
            stage.answer(|question| match &question.create {
                Some(_) => Ok(PARTITIONS),
                None => Err(missing(false)),
            });
            let asks = stage.kafka.questions.iter().filter(|question| question.create.is_some());
            for question in asks {
                assert!(existing.insert(Arc::clone(&question.kafka_topic)), "created once");
                created_at.push(now);
            }
        }
        stage.report(Path::Serial, &[0; 9], None);
        verdicts.extend(stage.verdicts());
        let in_the_hour =
            created_at.iter().filter(|at| now.duration_since(**at) < Duration::from_secs(3600));
        assert!(in_the_hour.count() <= 3, "at {nth} min: {created_at:?}");
        assert_eq!(stage.kafka.holds, [], "a stranger's names hold nobody up");
    }
    assert_eq!(verdicts.len(), 180, "each record has its verdict");
    let delivered = verdicts.iter().filter(|it| matches!(it, Verdict::Delivered(_))).count();
    assert_eq!((created_at.len(), delivered), (9, 9), "three in each of three hours");
}

#[test]
fn kafka_topics_that_exist_take_turns_and_new_producers_for_that_come_each_ten_minutes_at_most() {
    let mut stage = Stage::new(|config| config.kafka.kafka_topics_max = 3);
    let (mut delivered, mut most_known) = (0, 0);
    for nth in 0..240u64 {
        stage.now.instant += Duration::from_secs(20);
        stage.tick();
        // They come back after what is bounded has forgotten them.
        stage.hand_on(ONE, vec![named(nth, &format!("t{}", nth % 50), created())]);
        stage.answer(|_| Ok(PARTITIONS));
        stage.report(Path::Serial, &[0; 9], None);
        let verdicts = stage.verdicts();
        delivered += verdicts.iter().filter(|it| matches!(it, Verdict::Delivered(_))).count();
        most_known = most_known.max(stage.kafka.numbers.len());
    }
    assert!(stage.kafka.epochs.len() <= 1 + 80 / 10 + 1, "{:?}", stage.kafka.epochs);
    assert!(stage.kafka.epochs.len() > 4 && delivered > 20, "{delivered}");
    assert!(most_known <= 6, "librdkafka knows {most_known}");
}

#[test]
fn a_new_producer_for_names_waits_until_kafka_confirms_records_again() {
    let mut stage = Stage::new(|_| {});
    stage.hand_on(ONE, vec![named(1, "t", IfMissing::DeadLetter)]);
    stage.answer(|_| Ok(PARTITIONS));
    stage.run();
    stage.now.instant += Duration::from_secs(3600);
    stage.tick();
    stage.now.instant += Duration::from_secs(3590);
    stage.hand_on(ONE, message(1, 1));
    stage.now.instant += Duration::from_secs(10);
    stage.tick();
    assert_eq!(stage.kafka.epochs.len(), 1, "a record waits for Kafka");
    stage.report(Path::Pipelined, &[0], None);
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.trouble(classify::ALL_BROKERS_DOWN, "down", None, now.instant, kafka);
    stage.tick();
    assert_eq!(stage.kafka.epochs.len(), 1, "Kafka is away");
    stage.delivery.reached(&mut stage.kafka);
    stage.tick();
    assert_eq!(stage.kafka.epochs.len(), 2);
}

#[test]
fn a_name_about_which_kafka_never_answers_is_a_hold_unless_kafka_is_away() {
    let mut stage = Stage::new(|config| config.dead_letter.after = Some(Duration::from_secs(30)));
    let waits = named(1, "t", IfMissing::DeadLetter);
    stage.hand_on(ONE, vec![waits.clone()]);
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.trouble(classify::ALL_BROKERS_DOWN, "down", None, now.instant, kafka);
    for _ in 0..60 {
        stage.now.instant += Duration::from_secs(1);
        stage.tick();
        assert_eq!((stage.verdicts(), &stage.kafka.holds[..]), (vec![], &[][..]), "an outage");
    }
    stage.delivery.reached(&mut stage.kafka);
    for second in 1..30 {
        stage.now.instant += Duration::from_secs(1);
        stage.tick();
        let places: Vec<_> = stage.kafka.holds.iter().map(|hold| hold.place.clone()).collect();
        let expected = (second >= 10).then(|| HeldPlace::KafkaTopic("t".into()));
        assert_eq!(places, Vec::from_iter(expected), "after {second} s");
        assert_eq!(stage.verdicts(), [], "after {second} s");
    }
    stage.now.instant += Duration::from_secs(1);
    stage.tick();
    assert_eq!(stage.verdicts(), [Verdict::Rejected(waits.id)]);
    stage.tick();
    assert_eq!(stage.kafka.holds, []);
}

/// Also for one that is in flight.
#[test]
fn a_record_for_a_partition_that_has_just_come_into_being_waits_for_older_ones() {
    let mut stage = Stage::new(|_| {});
    stage.hand_on(ONE, vec![placed(1, "t", 0)]);
    stage.answer(|_| Ok(2));
    stage.kafka.partitions = Some(2);
    stage.run();
    let messages: Vec<_> = (0..4).map(|_| placed(1, "t", 2)).collect();
    // The third partition comes into being while the first record for it waits.
    stage.kafka.room = Some(0);
    stage.hand_on(ONE, vec![messages[0].clone()]);
    stage.kafka.room = None;
    stage.kafka.partitions = Some(PARTITIONS);
    stage.wait(Duration::from_secs(1));
    assert_eq!(stage.kafka.pipelined.len(), 1);
    stage.hand_on(ONE, messages[1..].to_vec());
    stage.wait(Duration::from_secs(1));
    // Too few replicas were in sync, for a moment.
    stage.report(Path::Pipelined, &[19, 0, 0, 0], None);
    stage.run();
    let expected: Vec<_> = messages.iter().map(|msg| msg.id.seq.0).collect();
    assert_eq!(stage.kafka.log[&("t".to_owned(), 2)], expected);
    // Then it has a queue of its own.
    stage.hand_on(ONE, vec![placed(1, "t", 2)]);
    stage.run();
    stage.hand_on(ONE, (0..3).map(|_| placed(1, "t", 2)).collect());
    assert_eq!(stage.kafka.pipelined.len(), 3);
}

#[test]
fn missing_names_make_room_for_those_that_exist() {
    let mut stage = Stage::new(|config| config.kafka.kafka_topics_max = 2);
    for nth in 0..20 {
        stage.now.instant += Duration::from_secs(1);
        let msg = named(1, &format!("no-{nth}"), IfMissing::DeadLetter);
        stage.hand_on(ONE, vec![msg.clone()]);
        assert_eq!(stage.answer(|_| Err(missing(false))).len(), 1, "{nth}");
        assert_eq!(stage.verdicts(), [Verdict::Rejected(msg.id)]);
    }
    stage.hand_on(ONE, vec![named(1, "t", IfMissing::DeadLetter)]);
    stage.answer(|_| Ok(PARTITIONS));
    stage.run();
    assert!(matches!(stage.verdicts()[..], [Verdict::Delivered(_)]));
}

#[test]
fn a_record_that_was_refused_for_its_name_is_not_produced_behind_later_ones_when_it_comes_again() {
    let mut stage = Stage::new(|_| {});
    let (refused, later) = (named(1, "t", IfMissing::DeadLetter), named(1, "t", created()));
    stage.hand_on(ONE, vec![refused.clone(), later.clone()]);
    let create =
        |question: &Question| question.create.as_ref().map(|_| PARTITIONS).ok_or(missing(false));
    stage.answer(create);
    stage.answer(create);
    stage.report(Path::Serial, &[0], None);
    // The dead letter is not written yet when there is a new producer.
    stage.kafka.writes.clear();
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.written(DeadLetterKind::Refused, Err("disk full".to_owned()), *now, kafka);
    delivery.trouble(-150, "fatal", Some("fenced"), now.instant, kafka);
    stage.hand_on(ONE, vec![refused.clone()]);
    stage.run();
    assert_eq!(stage.kafka.log.into_values().flatten().collect::<Vec<_>>(), [later.id.seq.0]);
}

#[test]
fn a_timestamp_of_its_own_that_kafka_refuses_is_the_records_fault_however_many_there_are() {
    let mut stage = Stage::new(|_| {});
    for mqtt_topic in 0..6 {
        let (seq, value) = (Seq::next(), Bytes::new());
        let extras = RecordExtras { timestamp_ms: Some(1), ..RecordExtras::default() };
        let record = Record::new(RouteId(0), "a".into(), value.clone());
        let record = Record { extras: Some(Box::new(extras)), ..record };
        let mqtt_topic = Bytes::from(format!("sensors/{mqtt_topic}"));
        let messages = parts(seq, mqtt_topic, value, vec![Destination::Record(record)]);
        stage.hand_on(ONE, messages.clone());
        stage.report(Path::Pipelined, &[32], None);
        stage.wait(Duration::from_secs(1));
        stage.report(Path::Serial, &[32], None);
        assert_eq!(stage.verdicts(), [Verdict::Rejected(messages[0].id)]);
        stage.tick();
        assert_eq!(stage.kafka.holds, []);
    }
}

/// A source, as MqttActor with its window.
#[derive(Default)]
struct Source {
    open: BTreeMap<RecordId, ForwardMsg>,
    cursor: Option<RecordId>,
    settled: usize,
}

impl Source {
    fn hand_on(&mut self, count: usize) -> Vec<ForwardMsg> {
        let cursor = self.cursor;
        let behind = self.open.iter().filter(|(id, _)| cursor.is_none_or(|cursor| **id > cursor));
        let batch: Vec<_> = behind.take(count).map(|(_, msg)| msg.clone()).collect();
        self.cursor = batch.last().map(|msg| msg.id).or(cursor);
        batch
    }
}

/// Sources hand on to a stage, and notice each epoch.
struct Bridge {
    stage: Stage,
    sources: Vec<Source>,
    epochs: usize,
    poison: BTreeSet<u64>,
    /// By the number of a message, its source and MQTT topic.
    sent: BTreeMap<u64, (u16, u64)>,
    dead: BTreeSet<u64>,
}

impl Bridge {
    fn settle(&mut self) {
        for (source, verdict) in std::mem::take(&mut self.stage.kafka.verdicts) {
            let source = &mut self.sources[usize::from(source.0)];
            source.settled += usize::from(source.open.remove(&verdict.id()).is_some());
            if let Verdict::Rejected(id) = verdict {
                self.dead.insert(id.seq.0);
            }
        }
        if self.stage.kafka.epochs.len() > self.epochs {
            self.epochs = self.stage.kafka.epochs.len();
            self.sources.iter_mut().for_each(|source| source.cursor = None);
        }
    }

    fn hand_on(&mut self, source: u16, count: usize) {
        let batch = self.sources[usize::from(source)].hand_on(count);
        self.stage.hand_on(SourceId(source), batch);
    }

    fn is_poison(&self, pending: Option<&Pending>) -> bool {
        let text = pending.map_or("", |pending| std::str::from_utf8(&pending.value).unwrap_or(""));
        text.parse().is_ok_and(|seq| self.poison.contains(&seq))
    }

    /// Kafka answers at most so many requests of each producer: it takes what comes before a poison, refuses
    /// that, and knows no producer that goes on behind it.
    fn answer(&mut self, count: usize) {
        if self.is_poison(self.stage.kafka.serial.front()) {
            self.stage.report(Path::Serial, &[TOO_LARGE], None);
        } else {
            self.stage.report(Path::Serial, &[0], None);
        }
        let pipelined = &self.stage.kafka.pipelined;
        let good = pipelined.iter().take(count).take_while(|it| !self.is_poison(Some(it))).count();
        if good < count.min(pipelined.len()) {
            let mut codes = vec![0; good];
            codes.push(TOO_LARGE);
            codes.resize(pipelined.len(), PURGED);
            self.stage.report(Path::Pipelined, &codes, Some("gapless"));
        } else {
            self.stage.report(Path::Pipelined, &vec![0; good], None);
        }
    }
}

proptest! {
    /// Sources interleave, attach anew, lose their verdicts; records are refused; producers die and librdkafka
    /// is full: each record has one verdict that counts, what is refused is exactly the poison, and the
    /// records of each source and MQTT topic are in Kafka in order.
    #[test]
    fn nothing_is_lost_or_reordered_whatever_happens(
        steps in prop::collection::vec((0usize..13, 0usize..12, 0u16..SOURCES), 1..100),
        poison_every in 3u64..40,
    ) {
        let stage = Stage::new(|config| config.kafka.kafka_topics_max = 5);
        let sources = (0..SOURCES).map(|_| Source::default()).collect();
        let (poison, sent, dead) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        let mut bridge = Bridge { stage, sources, epochs: 0, poison, sent, dead };
        let mut count_sent = 0;
        let quiet = std::iter::repeat_n((13, 50, 0), 500);
        for (kind, count, source) in steps.into_iter().chain(quiet) {
            bridge.settle();
            match kind {
                0 | 1 => {
                    for nth in 0..count {
                        let (mqtt_topic, parts) = (nth as u64 % 4, 1 + nth % 3);
                        let messages = message(mqtt_topic, parts);
                        let seq = messages[0].id.seq.0;
                        count_sent += messages.len();
                        bridge.sent.insert(seq, (source, mqtt_topic));
                        if seq.is_multiple_of(poison_every) {
                            bridge.poison.insert(seq);
                        }
                        let open = messages.into_iter().map(|msg| (msg.id, msg));
                        bridge.sources[usize::from(source)].open.extend(open);
                    }
                }
                2 => bridge.hand_on(source, count),
                3 | 4 => bridge.answer(count),
                5 => bridge.stage.wait(Duration::from_millis(count as u64 * 100)),
                6 => {
                    let Stage { delivery, kafka, now } = &mut bridge.stage;
                    delivery.trouble(-150, "fatal", Some("fenced"), now.instant, kafka);
                }
                7 => {
                    // It panics, and the verdicts on their way to it with it.
                    let id = SourceId(source);
                    bridge.stage.kafka.verdicts.retain(|(to, _)| *to != id);
                    bridge.sources[usize::from(source)].cursor = None;
                    bridge.stage.delivery.attached(id);
                }
                8 => bridge.stage.kafka.room = (count > 0).then_some(count),
                9 | 10 => {
                    for nth in 0..count as u64 {
                        let if_missing = match nth % 3 {
                            0 => IfMissing::DeadLetter,
                            1 => IfMissing::Hold,
                            _ => created(),
                        };
                        let (mqtt_topic, name) = (10 + nth % 8, format!("t{}", nth % 8));
                        let msg = named(mqtt_topic, &name, if_missing);
                        let seq = msg.id.seq.0;
                        count_sent += 1;
                        bridge.sent.insert(seq, (source, mqtt_topic));
                        if seq.is_multiple_of(poison_every) {
                            bridge.poison.insert(seq);
                        }
                        bridge.sources[usize::from(source)].open.insert(msg.id, msg);
                    }
                }
                11 => drop(bridge.stage.answer(|question| match &question.create {
                    None if (count + question.kafka_topic.len()) % 3 > 0 => Err(missing(false)),
                    _ => Ok(PARTITIONS),
                })),
                12 => {
                    bridge.stage.now.instant += Duration::from_secs(count as u64 * 10);
                    bridge.stage.report(Path::Serial, &[3], None);
                    bridge.stage.tick();
                }
                _ => {
                    bridge.stage.kafka.room = None;
                    (0..SOURCES).for_each(|source| bridge.hand_on(source, count));
                    bridge.stage.answer(|_| Ok(PARTITIONS));
                    bridge.answer(count);
                    bridge.stage.write();
                    bridge.stage.tick();
                    bridge.stage.wait(Duration::from_secs(1));
                    let is_done = bridge.sources.iter().all(|source| source.open.is_empty());
                    if is_done {
                        break;
                    }
                }
            }
        }
        bridge.settle();
        for source in &bridge.sources {
            prop_assert!(source.open.is_empty(), "{:?} wait", source.open.keys());
        }
        prop_assert_eq!(bridge.sources.iter().map(|source| source.settled).sum::<usize>(), count_sent);
        // A producer that is fenced may have written what it never reported: only what is first counts.
        let mut last: BTreeMap<(u16, u64), u64> = BTreeMap::new();
        for log in bridge.stage.kafka.log.values() {
            for seq in log {
                prop_assert!(!bridge.poison.contains(seq), "{} is poison", seq);
                let last = last.entry(bridge.sent[seq]).or_default();
                prop_assert!(*last <= *seq, "{} behind {}", seq, last);
                *last = *seq;
            }
        }
        // A name may be missing, or one too many.
        let is_refused = |seq: &&u64| bridge.sent[*seq].1 < 10 && !bridge.poison.contains(*seq);
        prop_assert_eq!(bridge.dead.iter().find(is_refused), None);
        for names in bridge.stage.kafka.numbers.values() {
            prop_assert_eq!(names.len(), 1, "{:?} have one number", names);
        }
    }
}

#[test]
fn a_client_has_its_time_from_the_end_of_an_outage() {
    let mut stage = Stage::new(|_| {});
    stage.hand_on(ONE, message(1, 1));
    stage.kafka.silent_since = Some(stage.now.instant);
    let Stage { delivery, kafka, now } = &mut stage;
    delivery.trouble(classify::ALL_BROKERS_DOWN, "down", None, now.instant, kafka);
    let pass = |stage: &mut Stage, minutes| {
        for _ in 0..minutes {
            stage.wait(Duration::from_secs(60));
            stage.tick();
        }
        stage.kafka.epochs.len()
    };
    pass(&mut stage, 60);
    // Another client was the first to reach it.
    let Stage { delivery, kafka, .. } = &mut stage;
    delivery.reached(kafka);
    assert_eq!(pass(&mut stage, 4), 1);
    // What it had in flight has time to be reported.
    assert_eq!(pass(&mut stage, 2), 2, "it is stuck");
}

#[test]
fn a_client_that_reports_nothing_ends_its_producer_although_others_deliver_and_kafka_answers() {
    let mut stage = Stage::new(|_| {});
    let minute = Duration::from_secs(60);
    stage.hand_on(ONE, message(1, 1));
    stage.kafka.silent_since = Some(stage.now.instant);
    for nth in 1..=5 {
        assert_eq!(stage.kafka.epochs.len(), 1, "before minute {nth}");
        // The first record stays in flight, and what comes is delivered.
        let Stage { delivery, kafka, now } = &mut stage;
        delivery.trouble(classify::ALL_BROKERS_DOWN, "down", None, now.instant, kafka);
        stage.hand_on(ONE, vec![named(nth, "other", IfMissing::DeadLetter)]);
        stage.answer(|_| Ok(PARTITIONS));
        stage.report(Path::Serial, &[0; 9], None);
        if let Some(other) = stage.kafka.pipelined.iter().position(|it| it.kafka_topic == "other") {
            stage.kafka.pipelined.swap(0, other);
            stage.report(Path::Pipelined, &[0], None);
        }
        stage.now.instant += minute;
        stage.tick();
    }
    // What it had in flight has time to be reported.
    stage.wait(minute);
    assert_eq!(stage.kafka.epochs.len(), 2, "and it is replaced");
}
