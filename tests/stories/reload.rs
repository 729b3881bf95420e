//! The configuration is read again while messages flow.

use std::time::Duration;

use crate::support::line::Plan;
use crate::support::wire::Packet;
use crate::support::*;

/// For so long nothing may come that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// Writes another configuration and asks the bridge to read it.
fn reload(bridge: &mut Bridge, text: &str) {
    std::fs::write(bridge.config(), text).unwrap();
    bridge.process().signal(libc::SIGHUP);
}

fn count(bridge: &Bridge, message: &str) -> usize {
    bridge.log().count(|record| record["msg"] == message)
}

fn route(filter: &str, kafka_topic: &str) -> String {
    format!("\n[[routes]]\nfilter = {filter:?}\nkafka_topic = {kafka_topic:?}\n")
}

/// Configurations take turns that have one route in common: what it takes is neither lost nor doubled nor
/// reordered, and it is subscribed once.
#[test]
fn reloads_under_load_touch_nothing_of_the_routes_that_stay() {
    let story = Story::new("reload");
    let reloads = if long() { 100 } else { 20 };
    let plan = Plan { load: Load { rate: 3_000, ..Load::default() }, ..Plan::default() };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        let base = std::fs::read_to_string(line.bridge.config()).unwrap();
        line.publisher.keep_publishing();
        for number in 1..=reloads {
            let other = [["extra/a/#", "extra/c"], ["extra/b/+", "extra/a/1"]][number % 2];
            let others = other.map(|filter| route(filter, &line.kafka_topic)).concat();
            reload(&mut line.bridge, &format!("{base}{others}"));
            eventually("it is applied", SOON, || {
                count(&line.bridge, "configuration applied") == number
            });
        }
        line.publisher.pause();
        line.settle().assert_exact();
        let subscribed = line
            .bridge
            .log()
            .count(|record| record["msg"] == "subscribed" && record["mqtt_filter"] == "devices/#");
        assert_eq!(subscribed, 1, "MQTT {}", line.version.name());
        let summary = line.bridge.summary();
        assert_eq!((summary.dead_lettered, summary.filtered), (0, 0));
    }
}

/// Filters that all devices match replace one another, alone and in pairs: nothing is lost. Over MQTT 5 nothing
/// comes twice either; over 3.1.1 nothing tells a copy from a message.
#[test]
fn filters_that_replace_one_another_under_load_lose_nothing_and_over_mqtt_5_double_nothing() {
    const FILTERS: [&[&str]; 4] = [&["devices/#"], &["devices/+"], &["+/+"], &["devices/+", "+/3"]];
    let story = Story::new("reload, overlapping filters");
    let reloads = if long() { 100 } else { 12 };
    let plan = Plan { load: Load { rate: 3_000, ..Load::default() }, ..Plan::default() };
    let gone = |bridge: &Bridge| count(bridge, "unsubscribed a filter that no route needs");
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        let text = std::fs::read_to_string(line.bridge.config()).unwrap();
        let (base, _) = text.split_once("[[routes]]").unwrap();
        line.publisher.keep_publishing();
        let mut unsubscribed = 0;
        for number in 1..=reloads {
            let [before, now] = [number - 1, number].map(|at| FILTERS[at % FILTERS.len()]);
            let routes = now.iter().map(|filter| route(filter, &line.kafka_topic));
            reload(&mut line.bridge, &(base.to_owned() + &routes.collect::<String>()));
            unsubscribed += before.iter().filter(|filter| !now.contains(filter)).count();
            eventually("the old ones are gone", SOON, || gone(&line.bridge) >= unsubscribed);
        }
        line.publisher.pause();
        let verdict = line.settle();
        match line.version {
            Version::V311 => verdict.assert_nothing_lost_or_reordered(),
            Version::V5 => verdict.assert_exact(),
        }
        let summary = line.bridge.summary();
        assert_eq!((summary.dead_lettered, summary.filtered), (0, 0));
    }
}

/// The broker is asked for the difference only, and what it still sends for a filter that is gone becomes the
/// record that it would have become.
#[test]
fn a_reload_asks_the_broker_for_the_difference_and_loses_nothing_of_what_is_on_its_way() {
    let story = Story::new("reload, difference");
    for version in Version::BOTH {
        let (broker, kafka, mut bridge) = Bridge::scripted(&story, version, |_| {});
        let mut session = broker.welcome(false);
        let old = std::fs::read_to_string(bridge.config()).unwrap();
        bridge.log().wait_for("it subscribes", SOON, |record| record["msg"] == "subscribed");
        reload(&mut bridge, &format!("{old}{}", route("b/#", "t")));
        let filters = session.grant_subscription();
        assert_eq!(filters.iter().map(|(filter, _)| &**filter).collect::<Vec<_>>(), ["b/#"]);
        session.expect_silence(SILENCE);

        reload(&mut bridge, &old.replace("a/#", "b/#"));
        let unsubscribe = session.expect();
        let Packet::Unsubscribe { pkid } = unsubscribe else { panic!("{unsubscribe:?}") };
        // One before the answer, and one behind it.
        session.send(&Packet::publish(1, "a/1", b"before"));
        session.expect_pubacks([1]);
        let [high, low] = pkid.to_be_bytes();
        session.send_raw(&match version {
            Version::V311 => vec![0xB0, 2, high, low],
            Version::V5 => vec![0xB0, 4, high, low, 0, 0],
        });
        session.send(&Packet::publish(2, "a/1", b"behind"));
        session.expect_pubacks([2]);
        bridge.log().wait_for("it is unsubscribed", SOON, |record| {
            record["msg"] == "unsubscribed a filter that no route needs"
                && record["mqtt_filter"] == "a/#"
        });
        session.expect_silence(SILENCE);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        let values = kafka::records(kafka.bootstrap(), "t").into_iter().map(|record| record.value);
        assert_eq!(values.collect::<Vec<_>>(), [b"before", b"behind"]);
        assert_eq!(bridge.summary().dead_lettered, 0);
    }
}

/// With `reload = "watch"` nobody has to ask: a wrong file keeps the old routes and is a warning until a good
/// one comes.
#[test]
fn a_watched_file_is_applied_when_it_is_good_and_told_when_it_is_wrong() {
    let story = Story::new("reload, watch");
    let http = Http::free();
    let (broker, _kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |bridge| {
        let text = std::fs::read_to_string(bridge.config()).unwrap();
        let text =
            text.replace("\"listen\" = \"off\"", &format!("\"listen\" = {:?}", http.address()));
        std::fs::write(bridge.config(), format!("reload = \"watch\"\n{text}")).unwrap();
    });
    let mut session = broker.welcome(false);
    bridge.log().wait_for("it subscribes", SOON, |record| record["msg"] == "subscribed");
    let warned = |reason: &str| http.get("/readyz").unwrap().body.contains(reason);
    let old = std::fs::read_to_string(bridge.config()).unwrap();
    std::fs::write(bridge.config(), old.replace("a/#", "a/#/b")).unwrap();
    eventually("it is told", SOON, || warned("reload_failed"));
    assert_eq!(count(&bridge, "configuration refused, the old one stays"), 1);
    let good = old.replace("\"client_id\" = \"bridge\"", "\"client_id\" = \"other\"");
    assert_ne!(good, old);
    std::fs::write(bridge.config(), good + &route("b/#", "t")).unwrap();
    let filters = session.grant_subscription();
    assert_eq!(filters.len(), 1);
    eventually("it has healed", SOON, || !warned("reload_failed"));
    assert!(warned("restart_pending") && warned("mqtt.client_id"));
    let metrics = http.metrics();
    assert_eq!(metrics.get("reloads_total{outcome=\"refused\"}"), 1);
    assert_eq!(metrics.get("reloads_total{outcome=\"applied\"}"), 1);
    assert_eq!(metrics.get("warning{reason=\"restart_pending\"}"), 1);
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}
