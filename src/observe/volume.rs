//! How many bytes went to Kafka, by route.

use std::collections::BTreeMap;

use crate::message::RouteId;
use crate::stage::SourceId;

/// Records of one connection and one route that were delivered one after another: one entry instead of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// The connection that received their messages.
    pub source: SourceId,
    /// The route that made them.
    pub route: RouteId,
    /// Their values, in bytes.
    pub bytes: u64,
}

impl Volume {
    /// Adds one record to `runs`.
    #[inline]
    pub fn add(runs: &mut Vec<Self>, source: SourceId, route: RouteId, bytes: usize) {
        let bytes = bytes as u64;
        match runs.last_mut() {
            Some(run) if run.route == route && run.source == source => run.bytes += bytes,
            _ => runs.push(Self { source, route, bytes }),
        }
    }
}

/// What one connection has had delivered.
#[derive(Debug, Clone, Default)]
pub struct Volumes {
    /// By route.
    pub by_route: BTreeMap<RouteId, u64>,
    /// Of routes that were let go.
    pub of_gone: u64,
}

impl Volumes {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.of_gone + self.by_route.values().sum::<u64>()
    }

    /// Adds what was delivered.
    pub(super) fn count(&mut self, run: &Volume) {
        *self.by_route.entry(run.route).or_default() += run.bytes;
    }

    /// Keeps what was counted of these routes alone.
    pub(super) fn keep(&mut self, is_known: impl Fn(&RouteId) -> bool) {
        let gone = &mut self.of_gone;
        self.by_route.retain(|route, bytes| {
            let known = is_known(route);
            *gone += if known { 0 } else { *bytes };
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_one_another_is_one_run_and_the_sum_outlives_its_routes() {
        let mut runs = Vec::new();
        for (source, route, bytes) in [(0, 0, 3), (0, 0, 4), (0, 1, 5), (1, 1, 6), (0, 0, 7)] {
            Volume::add(&mut runs, SourceId(source), RouteId(route), bytes);
        }
        assert_eq!(runs.iter().map(|run| run.bytes).collect::<Vec<_>>(), [7, 5, 6, 7]);
        let mut volumes = Volumes::default();
        runs.iter().for_each(|run| volumes.count(run));
        assert_eq!(volumes.by_route, [(RouteId(0), 14), (RouteId(1), 11)].into());
        volumes.keep(|route| *route == RouteId(1));
        assert_eq!((volumes.by_route.len(), volumes.of_gone, volumes.total()), (1, 14, 25));
    }
}
