use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::super::status_fixture::observer_of;
use super::super::status_json::{self, SCHEMA_VERSION};
use super::super::test_support::json_log;
use super::*;
use crate::config::Config;
use crate::message::RouteId;
use crate::route::Route;
use crate::stage::SourceId;

/// What a stranger may write where a name or a text is shown.
const HOSTILE: &str =
    "</script><script>alert(1)</script>\"'\\ \n\r\u{1b}[31m\u{202e}\u{0}{x=\"1\"}";

fn observer() -> Observer {
    observer_of(HOSTILE)
}

fn shown(observer: &Observer) -> Value {
    let text = status_json::write(&observer.status());
    assert!(!text.contains(['\n', '\u{1b}', '\u{202e}', '\0']), "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn everything_that_has_happened_is_in_the_json_under_its_name() {
    let seen = shown(&observer());
    let connection = &seen["connections"][0];
    for (value, expected) in [
        (&seen["schema_version"], json!(SCHEMA_VERSION)),
        (&seen["ready"], json!(false)),
        (&seen["identity"]["received"], json!(21)),
        (&seen["identity"]["in_flight"], json!(7)),
        (&connection["connection"], json!("mqtt")),
        (&connection["connected"], json!(true)),
        (&connection["broker"], json!("mqtts://plant:8883")),
        (&connection["insecure"], json!(true)),
        (&connection["session"]["mqtt_protocol"], json!("5")),
        (&connection["session"]["session_present"], json!(true)),
        (&connection["reconnects"]["keep_alive"], json!(1)),
        (&connection["received_bytes"], json!(1_900)),
        (&connection["delivered_bytes"], json!(1_000)),
        (&connection["records_delivered"], json!(10)),
        (&connection["window"]["messages"], json!(8)),
        (&connection["subscriptions"][0]["state"], json!("refused")),
        (&connection["subscriptions"][0]["granted_mqtt_qos"], Value::Null),
        (&seen["kafka"]["state"], json!("reachable")),
        (&seen["kafka"]["queue_bytes"], json!(300)),
        (&seen["kafka"]["brokers"][0]["round_trip_p99_us"], json!(2_000)),
        (&seen["kafka"]["brokers"][0]["throttle_ms"], json!(7)),
        (&seen["routes"][0]["records_delivered"], json!(5)),
        (&seen["routes"][0]["dropped"]["keep_if"], json!(3)),
        (&seen["routes"][0]["notes"]["timestamp_fell_back"], json!(2)),
        (&seen["routes"][1]["gone"], json!(true)),
        (&seen["latencies"][0]["connection"], Value::Null),
        (&seen["latencies"][0]["stage"], json!("device")),
        (&seen["latencies"][0]["count"], json!(1)),
        (&seen["latencies"][1]["stage"], json!("routed")),
        (&seen["latencies"][1]["p99_us"], json!(9)),
        (&seen["latencies"][2]["count"], json!(10)),
        (&seen["latencies"][4]["connection"], json!("mqtt")),
        (&seen["slowest"][0]["ack_us"], json!(7)),
        (&seen["slowest"][1]["ack_reason"], json!("qos0")),
        (&seen["slowest"][1]["kafka_offset"], json!(42)),
        (&seen["dead_letters"][0]["reason"], json!("no_route")),
        (&seen["dead_letters"][0]["route"], Value::Null),
        (&seen["restarts"][0]["count"], json!(1)),
        (&seen["last_restarts"][0]["actor"], json!("kafka")),
        (&seen["reloads"]["applied"], json!(1)),
        (&seen["log"]["recent"][1]["fields"]["count"], json!(3)),
        (&seen["certificates"][0]["of"], json!("mqtt_client")),
        (&seen["configuration"]["delivery.window_messages"], json!("100")),
    ] {
        assert_eq!(value, &expected, "{seen:#}");
    }
    let topics = seen["kafka"]["kafka_topics"].as_array().expect("a list");
    let topic =
        |name: &str| topics.iter().find(|it| it["kafka_topic"] == name).expect("it is there");
    assert_eq!(
        (&topic("sensors")["partitions"], &topic("sensors")["reachable"]),
        (&json!(12), &json!(true))
    );
    assert_eq!((&topic("held")["held"], &topic("held")["reachable"]), (&json!(true), &Value::Null));
    assert_eq!(topic("troubled")["reachable"], json!(false));
    for list in [
        &seen["reasons"],
        &seen["warnings"],
        &seen["dead_letters"],
        &seen["last_restarts"],
        &seen["log"]["recent"],
    ] {
        for advised in list.as_array().expect("a list") {
            assert!(advised["what_to_do"].as_str().is_some_and(|it| !it.is_empty()), "{advised}");
            let document = advised["document"].as_str().expect("a link");
            assert!(document.starts_with("docs/operations.md#"), "{advised}");
        }
    }
    assert_eq!(seen["log"]["recent"][1]["document"], "docs/operations.md#what-kafka-refuses");
    let warnings = seen["warnings"].as_array().expect("a list");
    let warned: BTreeSet<_> = warnings.iter().filter_map(|it| it["reason"].as_str()).collect();
    assert_eq!(warned, ["certificate_expires", "insecure"].into());
}

/// A small part of JSON Schema: what docs/status.schema.json uses. Notes which properties were seen.
fn check(schema: &Value, root: &Value, value: &Value, at: &str, met: &mut BTreeSet<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        let target = root.pointer(place.trim_start_matches('#')).expect("a place in the schema");
        return check(target, root, value, at, met);
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        // The values of log fields.
        _ => return,
    };
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    assert!(kinds.iter().any(|kind| is(kind)), "{at}: {value} is not {kinds:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is not of {words:?}");
    }
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| check(&schema["items"], root, item, &format!("{at}[]"), met));
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(name.as_str().expect("a name")), "{at}: {name} is missing");
    }
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(rest)) => {
                check(&Value::Object(rest.clone()), root, value, &at, met);
            }
            (Value::Null, _) => panic!("{at} is not in the schema"),
            (known, _) => {
                assert!(known["description"].is_string(), "{at} has no description");
                met.insert(at.clone());
                check(known, root, value, &at, met);
            }
        }
    }
}

/// All properties that the schema has.
fn properties(schema: &Value, root: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        let target = root.pointer(place.trim_start_matches('#')).expect("a place in the schema");
        return properties(target, root, at, found);
    }
    if !schema["items"].is_null() {
        properties(&schema["items"], root, &format!("{at}[]"), found);
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        properties(schema, root, &at, found);
        found.insert(at);
    }
}

#[test]
fn the_json_is_what_the_schema_says_and_the_schema_says_nothing_else() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.schema.json");
    let schema = std::fs::read_to_string(path).expect("docs/status.schema.json");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let (mut met, mut all) = (BTreeSet::new(), BTreeSet::new());
    check(&schema, &schema, &shown(&observer()), "", &mut met);
    properties(&schema, &schema, "", &mut all);
    let rotten: Vec<_> = all.difference(&met).collect();
    assert!(rotten.is_empty(), "in the schema and never shown: {rotten:?}");
    // And of a bridge of which nothing is known yet.
    let config = Config::for_test();
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    let readiness = Arc::new(Readiness::new(&config, metrics, Vec::new()));
    let fresh = Observer::new(readiness, json_log().0);
    check(&schema, &schema, &shown(&fresh), "", &mut met);
}

#[test]
fn every_snapshot_balances_while_the_counts_change() {
    let metrics = Arc::new(Metrics::new(["east".into(), "west".into()]));
    let readiness = Readiness::new(&Config::for_test(), Arc::clone(&metrics), Vec::new());
    let observer = Observer::new(Arc::new(readiness), json_log().0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for source in [SourceId(0), SourceId(1)] {
            let (metrics, stop) = (&metrics, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    metrics.connection(source).set_conservation(Conservation {
                        received: 15 * number,
                        delivered: number,
                        dead_lettered: 2 * number,
                        filtered: 3 * number,
                        shed: 4 * number,
                        in_flight: 5 * number,
                        ..Conservation::default()
                    });
                }
            });
        }
        let mut greatest = 0;
        // Until both have been seen at work.
        let until = Instant::now() + super::super::test_support::PATIENCE;
        for taken in 0.. {
            let status = observer.status();
            let balanced = status.counted.connections.iter().all(|it| it.counted.balances());
            let seen: Value = serde_json::from_str(&status_json::write(&status)).expect("JSON");
            let identity = |of: &Value| {
                let term = |name: &str| of[name].as_u64().expect("a count");
                let terms = ["delivered", "dead_lettered", "filtered", "shed", "in_flight"];
                (term("received"), terms.map(term).iter().sum::<u64>())
            };
            let all = std::iter::once(&seen["identity"]).chain(
                seen["connections"].as_array().expect("a list").iter().map(|it| &it["identity"]),
            );
            let all: Vec<_> = all.map(identity).collect();
            if !balanced || all.iter().any(|(received, terms)| received != terms) {
                stop.store(true, Ordering::Relaxed);
                panic!("{all:?}");
            }
            let sum = all[1..].iter().map(|(received, _)| received).sum::<u64>();
            if all[0].0 != sum || (taken > 200 && greatest > 1_000) || Instant::now() > until {
                stop.store(true, Ordering::Relaxed);
                assert_eq!(all[0].0, sum, "the sum is of the same snapshots");
                assert!(greatest > 1_000, "nothing changed");
                return;
            }
            greatest = greatest.max(sum);
        }
    });
}

/// What changes from run to run is left out.
fn settle(value: &mut Value) {
    const CHANGING: [&str; 9] = [
        "at",
        "started_at",
        "connected_at",
        "received_at",
        "uptime_s",
        "process",
        "expires_in_s",
        "configuration",
        "build",
    ];
    match value {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, value)| match CHANGING.contains(&&**name) {
                true => *value = "...".into(),
                false => settle(value),
            });
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        _ => {}
    }
}

#[test]
fn the_json_is_as_it_was() {
    let mut seen = shown(&observer_of("a \"name\""));
    settle(&mut seen);
    let seen = format!("{seen:#}\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/observe/testdata/status.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/src/observe/testdata"))
            .expect("a directory");
        std::fs::write(path, &seen).expect("written");
    }
    let golden = std::fs::read_to_string(path).expect("src/observe/testdata/status.json");
    assert_eq!(seen, golden, "UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn of_several_routes_with_one_filter_none_is_gone() {
    let mut config = Config::for_test();
    let twin = Route { id: RouteId(1), name: "twin".into(), ..config.routes[0].clone() };
    config.routes.push(twin);
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    metrics.route_names().learn(config.routes.iter().map(Route::known_as), []);
    let readiness = Arc::new(Readiness::new(&config, metrics, Vec::new()));
    let seen = shown(&Observer::new(readiness, json_log().0));
    assert_eq!(seen["connections"][0]["subscriptions"].as_array().map(Vec::len), Some(1));
    assert_eq!([0, 1].map(|at| seen["routes"][at]["gone"].as_bool()), [Some(false); 2]);
}
