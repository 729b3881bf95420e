//! One, several and many connections: `[mqtt]`, `[[mqtt]]`, `connections = N`.

use std::path::Path;

use proptest::prelude::*;

use super::{MINIMAL, legal, load};
use crate::config::{BrokerAddress, Config, Password};

/// Two brokers, and a route for each and for both.
const TWO: &str = r#"
[[mqtt]]
name = "plant-1"
url = "mqtt://one"
client_id = "bridge"

[[mqtt]]
name = "plant-2"
url = "mqtts://two"
client_id = "bridge"
[mqtt.tls]
server_name = "plant.example"
[mqtt.status]
mqtt_topic = "bridges/{client_id}"

[kafka]
brokers = ["localhost:9092"]

[[routes]]
filter = "sensors/#"
kafka_topic = "sensors"
[[routes]]
filter = "actors/#"
kafka_topic = "actors"
from = ["plant-2"]
"#;

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    load(text, variables).expect_err(text).to_string()
}

fn filters(config: &Config, connection: usize) -> Vec<String> {
    let routes = config.routes_of(&config.connections[connection]);
    routes.iter().map(|route| route.filter.to_string()).collect()
}

fn grouped(lines: &str) -> String {
    MINIMAL.replace("[kafka]", &format!("{lines}\n[kafka]"))
}

#[test]
fn several_brokers_have_keys_of_their_own_and_routes_by_their_names() {
    let config = legal(TWO, &[]);
    let [one, two] = &config.connections[..] else { panic!("two connections") };
    assert_eq!((&*one.name, one.addresses[0].to_string()), ("plant-1", "mqtt://one:1883".into()));
    assert_eq!((&*two.name, two.addresses[0].to_string()), ("plant-2", "mqtts://two:8883".into()));
    assert_eq!((&*one.section, &*two.section), ("plant-1", "plant-2"));
    assert_eq!(one.tls.server_name, None);
    assert_eq!(two.tls.server_name.as_deref(), Some("plant.example"));
    assert_eq!(one.status, None);
    let status = two.status.as_ref().expect("a status");
    assert_eq!((status.mqtt_topic.as_str(), status.online.as_str()), ("bridges/bridge", "online"));
    assert_eq!(filters(&config, 0), ["sensors/#"]);
    assert_eq!(filters(&config, 1), ["sensors/#", "actors/#"]);
    assert_eq!(legal(&config.describe(), &[]), config, "{}", config.describe());
}

#[test]
fn one_section_in_double_brackets_is_the_same_as_in_single_ones() {
    assert_eq!(legal(&MINIMAL.replace("[mqtt]", "[[mqtt]]"), &[]), legal(MINIMAL, &[]));
    let error = refused(&MINIMAL.replace("[mqtt]", "[[mqtt]]").replace("mqtt:", "x:"), &[]);
    assert!(error.contains(":3: mqtt.url: "), "{error}");
}

#[test]
fn errors_name_the_section_and_its_line() {
    for (from, to, expected) in [
        ("mqtt://one", "x://one", ":4: mqtt[0].url: expected mqtts://host"),
        ("mqtts://two", "x://two", ":9: mqtt[1].url: expected mqtts://host"),
        (
            "server_name",
            "servername",
            ":12: mqtt[1].tls.servername: unknown key, did you mean mqtt.tls.server_name?",
        ),
        (
            "\"plant.example\"",
            "1",
            ":12: mqtt[1].tls.server_name: expected a host name or an IP address, without brackets and a port, found 1",
        ),
        ("url = \"mqtts://two\"", "", ":7: mqtt[1].url: expected mqtts://host"),
        (
            "name = \"plant-2\"",
            "",
            ":7: mqtt[1].name: expected a name for each of several connections",
        ),
        (
            "name = \"plant-2\"",
            "name = \"plant-1\"",
            ":8: mqtt[1].name: expected another name for each connection, found \"plant-1\" again",
        ),
        (
            "name = \"plant-2\"",
            "name = \"plant 2\"",
            ":8: mqtt[1].name: expected a name of 1 to 64",
        ),
        (
            "from = [\"plant-2\"]",
            "from = [\"plant2\"]",
            "routes[1].from: expected the names of connections (mqtt.name), found \"plant2\", did you mean \"plant-2\"?",
        ),
        (
            "kafka_topic = \"sensors\"",
            "kafka_topic = \"sensors\"\nfrom = \"plant-2\"",
            ":3: mqtt[0].name: expected a route that takes messages from \"plant-1\"",
        ),
        (
            "mqtts://two",
            "mqtt://one:1883",
            "mqtt[1].client_id: expected another client id than that of mqtt[0], because both connect to mqtt://one:1883",
        ),
        ("[mqtt.tls]", "[mqtt.tsl]", ":11: mqtt[1].tsl: unknown section, did you mean [mqtt.tls]?"),
        (
            "[mqtt.tls]",
            "tls = true\n[mqtt.x]",
            ":11: mqtt[1].tls: expected a section [mqtt.tls], found true",
        ),
    ] {
        assert!(TWO.contains(from), "{from}");
        let error = refused(&TWO.replace(from, to), &[]);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn connections_of_different_brokers_may_subscribe_the_same_and_those_of_one_may_not_twice() {
    let both = TWO.replace("actors/#", "sensors/#");
    let error = refused(&both, &[]);
    assert!(error.contains("routes[1].filter: expected each filter only once"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let all = legal(&format!("match = \"all\"\n{both}"), &[]);
    assert_eq!(filters(&all, 1), ["sensors/#", "sensors/#"]);
    assert_ne!(all.routes[0].name, all.routes[1].name);
    let apart = both
        .replace("kafka_topic = \"sensors\"", "kafka_topic = \"sensors\"\nfrom = [\"plant-1\"]");
    let config = legal(&apart, &[]);
    assert_eq!(
        (filters(&config, 0), filters(&config, 1)),
        (vec!["sensors/#".into()], vec!["sensors/#".into()])
    );
    // One may be shared where the other is not.
    legal(&apart.replacen("sensors/#", "$share/g/sensors/#", 1), &[]);
}

#[test]
fn the_environment_reaches_each_section_and_appends_one_past_the_end() {
    let variables = [
        ("BRIDGE_MQTT__URL", "mqtts://env"),
        ("BRIDGE_MQTT__TLS__CA_FILE", "/dev/null"),
        ("BRIDGE_MQTT__1__TLS__ALPN", "mqtt,x-amzn-mqtt-ca"),
        ("BRIDGE_MQTT__1__URLS", "mqtts://a,mqtts://b"),
        ("BRIDGE_MQTT__2__URL", "unix:///run/mqtt.sock"),
        ("BRIDGE_MQTT__2__NAME", "local"),
        ("BRIDGE_MQTT__2__CLIENT_ID", "c"),
        ("BRIDGE_MQTT__2__USER_PROPERTIES", "site=a, line = 7"),
    ];
    let config = legal(&TWO.replace("url = \"mqtts://two\"", ""), &variables);
    let [one, two, three] = &config.connections[..] else { panic!("three connections") };
    assert_eq!(one.addresses[0].to_string(), "mqtts://env:8883");
    assert_eq!(one.tls.ca_file.as_deref(), Some(Path::new("/dev/null")));
    assert_eq!(two.tls.alpn, ["mqtt", "x-amzn-mqtt-ca"]);
    assert_eq!(two.addresses.len(), 2);
    assert_eq!((&*three.name, three.first_address().scheme()), ("local", "unix"));
    assert_eq!(three.user_properties[1], ("line".to_owned(), "7".to_owned()));

    let error = refused(TWO, &[("BRIDGE_MQTT__3__URL", "mqtt://h")]);
    assert!(error.contains("expected the index of a connection, 0 to 2"), "{error}");
    let error = refused(TWO, &[("BRIDGE_MQTT__1__ULR", "mqtt://h")]);
    assert!(error.contains("this variable names no key, did you mean"), "{error}");
    // Of the environment alone: the one without an index is the first.
    let alone = [
        ("BRIDGE_MQTT__URL", "mqtt://a"),
        ("BRIDGE_MQTT__NAME", "one"),
        ("BRIDGE_MQTT__CLIENT_ID", "c"),
        ("BRIDGE_MQTT__1__URL", "mqtt://b"),
        ("BRIDGE_MQTT__1__NAME", "two"),
        ("BRIDGE_MQTT__1__CLIENT_ID", "c"),
        ("BRIDGE_KAFKA__BROKERS", "k:9092"),
        ("BRIDGE_ROUTES__0__FILTER", "t/#"),
        ("BRIDGE_ROUTES__0__KAFKA_TOPIC", "t"),
    ];
    let names: Vec<_> = legal("", &alone).connection_names().collect();
    assert_eq!(names, ["one".into(), "two".into()]);
    // A single section has an index too.
    let config = legal(MINIMAL, &[("BRIDGE_MQTT__0__URL", "mqtt://h")]);
    assert_eq!(config.connections[0].addresses, [BrokerAddress::tcp("h", 1883)]);
}

#[test]
fn many_connections_share_the_subscriptions_and_differ_by_a_number() {
    let config = legal(&grouped("name = \"plant\"\nconnections = 3"), &[]);
    let names: Vec<_> = config.connection_names().collect();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["plant-0", "plant-1", "plant-2"]
    );
    let ids: Vec<_> = config.connections.iter().map(|mqtt| mqtt.client_id.as_str()).collect();
    assert_eq!(ids, ["bridge-1-0", "bridge-1-1", "bridge-1-2"]);
    for (at, mqtt) in config.connections.iter().enumerate() {
        assert_eq!((&*mqtt.section, mqtt.group.as_deref()), ("plant", Some("bridge")));
        assert_eq!(filters(&config, at), ["$share/bridge/sensors/#"]);
    }
    let described = config.describe();
    assert_eq!(legal(&described, &[]), config, "{described}");
    for line in [
        "connections = 3\n",
        "client_id = \"bridge-1\"\n",
        "group = \"bridge\"\n",
        "# plant-0 connects as \"bridge-1-0\"\n",
        "# plant-2 connects as \"bridge-1-2\"\n",
    ] {
        assert!(described.contains(line), "{line}: {described}");
    }
}

#[test]
fn a_group_alone_shares_with_other_processes_and_leaves_name_and_client_id_as_they_are() {
    let config = legal(&grouped("group = \"fleet\""), &[]);
    let [mqtt] = &config.connections[..] else { panic!("one connection") };
    assert_eq!((&*mqtt.name, mqtt.client_id.as_str()), ("mqtt", "bridge-1"));
    assert_eq!(filters(&config, 0), ["$share/fleet/sensors/#"]);
    assert_eq!(legal(&config.describe(), &[]), config, "{}", config.describe());
}

#[test]
fn each_member_of_a_group_has_a_status_of_its_own() {
    let status = "connections = 2\n[mqtt.status]\nmqtt_topic = \"bridges/{client_id}\"";
    let config = legal(&grouped(status), &[]);
    let topics =
        config.connections.iter().map(|mqtt| mqtt.status.as_ref().map(|s| s.mqtt_topic.as_str()));
    assert_eq!(
        topics.collect::<Vec<_>>(),
        [Some("bridges/bridge-1-0"), Some("bridges/bridge-1-1")]
    );
    assert_eq!(legal(&config.describe(), &[]), config, "{}", config.describe());
    let error = refused(&grouped(&status.replace("{client_id}", "b")), &[]);
    assert!(
        error.contains("mqtt.status.mqtt_topic: expected {client_id} in the MQTT topic"),
        "{error}"
    );
}

#[test]
fn the_names_and_client_ids_of_members_are_taken_too() {
    let two = TWO
        .replace("client_id = \"bridge\"\n\n", "client_id = \"b\"\nconnections = 2\n")
        .replace("plant-2", "plant-1-1");
    let error = refused(&two, &[]);
    assert!(error.contains("mqtt[1].name: expected another name"), "{error}");
    let two = TWO
        .replace("client_id = \"bridge\"\n\n", "client_id = \"b\"\nconnections = 2\n")
        .replace("client_id = \"bridge\"", "client_id = \"b-1\"")
        .replace("mqtts://two\"", "mqtts://two\"\nurls = []")
        .replace("url = \"mqtts://two\"\nurls = []", "urls = [\"mqtts://two\", \"mqtt://one\"]");
    let error = refused(&two, &[]);
    assert!(
        error.contains("mqtt[1].client_id: expected another client id than that of mqtt[0]"),
        "{error}"
    );
}

#[test]
fn a_route_never_forwards_our_own_status() {
    let with = |status: &str, filter: &str, more: &str| {
        let text = grouped(&format!("{more}\n[mqtt.status]\nmqtt_topic = \"{status}\""))
            .replace("sensors/#", filter);
        load(&text, &[]).map_or_else(|errors| errors.to_string(), |_| String::new())
    };
    // Over 5 the broker does not send it back (No Local).
    assert_eq!(with("b/s", "#", "protocol = \"5\""), "");
    assert_eq!(with("b/s", "sensors/#", ""), "");
    assert_eq!(with("b/s", "+/t", "protocol = \"3.1.1\""), "");
    for (status, filter, more, why) in [
        ("b/s", "#", "", "over MQTT 3.1.1"),
        ("b/s", "b/+", "protocol = \"3.1.1\"", "over MQTT 3.1.1"),
        ("b/s", "$share/g/b/+", "protocol = \"5\"", "through a shared subscription"),
        ("b/s", "b/+", "protocol = \"5\"\ngroup = \"g\"", "through a shared subscription"),
        (
            "b/{client_id}",
            "b/+",
            "protocol = \"5\"\nconnections = 2",
            "through a shared subscription",
        ),
    ] {
        let error = with(status, filter, more);
        assert!(
            error.contains("mqtt.status.mqtt_topic: expected an MQTT topic that no route"),
            "{error}"
        );
        assert!(error.contains(why) && error.contains("of routes[0] matches"), "{error}");
        assert!(error.contains("found \"b/"), "{error}");
    }
    // Nor that of another connection to the same broker, which No Local does not keep away.
    let two = TWO.replace("mqtts://two", "mqtts://one:1883").replacen("\"bridge\"", "\"a\"", 1);
    legal(&two, &[("BRIDGE_MQTT__PROTOCOL", "5")]);
    let error = refused(&two.replace("sensors/#", "bridges/+"), &[("BRIDGE_MQTT__PROTOCOL", "5")]);
    assert!(error.contains("mqtt[1].status.mqtt_topic"), "{error}");
    assert!(error.contains("because the broker sends it to other connections"), "{error}");
}

#[test]
fn what_a_group_and_an_unverified_broker_give_up_is_warned_of() {
    let said = |lines: &str| legal(&grouped(lines), &[]).warnings();
    assert_eq!(said(""), Vec::<String>::new());
    let [group] = &said("connections = 4\nprotocol = \"5\"")[..] else { panic!("one warning") };
    assert!(
        group.starts_with("4 connections of \"mqtt\" share the subscriptions of group \"bridge\""),
        "{group}"
    );
    assert!(
        group.contains("in order only as far as the broker keeps them on one connection"),
        "{group}"
    );
    let [group] = &said("group = \"g\"")[..] else { panic!("one warning") };
    assert!(group.contains("over MQTT 3.1.1 a broker without shared subscriptions"), "{group}");

    let text = MINIMAL.replace("mqtt://", "mqtts://") + "[mqtt.tls]\ninsecure_skip_verify = true\n";
    let [insecure] = &legal(&text, &[]).warnings()[..] else { panic!("one warning") };
    assert!(insecure.contains("mqtt.tls.insecure_skip_verify is true"), "{insecure}");

    let [open] = &legal(MINIMAL, &[("BRIDGE_HTTP__LISTEN", "0.0.0.0:80")]).warnings()[..] else {
        panic!("one warning")
    };
    assert!(open.contains("http.token_file is not set: only /livez and /readyz"), "{open}");
    // What two connections have in common is said once.
    let two = TWO.replace("sensors/#", "$share/g/sensors/#");
    assert_eq!(legal(&two, &[]).warnings().len(), 1);
}

#[test]
fn addresses_of_one_broker_have_one_login() {
    let urls =
        |urls: &str| MINIMAL.replace("url = \"mqtt://localhost:1883\"", &format!("urls = {urls}"));
    let mqtt = legal(&urls("[\"mqtt://u:p@a\", \"wss://b/path\"]"), &[]).connections.remove(0);
    assert_eq!(mqtt.addresses[1].to_string(), "wss://b:443/path");
    assert_eq!((mqtt.username, mqtt.password), (Some("u".into()), Some(Password::from("p"))));
    for (text, expected) in [
        ("[]", "mqtt.urls: expected 1 to 16 addresses of one broker, found 0"),
        (
            "[\"mqtt://u:hunter2@a\", \"mqtt://u:hunter3@b\"]",
            "mqtt.urls: expected one login for all addresses",
        ),
        ("[\"mqtt://a\", \"x\"]", "mqtt.urls: expected mqtts://host"),
        ("[1]", "mqtt.urls: expected a list of addresses: mqtts://host"),
    ] {
        let error = refused(&urls(text), &[]);
        assert!(error.contains(expected) && !error.contains("hunter"), "{error}");
    }
    let both = MINIMAL.replace("client_id", "urls = [\"mqtt://a\"]\nclient_id");
    assert!(
        refused(&both, &[])
            .contains("mqtt.urls: expected either mqtt.url or mqtt.urls, found both")
    );
}

#[test]
fn a_token_is_long_enough_and_on_one_line() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a path of UTF-8");
    for (content, is_legal) in [
        ("0123456789abcdef\n", true),
        ("0123456789abcde\n", false),
        ("0123456789 abcdef", false),
        ("0123456789\nabcdef", false),
        ("0123456789abcd\u{e4}f", false),
        ("", false),
    ] {
        std::fs::write(path, content).expect("a file can be written");
        let loaded = load(MINIMAL, &[("BRIDGE_HTTP__TOKEN_FILE", path)]);
        assert_eq!(loaded.is_ok(), is_legal, "{content:?}");
        if let Err(error) = loaded {
            let error = error.to_string();
            assert!(error.contains("expected a file with a token of at least 16"), "{error}");
            assert!(!error.contains("0123"), "{error}");
        }
    }
}

#[test]
fn files_that_are_read_later_are_there_at_the_start() {
    let tls = MINIMAL.replace("mqtt://", "mqtts://");
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("coreutils");
    assert!(made.success());
    for key in [
        "MQTT__PASSWORD_FILE",
        "MQTT__TLS__CA_FILE",
        "MQTT__TLS__CERT_FILE",
        "MQTT__TLS__KEY_FILE",
        "MQTT__TLS__KEY_PASSWORD_FILE",
        "HTTP__TOKEN_FILE",
        "HTTP__CERT_FILE",
        "HTTP__KEY_FILE",
    ] {
        let variable = format!("BRIDGE_{key}");
        for path in ["/nonexistent/file", "/"] {
            let error = refused(&tls, &[(&variable, path)]);
            let expected = format!("{variable}: expected a file that can be read");
            assert!(error.contains(&expected), "{error}");
        }
        let error = refused(&tls, &[(&variable, &pipe)]);
        assert!(error.contains("read again, found a pipe or a socket"), "{variable}: {error}");
    }
}

/// A configuration that is printed loads again and means the same, whatever it has.
#[test]
fn a_description_of_every_kind_of_connection_loads_again() {
    let kinds = [
        "protocol = \"5\"\nuser_properties = { \"a b\" = \"$$$${x}\", c = \"\\\"\" }",
        "connections = 2\ngroup = \"a b\"\n[mqtt.status]\nmqtt_topic = \"$s/{client_id}\"\nqos = 0\nretain = false\noffline = \"\"",
        "proxy = \"socks5://[::1]:1080\"\nsession_expiry = \"never\"",
        "username = \"u\"\npassword_file = \"/dev/null\"",
        "username = \"u\"\npassword_command = [\"/bin/token\"]",
        "group = \"g\"\nclient_id = \"a-0\"",
        "connections = 64\nclient_id = \"a-0\"",
        "connections = 2\nclient_id = \"\"\nsession_expiry = \"0s\"",
    ];
    for kind in kinds {
        let base = if kind.contains("client_id =") {
            MINIMAL.replace("client_id = \"bridge-1\"", "")
        } else {
            MINIMAL.to_owned()
        };
        let config = legal(&base.replace("[kafka]", &format!("{kind}\n[kafka]")), &[]);
        let described = config.describe();
        assert_eq!(legal(&described, &[]), config, "{described}");
    }
}

#[test]
fn one_broker_is_known_by_its_host_whatever_its_spelling_and_scheme() {
    let same = TWO.replace("mqtt://one", "mqtt://one.example");
    let with = |url: &str| load(&same.replace("mqtts://two", url), &[]);
    for (url, why) in [
        ("mqtt://ONE.example.", "both connect to"),
        (
            "mqtts://one.example",
            "mqtt://one.example:1883 and mqtts://one.example:8883 are most likely",
        ),
        (
            "wss://One.Example/mqtt",
            "mqtt://one.example:1883 and wss://One.Example:443/mqtt are most",
        ),
        ("ws://one.example:9001", "are most likely one broker, where both would take the session"),
    ] {
        let error = with(url).expect_err(url).to_string();
        assert!(error.contains("mqtt[1].client_id: expected another client id"), "{error}");
        assert!(error.contains(why), "{error}");
    }
    for url in ["mqtts://two.example", "mqtts://one.example.org"] {
        with(url).expect(url);
    }
}

#[test]
fn an_exclusive_subscription_is_for_one_connection() {
    let exclusive = TWO.replace("sensors/#", "$exclusive/t");
    legal(&exclusive, &[]);
    let error = refused(
        &exclusive.replace("mqtts://two", "mqtts://one").replacen("\"bridge\"", "\"a\"", 1),
        &[],
    );
    assert!(error.contains("\"plant-1\" and \"plant-2\" would have it"), "{error}");
}

#[test]
fn a_sparkplug_route_takes_from_one_connection_without_a_group() {
    let route = "filter = \"sensors/#\"\npayload = \"sparkplug\"";
    let sparkplug = |text: &str| text.replacen("filter = \"sensors/#\"", route, 1);
    legal(&sparkplug(MINIMAL), &[]);
    legal(&sparkplug(TWO), &[]);
    for (text, why) in [
        (grouped("connections = 2"), "the members of group \"bridge\""),
        (grouped("group = \"g\""), "the members of group \"g\""),
    ] {
        let error = refused(&sparkplug(&text), &[]);
        assert!(error.contains("routes[0].payload: expected a route of one connection"), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let shared = sparkplug(MINIMAL).replace("sensors/#", "$share/g/sensors/#");
    let error = refused(&shared, &[]);
    assert!(error.contains("several clients that share \"$share/g/sensors/#\""), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// MQTT has no longer strings, and what is put into a packet is not looked at again.
    #[test]
    fn what_connections_make_of_their_texts_fits_into_packets_or_is_refused(
        client_id in length(),
        group in length(),
        filter in length(),
        mqtt_topic in length(),
        connections in 1..=64_usize,
        names_client in any::<bool>(),
    ) {
        let text = |length: usize| "x".repeat(length);
        let more = if names_client { "{client_id}" } else { "" };
        let file = MINIMAL
            .replace("bridge-1", &text(client_id))
            .replace("sensors/#", &text(filter))
            .replace("[kafka]", &format!(
                "connections = {connections}\ngroup = \"{}\"\n[mqtt.status]\nmqtt_topic = \"{}{more}\"\n[kafka]",
                text(group),
                text(mqtt_topic),
            ));
        if let Ok(config) = load(&file, &[]) {
            for mqtt in &config.connections {
                prop_assert!(mqtt.client_id.len() <= 65_535);
                let status = mqtt.status.as_ref().expect("it has one");
                prop_assert!(status.mqtt_topic.len() <= 65_535);
                for route in config.routes_of(mqtt) {
                    prop_assert!(route.filter.as_str().len() <= 65_535);
                }
            }
        }
    }
}

/// Short, or about as long as may be.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..10_usize, 1 => 65_500..=65_535_usize]
}
