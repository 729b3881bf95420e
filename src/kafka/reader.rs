//! Reads a Kafka topic from its beginning to where it ends now, with the bridge's login. It joins no group and
//! commits nothing, so that it disturbs nobody.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use slog::{Discard, Logger, o};

use super::login::{Login, LoginThread};
use crate::config::{Config, KafkaClient, filled, kafka_client};

/// How long Kafka may be silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// One look for a record.
const POLL: Duration = Duration::from_millis(100);
/// What is fetched ahead, in KiB.
const AHEAD_KIB: &str = "16384";
/// librdkafka assigns partitions only to a client with a group, which this one never joins.
const GROUP: &str = "mqtt-kafka-bridge-dead-letters";

/// A record.
#[derive(Debug)]
pub struct ReadRecord<'a> {
    /// Its partition.
    pub kafka_partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
    /// Its value, empty if it is null.
    pub value: &'a [u8],
    /// Its headers, those without a value left out.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// Why a Kafka topic cannot be read, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Kafka does not answer: later it may.
    #[error("{0}")]
    NoAnswer(String),
    /// The login or a property is wrong, there is no such Kafka topic, or it may not be read.
    #[error("{0}")]
    Refused(String),
}

impl ReadError {
    fn of(code: Option<RDKafkaErrorCode>, why: String) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::MessageTimedOut
                | Code::RequestTimedOut
                | Code::Resolve
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::BrokerNotAvailable
                | Code::NetworkException,
            ) => Self::NoAnswer(why),
            _ => Self::Refused(why),
        }
    }
}

struct Context(Arc<Login>);

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.0.token_within(ANSWER_WITHIN).ok_or("no token for kafka")?;
        Ok(OAuthToken {
            token: token.value().to_string_lossy().into_owned(),
            principal_name: token.principal().to_string_lossy().into_owned(),
            lifetime_ms: token.expires_at_ms(),
        })
    }
}

impl ConsumerContext for Context {}

/// Gives each record, in the order of its partition, until `each` breaks.
///
/// # Errors
/// Kafka does not answer, refuses, or there is no such Kafka topic.
pub fn read(
    config: &Arc<Config>,
    kafka_topic: &str,
    mut each: impl FnMut(ReadRecord<'_>) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let login = Arc::new(Login::new(Arc::clone(config)));
    let log = Logger::root(Discard, o!());
    let _login_thread =
        LoginThread::start(&login, &log).map_err(|error| ReadError::Refused(error.to_string()))?;
    let properties = filled(&config.kafka).map_err(ReadError::Refused)?;
    login.secrets().learn(&properties);
    let why = |error: KafkaError| {
        let hidden = login.secrets().hide(&format!("{kafka_topic}: {error}"));
        ReadError::of(error.rdkafka_error_code(), hidden)
    };
    let mut settings = kafka_client(config, &properties, KafkaClient::Probe);
    settings
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", AHEAD_KIB);
    let consumer: BaseConsumer<Context> =
        settings.create_with_context(Context(Arc::clone(&login))).map_err(why)?;
    // With a token it logs in only once it is polled.
    drop(consumer.poll(POLL));
    for (kafka_partition, (low, high)) in ends(&consumer, kafka_topic).map_err(why)? {
        if low >= high {
            continue;
        }
        // One after the other: if Kafka restarts, an answer about several can crash librdkafka 2.12
        // (confluentinc/librdkafka#5280).
        let mut assigned = TopicPartitionList::new();
        let offset = Offset::Offset(low);
        assigned.add_partition_offset(kafka_topic, kafka_partition, offset).map_err(why)?;
        consumer.assign(&assigned).map_err(why)?;
        let mut heard_at = Instant::now();
        loop {
            let Some(polled) = consumer.poll(POLL) else {
                // Behind the last record there may be offsets without one.
                let positions = consumer.position().map_err(why)?;
                let is_read = |at: Offset| matches!(at, Offset::Offset(offset) if offset >= high);
                if positions.elements().iter().any(|at| is_read(at.offset())) {
                    break;
                }
                if heard_at.elapsed() > ANSWER_WITHIN {
                    let seconds = ANSWER_WITHIN.as_secs();
                    let why = format!("{kafka_topic}: Kafka has not answered for {seconds} s");
                    return Err(ReadError::NoAnswer(why));
                }
                continue;
            };
            let message = match polled {
                Ok(message) => message,
                Err(error) if heard_at.elapsed() > ANSWER_WITHIN => return Err(why(error)),
                Err(_) => continue,
            };
            // Of the partition before it, perhaps.
            if message.partition() != kafka_partition {
                continue;
            }
            let kafka_offset = message.offset();
            if kafka_offset < high {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let headers =
                    headers.filter_map(|header| Some((header.key, header.value?))).collect();
                let value = message.payload().unwrap_or_default();
                if each(ReadRecord { kafka_partition, kafka_offset, value, headers }).is_break() {
                    return Ok(());
                }
            }
            if kafka_offset + 1 >= high {
                break;
            }
            // What is done with a record takes its time, and is none of Kafka's.
            heard_at = Instant::now();
        }
    }
    Ok(())
}

/// Where each partition begins and ends.
fn ends(
    consumer: &BaseConsumer<Context>,
    kafka_topic: &str,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(kafka_topic), ANSWER_WITHIN)?;
    let mut ends = BTreeMap::new();
    for found in metadata.topics() {
        if let Some(error) = found.error() {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        for partition in found.partitions() {
            let id = partition.id();
            ends.insert(id, consumer.fetch_watermarks(kafka_topic, id, ANSWER_WITHIN)?);
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_from_a_refusal() {
        for (code, is_silence) in [
            (RDKafkaErrorCode::BrokerTransportFailure, true),
            (RDKafkaErrorCode::OperationTimedOut, true),
            (RDKafkaErrorCode::LeaderNotAvailable, true),
            (RDKafkaErrorCode::UnknownTopicOrPartition, false),
            (RDKafkaErrorCode::TopicAuthorizationFailed, false),
            (RDKafkaErrorCode::Authentication, false),
        ] {
            let error = ReadError::of(Some(code), String::new());
            assert_eq!(matches!(error, ReadError::NoAnswer(_)), is_silence, "{code:?}");
        }
    }
}
