//! What became of a message, in the form in which `map` shows it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use mqtt_kafka_bridge::message::{
    Destination, IfMissing, KafkaTopicOrigin, Record, RecordKey, Refusal, RouteId,
};
use mqtt_kafka_bridge::route::caught;
use mqtt_kafka_bridge::route::note::Note;
use mqtt_kafka_bridge::route::rule::Order;
use mqtt_kafka_bridge::route::{Input, Route, Router};

/// One record of a message, or why there is none. `--json` prints it as one line; docs/map.md has its
/// members.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Where the message was published.
    pub(crate) mqtt_topic: String,
    /// The connection that would bring it.
    pub(crate) connection: String,
    /// The route; none matches if there is none.
    pub(crate) route: Option<String>,
    /// What the route made of it.
    #[serde(flatten)]
    pub(crate) made: Made,
}

/// What a route made of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Made {
    /// A record.
    Record(Box<Shown>),
    /// Nothing, as its filters say.
    Dropped {
        /// The key of the configuration that says so.
        reason: &'static str,
    },
    /// A dead letter.
    DeadLetter {
        /// The reason code.
        reason: &'static str,
        /// What was found and expected.
        detail: String,
    },
    /// No route matches.
    Unmatched,
}

/// A record.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// Where it goes.
    pub(crate) kafka_topic: String,
    /// `hold`, `dead_letter` or `create`: what becomes of it if that does not exist.
    pub(crate) if_missing: &'static str,
    /// The key; null is none.
    pub(crate) key: Option<Text>,
    /// The partition, if it asks for one.
    pub(crate) partition: Option<i32>,
    /// What chooses the partition: `partition`, `key` or `mqtt_topic`.
    pub(crate) partition_by: &'static str,
    /// Among which records of its route order is kept: `mqtt_topic`, `key` or `partition`.
    pub(crate) order: &'static str,
    /// RFC 3339; null is the time at which it is produced.
    pub(crate) timestamp: Option<String>,
    /// The headers, in order.
    pub(crate) headers: Vec<ShownHeader>,
    /// The value; null is a tombstone.
    pub(crate) value: Option<Text>,
    /// What is counted beside: `timestamp_fell_back`, ...
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<&'static str>,
}

/// A header.
#[derive(Debug, Serialize)]
pub(crate) struct ShownHeader {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: Option<Text>,
}

/// Bytes: a string if they are UTF-8, else an object with base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Text {
    /// UTF-8.
    Plain(String),
    /// Anything else.
    Base64 {
        /// RFC 4648, section 4.
        base64: String,
    },
}

impl Text {
    fn of(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::Base64 { base64: STANDARD.encode(bytes) },
        }
    }
}

impl Outcome {
    /// Whether the message is neither forwarded nor dropped on purpose.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.made, Made::DeadLetter { .. } | Made::Unmatched)
    }
}

/// What becomes of a message that cannot be routed.
pub(crate) fn refused(input: &Input<'_>, refusal: &Refusal) -> Outcome {
    Outcome {
        mqtt_topic: String::from_utf8_lossy(input.mqtt_topic).into_owned(),
        connection: input.connection.to_string(),
        route: None,
        made: Made::DeadLetter { reason: refusal.reason, detail: refusal.detail.clone() },
    }
}

/// What the routes make of a message: first what they drop, then its records and refusals in order.
pub(crate) fn outcomes(router: &mut Router, input: &Input<'_>) -> Vec<Outcome> {
    let routed = match caught::route(router, input) {
        Ok(routed) => routed,
        Err(panic) => return vec![refused(input, &panic)],
    };
    router.pretend_delivered(&routed);
    let outcome = |route: Option<RouteId>, made| {
        let named = |id| router.routes().iter().find(|route| route.id == id);
        Outcome {
            mqtt_topic: String::from_utf8_lossy(input.mqtt_topic).into_owned(),
            connection: input.connection.to_string(),
            route: route.and_then(named).map(|route| route.name.to_string()),
            made,
        }
    };
    let dropped = router.notes().iter().filter_map(|(route, note)| match note {
        Note::Dropped(reason) => {
            Some(outcome(Some(*route), Made::Dropped { reason: reason.name() }))
        }
        _ => None,
    });
    let made = routed.destinations.as_slice().iter().map(|destination| match destination {
        Destination::Record(record) => {
            let route = router.routes().iter().find(|route| route.id == record.route);
            let notes = router.notes().iter().filter(|(id, _)| *id == record.route);
            let notes = notes.filter_map(|(_, note)| name(*note)).collect();
            let shown = shown(record, input.mqtt_topic, route.map(|route| &**route), notes);
            outcome(Some(record.route), Made::Record(Box::new(shown)))
        }
        Destination::DeadLetter(refusal) => {
            let Refusal { reason, detail, route, .. } = &**refusal;
            outcome(*route, Made::DeadLetter { reason, detail: detail.clone() })
        }
    });
    let mut all: Vec<_> = dropped.chain(made).collect();
    if !routed.is_matched {
        all.push(outcome(None, Made::Unmatched));
    }
    all
}

fn shown(
    record: &Record,
    mqtt_topic: &Bytes,
    route: Option<&Route>,
    notes: Vec<&'static str>,
) -> Shown {
    let timestamp_ms = record.extras.as_ref().and_then(|extras| extras.timestamp_ms);
    Shown {
        kafka_topic: record.kafka_topic.to_string(),
        if_missing: match &record.origin {
            KafkaTopicOrigin::Configured | KafkaTopicOrigin::Template(IfMissing::Hold) => "hold",
            KafkaTopicOrigin::Template(IfMissing::DeadLetter) => "dead_letter",
            KafkaTopicOrigin::Template(IfMissing::Create(_)) => "create",
        },
        key: record.key(mqtt_topic).map(Text::of),
        partition: record.partition(),
        partition_by: match (record.partition(), &record.key) {
            (Some(_), _) => "partition",
            (None, RecordKey::Bytes(_)) => "key",
            (None, RecordKey::MqttTopic | RecordKey::None) => "mqtt_topic",
        },
        order: match route.map(Route::order) {
            Some(Order::Key) => "key",
            Some(Order::Partition) => "partition",
            Some(Order::MqttTopic) | None => "mqtt_topic",
        },
        timestamp: timestamp_ms.map(rfc3339),
        headers: record
            .headers()
            .iter()
            .map(|header| ShownHeader {
                name: header.name.to_string_lossy().into_owned(),
                value: header.value.as_ref().map(Text::of),
            })
            .collect(),
        value: record.value.as_ref().map(Text::of),
        notes,
    }
}

fn name(note: Note) -> Option<&'static str> {
    match note {
        Note::Dropped(_) => None,
        Note::TimestampFellBack => Some("timestamp_fell_back"),
        Note::DeviceTimeUnreadable => Some("device_time_unreadable"),
        Note::SparkplugGap => Some("sparkplug_gap"),
        Note::SparkplugAliasUnknown => Some("sparkplug_alias_unknown"),
        Note::SparkplugRebirthAsked => Some("sparkplug_rebirth_asked"),
    }
}

/// A moment that the calendar does not have is a number of milliseconds.
fn rfc3339(ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms);
    moment.map_or_else(|_| format!("{ms} ms"), |moment| format!("{moment:.3}"))
}
