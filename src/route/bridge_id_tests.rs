use proptest::prelude::*;

use super::*;
use crate::message::Qos;
use crate::mqtt::properties::PropertyValues;
use crate::route::test_support::Sample;

/// What an id follows from.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    connection: String,
    route: String,
    mqtt_topic: String,
    payload: Vec<u8>,
    user: Vec<(String, String)>,
    own: Option<String>,
}

/// What differs when the same message comes again.
#[derive(Debug, Clone)]
struct Way {
    qos: Qos,
    retain: bool,
    dup: bool,
    expiry_s: Option<u32>,
    subscription_id: Option<u8>,
    topic_alias: Option<u8>,
}

fn id(given: &Given, way: &Way) -> String {
    let properties =
        PropertyValues { user: given.user.clone(), expiry_s: way.expiry_s, ..Default::default() };
    let mut properties = properties.encode().expect("legal").to_vec();
    if let Some(subscription) = way.subscription_id {
        properties.extend([property::SUBSCRIPTION_IDENTIFIER, subscription]);
    }
    if let Some(alias) = way.topic_alias {
        properties.extend([property::TOPIC_ALIAS, 0, alias]);
    }
    let sample = Sample {
        properties: properties.into(),
        qos: way.qos,
        retain: way.retain,
        dup: way.dup,
        connection: given.connection.as_str().into(),
        ..Sample::new(&given.mqtt_topic, &given.payload)
    };
    let id = bridge_id(&sample.input(), &given.route, given.own.as_deref());
    String::from_utf8(id.to_vec()).expect("hexadecimal")
}

fn given() -> impl Strategy<Value = Given> {
    let pair = ("[ab]{0,2}", "[ab]{0,2}");
    let own = prop::option::of("[ab]{0,2}".prop_map(String::from));
    let texts = ("[ab]{0,2}", "[ab]{0,2}", "[ab]{1,2}", "[ab]{0,2}");
    (texts, prop::collection::vec(pair, 0..3), own).prop_map(|(texts, user, own)| Given {
        connection: texts.0,
        route: texts.1,
        mqtt_topic: texts.2,
        payload: texts.3.into_bytes(),
        user,
        own,
    })
}

fn way() -> impl Strategy<Value = Way> {
    let qos = prop::sample::select(&[Qos::AtMostOnce, Qos::AtLeastOnce][..]);
    let number = || prop::option::of(1_u8..100);
    (qos, any::<bool>(), any::<bool>(), any::<Option<u32>>(), number(), number()).prop_map(
        |(qos, retain, dup, expiry_s, subscription_id, topic_alias)| Way {
            qos,
            retain,
            dup,
            expiry_s,
            subscription_id,
            topic_alias,
        },
    )
}

proptest! {
    #[test]
    fn a_message_that_comes_again_on_any_way_has_the_same_id(
        given in given(),
        first in way(),
        again in way(),
    ) {
        prop_assert_eq!(id(&given, &first), id(&given, &again));
    }

    #[test]
    fn different_messages_have_different_ids(one in given(), other in given(), way in way()) {
        // With an id of its publisher, that stands for the content.
        let content = |given: &Given| match given.own {
            Some(_) => Given { payload: Vec::new(), user: Vec::new(), ..given.clone() },
            None => given.clone(),
        };
        prop_assert_eq!(content(&one) == content(&other), id(&one, &way) == id(&other, &way));
    }
}

/// Consumers compare ids that versions of the bridge years apart have made.
#[test]
fn an_id_stays_what_it_was_in_every_version() {
    let given = Given {
        connection: "mqtt".to_owned(),
        route: "sensors/#".to_owned(),
        mqtt_topic: "sensors/a".to_owned(),
        payload: b"21.5".to_vec(),
        user: vec![("id".to_owned(), "7".to_owned())],
        own: None,
    };
    let way = Way {
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        expiry_s: None,
        subscription_id: None,
        topic_alias: None,
    };
    assert_eq!(id(&given, &way), "2a514a22ffe45de1b800aa99622ca6a3");
    let own = Given { own: Some("7".to_owned()), ..given };
    assert_eq!(id(&own, &way), "d8dc9b9fffab78352e8a71f94b15e6ac");
}
