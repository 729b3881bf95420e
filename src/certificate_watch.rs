//! A thread that looks from time to time until when the bridge's own certificates are valid.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::first_end_s;
use crate::config::Config;
use crate::observe::Metrics;
use crate::observe::certificates::{CertificateOf, Certificates};
use crate::supervisor::StoppableThread;

/// How often it looks. A new file is warned of, or not any more, so much later at most.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Where Kafka's property names a file.
const KAFKA_FILE: &str = "ssl.certificate.location";

/// See the module.
#[derive(Debug)]
pub struct CertificateWatch(StoppableThread);

/// A file, and whose certificate is in it: that of the connection of this name, if one is named.
type File = (CertificateOf, Arc<str>, PathBuf);

impl CertificateWatch {
    /// Starts the thread, if the configuration names such files.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(config: &Config, metrics: &Arc<Metrics>) -> io::Result<Option<Self>> {
        let files = files(config);
        if files.is_empty() {
            return Ok(None);
        }
        let metrics = Arc::clone(metrics);
        let thread = StoppableThread::start("certificates", move |stop| {
            loop {
                look(&files, metrics.health().certificates());
                if stop.wait(LOOK_EVERY) {
                    return;
                }
            }
        });
        Ok(Some(Self(thread?)))
    }

    /// A function that says whether the thread has ended, for `SupervisorActor`.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        self.0.finished()
    }
}

/// Does not wait for the thread: a file system may be slow.
impl Drop for CertificateWatch {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn files(config: &Config) -> Vec<File> {
    let of_connections = config.connections.iter().filter_map(|mqtt| {
        let path = mqtt.tls.cert_file.as_ref()?;
        Some((CertificateOf::MqttClient, Arc::clone(&mqtt.name), path.clone()))
    });
    let of_kafka = config.kafka.properties.get(KAFKA_FILE);
    let of_kafka = of_kafka.map(|path| (CertificateOf::KafkaClient, Arc::default(), path.into()));
    let of_http = config.http.cert_file.as_ref();
    let of_http = of_http.map(|path| (CertificateOf::Http, Arc::default(), path.clone()));
    of_connections.chain(of_kafka).chain(of_http).collect()
}

/// Of what cannot be read nothing is known: who uses it says so.
fn look(files: &[File], certificates: &Certificates) {
    for (of, connection, path) in files {
        certificates.set(*of, connection, first_end_s(path).ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, Wish};

    #[test]
    fn each_file_is_looked_at_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("plant");
        let write = |days| {
            let wish = Wish { valid_days: (-9, days), ..Wish::LOCALHOST };
            authority.issue(&wish).write(dir.path(), "one").0
        };
        let file = write(5);
        let mut config = Config::for_test();
        assert!(CertificateWatch::start(&config, &Arc::default()).expect("none").is_none());
        config.connections[0].tls.cert_file = Some(file.clone());
        config.http.cert_file = Some(dir.path().join("none"));
        config.kafka.properties.insert(KAFKA_FILE.to_owned(), file.display().to_string());
        let (files, metrics) = (files(&config), Metrics::default());
        let days = || {
            look(&files, metrics.health().certificates());
            let seen = metrics.snapshot(Vec::new()).certificates;
            let days = seen
                .iter()
                .map(|it| (it.of, it.connection.to_string(), (it.expires_in_s + 3_600) / 86_400));
            days.collect::<Vec<_>>()
        };
        let (mqtt, kafka) = (CertificateOf::MqttClient, CertificateOf::KafkaClient);
        let expected = |days| [(mqtt, "mqtt".to_owned(), days), (kafka, String::new(), days)];
        assert_eq!(days(), expected(5));
        write(30);
        assert_eq!(days(), expected(30));
        std::fs::remove_file(&file).expect("it was there");
        assert_eq!(days(), []);
    }
}
