use std::time::Duration;

use super::*;
use crate::mqtt::properties::PropertyValues;
use crate::route::captures::Captures;
use crate::route::test_support::Sample;

fn headers_of(
    headers: &Headers,
    properties: &PropertyValues,
) -> Result<Vec<(String, String)>, NoHeaders> {
    let sample = Sample {
        properties: properties.encode().expect("legal properties"),
        retain: true,
        waited: Duration::from_millis(2_500),
        ..Sample::new("plant/7", "21.5").at(1_785_600_000_123_456)
    };
    let (input, captures) = (sample.input(), Captures::default());
    let view = View::new(&input, &captures, sample.payload.clone());
    let headers = headers.of(&view, "route", &mut Common::default())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |header: &Header| {
        (text(header.name.to_bytes()), text(header.value.as_ref().expect("a value")))
    };
    Ok(headers.iter().map(pair).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn all() -> Headers {
    let items = vec![
        HeaderItem::Connection,
        HeaderItem::MqttTopic,
        HeaderItem::Qos,
        HeaderItem::Retain,
        HeaderItem::Dup,
        HeaderItem::UserProperties,
        HeaderItem::ContentType,
        HeaderItem::CorrelationData,
        HeaderItem::ResponseTopic,
        HeaderItem::Expiry,
        HeaderItem::ReceivedAt,
        HeaderItem::Own("source".to_owned(), Template::fixed("plant 1")),
    ];
    Headers { items, ..Headers::default() }
}

#[test]
fn headers_stand_in_the_order_of_the_route_and_user_properties_in_that_of_the_publisher() {
    let properties = PropertyValues {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(b"c-1".to_vec()),
        expiry_s: Some(60),
        user: pairs(&[("b", "1"), ("a", "2"), ("b", ""), ("", "3")]),
    };
    let expected = [
        ("bridge.connection", "mqtt"),
        ("mqtt.topic", "plant/7"),
        ("mqtt.qos", "1"),
        ("mqtt.retain", "true"),
        ("mqtt.dup", "false"),
        ("mqtt.user.b", "1"),
        ("mqtt.user.a", "2"),
        ("mqtt.user.b", ""),
        ("mqtt.user.", "3"),
        ("mqtt.content_type", "text/plain"),
        ("mqtt.correlation_data", "c-1"),
        ("mqtt.response_topic", "answers"),
        ("mqtt.expiry", "58"),
        ("bridge.received_at", "2026-08-01T16:00:00.123456Z"),
        ("source", "plant 1"),
    ];
    assert_eq!(headers_of(&all(), &properties), Ok(pairs(&expected)));
}

#[test]
fn what_a_message_does_not_have_is_left_out() {
    let names = |headers: Vec<(String, String)>| headers.into_iter().map(|(name, _)| name);
    let found = headers_of(&all(), &PropertyValues::default()).expect("headers");
    let expected = [
        "bridge.connection",
        "mqtt.topic",
        "mqtt.qos",
        "mqtt.retain",
        "mqtt.dup",
        "bridge.received_at",
        "source",
    ];
    assert!(names(found).eq(expected));
    assert_eq!(headers_of(&Headers::default(), &PropertyValues::default()), Ok(Vec::new()));
}

#[test]
fn the_prefix_stands_before_what_comes_from_mqtt_and_nothing_else() {
    let properties = PropertyValues { user: pairs(&[("a", "1")]), ..Default::default() };
    let items = vec![
        HeaderItem::Qos,
        HeaderItem::UserProperties,
        HeaderItem::Connection,
        HeaderItem::Own("mine".to_owned(), Template::fixed("x")),
    ];
    for (prefix, qos, user) in [("", "qos", "user.a"), ("x-", "x-qos", "x-user.a")] {
        let headers =
            Headers { items: items.clone(), prefix: prefix.to_owned(), ..Headers::default() };
        let expected = [(qos, "1"), (user, "1"), ("bridge.connection", "mqtt"), ("mine", "x")];
        assert_eq!(headers_of(&headers, &properties), Ok(pairs(&expected)));
    }
}

#[test]
fn the_id_stands_last_and_the_publishers_own_replaces_the_content() {
    let id = |from: Option<&str>, content_type: &str| {
        let headers = Headers {
            bridge_id: true,
            bridge_id_from: from.map(Template::fixed),
            items: vec![HeaderItem::Qos],
            ..Headers::default()
        };
        let properties =
            PropertyValues { content_type: Some(content_type.to_owned()), ..Default::default() };
        let found = headers_of(&headers, &properties).expect("headers");
        let [_, (name, id)] = &*found else { panic!("two headers, found {found:?}") };
        assert_eq!(name, "bridge.id");
        assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        id.clone()
    };
    assert_ne!(id(None, "a"), id(None, "b"));
    assert_eq!(id(Some("7"), "a"), id(Some("7"), "b"));
    assert_ne!(id(Some("7"), "a"), id(Some("8"), "a"));
}

#[test]
fn the_id_alone_is_a_header_and_knows_its_route() {
    let headers = Headers { bridge_id: true, ..Headers::default() };
    let sample = Sample::new("plant/7", "21.5");
    let (input, captures) = (sample.input(), Captures::default());
    let view = View::new(&input, &captures, sample.payload.clone());
    for route in ["one", "other"] {
        let found = headers.of(&view, route, &mut Common::default()).expect("headers");
        let [header] = &*found else { panic!("one header, found {found:?}") };
        assert_eq!(header.value, Some(bridge_id(&input, route, None)), "{route}");
    }
}

#[test]
fn more_user_properties_than_a_record_may_have_are_refused_where_they_are_asked_for() {
    let user = |count| PropertyValues {
        user: vec![("n".to_owned(), "v".to_owned()); count],
        ..Default::default()
    };
    assert!(headers_of(&all(), &user(USER_PROPERTIES_MAX)).is_ok());
    let too_many = USER_PROPERTIES_MAX + 1;
    assert_eq!(headers_of(&all(), &user(too_many)), Err(NoHeaders::TooMany(too_many)));
    let others = Headers { items: vec![HeaderItem::Qos], ..Headers::default() };
    assert!(headers_of(&others, &user(too_many)).is_ok());
}

#[test]
fn a_null_character_cannot_cut_a_name() {
    assert_eq!(&*c_str(&["a\0", "b"]), c"ab");
}

#[test]
fn a_value_that_messages_have_in_common_is_that_of_each_message() {
    let headers = Headers {
        items: vec![HeaderItem::ReceivedAt, HeaderItem::Connection],
        ..Headers::default()
    };
    let (captures, mut common) = (Captures::default(), Common::default());
    let early = 1_773_576_000_000_000;
    for (wall_us, connection) in
        [(early, "a"), (early, "a"), (early + 1, "a"), (early + 1, "b"), (early, "b")]
    {
        let sample = Sample { connection: connection.into(), ..Sample::new("a/b", "").at(wall_us) };
        let input = sample.input();
        let view = View::new(&input, &captures, sample.payload.clone());
        let of = |common: &mut Common| headers.of(&view, "route", common).expect("headers");
        let expected = of(&mut Common::default());
        assert_eq!(of(&mut common), expected);
        assert_eq!(expected[1].value.as_deref(), Some(connection.as_bytes()));
    }
}
