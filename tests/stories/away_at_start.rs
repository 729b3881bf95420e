//! Both brokers are unreachable when the bridge starts.

use crate::support::mosquitto::Setup;
use crate::support::*;

#[test]
fn the_bridge_waits_for_brokers_that_are_unreachable_at_the_start() {
    let story = Story::new("both away at the start");
    let mut kafka = Kafka::start(story.dir());
    kafka.create("t", 4, &[]);
    let mut mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    kafka.stop();
    mosquitto.stop();
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("devices/#", "t");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    for away in ["cannot connect to mqtt, retrying", "all kafka brokers unreachable"] {
        bridge.log().wait_for(away, SOON, |record| record["msg"] == away);
    }
    mosquitto.run();
    mosquitto.wait_subscribed("bridge", 1);
    let mut sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
    sensor.publish("devices/a", b"early");
    bridge.wait_summary("it waits", SOON, |now| now.in_flight == 1);
    kafka.run();
    bridge.wait_summary("it is delivered", SOON, |now| now.delivered == 1);
    let back = bridge.log().count(|record| record["msg"] == "kafka reachable again");
    assert!((1..=3).contains(&back), "it came back once, and the log says so {back} times");
    let warnings = bridge.log().count(|record| record["level"] == "warn");
    assert!(warnings < 20, "{warnings} warnings exceed the bounded rate");
    assert_eq!(bridge.terminate(), 0);
}
