//! What each error code of librdkafka means for a record. Pure. The key is the raw number, because
//! a code that the bindings do not know is not a valid value of their enum.

/// What is to be done about a record that came back with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// In Kafka.
    Delivered,
    /// The cause passes by itself: send the record again after a pause.
    Transient,
    /// The record, or another one of its request, is refused: send it alone. If it is refused again it goes to
    /// the dead letter, or is held if the Kafka topic is the cause (`refusals.rs`).
    Suspect,
    /// Refused only because another record of its request was: send it again.
    Innocent,
    /// Refused for good: to the dead letter at once.
    Refused,
    /// Refused for a cause that a person must remove (ACL, missing Kafka topic): hold its Kafka topic.
    Hold,
    /// The producer has failed: a new one, a new epoch, and the sources hand on again.
    Fatal,
    /// Only from `send`: librdkafka's queue is full. Wait for delivery reports.
    QueueFull,
}

use Class::{Delivered, Fatal, Hold, Innocent, QueueFull, Suspect, Transient};

/// librdkafka purged the record from its own queue or from a request, after a fatal error or at the
/// end of a producer.
pub const PURGED: [i32; 2] = [-152, -151];

/// Our own code, for a record that librdkafka reports as delivered without an offset. No broker confirmed it:
/// librdkafka concludes it from the success of a later request, which proves nothing where Kafka does not
/// check sequence numbers (docs/decisions/0002-gapless.md).
pub const WITHOUT_OFFSET: i32 = -1001;

/// librdkafka can reach no broker.
pub const ALL_BROKERS_DOWN: i32 = -187;

/// librdkafka's `_AUTHENTICATION`.
pub const AUTHENTICATION: i32 = -169;

/// Kafka's SASL_AUTHENTICATION_FAILED.
const SASL_FAILED: i32 = 58;

/// Whether Kafka has refused a login.
pub fn is_login_refused(code: i32) -> bool {
    matches!(code, AUTHENTICATION | SASL_FAILED)
}

/// A record over `message.max.bytes` (from `send`) or over the Kafka topic's limit (from a report).
const MSG_SIZE_TOO_LARGE: i32 = 10;
/// The same, of the request that it is alone in.
const RECORD_LIST_TOO_LARGE: i32 = 18;

/// librdkafka's `_UNKNOWN_TOPIC` and Kafka's UNKNOWN_TOPIC_OR_PART.
const UNKNOWN_TOPIC: [i32; 2] = [-188, 3];

/// Whether the Kafka topic is said not to exist.
pub fn is_topic_missing(code: i32) -> bool {
    UNKNOWN_TOPIC.contains(&code)
}

/// A timestamp outside the limits of the Kafka topic (`message.timestamp.before.max.ms`, `.after.max.ms`).
pub const INVALID_TIMESTAMP: i32 = 32;

/// librdkafka's code for a partition that is not there.
pub const UNKNOWN_PARTITION: i32 = -190;

/// The class of the code in a delivery report. A code that is not in the table is
/// [`Class::Transient`]: a record is never given up for an unknown reason.
pub fn of_report(code: i32) -> Class {
    row(code).map_or(Transient, |row| row.2)
}

/// The class of the code with which `send` returned at once.
pub fn of_send(code: i32) -> Class {
    match code {
        // The limit is our own: no other record can be the cause.
        MSG_SIZE_TOO_LARGE => Class::Refused,
        _ => of_report(code),
    }
}

/// librdkafka's name of a code, `"UNKNOWN_CODE"` for a code that is not in the table.
pub fn name(code: i32) -> &'static str {
    row(code).map_or("UNKNOWN_CODE", |row| row.1)
}

/// The `reason` of a dead letter for a record that Kafka refused with `code`.
pub fn refusal_reason(code: i32) -> &'static str {
    if is_too_large(code) { "kafka_too_large" } else { "kafka_refused" }
}

/// Whether the record was refused for its size. The cause is then always the record itself; with any other code
/// it may be the Kafka topic.
pub fn is_too_large(code: i32) -> bool {
    matches!(code, MSG_SIZE_TOO_LARGE | RECORD_LIST_TOO_LARGE)
}

fn row(code: i32) -> Option<&'static (i32, &'static str, Class)> {
    // The report of a delivered record, which is nearly every one, is first.
    match code {
        0 => Some(&NO_ERROR),
        _ => TABLE.binary_search_by_key(&code, |row| row.0).ok().map(|at| &TABLE[at]),
    }
}

const NO_ERROR: (i32, &str, Class) = (0, "NO_ERROR", Delivered);

/// [`WITHOUT_OFFSET`] and every code of librdkafka 2.12.1, ascending. Codes that librdkafka retries
/// by itself are [`Class::Transient`] too: should one surface, sending again is right.
#[rustfmt::skip]
const TABLE: &[(i32, &str, Class)] = &[
    (WITHOUT_OFFSET, "DELIVERED_WITHOUT_OFFSET", Fatal),
    (-199, "_BAD_MSG", Suspect),
    (-198, "_BAD_COMPRESSION", Transient),
    (-197, "_DESTROY", Transient),
    (-196, "_FAIL", Transient),
    (-195, "_TRANSPORT", Transient),
    (-194, "_CRIT_SYS_RESOURCE", Transient),
    (-193, "_RESOLVE", Transient),
    (-192, "_MSG_TIMED_OUT", Transient),
    (-191, "_PARTITION_EOF", Transient),
    (UNKNOWN_PARTITION, "_UNKNOWN_PARTITION", Hold),
    (-189, "_FS", Transient),
    (-188, "_UNKNOWN_TOPIC", Hold),
    (-187, "_ALL_BROKERS_DOWN", Transient),
    (-186, "_INVALID_ARG", Transient),
    (-185, "_TIMED_OUT", Transient),
    (-184, "_QUEUE_FULL", QueueFull),
    (-183, "_ISR_INSUFF", Transient),
    (-182, "_NODE_UPDATE", Transient),
    (-181, "_SSL", Transient),
    (-180, "_WAIT_COORD", Transient),
    (-179, "_UNKNOWN_GROUP", Transient),
    (-178, "_IN_PROGRESS", Transient),
    (-177, "_PREV_IN_PROGRESS", Transient),
    (-176, "_EXISTING_SUBSCRIPTION", Transient),
    (-175, "_ASSIGN_PARTITIONS", Transient),
    (-174, "_REVOKE_PARTITIONS", Transient),
    (-173, "_CONFLICT", Transient),
    (-172, "_STATE", Transient),
    (-171, "_UNKNOWN_PROTOCOL", Transient),
    (-170, "_NOT_IMPLEMENTED", Transient),
    (-169, "_AUTHENTICATION", Transient),
    (-168, "_NO_OFFSET", Transient),
    (-167, "_OUTDATED", Transient),
    (-166, "_TIMED_OUT_QUEUE", Transient),
    (-165, "_UNSUPPORTED_FEATURE", Transient),
    (-164, "_WAIT_CACHE", Transient),
    (-163, "_INTR", Transient),
    (-162, "_KEY_SERIALIZATION", Transient),
    (-161, "_VALUE_SERIALIZATION", Transient),
    (-160, "_KEY_DESERIALIZATION", Transient),
    (-159, "_VALUE_DESERIALIZATION", Transient),
    (-158, "_PARTIAL", Transient),
    (-157, "_READ_ONLY", Transient),
    (-156, "_NOENT", Transient),
    (-155, "_UNDERFLOW", Transient),
    (-154, "_INVALID_TYPE", Transient),
    (-153, "_RETRY", Transient),
    (-152, "_PURGE_QUEUE", Transient),
    (-151, "_PURGE_INFLIGHT", Transient),
    (-150, "_FATAL", Fatal),
    (-149, "_INCONSISTENT", Fatal),
    (-148, "_GAPLESS_GUARANTEE", Fatal),
    (-147, "_MAX_POLL_EXCEEDED", Transient),
    (-146, "_UNKNOWN_BROKER", Transient),
    (-145, "_NOT_CONFIGURED", Transient),
    (-144, "_FENCED", Fatal),
    (-143, "_APPLICATION", Transient),
    (-142, "_ASSIGNMENT_LOST", Transient),
    (-141, "_NOOP", Transient),
    (-140, "_AUTO_OFFSET_RESET", Transient),
    (-139, "_LOG_TRUNCATION", Transient),
    (-138, "_INVALID_DIFFERENT_RECORD", Innocent),
    (-137, "_DESTROY_BROKER", Transient),
    (-1, "UNKNOWN", Transient),
    (0, "NO_ERROR", Delivered),
    (1, "OFFSET_OUT_OF_RANGE", Transient),
    (2, "INVALID_MSG", Transient),
    (3, "UNKNOWN_TOPIC_OR_PART", Hold),
    (4, "INVALID_MSG_SIZE", Suspect),
    (5, "LEADER_NOT_AVAILABLE", Transient),
    (6, "NOT_LEADER_FOR_PARTITION", Transient),
    (7, "REQUEST_TIMED_OUT", Transient),
    (8, "BROKER_NOT_AVAILABLE", Transient),
    (9, "REPLICA_NOT_AVAILABLE", Transient),
    (10, "MSG_SIZE_TOO_LARGE", Suspect),
    (11, "STALE_CTRL_EPOCH", Transient),
    (12, "OFFSET_METADATA_TOO_LARGE", Transient),
    (13, "NETWORK_EXCEPTION", Transient),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Transient),
    (15, "COORDINATOR_NOT_AVAILABLE", Transient),
    (16, "NOT_COORDINATOR", Transient),
    (17, "TOPIC_EXCEPTION", Hold),
    (18, "RECORD_LIST_TOO_LARGE", Suspect),
    (19, "NOT_ENOUGH_REPLICAS", Transient),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Transient),
    (21, "INVALID_REQUIRED_ACKS", Hold),
    (22, "ILLEGAL_GENERATION", Transient),
    (23, "INCONSISTENT_GROUP_PROTOCOL", Transient),
    (24, "INVALID_GROUP_ID", Transient),
    (25, "UNKNOWN_MEMBER_ID", Transient),
    (26, "INVALID_SESSION_TIMEOUT", Transient),
    (27, "REBALANCE_IN_PROGRESS", Transient),
    (28, "INVALID_COMMIT_OFFSET_SIZE", Transient),
    (29, "TOPIC_AUTHORIZATION_FAILED", Hold),
    (30, "GROUP_AUTHORIZATION_FAILED", Transient),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Hold),
    (INVALID_TIMESTAMP, "INVALID_TIMESTAMP", Suspect),
    (33, "UNSUPPORTED_SASL_MECHANISM", Transient),
    (34, "ILLEGAL_SASL_STATE", Transient),
    (35, "UNSUPPORTED_VERSION", Hold),
    (36, "TOPIC_ALREADY_EXISTS", Transient),
    (37, "INVALID_PARTITIONS", Transient),
    (38, "INVALID_REPLICATION_FACTOR", Transient),
    (39, "INVALID_REPLICA_ASSIGNMENT", Transient),
    (40, "INVALID_CONFIG", Transient),
    (41, "NOT_CONTROLLER", Transient),
    (42, "INVALID_REQUEST", Suspect),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Hold),
    (44, "POLICY_VIOLATION", Suspect),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Fatal),
    (46, "DUPLICATE_SEQUENCE_NUMBER", Delivered),
    (47, "INVALID_PRODUCER_EPOCH", Transient),
    (48, "INVALID_TXN_STATE", Fatal),
    (49, "INVALID_PRODUCER_ID_MAPPING", Fatal),
    (50, "INVALID_TRANSACTION_TIMEOUT", Fatal),
    (51, "CONCURRENT_TRANSACTIONS", Fatal),
    (52, "TRANSACTION_COORDINATOR_FENCED", Fatal),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Fatal),
    (54, "SECURITY_DISABLED", Transient),
    (55, "OPERATION_NOT_ATTEMPTED", Transient),
    (56, "KAFKA_STORAGE_ERROR", Transient),
    (57, "LOG_DIR_NOT_FOUND", Transient),
    (58, "SASL_AUTHENTICATION_FAILED", Transient),
    (59, "UNKNOWN_PRODUCER_ID", Fatal),
    (60, "REASSIGNMENT_IN_PROGRESS", Transient),
    (61, "DELEGATION_TOKEN_AUTH_DISABLED", Transient),
    (62, "DELEGATION_TOKEN_NOT_FOUND", Transient),
    (63, "DELEGATION_TOKEN_OWNER_MISMATCH", Transient),
    (64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Transient),
    (65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", Transient),
    (66, "DELEGATION_TOKEN_EXPIRED", Transient),
    (67, "INVALID_PRINCIPAL_TYPE", Transient),
    (68, "NON_EMPTY_GROUP", Transient),
    (69, "GROUP_ID_NOT_FOUND", Transient),
    (70, "FETCH_SESSION_ID_NOT_FOUND", Transient),
    (71, "INVALID_FETCH_SESSION_EPOCH", Transient),
    (72, "LISTENER_NOT_FOUND", Transient),
    (73, "TOPIC_DELETION_DISABLED", Transient),
    (74, "FENCED_LEADER_EPOCH", Transient),
    (75, "UNKNOWN_LEADER_EPOCH", Transient),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Hold),
    (77, "STALE_BROKER_EPOCH", Transient),
    (78, "OFFSET_NOT_AVAILABLE", Transient),
    (79, "MEMBER_ID_REQUIRED", Transient),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE", Transient),
    (81, "GROUP_MAX_SIZE_REACHED", Transient),
    (82, "FENCED_INSTANCE_ID", Transient),
    (83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", Transient),
    (84, "ELECTION_NOT_NEEDED", Transient),
    (85, "NO_REASSIGNMENT_IN_PROGRESS", Transient),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC", Transient),
    (87, "INVALID_RECORD", Suspect),
    (88, "UNSTABLE_OFFSET_COMMIT", Transient),
    (89, "THROTTLING_QUOTA_EXCEEDED", Transient),
    (90, "PRODUCER_FENCED", Transient),
    (91, "RESOURCE_NOT_FOUND", Transient),
    (92, "DUPLICATE_RESOURCE", Transient),
    (93, "UNACCEPTABLE_CREDENTIAL", Transient),
    (94, "INCONSISTENT_VOTER_SET", Transient),
    (95, "INVALID_UPDATE_VERSION", Transient),
    (96, "FEATURE_UPDATE_FAILED", Transient),
    (97, "PRINCIPAL_DESERIALIZATION_FAILURE", Transient),
    (100, "UNKNOWN_TOPIC_ID", Transient),
    (110, "FENCED_MEMBER_EPOCH", Transient),
    (111, "UNRELEASED_INSTANCE_ID", Transient),
    (112, "UNSUPPORTED_ASSIGNOR", Transient),
    (113, "STALE_MEMBER_EPOCH", Transient),
    (117, "UNKNOWN_SUBSCRIPTION_ID", Transient),
    (118, "TELEMETRY_TOO_LARGE", Transient),
    (129, "REBOOTSTRAP_REQUIRED", Transient),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::librdkafka::known_codes;

    #[test]
    fn every_code_of_the_linked_librdkafka_is_in_the_table() {
        let known = known_codes();
        assert!(known.len() > 150, "{}", known.len());
        for (code, text) in known {
            // -200, -100 and 130 only mark the ends of librdkafka's ranges.
            let marker = matches!(code, -200 | -100 | 130);
            assert!(marker || row(code).is_some(), "{code} {text} is not classified");
        }
    }

    #[test]
    fn the_table_ascends_and_names_no_code_twice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(TABLE.iter().find(|row| row.0 == 0), Some(&NO_ERROR));
    }

    #[test]
    fn a_code_that_nobody_knows_is_never_given_up() {
        for code in [i32::MIN, -1000, 98, 119, 133, 200, i32::MAX] {
            assert_eq!((of_report(code), name(code)), (Transient, "UNKNOWN_CODE"));
        }
    }

    #[test]
    fn each_class_has_its_codes() {
        let cases: [(Class, &[i32]); 7] = [
            (Delivered, &[0, 46]),
            (Transient, &[-1, 2, 5, 6, 7, 13, 19, 56, 74, 89, 90, 100, 129, -192, -195, -152]),
            (Suspect, &[4, 10, 18, 32, 42, 44, 87, -199]),
            (Innocent, &[-138]),
            (Hold, &[3, 17, 21, 29, 31, 35, 43, 76, -188, -190]),
            (Fatal, &[45, 59, 48, 49, 50, 51, 52, 53, -144, -148, -149, -150, WITHOUT_OFFSET]),
            (QueueFull, &[-184]),
        ];
        for (class, codes) in cases {
            for code in codes {
                assert_eq!(of_report(*code), class, "{code} {}", name(*code));
            }
        }
        // All that is not listed above passes by itself.
        let named: usize = cases.iter().filter(|case| case.0 != Transient).map(|c| c.1.len()).sum();
        assert_eq!(TABLE.iter().filter(|row| row.2 != Transient).count(), named);
    }

    #[test]
    fn of_the_refusals_only_those_for_size_are_always_the_records_own() {
        let sizes: Vec<i32> =
            TABLE.iter().map(|row| row.0).filter(|code| is_too_large(*code)).collect();
        assert_eq!(sizes, [10, 18]);
        assert!(sizes.iter().all(|code| refusal_reason(*code) == "kafka_too_large"));
        assert!(
            [4, 32, 42, 44, 87, -199].iter().all(|code| refusal_reason(*code) == "kafka_refused")
        );
    }

    #[test]
    fn a_record_over_our_own_limit_is_refused_but_one_over_kafkas_is_suspect() {
        assert_eq!(of_send(10), Class::Refused);
        assert_eq!(of_report(10), Suspect);
        assert_eq!(of_send(-184), QueueFull);
    }
}
