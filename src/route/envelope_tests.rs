use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::mqtt::properties::PropertyValues;
use crate::route::captures::Captures;
use crate::route::test_support::Sample;

/// The envelope, checked against its schema, as text.
fn enveloped(mqtt_topic: &str, payload: &[u8], properties: &PropertyValues) -> String {
    let sample = Sample {
        properties: properties.encode().expect("legal properties"),
        retain: true,
        waited: Duration::from_millis(2_500),
        connection: "plant".into(),
        ..Sample::new(mqtt_topic, payload).at(1_785_600_000_123_456)
    };
    let (input, captures) = (sample.input(), Captures::default());
    let view = View::new(&input, &captures, sample.payload.clone());
    let json = envelope(&view).expect("an envelope");
    let json = String::from_utf8(json.to_vec()).expect("UTF-8");
    let document = serde_json::from_str(&json).expect("JSON");
    let schema = include_str!("../../docs/routes-envelope.schema.json");
    let schema: Json = serde_json::from_str(schema).expect("a schema is JSON");
    if let Err(error) = validate(&document, &schema) {
        panic!("{error}: {json}");
    }
    let Json::Object(members) = &document else { panic!("no object") };
    for name in members.keys() {
        assert!(schema["properties"].get(name).is_some(), "{name} is not in the schema");
    }
    json
}

/// As much of JSON Schema as the schema uses; another word of it is a panic.
fn validate(value: &Json, schema: &Json) -> Result<(), String> {
    let wrong = |rule: &str| Err(format!("{value} breaks {rule} of {schema}"));
    let has = |names: &Json| {
        names
            .as_array()
            .expect("names")
            .iter()
            .all(|name| value.get(name.as_str().expect("a name")).is_some())
    };
    for (word, rule) in schema.as_object().expect("a schema") {
        let holds = match word.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "type" => match rule.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("type {other}"),
            },
            "required" => has(rule),
            "oneOf" => {
                let all = rule.as_array().expect("schemas");
                all.iter().filter(|schema| validate(value, schema).is_ok()).count() == 1
            }
            "enum" => rule.as_array().expect("values").contains(value),
            "minimum" => value.as_u64() >= rule.as_u64(),
            "maximum" => value.as_u64() <= rule.as_u64(),
            "minLength" => value.as_str().is_some_and(|text| !text.is_empty()),
            "pattern" => {
                let regex = regex::Regex::new(rule.as_str().expect("a pattern")).expect("legal");
                value.as_str().is_some_and(|text| regex.is_match(text))
            }
            "items" => {
                let items = value.as_array().expect("items");
                return items.iter().try_for_each(|item| validate(item, rule));
            }
            "properties" => {
                for (name, schema) in rule.as_object().expect("schemas") {
                    value.get(name).map_or(Ok(()), |member| validate(member, schema))?;
                }
                true
            }
            other => panic!("the schema says {other}, which this test does not know"),
        };
        if !holds {
            return wrong(word);
        }
    }
    Ok(())
}

#[test]
fn the_payload_of_an_envelope_is_the_unpacked_one() {
    let sample = Sample::new("a", "packed");
    let (input, captures) = (sample.input(), Captures::default());
    let json = envelope(&View::new(&input, &captures, Bytes::from_static(b"[1]")));
    let json = String::from_utf8(json.expect("an envelope").to_vec()).expect("UTF-8");
    assert!(json.ends_with(",\"payload\":[1]}"), "{json}");
}

#[test]
fn an_envelope_has_all_that_mqtt_says_of_a_message() {
    let properties = PropertyValues {
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers/7".to_owned()),
        correlation_data: Some(vec![0, 255]),
        expiry_s: Some(60),
        user: [("b", "1"), ("a", "2"), ("b", "\"3\"")].map(|(n, v)| (n.into(), v.into())).into(),
    };
    let json = enveloped("plant/\u{1b}/ß", b" {\"a\": 1} \n\0", &properties);
    assert_eq!(
        json,
        "{\"mqtt_topic\":\"plant/\\u001b/ß\",\"qos\":1,\"retain\":true,\"dup\":false,\
         \"received_at\":\"2026-08-01T16:00:00.123456Z\",\"connection\":\"plant\",\
         \"content_type\":\"application/json\",\"response_topic\":\"answers/7\",\
         \"correlation_data_base64\":\"AP8=\",\"expiry_s\":58,\
         \"user_properties\":[{\"name\":\"b\",\"value\":\"1\"},{\"name\":\"a\",\"value\":\"2\"},\
         {\"name\":\"b\",\"value\":\"\\\"3\\\"\"}],\"payload\":{\"a\": 1}}"
    );
}

#[test]
fn the_payload_is_json_or_text_or_base64_by_its_content() {
    for (payload, member) in [
        (&b"{\"a\":1}"[..], r#""payload":{"a":1}}"#),
        (b"21.50", r#""payload":21.50}"#),
        (
            b"123456789012345678901234567890.10e+400",
            r#""payload":123456789012345678901234567890.10e+400}"#,
        ),
        (b"null", r#""payload":null}"#),
        (b"on", r#""payload_text":"on"}"#),
        (b"", r#""payload_text":""}"#),
        (b"a\"\\\n\0", r#""payload_text":"a\"\\\n\u0000"}"#),
        (b"{\"a\":1}{", r#""payload_text":"{\"a\":1}{"}"#),
        (b"\xff\x00", r#""payload_base64":"/wA="}"#),
        (b"\"\xff\"", r#""payload_base64":"Iv8i"}"#),
    ] {
        // A number of that size is JSON, but no number of serde_json's.
        if payload.ends_with(b"e+400") {
            let view_of = |payload| text_of(payload);
            assert!(view_of(payload).ends_with(member));
            continue;
        }
        let json = enveloped("a", payload, &PropertyValues::default());
        assert!(json.ends_with(member), "{json}");
    }
}

/// The envelope, unchecked.
fn text_of(payload: &'static [u8]) -> String {
    let mut json = Vec::new();
    let head = Head {
        mqtt_topic: "a",
        qos: 0,
        retain: false,
        dup: false,
        received_at: "",
        connection: "",
        content_type: None,
        response_topic: None,
        correlation_data_base64: None,
        expiry_s: None,
        user_properties: Vec::new(),
    };
    write(&mut json, &head, &Bytes::from_static(payload)).expect("written");
    String::from_utf8(json).expect("UTF-8")
}

#[test]
fn the_schema_refuses_what_is_no_envelope() {
    let schema = include_str!("../../docs/routes-envelope.schema.json");
    let schema: Json = serde_json::from_str(schema).expect("JSON");
    let json = enveloped("a", b"on", &PropertyValues::default());
    let good: Json = serde_json::from_str(&json).expect("JSON");
    for (name, value) in [
        ("payload", Json::Null), // Two payloads.
        ("qos", Json::from(2)),
        ("retain", Json::from("true")),
        ("received_at", Json::from("yesterday")),
        ("mqtt_topic", Json::from("")),
        ("expiry_s", Json::from(-1)),
        ("correlation_data_base64", Json::from("a b")),
        ("user_properties", serde_json::json!([{ "name": "a" }])),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        validate(&bad, &schema).expect_err(name);
    }
}

proptest! {
    #[test]
    fn any_message_has_an_envelope_from_which_its_payload_can_be_had(
        mqtt_topic in "[^\0]{1,20}",
        payload in prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        ],
        name in "[^\0]{0,9}",
        correlation_data in prop::option::of(any::<Vec<u8>>()),
    ) {
        let user = vec![(name.clone(), name)];
        let properties = PropertyValues { user, correlation_data, ..Default::default() };
        let json = enveloped(&mqtt_topic, &payload, &properties);
        let document: Json = serde_json::from_str(&json).expect("JSON");
        prop_assert_eq!(document["mqtt_topic"].as_str(), Some(&*mqtt_topic));
        if let Some(text) = document["payload_text"].as_str() {
            prop_assert_eq!(text.as_bytes(), payload);
        } else if let Some(text) = document["payload_base64"].as_str() {
            prop_assert_eq!(STANDARD.decode(text).expect("base64"), payload);
        } else {
            let expected: Json =
                serde_json::from_slice(&extract_json(&payload.into()).expect("JSON")).expect("JSON");
            prop_assert_eq!(&document["payload"], &expected);
        }
    }
}
