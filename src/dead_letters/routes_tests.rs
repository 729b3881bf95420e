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
    of_sections(match_, [("hall", all)])
}

fn of_sections<const N: usize>(match_: Match, sections: [(&str, Vec<Route>); N]) -> Routes {
    Routes {
        first: sections[0].0.into(),
        sections: sections.map(|(name, all)| (name.into(), Section::new(all, match_))).into(),
        match_,
        substitute: None,
    }
}

fn why(routes: &mut Routes, letter: &Letter<'_>) -> String {
    routes.records(letter).expect_err("none").why
}

fn kafka_topics(routes: &mut Routes, letter: &Letter<'_>) -> Vec<String> {
    let parts = routes.records(letter).expect("records").parts;
    parts.iter().map(|part| part.record.kafka_topic.to_string()).collect()
}

#[test]
fn a_record_is_marked_with_the_id_of_its_dead_letter() {
    let mut routes = routes(Match::First, &[("plant", "plant/#", PayloadForm::Raw)]);
    let Replayable { mqtt_topic, parts } =
        routes.records(&letter(Some("plant"), "x")).expect("records");
    assert_eq!(mqtt_topic, "plant/a");
    let headers: Vec<_> = parts[0].record.headers().iter().map(|it| it.name.to_str()).collect();
    assert_eq!(headers, [Ok("bridge.replayed_at"), Ok("bridge.dead_letter_id")]);
    assert_eq!(parts[0].record.headers()[1].value.as_deref(), Some(&b"0123456789abcdef"[..]));
}

#[test]
fn where_all_routes_match_only_the_one_that_refused_makes_its_record_again() {
    let forms = [("raw", "plant/#", PayloadForm::Raw), ("other", "#", PayloadForm::Raw)];
    let mut all = routes(Match::All, &forms);
    assert_eq!(kafka_topics(&mut all, &letter(Some("other"), "x")), ["other"]);
    assert_eq!(kafka_topics(&mut all, &letter(None, "x")), ["raw", "other"]);
    let gone = letter(Some("gone"), "x");
    assert_eq!(why(&mut all, &gone), "its route is gone: \"gone\"");
    all.substitute = Some("raw".to_owned());
    assert_eq!(kafka_topics(&mut all, &gone), ["raw"]);
    let mut first = routes(Match::First, &forms);
    for route in ["other", "gone"] {
        assert_eq!(kafka_topics(&mut first, &letter(Some(route), "x")), ["raw"]);
    }
}

#[test]
fn a_letter_of_a_name_that_several_routes_bear_is_left() {
    let forms = [("raw", "plant/#", PayloadForm::Raw), ("raw", "#", PayloadForm::Raw)];
    let mut all = routes(Match::All, &forms);
    assert!(why(&mut all, &letter(Some("raw"), "x")).starts_with("several routes"));
}

#[test]
fn a_letter_goes_through_the_routes_of_its_own_connection() {
    let route = |id, kafka_topic| Route::new(RouteId(id), "#".parse().expect("legal"), kafka_topic);
    for match_ in [Match::First, Match::All] {
        let sections = [("yard", vec![route(0, "of-yard")]), ("hall", vec![route(1, "of-hall")])];
        let mut two = of_sections(match_, sections);
        let mut letter = letter(None, "x");
        assert_eq!(kafka_topics(&mut two, &letter), ["of-hall"]);
        letter.fields.connection = None;
        assert_eq!(kafka_topics(&mut two, &letter), ["of-yard"], "of version 1");
        letter.fields.connection = Some("attic".into());
        assert!(why(&mut two, &letter).starts_with("its connection is gone"));
    }
}

#[test]
fn what_cannot_be_replayed_says_why_and_half_a_message_is_not_sent() {
    let forms = [("raw", "plant/#", PayloadForm::Raw), ("json", "#", PayloadForm::Json)];
    let mut all = routes(Match::All, &forms);
    let mut why = |letter: &Letter<'_>| why(&mut all, letter);
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
    let refused = elsewhere.records(&letter(None, "1")).expect_err("none");
    assert_eq!(refused.why, "no route matches it");
}
