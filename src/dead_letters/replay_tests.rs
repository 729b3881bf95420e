//! What a dead letter becomes by the routes of today.

use mqtt_kafka_bridge::kafka::dead_letter::letter::{Fields, MqttProperties};
use mqtt_kafka_bridge::message::RouteId;
use mqtt_kafka_bridge::route::PayloadForm;

use super::*;

fn letter(route: Option<&'static str>, payload: &'static str) -> Letter<'static> {
    let fields = Fields {
        format: 2,
        id: "0123456789abcdef".into(),
        reason: "payload_not_json".into(),
        route: route.map(Into::into),
        connection: Some("hall".into()),
        mqtt_topic: "plant/a".into(),
        mqtt_qos: 1,
        mqtt_retain: true,
        mqtt_properties: Some(MqttProperties {
            user: vec![("unit".into(), "C".into())],
            ..MqttProperties::default()
        }),
        payload_bytes: payload.len() as u64,
        received_at: "2023-11-14T22:13:20.000001Z".into(),
        ..Fields::default()
    };
    Letter { fields, payload: payload.as_bytes().into() }
}

fn routes(match_: Match, forms: &[(&str, &str, PayloadForm)]) -> Routes {
    let route = |(id, (name, filter, payload)): (usize, &(&str, &str, PayloadForm))| {
        let filter = filter.parse().expect("a legal filter");
        Route { name: (*name).into(), payload: *payload, ..Route::new(RouteId(id), filter, name) }
    };
    let all: Vec<_> = forms.iter().enumerate().map(route).collect();
    let router = Router::new(&all, match_);
    Routes { all, router, alone: HashMap::new(), match_, connection: "mqtt".into() }
}

fn kafka_topics(routes: &mut Routes, letter: &Letter<'_>) -> Result<Vec<String>, String> {
    let (_, records) = routes.records(letter)?;
    Ok(records.iter().map(|record| record.kafka_topic.to_string()).collect())
}

#[test]
fn a_record_is_marked_with_the_id_of_its_dead_letter() {
    let mut routes = routes(Match::First, &[("plant", "plant/#", PayloadForm::Raw)]);
    let (mqtt_topic, records) = routes.records(&letter(Some("plant"), "x")).expect("records");
    assert_eq!(mqtt_topic, "plant/a");
    let headers: Vec<_> = records[0].headers().iter().map(|it| it.name.to_str()).collect();
    assert_eq!(headers, [Ok("bridge.replayed_at"), Ok("bridge.dead_letter_id")]);
    assert_eq!(records[0].headers()[1].value.as_deref(), Some(&b"0123456789abcdef"[..]));
}

#[test]
fn where_all_routes_match_only_the_one_that_refused_makes_its_record_again() {
    let forms = [("raw", "plant/#", PayloadForm::Raw), ("other", "#", PayloadForm::Raw)];
    let mut all = routes(Match::All, &forms);
    assert_eq!(kafka_topics(&mut all, &letter(Some("other"), "x")).expect("it"), ["other"]);
    for gone in [Some("gone"), None] {
        let all = kafka_topics(&mut all, &letter(gone, "x"));
        assert_eq!(all.expect("both"), ["raw", "other"], "{gone:?}");
    }
    let mut first = routes(Match::First, &forms);
    assert_eq!(kafka_topics(&mut first, &letter(Some("other"), "x")).expect("it"), ["raw"]);
}

#[test]
fn what_cannot_be_replayed_says_why_and_half_a_message_is_not_sent() {
    let forms = [("raw", "plant/#", PayloadForm::Raw), ("json", "#", PayloadForm::Json)];
    let mut all = routes(Match::All, &forms);
    let mut why = |letter: &Letter<'_>| all.records(letter).expect_err("none");
    assert!(why(&letter(None, "{")).starts_with("payload_not_json: "));
    let mut cut = letter(None, "1");
    cut.fields.payload_cut = true;
    assert!(why(&cut).contains("only 1 of the 1 bytes"));
    let mut cut = letter(None, "1");
    cut.fields.payload_bytes = 9;
    assert!(why(&cut).contains("only 1 of the 9 bytes"));
    let mut cut = letter(None, "1");
    cut.fields.mqtt_topic_sha256 = Some("ab".into());
    assert!(why(&cut).contains("beginning of its MQTT topic"));
    let mut cut = letter(None, "1");
    cut.fields.mqtt_properties_cut = true;
    assert!(why(&cut).contains("without its MQTT properties"));
    let mut late = letter(None, "1");
    late.fields.received_at = "yesterday".into();
    assert!(why(&late).contains("received_at"));
    let mut elsewhere = routes(Match::First, &[("raw", "hall/#", PayloadForm::Raw)]);
    let why = elsewhere.records(&letter(None, "1")).expect_err("none");
    assert_eq!(why, "no route matches it");
}
