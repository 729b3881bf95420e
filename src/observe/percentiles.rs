//! Latencies as people read them: percentiles by connection, route and stage. Pure.
//!
//! [`latencies`] is the one place where they are computed; who shows them takes what it returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::latency::{BOUNDS_US, StageHistogram, Stages};
use crate::message::{RouteId, RouteName};

/// The latencies of one route in one stage, on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// The connection that received the messages.
    pub connection: Arc<str>,
    /// The route that made the records.
    pub route: RouteName,
    /// `produced`, `delivered` or `acknowledged`: the time from the stage before to this one.
    pub stage: &'static str,
    /// The percentiles.
    pub percentiles: Percentiles,
}

/// Of the latencies since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half took no longer, in microseconds; and so on.
    pub p50_us: u64,
    /// 90 % took no longer.
    pub p90_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// 99.9 % took no longer.
    pub p999_us: u64,
}

/// All latencies of one connection, of routes whose names are known.
pub fn latencies<'a>(
    connection: &'a Arc<str>,
    stages: &'a Stages,
    routes: &'a BTreeMap<RouteId, RouteName>,
) -> impl Iterator<Item = Latency> + 'a {
    let Stages { produced, delivered, acknowledged, .. } = stages;
    let stages = [("produced", produced), ("delivered", delivered), ("acknowledged", acknowledged)];
    stages.into_iter().flat_map(move |(stage, by_route)| {
        by_route.iter().filter_map(move |(route, histogram)| {
            let (connection, route) = (Arc::clone(connection), routes.get(route)?.clone());
            Some(Latency { connection, route, stage, percentiles: percentiles(histogram) })
        })
    })
}

/// Each is the upper bound of the bucket that it falls into; of the last bucket, which has none, the lower one.
fn percentiles(histogram: &StageHistogram) -> Percentiles {
    let count = histogram.count();
    let at = |per_mille: u64| {
        let rank = (u128::from(count) * u128::from(per_mille)).div_ceil(1000);
        let mut seen = 0;
        let bucket = histogram.counts.iter().position(|in_bucket| {
            seen += u128::from(*in_bucket);
            seen >= rank.max(1)
        });
        let last = BOUNDS_US.len() - 1;
        bucket.map_or(0, |bucket| BOUNDS_US[bucket.min(last)])
    };
    Percentiles { count, p50_us: at(500), p90_us: at(900), p99_us: at(990), p999_us: at(999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_below_which_so_many_are() {
        assert_eq!(percentiles(&StageHistogram::default()), Percentiles::default());
        let mut histogram = StageHistogram::default();
        histogram.counts[0] = 900;
        histogram.counts[3] = 90;
        histogram.counts[BOUNDS_US.len()] = 10;
        let found = percentiles(&histogram);
        assert_eq!((found.count, found.p50_us, found.p90_us), (1000, 250, 250));
        assert_eq!((found.p99_us, found.p999_us), (2_500, 600_000_000));
    }

    #[test]
    fn routes_without_a_name_are_left_out() {
        let name = RouteName { name: "a".into(), mqtt_filter: "a/#".into() };
        let mut histogram = StageHistogram::default();
        histogram.counts[1] = 1;
        let of = [(RouteId(0), histogram), (RouteId(9), histogram)];
        let stages = Stages { delivered: of.into(), ..Stages::default() };
        let routes = [(RouteId(0), name.clone())].into();
        let connection = "east".into();
        let found: Vec<_> = latencies(&connection, &stages, &routes).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].stage, &found[0].route), ("delivered", &name));
    }
}
