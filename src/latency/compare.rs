//! Two sets of logs, before and after. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::hop::Hop;
use super::report::{LogReport, OTHERS};
use super::spread::Percentiles;

/// One hop of two reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Pair {
    /// Empty for all records.
    pub(super) connection: String,
    /// Nothing for all records.
    pub(super) route: Option<String>,
    pub(super) hop: &'static str,
    pub(super) before: Option<Percentiles>,
    pub(super) after: Option<Percentiles>,
}

impl Pair {
    /// By column of [`Percentiles::columns`], how many times as long it takes as before.
    pub(super) fn ratios(&self) -> Option<[Option<f64>; 5]> {
        let (before, after) = (self.before?.columns(), self.after?.columns());
        let ratio = |at: usize| {
            let ((_, before), (_, after)) = (before[at], after[at]);
            (before > 0).then(|| after as f64 / before as f64)
        };
        Some([0, 1, 2, 3, 4].map(ratio))
    }

    /// What it is of, in words.
    pub(super) fn of(&self) -> String {
        match (&self.route, &*self.connection) {
            (None, _) => "All records".to_owned(),
            (Some(route), connection) => {
                let route = if route.is_empty() { "(no name)" } else { route };
                let on = match connection {
                    "" => String::new(),
                    connection => format!(", connection {connection}"),
                };
                format!("Route {route}{on}")
            }
        }
    }
}

/// Each hop that one of both has: of all records, then of each route.
pub(super) fn pairs(before: &LogReport, after: &LogReport) -> Vec<Pair> {
    let all = |report: &LogReport, hop: Hop| {
        report.hops.iter().find(|row| row.hop == hop.name()).map(|row| row.percentiles)
    };
    let mut pairs: Vec<_> = Hop::ALL
        .into_iter()
        .map(|hop| Pair {
            connection: String::new(),
            route: None,
            hop: hop.name(),
            before: all(before, hop),
            after: all(after, hop),
        })
        .collect();
    let names: BTreeSet<_> = [before, after]
        .into_iter()
        .flat_map(|report| &report.routes)
        .map(|row| (row.route == OTHERS, &row.route, &row.connection))
        .collect();
    for (_, route, connection) in names {
        let of = |report: &LogReport, hop: Hop| {
            let mut rows = report.routes.iter();
            let is_it = |row: &&super::report::RouteRow| {
                (&row.route, &row.connection, &*row.hop) == (route, connection, hop.name())
            };
            rows.find(is_it).map(|row| row.percentiles)
        };
        pairs.extend(Hop::ALL.into_iter().map(|hop| Pair {
            connection: connection.clone(),
            route: Some(route.clone()),
            hop: hop.name(),
            before: of(before, hop),
            after: of(after, hop),
        }));
    }
    pairs.retain(|pair| pair.before.is_some() || pair.after.is_some());
    pairs
}

/// For programs: each pair with its ratios.
pub(super) fn object(before: &LogReport, after: &LogReport, pairs: &[Pair]) -> Value {
    let pairs = pairs.iter().map(|pair| {
        let mut object = json!(pair);
        let ratios = pair.ratios().map(|ratios| {
            let names = ["p50", "p90", "p99", "p999", "max"];
            let named =
                names.into_iter().zip(ratios).map(|(name, it)| (name.to_owned(), json!(it)));
            Value::Object(named.collect())
        });
        object["ratio"] = json!(ratios);
        object
    });
    json!({
        "version": super::report::VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "pairs": pairs.collect::<Vec<_>>(),
        "before": before,
        "after": after,
    })
}
