//! What is sent, in which order, and what a second run sends.

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::kafka::dead_letter::letter::Fields;
use mqtt_kafka_bridge::message::RouteId;
use mqtt_kafka_bridge::route::{Match, Route};

use super::*;

/// Two routes take every message: to the Kafka topics `there` and `missing`.
fn two_routes(path: &std::path::Path) -> Replay {
    let mut config = Config::for_test();
    let route = |(at, kafka_topic): (usize, &&str)| Route {
        name: (*kafka_topic).into(),
        ..Route::new(RouteId(at), "#".parse().expect("legal"), kafka_topic)
    };
    config.routes = ["there", "missing"].iter().enumerate().map(route).collect();
    config.match_ = Match::All;
    let routes = Routes::new(&config, None).expect("no substitute");
    Replay { routes, progress: Progress::open(path).expect("a progress"), held: Held::new(2) }
}

fn letter(
    id: &'static str,
    route: Option<&'static str>,
    mqtt_topic: &'static str,
) -> Letter<'static> {
    let fields = Fields {
        format: 2,
        id: id.into(),
        reason: "kafka_refused".into(),
        route: route.map(Into::into),
        mqtt_topic: mqtt_topic.into(),
        received_at: "2023-11-14T22:13:20.000001Z".into(),
        ..Fields::default()
    };
    Letter { fields, ..Letter::default() }
}

/// A Kafka that refuses what goes to `missing`, if that is missing. Says where records went.
fn run(replay: &mut Replay, letter: &Letter<'_>, is_missing: bool) -> (Became, Vec<String>) {
    let mut sent = Vec::new();
    let became = replay.one(letter, &mut |record, _| {
        if is_missing && &*record.kafka_topic == "missing" {
            return Ok(Outcome::Refused("no such Kafka topic".to_owned()));
        }
        sent.push(record.kafka_topic.to_string());
        Ok(Outcome::Delivered)
    });
    (became, sent)
}

#[test]
fn a_record_that_is_in_kafka_is_not_sent_again_while_another_of_its_letter_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("progress");
    let whole = letter("0123456789abcdef", None, "a");
    for sent in [vec!["there".to_owned()], vec![]] {
        let (became, to) = run(&mut two_routes(&path), &whole, true);
        let why = "missing refused it: no such Kafka topic".to_owned();
        assert_eq!((became, to), (Became::Left(why), sent));
    }
    let mut replay = two_routes(&path);
    let (became, to) = run(&mut replay, &whole, false);
    assert_eq!(
        (became, to),
        (Became::Records("there, missing".to_owned()), vec!["missing".to_owned()])
    );
    assert!(replay.progress.has("0123456789abcdef"));
}

#[test]
fn what_is_behind_a_letter_that_is_left_is_left_too_in_its_mqtt_topic_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut replay = two_routes(&dir.path().join("progress"));
    let mut cut = letter("1", Some("there"), "a");
    cut.fields.payload_cut = true;
    assert!(matches!(run(&mut replay, &cut, true).0, Became::Left(_)), "no run can send it");
    assert_eq!(run(&mut replay, &letter("2", Some("there"), "a"), true).1, ["there"]);
    assert!(matches!(
        run(&mut replay, &letter("3", Some("missing"), "a"), true).0,
        Became::Left(_)
    ));
    let behind = run(&mut replay, &letter("4", Some("there"), "a"), true);
    let why = "an earlier one of its MQTT topic is left".to_owned();
    assert_eq!(behind, (Became::Left(why), Vec::new()));
    assert_eq!(run(&mut replay, &letter("5", Some("there"), "b"), true).1, ["there"]);
    assert!(!replay.held.is_full());
    run(&mut replay, &letter("6", Some("gone"), "c"), true);
    assert!(replay.held.is_full(), "its route is gone, and no more are remembered");
}
