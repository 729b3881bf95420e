//! What `/status.json` says, as far as it is drawn. Pure.
//!
//! Fields that are not known are passed over, those that are missing or of another kind are `None` or empty: a bridge of
//! another version is shown as far as it can be. Every text goes through [`Visible`] and is cut here, once for all that
//! is drawn: some are from strangers.

use mqtt_kafka_bridge::visible::Visible;
use serde_json::Value;

/// The longest text that is kept, in characters: more than the widest terminal shows.
const TEXT_MAX: usize = 500;

/// A thing that a person should look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Advised {
    pub(super) reason: String,
    pub(super) connection: String,
    pub(super) detail: String,
    pub(super) advice: Advice,
}

/// What to do, and where there is more about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) what_to_do: String,
    pub(super) document: String,
}

/// Where messages are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Identity {
    pub(super) received: Option<u64>,
    pub(super) delivered: Option<u64>,
    pub(super) dead_lettered: Option<u64>,
    pub(super) filtered: Option<u64>,
    pub(super) shed: Option<u64>,
    pub(super) in_flight: Option<u64>,
}

/// Over the last seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) over_s: Option<f64>,
    pub(super) received_per_s: Option<f64>,
    pub(super) settled_per_s: Option<f64>,
    pub(super) received_bytes_per_s: Option<f64>,
    pub(super) delivered_bytes_per_s: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) is_connected: bool,
    pub(super) broker: String,
    pub(super) is_insecure: bool,
    pub(super) mqtt_protocol: String,
    pub(super) last_loss: Option<(String, String)>,
    pub(super) reconnects: Vec<(String, Option<u64>)>,
    pub(super) received: Option<u64>,
    pub(super) window: Window,
    pub(super) subscriptions: Vec<Subscription>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Window {
    pub(super) messages: Option<u64>,
    pub(super) messages_max: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) bytes_max: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Subscription {
    pub(super) route: String,
    pub(super) mqtt_filter: String,
    pub(super) state: String,
    pub(super) detail: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Kafka {
    pub(super) state: String,
    pub(super) detail: String,
    pub(super) queue_messages: Option<u64>,
    pub(super) kafka_topics: Vec<KafkaTopic>,
    pub(super) held: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct KafkaTopic {
    pub(super) name: String,
    pub(super) is_reachable: Option<bool>,
    /// What keeps messages from it.
    pub(super) trouble: Option<Advised>,
    pub(super) partitions: Option<u64>,
    pub(super) is_held: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) mqtt_filter: String,
    pub(super) is_gone: bool,
    pub(super) records: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) dropped: Vec<(String, Option<u64>)>,
    pub(super) notes: Vec<(String, Option<u64>)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Latency {
    /// Empty: of all of them.
    pub(super) connection: String,
    pub(super) route: String,
    pub(super) hop: String,
    pub(super) count: Option<u64>,
    /// p50, p90, p99, p99.9 and the greatest, in microseconds.
    pub(super) percentiles: [Option<u64>; 5],
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slow {
    pub(super) mqtt_topic: String,
    pub(super) route: String,
    pub(super) received_at: String,
    pub(super) queue_us: Option<u64>,
    pub(super) kafka_us: Option<u64>,
    pub(super) total_us: Option<u64>,
    pub(super) ack_us: Option<u64>,
    pub(super) ack_reason: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DeadLetters {
    pub(super) route: String,
    pub(super) reason: String,
    pub(super) count: Option<u64>,
    pub(super) advice: Advice,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Restart {
    pub(super) at: String,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) advice: Advice,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Warning {
    pub(super) at: String,
    pub(super) level: String,
    pub(super) text: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) advice: Advice,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) at: String,
    /// The same in seconds since the Unix epoch.
    pub(super) at_s: Option<f64>,
    pub(super) started_at: String,
    pub(super) uptime_s: Option<f64>,
    pub(super) version: String,
    pub(super) is_ready: bool,
    pub(super) is_alive: bool,
    pub(super) reasons: Vec<Advised>,
    pub(super) warnings: Vec<Advised>,
    pub(super) identity: Identity,
    pub(super) rates: Rates,
    pub(super) connections: Vec<Connection>,
    pub(super) kafka: Kafka,
    pub(super) routes: Vec<Route>,
    pub(super) latencies: Vec<Latency>,
    pub(super) slowest: Vec<Slow>,
    pub(super) dead_letters: Vec<DeadLetters>,
    /// Actor, reason and count.
    pub(super) restarts: Vec<(String, String, Option<u64>)>,
    /// The last first.
    pub(super) last_restarts: Vec<Restart>,
    /// The last first.
    pub(super) recent: Vec<Warning>,
}

impl Snapshot {
    /// Takes the page apart.
    ///
    /// # Errors
    /// It is no status of a bridge; a readable sentence.
    pub(super) fn read(page: &str) -> Result<Self, String> {
        let strange = |found: String| {
            format!("expected an object with the field ready in /status.json, found {found}")
        };
        let page: Value = serde_json::from_str(page).map_err(|error| strange(error.to_string()))?;
        let is_ready = page["ready"].as_bool().ok_or_else(|| strange("no ready".to_owned()))?;
        let at = text(&page["at"]);
        let at_s = at.parse::<jiff::Timestamp>().ok().map(|at| at.as_microsecond() as f64 / 1e6);
        let kafka = &page["kafka"];
        let (rates, identity) = (&page["rates"], &page["identity"]);
        Ok(Self {
            at_s,
            at,
            started_at: text(&page["started_at"]),
            uptime_s: page["uptime_s"].as_f64(),
            version: text(&page["build"]["version"]),
            is_ready,
            is_alive: page["alive"].as_bool().unwrap_or(true),
            reasons: list(&page["reasons"], advised),
            warnings: list(&page["warnings"], advised),
            identity: Identity {
                received: identity["received"].as_u64(),
                delivered: identity["delivered"].as_u64(),
                dead_lettered: identity["dead_lettered"].as_u64(),
                filtered: identity["filtered"].as_u64(),
                shed: identity["shed"].as_u64(),
                in_flight: identity["in_flight"].as_u64(),
            },
            rates: Rates {
                over_s: rates["over_s"].as_f64(),
                received_per_s: rates["received_per_s"].as_f64(),
                settled_per_s: rates["settled_per_s"].as_f64(),
                received_bytes_per_s: rates["received_bytes_per_s"].as_f64(),
                delivered_bytes_per_s: rates["delivered_bytes_per_s"].as_f64(),
            },
            connections: list(&page["connections"], connection),
            kafka: Kafka {
                state: text(&kafka["state"]),
                detail: text(&kafka["detail"]),
                queue_messages: kafka["queue_messages"].as_u64(),
                kafka_topics: list(&kafka["kafka_topics"], kafka_topic),
                held: list(&kafka["held"], |row| (text(&row["place"]), text(&row["detail"]))),
            },
            routes: list(&page["routes"], route),
            latencies: list(&page["latencies"], latency),
            slowest: list(&page["slowest"], slow),
            dead_letters: list(&page["dead_letters"], |row| DeadLetters {
                route: text(&row["route"]),
                reason: text(&row["reason"]),
                count: row["count"].as_u64(),
                advice: advice(row),
            }),
            restarts: list(&page["restarts"], |row| {
                (text(&row["actor"]), text(&row["reason"]), row["count"].as_u64())
            }),
            last_restarts: last_first(list(&page["last_restarts"], |row| Restart {
                at: text(&row["at"]),
                actor: text(&row["actor"]),
                reason: text(&row["reason"]),
                detail: text(&row["detail"]),
                advice: advice(row),
            })),
            recent: last_first(list(&page["log"]["recent"], warning)),
        })
    }
}

/// What a terminal can show of it; empty if it is no text.
fn text(value: &Value) -> String {
    shown(value.as_str().unwrap_or_default())
}

fn shown(text: &str) -> String {
    // Before and after: a hidden character becomes several.
    let short: String = text.chars().take(TEXT_MAX).collect();
    let mut visible: String = Visible(&short).to_string().chars().take(TEXT_MAX).collect();
    if text.len() > short.len() || visible.chars().count() == TEXT_MAX {
        visible.pop();
        visible.push('…');
    }
    visible
}

fn list<T>(value: &Value, row: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().filter(|it| it.is_object()).map(row).collect()
}

fn last_first<T>(mut rows: Vec<T>) -> Vec<T> {
    rows.reverse();
    rows
}

fn counts(value: &Value) -> Vec<(String, Option<u64>)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, count)| (shown(name), count.as_u64())).collect()
}

fn advice(row: &Value) -> Advice {
    Advice { what_to_do: text(&row["what_to_do"]), document: text(&row["document"]) }
}

fn advised(row: &Value) -> Advised {
    Advised {
        reason: text(&row["reason"]),
        connection: text(&row["connection"]),
        detail: text(&row["detail"]),
        advice: advice(row),
    }
}

fn connection(row: &Value) -> Connection {
    let (window, loss) = (&row["window"], &row["last_loss"]);
    Connection {
        name: text(&row["connection"]),
        is_connected: row["connected"].as_bool().unwrap_or(false),
        broker: text(&row["broker"]),
        is_insecure: row["insecure"].as_bool().unwrap_or(false),
        mqtt_protocol: text(&row["session"]["mqtt_protocol"]),
        last_loss: loss.is_object().then(|| (text(&loss["at"]), text(&loss["detail"]))),
        reconnects: counts(&row["reconnects"]),
        received: row["identity"]["received"].as_u64(),
        window: Window {
            messages: window["messages"].as_u64(),
            messages_max: window["messages_max"].as_u64(),
            bytes: window["bytes"].as_u64(),
            bytes_max: window["bytes_max"].as_u64(),
        },
        subscriptions: list(&row["subscriptions"], |row| Subscription {
            route: text(&row["route"]),
            mqtt_filter: text(&row["mqtt_filter"]),
            state: text(&row["state"]),
            detail: text(&row["detail"]),
        }),
    }
}

fn kafka_topic(row: &Value) -> KafkaTopic {
    KafkaTopic {
        name: text(&row["kafka_topic"]),
        is_reachable: row["reachable"].as_bool(),
        trouble: row["trouble"].is_object().then(|| advised(&row["trouble"])),
        partitions: row["partitions"].as_u64(),
        is_held: row["held"].as_bool().unwrap_or(false),
    }
}

fn route(row: &Value) -> Route {
    Route {
        name: text(&row["route"]),
        mqtt_filter: text(&row["mqtt_filter"]),
        is_gone: row["gone"].as_bool().unwrap_or(false),
        records: row["records_delivered"].as_u64(),
        bytes: row["delivered_bytes"].as_u64(),
        dropped: counts(&row["dropped"]),
        notes: counts(&row["notes"]),
    }
}

fn latency(row: &Value) -> Latency {
    Latency {
        connection: text(&row["connection"]),
        route: text(&row["route"]),
        hop: text(&row["stage"]),
        count: row["count"].as_u64(),
        percentiles: ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
            .map(|key| row[key].as_u64()),
    }
}

fn slow(row: &Value) -> Slow {
    Slow {
        mqtt_topic: text(&row["mqtt_topic"]),
        route: text(&row["route"]),
        received_at: text(&row["received_at"]),
        queue_us: row["queue_us"].as_u64(),
        kafka_us: row["kafka_us"].as_u64(),
        total_us: row["total_us"].as_u64(),
        ack_us: row["ack_us"].as_u64(),
        ack_reason: text(&row["ack_reason"]),
    }
}

fn warning(row: &Value) -> Warning {
    // What to do and the document say those.
    let is_shown = |name: &str| !["help", "component"].contains(&name);
    let fields = row["fields"].as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| is_shown(name) && !value.is_null());
    let value = |value: &Value| match value.as_str() {
        Some(text) => shown(text),
        None => shown(&value.to_string()),
    };
    Warning {
        at: text(&row["at"]),
        level: text(&row["level"]),
        text: text(&row["msg"]),
        fields: fields.map(|(name, of)| (shown(name), value(of))).collect(),
        advice: advice(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_status_is_refused_with_what_was_found() {
        for (page, found) in [
            ("<html>", "expected value at line 1 column 1"),
            ("{}", "no ready"),
            ("[1]", "no ready"),
            (r#"{"ready": "yes"}"#, "no ready"),
        ] {
            let why = Snapshot::read(page).expect_err(page);
            assert!(why.ends_with(&format!("in /status.json, found {found}")), "{why}");
        }
    }

    #[test]
    fn what_is_strange_or_missing_in_a_row_is_unknown_and_the_rest_is_read() {
        let page = r#"{"ready": false, "alive": 7, "new": {"x": 1}, "identity": {"received": -1, "delivered": 5},
            "connections": [7, {"connection": "east", "window": [], "new": true}], "routes": {"a": 1},
            "rates": {"received_per_s": "fast"}, "log": {"recent": [{"msg": 7, "fields": {"count": 3}}]}}"#;
        let read = Snapshot::read(page).expect("a status");
        assert!(!read.is_ready && read.is_alive);
        assert_eq!((read.identity.received, read.identity.delivered), (None, Some(5)));
        assert_eq!(read.connections.len(), 1);
        assert_eq!(read.connections[0].name, "east");
        assert!(read.routes.is_empty() && read.rates.received_per_s.is_none());
        assert_eq!(read.recent[0].fields, [("count".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn a_long_text_is_cut_and_nothing_hidden_is_left() {
        let long = "\u{1b}".repeat(10_000);
        let cut = shown(&long);
        assert_eq!(cut.chars().count(), TEXT_MAX);
        assert!(cut.starts_with("\\u{1b}\\u{1b}") && cut.ends_with('…'), "{cut}");
        assert_eq!(shown("a\u{202e}b\n"), "a\\u{202e}b\\n");
    }
}
