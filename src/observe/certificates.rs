//! Until when the bridge's own certificates are valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How long before its end a certificate is a warning.
pub const WARN_BEFORE_S: i64 = 14 * DAY_S;
const DAY_S: i64 = 86_400;

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateOf {
    /// The bridge's own for one MQTT connection.
    MqttClient,
    /// The bridge's own for Kafka.
    KafkaClient,
    /// The bridge's own for its pages.
    Http,
}

impl CertificateOf {
    /// The label of metrics, and the word in `/status.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MqttClient => "mqtt_client",
            Self::KafkaClient => "kafka_client",
            Self::Http => "http",
        }
    }

    /// For a sentence.
    fn noun(self) -> &'static str {
        match self {
            Self::MqttClient => "the bridge's certificate for MQTT (mqtt.tls.cert_file)",
            Self::KafkaClient => "the bridge's certificate for Kafka (ssl.certificate.location)",
            Self::Http => "the certificate of the bridge's pages (http.cert_file)",
        }
    }

    /// Which part of the bridge it belongs to.
    pub(super) fn component(self) -> &'static str {
        match self {
            Self::MqttClient => "mqtt",
            Self::KafkaClient => "kafka",
            Self::Http => "bridge",
        }
    }
}

/// A certificate, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub of: CertificateOf,
    /// The name of the MQTT connection; empty where it is of none.
    pub connection: Arc<str>,
    /// How long it is valid, in seconds; negative: it is not any more.
    pub expires_in_s: i64,
}

impl Certificate {
    /// A sentence, if it ends soon or has ended.
    pub(super) fn warning(&self) -> Option<String> {
        let (noun, left) = (self.of.noun(), self.expires_in_s);
        match left {
            WARN_BEFORE_S.. => None,
            DAY_S.. => Some(format!("{noun} expires in {} days", left / DAY_S)),
            0.. => Some(format!("{noun} expires within a day")),
            _ => Some(format!("{noun} has expired")),
        }
    }
}

/// All that were seen.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<BTreeMap<(CertificateOf, Arc<str>), i64>>);

impl Certificates {
    /// This one ends so many seconds after the Unix epoch; `None`: there is none, or it cannot be read. `connection`
    /// is empty where it is of none.
    pub fn set(&self, of: CertificateOf, connection: &Arc<str>, ends_at_s: Option<i64>) {
        let mut known = self.0.lock();
        let key = (of, Arc::clone(connection));
        match ends_at_s {
            Some(at) => drop(known.insert(key, at)),
            None => drop(known.remove(&key)),
        }
    }

    /// All of them, at so many seconds after the Unix epoch.
    pub(super) fn at(&self, now_s: i64) -> Vec<Certificate> {
        let known = self.0.lock();
        let seen =
            |((of, connection), ends_at_s): (&(CertificateOf, Arc<str>), &i64)| Certificate {
                of: *of,
                connection: Arc::clone(connection),
                expires_in_s: ends_at_s.saturating_sub(now_s),
            };
        known.iter().map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_warning_two_weeks_before_its_end_and_behind_it() {
        let certificates = Certificates::default();
        let connection: Arc<str> = "east".into();
        for (left, said) in [
            (14 * DAY_S, None),
            (
                14 * DAY_S - 1,
                Some("the bridge's certificate for MQTT (mqtt.tls.cert_file) expires in 13 days"),
            ),
            (
                DAY_S - 1,
                Some("the bridge's certificate for MQTT (mqtt.tls.cert_file) expires within a day"),
            ),
            (-1, Some("the bridge's certificate for MQTT (mqtt.tls.cert_file) has expired")),
            (i64::MIN, Some("the bridge's certificate for MQTT (mqtt.tls.cert_file) has expired")),
        ] {
            certificates.set(
                CertificateOf::MqttClient,
                &connection,
                Some(left.saturating_add(1000)),
            );
            let seen = certificates.at(1000);
            assert_eq!(seen[0].warning().as_deref(), said, "{left}");
        }
        certificates.set(CertificateOf::MqttClient, &connection, None);
        assert_eq!(certificates.at(0), []);
    }
}
