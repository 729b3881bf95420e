//! Writes the timing records of one connection, once their PUBACKs are written or will not be
//! (docs/decisions/0031-timing-records-behind-the-puback.md).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::{Destination, Record, RouteId, Stamp};
use crate::mqtt::held_timings::Timed;
use crate::mqtt::window::Window;
use crate::observe::slowest::shown_mqtt_topic;
use crate::observe::{AckTime, Metrics, Slow, TimingRecord, TimingSink, since_device};
use crate::stage::SourceId;

/// For so long a timing record waits for its PUBACK while an older message has no verdict.
pub(super) const ACK_AWAITED: Duration = Duration::from_secs(10);
/// So many names of routes are remembered, each in the place of its number; the last that needs a place has it.
const NAMES: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Timings {
    source: SourceId,
    sink: TimingSink,
    metrics: Arc<Metrics>,
    names: Names,
}

/// What the routes are called whose records came last: a number never means another name.
#[derive(Debug)]
struct Names(Box<[Option<Name>]>);

#[derive(Debug, Clone)]
struct Name {
    route: RouteId,
    name: Arc<str>,
}

impl Names {
    #[inline]
    fn of(&mut self, route: RouteId, metrics: &Metrics) -> &Arc<str> {
        let known = &mut self.0[route.0 % NAMES];
        if known.as_ref().is_some_and(|known| known.route != route) {
            *known = None;
        }
        let look_up = || Name { route, name: metrics.route_names().name(route) };
        &known.get_or_insert_with(look_up).name
    }
}

impl Timings {
    /// For the connection `source`.
    pub fn new(source: SourceId, sink: TimingSink, metrics: Arc<Metrics>) -> Self {
        Self { source, sink, metrics, names: Names(vec![None; NAMES].into()) }
    }

    /// Writes what is due in the window; the PUBACKs that it has released are written at `acked_at`.
    #[inline]
    pub fn write_due(&mut self, window: &mut Window, acked_at: Instant) {
        if window.any_timed() {
            self.write(window, acked_at);
        }
    }

    fn write(&mut self, window: &mut Window, acked_at: Instant) {
        let mut batch = self.sink.batch();
        // Those of one batch were mostly delivered together.
        let mut last: Option<(Instant, u64)> = None;
        let due = window.take_timed();
        for timed in due.as_slice() {
            let Timed { message, placed, routed_us, no_ack } = timed;
            let index = usize::from(placed.id.index);
            let Some(Destination::Record(record)) = message.destinations.as_slice().get(index)
            else {
                continue; // Only records are delivered.
            };
            let delivered_at = placed.delivered_at.instant;
            let ack = match no_ack {
                Some(reason) => AckTime::None(*reason),
                None => match last {
                    Some((at, us)) if at == delivered_at => AckTime::After(us),
                    _ => {
                        let us =
                            Stamp { instant: acked_at, wall_us: 0 }.us_since(&placed.delivered_at);
                        last = Some((delivered_at, us));
                        AckTime::After(us)
                    }
                },
            };
            let name = self.names.of(record.route, &self.metrics);
            let device_us = record.device_us.map(|at| since_device(at, &placed.delivered_at));
            if placed.is_logged {
                batch.record(&TimingRecord {
                    connection: self.metrics.distinct_name(self.source).map(|name| &**name),
                    mqtt_topic: &message.mqtt_topic,
                    mqtt_qos: message.qos.level(),
                    route: name,
                    kafka_topic: &record.kafka_topic,
                    kafka_partition: placed.kafka_partition,
                    kafka_offset: placed.kafka_offset,
                    payload_bytes: message.payload.len(),
                    received_at: message.received_at,
                    produced_at: placed.produced_at,
                    delivered_at: placed.delivered_at,
                    routed_us: *routed_us,
                    ack,
                    device_us,
                });
            }
            let slowest = self.metrics.slowest();
            // Since Kafka's stage has asked, slower ones may have come.
            if placed.is_slow && total_us(timed) >= slowest.threshold_us(delivered_at) {
                let hops = (ack, device_us);
                slowest.offer(slow(timed, record, (name, self.source), hops, &self.metrics));
            }
        }
    }
}

/// Microseconds from receipt to the delivery report.
fn total_us(Timed { message, placed, .. }: &Timed) -> u64 {
    placed.delivered_at.us_since(&message.received_at)
}

#[cold]
fn slow(
    timed: &Timed,
    record: &Record,
    (route, source): (&Arc<str>, SourceId),
    (ack, device_us): (AckTime, Option<i64>),
    metrics: &Metrics,
) -> Slow {
    let Timed { message, placed, routed_us, .. } = timed;
    Slow {
        total_us: total_us(timed),
        mqtt_topic: shown_mqtt_topic(&message.mqtt_topic),
        connection: Arc::clone(metrics.connection(source).name()),
        route: Arc::clone(route),
        kafka_topic: Arc::clone(&record.kafka_topic),
        kafka_partition: placed.kafka_partition,
        kafka_offset: placed.kafka_offset,
        received_us: message.received_at.wall_us,
        device_us,
        routed_us: *routed_us,
        queue_us: placed.produced_at.us_since(&message.received_at),
        kafka_us: placed.delivered_at.us_since(&placed.produced_at),
        ack,
    }
}
