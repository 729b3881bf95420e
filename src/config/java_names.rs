//! Properties of Kafka's Java client that librdkafka does not have, and what to write in their place. Many
//! people come with a `client.properties` of that client.

/// What to write instead of the property of this name, if it is one of Java's.
pub(super) fn instead(name: &str) -> Option<&'static str> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, instead)| *instead)
}

const NONE_NEEDED: &str = "librdkafka needs nothing in its place";
const OPENSSL: &str = "librdkafka uses OpenSSL, which needs nothing in its place";
const REFRESH: &str = "the bridge fetches a new token after 80 % of the lifetime of the last one";
const LEVEL: &str = "librdkafka calls it compression.level";
const BUFFER: &str = "librdkafka calls it queue.buffering.max.kbytes, in KiB";

#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    ("ssl.truststore.location", "librdkafka calls it ssl.ca.location, a file of the authorities' certificates in PEM"),
    ("ssl.truststore.certificates", "librdkafka calls it ssl.ca.pem"),
    ("ssl.truststore.password", "a file of PEM (ssl.ca.location) has no password"),
    ("ssl.truststore.type", "librdkafka takes PEM only (ssl.ca.location)"),
    ("ssl.keystore.type", "librdkafka takes PKCS#12 in ssl.keystore.location, and PEM in ssl.certificate.location and ssl.key.location"),
    ("ssl.keystore.certificate.chain", "librdkafka calls it ssl.certificate.pem"),
    ("ssl.keystore.key", "librdkafka calls it ssl.key.pem"),
    ("ssl.enabled.protocols", OPENSSL),
    ("ssl.protocol", OPENSSL),
    ("ssl.provider", OPENSSL),
    ("ssl.engine.factory.class", OPENSSL),
    ("ssl.keymanager.algorithm", OPENSSL),
    ("ssl.trustmanager.algorithm", OPENSSL),
    ("ssl.secure.random.implementation", OPENSSL),
    ("security.providers", OPENSSL),
    ("sasl.jaas.config", "librdkafka calls what is in it sasl.username and sasl.password; with OAUTHBEARER, sasl.oauthbearer.client.id, .client.secret and .scope"),
    ("sasl.login.callback.handler.class", "with sasl.mechanism = OAUTHBEARER, librdkafka calls it sasl.oauthbearer.method = oidc; for Amazon MSK, sasl.mechanism = AWS_MSK_IAM is enough"),
    ("sasl.client.callback.handler.class", "for Amazon MSK, sasl.mechanism = AWS_MSK_IAM is enough; for others librdkafka needs nothing in its place"),
    ("sasl.login.class", NONE_NEEDED),
    ("sasl.login.connect.timeout.ms", NONE_NEEDED),
    ("sasl.login.read.timeout.ms", NONE_NEEDED),
    ("sasl.login.retry.backoff.ms", NONE_NEEDED),
    ("sasl.login.retry.backoff.max.ms", NONE_NEEDED),
    ("sasl.login.refresh.buffer.seconds", REFRESH),
    ("sasl.login.refresh.min.period.seconds", REFRESH),
    ("sasl.login.refresh.window.factor", REFRESH),
    ("sasl.login.refresh.window.jitter", REFRESH),
    ("sasl.kerberos.kinit.cmd.path", "this build comes without Kerberos (GSSAPI)"),
    ("sasl.kerberos.ticket.renew.jitter", "this build comes without Kerberos (GSSAPI)"),
    ("sasl.kerberos.ticket.renew.window.factor", "this build comes without Kerberos (GSSAPI)"),
    ("buffer.memory", BUFFER),
    ("max.block.ms", "the bridge waits for Kafka as long as necessary"),
    ("max.request.size", "librdkafka calls it message.max.bytes"),
    ("send.buffer.bytes", "librdkafka calls it socket.send.buffer.bytes"),
    ("receive.buffer.bytes", "librdkafka calls it socket.receive.buffer.bytes"),
    ("socket.connection.setup.timeout.max.ms", "librdkafka calls it socket.connection.setup.timeout.ms"),
    ("compression.gzip.level", LEVEL),
    ("compression.lz4.level", LEVEL),
    ("compression.zstd.level", LEVEL),
    ("partitioner.class", "librdkafka calls it partitioner, whose default here is that of the Java client (murmur2_random)"),
    ("partitioner.ignore.keys", NONE_NEEDED),
    ("key.serializer", NONE_NEEDED),
    ("value.serializer", NONE_NEEDED),
    ("interceptor.classes", NONE_NEEDED),
    ("metric.reporters", "the bridge has metrics of its own (/metrics)"),
    ("metrics.sample.window.ms", "the bridge has metrics of its own (/metrics)"),
];

#[cfg(test)]
mod tests {
    use super::super::property_table::rule;
    use super::*;

    #[test]
    fn no_name_of_java_s_is_one_of_librdkafka_s() {
        let both: Vec<_> = TABLE.iter().filter(|(name, _)| rule(name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
