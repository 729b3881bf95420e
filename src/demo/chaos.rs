//! `--chaos`: panics an actor now and then.

use std::time::Duration;

use fastrand::Rng;

/// The first panic comes this long after the start, the next ones in the same interval.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// Picks the next victim in turn and arms its panic; says which.
///
/// Only places whose panic takes a whole actor or thread along: a panic while one message is routed
/// or mapped dead-letters that message, and would be a loss here.
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
