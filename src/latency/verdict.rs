//! What the numbers mean, in sentences. Pure.

use mqtt_kafka_bridge::visible::Quoted;

use super::hop::{Hop, Part};
use super::moment;
use super::spread::{Percentiles, Spread};
use super::tally::Tally;
use super::words::{count, percent, plural, time};

/// A route or a time is told to be slow if its p99 is so many times that of all.
const STANDS_OUT: u64 = 2;
/// A bin or a route of fewer records is told nothing of.
const RECORDS_MIN: u64 = 100;

/// All that is worth saying, the most important first.
pub(super) fn of(tally: &Tally<'_>) -> Vec<String> {
    let percentiles = |hop: Hop| tally.hops[hop as usize].as_ref().and_then(Spread::percentiles);
    let Some(total) = percentiles(Hop::Total) else {
        return vec!["There is no timing record to look at.".to_owned()];
    };
    let mut told = vec![slow_part(tally, &total)];
    told.extend(slow_route(tally, &total));
    told.extend(slow_time(tally, &total));
    told.extend(pubacks(tally, percentiles(Hop::Acknowledged)));
    let (ahead, most_us) = tally.device_ahead;
    if ahead > 0 {
        told.push(format!(
            "{}: the device's clock was ahead, by {} at most; the hop device counts them as 0.",
            plural(ahead, "record", "records"),
            time(most_us)
        ));
    }
    told
}

/// How long, and with what.
fn slow_part(tally: &Tally<'_>, total: &Percentiles) -> String {
    let (name, us, from_us) = match total.count >= RECORDS_MIN {
        true => ("p99", total.p99_us, total.p99_us),
        false => ("the longest", total.max_us, 0),
    };
    let makeup = tally.makeups.between(from_us, None);
    let mut parts = Part::OF_TOTAL;
    parts.sort_by(|one, other| makeup.share(*other).total_cmp(&makeup.share(*one)));
    let [most, second, _] = parts;
    let begin =
        format!("From receipt to delivery, {name} is {} and p50 {}", time(us), time(total.p50_us));
    let of = if from_us > 0 { "Of the slowest 1 %" } else { "Of all together" };
    let and = match makeup.share(second) {
        share if share >= 0.05 => format!(", {} {}", percent(share), second.words()),
        _ => String::new(),
    };
    format!(
        "{begin}. {of}, {} is {}{and}. If that is too long, look at: {}.",
        percent(makeup.share(most)),
        most.words(),
        most.advice()
    )
}

/// A route that is far slower than all together.
fn slow_route(tally: &Tally<'_>, total: &Percentiles) -> Option<String> {
    let routes = tally.series.iter().filter_map(|series| {
        let found = series.hops[Hop::Total as usize].as_ref()?.percentiles()?;
        (found.count >= RECORDS_MIN).then_some((series, found))
    });
    let (series, found) = routes.max_by_key(|(_, found)| found.p99_us)?;
    let is_slow = tally.series.len() > 1 && found.p99_us / STANDS_OUT >= total.p99_us.max(1);
    let on = match series.connection.is_empty() {
        true => String::new(),
        false => format!(" on connection {}", Quoted(&series.connection)),
    };
    is_slow.then(|| {
        format!(
            "Route {}{on} is the slowest: p99 {} of {} records.",
            Quoted(&series.route),
            time(found.p99_us),
            count(found.count)
        )
    })
}

/// A time that is far slower than all together.
fn slow_time(tally: &Tally<'_>, total: &Percentiles) -> Option<String> {
    let timeline = &tally.timeline;
    let bins = timeline.bins().filter(|(_, bin)| bin.total.count() >= RECORDS_MIN);
    let bins = bins.map(|(begin, bin)| (begin, bin.total.at(0.99)));
    let (begin, us) = bins.max_by_key(|(_, us)| *us)?;
    (us / STANDS_OUT >= total.p99_us.max(1)).then(|| {
        let width = u64::try_from(timeline.width_us()).unwrap_or(0);
        format!("The slowest {} begin at {}: p99 {}.", time(width), moment::shown(begin), time(us))
    })
}

fn pubacks(tally: &Tally<'_>, found: Option<Percentiles>) -> Option<String> {
    let none = &tally.no_ack;
    let reasons = [
        (none.qos0, "at QoS 0"),
        (none.connection_lost, "since the connection was lost before"),
        (none.not_yet, "not yet, since an older message had no verdict"),
        (none.unsaid, "that the log does not tell"),
    ];
    let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<_> = reasons.map(|(number, why)| format!("{} {why}", count(number))).collect();
    let without = match reasons.is_empty() {
        true => String::new(),
        false => format!(" Without a PUBACK: {}.", reasons.join(", ")),
    };
    match found {
        Some(found) => Some(format!(
            "The PUBACK follows the delivery after {} (p99; p50 {}).{without}",
            time(found.p99_us),
            time(found.p50_us)
        )),
        None => (!without.is_empty()).then(|| without.trim_start().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Line, Text, Timing};
    use super::super::tally::Choice;
    use super::*;

    fn add(tally: &mut Tally<'_>, timing: Timing<'_>) {
        tally.add(0, 1, Ok(Line::Timing(timing)));
    }

    fn timing(queue_us: u64, kafka_us: u64) -> Timing<'static> {
        let total_us = queue_us + kafka_us;
        Timing { queue_us, kafka_us, total_us, routed_us: Some(10), ..Timing::default() }
    }

    #[test]
    fn the_part_that_makes_slow_records_slow_is_named_with_what_to_look_at() {
        let choice = Choice::default();
        let mut tally = Tally::new(&choice);
        for nth in 0..1000 {
            // Most of the time of most records is waiting; that of the slowest is Kafka.
            let slow = Timing { ack_us: Some(80), ..timing(1_350, 6_150) };
            let fast = Timing { ack_us: Some(40), ..timing(900, 100) };
            add(&mut tally, if nth % 50 == 0 { slow } else { fast });
        }
        let told = of(&tally);
        let expected = [
            "From receipt to delivery, p99 is 7.50 ms and p50 1.00 ms. Of the slowest 1 %, 82 % is Kafka's \
             acknowledgement, 18 % waiting for librdkafka. If that is too long, look at: linger.ms, the network, \
             replication (acks=all), Kafka's disk.",
            "The PUBACK follows the delivery after 80 µs (p99; p50 40 µs).",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_route_and_a_time_that_stand_out_are_named_and_so_are_pubacks_that_are_missing() {
        let choice = Choice::default();
        let mut tally = Tally::new(&choice);
        for nth in 0..20_000 {
            let received_us = 1_767_323_045_000_000 + nth * 1_000;
            let route = Text::of_plain("fast");
            add(&mut tally, Timing { received_us, route, ack_us: Some(1), ..timing(100, 900) });
        }
        for nth in 0..150 {
            let received_us = 1_767_323_055_000_000 + nth * 100;
            let (route, connection) = (Text::of_plain("slow\u{202e}"), Text::of_plain("east"));
            let ack_reason = Text::of_plain("connection_lost");
            let device_us = Some(-3_000_000);
            let slow = timing(50_000, 900);
            add(
                &mut tally,
                Timing { received_us, route, connection, ack_reason, device_us, ..slow },
            );
        }
        let told = of(&tally);
        assert_eq!(
            told[1..],
            [
                "Route \"slow\\u{202e}\" on connection \"east\" is the slowest: p99 50.9 ms of 150 records.",
                "The slowest 100 ms begin at 2026-01-02T03:04:15.000Z: p99 50.9 ms.",
                "The PUBACK follows the delivery after 1 µs (p99; p50 1 µs). Without a PUBACK: 150 since the connection \
                 was lost before.",
                "150 records: the device's clock was ahead, by 3.00 s at most; the hop device counts them as 0.",
            ]
        );
    }

    #[test]
    fn few_records_are_told_by_their_longest_and_none_as_none() {
        let choice = Choice::default();
        let mut tally = Tally::new(&choice);
        assert_eq!(of(&tally), ["There is no timing record to look at."]);
        add(&mut tally, timing(1_000, 1_000));
        let told = of(&tally);
        assert!(
            told[0].starts_with("From receipt to delivery, the longest is 2.00 ms and p50"),
            "{told:?}"
        );
        assert_eq!(told[1], "Without a PUBACK: 1 that the log does not tell.");
    }
}
