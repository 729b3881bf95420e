//! Every event that the log knows. A log line has the name of its event in the key `event`; names stay, so that
//! alerts can hang on them, and texts may change. The timing record alone has none.

use slog::{KV, Level, Record, Serializer};

use super::keys;

/// Something that happens: the first field of each log line,
/// `info!(log, "text"; events::MQTT_CONNECTED, keys::KEEP_ALIVE_S => 30)`. Only the table below makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    name: &'static str,
    level: Option<Level>,
    meaning: &'static str,
    help: Option<&'static str>,
}

impl Event {
    /// In snake case.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Of its lines; `None`: a library decides.
    pub const fn level(&self) -> Option<Level> {
        self.level
    }

    /// One sentence.
    pub const fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// What a person does about it: the anchor of a heading in docs/operations.md. Each event of a warning or
    /// worse has one.
    pub const fn help(&self) -> Option<&'static str> {
        self.help
    }
}

impl KV for Event {
    fn serialize(&self, record: &Record<'_>, to: &mut dyn Serializer) -> slog::Result {
        // slog wants the last field first. What a library logs may need no help.
        if let Some(help) = self.help.filter(|_| record.level().is_at_least(Level::Warning)) {
            to.emit_arguments(keys::HELP, &format_args!("docs/operations.md#{help}"))?;
        }
        to.emit_str(keys::EVENT, self.name)
    }
}

macro_rules! level {
    (any) => {
        None
    };
    (error) => {
        Some(Level::Error)
    };
    (warn) => {
        Some(Level::Warning)
    };
    (info) => {
        Some(Level::Info)
    };
    (debug) => {
        Some(Level::Debug)
    };
}

macro_rules! help {
    () => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

/// One row an event: its name, its level, what it means, and where docs/operations.md says what to do.
macro_rules! events {
    ($($constant:ident = $name:literal, $level:ident, $meaning:literal $(=> $help:literal)?;)*) => {
        $(#[doc = $meaning] pub const $constant: Event = Event {
            name: $name,
            level: level!($level),
            meaning: $meaning,
            help: help!($($help)?),
        };)*

        /// All of them, in the order of the document.
        pub const ALL: &[Event] = &[$($constant),*];
    };
}

events! {
    // The bridge.
    STARTING = "starting", info, "The bridge starts.";
    CONFIGURATION_WARNING = "configuration_warning", warn,
        "The configuration is legal and may have an effect that nobody wants." => "configure";
    STATE_FILE_TOO_NEW = "state_file_too_new", error,
        "A newer version wrote the state file, and the bridge does not start." => "the-state-file";
    HTTP_ADDRESS_UNUSABLE = "http_address_unusable", error,
        "`http.listen` cannot be used, and the bridge does not start." => "exit-codes";
    HTTP_FILE_UNUSABLE = "http_file_unusable", error,
        "A file of `[http]` cannot be used, and the bridge does not start." => "exit-codes";
    DEAD_LETTER_FILE_UNUSABLE = "dead_letter_file_unusable", error,
        "Dead letters cannot be written, and the bridge does not start." => "exit-codes";
    SERVICE_MANAGER_UNREACHABLE = "service_manager_unreachable", warn,
        "The service manager that started the bridge cannot be told anything." => "systemd";
    READY = "ready", info, "The bridge has become ready.";
    NOT_READY = "not_ready", warn,
        "The bridge is not ready, or has other reasons for it than before." => "not-ready";
    SUMMARY = "summary", info, "What was counted until now, and how fast.";
    ACTOR_FAILED = "actor_failed", warn,
        "An actor panicked or stopped, and is restarted." => "it-restarts";
    ACTOR_NOT_BUILT = "actor_not_built", error,
        "An actor panicked while it was created, and the bridge ends." => "exit-code-70";
    RESTART_BUDGET_SPENT = "restart_budget_spent", error,
        "An actor failed too often in a row, and the bridge ends." => "exit-code-70";
    ACTOR_HANGS = "actor_hangs", error,
        "An actor made no progress for `supervisor.hang_after`, and the bridge ends." => "it-restarts";
    THREAD_ENDED = "thread_ended", error,
        "A thread ended that must not, and the bridge ends." => "exit-code-70";
    SUPERVISOR_ENDED = "supervisor_ended", error,
        "SupervisorActor ended, and the bridge with it." => "exit-code-70";
    PANIC = "panic", error, "A panic that nothing else caught." => "it-restarts";
    SIGNALS_UNUSABLE = "signals_unusable", error,
        "The bridge cannot receive signals, and ends." => "exit-code-70";
    SIGNAL_RECEIVED = "signal_received", info, "A signal asks the bridge to end.";
    SECOND_SIGNAL = "second_signal", warn,
        "A second signal came during the drain, and the bridge ends at once." => "stop-restart-upgrade";
    DRAINING = "draining", info, "A drain begins.";
    INTAKE_STOPPED = "intake_stopped", info, "A connection takes no more messages.";
    DRAINED = "drained", info, "All that was in flight has its verdict.";
    DRAIN_DEADLINE_PASSED = "drain_deadline_passed", warn,
        "The drain took longer than `delivery.drain_deadline`." => "stop-restart-upgrade";
    ACTOR_THREAD_LATE = "actor_thread_late", warn,
        "An actor's thread did not end in time; the process ends all the same." => "stop-restart-upgrade";
    STOPPED = "stopped", info, "The bridge has ended as it should.";
    STOPPED_BY_FAILURE = "stopped_by_failure", error,
        "The bridge has ended for another reason, which the line names." => "exit-codes";

    // MQTT.
    MQTT_CONNECTED = "mqtt_connected", info, "The broker has accepted the connection.";
    MQTT_CONNECT_FAILED = "mqtt_connect_failed", warn,
        "A connection could not be opened; the bridge tries again." => "messages-stop-arriving";
    MQTT_CONNECTION_LOST = "mqtt_connection_lost", warn,
        "A connection was lost; the bridge opens another." => "messages-stop-arriving";
    MQTT_ROTATED = "mqtt_rotated", info,
        "A file of the login or of TLS has changed, and the connection is replaced.";
    MQTT_ROTATION_FAILED = "mqtt_rotation_failed", warn,
        "A connection with changed files could not be opened; the old one stays."
        => "rotate-certificates-and-passwords";
    MQTT_SESSION_SHORTENED = "mqtt_session_shortened", warn,
        "The broker keeps the session for less time than asked." => "other-warnings";
    SUBSCRIBED = "subscribed", info, "The broker has granted a route's subscription.";
    SUBSCRIPTION_DOWNGRADED = "subscription_downgraded", warn,
        "The broker granted a lower QoS than the route's." => "not-ready";
    SUBSCRIPTION_REFUSED = "subscription_refused", warn,
        "The broker refused a route's subscription; the bridge asks again." => "not-ready";
    SUBSCRIPTION_UNANSWERED = "subscription_unanswered", warn,
        "The broker has not answered a SUBSCRIBE; the bridge asks again." => "not-ready";
    SUBSCRIPTION_SILENT = "subscription_silent", warn,
        "A granted shared subscription has brought nothing." => "messages-stop-arriving";
    UNSUBSCRIBED = "unsubscribed", info, "A filter that no route needs is no longer subscribed.";
    UNSUBSCRIBE_FAILED = "unsubscribe_failed", warn,
        "An old filter could not be unsubscribed; the bridge tries again." => "the-state-file";
    STATUS_MESSAGE_NOT_TAKEN = "status_message_not_taken", warn,
        "The broker did not take a message of `[mqtt.status]` as configured." => "other-warnings";
    QOS0_SHED = "qos0_shed", warn,
        "QoS 0 messages were dropped, since the window was full." => "latency-grows";
    ROUTING_PANICKED = "routing_panicked", warn,
        "A panic while a message was routed; it goes to the dead letter." => "dead-letters-grow";
    MESSAGE_UNMATCHED = "message_unmatched", warn,
        "A message came that no route matches." => "messages-that-no-route-matches";
    STATE_FILE_UNUSABLE = "state_file_unusable", warn,
        "The state file cannot be read, and the bridge starts without it." => "the-state-file";
    STATE_FILE_NOT_WRITTEN = "state_file_not_written", warn,
        "The state file cannot be written." => "the-state-file";
    STATE_FILE_NOT_REMOVED = "state_file_not_removed", warn,
        "`leave` could not remove the state file." => "leave-for-good";
    SESSION_LEFT = "session_left", info, "`leave` has ended the session, or there was none.";
    SESSION_NOT_LEFT = "session_not_left", warn,
        "`leave` gave up, and the broker keeps the session." => "leave-for-good";

    // Kafka.
    PRODUCER_STARTED = "producer_started", info, "A producer was started.";
    PRODUCER_REPLACED = "producer_replaced", info,
        "A producer is replaced because its files have changed.";
    PRODUCER_FAILED = "producer_failed", warn,
        "A producer failed for good and is replaced." => "it-restarts";
    PRODUCER_NOT_MADE = "producer_not_made", error,
        "A producer cannot be made yet, because of a file; messages wait." => "not-ready";
    PRODUCER_NOT_STARTED = "producer_not_started", error,
        "The first producer could not be made, and KafkaProducerActor fails." => "it-restarts";
    KAFKA_UNREACHABLE = "kafka_unreachable", warn,
        "No Kafka broker can be reached." => "messages-stop-arriving";
    KAFKA_REACHABLE = "kafka_reachable", info, "Kafka can be reached again.";
    KAFKA_UNCONFIRMED = "kafka_unconfirmed", warn,
        "Kafka can be reached, and has acknowledged no record for 10 s." => "too-few-replicas-in-sync";
    KAFKA_CLIENT_ERROR = "kafka_client_error", warn,
        "librdkafka reports an error that is no record's." => "symptoms-likely-causes-and-cures";
    KAFKA_TOPICS_UNKNOWN = "kafka_topics_unknown", warn,
        "Kafka does not answer about Kafka topics that templates name." => "messages-stop-arriving";
    KAFKA_TOPIC_UNUSABLE = "kafka_topic_unusable", warn,
        "A Kafka topic that a template names cannot be used." => "kafka-topics-that-templates-name";
    KAFKA_TOPIC_HELD = "kafka_topic_held", error,
        "A Kafka topic refuses every record; its messages wait." => "what-kafka-refuses";
    KAFKA_CLIENTS_LIMITED = "kafka_clients_limited", warn,
        "The system has no room for another client of Kafka." => "other-warnings";
    KAFKA_THREAD_ENDED = "kafka_thread_ended", error,
        "A thread of the producer ended, and KafkaProducerActor fails." => "it-restarts";
    RECORD_REFUSED = "record_refused", warn,
        "Kafka refused a record for good; it goes to the dead letter." => "what-kafka-refuses";
    RECORD_PANICKED = "record_panicked", error,
        "A panic while a message was delivered; it goes to the dead letter." => "dead-letters-grow";
    DEAD_LETTER_BLOCKED = "dead_letter_blocked", error,
        "A dead letter cannot be written; its message waits." => "dead-letters-grow";
    DEAD_LETTER_WARNING = "dead_letter_warning", warn,
        "The dead letter file can be used and is not as it should be." => "dead-letters-grow";
    UNMATCHED_DROPPED = "unmatched_dropped", warn,
        "Messages that no route matches are dropped, since their dead letter cannot be written."
        => "messages-that-no-route-matches";
    BATCH_STALE = "batch_stale", debug, "A batch was for a producer that is gone; it comes again.";
    KAFKA_PASSWORD_RENEWED = "kafka_password_renewed", info, "The password for Kafka has changed.";
    KAFKA_PASSWORD_UNUSABLE = "kafka_password_unusable", warn,
        "The password for Kafka has changed and cannot be read; the last one stays."
        => "rotate-certificates-and-passwords";
    KAFKA_CERTIFICATE_UNUSABLE = "kafka_certificate_unusable", warn,
        "Certificate files for Kafka have changed and cannot be used; the last ones stay."
        => "rotate-certificates-and-passwords";
    KAFKA_TOKEN_FETCHED = "kafka_token_fetched", info, "A token for Kafka was fetched.";
    KAFKA_TOKEN_MISSING = "kafka_token_missing", warn,
        "No token for Kafka could be fetched; the bridge tries again." => "not-ready";

    // The configuration, read again.
    CONFIG_RELOADING = "config_reloading", info, "The configuration is read again.";
    CONFIG_RELOADED = "config_reloaded", info, "The configuration was read again and is in force.";
    CONFIG_UNCHANGED = "config_unchanged", info,
        "The configuration was read again, and nothing of it can be applied.";
    CONFIG_WAITS_FOR_RESTART = "config_waits_for_restart", warn,
        "Changed keys, or routes because of them, wait for a restart." => "change-the-configuration";
    CONFIG_REFUSED = "config_refused", error,
        "The configuration was read again and is wrong; the old one stays." => "change-the-configuration";
    CONFIG_NOT_WATCHED = "config_not_watched", error,
        "The configuration cannot be watched for changes." => "change-the-configuration";

    // HTTP.
    HTTP_LISTENING = "http_listening", info, "The HTTP server listens.";
    HTTP_FILE_RENEWED = "http_file_renewed", info, "A file of `[http]` has changed and was read.";
    HTTP_FILE_REFUSED = "http_file_refused", warn,
        "A file of `[http]` has changed and cannot be used; the one before stays." => "other-warnings";
    HTTP_TOKEN_WRONG = "http_token_wrong", warn,
        "A client asked for a page with a wrong token." => "other-warnings";
    HTTP_COOKIE_FAILED = "http_cookie_failed", error,
        "A login could not be answered with a cookie." => "other-warnings";
    HTTP_SERVER_ENDED = "http_server_ended", error,
        "The HTTP server ended, and the bridge ends." => "exit-code-70";

    // The log itself, and libraries.
    TIMING_RECORDS_DROPPED = "timing_records_dropped", warn,
        "The log had no room for timing records." => "other-warnings";
    LOG_RECORDS_DROPPED = "log_records_dropped", warn,
        "The log had no room for other records." => "other-warnings";
    LIBRDKAFKA_SAID = "librdkafka_said", any, "librdkafka logged something."
        => "symptoms-likely-causes-and-cures";
    LIBRARY_SAID = "library_said", any, "Another library logged something; `component` names it."
        => "other-warnings";
}

#[cfg(test)]
mod tests {
    use slog::{debug, error, info, warn};

    use crate::observe::events;
    use crate::observe::test_support::{json_lines, json_log};

    #[test]
    fn a_line_says_where_help_is_if_it_is_a_warning_or_worse() {
        let (logging, lines) = json_log();
        logging.set_level(slog::Level::Debug);
        let log = logging.logger();
        error!(log, "x"; events::LIBRARY_SAID);
        warn!(log, "x"; events::LIBRARY_SAID);
        info!(log, "x"; events::LIBRARY_SAID);
        debug!(log, "x"; events::LIBRARY_SAID);
        logging.flush();
        let has_help: Vec<_> =
            json_lines(&lines).iter().map(|line| line.get("help").is_some()).collect();
        assert_eq!(has_help, [true, true, false, false]);
    }
}
