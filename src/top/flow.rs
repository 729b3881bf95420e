//! The first panel: MQTT connections, the bridge, Kafka, each with its state. Pure.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::fit::{beside, width, wrap};
use super::history::History;
use super::look::{BARS, FREE, USED, bold, quiet};
use super::numbers::{byte_rate, clock, count, counted, in_words, pairs, rate, share, size};
use super::snapshot::{Advice, Connection, Kafka, KafkaTopic, Snapshot};
use super::table::{Sheet, advice, below};
use super::verdict::{self, Level, Told};

/// From here on the three parts stand side by side.
const WIDE: usize = 120;
const GAP: &str = " │ ";
/// The widest gauge.
const GAUGE_MAX: usize = 20;

const SYMPTOMS: &str = "docs/operations.md#symptoms-likely-causes-and-cures";
const REFUSED: &str = "docs/operations.md#what-kafka-refuses";

/// One thing of the picture.
struct Node {
    level: Level,
    name: String,
    said: String,
    more: Vec<String>,
    gauge: Option<(f64, String)>,
    advice: Option<Advice>,
}

impl Node {
    fn lines(self, most: usize) -> Vec<Line<'static>> {
        let style = self.level.style();
        let text = format!("{}: {}", self.name, self.said);
        let mut lines = Vec::new();
        for (nth, text) in wrap(&text, most.saturating_sub(2)).into_iter().enumerate() {
            let mark = if nth == 0 { self.level.mark() } else { " " };
            let style = if self.level == Level::Good { Style::new() } else { style };
            let mark = Span::styled(format!("{mark} "), self.level.style());
            lines.push(Line::from(vec![mark, Span::styled(text, style)]));
        }
        if let Some((share, words)) = self.gauge {
            lines.extend(gauge(share, &words, most));
        }
        let more: Vec<_> = self.more.into_iter().filter(|text| !text.is_empty()).collect();
        if !more.is_empty() {
            lines.extend(below(&more.join(", "), 2, most, quiet()));
        }
        if let Some(it) = self.advice {
            lines.extend(advice(&it, 2, most));
        }
        lines
    }
}

/// How full something is, with the same in words beside it, or below it.
fn gauge(share: f64, words: &str, most: usize) -> Vec<Line<'static>> {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let room = most.saturating_sub(2).min(GAUGE_MAX);
    // At most 20: nothing is lost.
    let mut used = (share * room as f64).round() as usize;
    if share > 0.0 {
        used = used.max(1).min(room);
    }
    let level = if is_full(share) { Level::Warn } else { Level::Good };
    let mut line = Line::from(vec![
        Span::raw("  "),
        Span::styled(USED.repeat(used), level.style()),
        Span::styled(FREE.repeat(room.saturating_sub(used)), quiet()),
    ]);
    if room + 3 + width(words) <= most {
        line.push_span(format!(" {words}"));
        return vec![line];
    }
    let mut lines = vec![line];
    lines.extend(below(words, 2, most, Style::new()));
    lines
}

fn is_full(share: f64) -> bool {
    share >= 0.999
}

/// How the rate went, the last at the right.
fn chart(history: &History, most: usize) -> Option<Line<'static>> {
    let greatest = history.points().max().filter(|greatest| *greatest > 0)?;
    let words = format!("at most {} messages/s", count(Some(greatest)));
    let room = most.saturating_sub(width(&words) + 3);
    let points: Vec<_> = history.points().rev().take(room).collect();
    let top = BARS.len() as u64 - 1;
    let bar = |point: &u64| {
        let height = u128::from(*point) * u128::from(top) / u128::from(greatest);
        let least = u128::from(*point > 0);
        BARS[usize::try_from(height.max(least)).unwrap_or(0).min(BARS.len() - 1)]
    };
    let bars: String = points.iter().rev().map(bar).collect();
    Some(Line::raw(format!("  {bars} {words}")))
}

/// All of it.
pub(super) fn sheet(snapshot: &Snapshot, told: &[Told], history: &History, most: usize) -> Sheet {
    let mut rows = Vec::new();
    for told in told.iter().filter(|told| told.level == Level::Bad) {
        rows.extend(told_lines(told, most));
    }
    let is_wide = most >= WIDE;
    let each = if is_wide { (most - 2 * width(GAP)) / 3 } else { most };
    let parts = vec![mqtt(snapshot, history, each), bridge(snapshot, each), kafka(snapshot, each)];
    match is_wide {
        true => rows.extend(beside(parts, each, GAP)),
        false => rows.extend(parts.into_iter().flatten()),
    }
    for told in told.iter().filter(|told| told.level != Level::Bad) {
        rows.extend(told_lines(told, most));
    }
    Sheet { head: Vec::new(), rows }
}

/// A thing to look at, and what to do.
pub(super) fn told_lines(told: &Told, most: usize) -> Vec<Line<'static>> {
    let text = match &*told.detail {
        "" => format!("{} {}", told.level.mark(), told.title),
        detail => format!("{} {}: {detail}", told.level.mark(), told.title),
    };
    let mut lines = below(&text, 0, most, told.level.style());
    lines.extend(advice(&told.advice, 2, most));
    lines
}

fn title(text: &str, most: usize) -> Vec<Line<'static>> {
    below(text, 0, most, bold())
}

fn mqtt(snapshot: &Snapshot, history: &History, most: usize) -> Vec<Line<'static>> {
    let rates = &snapshot.rates;
    let (messages, bytes) =
        (rate(rates.received_per_s, "messages"), byte_rate(rates.received_bytes_per_s));
    let mut lines = title(&format!("MQTT → bridge: {messages}, {bytes}"), most);
    lines.extend(chart(history, most));
    let mut nodes: Vec<_> =
        snapshot.connections.iter().map(|it| connection(it, snapshot, history)).collect();
    nodes.sort_by_key(|node| node.level);
    lines.extend(nodes.into_iter().flat_map(|node| node.lines(most)));
    lines
}

fn connection(it: &Connection, snapshot: &Snapshot, history: &History) -> Node {
    let not_granted = it.subscriptions.iter().filter(|it| it.state != "granted");
    let troubles = not_granted.clone().count() as u64;
    let refused = not_granted.filter(|it| it.state == "refused").count() as u64;
    let subscriptions = |count| counted(Some(count), "subscription", "subscriptions");
    let (level, said, advice) = if !it.is_connected {
        let what_to_do = "Check the broker, the network and the login.";
        (Level::Bad, "not connected".to_owned(), Some(verdict::advice(what_to_do, SYMPTOMS)))
    } else if refused > 0 {
        let said = format!("connected, {} refused", subscriptions(refused));
        let what_to_do = "Check the broker's permissions.";
        (Level::Bad, said, Some(verdict::advice(what_to_do, "docs/operations.md#not-ready")))
    } else if troubles > 0 {
        let said = format!("connected, {} not as asked for", subscriptions(troubles));
        let what_to_do = "Check the broker's limits, or lower routes.qos.";
        let document = "docs/observability.md#reasons";
        (Level::Warn, said, Some(verdict::advice(what_to_do, document)))
    } else if it.is_insecure {
        let what_to_do = "Set ca_file, and remove insecure_skip_verify.";
        let advice = verdict::advice(what_to_do, "docs/security.md");
        (Level::Warn, "connected, not verified".to_owned(), Some(advice))
    } else {
        (Level::Good, "connected".to_owned(), None)
    };
    // The bridge's own words, if it has some: a reason is worse than a warning.
    let advice = advice.map(|known| told(snapshot, &it.name).unwrap_or(known));
    let loss = match &it.last_loss {
        Some((at, why)) if !it.is_connected => {
            let at = clock(at, &snapshot.at);
            match is_told(snapshot, why) {
                true => format!("lost at {at}"),
                false => format!("lost at {at}: {why}"),
            }
        }
        _ => String::new(),
    };
    let protocol = match &*it.mqtt_protocol {
        "" => String::new(),
        version => format!("MQTT {version}"),
    };
    let reconnects = match &*pairs(&it.reconnects) {
        "" => String::new(),
        pairs => format!("lost since the start ({pairs})"),
    };
    let window = &it.window;
    let used = used(it);
    let words = format!(
        "window {:.0} %: {} of {}, {} of {}",
        used * 100.0,
        count(window.messages),
        counted(window.messages_max, "message", "messages"),
        size(window.bytes),
        size(window.bytes_max),
    );
    let more = match it.is_connected {
        true => {
            let rate = rate(history.of_connection(&it.name), "messages");
            vec![rate, it.broker.clone(), protocol, reconnects]
        }
        false => vec![loss, it.broker.clone(), reconnects],
    };
    Node { level, name: it.name.clone(), said, more, gauge: Some((used, words)), advice }
}

/// Whether a reason above the picture says the same.
fn is_told(snapshot: &Snapshot, detail: &str) -> bool {
    !snapshot.is_ready && snapshot.reasons.iter().any(|it| it.detail == detail)
}

fn used(it: &Connection) -> f64 {
    let window = &it.window;
    let messages = share(window.messages, window.messages_max);
    messages.max(share(window.bytes, window.bytes_max))
}

fn bridge(snapshot: &Snapshot, most: usize) -> Vec<Line<'static>> {
    let in_flight = counted(snapshot.identity.in_flight, "message", "messages");
    let mut lines = title(&format!("Bridge: {in_flight} in flight"), most);
    let full: Vec<_> = snapshot.connections.iter().filter(|it| is_full(used(it))).collect();
    let names = full.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", ");
    lines.extend(
        Node {
            level: if full.is_empty() { Level::Good } else { Level::Warn },
            name: "windows".to_owned(),
            said: match full.len() {
                0 => "have room".to_owned(),
                1 => format!("that of {names} is full, and reading waits"),
                _ => format!("those of {names} are full, and reading waits"),
            },
            more: Vec::new(),
            gauge: None,
            advice: (!full.is_empty()).then(|| {
                let what_to_do = "Kafka is slower than the devices, or away.";
                verdict::advice(what_to_do, "docs/operations.md#messages-stop-arriving")
            }),
        }
        .lines(most),
    );
    let routes = snapshot.routes.iter().filter(|it| !it.is_gone).count() as u64;
    let held = snapshot.kafka.held.len() as u64;
    let names = snapshot.kafka.held.iter().map(|(place, why)| format!("{place}: {why}"));
    lines.extend(
        Node {
            level: if held > 0 { Level::Bad } else { Level::Good },
            name: counted(Some(routes), "route", "routes"),
            said: match held {
                0 => "nothing is held".to_owned(),
                held => {
                    format!("messages wait in {}", counted(Some(held), "place", "places"))
                }
            },
            more: names.collect(),
            gauge: None,
            advice: (held > 0)
                .then(|| verdict::advice("Remove the cause that the reasons name.", REFUSED)),
        }
        .lines(most),
    );
    lines
}

fn kafka(snapshot: &Snapshot, most: usize) -> Vec<Line<'static>> {
    let rates = &snapshot.rates;
    let (messages, bytes) =
        (rate(rates.settled_per_s, "messages"), byte_rate(rates.delivered_bytes_per_s));
    let mut lines = title(&format!("Bridge → Kafka: {messages}, {bytes}"), most);
    lines.extend(cluster(snapshot).lines(most));
    let mut nodes: Vec<_> =
        snapshot.kafka.kafka_topics.iter().map(|it| kafka_topic(it, snapshot)).collect();
    nodes.sort_by_key(|node| node.level);
    lines.extend(nodes.into_iter().flat_map(|node| node.lines(most)));
    lines
}

fn cluster(snapshot: &Snapshot) -> Node {
    let Kafka { state, detail, queue_messages, .. } = &snapshot.kafka;
    let is_failing = |code: &str| matches!(code, "kafka_unconfirmed" | "kafka_producer_failing");
    let failing = snapshot.reasons.iter().find(|it| is_failing(&it.reason));
    let level = match &**state {
        "unreachable" => Level::Bad,
        _ if failing.is_some() => Level::Bad,
        "reachable" => Level::Good,
        _ => Level::Unknown,
    };
    let said = match (failing, &**state) {
        (Some(reason), _) => in_words(&reason.reason),
        (None, "reachable") => "reachable".to_owned(),
        (None, "unreachable") => "not reachable".to_owned(),
        (None, "pending") => "being asked for the first time".to_owned(),
        (None, _) => "unknown".to_owned(),
    };
    let why = || snapshot.reasons.iter().find(|it| it.reason.starts_with("kafka_"));
    let queue = match queue_messages {
        None => String::new(),
        of => format!("{} in librdkafka", counted(*of, "record", "records")),
    };
    Node {
        level,
        name: "Kafka cluster".to_owned(),
        said,
        more: vec![if is_told(snapshot, detail) { String::new() } else { detail.clone() }, queue],
        gauge: None,
        advice: (level == Level::Bad).then(|| {
            let known = failing.or_else(why).map(|it| it.advice.clone());
            known.unwrap_or_else(|| verdict::advice("Check the cluster and the network.", SYMPTOMS))
        }),
    }
}

/// What the reason about a connection says to do, or else the warning.
fn told(snapshot: &Snapshot, connection: &str) -> Option<Advice> {
    let mut all = snapshot.reasons.iter().chain(&snapshot.warnings);
    all.find(|it| it.connection == connection).map(|it| it.advice.clone())
}

fn kafka_topic(it: &KafkaTopic, snapshot: &Snapshot) -> Node {
    let trouble = it.trouble.as_ref();
    let is_bad = it.is_held || trouble.is_some();
    let level = match it.is_reachable {
        _ if is_bad => Level::Bad,
        Some(true) => Level::Good,
        _ => Level::Unknown,
    };
    let said = match (trouble, it.is_reachable) {
        _ if it.is_held => "held, messages wait".to_owned(),
        (Some(trouble), _) => in_words(&trouble.reason),
        (None, Some(true)) => "reachable".to_owned(),
        _ if snapshot.kafka.state == "unreachable" => "not known, Kafka does not answer".to_owned(),
        _ => "not asked about".to_owned(),
    };
    let partitions = match it.partitions {
        None => String::new(),
        of => counted(of, "partition", "partitions"),
    };
    let detail = trouble.map(|it| it.detail.clone()).unwrap_or_default();
    Node {
        level,
        name: it.name.clone(),
        said,
        more: vec![detail, partitions],
        gauge: None,
        advice: is_bad.then(|| {
            let known = trouble.map(|it| it.advice.clone());
            known.unwrap_or_else(|| verdict::advice("Read the document.", REFUSED))
        }),
    }
}
