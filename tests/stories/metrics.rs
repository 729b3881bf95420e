//! `/metrics` is truthful: every scrape balances, whatever happens meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::http::Samples;
use crate::support::line::Plan;
use crate::support::*;

/// Scrapes until told to stop; checks each scrape by itself and against the one before.
fn scrape(http: &Http, stop: &AtomicBool) -> (u64, Samples) {
    let (mut count, mut last) = (0, Samples::default());
    while !stop.load(Ordering::Relaxed) {
        let now = http.metrics();
        now.assert_balances();
        for (name, value) in last.counters() {
            let grown = now.value(name).is_some_and(|now| now >= value);
            assert!(grown, "{name}: {value}, then {:?}", now.value(name));
        }
        (count, last) = (count + 1, now);
    }
    (count, last)
}

#[test]
fn every_scrape_balances_while_everything_fails_under_load() {
    let story = Story::new("every scrape balances");
    let mut kafka = Kafka::start(story.dir());
    let mut lines = Version::BOTH.map(|version| {
        let http = Http::free();
        let plan = Plan {
            config: vec![("http", "listen", http.address().into())],
            failpoints: "mqtt_read=50,kafka_reports=100,route=1000".to_owned(),
            ..Plan::default()
        };
        (Line::start(&story, &kafka, version, &plan), http)
    });
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let scrapers: Vec<_> = lines
            .iter()
            .map(|(_, http)| http.clone())
            .map(|http| {
                scope.spawn({
                    let stop = &stop;
                    move || scrape(&http, stop)
                })
            })
            .collect();
        let stopped = Stopped(&stop);
        for (line, _) in &lines {
            line.publisher.keep_publishing();
            line.wait_delivered(3_000);
            line.proxy.cut();
        }
        kafka.kill();
        for (line, _) in &lines {
            line.bridge.wait_window_full();
        }
        kafka.run();
        for (line, http) in &lines {
            line.wait_delivered(line.reader.distinct() + 3_000);
            line.publisher.pause();
            line.publisher.wait_done(PATIENT);
            eventually("nothing is in flight", SOON, || http.metrics().sum("in_flight") == 0);
        }
        drop(stopped);
        for scraper in scrapers {
            let (count, _) = scraper.join().unwrap();
            tell(&format!("{}: {count} scrapes", story.name));
            assert!(count > 20, "{count} scrapes");
        }
    });
    for (line, http) in &mut lines {
        let seen = http.metrics();
        let received = seen.sum("received_total");
        let summary = line.bridge.wait_summary("the summary says the same", SOON, |now| {
            (now.received, now.in_flight) == (received, 0)
        });
        for (name, value) in [
            ("received_total", summary.received),
            ("redelivered_total", summary.redelivered),
            ("delivered_total", summary.delivered),
            ("dead_lettered_total", summary.dead_lettered),
        ] {
            assert_eq!(seen.sum(name), value, "{name}");
        }
        assert_eq!(seen.get("restarts_total{actor=\"mqtt\",reason=\"panic\"}"), 1);
        assert_eq!(seen.get("restarts_total{actor=\"kafka\",reason=\"panic\"}"), 1);
        assert_eq!(seen.sum("dead_lettered_total"), 1);
        let count = |stage: &str| {
            let labels = format!(
                "stage=\"{stage}\",route=\"devices/#\",mqtt_filter=\"devices/#\",connection=\"mqtt\""
            );
            seen.get(&format!("stage_seconds_count{{{labels}}}"))
        };
        // After KafkaProducerActor's panic a delivery may be reported again, and is then measured again.
        assert!(count("produced") >= seen.sum("delivered_total"));
        assert_eq!(count("produced"), count("delivered"));
        assert_eq!(count("delivered"), seen.sum("records_delivered_total"));
        // A message that Kafka acknowledged while its MQTT connection was lost gets no PUBACK.
        let acknowledged = count("acknowledged");
        assert!((1..=count("delivered")).contains(&acknowledged), "{acknowledged}");
        line.settle().assert_nothing_lost_or_reordered();
    }
}

/// Stops the scrapers, also if the story fails.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
