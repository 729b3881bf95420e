//! Shared subscriptions over MQTT 3.1.1 that were granted and have brought nothing yet: some brokers
//! grant what they do not understand. Pure.

use std::time::{Duration, Instant};

use crate::message::{Destination, Destinations, RouteId};

/// See the module.
#[derive(Debug)]
pub struct Silence {
    /// How long a subscription may bring nothing; `None`: nobody wants to know.
    patience: Option<Duration>,
    /// Granted at this moment, and nothing came since.
    unheard: Vec<(RouteId, Instant)>,
    /// Those that have brought something.
    heard: Vec<RouteId>,
}

impl Silence {
    /// Before anything was granted.
    pub fn new(patience: Option<Duration>) -> Self {
        Self { patience, unheard: Vec::new(), heard: Vec::new() }
    }

    /// A shared subscription was granted by a broker that may not know what that is.
    pub fn granted(&mut self, route: RouteId, now: Instant) {
        if self.patience.is_none() || self.heard.contains(&route) {
            return;
        }
        self.unheard.retain(|(unheard, _)| *unheard != route);
        self.unheard.push((route, now));
    }

    /// A message came, and became this.
    #[inline]
    pub fn broken_by(&mut self, destinations: &Destinations) {
        // Nearly always empty.
        if self.unheard.is_empty() {
            return;
        }
        for destination in destinations.as_slice() {
            if let Destination::Record(record) = destination {
                self.broken_on(record.route);
            }
        }
    }

    /// A message came that this route took, whatever became of it.
    pub fn broken_on(&mut self, route: RouteId) {
        if let Some(at) = self.unheard.iter().position(|(unheard, _)| *unheard == route) {
            self.heard.push(self.unheard.swap_remove(at).0);
        }
    }

    /// Only these routes go on as they were.
    pub fn keep(&mut self, same: &[RouteId]) {
        self.unheard.retain(|(route, _)| same.contains(route));
        self.heard.retain(|route| same.contains(route));
    }

    /// The connection is lost; the next one is granted its subscriptions anew.
    pub fn connection_lost(&mut self) {
        self.unheard.clear();
    }

    /// Those that have been silent for too long, each once, and for how long.
    pub fn overdue(&mut self, now: Instant) -> Vec<(RouteId, Duration)> {
        let Some(patience) = self.patience else { return Vec::new() };
        let silent = |since: Instant| now.saturating_duration_since(since);
        let (overdue, patient): (Vec<_>, _) =
            self.unheard.drain(..).partition(|(_, since)| silent(*since) >= patience);
        self.unheard = patient;
        overdue.into_iter().map(|(route, since)| (route, silent(since))).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Record;

    fn record(route: usize) -> Destination {
        Destination::Record(Record::new(RouteId(route), "k".into(), Bytes::new()))
    }

    #[test]
    fn what_brings_nothing_is_told_of_once_and_what_brought_something_never() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let begin = Instant::now();
        let mut silence = Silence::new(Some(PATIENCE));
        for route in [RouteId(0), RouteId(1), RouteId(2)] {
            silence.granted(route, begin);
        }
        silence.broken_by(&Destinations::Several([record(1), record(2)].into()));
        assert_eq!(silence.overdue(begin + PATIENCE / 2), []);
        assert_eq!(silence.overdue(begin + PATIENCE), [(RouteId(0), PATIENCE)]);
        silence.granted(RouteId(1), begin);
        assert_eq!(silence.overdue(begin + 2 * PATIENCE), [], "told of, or heard");
    }
}
