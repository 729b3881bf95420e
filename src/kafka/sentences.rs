//! Kafka's own sentence about a record that it refused.
//!
//! librdkafka 2.12.1 keeps the sentence with the record, as a pointer that dangles by the time that the
//! delivery report is read (`rd_kafka_message_produce_errstr`). The pointer is valid while librdkafka
//! handles the answer and calls its interceptors. Interceptors are called for every record, so only the
//! serial producer has one, and records of the pipelined producer cost nothing more.

use parking_lot::Mutex;

/// How many characters of a sentence are kept.
const SENTENCE_MAX: usize = 500;

/// Sentences that nobody has taken yet, by the index of the record: at most one for each record in flight.
#[derive(Debug, Default)]
pub(super) struct Sentences(Mutex<Vec<(usize, String)>>);

impl Sentences {
    /// What Kafka said about this record, which it refused.
    pub(super) fn take(&self, index: usize) -> Option<String> {
        let mut sentences = self.0.lock();
        let at = sentences.iter().position(|(of, _)| *of == index)?;
        Some(sentences.swap_remove(at).1)
    }

    /// Kafka says this about the record.
    pub(super) fn add(&self, index: usize, sentence: &str) {
        let mut sentences = self.0.lock();
        // One that nobody took is of an earlier record with that index.
        sentences.retain(|(of, _)| *of != index);
        sentences.push((index, sentence.chars().take(SENTENCE_MAX).collect()));
    }
}
