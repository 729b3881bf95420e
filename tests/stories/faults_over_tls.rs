//! The faults that TCP survives, over TLS and over WebSocket: nothing is lost or reordered, and duplicates
//! are as few as over TCP. The stories are those of TCP.

use super::{connection, mosquitto_restarts, restarts};
use crate::support::*;

/// TLS has records, WebSocket has frames: both split MQTT packets, and end in their own way.
const TRANSPORTS: [Transport; 2] = [Transport::Tls, Transport::WebSocketTls];

/// Debian's Mosquitto serves WebSocket without TLS on a path of its own (libwebsockets).
const BOTH_WEBSOCKETS: [Transport; 3] =
    [Transport::Tls, Transport::WebSocket, Transport::WebSocketTls];

#[test]
fn kill_9_twenty_times_with_a_full_window_loses_nothing() {
    // Fast enough to fill a window between two kills, and hardly more: while Mosquitto catches up with a backlog it
    // sends beyond the window and hardly reads, over TLS least of all, and PUBACKs that it has not read are lost
    // at the kill.
    restarts::kill_9_twenty_times(&Story::new("kill -9, 20 times, TLS"), &TRANSPORTS, 200);
}

#[test]
fn sigterm_under_load_twenty_times_drains_and_duplicates_nothing() {
    restarts::sigterm_twenty_times(&Story::new("SIGTERM, 20 times, TLS"), &TRANSPORTS);
}

#[test]
fn a_broker_restarted_with_1000_in_flight_loses_nothing() {
    let story = Story::new("Mosquitto restarted, TLS");
    mosquitto_restarts::restarted_with_its_sessions(&story, &BOTH_WEBSOCKETS);
}

#[test]
fn a_connection_cut_under_load_twenty_times_loses_and_reorders_nothing() {
    connection::cut_twenty_times(&Story::new("connection cut, 20 times, TLS"), &TRANSPORTS);
}

#[test]
fn a_half_open_connection_is_noticed_and_replaced() {
    connection::half_open(&Story::new("connection half-open, TLS"), &BOTH_WEBSOCKETS);
}

#[test]
fn a_connection_that_ends_behind_unread_messages_is_noticed_and_loses_nothing() {
    let story = Story::new("FIN behind unread messages, TLS");
    mosquitto_restarts::ends_behind_unread(&story, &BOTH_WEBSOCKETS);
}
