//! `--chaos`: makes an actor panic every few seconds.

use std::time::Duration;

use fastrand::Rng;

/// The time from the start to the first panic, and from each panic to the next.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// Arms a panic in the next place in turn; gives a line that names it.
///
/// Only places where a panic ends a whole actor or thread: a panic while one message is routed or mapped
/// sends that message to the dead letter, which the demo would count as lost.
#[cfg(feature = "failpoints")]
pub(super) fn strike(turn: usize, rng: &mut Rng) -> Option<String> {
    use mqtt_kafka_bridge::failpoint::{Site, arm_once};

    const SITES: [(Site, &str); 5] = [
        (Site::MqttRead, "MqttActor, while it reads"),
        (Site::KafkaReports, "KafkaProducerActor, on delivery reports"),
        (Site::MqttVerdicts, "MqttActor, while verdicts wait"),
        (Site::KafkaBatch, "KafkaProducerActor, before it produces"),
        (Site::KafkaPoll, "the delivery poll thread"),
    ];
    let (site, place) = SITES[turn % SITES.len()];
    arm_once(site, rng.u32(1..=5));
    Some(format!("  chaos: a panic in {place}"))
}

/// This build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub(super) fn strike(_turn: usize, _rng: &mut Rng) -> Option<String> {
    None
}
