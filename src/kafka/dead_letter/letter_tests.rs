//! What was written is read again, in both forms and of both versions; what is broken is refused.

use proptest::prelude::*;

use super::*;
use crate::visible::tests::odd_text;

/// A line as bridges before version 2 wrote them.
const OLD: &str = r#"{"reason":"payload_not_json","detail":"found x","mqtt_topic":"sensors/a","mqtt_qos":1,"kafka_topic":"sensors","payload_bytes":4,"received_at":"2023-11-14T22:13:20.000001Z","payload":"{\"a\""}"#;

fn properties() -> impl Strategy<Value = Option<MqttProperties<'static>>> {
    let text = || odd_text().prop_map(|text| text.replace('\0', ""));
    let user = prop::collection::vec((text(), text()), 1..4);
    let given = (any::<Option<u32>>(), prop::option::of(text()), user, any::<Option<[u8; 3]>>());
    let properties = given.prop_map(|(expiry_s, content_type, user, data)| MqttProperties {
        expiry_s,
        response_topic: content_type.clone().map(Cow::Owned),
        content_type: content_type.map(Cow::Owned),
        correlation_data_base64: data.map(|data| BASE64.encode(data).into()),
        user: user.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    });
    prop::option::of(properties)
}

fn letters() -> impl Strategy<Value = Letter<'static>> {
    let texts = (odd_text(), odd_text(), prop::option::of(odd_text()), odd_text());
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..50),
        odd_text().prop_map(String::into_bytes)
    ];
    (texts, payload, properties(), any::<Option<i32>>(), any::<(bool, bool, u16)>()).prop_map(
        |((detail, mqtt_topic, route, key), payload, mqtt_properties, kafka_code, other)| {
            let (mqtt_retain, payload_cut, destination) = other;
            let fields = Fields {
                format: FORMAT,
                id: "0123456789abcdef".into(),
                reason: "kafka_refused".into(),
                detail: Some(detail.into()),
                kafka_code,
                route: route.map(Cow::Owned),
                connection: Some("hall".into()),
                mqtt_topic: mqtt_topic.into(),
                mqtt_qos: 1,
                mqtt_retain,
                mqtt_properties,
                kafka_topic: Some("sensors".into()),
                kafka_key: Some(key.into()),
                destination,
                payload_bytes: payload.len() as u64,
                payload_cut,
                payload_sha256: payload_cut.then_some("ab".into()),
                received_at: "2023-11-14T22:13:20.000001Z".into(),
                dead_lettered_at: Some("2023-11-14T22:13:21.000001Z".into()),
                ..Fields::default()
            };
            Letter { fields, payload: payload.into() }
        },
    )
}

proptest! {
    #[test]
    fn a_line_and_the_headers_of_a_record_say_the_same_and_are_read_again(letter in letters()) {
        prop_assert_eq!(&Letter::of_line(&letter.line()).expect("readable"), &letter);
        let headers = letter.headers();
        let headers = headers.iter().map(|(name, value)| {
            (name.to_str().expect("a name of ours"), value.as_bytes())
        });
        prop_assert_eq!(&Letter::of_record(&letter.payload, headers).expect("readable"), &letter);
        let properties = letter.properties().expect("they fit");
        let given = letter.fields.mqtt_properties.as_ref();
        let read = MqttProperties::of(&properties);
        prop_assert_eq!(read.as_ref(), given);
    }
}

#[test]
fn a_line_of_version_1_is_read_and_gets_an_id_that_does_not_change() {
    let letter = Letter::of_line(OLD.as_bytes()).expect("readable");
    assert_eq!((letter.fields.format, &*letter.payload), (1, &b"{\"a\""[..]));
    assert_eq!(letter.fields.id.len(), 2 * ID_BYTES);
    assert_eq!(Letter::of_line(OLD.as_bytes()).expect("readable"), letter);
    assert_eq!(letter.whole_payload().expect("whole"), b"{\"a\"");
    assert!(!letter.fields.mqtt_retain && letter.fields.route.is_none());
    let cut = OLD.replace("\"payload_bytes\":4", "\"payload_bytes\":9,\"payload_sha256\":\"ab\"");
    let cut = Letter::of_line(cut.as_bytes()).expect("readable");
    assert!(cut.fields.payload_cut, "version 1 says it by the hash");
    let refused = cut.whole_payload().expect_err("not whole").to_string();
    assert_eq!(refused, "expected a dead letter, found only 4 of the 9 bytes of its payload");
    let base64 = OLD.replace(r#""payload":"{\"a\"""#, r#""payload_base64":"/wA=""#);
    assert_eq!(&*Letter::of_line(base64.as_bytes()).expect("readable").payload, b"\xff\0");
}

#[test]
fn what_is_no_dead_letter_is_refused_with_what_was_found() {
    let both = OLD.replace("{\"reason\"", "{\"payload_base64\":\"\",\"reason\"");
    let newer = OLD.replace("{\"reason\"", "{\"format\":3,\"reason\"");
    for (line, found) in [
        ("", "found what is not JSON (EOF while parsing a value, column 0)"),
        ("no", "found what is not JSON (expected ident, column 2)"),
        ("{}", "found other JSON (missing field `reason`)"),
        ("[]", "found other JSON (invalid type: sequence"),
        ("{\"reason\":\"x\"}", "missing field `mqtt_topic`"),
        (&OLD[..OLD.len() - 9], "EOF"),
        (&both, "both payload and payload_base64"),
        (&newer, "format 3, expected at most 2"),
        (&OLD.replace("\"payload\":\"{", "\"payload_base64\":\"{"), "not base64"),
        (&OLD.replace("\"mqtt_qos\":1", "\"mqtt_qos\":\"1\""), "invalid type: string"),
    ] {
        let error = Letter::of_line(line.as_bytes()).expect_err(line).to_string();
        assert!(error.contains(found), "{error}");
    }
    let header = |name, value| Letter::of_record(b"", [(name, value)].into_iter());
    let error = header("reason", b"x").expect_err("no MQTT topic").to_string();
    assert!(error.contains("no header mqtt_topic"), "{error}");
    let error = header("mqtt_properties", b"{").expect_err("cut").to_string();
    assert!(error.contains("found header mqtt_properties with what is not JSON (EOF"), "{error}");
    let error = header("mqtt_qos", b"one").expect_err("no number").to_string();
    assert!(error.contains("header mqtt_qos"), "{error}");
}

#[test]
fn properties_that_mqtt_cannot_carry_are_refused() {
    let mut letter = Letter::of_line(OLD.as_bytes()).expect("readable");
    for text in ["a".repeat(65_536), "a\0b".to_owned()] {
        let user = vec![(Cow::Owned(text), Cow::Borrowed("x"))];
        letter.fields.mqtt_properties = Some(MqttProperties { user, ..MqttProperties::default() });
        letter.properties().expect_err("too long, or with a null character");
    }
}

/// A generator that needs no seed from outside (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn ten_thousand_spoiled_lines_are_read_or_refused_and_never_worse() {
    let (mut random, mut read) = (Random(0x9E37_79B9_7F4A_7C15), 0);
    let parts: [&[u8]; 8] = [
        b"\"",
        b"{",
        b"[[[[[[[[",
        b"\\u0000",
        b"1e999",
        b"null",
        b"\xff\xfe",
        b"\"payload_base64\":",
    ];
    for _ in 0..10_000 {
        let mut line = OLD.as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(line.len());
            match random.below(4) {
                0 => line[at] = random.below(256) as u8,
                1 => line.truncate(at.max(1)),
                2 => drop(line.splice(at..at, parts[random.below(8)].iter().copied())),
                _ => {
                    let end = (at + random.below(20)).min(line.len());
                    line.drain(at..end);
                    line.push(b'}');
                }
            }
        }
        if let Ok(letter) = Letter::of_line(&line) {
            read += 1;
            assert!(letter.payload.len() <= line.len() && !letter.fields.id.is_empty());
            let _ = (letter.properties(), letter.mqtt_topic(), letter.whole_payload());
        }
    }
    assert!((500..9500).contains(&read), "some can be read, some cannot: {read}");
}
