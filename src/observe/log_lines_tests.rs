//! No log line of the data path is unbounded: it passes a [`LogLimiter`](super::LogLimiter) and says how
//! many were suppressed, or the table here says what bounds it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where clients and brokers can cause log lines.
const SOURCES: [&str; 3] = ["src/mqtt", "src/kafka", "src/http"];

/// Lines without a limiter, and what bounds them.
const BOUNDED: [(&str, &str); 27] = [
    (
        "shared subscription granted, but no message has arrived",
        "one a route and mqtt.silence_warning",
    ),
    ("kafka topic refuses every record, holding it", "one when a hold begins"),
    (
        "state file not written, old subscriptions may stay after a restart",
        "one a change of the subscriptions",
    ),
    ("unsubscribed a filter that no route needs", "once for each filter of an older configuration"),
    ("accepting no more messages", "once a drain, and a restart of an actor"),
    ("connected to mqtt", "one a connection: the backoff between connections"),
    ("the broker keeps the session for less time than asked", "one a connection"),
    ("subscribed", "one a connection and route, or the backoff of a subscription"),
    ("{} read again", "one a change of the file"),
    ("{} changed and cannot be used, the one before stays", "one a change of the file"),
    ("cannot make a cookie", "one a login with the right token"),
    ("mqtt files have changed, connecting with the new ones", "one a change of the files"),
    ("nothing has moved for too long, not left: the session is kept", "once, before the end"),
    ("state file not removed", "once, before the end"),
    ("left: all is delivered, and the session is ended", "once, before the end"),
    ("left: the broker had no session for this client id", "once, before the end"),
    ("all kafka brokers still unreachable", "once in AWAY_INTERVAL"),
    ("batch for another epoch", "debug; one a batch that was under way when a producer ended"),
    ("producer started", "the backoff of producers that deliver nothing"),
    ("no more clients for many kafka topics", "once a producer"),
    ("producer not started", "the budget of restarts"),
    ("kafka reachable again", "only after \"all kafka brokers unreachable\", which has a limiter"),
    ("http server ended", "once"),
    ("kafka password changed, it is used from the next login on", "one a change of the file"),
    ("replacing the producer", "one a change of the files, or once an hour"),
    ("token for kafka fetched", "the first, and the first after a failure, with their backoff"),
    ("librdkafka says", "a limiter for each of its facilities, of which there are a few"),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            found.push(path);
        }
    }
}

/// The text between the parenthesis that `rest` begins behind and the one that closes it.
fn call(rest: &str) -> &str {
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    &rest[..end.expect("a call ends").0]
}

#[test]
fn every_line_that_a_stranger_can_cause_has_a_limiter_or_another_bound() {
    let mut files = Vec::new();
    for directory in SOURCES {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut files);
    }
    let mut lines = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for level in ["error!(", "warn!(", "info!(", "debug!("] {
            for (at, _) in text.match_indices(level) {
                let call = call(&text[at + level.len()..]);
                lines += 1;
                let bounded = BOUNDED.iter().any(|(line, _)| call.contains(&format!("\"{line}\"")));
                assert!(
                    bounded || call.contains("keys::SUPPRESSED"),
                    "{}: this line has no limiter: {call}",
                    file.display()
                );
            }
        }
    }
    assert!(lines > 20, "the sources were found: {lines}");
}
