//! Tries an example of a route (`[[routes.tests]]`) on the router that runs in the bridge. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::caught;
use super::input::Input;
use super::note::Note;
use super::router::{Routed, Router};
use super::rule::{Expected, ExpectedRecord, Route, RouteTest};
use super::timestamp::TimestampFrom;
use crate::message::{Destination, Qos, Record, Refusal, Stamp};
use crate::mqtt::properties::{PropertyError, PropertyValues};

/// When the message of an example is received, if the example expects no timestamp: 2026-01-01T12:00:00Z.
pub const RECEIVED_AT_MS: i64 = 1_767_268_800_000;

/// With an expected timestamp it is received so much later, so that the time of receipt is not taken for
/// a timestamp of the message.
const LATER_MS: i64 = 1_000;

/// Something that is not as it was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what: a key of `[[routes.tests]]`.
    pub what: String,
    /// As the example says.
    pub expected: String,
    /// As it is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, expected, found } = self;
        write!(f, "{what}: expected {expected}, found {found}")
    }
}

/// Has `router` route the message of this example of `route`, which comes from the connection of this
/// section. The record counts as delivered, so that examples of one route can follow one another.
///
/// # Errors
/// What is not as the example says.
pub fn run(
    router: &mut Router,
    route: &Route,
    test: &RouteTest,
    payload: &Bytes,
    section: &Arc<str>,
) -> Result<(), Vec<Difference>> {
    let properties = properties(test)
        .map_err(|error| vec![difference(error.name, error.expected.into(), error.found)])?;
    let received_ms = received_ms(route, test).map_err(|found| {
        vec![difference("timestamp", "a time such as 2026-01-31T12:00:00Z".into(), found)]
    })?;
    let wall_us = u64::try_from(received_ms).unwrap_or_default().saturating_mul(1_000);
    let input = Input {
        mqtt_topic: &Bytes::copy_from_slice(test.mqtt_topic.as_bytes()),
        payload,
        properties: &properties,
        qos: if test.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain: test.retain,
        dup: false,
        received_at: Stamp { wall_us, ..Stamp::now() },
        waited: Duration::ZERO,
        connection: section,
    };
    let routed = caught::route(router, &input).map_err(|panic| {
        let found = Found::DeadLetter(&panic).to_string();
        vec![difference("outcome", expected(&test.expect), found)]
    })?;
    router.pretend_delivered(&routed);
    let found = Found::of(router, route, &routed);
    let different = match (&test.expect, &found) {
        (Expected::Record(expected), Found::Record(record)) => {
            compare(expected, record, input.mqtt_topic)
        }
        (Expected::Dropped(expected), Found::Dropped(reason)) if expected == reason => Vec::new(),
        (Expected::DeadLetter(expected), Found::DeadLetter(refusal))
            if *expected == refusal.reason =>
        {
            Vec::new()
        }
        (expected, found) => {
            vec![difference("outcome", self::expected(expected), found.to_string())]
        }
    };
    if different.is_empty() { Ok(()) } else { Err(different) }
}

fn expected(expect: &Expected) -> String {
    match expect {
        Expected::Record(_) => "a record".to_owned(),
        Expected::Dropped(reason) => format!("a drop ({reason})"),
        Expected::DeadLetter(reason) => format!("a dead letter ({reason})"),
    }
}

fn difference(what: &str, expected: String, found: String) -> Difference {
    Difference { what: what.to_owned(), expected, found }
}

fn properties(test: &RouteTest) -> Result<Bytes, PropertyError> {
    let values = PropertyValues {
        content_type: test.content_type.clone(),
        response_topic: test.response_topic.clone(),
        correlation_data: test.correlation_data.clone().map(String::into_bytes),
        expiry_s: None,
        user: test.user_properties.clone(),
    };
    values.encode()
}

/// When the message is received, in milliseconds since the Unix epoch: independent of today, so that an
/// example holds for ever.
fn received_ms(route: &Route, test: &RouteTest) -> Result<i64, String> {
    let Expected::Record(ExpectedRecord { timestamp: Some(timestamp), .. }) = &test.expect else {
        return Ok(RECEIVED_AT_MS);
    };
    let moment: jiff::Timestamp = timestamp.parse().map_err(|_| format!("{timestamp:?}"))?;
    Ok(match route.timestamp.from {
        TimestampFrom::Received => moment.as_millisecond(),
        _ => moment.as_millisecond().saturating_add(LATER_MS),
    })
}

/// What a route made of a message.
enum Found<'a> {
    Record(&'a Record),
    DeadLetter(&'a Refusal),
    Dropped(&'static str),
    /// Nothing, because this other route takes it.
    Other(Arc<str>),
    /// Nothing, and no other route takes it.
    Nothing,
}

impl<'a> Found<'a> {
    fn of(router: &Router, route: &Route, routed: &'a Routed) -> Self {
        let destinations = routed.destinations.as_slice();
        let made = destinations.iter().find_map(|destination| match destination {
            Destination::Record(record) if record.route == route.id => Some(Self::Record(record)),
            Destination::DeadLetter(refusal) if refusal.route == Some(route.id) => {
                Some(Self::DeadLetter(refusal))
            }
            _ => None,
        });
        let dropped = router.notes().iter().find_map(|(id, note)| match note {
            Note::Dropped(reason) if *id == route.id => Some(Self::Dropped(reason.name())),
            _ => None,
        });
        let other = || {
            let makers = destinations.iter().filter_map(|destination| match destination {
                Destination::Record(record) => Some(record.route),
                Destination::DeadLetter(refusal) => refusal.route,
            });
            let id = makers.chain(router.notes().iter().map(|(id, _)| *id)).next()?;
            let other = router.routes().iter().find(|route| route.id == id)?;
            Some(Self::Other(Arc::clone(&other.name)))
        };
        made.or(dropped).or_else(other).unwrap_or(Self::Nothing)
    }
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => write!(f, "a record for {:?}", record.kafka_topic),
            Self::DeadLetter(Refusal { reason, detail, .. }) => {
                write!(f, "a dead letter ({reason}): {detail}")
            }
            Self::Dropped(reason) => write!(f, "a drop ({reason})"),
            Self::Other(name) => write!(f, "that route {name:?} takes it"),
            Self::Nothing => f.write_str("that no route matches it"),
        }
    }
}

/// Where a record is not as it was expected.
fn compare(expected: &ExpectedRecord, record: &Record, mqtt_topic: &Bytes) -> Vec<Difference> {
    let mut different = Vec::new();
    let mut text = |what: &str, expected: &Option<String>, found: Option<String>| {
        if let Some(expected) = expected
            && found.as_ref() != Some(expected)
        {
            let found = found.map_or_else(|| "none".to_owned(), |found| format!("{found:?}"));
            different.push(difference(what, format!("{expected:?}"), found));
        }
    };
    text("kafka_topic", &expected.kafka_topic, Some(record.kafka_topic.to_string()));
    // An empty key is expected where there is to be none.
    text("key", &expected.key, Some(record.key(mqtt_topic).map_or_else(String::new, lossy)));
    let timestamp_ms = record.extras.as_ref().and_then(|extras| extras.timestamp_ms);
    let moment = timestamp_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let wanted = expected.timestamp.as_ref().and_then(|text| text.parse().ok());
    if wanted.is_some() && wanted != moment {
        text("timestamp", &expected.timestamp, moment.map(|moment| moment.to_string()));
    }
    let partition = record.partition();
    text(
        "partition",
        &expected.partition.map(|partition| partition.to_string()),
        partition.map(|partition| partition.to_string()),
    );
    for (name, value) in &expected.headers {
        let found: Vec<_> = record
            .headers()
            .iter()
            .filter(|header| header.name.to_bytes() == name.as_bytes())
            .map(|header| header.value.as_ref().map_or_else(String::new, lossy))
            .collect();
        if !found.contains(value) {
            let found = if found.is_empty() { None } else { Some(found.join("\", \"")) };
            text(&format!("headers.{name}"), &Some(value.clone()), found);
        }
    }
    match (&record.value, &expected.value) {
        (Some(found), _) if expected.is_tombstone => {
            different.push(difference("value", "none".to_owned(), format!("{:?}", lossy(found))));
        }
        (None, Some(wanted)) => {
            different.push(difference("value", format!("{wanted:?}"), "none".to_owned()));
        }
        (Some(found), Some(wanted)) if !is_same_value(wanted, found) => {
            different.push(difference("value", wanted.clone(), lossy(found)));
        }
        _ => {}
    }
    different
}

/// The same bytes, or the same JSON document.
fn is_same_value(expected: &str, found: &[u8]) -> bool {
    let document = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    expected.as_bytes() == found
        || document(expected.as_bytes())
            .is_some_and(|expected| document(found).as_ref() == Some(&expected))
}

fn lossy(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RouteId;
    use crate::route::{Match, PayloadForm};

    fn tried(test: &RouteTest, payload: &'static str) -> Vec<String> {
        let filter = |text: &str| text.parse().expect("a legal filter");
        let json = Route {
            payload: PayloadForm::Json,
            tombstone: true,
            ..Route::new(RouteId(0), filter("a/+"), "first")
        };
        let routes = [json, Route::new(RouteId(1), filter("#"), "second")];
        let mut router = Router::new(&routes, Match::First);
        let (payload, section) = (Bytes::from(payload), "mqtt".into());
        let differences = run(&mut router, &routes[0], test, &payload, &section);
        differences.map_or_else(|all| all.iter().map(ToString::to_string).collect(), |()| vec![])
    }

    fn record(mqtt_topic: &str, record: ExpectedRecord) -> RouteTest {
        let (mqtt_topic, expect) = (mqtt_topic.to_owned(), Expected::Record(record));
        RouteTest { mqtt_topic, expect, qos: 1, ..RouteTest::default() }
    }

    #[test]
    fn json_is_compared_as_a_document_and_everything_else_as_it_is() {
        let expected = |value: &str| {
            record("a/b", ExpectedRecord { value: Some(value.into()), ..Default::default() })
        };
        assert_eq!(tried(&expected("{\"b\": [1], \"a\": 2}"), "{\"a\":2,\"b\":[1]}"), [""; 0]);
        assert_eq!(tried(&expected("2"), "3"), ["value: expected 2, found 3"]);
        assert_eq!(tried(&expected("2"), ""), ["value: expected \"2\", found none"]);
    }

    #[test]
    fn each_difference_is_told_with_what_was_expected_and_found() {
        let expected = ExpectedRecord {
            kafka_topic: Some("third".into()),
            key: Some(String::new()),
            is_tombstone: true,
            headers: vec![("x".into(), "y".into())],
            partition: Some(3),
            timestamp: Some("2026-01-01T00:00:00Z".into()),
            ..Default::default()
        };
        assert_eq!(
            tried(&record("a/b", expected), "1"),
            [
                "kafka_topic: expected \"third\", found \"first\"",
                "key: expected \"\", found \"a/b\"",
                "timestamp: expected \"2026-01-01T00:00:00Z\", found none",
                "partition: expected \"3\", found none",
                "headers.x: expected \"y\", found none",
                "value: expected none, found \"1\"",
            ]
        );
    }

    #[test]
    fn another_outcome_is_told_as_such() {
        let expect = Expected::DeadLetter("payload_not_json".into());
        let refused = RouteTest { expect, ..record("a/b", ExpectedRecord::default()) };
        assert_eq!(tried(&refused, "?"), [""; 0]);
        assert_eq!(
            tried(&refused, "1"),
            ["outcome: expected a dead letter (payload_not_json), found a record for \"first\""]
        );
        let elsewhere = record("b", ExpectedRecord::default());
        assert_eq!(
            tried(&elsewhere, "1"),
            ["outcome: expected a record, found that route \"#\" takes it"]
        );
        let [found] = &tried(&record("a/b", ExpectedRecord::default()), "?")[..] else {
            panic!("one difference");
        };
        assert!(found.contains("found a dead letter (payload_not_json): "), "{found}");
        let expect = Expected::Dropped("dedupe".into());
        let dropped = RouteTest { expect, ..record("a/b", ExpectedRecord::default()) };
        assert_eq!(
            tried(&dropped, "1"),
            ["outcome: expected a drop (dedupe), found a record for \"first\""]
        );
    }
}
