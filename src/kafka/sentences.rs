//! Kafka's own sentence about a record that it refused.
//!
//! librdkafka 2.12.1 leaves the sentence at the record as a pointer that dangles by the time that the
//! delivery report is read (`rd_kafka_message_produce_errstr`). It is good while the answer is being
//! handled, which is when librdkafka calls interceptors. They are called for each record, so only the
//! serial producer has one: what the pipelined producer delivers pays nothing.

use parking_lot::Mutex;

/// So much of a sentence is kept, in characters.
const SENTENCE_MAX: usize = 500;

/// What Kafka said about records and nobody took yet, by the index that their reports name: one for each
/// record in flight at most.
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
        // One that nobody took is of a record before it.
        sentences.retain(|(of, _)| *of != index);
        sentences.push((index, sentence.chars().take(SENTENCE_MAX).collect()));
    }
}
