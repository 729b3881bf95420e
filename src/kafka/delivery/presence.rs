//! Whether a Kafka topic that a template names is there, and what becomes of its records if not. Pure.
//!
//! A publisher may have filled the name in, so nothing is handed to librdkafka before Kafka has said that the
//! Kafka topic exists (docs/decisions/0027-kafka-topics-that-templates-name.md).

use std::time::{Duration, Instant};

use crate::kafka::classify;
use crate::message::{IfMissing, KafkaTopicOrigin};
use crate::route::router::KAFKA_TOPIC_ILLEGAL;

/// The reason code of a record whose Kafka topic does not exist.
pub(super) const KAFKA_TOPIC_MISSING: &str = "kafka_topic_missing";
/// The reason code of a record whose Kafka topic the bridge may not use, or not create.
pub(super) const KAFKA_TOPIC_DENIED: &str = "kafka_topic_denied";
/// The reason code of a record whose Kafka topic a policy of the brokers does not let come into being.
pub(super) const KAFKA_TOPIC_NOT_CREATED: &str = "kafka_topic_not_created";

/// So long an answer holds: records that come within it are not asked about again, and what is held is asked
/// about again after it.
pub(super) const ANSWER_HOLDS: Duration = Duration::from_secs(1);

/// Kafka's codes.
const TOPIC_EXCEPTION: i32 = 17;
const TOPIC_DENIED: i32 = 29;
const POLICY_VIOLATION: i32 = 44;

/// What Kafka says of a Kafka topic that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Absence {
    /// Its code.
    pub(crate) code: i32,
    /// Its sentence, if it had one.
    pub(crate) sentence: String,
    /// It was asked to create it.
    pub(crate) creating: bool,
}

/// What is to be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its name is at fault: to the dead letter, for this reason.
    DeadLetter(&'static str),
    /// It waits until that has changed.
    Hold,
}

impl Absence {
    /// What becomes of a record. Only what Kafka says of this very name goes to the dead letter: where every
    /// name would be refused, such as for a wrong number of replicas, the configuration is at fault.
    pub(super) fn fate(&self, if_missing: &IfMissing) -> Fate {
        match (self.code, if_missing) {
            // It will never be there.
            (TOPIC_EXCEPTION, _) => Fate::DeadLetter(KAFKA_TOPIC_ILLEGAL),
            (_, IfMissing::Hold) => Fate::Hold,
            (TOPIC_DENIED, _) => Fate::DeadLetter(KAFKA_TOPIC_DENIED),
            (code, IfMissing::DeadLetter) if classify::is_topic_missing(code) => {
                Fate::DeadLetter(KAFKA_TOPIC_MISSING)
            }
            (POLICY_VIOLATION, IfMissing::Create(_)) => Fate::DeadLetter(KAFKA_TOPIC_NOT_CREATED),
            _ => Fate::Hold,
        }
    }

    /// Whether it does not exist.
    pub(super) fn is_missing(&self) -> bool {
        self.creating || classify::is_topic_missing(self.code)
    }

    /// Whether Kafka has refused to create this very name, so that it surely has not.
    pub(super) fn is_refused_creation(&self) -> bool {
        self.creating && matches!(self.code, TOPIC_EXCEPTION | TOPIC_DENIED | POLICY_VIOLATION)
    }

    /// For people.
    pub(crate) fn detail(&self) -> String {
        let (name, code) = (classify::name(self.code), self.code);
        let does = if self.creating { "Kafka does not create it" } else { "Kafka says" };
        match &*self.sentence {
            "" => format!("{does}: {name} ({code})"),
            sentence => format!("{does}: {name} ({code}): {sentence}"),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Since when a question is under way, if one is.
    pub(super) asked_at: Option<Instant>,
    /// The last answer, if it was no, when it came, and since when it is no.
    absence: Option<(Absence, Instant, Instant)>,
}

impl Presence {
    /// Whether a question is under way.
    pub(super) fn is_asked(&self) -> bool {
        self.asked_at.is_some()
    }

    /// Whether a question is under way for so long.
    pub(super) fn is_asked_for(&self, time: Duration, now: Instant) -> bool {
        self.asked_at.is_some_and(|at| now.saturating_duration_since(at) >= time)
    }

    /// Whether its records wait.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_asked() || self.absence.is_some()
    }

    /// What the last answer was, if it was no.
    pub(super) fn absence(&self) -> Option<&Absence> {
        self.absence.as_ref().map(|(absence, ..)| absence)
    }

    /// Since when it is no.
    pub(super) fn absent_since(&self) -> Option<Instant> {
        self.absence.as_ref().map(|(_, _, since)| *since)
    }

    /// Whether the last answer was no and is too old to rely on.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let absence = self.absence.as_ref();
        absence.is_some_and(|(_, at, _)| now.saturating_duration_since(*at) >= ANSWER_HOLDS)
    }

    /// It is there.
    pub(super) fn found(&mut self) {
        *self = Self::default();
    }

    /// It is not, or cannot be used.
    pub(super) fn missed(&mut self, absence: Absence, now: Instant) {
        let since = self.absent_since().unwrap_or(now);
        *self = Self { asked_at: None, absence: Some((absence, now, since)) };
    }
}

/// What a record's Kafka topic may be brought into being by, if a template names it.
pub(super) fn if_missing(origin: &KafkaTopicOrigin) -> Option<&IfMissing> {
    match origin {
        KafkaTopicOrigin::Configured => None,
        KafkaTopicOrigin::Template(if_missing) => Some(if_missing),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::NewKafkaTopic;

    #[test]
    fn a_strangers_name_holds_nobody_up_and_a_fault_of_the_configuration_loses_nothing() {
        let new = NewKafkaTopic { partitions: None, replication: None, config: Vec::new() };
        let create = IfMissing::Create(Arc::new(new));
        let (dead, hold) = (Fate::DeadLetter, Fate::Hold);
        // By code, and whether it was to be created: missing_topic = "dead_letter", "hold", "create".
        for (code, creating, fates) in [
            (3, false, [dead(KAFKA_TOPIC_MISSING), hold, hold]),
            (17, true, [dead(KAFKA_TOPIC_ILLEGAL); 3]),
            (29, false, [dead(KAFKA_TOPIC_DENIED), hold, dead(KAFKA_TOPIC_DENIED)]),
            (29, true, [dead(KAFKA_TOPIC_DENIED), hold, dead(KAFKA_TOPIC_DENIED)]),
            (37, true, [hold; 3]),
            (38, true, [hold; 3]),
            (40, true, [hold; 3]),
            (44, true, [hold, hold, dead(KAFKA_TOPIC_NOT_CREATED)]),
            (7, false, [hold; 3]),
        ] {
            let absence = Absence { code, sentence: String::new(), creating };
            let all = [&IfMissing::DeadLetter, &IfMissing::Hold, &create];
            assert_eq!(all.map(|if_missing| absence.fate(if_missing)), fates, "{code} {creating}");
        }
    }

    #[test]
    fn an_answer_holds_for_a_second_and_the_absence_counts_from_its_beginning() {
        let (now, mut presence) = (Instant::now(), Presence::default());
        assert!(!presence.is_blocked());
        let absence = Absence { code: 3, sentence: String::new(), creating: false };
        presence.missed(absence.clone(), now);
        assert!(presence.is_blocked() && !presence.is_stale(now));
        let later = now + ANSWER_HOLDS;
        assert!(presence.is_stale(later));
        presence.asked_at = Some(later);
        presence.missed(absence, later);
        assert!(!presence.is_asked() && !presence.is_stale(later));
        assert_eq!(presence.absent_since(), Some(now));
        presence.found();
        assert!(!presence.is_blocked());
    }
}
