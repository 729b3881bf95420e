//! Whole screens, as a terminal has them.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use serde_json::{Value, json};

use super::draw::draw;
use super::look::Look;
use super::screen::{Key, Panel, Screen};
use super::snapshot::Snapshot;
use mqtt_kafka_bridge::visible::is_hidden;

const ALL: Look = Look { has_colours: true, has_modes: true, is_utf8: true };

/// Of everything that can be shown; the bridge's own test writes it.
const EVERYTHING: &str = include_str!("../observe/testdata/status.json");

/// A healthy bridge after so many seconds.
fn healthy(second: u64) -> Value {
    let connection = |name: &str, received: u64| {
        json!({
            "connection": name, "section": name, "connected": true, "broker": format!("mqtts://{name}.plant:8883"),
            "insecure": false, "session": {"mqtt_protocol": "5"}, "last_loss": null,
            "reconnects": {}, "identity": {"received": received},
            "window": {"messages": 520, "messages_max": 1000, "bytes": 104_000, "bytes_max": 67_108_864},
            "subscriptions": [{"route": "machines", "mqtt_filter": "plant/+/machines/#", "state": "granted"}],
        })
    };
    let received = 1_000 + 1_234 * second;
    json!({
        "schema_version": 1, "at": format!("2026-11-27T15:04:{second:02}.123456Z"),
        "started_at": "2026-11-27T11:52:00Z", "uptime_s": 11_520.0 + second as f64,
        "build": {"version": "0.1.0"}, "ready": true, "alive": true, "reasons": [], "warnings": [],
        "identity": {"received": received, "delivered": received - 940, "dead_lettered": 12, "filtered": 0,
            "shed": 0, "in_flight": 928},
        "rates": {"over_s": 10.0, "received_per_s": 1_234.0, "settled_per_s": 1_230.0,
            "received_bytes_per_s": 246_800.0, "delivered_bytes_per_s": 246_000.0},
        "connections": [connection("east", received / 2), connection("west", received / 2)],
        "kafka": {"state": "reachable", "queue_messages": 31, "held": [], "kafka_topics": [
            {"kafka_topic": "plant.machines", "reachable": true, "partitions": 12, "held": false},
            {"kafka_topic": "plant.alarms", "reachable": true, "partitions": 3, "held": false}]},
        "routes": [{"route": "machines", "mqtt_filter": "plant/+/machines/#", "records_delivered": received - 940,
            "delivered_bytes": 200 * received, "dropped": {"keep_if": 3}, "notes": {}}],
        "latencies": [
            {"connection": null, "route": null, "stage": "delivered", "count": 73_800, "p50_us": 1_802, "p90_us": 3_503,
                "p99_us": 9_211, "p999_us": 40_127, "max_us": 80_127},
            {"connection": "east", "route": "machines", "stage": "produced", "count": 36_900, "p50_us": 55,
                "p90_us": 141, "p99_us": 690, "p999_us": 4_203, "max_us": 61_023},
            {"connection": "east", "route": "machines", "stage": "delivered", "count": 36_900, "p50_us": 1_855,
                "p90_us": 3_611, "p99_us": 9_511, "p999_us": 40_911, "max_us": 79_011}],
        "slowest": [], "dead_letters": [{"route": "machines", "reason": "value_missing", "count": 12,
            "what_to_do": "Look at the dead letters with dead-letters list, remove the cause, and replay them.",
            "document": "docs/operations.md#dead-letters-grow"}],
        "restarts": [], "last_restarts": [], "log": {"recent": []},
    })
}

/// Kafka is away, and so is one broker.
fn outage() -> Value {
    let mut status = healthy(5);
    status["ready"] = json!(false);
    status["reasons"] = json!([
        {"component": "kafka", "reason": "kafka_unreachable", "detail": "no answer from kafka:9092 within 5 s",
            "what_to_do": "Check the cluster, the network and kafka.brokers.",
            "document": "docs/operations.md#messages-stop-arriving"},
        {"component": "mqtt", "reason": "mqtt_disconnected", "connection": "west", "detail": "connection refused",
            "what_to_do": "Check the broker, the network and the login.",
            "document": "docs/operations.md#messages-stop-arriving"}]);
    let kafka = &mut status["kafka"];
    kafka["state"] = json!("unreachable");
    kafka["detail"] = json!("no answer from kafka:9092 within 5 s");
    for row in kafka["kafka_topics"].as_array_mut().expect("a list") {
        row["reachable"] = Value::Null;
    }
    let connections = status["connections"].as_array_mut().expect("a list");
    connections[0]["window"]["messages"] = json!(1000);
    connections[1]["connected"] = json!(false);
    connections[1]["reconnects"] = json!({"refused": 3});
    connections[1]["last_loss"] =
        json!({"at": "2026-11-27T15:03:59Z", "detail": "connection refused"});
    status["restarts"] = json!([{"actor": "kafka", "reason": "panic", "count": 1}]);
    status["last_restarts"] = json!([{"at": "2026-11-27T15:03:50Z", "actor": "kafka", "reason": "panic", "detail": "",
        "what_to_do": "Keep the log and report it.", "document": "docs/operations.md#it-restarts"}]);
    status["log"]["recent"] = json!([{"at": "2026-11-27T15:03:58Z", "level": "error", "msg": "Kafka does not answer",
        "fields": {"event": "kafka_unreachable", "brokers": "kafka:9092"}, "what_to_do": "Check the cluster.",
        "document": "docs/operations.md#messages-stop-arriving"}]);
    status
}

fn many_routes() -> Value {
    let mut status = healthy(5);
    let route = |nth: u64| {
        json!({"route": format!("route-{nth:03}"), "mqtt_filter": format!("plant/{nth}/#"),
            "records_delivered": 7 * nth, "delivered_bytes": 700 * nth, "dropped": {}, "notes": {}})
    };
    status["routes"] = (0..100).map(route).collect();
    status
}

fn screen_of(statuses: &[Value]) -> Screen {
    let mut screen = Screen::new(Duration::from_secs(1));
    for status in statuses {
        screen.told(Ok(Snapshot::read(&status.to_string()).expect("a status")));
    }
    screen
}

fn drawn(screen: &mut Screen, look: Look, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    let shown = terminal
        .draw(|frame| draw(screen, look, frame.area(), frame.buffer_mut()))
        .expect("in memory");
    shown.buffer.clone()
}

/// The lines, without the columns behind wide characters.
fn lines(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let mut text = String::new();
    for row in buffer.content.chunks(width) {
        let mut line = String::new();
        let mut skip = 0;
        for cell in row {
            if skip == 0 {
                line.push_str(cell.symbol());
                skip = super::fit::width(cell.symbol()).saturating_sub(1);
            } else {
                skip -= 1;
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn show(screen: &mut Screen, width: u16, height: u16) -> String {
    lines(&drawn(screen, ALL, width, height))
}

/// Compares with a file; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
fn golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/testdata").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, shown).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "{name}: UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn a_healthy_bridge_is_seen_at_a_glance() {
    let mut screen = screen_of(&[healthy(1), healthy(2), healthy(3)]);
    golden("health_80x24.txt", &show(&mut screen, 80, 24));
    golden("health_160x40.txt", &show(&mut screen, 160, 40));
    for (panel, name) in
        [(2, "latency_80x24.txt"), (1, "routes_160x24.txt"), (4, "dead_letters_80x24.txt")]
    {
        screen.press(Key::Panel(panel));
        let width = if name.contains("160") { 160 } else { 80 };
        golden(name, &show(&mut screen, width, 24));
    }
}

#[test]
fn an_outage_says_what_to_do_on_each_panel() {
    let mut screen = screen_of(&[healthy(1), outage()]);
    let outage = show(&mut screen, 80, 24);
    golden("outage_80x24.txt", &outage);
    let document = include_str!("../../docs/top.md");
    assert!(document.contains(&format!("```\n{outage}```")), "docs/top.md shows this screen");
    for panel in 0..Panel::ALL.len() {
        screen.press(Key::Panel(panel));
        let shown = show(&mut screen, 80, 24);
        assert!(shown.contains("✖ Not ready: Kafka unreachable, MQTT disconnected."), "{shown}");
        assert!(shown.contains("Check the cluster, the network and kafka.brokers."), "{shown}");
        assert!(shown.contains("docs/operations.md#messages-stop-arriving"), "{shown}");
    }
    screen.press(Key::Panel(5));
    assert!(show(&mut screen, 80, 24).contains("Since the start: kafka, panic: 1."));
    screen.press(Key::Panel(0));
    let all = show(&mut screen, 100, 100);
    for told in [
        "✖ west: not connected",
        "(connection west): connection refused",
        "lost at 15:03:59 UTC, mqtts://west.plant:8883",
        "that of east is full, and reading waits",
        "✖ Kafka cluster: not reachable",
        "not known, Kafka does not answer",
    ] {
        assert!(all.contains(told), "{told} in {all}");
    }
    assert!(all.find("west: not") < all.find("east: conn"), "the worst is first: {all}");
}

/// On the screen of everything, what is red has what to do below it, on every panel.
#[test]
fn what_is_red_says_what_to_do_and_names_the_document() {
    let everything = EVERYTHING.parse::<Value>().expect("JSON");
    let panels = [everything, outage()]
        .into_iter()
        .flat_map(|status| (0..Panel::ALL.len()).map(move |panel| (status.clone(), panel)));
    for (status, panel) in panels {
        let mut screen = screen_of(&[status]);
        screen.press(Key::Panel(panel));
        let buffer = drawn(&mut screen, ALL, 100, 120);
        let text = lines(&buffer);
        let text: Vec<_> = text.lines().collect();
        for y in 0..buffer.area.height {
            let is_red = (0..buffer.area.width).any(|x| buffer[(x, y)].fg == Color::Red);
            if is_red {
                let below = text[usize::from(y)..].iter().take(6).copied();
                let below = below.collect::<Vec<_>>().join("\n");
                assert!(below.contains('→') && below.contains("(docs/"), "panel {panel}: {below}");
            }
        }
    }
}

#[test]
fn a_hundred_routes_are_scrolled_and_sorted() {
    let mut screen = screen_of(&[many_routes()]);
    screen.press(Key::Next);
    golden("many_routes_80x24.txt", &show(&mut screen, 80, 24));
    screen.press(Key::PageDown);
    let second = show(&mut screen, 80, 24);
    assert!(!second.contains("route-000") && second.contains("route-020"), "{second}");
    screen.press(Key::Last);
    let last = show(&mut screen, 80, 24);
    assert!(last.contains("route-099") && last.contains("of 100"), "{last}");
    screen.press(Key::Sort);
    screen.press(Key::Sort);
    let sorted = show(&mut screen, 80, 24);
    assert!(sorted.contains("s sort: count"), "{sorted}");
    assert!(sorted.find("route-099") < sorted.find("route-098"), "{sorted}");
    assert!(!sorted.contains("route-000"), "{sorted}");
}

#[test]
fn small_screens_show_the_verdict_and_what_fits() {
    let mut screen = screen_of(&[outage()]);
    golden("tiny_30x10.txt", &show(&mut screen, 30, 10));
    golden("tiny_20x3.txt", &show(&mut screen, 20, 3));
    assert_eq!(show(&mut screen, 1, 1), "…\n");
}

#[test]
fn without_the_bridge_the_screen_says_so_and_what_comes_is_seen() {
    let mut screen = Screen::new(Duration::from_secs(2));
    let shown = show(&mut screen, 80, 24);
    assert!(shown.contains("Waiting for the first answer"), "{shown}");
    screen.told(Err("no answer from http://127.0.0.1:8080/status.json (http.listen): \
        Connection refused (os error 111)"
        .to_owned()));
    golden("nobody_80x24.txt", &show(&mut screen, 80, 24));
    let read = |status: Value| Snapshot::read(&status.to_string());
    screen.told(read(healthy(1)));
    assert!(show(&mut screen, 80, 24).contains("✔ Ready"));
    screen.told(Err("refused".to_owned()));
    let shown = show(&mut screen, 80, 24);
    assert!(shown.contains("what is below is its last one"), "{shown}");
    assert!(shown.contains("last answer 15:04:01 UTC") && shown.contains("east"), "{shown}");
    let mut again = healthy(9);
    again["started_at"] = json!("2026-11-27T15:04:08Z");
    screen.told(read(again));
    let shown = show(&mut screen, 80, 24);
    assert!(shown.contains("✔ Ready") && shown.contains("started anew 1 time"), "{shown}");
}

#[test]
fn the_help_names_the_keys_and_a_held_screen_says_so() {
    let mut screen = screen_of(&[healthy(1)]);
    screen.press(Key::Help);
    golden("help_80x24.txt", &show(&mut screen, 80, 24));
    screen.press(Key::Help);
    screen.press(Key::Pause);
    assert!(show(&mut screen, 80, 24).contains("PAUSED, p goes on"));
}

#[test]
fn a_terminal_without_colours_and_utf8_gets_none() {
    let mut screen = screen_of(&[outage()]);
    let plain = Look { has_colours: false, has_modes: false, is_utf8: false };
    for panel in 0..Panel::ALL.len() {
        screen.press(Key::Panel(panel));
        let buffer = drawn(&mut screen, plain, 80, 24);
        for cell in &buffer.content {
            assert!(cell.fg == Color::Reset && cell.bg == Color::Reset && cell.modifier.is_empty());
        }
        let text = lines(&buffer);
        assert!(
            text.is_ascii() && !text.contains('?') || panel == 0 || text.matches('?').count() == 1,
            "{text}"
        );
    }
    let coloured = drawn(&mut screen, ALL, 80, 24);
    assert!(coloured.content.iter().any(|cell| cell.fg == Color::Red));
}

/// Wherever a stranger can write: escape sequences, direction marks, wide and combining characters.
const HOSTILE: &str =
    "a\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{202e}gpj\u{200b}温度\u{301}\r\n\u{85}\0é";

/// Writes it into all texts of a status, and into all names that are not of the schema.
fn poison(value: &mut Value, text: &str) {
    match value {
        Value::String(it) => *it = text.to_owned(),
        Value::Array(rows) => rows.iter_mut().for_each(|row| poison(row, text)),
        Value::Object(fields) => {
            for name in ["dropped", "notes", "reconnects", "fields"] {
                if let Some(it) = fields.get_mut(name) {
                    it[text] = json!(7);
                }
            }
            fields.values_mut().for_each(|it| poison(it, text));
        }
        _ => {}
    }
}

#[test]
fn hostile_names_are_shown_and_send_nothing_to_the_terminal() {
    let mut status = EVERYTHING.parse::<Value>().expect("JSON");
    poison(&mut status, HOSTILE);
    let mut screen = screen_of(&[status]);
    screen.press(Key::Next);
    golden("hostile_80x24.txt", &show(&mut screen, 80, 24));
    for panel in 0..Panel::ALL.len() {
        screen.press(Key::Panel(panel));
        for width in [10, 80, 200] {
            let buffer = drawn(&mut screen, ALL, width, 60);
            assert!(!buffer.content.iter().any(|cell| cell.symbol().contains(is_hidden)));
        }
    }
    // An error may have any text, too.
    let mut screen = Screen::new(Duration::from_secs(1));
    let why = Snapshot::read("\u{1b}[2J").expect_err("no JSON");
    screen.told(Err(mqtt_kafka_bridge::visible::Visible(&why).to_string()));
    let buffer = drawn(&mut screen, ALL, 80, 24);
    assert!(!buffer.content.iter().any(|cell| cell.symbol().contains(is_hidden)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let names = prop_oneof![
            any::<String>(),
            prop::sample::select(vec!["count", "route", "window", "fields", "stage"])
                .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The paths of all values in it.
fn paths(value: &Value, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, it)| {
            paths(it, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(rows) => {
            rows.iter().enumerate().for_each(|(nth, it)| paths(it, &format!("{path}/{nth}"), all));
        }
        _ => {}
    }
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0..9_usize).prop_map(Key::Panel),
        prop::sample::select(vec![
            Key::Next,
            Key::Previous,
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::PageDown,
            Key::First,
            Key::Last,
            Key::Sort,
            Key::Pause,
            Key::Help,
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A true status of which some values are replaced by anything.
    #[test]
    fn no_status_no_size_and_no_key_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 0..8),
        sizes in prop::collection::vec((0..200_u16, 0..70_u16), 1..4),
        keys in prop::collection::vec(any_key(), 0..12),
        is_utf8 in any::<bool>(),
    ) {
        let mut status = EVERYTHING.parse::<Value>().expect("JSON");
        let mut all = Vec::new();
        paths(&status, "", &mut all);
        for (index, value) in changes {
            if let Some(it) = status.pointer_mut(&all[index.index(all.len())]) {
                *it = value;
            }
        }
        if let Some(fields) = status.as_object_mut() {
            fields.insert("ready".to_owned(), json!(false));
        }
        let mut screen = Screen::new(Duration::from_secs(1));
        screen.told(Snapshot::read(&status.to_string()));
        let look = Look { is_utf8, ..ALL };
        for (width, height) in sizes {
            for key in &keys {
                screen.press(*key);
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                draw(&mut screen, look, Rect::new(0, 0, width, height), &mut buffer);
                for cell in &buffer.content {
                    prop_assert!(!cell.symbol().contains(is_hidden), "{:?}", cell.symbol());
                    prop_assert!(is_utf8 || cell.symbol().is_ascii());
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_status_or_is_refused(page in any::<String>(), json in any_json()) {
        let _ = Snapshot::read(&page);
        let _ = Snapshot::read(&json.to_string());
    }
}

#[test]
fn the_status_of_this_very_version_is_understood() {
    let status = include_str!("../observe/testdata/status.json");
    let mut screen = screen_of(&[serde_json::from_str(status).expect("JSON")]);
    let shown = show(&mut screen, 200, 100);
    for part in
        ["troubled: Kafka topic unavailable", "held: held, messages wait", "→ Check the cluster."]
    {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}
