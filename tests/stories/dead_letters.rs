//! Dead letters are listed, and replayed once what was wrong is mended: each once, also over a kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::bridge::Bridge;
use super::support::config::ConfigFile;
use super::support::dead_letters::DeadLetters;
use super::support::kafka::{self, Kafka};
use super::support::mosquitto::{self, Mosquitto};
use super::support::mqtt_client::MqttClient;
use super::support::wire::Version;
use super::support::{PATIENT, SOON, Story, eventually};

/// Messages that their route refuses.
const REFUSED: u64 = 150;

fn dead_letters(config: &Path, args: &[&str]) -> Output {
    command(config, args).output().unwrap()
}

fn command(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.arg("dead-letters").args(args).arg("--config").arg(config);
    command.current_dir(config.parent().unwrap());
    command
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Where the dead letters go.
#[derive(Debug, Clone, Copy)]
enum Place {
    File,
    KafkaTopic,
}

fn tell(place: Place, version: Version) {
    let story = Story::new(match place {
        Place::File => "replayed from the file",
        Place::KafkaTopic => "replayed from the Kafka topic",
    });
    let kafka = Kafka::shared();
    let name = format!("replay-{place:?}-mqtt{}", version.level()).to_lowercase();
    let [good, small, dead] = ["", "-small", "-dead"].map(|end| format!("{name}{end}"));
    kafka.create(&good, 4, &[]);
    kafka.create(&small, 1, &[("max.message.bytes", "1000")]);
    kafka.create(&dead, 3, &[]);
    // Else the first dead letters may come late: docs/guarantees.md, "Holds".
    kafka.wait_led(&dead, 3);
    let mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default());
    let file = DeadLetters::new(&story.dir().join(format!("{name}.jsonl")));
    let configured = |payload: &str, large: &str| {
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).set("dead_letter", "file", file.path());
        if let Place::KafkaTopic = place {
            config.set("dead_letter", "kafka_topic", dead.clone());
        }
        for (route, form, kafka_topic) in [("devices", payload, &*good), ("large", "raw", large)] {
            config.route_with(&[
                ("name", route.into()),
                ("filter", format!("{route}/#").into()),
                ("kafka_topic", kafka_topic.into()),
                ("payload", form.into()),
            ]);
        }
        config
    };
    let mut bridge = Bridge::start(story.dir(), &name, &configured("json", &small));
    mosquitto.wait_subscribed("bridge", 2);
    let mut client = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
    for nth in 0..REFUSED {
        client.publish(&format!("devices/{}", nth % 3), format!("{{\"n\": {nth}").as_bytes());
    }
    let large = vec![b'x'; 5000];
    client.publish("large/a", &large);
    client.publish("devices/0", b"{}");
    bridge.wait_summary("all are settled", PATIENT, |now| {
        (now.delivered, now.dead_lettered, now.in_flight) == (1, REFUSED + 1, 0)
    });

    let config = bridge.config().to_owned();
    let listed = dead_letters(&config, &["list", "--json"]);
    assert_eq!(listed.status.code(), Some(0));
    assert_eq!(lines(&listed).len() as u64, REFUSED + 1);
    let one = lines(&dead_letters(&config, &["list", "--route", "large"]));
    assert!(one.len() == 2 && one[1].contains("kafka_too_large"), "{one:?}");
    let some = ["list", "--reason", "payload_not_json", "--mqtt-filter", "+/1", "--limit", "7"];
    assert_eq!(lines(&dead_letters(&config, &some)).len(), 1 + 7);
    let id = one[1].split(' ').next().unwrap();
    let shown = lines(&dead_letters(&config, &["show", id]));
    assert!(shown.iter().any(|line| line.starts_with("route ") && line.ends_with(" large")));
    assert!(shown.iter().any(|line| *line == "x".repeat(5000)), "the payload is whole");

    let refused = dead_letters(&config, &["replay", "--route", "devices", "--dry-run"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(lines(&refused).iter().all(|line| line.contains("payload_not_json: ")));
    // The route is mended, and the other one goes where there is room. The bridge itself goes on as it was.
    bridge.reconfigure(&configured("raw", &good));
    let mut killed = command(&config, &["replay"]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let progress = match place {
        Place::File => format!("{}.replayed", file.path()).into(),
        Place::KafkaTopic => config.parent().unwrap().join(format!("{dead}.replayed")),
    };
    let until = Instant::now() + PATIENT;
    while std::fs::metadata(&progress).map_or(0, |file| file.len()) < 17 * 20 {
        assert!(Instant::now() < until, "twenty are replayed");
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let rest = dead_letters(&config, &["replay"]);
    assert_eq!(rest.status.code(), Some(0), "{rest:?}");
    assert!((1..REFUSED - 10).contains(&(lines(&rest).len() as u64)), "{}", lines(&rest).len());
    let nothing = dead_letters(&config, &["replay"]);
    assert_eq!((nothing.status.code(), lines(&nothing).len()), (Some(0), 0));
    assert_eq!(bridge.terminate(), 0);

    let mut by_id: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut by_mqtt_topic: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let records = kafka::records(&kafka.bootstrap(), &good);
    for record in records.iter().filter(|record| record.value != b"{}") {
        let header = |name| record.headers.iter().find(|(key, _)| key == name);
        assert!(header("bridge.replayed_at").is_some());
        let (_, id) = header("bridge.dead_letter_id").unwrap();
        let times = by_id.entry(id.clone()).or_default();
        *times += 1;
        if *times == 1 {
            let key = record.key.clone().unwrap();
            by_mqtt_topic.entry(key).or_default().push(record.value.clone());
        }
    }
    assert_eq!(by_id.len() as u64, REFUSED + 1);
    let twice = by_id.values().filter(|times| **times > 1).count();
    assert!(twice <= 1 && by_id.values().all(|times| *times <= 2), "at most the last one: {twice}");
    assert_eq!(by_mqtt_topic.remove(&b"large/a"[..]), Some(vec![large]));
    for (mqtt_topic, values) in by_mqtt_topic {
        let nth = u64::from(mqtt_topic[mqtt_topic.len() - 1] - b'0');
        let expected = (0..REFUSED).filter(|at| at % 3 == nth);
        let expected = expected.map(|at| format!("{{\"n\": {at}").into_bytes());
        assert!(values.into_iter().eq(expected), "in order");
    }
}

#[test]
fn what_was_refused_is_replayed_from_the_file_once_its_route_is_mended() {
    Version::BOTH.into_iter().for_each(|version| tell(Place::File, version));
}

#[test]
fn what_was_refused_is_replayed_from_the_kafka_topic_once_its_route_is_mended() {
    Version::BOTH.into_iter().for_each(|version| tell(Place::KafkaTopic, version));
}

/// The route that refused them is gone: they wait until a person names another one, which then makes what today's
/// messages of it are.
#[test]
fn what_a_route_refused_that_is_gone_is_replayed_through_another_one_that_is_named() {
    let story = Story::new("replayed as another route");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default());
    for version in Version::BOTH {
        let name = format!("as-route-mqtt{}", version.level());
        kafka.create(&name, 1, &[]);
        let file = DeadLetters::new(&story.dir().join(format!("{name}.jsonl")));
        let configured = |routes: [(&str, &str); 2]| {
            let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
            config.set("mqtt", "protocol", version.name()).set("dead_letter", "file", file.path());
            for (route, form) in routes {
                config.route_with(&[
                    ("name", route.into()),
                    ("filter", format!("{name}/+").into()),
                    ("kafka_topic", name.clone().into()),
                    ("key", format!("{route} {{mqtt_topic[-1]}}").into()),
                    ("payload", form.into()),
                ]);
            }
            config
        };
        let routes = [("strict", "json"), ("loose", "raw")];
        let mut bridge = Bridge::new(story.dir(), &name, &configured(routes));
        bridge.environment("BRIDGE_MATCH", Some("all"));
        bridge.run();
        mosquitto.wait_subscribed(&name, 1);
        let mut client = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        let payload = |nth: u64| format!("{{\"n\": {nth}");
        for nth in 0..REFUSED {
            client.publish(&format!("{name}/{}", nth % 3), payload(nth).as_bytes());
        }
        bridge.wait_summary("all are settled", PATIENT, |now| now.dead_lettered == REFUSED);
        assert_eq!(bridge.terminate(), 0);

        bridge.reconfigure(&configured([("other", "text"), ("loose", "raw")]));
        let config = bridge.config().to_owned();
        let replay = |args: &[&str]| {
            let mut command = command(&config, &[&["replay"], args].concat());
            command.env("BRIDGE_MATCH", "all");
            command
        };
        let left = replay(&[]).output().unwrap();
        assert_eq!((left.status.code(), lines(&left).len() as u64), (Some(1), REFUSED));
        let gone = |line: &String| line.contains("its route is gone: \"strict\"");
        assert!(lines(&left).iter().all(gone), "{left:?}");
        let unknown = replay(&["--as-route", "nobody"]).output().unwrap();
        assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");

        let mut killed = replay(&["--as-route", "other"]);
        let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let progress = format!("{}.replayed", file.path());
        let done = || std::fs::metadata(&progress).map_or(0, |it| it.len()) / 17;
        eventually("twenty are replayed", PATIENT, || done() >= 20);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let before = done();
        let rest = replay(&["--as-route", "other"]).output().unwrap();
        assert_eq!(rest.status.code(), Some(0), "{rest:?}");
        assert_eq!(before + lines(&rest).len() as u64, REFUSED, "it goes on where it was killed");
        let nothing = replay(&["--as-route", "other"]).output().unwrap();
        assert_eq!((nothing.status.code(), lines(&nothing).len()), (Some(0), 0));

        let records = kafka::records(&kafka.bootstrap(), &name).into_iter();
        let (replayed, others): (Vec<_>, Vec<_>) =
            records.partition(|it| it.headers.iter().any(|(name, _)| name == "bridge.replayed_at"));
        // The route that stays had its part, and has it once.
        let keys = |route: &str, nth: u64| format!("{route} {}", nth % 3).into_bytes();
        let expected = |route| (0..REFUSED).map(move |nth| (Some(keys(route, nth)), payload(nth)));
        let seen = |record: &kafka::Record| {
            (record.key.clone(), String::from_utf8(record.value.clone()).unwrap())
        };
        assert!(others.iter().map(seen).eq(expected("loose")));
        let id = |record: &kafka::Record| {
            let mut marks = record.headers.iter().filter(|it| it.0 == "bridge.dead_letter_id");
            String::from_utf8(marks.next().unwrap().1.clone()).unwrap()
        };
        let twice = replayed.len() as u64 - REFUSED;
        assert!(twice <= 1, "at most the one that was on its way: {twice}");
        let mut once = replayed.clone();
        once.dedup_by_key(|record| id(record));
        assert!(once.iter().map(seen).eq(expected("other")), "in order");
        let letters = file.read();
        assert!(once.iter().map(id).eq(letters.iter().map(|it| it.0["id"].as_str().unwrap())));
    }
}

/// A file that is in the way is nobody's loss: it stays, the others are written, and the next run goes on.
#[test]
fn payloads_are_exported_around_a_file_that_is_in_the_way() {
    let story = Story::new("exported payloads");
    let kafka = Kafka::shared();
    kafka.create("exported", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default());
    let file = DeadLetters::new(&story.dir().join("dead.jsonl"));
    let mut config = ConfigFile::new(&mosquitto.address(), "exporter", &kafka.bootstrap());
    config.set("dead_letter", "file", file.path()).route_with(&[
        ("filter", "a/#".into()),
        ("kafka_topic", "exported".into()),
        ("payload", "json".into()),
    ]);
    let mut bridge = Bridge::start(story.dir(), "exporter", &config);
    mosquitto.wait_subscribed("exporter", 1);
    let mut client = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
    let payloads = [b"one".to_vec(), b"\xff\x00".to_vec(), b"three".to_vec()];
    payloads.iter().for_each(|payload| client.publish("a/b", payload));
    bridge.wait_summary("all are refused", PATIENT, |now| now.dead_lettered == 3);
    assert_eq!(bridge.terminate(), 0);

    let directory = story.dir().join("payloads");
    std::fs::create_dir(&directory).unwrap();
    let export = || {
        let output =
            dead_letters(bridge.config(), &["export", "--payloads", directory.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let read = || {
        let entries = std::fs::read_dir(&directory).unwrap().flatten();
        entries.map(|it| (it.path(), std::fs::read(it.path()).unwrap())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(export(), (Some(0), String::new()));
    let written = read();
    let mut contents: Vec<_> = written.values().cloned().collect();
    contents.sort();
    let mut expected = payloads.to_vec();
    expected.sort();
    assert_eq!(contents, expected);
    assert_eq!(export(), (Some(0), String::new()), "the same again");

    // The first dead letter's is in the way, and the last one's is gone.
    let path = |nth: usize| {
        let id = file.read()[nth].0["id"].as_str().unwrap().to_owned();
        directory.join(format!("{id}.payload"))
    };
    std::fs::write(path(0), "somebody's notes").unwrap();
    std::fs::remove_file(path(2)).unwrap();
    let left = format!("{}: left, a file with another content is there\n", path(0).display());
    assert_eq!(export(), (Some(1), left));
    let mut expected = written.clone();
    expected.insert(path(0), b"somebody's notes".to_vec());
    assert_eq!(read(), expected);
    std::fs::remove_file(path(0)).unwrap();
    assert_eq!(export(), (Some(0), String::new()));
    assert_eq!(read(), written);
}

#[test]
fn a_replay_to_a_kafka_topic_that_is_not_there_leaves_its_dead_letter_for_the_next_run() {
    let story = Story::new("a replay to nowhere");
    let kafka = Kafka::shared();
    let file = DeadLetters::new(&story.dir().join("dead.jsonl"));
    let line = |nth: u32| {
        format!(
            r#"{{"reason":"payload_not_json","mqtt_topic":"a","mqtt_qos":1,"payload_bytes":1,"received_at":"2023-11-14T22:13:20.000001Z","payload":"{nth}"}}"#
        )
    };
    // As a bridge before version 2 wrote them, and one line torn.
    std::fs::write(file.path(), format!("{}\n{{\"rea\n{}\n", line(1), line(2))).unwrap();
    let mut config = ConfigFile::new("127.0.0.1:1", "bridge", &kafka.bootstrap());
    config.set("dead_letter", "file", file.path()).route("#", "replay-nowhere");
    let bridge = Bridge::new(story.dir(), "replay-nowhere", &config);
    let refused = dead_letters(bridge.config(), &["replay"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let left = lines(&refused);
    assert!(left.len() == 3 && left.iter().all(|line| line.starts_with("left ")), "{left:?}");
    assert!(left[0].contains("replay-nowhere refused it: "), "{left:?}");
    kafka.create("replay-nowhere", 1, &[]);
    let replayed = dead_letters(bridge.config(), &["replay"]);
    assert_eq!(replayed.status.code(), Some(1), "the torn line is left");
    let deadline = Instant::now() + SOON;
    let values = || kafka::records(&kafka.bootstrap(), "replay-nowhere").into_iter();
    while values().count() < 2 && Instant::now() < deadline {}
    assert!(values().map(|record| record.value).eq([b"1", b"2"]));
}
