//! What is counted of many timing records, in bounded memory. Pure; the tallies of several threads are merged.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::hop::{Hop, Makeups};
use super::record::{Damage, Line, Timing};
use super::spread::Spread;
use super::timeline::Timeline;

/// So many pairs of connection and route are told apart, the same by all threads; those that come later count as one more. By six
/// histograms of at most 35 kB each they take 10.5 MB a thread.
pub(super) const SERIES_MAX: usize = 50;
/// How much of a name is kept, in bytes.
const NAME_MAX: usize = 256;
/// How much of an MQTT topic is kept, in bytes.
const MQTT_TOPIC_MAX: usize = 1024;

/// Which records are looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Received at or behind this moment, in microseconds since the Unix epoch.
    pub(super) from_us: Option<i64>,
    /// Received before this moment.
    pub(super) to_us: Option<i64>,
    /// Of these routes; of all, if there is none.
    pub(super) routes: Vec<String>,
    /// Of these connections; of all, if there is none.
    pub(super) connections: Vec<String>,
    /// So many of the slowest are kept.
    pub(super) slowest: usize,
}

impl Choice {
    #[inline]
    fn has(&self, timing: &Timing<'_>) -> bool {
        self.from_us.is_none_or(|from| from <= timing.received_us)
            && self.to_us.is_none_or(|to| timing.received_us < to)
            && (self.routes.is_empty() || self.routes.iter().any(|name| timing.route.is(name)))
            && (self.connections.is_empty()
                || self.connections.iter().any(|name| timing.connection.is(name)))
    }

    /// Whether these names are chosen.
    pub(super) fn names(&self, route: &str, connection: &str) -> bool {
        let is_one = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        };
        is_one(&self.routes, route) && is_one(&self.connections, connection)
    }
}

/// Which pairs have a series: one list for all threads, so that each has all records of a pair or none.
#[derive(Debug, Default)]
struct Pairs(Mutex<Vec<Pair>>);

/// The raw texts of a route and a connection.
type Pair = (Box<[u8]>, Box<[u8]>);

impl Pairs {
    /// Whether this pair is on the list; it comes onto it if there is room. If there is none, all that are on it, for good.
    fn has(&self, route: &[u8], connection: &[u8]) -> Result<(), Vec<Pair>> {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_on = pairs.iter().any(|(r, c)| (&**r, &**c) == (route, connection));
        if is_on {
            return Ok(());
        }
        if pairs.len() >= SERIES_MAX {
            return Err(pairs.clone());
        }
        pairs.push((route.into(), connection.into()));
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    choice: &'a Choice,
    pairs: Arc<Pairs>,
    /// The list, once it is full.
    full: Option<Vec<Pair>>,
    /// By [`Hop`], to three digits.
    pub(super) hops: Hops,
    /// In the order in which they came; at most [`SERIES_MAX`].
    pub(super) series: Vec<Series>,
    /// Of those that came later.
    pub(super) others: Hops,
    /// By the raw text of the route.
    places: HashMap<Box<[u8]>, Vec<Place>, foldhash::fast::RandomState>,
    /// What the total is made up of.
    pub(super) makeups: Makeups,
    /// Over the time of receipt.
    pub(super) timeline: Timeline,
    /// The slowest first.
    pub(super) slowest: Vec<Slow>,
    /// Receipt of the first and of the last one, in microseconds since the Unix epoch.
    pub(super) received_us: Option<(i64, i64)>,
    /// Records without `ack_us`, by the reason that they give.
    pub(super) no_ack: NoAcks,
    /// Of how many records the device's clock was ahead, and by how many microseconds at most.
    pub(super) device_ahead: (u64, u64),
    /// How the lines were.
    pub(super) lines: Lines,
}

/// The raw text of a connection, and which series it is.
type Place = (Box<[u8]>, usize);

/// By [`Hop`]; nothing where no record has passed it.
pub(super) type Hops = [Option<Spread<u64>>; Hop::ALL.len()];

/// The latencies of one route on one connection, by [`Hop`], to two digits.
#[derive(Debug)]
pub(super) struct Series {
    /// Empty if records name none.
    pub(super) connection: String,
    /// Empty if records name none.
    pub(super) route: String,
    pub(super) hops: Hops,
}

/// A record that was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slow {
    pub(super) total_us: u64,
    pub(super) mqtt_topic: String,
    pub(super) connection: String,
    pub(super) route: String,
    pub(super) received_us: i64,
    pub(super) routed_us: Option<u64>,
    pub(super) queue_us: u64,
    pub(super) kafka_us: u64,
    pub(super) ack_us: Option<u64>,
    pub(super) ack_reason: String,
    pub(super) device_us: Option<i64>,
}

/// Records without a PUBACK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct NoAcks {
    pub(super) qos0: u64,
    pub(super) connection_lost: u64,
    pub(super) not_yet: u64,
    /// Older records do not say.
    pub(super) unsaid: u64,
}

/// How many lines were what.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    /// Timing records that were chosen.
    pub(super) chosen: u64,
    /// Timing records that were not.
    pub(super) left_out: u64,
    /// Other lines of the log.
    pub(super) other: u64,
    /// Lines that cannot be read.
    pub(super) damaged: u64,
    /// Which of them came first, of those that this thread saw: file, line, what was wrong.
    pub(super) first_damage: Option<(usize, u64, Damage)>,
    /// Ends of files without a line feed, which are no whole line: they are being written.
    pub(super) unfinished: u64,
}

impl<'a> Tally<'a> {
    pub(super) fn new(choice: &'a Choice) -> Self {
        Self::of(choice, Arc::default())
    }

    /// Another one, for a thread of its own, that is merged with this one later.
    pub(super) fn beside(&self) -> Self {
        Self::of(self.choice, Arc::clone(&self.pairs))
    }

    fn of(choice: &'a Choice, pairs: Arc<Pairs>) -> Self {
        Self {
            choice,
            pairs,
            full: None,
            hops: Default::default(),
            series: Vec::new(),
            others: Hops::default(),
            places: HashMap::default(),
            makeups: Makeups::new(),
            timeline: Timeline::new(),
            slowest: Vec::new(),
            received_us: None,
            no_ack: NoAcks::default(),
            device_ahead: (0, 0),
            lines: Lines::default(),
        }
    }

    /// Counts a line.
    #[inline]
    pub(super) fn add(&mut self, file: usize, number: u64, line: Result<Line<'_>, Damage>) {
        match line {
            Ok(Line::Timing(timing)) if self.choice.has(&timing) => {
                self.lines.chosen += 1;
                self.count(&timing);
            }
            Ok(Line::Timing(_)) => self.lines.left_out += 1,
            Ok(Line::Other) => self.lines.other += 1,
            Err(damage) => self.lines.damage(file, number, damage),
        }
    }

    #[inline]
    fn count(&mut self, timing: &Timing<'_>) {
        let series = match self.place(timing) {
            Some(place) => &mut self.series[place].hops,
            None => &mut self.others,
        };
        for (hop, (all, mine)) in Hop::ALL.into_iter().zip(self.hops.iter_mut().zip(series)) {
            if let Some(us) = hop.of(timing) {
                all.get_or_insert_with(|| Spread::new(3)).record(us);
                mine.get_or_insert_with(|| Spread::new(2)).record(us);
            }
        }
        self.makeups.add(timing);
        self.timeline.add(timing);
        let (first, last) =
            self.received_us.get_or_insert((timing.received_us, timing.received_us));
        (*first, *last) = ((*first).min(timing.received_us), (*last).max(timing.received_us));
        if timing.ack_us.is_none() {
            *match timing.ack_reason.raw {
                b"qos0" => &mut self.no_ack.qos0,
                b"connection_lost" => &mut self.no_ack.connection_lost,
                b"not_yet" => &mut self.no_ack.not_yet,
                _ => &mut self.no_ack.unsaid,
            } += 1;
        }
        if let Some(us @ ..0) = timing.device_us {
            let (count, most) = &mut self.device_ahead;
            (*count, *most) = (*count + 1, (*most).max(us.unsigned_abs()));
        }
        self.offer(timing.total_us, timing.received_us, || Slow::new(timing));
    }

    /// Keeps it if it is among the slowest; of equally slow ones the first.
    fn offer(&mut self, total_us: u64, received_us: i64, slow: impl FnOnce() -> Slow) {
        let most = self.choice.slowest;
        let key = |slow: &Slow| (Reverse(slow.total_us), slow.received_us);
        let new = (Reverse(total_us), received_us);
        if self.slowest.len() >= most && self.slowest.last().is_none_or(|last| key(last) <= new) {
            return;
        }
        self.slowest.insert(self.slowest.partition_point(|other| key(other) <= new), slow());
        self.slowest.truncate(most);
    }

    /// Which series the record belongs to; none if it is of the others.
    #[inline]
    fn place(&mut self, timing: &Timing<'_>) -> Option<usize> {
        let [route, connection] = [timing.route, timing.connection].map(|text| shortened(text.raw));
        if let Some(of_route) = self.places.get(route)
            && let Some((_, place)) = of_route.iter().find(|(known, _)| **known == *connection)
        {
            return Some(*place);
        }
        let is_on = match &self.full {
            Some(full) => full.iter().any(|(r, c)| (&**r, &**c) == (route, connection)),
            None => match self.pairs.has(route, connection) {
                Ok(()) => true,
                Err(full) => {
                    self.full = Some(full);
                    false
                }
            },
        };
        if !is_on {
            return None;
        }
        let place = self.series.len();
        let names = [timing.route, timing.connection].map(|text| cut(&text.plain(), NAME_MAX));
        let [route_name, connection_name] = names;
        let hops = Hops::default();
        self.series.push(Series { connection: connection_name, route: route_name, hops });
        self.places.entry(route.into()).or_default().push((connection.into(), place));
        Some(place)
    }

    /// Takes in what another thread has counted with one that was made [`Tally::beside`] this one.
    pub(super) fn merge(&mut self, other: Self) {
        merge_hops(&mut self.hops, other.hops);
        merge_hops(&mut self.others, other.others);
        for series in other.series {
            let is_same =
                |it: &Series| it.route == series.route && it.connection == series.connection;
            match self.series.iter().position(is_same) {
                Some(place) => merge_hops(&mut self.series[place].hops, series.hops),
                None => self.series.push(series),
            }
        }
        self.makeups.merge(&other.makeups);
        self.timeline.merge(other.timeline);
        for slow in other.slowest {
            self.offer(slow.total_us, slow.received_us, || slow);
        }
        self.received_us = match (self.received_us, other.received_us) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (mine, other) => mine.or(other),
        };
        self.no_ack.qos0 += other.no_ack.qos0;
        self.no_ack.connection_lost += other.no_ack.connection_lost;
        self.no_ack.not_yet += other.no_ack.not_yet;
        self.no_ack.unsaid += other.no_ack.unsaid;
        let (count, most) = other.device_ahead;
        self.device_ahead = (self.device_ahead.0 + count, self.device_ahead.1.max(most));
        self.lines.merge(other.lines);
    }
}

impl Lines {
    /// Counts a damaged line.
    #[cold]
    pub(super) fn damage(&mut self, file: usize, number: u64, damage: Damage) {
        self.damaged += 1;
        let is_earlier = |(known_file, known_number, _): &(usize, u64, Damage)| {
            (file, number) < (*known_file, *known_number)
        };
        if self.first_damage.as_ref().is_none_or(is_earlier) {
            self.first_damage = Some((file, number, damage));
        }
    }

    /// Takes in what another thread has counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.chosen += other.chosen;
        self.left_out += other.left_out;
        self.other += other.other;
        self.unfinished += other.unfinished;
        let damaged = self.damaged + other.damaged;
        if let Some((file, number, damage)) = other.first_damage {
            self.damage(file, number, damage);
        }
        self.damaged = damaged;
    }
}

impl Slow {
    fn new(timing: &Timing<'_>) -> Self {
        Self {
            total_us: timing.total_us,
            mqtt_topic: cut(&timing.mqtt_topic.plain(), MQTT_TOPIC_MAX),
            connection: cut(&timing.connection.plain(), NAME_MAX),
            route: cut(&timing.route.plain(), NAME_MAX),
            received_us: timing.received_us,
            routed_us: timing.routed_us,
            queue_us: timing.queue_us,
            kafka_us: timing.kafka_us,
            ack_us: timing.ack_us,
            ack_reason: cut(&timing.ack_reason.plain(), NAME_MAX),
            device_us: timing.device_us,
        }
    }
}

fn merge_hops(mine: &mut Hops, other: Hops) {
    for (mine, other) in mine.iter_mut().zip(other) {
        match (&mut *mine, other) {
            (Some(mine), Some(other)) => mine.merge(&other),
            (None, other) => *mine = other,
            (Some(_), None) => {}
        }
    }
}

/// What a name is told apart by.
fn shortened(raw: &[u8]) -> &[u8] {
    &raw[..raw.len().min(NAME_MAX)]
}

/// The beginning of at most `most` bytes.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::record::Text;
    use super::*;

    fn timing<'a>(route: &'a str, total_us: u64, received_us: i64) -> Timing<'a> {
        let text = |raw: &'a str| Text::of_plain(raw);
        Timing {
            route: text(route),
            total_us,
            received_us,
            kafka_us: total_us,
            ..Timing::default()
        }
    }

    fn add(tally: &mut Tally<'_>, timing: Timing<'_>) {
        tally.add(0, 1, Ok(Line::Timing(timing)));
    }

    #[test]
    fn the_slowest_are_kept_whichever_thread_saw_them() {
        let choice = Choice { slowest: 3, ..Choice::default() };
        let mut one = Tally::new(&choice);
        let mut other = one.beside();
        for us in [5, 9, 1] {
            add(&mut one, timing("a", us, 0));
        }
        for us in [7, 9, 2, 8] {
            add(&mut other, timing("b", us, -1));
        }
        one.merge(other);
        let kept: Vec<_> = one.slowest.iter().map(|slow| (slow.total_us, &*slow.route)).collect();
        assert_eq!(kept, [(9, "b"), (9, "a"), (8, "b")]);
        let none = Choice::default();
        let mut tally = Tally::new(&none);
        add(&mut tally, timing("a", 1, 0));
        assert!(tally.slowest.is_empty());
    }

    #[test]
    fn however_many_routes_a_log_names_their_number_and_their_names_are_bounded() {
        let choice = Choice { slowest: 5, ..Choice::default() };
        let mut one = Tally::new(&choice);
        let mut other = one.beside();
        let long = "x".repeat(100_000);
        for nth in 0..1000 {
            add(&mut one, timing(&format!("one-{nth}"), nth, 0));
            add(&mut other, timing(&format!("other-{nth}"), nth, 0));
        }
        add(&mut other, timing(&long, 5_000, 0));
        one.merge(other);
        assert_eq!(one.series.len(), SERIES_MAX);
        let count = |hops: &Hops| hops[Hop::Total as usize].as_ref().map_or(0, Spread::count);
        let of_series: u64 = one.series.iter().map(|series| count(&series.hops)).sum();
        assert_eq!((of_series, count(&one.others)), (50, 1951));
        assert_eq!(one.slowest[0].route.len(), NAME_MAX + 3);
        assert!(one.places.len() <= SERIES_MAX);
    }

    #[test]
    fn a_pair_has_all_of_its_records_or_no_row_whichever_threads_saw_them() {
        let choice = Choice::default();
        let mut one = Tally::new(&choice);
        let mut other = one.beside();
        // Each thread comes upon the routes in an order of its own.
        for nth in 0..60 {
            for _ in 0..100 {
                add(&mut one, timing(&format!("r{nth}"), 1, 0));
                add(&mut other, timing(&format!("r{}", 59 - nth), 1, 0));
            }
        }
        one.merge(other);
        let count = |hops: &Hops| hops[Hop::Total as usize].as_ref().map_or(0, Spread::count);
        let counts: Vec<_> = one.series.iter().map(|series| count(&series.hops)).collect();
        assert_eq!(counts, [200; SERIES_MAX]);
        assert_eq!(count(&one.others), 10 * 200);
    }

    #[test]
    fn a_choice_leaves_out_what_it_does_not_name() {
        let choice = Choice {
            from_us: Some(10),
            to_us: Some(20),
            routes: vec!["a".to_owned(), "b".to_owned()],
            ..Choice::default()
        };
        let mut tally = Tally::new(&choice);
        for (route, at) in [("a", 9), ("a", 10), ("b", 19), ("b", 20), ("c", 15)] {
            add(&mut tally, timing(route, 1, at));
        }
        assert_eq!((tally.lines.chosen, tally.lines.left_out), (2, 3));
        assert_eq!(tally.received_us, Some((10, 19)));
    }

    #[test]
    fn the_first_damaged_line_is_told_whichever_thread_saw_it() {
        let choice = Choice::default();
        let mut one = Tally::new(&choice);
        let mut other = one.beside();
        let damage = |text: &'static str| {
            Err(Damage { column: 1, expected: text.into(), found: String::new() })
        };
        one.add(1, 5, damage("later"));
        other.add(1, 4, damage("first"));
        other.add(2, 1, damage("in another file"));
        one.merge(other);
        assert_eq!(one.lines.damaged, 3);
        let (file, number, damage) = one.lines.first_damage.expect("one");
        assert_eq!((file, number, &*damage.expected), (1, 4, "first"));
    }
}
