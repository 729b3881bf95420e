//! `/status.json` tells of an outage while it lasts, and of what became of it.

use serde_json::Value;

use crate::support::line::Plan;
use crate::support::*;

fn status(http: &Http) -> Value {
    let answer = eventually_some("an answer", SOON, || http.get("/status.json").ok());
    assert!(answer.status == 200 && answer.head.contains("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

#[track_caller]
fn wait_status(http: &Http, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually_some(what, PATIENT, || Some(status(http)).filter(|now| holds(now)))
}

fn reason<'a>(now: &'a Value, code: &str) -> Option<&'a Value> {
    now["reasons"].as_array().unwrap().iter().find(|it| it["reason"] == code)
}

fn assert_balances(now: &Value) {
    let connections = now["connections"].as_array().unwrap().iter().map(|it| &it["identity"]);
    for identity in connections.chain([&now["identity"]]) {
        let term = |name: &str| identity[name].as_u64().unwrap();
        let ends = ["delivered", "dead_lettered", "filtered", "shed", "in_flight"];
        assert_eq!(term("received"), ends.map(term).iter().sum::<u64>(), "{identity}");
    }
}

#[test]
fn the_status_tells_of_an_outage_while_it_lasts_and_behind_it() {
    let story = Story::new("status in an outage");
    let mut kafka = Kafka::start(story.dir());
    let http = Http::free();
    let plan = Plan { config: vec![("http", "listen", http.address().into())], ..Plan::default() };
    let mut line = Line::start(&story, &kafka, Version::V5, &plan);
    http.wait_ready(PATIENT);
    line.publisher.keep_publishing();
    line.wait_delivered(1_000);
    let now = wait_status(&http, "rates and what librdkafka counts", |now| {
        now["rates"]["settled_per_s"].as_f64() > Some(0.0)
            && now["kafka"]["queue_messages"].is_u64()
            && now["kafka"]["brokers"][0]["round_trip_p99_us"].is_u64()
    });
    assert_balances(&now);
    assert_eq!(now["ready"], true, "{now}");
    let stages =
        now["latencies"].as_array().unwrap().iter().map(|it| it["stage"].as_str().unwrap());
    let stages: Vec<_> = stages.take(4).collect();
    assert_eq!(stages, ["routed", "produced", "delivered", "acknowledged"]);
    assert!(now["slowest"][0]["total_us"].as_u64() >= now["slowest"][1]["total_us"].as_u64());
    assert_eq!(now["connections"][0]["session"]["mqtt_protocol"], "5");
    assert_eq!(now["connections"][0]["subscriptions"][0]["state"], "granted");

    line.proxy.cut();
    kafka.kill();
    let now = wait_status(&http, "Kafka is away", |now| reason(now, "kafka_unreachable").is_some());
    assert_balances(&now);
    assert_eq!((&now["ready"], &now["kafka"]["state"]), (&false.into(), &"unreachable".into()));
    let told = reason(&now, "kafka_unreachable").unwrap();
    assert_eq!(told["document"], "docs/operations.md#messages-stop-arriving", "{told}");
    assert!(told["what_to_do"].as_str().unwrap().starts_with("Check the cluster"), "{told}");
    let of_window = |now: &Value| {
        let window = &now["connections"][0]["window"];
        (window["messages"].as_u64(), window["messages_max"].as_u64())
    };
    wait_status(&http, "the window is full", |now| of_window(now).0 == of_window(now).1);

    kafka.run();
    line.wait_delivered(line.reader.distinct() + 1_000);
    line.publisher.pause();
    line.publisher.wait_done(PATIENT);
    let now = wait_status(&http, "it is over", |now| {
        now["ready"] == true && now["identity"]["in_flight"] == 0
    });
    assert_balances(&now);
    assert_eq!(now["reasons"].as_array().unwrap().len(), 0);
    let connection = &now["connections"][0];
    assert!(connection["last_loss"]["at"].is_string(), "{connection}");
    let recent = now["log"]["recent"].as_array().unwrap();
    let event = |it: &&Value| it["fields"]["event"] == "mqtt_connection_lost";
    let lost = recent.iter().find(event).expect("the log told of it");
    assert_eq!(lost["document"], "docs/operations.md#messages-stop-arriving", "{lost}");
    let counted = http.metrics();
    assert_eq!(counted.sum("delivered_total"), now["identity"]["delivered"].as_u64().unwrap());
    let bytes = connection["received_bytes"].as_u64().unwrap();
    assert_eq!(counted.sum("received_bytes_total"), bytes);
    assert!(bytes > 0 && connection["delivered_bytes"].as_u64() >= Some(bytes), "{connection}");
    line.settle().assert_nothing_lost_or_reordered();
}
