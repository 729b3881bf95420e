//! Which parts of a message are in its record, and which are not.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::mosquitto::Setup;
use crate::support::*;

/// No payload becomes what a compacted Kafka topic would treat as a deletion, and a consumer
/// cannot tell a retained message from another.
#[test]
fn an_empty_payload_becomes_an_empty_value_not_null_and_retain_leaves_no_trace() {
    let story = Story::new("values");
    let kafka = Kafka::shared();
    kafka.create("values", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut device = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    device.publish_retained("a/b", b"kept");
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("a/#", "values");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    bridge.wait_summary("the retained one is delivered", SOON, |now| now.delivered == 1);
    device.publish("a/b", b"kept");
    device.publish("a/b", b"");
    bridge.wait_summary("all are delivered", SOON, |now| now.delivered == 3);
    assert_eq!(bridge.terminate(), 0);

    let consumer: BaseConsumer =
        kafka::client_config(&kafka.bootstrap()).set("group.id", "values").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("values", 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let values: Vec<_> = (0..3)
        .map(|_| {
            let record = eventually_some("a record", PATIENT, || {
                consumer.poll(std::time::Duration::from_millis(100))?.ok().map(|r| r.detach())
            });
            assert_eq!(record.key(), Some(&b"a/b"[..]));
            assert_eq!(record.headers().map_or(0, Headers::count), 0);
            record.payload().map(<[u8]>::to_vec)
        })
        .collect();
    assert_eq!(values, [Some(b"kept".to_vec()), Some(b"kept".to_vec()), Some(Vec::new())]);
}
