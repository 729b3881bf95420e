//! `doctor` finds each fault of MQTT that is planted, and names what to do.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use crate::doctor::{Pair, assert_found, fault};
use crate::subscription::{ADMIN, BRIDGE, log_in, order};
use crate::support::mosquitto::Setup;
use crate::support::pki::Wish;
use crate::support::process::free_port;
use crate::support::*;

#[test]
fn each_fault_of_the_way_to_mqtt_is_found() {
    let story = Story::new("doctor, way to MQTT");
    let setup = Setup::default().listen(Listener::Tls).listen(Listener::MutualTls);
    let mut pair = Pair::start(&story, &setup.user("known", "right"));
    let tls = pair.mosquitto.address_of(Listener::Tls);
    let mutual = pair.mosquitto.address_of(Listener::MutualTls);
    let trusting = |pair: &Pair, url: String| {
        let mut config = pair.at(&url);
        broker::Broker::certificates(&pair.mosquitto).unwrap().configure(&mut config, None);
        config
    };
    let with = |key: &str, value: Value| {
        let mut config = pair.config();
        config.set("mqtt", key, value);
        config
    };
    let nobody = free_port();
    let mut wrong_password = with("username", "known".into());
    wrong_password.set("mqtt", "password", "wrong");
    let login = |name, password: &str| {
        let mut config = with("username", "known".into());
        config.set("mqtt", name, json!(["sh", "-c", password]));
        config
    };
    let mut other_ca = pair.at(&format!("mqtts://{tls}"));
    let stranger = pki::Authority::new("stranger");
    let stranger_file = story.dir().join("stranger.pem");
    fs::write(&stranger_file, stranger.pem()).unwrap();
    other_ca.set("mqtt.tls", "ca_file", stranger_file.to_str().unwrap());
    let error = |check| (check, "error");
    assert_found(
        &story,
        vec![
            fault(
                "no name",
                pair.at("mqtt://broker.invalid"),
                error("mqtt_dns"),
                "cannot resolve",
                "DNS",
            ),
            fault(
                "nobody listens",
                pair.at(&format!("mqtt://127.0.0.1:{nobody}")),
                error("mqtt_tcp"),
                "refused",
                "mqtt.url",
            ),
            fault(
                "plain to TLS",
                pair.at(&format!("mqtt://{tls}")),
                error("mqtt_login"),
                "",
                "`mqtts://`",
            ),
            fault(
                "TLS to plain",
                trusting(&pair, format!("mqtts://{}", pair.mosquitto.address())),
                error("mqtt_tls"),
                "tls_failed",
                "8883",
            ),
            fault(
                "WebSocket to plain",
                pair.at(&format!("ws://{}/mqtt", pair.mosquitto.address())),
                error("mqtt_websocket"),
                "websocket_refused",
                "",
            ),
            fault(
                "unknown authority",
                other_ca,
                error("mqtt_tls"),
                "tls_untrusted",
                "mqtt.tls.ca_file",
            ),
            fault(
                "no certificate of the bridge",
                trusting(&pair, format!("mqtts://{mutual}")),
                error("mqtt_tls"),
                "tls_client_certificate",
                "mqtt.tls.cert_file",
            ),
            fault(
                "wrong password",
                wrong_password,
                error("mqtt_login"),
                "login_refused",
                "mqtt.username",
            ),
            fault(
                "password command fails",
                login("password_command", "exit 3"),
                error("mqtt_login"),
                "password_unavailable",
                "password",
            ),
            fault(
                "proxy away",
                with("proxy", format!("http://127.0.0.1:{nobody}").into()),
                error("mqtt_tcp"),
                "refused",
                "mqtt.proxy",
            ),
        ],
    );
    // Certificates of the broker that are no good, one after the other.
    let elsewhere = Wish { dns_names: &["elsewhere.invalid"], addresses: &[], ..Wish::LOCALHOST };
    for (name, wish, check, level, found, advice) in [
        ("other name", elsewhere, "mqtt_tls", "error", "tls_name", "mqtt.tls.server_name"),
        (
            "expired",
            Wish { valid_days: (-9, -2), ..Wish::LOCALHOST },
            "mqtt_tls",
            "error",
            "tls_expired",
            "renew it",
        ),
        (
            "expires soon",
            Wish { valid_days: (-9, 5), ..Wish::LOCALHOST },
            "mqtt_certificate",
            "warning",
            "valid for",
            "renew it",
        ),
    ] {
        pair.mosquitto.certificates().issue_broker(&wish);
        pair.mosquitto.stop();
        pair.mosquitto.run();
        let config = trusting(&pair, format!("mqtts://{tls}"));
        assert_found(&story, vec![fault(name, config, (check, level), found, advice)]);
    }
}

/// A broker that answers each CONNECT with this code and these properties of MQTT 5, and each SUBSCRIBE with this
/// code, or by closing.
fn broker_that_says(code: u8, properties: &[u8], suback: Option<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let properties = properties.to_vec();
    let serve = move |stream: TcpStream| -> std::io::Result<()> {
        let mut client = MqttClient::over(stream, Version::V5);
        while let Some(packet) = client.read(PATIENT)? {
            match packet {
                Packet::Connect(_) => {
                    let properties = properties.clone();
                    client.send(&Packet::ConnAck { session_present: false, code, properties })?;
                }
                Packet::Subscribe { pkid, .. } => match suback {
                    Some(code) => client.send(&Packet::SubAck { pkid, codes: vec![code] })?,
                    None => return Ok(()),
                },
                Packet::PingReq => client.send(&Packet::PingResp)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

#[test]
fn each_limit_of_connack_and_each_refused_subscription_is_found() {
    let story = Story::new("doctor, limits of MQTT");
    let pair = Pair::start(&story, &Setup::default());
    let says = |code, properties: &[u8], suback| {
        let mut config = pair.at(&format!("mqtt://{}", broker_that_says(code, properties, suback)));
        config.set("mqtt", "protocol", "5");
        config
    };
    let shared = |mut config: ConfigFile| {
        config.set("mqtt", "group", "members");
        config
    };
    let (warning, error) = (|check| (check, "warning"), |check| (check, "error"));
    let granted = Some(1);
    let mut faults = vec![
        fault(
            "session expiry",
            says(0, &[0x11, 0, 0, 0, 60], granted),
            warning("mqtt_session_expiry"),
            "for 60 s",
            "session expiry",
        ),
        fault(
            "maximum QoS 0",
            says(0, &[0x24, 0], Some(0)),
            warning("mqtt_qos"),
            "QoS 0 at most",
            "qos = 0",
        ),
        fault(
            "no wildcards",
            says(0, &[0x28, 0], Some(0xA2)),
            error("mqtt_wildcards"),
            "devices/#",
            "`#`",
        ),
        fault(
            "no shared subscriptions",
            shared(says(0, &[0x2A, 0], Some(0x9E))),
            error("mqtt_shared"),
            "$share/members/devices/#",
            "mqtt.group",
        ),
        fault(
            "granted at QoS 0",
            says(0, &[], Some(0)),
            warning("mqtt_subscribe"),
            "at QoS 0",
            "lost",
        ),
        fault(
            "closes on SUBSCRIBE",
            says(0, &[], None),
            error("mqtt_subscribe"),
            "ended behind",
            "log",
        ),
        fault(
            "another client id",
            says(0x85, &[], granted),
            warning("mqtt_client_id"),
            "doctor",
            "not tried",
        ),
    ];
    // A real broker that forbids it.
    let file = story.dir().join("dynamic-security.json");
    let init = ["dynsec", "init", file.to_str().unwrap(), ADMIN, ADMIN];
    let made = Command::new("mosquitto_ctrl").args(init).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let strict = Mosquitto::start(story.dir(), &Setup::default().dynamic_security(&file));
    let mut admin = log_in(&strict, ADMIN);
    assert!(admin.subscribe("$CONTROL/dynamic-security/v1/response", 0) < 0x80);
    order(
        &mut admin,
        json!([{ "command": "createClient", "username": BRIDGE, "password": BRIDGE }]),
    );
    for version in Version::BOTH {
        let mut config = pair.at(&format!("mqtt://{}", strict.address()));
        config.set("mqtt", "username", BRIDGE).set("mqtt", "password", BRIDGE);
        config.set("mqtt", "protocol", version.name());
        let name = if version == Version::V5 { "forbidden over 5" } else { "forbidden over 3.1.1" };
        faults.push(fault(name, config, error("mqtt_subscribe"), "refused", "ACLs"));
    }
    assert_found(&story, faults);
}
