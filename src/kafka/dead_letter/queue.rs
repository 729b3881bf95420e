//! The dead letters that wait to be written, one write at a time. The actor writes them. A dead letter that
//! cannot be written stays, and is tried again each second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::DeadLetter;
use super::file::DeadLetterFile;
use crate::config::DeadLetterConfig;
use crate::observe::{HeldPlace, Hold, LogLimiter};

/// Pause before a dead letter that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The log says once in this time that dead letters cannot be written.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Most dead letters, and most of their bytes ([`DeadLetter::bytes`]), in one write.
const WRITE_MAX: (usize, usize) = (1024, 4 * 1024 * 1024);

/// See the module.
#[derive(Debug)]
pub struct DeadLetterQueue {
    file: DeadLetterFile,
    queue: VecDeque<DeadLetter>,
    /// In a write that has not ended, in order; `None` if there is no such write.
    writing: Option<Vec<DeadLetter>>,
    /// How many bytes may still go to the Kafka topic, if that is bounded.
    room: Option<u64>,
    /// How many bytes were taken from it for dead letters that are in flight.
    taken: u64,
    blocked: Option<String>,
    next_try: Option<Instant>,
    limiter: LogLimiter,
}

impl Default for DeadLetterQueue {
    fn default() -> Self {
        Self {
            file: DeadLetterFile::new("dead-letter.jsonl".into(), 0),
            queue: VecDeque::new(),
            writing: None,
            room: None,
            taken: 0,
            blocked: None,
            next_try: None,
            limiter: LogLimiter::every(WARN_INTERVAL),
        }
    }
}

impl DeadLetterQueue {
    /// None wait.
    pub fn new(config: &DeadLetterConfig) -> Self {
        let file = DeadLetterFile::new(config.file.clone(), config.file_max_bytes);
        Self { file, ..Self::default() }
    }

    /// Of messages that no route matches: none wait.
    pub fn unmatched(config: &DeadLetterConfig) -> Self {
        let room = Some(config.unmatched_max_bytes);
        Self { file: DeadLetterFile::of_unmatched(config), room, ..Self::default() }
    }

    /// Takes the room of this dead letter in the Kafka topic. Returns whether there was room. It is never
    /// given back once the dead letter is there: the bridge does not know the size of a Kafka topic.
    pub fn take_room(&mut self, dead_letter: &DeadLetter) -> bool {
        let Some(room) = self.room else { return true };
        let bytes = room_of(dead_letter);
        let left = room.checked_sub(bytes);
        self.room = Some(left.unwrap_or(room));
        self.taken += left.map_or(0, |_| bytes);
        left.is_some()
    }

    /// The dead letter is not in the Kafka topic: another may take its room.
    pub fn give_room_back(&mut self, dead_letter: &DeadLetter) {
        let bytes = room_of(dead_letter).min(self.taken);
        self.taken -= bytes;
        self.room = self.room.map(|room| room + bytes);
    }

    /// Gives up all that wait, if none can be written. Returns them, and why.
    pub fn give_up(&mut self) -> Option<(Vec<DeadLetter>, String)> {
        let why = self.blocked.clone()?;
        self.free();
        Some((self.queue.drain(..).collect(), why))
    }

    /// One more, behind the others.
    pub fn push(&mut self, dead_letter: DeadLetter) {
        self.queue.push_back(dead_letter);
    }

    /// The next to produce to a Kafka topic, if it is time.
    pub fn next(&mut self, now: Instant) -> Option<DeadLetter> {
        if self.next_try.is_some_and(|at| now < at) { None } else { self.queue.pop_front() }
    }

    /// The dead letter could not be sent for want of room.
    pub fn put_back(&mut self, dead_letter: DeadLetter) {
        self.queue.push_front(dead_letter);
    }

    /// The dead letter is in Kafka.
    pub fn delivered(&mut self, dead_letter: &DeadLetter) {
        self.taken = self.taken.saturating_sub(room_of(dead_letter));
        self.free();
    }

    /// The dead letter was refused, by librdkafka or by Kafka.
    pub fn refused(&mut self, dead_letter: DeadLetter, why: &str, now: Instant) {
        self.queue.push_front(dead_letter);
        self.block(why.to_owned(), now);
    }

    /// The file and the lines to write next, if it is time and no write is going on.
    pub fn next_write(&mut self, now: Instant) -> Option<(DeadLetterFile, Vec<Vec<u8>>)> {
        let waits = self.writing.is_some() || self.next_try.is_some_and(|at| now < at);
        if waits || self.queue.is_empty() {
            return None;
        }
        let (count_max, bytes_max) = WRITE_MAX;
        let mut bytes = 0;
        let count = self
            .queue
            .iter()
            .take(count_max)
            .take_while(|dead_letter| {
                bytes += dead_letter.bytes();
                bytes <= bytes_max
            })
            .count();
        let mut dead_letters: Vec<DeadLetter> = self.queue.drain(..count.max(1)).collect();
        let lines = dead_letters
            .iter_mut()
            .map(|dead_letter| fitting_line(dead_letter, self.file.max()))
            .collect();
        self.writing = Some(dead_letters);
        Some((self.file.clone(), lines))
    }

    /// The write ended: this many of its dead letters are durable, or none, and why. Returns those that are.
    pub fn written(&mut self, result: Result<usize, String>, now: Instant) -> Vec<DeadLetter> {
        let mut dead_letters = self.writing.take().unwrap_or_default();
        let count = match result {
            Ok(count) => {
                self.free();
                count
            }
            Err(why) => {
                self.block(why, now);
                0
            }
        };
        for dead_letter in dead_letters.drain(count.min(dead_letters.len())..).rev() {
            self.queue.push_front(dead_letter);
        }
        dead_letters
    }

    /// A new epoch: the sources hand on again what waits here. A write that is going on still counts.
    pub fn restart(&mut self) {
        self.queue.clear();
        let taken = std::mem::take(&mut self.taken);
        self.room = self.room.map(|room| room + taken);
    }

    /// All that are not durable yet.
    pub fn waiting(&self) -> impl Iterator<Item = &DeadLetter> {
        self.queue.iter().chain(self.writing.iter().flatten())
    }

    /// When to try again.
    pub fn next_try(&self) -> Option<Instant> {
        self.next_try.filter(|_| !self.queue.is_empty() && self.writing.is_none())
    }

    /// Why none can be written, if the log may say so now, and how often it was suppressed.
    pub fn may_warn(&mut self, now: Instant) -> Option<(&str, u64)> {
        let why = self.blocked.as_deref()?;
        let suppressed = self.limiter.pass(now)?;
        Some((why, suppressed))
    }

    /// What readiness says of it.
    pub fn hold(&self) -> Option<Hold> {
        let reason = self.blocked.clone()?;
        Some(Hold { place: HeldPlace::DeadLetter, reason })
    }

    fn block(&mut self, why: String, now: Instant) {
        self.blocked = Some(why);
        self.next_try = Some(now + RETRY);
    }

    fn free(&mut self) {
        self.blocked = None;
        self.next_try = None;
        self.limiter.reset();
    }
}

/// How many bytes a dead letter takes in a Kafka topic.
fn room_of(dead_letter: &DeadLetter) -> u64 {
    dead_letter.bytes() as u64
}

/// The line of a dead letter, shortened until it fits an empty file of `max` bytes.
fn fitting_line(dead_letter: &mut DeadLetter, max: u64) -> Vec<u8> {
    loop {
        let line = dead_letter.line();
        if line.len() as u64 <= max || !dead_letter.shorten() {
            return line;
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
