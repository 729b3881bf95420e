//! How fast counts grow, from snapshots that follow each other. Pure.

use std::collections::{HashMap, VecDeque};

use super::snapshot::{Connection, Route, Snapshot};

/// Rates are over the last seconds.
const OVER_S: f64 = 10.0;
/// How many snapshots' counts are kept.
const SAMPLES_MAX: usize = 16;
/// How many points a chart can have.
pub(super) const POINTS_MAX: usize = 120;

/// The snapshots of the last seconds, as far as they are counts.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    /// Messages received each second, from one snapshot to the next; the last one last.
    points: VecDeque<u64>,
    started_at: String,
    /// How often the bridge was started anew while it was watched.
    pub(super) restarts: u64,
}

#[derive(Debug)]
struct Sample {
    at_s: f64,
    received: Option<u64>,
    connections: HashMap<String, u64>,
    routes: HashMap<(String, String), u64>,
}

impl Sample {
    fn of(snapshot: &Snapshot, at_s: f64) -> Self {
        let (mut connections, mut routes) = (HashMap::new(), HashMap::<_, u64>::new());
        for Connection { name, received, .. } in &snapshot.connections {
            connections.extend(received.map(|received| (name.clone(), received)));
        }
        for route in &snapshot.routes {
            let records = routes.entry(key(route)).or_default();
            *records = records.saturating_add(route.records.unwrap_or(0));
        }
        Self { at_s, received: snapshot.identity.received, connections, routes }
    }
}

fn key(route: &Route) -> (String, String) {
    (route.name.clone(), route.mqtt_filter.clone())
}

impl History {
    /// The bridge has told this.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        if self.started_at != snapshot.started_at {
            let is_first = self.started_at.is_empty();
            let restarts = if is_first { 0 } else { self.restarts + 1 };
            let started_at = snapshot.started_at.clone();
            *self = Self { restarts, started_at, ..Self::default() };
        }
        let Some(at_s) = snapshot.at_s else { return };
        // Somebody set the clock back.
        if self.samples.back().is_some_and(|last| last.at_s >= at_s) {
            self.samples.clear();
        }
        let sample = Sample::of(snapshot, at_s);
        if let Some(last) = self.samples.back()
            && let Some(rate) = growth(last.received, sample.received, at_s - last.at_s)
        {
            // The cast saturates.
            self.points.push_back(rate.round() as u64);
        }
        self.samples.push_back(sample);
        let is_old = |sample: &Sample| at_s - sample.at_s >= OVER_S;
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
        while self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    /// Records of a route, each second.
    pub(super) fn of_route(&self, route: &Route) -> Option<f64> {
        let key = key(route);
        self.rate(|sample| sample.routes.get(&key).copied())
    }

    /// Messages of a connection, each second.
    pub(super) fn of_connection(&self, connection: &str) -> Option<f64> {
        self.rate(|sample| sample.connections.get(connection).copied())
    }

    /// Of a chart; the last one last.
    pub(super) fn points(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.points.iter().copied()
    }

    fn rate(&self, count: impl Fn(&Sample) -> Option<u64>) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        growth(count(first), count(last), last.at_s - first.at_s)
    }
}

fn growth(before: Option<u64>, after: Option<u64>, over_s: f64) -> Option<f64> {
    let grown = after?.saturating_sub(before?);
    (over_s > 0.0).then(|| grown as f64 / over_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_s: f64, count: u64) -> Snapshot {
        let connection =
            Connection { name: "east".into(), received: Some(count), ..Connection::default() };
        let route = Route { name: "a".into(), records: Some(2 * count), ..Route::default() };
        Snapshot {
            at_s: Some(at_s),
            started_at: "noon".into(),
            connections: vec![connection],
            routes: vec![route],
            identity: super::super::snapshot::Identity {
                received: Some(count),
                ..Default::default()
            },
            ..Snapshot::default()
        }
    }

    #[test]
    fn rates_are_over_the_last_seconds_and_a_restart_begins_anew() {
        let mut history = History::default();
        for second in 0..=30_u32 {
            let count = if second <= 20 { second } else { 20 + 100 * (second - 20) };
            history.add(&at(second.into(), count.into()));
        }
        let route = at(0.0, 0).routes.remove(0);
        assert_eq!(history.of_connection("east"), Some(100.0));
        assert_eq!(history.of_route(&route), Some(200.0));
        assert_eq!(history.of_connection("west"), None);
        assert_eq!((history.points().next(), history.points().last()), (Some(1), Some(100)));
        let restarted = Snapshot { started_at: "later".into(), ..at(31.0, 1) };
        history.add(&restarted);
        assert_eq!((history.restarts, history.of_connection("east")), (1, None));
        assert_eq!(history.points().len(), 0);
    }

    #[test]
    fn it_is_bounded_and_no_time_divides_nothing() {
        let mut history = History::default();
        for nth in 0..1_000_u32 {
            history.add(&at(f64::from(nth) / 10.0, nth.into()));
        }
        assert!(history.samples.len() <= SAMPLES_MAX && history.points.len() == POINTS_MAX);
        // The clock was set back, and the counts fell.
        history.add(&at(1.0, 0));
        history.add(&at(1.0, 5));
        assert_eq!(history.of_connection("east"), None);
        history.add(&Snapshot { at_s: None, ..at(0.0, 0) });
    }
}
