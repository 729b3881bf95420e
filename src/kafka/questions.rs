//! What Kafka is asked about Kafka topics that templates name, and what it is to create. Pure: no I/O, no
//! clock. The threads that ask are in `registrar.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classify;
use super::delivery::presence::Absence;
use crate::config::is_legal_kafka_topic;
use crate::message::NewKafkaTopic;

/// So many Kafka topics are created by one request.
pub(super) const CREATED_AT_ONCE: usize = 100;
/// How long one that was just created may take until a broker knows it.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// Kafka's codes.
const TOPIC_EXCEPTION: i32 = 17;
const TOPIC_EXISTS: i32 = 36;

/// What is to be found out about a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) kafka_topic: Arc<str>,
    /// How it is created if it does not exist; `None`: not at all.
    pub(crate) create: Option<Arc<NewKafkaTopic>>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kafka_topic: Arc<str>,
    /// How many partitions it has, or why it cannot be used.
    pub(crate) found: Result<i32, Absence>,
}

/// A Kafka topic that is to be created, and how.
pub(super) type Creation = (Arc<str>, Arc<NewKafkaTopic>);

/// What Kafka says of the Kafka topic of this name: a value, or its code and sentence.
pub(super) type Said<T> = (String, Result<T, (i32, String)>);

/// The questions that are not answered yet. Each name is asked about once, however often it is wanted.
#[derive(Debug, Default)]
pub(super) struct Questions(BTreeMap<Arc<str>, Option<Arc<NewKafkaTopic>>>);

impl Questions {
    /// One more. It is created if anyone wants that.
    pub(super) fn add(&mut self, Question { kafka_topic, create }: Question) {
        let open = self.0.entry(kafka_topic).or_default();
        *open = create.or_else(|| open.take());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers about names that no broker needs to be asked about.
    pub(super) fn take_illegal(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.0.retain(|name, _| {
            let is_legal = is_legal_kafka_topic(name);
            if !is_legal {
                answers.push(absent(Arc::clone(name), TOPIC_EXCEPTION, "", false));
            }
            is_legal
        });
        answers
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }

    /// A broker has answered, with the number of partitions of each. Those that it says nothing of stay open.
    /// Returns the answers, and what is to be created.
    pub(super) fn described(&mut self, said: Vec<Said<i32>>) -> (Vec<Answer>, Vec<Creation>) {
        let (mut answers, mut creations) = (Vec::new(), Vec::new());
        for (name, found) in said {
            let Some((kafka_topic, create)) = self.0.remove_entry(&*name) else { continue };
            match (found, create) {
                (Ok(count), _) => answers.push(Answer { kafka_topic, found: Ok(count) }),
                (Err((code, _)), Some(new)) if classify::is_topic_missing(code) => {
                    creations.push((kafka_topic, new));
                }
                (Err((code, said)), _) => answers.push(absent(kafka_topic, code, &said, false)),
            }
        }
        (answers, creations)
    }
}

/// What is being created.
#[derive(Debug, Default)]
pub(super) struct Creations {
    waiting: VecDeque<Creation>,
    /// Created, and not known to a broker yet; and until when it has time for that.
    unknown: BTreeMap<Arc<str>, Instant>,
}

impl Creations {
    pub(super) fn add(&mut self, creations: Vec<Creation>) {
        self.waiting.extend(creations);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.unknown.is_empty()
    }

    /// What the next request creates.
    pub(super) fn next(&self) -> Vec<Creation> {
        self.waiting.iter().take(CREATED_AT_ONCE).cloned().collect()
    }

    /// Kafka has answered that request. That one exists already is a success. Those that it says nothing of
    /// are tried again.
    pub(super) fn created(&mut self, said: Vec<Said<()>>, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (name, result) in said {
            let Some(at) = self.waiting.iter().position(|(waiting, _)| **waiting == *name) else {
                continue;
            };
            let Some((kafka_topic, _)) = self.waiting.remove(at) else { continue };
            match result {
                Ok(()) | Err((TOPIC_EXISTS, _)) => {
                    self.unknown.insert(kafka_topic, now + KNOWN_WITHIN);
                }
                Err((code, said)) => answers.push(absent(kafka_topic, code, &said, true)),
            }
        }
        answers
    }

    /// Those that a broker is to be asked about.
    pub(super) fn unknown(&self) -> Vec<Arc<str>> {
        self.unknown.keys().cloned().collect()
    }

    /// A broker has answered. One that it does not know yet has time until [`KNOWN_WITHIN`] is over.
    pub(super) fn described(&mut self, said: Vec<Said<i32>>, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (name, found) in said {
            let Some((kafka_topic, until)) = self.unknown.remove_entry(&*name) else { continue };
            match found {
                Ok(count) => answers.push(Answer { kafka_topic, found: Ok(count) }),
                Err((code, said)) if now >= until => {
                    answers.push(absent(kafka_topic, code, &said, true));
                }
                Err(_) => {
                    self.unknown.insert(kafka_topic, until);
                }
            }
        }
        answers
    }
}

fn absent(kafka_topic: Arc<str>, code: i32, sentence: &str, creating: bool) -> Answer {
    let absence = Absence { code, sentence: sentence.to_owned(), creating };
    Answer { kafka_topic, found: Err(absence) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MISSING: i32 = 3;
    const DENIED: i32 = 29;

    fn new(partitions: i32) -> Arc<NewKafkaTopic> {
        let config = Vec::new();
        Arc::new(NewKafkaTopic { partitions: Some(partitions), replication: None, config })
    }

    fn question(name: &str, create: Option<i32>) -> Question {
        Question { kafka_topic: name.into(), create: create.map(new) }
    }

    fn names(creations: &[Creation]) -> Vec<&str> {
        creations.iter().map(|(name, _)| &**name).collect()
    }

    fn no<T>(name: &str, code: i32) -> Said<T> {
        (name.to_owned(), Err((code, "why".to_owned())))
    }

    fn found(name: &str, count: i32) -> Answer {
        Answer { kafka_topic: name.into(), found: Ok(count) }
    }

    #[test]
    fn what_is_there_is_told_and_only_what_is_missing_and_wanted_is_created() {
        let mut questions = Questions::default();
        let all = [("a", Some(1)), ("b", None), ("c", Some(2)), ("d", Some(3)), ("e", None)];
        all.into_iter().for_each(|(name, create)| questions.add(question(name, create)));
        // It is asked for again, by a route that does not create.
        questions.add(question("d", None));
        let said = vec![
            ("a".to_owned(), Ok(4)),
            no("b", MISSING),
            no("c", DENIED),
            no("d", MISSING),
            ("stranger".to_owned(), Ok(1)),
        ];
        let (answers, creations) = questions.described(said);
        let expected = [
            found("a", 4),
            absent("b".into(), MISSING, "why", false),
            absent("c".into(), DENIED, "why", false),
        ];
        assert_eq!(answers, expected);
        assert_eq!(creations, [("d".into(), new(3))]);
        assert_eq!(questions.names(), [Arc::from("e")], "nothing was said of it");
    }

    #[test]
    fn a_name_that_kafka_does_not_allow_is_answered_without_asking() {
        let mut questions = Questions::default();
        let long = "x".repeat(250);
        for name in ["", "..", "a b", "ä", &long, "fine"] {
            questions.add(question(name, Some(1)));
        }
        let answers = questions.take_illegal();
        assert_eq!(answers.len(), 5);
        let is_illegal = |answer: &Answer| matches!(&answer.found, Err(it) if it.code == 17);
        assert!(answers.iter().all(is_illegal), "{answers:?}");
        assert_eq!(questions.names(), [Arc::from("fine")]);
        assert_eq!(questions.take_illegal(), []);
    }

    #[test]
    fn what_was_created_is_told_once_a_broker_knows_it_or_its_time_is_over() {
        let (now, mut creations) = (Instant::now(), Creations::default());
        creations.add(["a", "b", "c", "d"].map(|name| (Arc::from(name), new(1))).to_vec());
        assert_eq!(names(&creations.next()), ["a", "b", "c", "d"]);
        let said = vec![("a".to_owned(), Ok(())), no("b", 36), no("c", 44)];
        assert_eq!(creations.created(said, now), [absent("c".into(), 44, "why", true)]);
        assert_eq!(names(&creations.next()), ["d"], "nothing was said of it");
        assert_eq!(creations.unknown(), [Arc::from("a"), Arc::from("b")]);
        let said = || vec![no("a", MISSING), no("b", MISSING)];
        let late = now + KNOWN_WITHIN;
        assert_eq!(creations.described(said(), late - Duration::from_millis(1)), []);
        let answers = creations.described(vec![("b".to_owned(), Ok(1))], now);
        assert_eq!(answers, [found("b", 1)]);
        let answers = creations.described(said(), late);
        assert_eq!(answers, [absent("a".into(), MISSING, "why", true)]);
        assert_eq!(creations.created(vec![no("d", DENIED)], now).len(), 1);
        assert!(creations.is_empty());
    }

    #[test]
    fn a_request_creates_at_most_so_many() {
        let mut creations = Creations::default();
        let many = (0..2 * CREATED_AT_ONCE + 1).map(|n| (Arc::from(n.to_string()), new(1)));
        creations.add(many.collect());
        let mut sizes = Vec::new();
        while !creations.next().is_empty() {
            let batch = creations.next();
            sizes.push(batch.len());
            let said = batch.iter().map(|(name, _)| (name.to_string(), Ok(()))).collect();
            creations.created(said, Instant::now());
        }
        assert_eq!(sizes, [CREATED_AT_ONCE, CREATED_AT_ONCE, 1]);
    }

    proptest! {
        /// Whatever the brokers say of whichever names, in any order, each question has one answer in the end.
        #[test]
        fn each_question_is_answered_once(
            asked in prop::collection::vec((0u8..12, any::<bool>()), 1..40),
            says in prop::collection::vec((0u8..12, 0usize..5), 0..200),
        ) {
            const CODES: [i32; 4] = [MISSING, DENIED, 36, 44];
            let (now, mut questions, mut creations) =
                (Instant::now(), Questions::default(), Creations::default());
            for (name, create) in &asked {
                questions.add(question(&name.to_string(), create.then_some(1)));
            }
            let mut answers = Vec::new();
            let mut step = |name: u8, says: usize, now| {
                let what = CODES.get(says).map_or(Ok(1), |code| Err((*code, String::new())));
                let said = || vec![(name.to_string(), what.clone())];
                answers.extend(creations.described(said(), now));
                let created = vec![(name.to_string(), what.clone().map(|_| ()))];
                answers.extend(creations.created(created, now));
                let (more, to_create) = questions.described(said());
                answers.extend(more);
                creations.add(to_create);
            };
            says.into_iter().for_each(|(name, says)| step(name, says, now));
            // In the end all are there.
            for name in (0..12).chain(0..12).chain(0..12) {
                step(name, CODES.len(), now);
            }
            let mut told: Vec<_> = answers.iter().map(|it| it.kafka_topic.to_string()).collect();
            let mut expected: Vec<_> = asked.iter().map(|(name, _)| name.to_string()).collect();
            told.sort_unstable();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(told, expected);
            prop_assert!(questions.is_empty() && creations.is_empty());
        }
    }
}
