//! Every property of librdkafka's producer: the bridge passes it on, checks it, or refuses it with a
//! reason. A test compares the table with the linked librdkafka.

/// The properties that the bridge sets itself, with the reason; and `bootstrap.servers`, which is
/// `kafka.brokers`.
pub const KAFKA_SETTINGS: &[(&str, &str, &str)] = &[
    ("enable.idempotence", "true", "without it a retry can reorder and duplicate records"),
    ("acks", "all", "a PUBACK promises that every in-sync replica has the record"),
    ("message.timeout.ms", "0", "a message waits for Kafka as long as necessary"),
    ("retries", "2147483647", "a record whose last retry fails would leave a gap"),
    ("enable.gapless.guarantee", "true", "without it later records overtake a refused one"),
];

/// How the bridge treats a property.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Passed on, if librdkafka accepts the value.
    Free,
    /// Set by the bridge, which relies on it (`KAFKA_SETTINGS`): any other value is a contradiction.
    Set,
    /// The least value, and the reason.
    Least(fn(&Limits) -> u64, &'static str),
    /// The allowed values, and the reason.
    Only(&'static [&'static str], &'static str),
    /// Only if the bridge logs at level debug, which is the level of librdkafka's debug lines.
    WhereDebugIsLogged,
    /// For the bridge, which fetches tokens itself, because librdkafka is built without that
    /// (docs/decisions/0021-tokens-of-our-own.md): not passed on.
    Ours,
    /// Not allowed, because ...
    Refused(&'static str),
}

/// What other keys require of the properties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The largest record in bytes, key and headers included.
    pub(super) record_bytes: u64,
    /// The largest number of messages in a round.
    pub(super) round_messages: u64,
    /// The interval at which metadata is refreshed, in milliseconds.
    pub(super) metadata_refresh_ms: u64,
    /// The bridge's log shows level debug.
    pub(super) logs_debug: bool,
}

/// The rule for a property of this name.
pub(super) fn rule(name: &str) -> Option<Rule> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// A round is sent as one request for each partition (docs/decisions/0006-whole-rounds.md): with smaller
/// requests its rest waits inside librdkafka, whose thread runs a busy loop meanwhile
/// (docs/decisions/0004-rounds.md).
pub const REQUEST_BYTES: u64 = 1_000_000;

const CONSUMER: Rule = Rule::Refused("only consumers have it, and the bridge is a producer");
const CODE: Rule = Rule::Refused("it is not a value: only program code can set it");
const UNUSED: Rule = Rule::Refused("librdkafka no longer uses it");
const TEST: Rule = Rule::Refused("it is for librdkafka's own tests");
const KERBEROS: Rule = Rule::Refused("this build comes without Kerberos (GSSAPI)");
const OAUTH: Rule = Rule::Refused(
    "the bridge fetches tokens by OIDC client credentials only (sasl.oauthbearer.method = \"oidc\")",
);
const OLD: Rule = Rule::Refused("such an old Kafka has no idempotent producer");
const WHOLE_ROUND: &str =
    "a round is sent as one request, and the rest of a divided one keeps a thread busy";
const MECHANISMS: Rule = Rule::Only(
    &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", AWS_MSK_IAM],
    "Kafka compares capitals too, and this build comes without Kerberos (GSSAPI)",
);

/// The mechanism of Amazon MSK. To librdkafka it is OAUTHBEARER, with a token that the bridge signs.
pub(super) const AWS_MSK_IAM: &str = "AWS_MSK_IAM";

use Rule::{Free, Least, Only, Ours, Refused, Set, WhereDebugIsLogged};

#[rustfmt::skip]
pub(super) const TABLE: &[(&str, Rule)] = &[
    // The guarantees depend on these.
    ("acks", Set),
    ("request.required.acks", Set),
    ("bootstrap.servers", Set),
    ("metadata.broker.list", Set),
    ("enable.idempotence", Set),
    ("enable.gapless.guarantee", Set),
    ("message.timeout.ms", Set),
    ("delivery.timeout.ms", Set),
    ("retries", Set),
    ("message.send.max.retries", Set),
    ("max.in.flight", Set),
    ("max.in.flight.requests.per.connection", Set),
    ("queuing.strategy", Only(&["fifo"], "the records of one MQTT topic must stay in order")),
    ("queue.buffering.backpressure.threshold", Only(&["1"], "an idempotent producer has no other value")),
    ("partitioner", Only(
        &["consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random"],
        "all records of one MQTT topic must go to one partition",
    )),
    ("delivery.report.only.error", Refused("the bridge acknowledges by the delivery reports")),
    ("transactional.id", Refused("the bridge uses no transactions")),
    ("transaction.timeout.ms", Refused("the bridge uses no transactions")),

    // Sizes.
    ("message.max.bytes", Least(|_| REQUEST_BYTES, WHOLE_ROUND)),
    ("batch.size", Least(|_| REQUEST_BYTES, WHOLE_ROUND)),
    ("batch.num.messages", Least(|limits| limits.round_messages, WHOLE_ROUND)),
    ("queue.buffering.max.messages", Free),
    ("queue.buffering.max.kbytes", Least(
        |limits| limits.record_bytes.div_ceil(1024),
        "a record of mqtt.max_payload must fit",
    )),
    ("receive.message.max.bytes", Least(
        |_| REQUEST_BYTES,
        "a larger metadata response would end each connection",
    )),
    ("message.copy.max.bytes", Free),

    // Time.
    ("linger.ms", Free),
    ("queue.buffering.max.ms", Free),
    ("request.timeout.ms", Least(|_| 1000, "Kafka would give up on requests that could succeed")),
    ("socket.timeout.ms", Least(|_| 1000, "the bridge would give up on requests that could succeed")),
    ("socket.connection.setup.timeout.ms", Free),
    ("connections.max.idle.ms", Free),
    ("reconnect.backoff.ms", Least(|_| 1, "0 leaves no pause between attempts to connect")),
    ("reconnect.backoff.max.ms", Free),
    ("retry.backoff.ms", Free),
    ("retry.backoff.max.ms", Free),
    ("api.version.request.timeout.ms", Free),
    ("broker.address.ttl", Free),
    ("sticky.partitioning.linger.ms", Refused("the bridge sets it, so that a record without a key goes where its MQTT topic does")),

    // Metadata.
    ("metadata.max.age.ms", Least(
        |limits| limits.metadata_refresh_ms,
        "Kafka topics would be forgotten between two refreshes (topic.metadata.refresh.interval.ms)",
    )),
    ("metadata.recovery.strategy", Only(
        &["rebootstrap"], "a cluster that has moved would never be found again",
    )),
    ("metadata.recovery.rebootstrap.trigger.ms", Free),
    ("topic.metadata.refresh.interval.ms", Least(|_| 1, "new partitions would never be seen")),
    ("topic.metadata.refresh.fast.interval.ms", Free),
    ("topic.metadata.refresh.sparse", Free),
    ("topic.metadata.propagation.max.ms", Free),
    ("topic.blacklist", Refused("a Kafka topic on it would be treated as missing, and its messages would wait for ever")),
    ("allow.auto.create.topics", Free),

    // The network.
    ("client.id", Free),
    ("client.rack", Free),
    ("client.dns.lookup", Free),
    ("broker.address.family", Free),
    ("socket.keepalive.enable", Free),
    ("socket.nagle.disable", Free),
    ("socket.send.buffer.bytes", Free),
    ("socket.receive.buffer.bytes", Free),
    ("socket.max.fails", Only(
        &["1"], "a late response might be taken for the answer to another request",
    )),
    ("api.version.request", Only(&["true"], "such an old Kafka has no idempotent producer")),
    ("api.version.fallback.ms", OLD),
    ("broker.version.fallback", OLD),
    ("enable.metrics.push", Free),

    // Compression.
    ("compression.codec", Free),
    ("compression.type", Free),
    ("compression.level", Free),

    // Encryption and login.
    ("security.protocol", Free),
    ("sasl.mechanism", MECHANISMS),
    ("sasl.mechanisms", MECHANISMS),
    ("sasl.username", Free),
    ("sasl.password", Free),
    ("ssl.ca.location", Free),
    ("ssl.ca.pem", Free),
    ("ssl.certificate.location", Free),
    ("ssl.certificate.pem", Free),
    ("ssl.cipher.suites", Free),
    ("ssl.crl.location", Free),
    ("ssl.curves.list", Free),
    ("ssl.endpoint.identification.algorithm", Free),
    ("ssl.key.location", Free),
    ("ssl.key.password", Free),
    ("ssl.key.pem", Free),
    ("ssl.keystore.location", Free),
    ("ssl.keystore.password", Free),
    ("ssl.providers", Free),
    ("ssl.sigalgs.list", Free),
    ("enable.ssl.certificate.verification", Free),
    ("ssl.ca.certificate.stores", Refused("only Windows has such stores")),
    ("ssl.engine.id", Refused("the bridge loads no foreign code")),
    ("ssl.engine.location", Refused("the bridge loads no foreign code")),
    ("sasl.kerberos.keytab", KERBEROS),
    ("sasl.kerberos.kinit.cmd", KERBEROS),
    ("sasl.kerberos.min.time.before.relogin", KERBEROS),
    ("sasl.kerberos.principal", KERBEROS),
    ("sasl.kerberos.service.name", KERBEROS),
    ("enable.sasl.oauthbearer.unsecure.jwt", OAUTH),
    ("https.ca.location", Ours),
    ("https.ca.pem", Ours),
    ("sasl.oauthbearer.assertion.algorithm", OAUTH),
    ("sasl.oauthbearer.assertion.claim.aud", OAUTH),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", OAUTH),
    ("sasl.oauthbearer.assertion.claim.iss", OAUTH),
    ("sasl.oauthbearer.assertion.claim.jti.include", OAUTH),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", OAUTH),
    ("sasl.oauthbearer.assertion.claim.sub", OAUTH),
    ("sasl.oauthbearer.assertion.file", OAUTH),
    ("sasl.oauthbearer.assertion.jwt.template.file", OAUTH),
    ("sasl.oauthbearer.assertion.private.key.file", OAUTH),
    ("sasl.oauthbearer.assertion.private.key.passphrase", OAUTH),
    ("sasl.oauthbearer.assertion.private.key.pem", OAUTH),
    ("sasl.oauthbearer.client.credentials.client.id", Ours),
    ("sasl.oauthbearer.client.credentials.client.secret", Ours),
    ("sasl.oauthbearer.client.id", Ours),
    ("sasl.oauthbearer.client.secret", Ours),
    ("sasl.oauthbearer.config", OAUTH),
    ("sasl.oauthbearer.extensions", Ours),
    ("sasl.oauthbearer.grant.type", OAUTH),
    ("sasl.oauthbearer.metadata.authentication.type", OAUTH),
    ("sasl.oauthbearer.method", Ours),
    ("sasl.oauthbearer.scope", Ours),
    ("sasl.oauthbearer.token.endpoint.url", Ours),

    // What librdkafka reports.
    ("debug", WhereDebugIsLogged),
    ("log_level", Least(|_| 4, "the bridge reads from a warning that a partition has lost its leader for good")),
    ("log.connection.close", Free),
    ("log.thread.name", Free),
    ("log.queue", Refused("the bridge sets it to have librdkafka's lines in its own log")),
    ("statistics.interval.ms", Refused("the bridge sets it itself, and shows what it reads there in metrics of its own (/metrics)")),
    ("enabled_events", Refused("the bridge sets it to the events that it reads")),
    ("builtin.features", Free),
    ("enable.random.seed", Free),
    ("internal.termination.signal", Refused("the bridge handles its signals itself")),
    ("plugin.library.paths", Refused("the bridge loads no foreign code")),

    // Only for program code.
    ("background_event_cb", CODE),
    ("closesocket_cb", CODE),
    ("connect_cb", CODE),
    ("default_topic_conf", CODE),
    ("dr_cb", CODE),
    ("dr_msg_cb", CODE),
    ("error_cb", CODE),
    ("interceptors", CODE),
    ("log_cb", CODE),
    ("msg_order_cmp", CODE),
    ("oauthbearer_token_refresh_cb", CODE),
    ("opaque", CODE),
    ("open_cb", CODE),
    ("partitioner_cb", CODE),
    ("resolve_cb", CODE),
    ("socket_cb", CODE),
    ("ssl.certificate.verify_cb", CODE),
    ("ssl_ca", CODE),
    ("ssl_certificate", CODE),
    ("ssl_engine_callback_data", CODE),
    ("ssl_key", CODE),
    ("stats_cb", CODE),
    ("throttle_cb", CODE),

    // Without effect.
    ("produce.offset.report", UNUSED),
    ("reconnect.backoff.jitter.ms", UNUSED),
    ("socket.blocking.max.ms", UNUSED),
    ("topic.metadata.refresh.fast.cnt", UNUSED),

    // Properties that librdkafka does not list.
    ("client.software.name", Refused("it tells Kafka the name of the client library")),
    ("client.software.version", Refused("it tells Kafka the name of the client library")),
    ("enable.sparse.connections", Free),
    ("metadata.request.timeout.ms", UNUSED),
    ("test.mock.broker.rtt", TEST),
    ("test.mock.num.brokers", Refused("it replaces kafka.brokers by an emulated cluster")),
    ("ut_handle_ProduceResponse", TEST),

    // Only for consumers.
    ("auto.commit.enable", CONSUMER),
    ("auto.commit.interval.ms", CONSUMER),
    ("auto.offset.reset", CONSUMER),
    ("check.crcs", CONSUMER),
    ("consume.callback.max.messages", CONSUMER),
    ("consume_cb", CONSUMER),
    ("coordinator.query.interval.ms", CONSUMER),
    ("enable.auto.commit", CONSUMER),
    ("enable.auto.offset.store", CONSUMER),
    ("enable.partition.eof", CONSUMER),
    ("fetch.error.backoff.ms", CONSUMER),
    ("fetch.max.bytes", CONSUMER),
    ("fetch.message.max.bytes", CONSUMER),
    ("fetch.min.bytes", CONSUMER),
    ("fetch.queue.backoff.ms", CONSUMER),
    ("fetch.wait.max.ms", CONSUMER),
    ("group.id", CONSUMER),
    ("group.instance.id", CONSUMER),
    ("group.protocol", CONSUMER),
    ("group.protocol.type", CONSUMER),
    ("group.remote.assignor", CONSUMER),
    ("heartbeat.interval.ms", CONSUMER),
    ("isolation.level", CONSUMER),
    ("max.partition.fetch.bytes", CONSUMER),
    ("max.poll.interval.ms", CONSUMER),
    ("offset.store.method", CONSUMER),
    ("offset.store.path", CONSUMER),
    ("offset.store.sync.interval.ms", CONSUMER),
    ("offset_commit_cb", CONSUMER),
    ("partition.assignment.strategy", CONSUMER),
    ("queued.max.messages.kbytes", CONSUMER),
    ("queued.min.messages", CONSUMER),
    ("rebalance_cb", CONSUMER),
    ("session.timeout.ms", CONSUMER),
];
