//! Names of log keys: every key that the bridge logs. Names contain the unit.

macro_rules! keys {
    ($($name:ident = $text:literal;)*) => {
        $(#[doc = concat!("`", $text, "`")] pub const $name: &str = $text;)*
    };
}

keys! {
    EVENT = "event";
    HELP = "help";
    COMPONENT = "component";
    CONNECTION = "connection";
    ACTOR = "actor";
    ERROR = "error";
    REASON = "reason";
    DETAIL = "detail";
    LIKELY = "likely";
    LOCATION = "location";
    PANIC = "panic";
    THREAD = "thread";
    SILENT_MS = "silent_ms";
    DEADLINE_MS = "deadline_ms";
    UNACKNOWLEDGED = "unacknowledged";
    ATTEMPT = "attempt";
    FAILURES = "failures";
    DELAY_MS = "delay_ms";
    ELAPSED_MS = "elapsed_ms";
    SUPPRESSED = "suppressed";
    COUNT = "count";
    EPOCH = "epoch";
    PHASE = "phase";
    EXIT_CODE = "exit_code";
    HTTP_ADDRESS = "http_address";
    HTTP_CLIENT = "http_client";
    SIGNAL = "signal";
    VERSION = "version";
    PATH = "path";

    MQTT_BROKER = "mqtt_broker";
    MQTT_PROTOCOL = "mqtt_protocol";
    INSECURE = "insecure";
    MQTT_TOPIC = "mqtt_topic";
    MQTT_FILTER = "mqtt_filter";
    ROUTE = "route";
    MQTT_QOS = "mqtt_qos";
    CLIENT_ID = "client_id";
    SESSION_PRESENT = "session_present";
    KEEP_ALIVE_S = "keep_alive_s";
    MQTT_QOS_MAX = "mqtt_qos_max";
    ASKED_S = "asked_s";
    GRANTED_S = "granted_s";

    KAFKA_BROKERS = "kafka_brokers";
    KAFKA_TOPIC = "kafka_topic";
    KAFKA_PARTITION = "kafka_partition";
    KAFKA_OFFSET = "kafka_offset";
    KAFKA_ERROR_CODE = "kafka_error_code";
    FACILITY = "facility";

    PAYLOAD_BYTES = "payload_bytes";
    RECEIVED_AT = "received_at";
    PRODUCED_AT = "produced_at";
    DELIVERED_AT = "delivered_at";
    DEVICE_US = "device_us";
    ROUTED_US = "routed_us";
    QUEUE_US = "queue_us";
    KAFKA_US = "kafka_us";
    TOTAL_US = "total_us";
    ACK_US = "ack_us";
    ACK_REASON = "ack_reason";
    P50_US = "p50_us";
    P99_US = "p99_us";
    MAX_US = "max_us";

    RECEIVED = "received";
    REDELIVERED = "redelivered";
    COPIES = "copies";
    DELIVERED = "delivered";
    DEAD_LETTERED = "dead_lettered";
    FILTERED = "filtered";
    SHED = "shed";
    IN_FLIGHT = "in_flight";
    RESTARTS = "restarts";
    RECONNECTS = "reconnects";
    DROPPED = "dropped";
    HELD = "held";
    RATE_IN = "rate_in_per_s";
    RATE_OUT = "rate_out_per_s";
    TIMING_DROPPED = "timing_dropped";
}
