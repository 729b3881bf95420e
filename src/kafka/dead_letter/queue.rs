//! The dead letters that wait to be written, one write at a time; who writes them is the actor's
//! business. What cannot be written stays, and is tried again each second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Letter;
use super::file::DeadLetterFile;
use crate::config::DeadLetterConfig;
use crate::observe::{Hold, LogLimiter};

/// Pause before a dead letter that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is said that dead letters cannot be written.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Most dead letters, and most bytes of their payloads, in one write.
const WRITE_MAX: (usize, usize) = (1024, 4 * 1024 * 1024);

/// See the module.
#[derive(Debug)]
pub struct Letters {
    file: DeadLetterFile,
    queue: VecDeque<Letter>,
    /// In a write that has not ended, in order; `None` if there is no such write.
    writing: Option<Vec<Letter>>,
    /// What may still go to the Kafka topic, in bytes, where that is bounded.
    room: Option<u64>,
    /// What of it was taken for letters that are on their way.
    taken: u64,
    blocked: Option<String>,
    next_try: Option<Instant>,
    limiter: LogLimiter,
}

impl Default for Letters {
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

impl Letters {
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

    /// Takes this letter's part of what may go to the Kafka topic; whether there was room. Once it is
    /// there, never again to be had: a Kafka topic has no size to look at.
    pub fn take_room(&mut self, letter: &Letter) -> bool {
        let Some(room) = self.room else { return true };
        let bytes = room_of(letter);
        let left = room.checked_sub(bytes);
        self.room = Some(left.unwrap_or(room));
        self.taken += left.map_or(0, |_| bytes);
        left.is_some()
    }

    /// It is not there: another may have what it took.
    pub fn give_room_back(&mut self, letter: &Letter) {
        let bytes = room_of(letter).min(self.taken);
        self.taken -= bytes;
        self.room = self.room.map(|room| room + bytes);
    }

    /// All that wait are given up, and why none could be written.
    pub fn give_up(&mut self) -> Option<(Vec<Letter>, String)> {
        let why = self.blocked.clone()?;
        self.free();
        Some((self.queue.drain(..).collect(), why))
    }

    /// One more, behind the others.
    pub fn push(&mut self, letter: Letter) {
        self.queue.push_back(letter);
    }

    /// The next to produce to a Kafka topic, if it is time.
    pub fn next(&mut self, now: Instant) -> Option<Letter> {
        if self.next_try.is_some_and(|at| now < at) { None } else { self.queue.pop_front() }
    }

    /// It was not taken, for want of room.
    pub fn put_back(&mut self, letter: Letter) {
        self.queue.push_front(letter);
    }

    /// This one is in Kafka.
    pub fn delivered(&mut self, letter: &Letter) {
        self.taken = self.taken.saturating_sub(room_of(letter));
        self.free();
    }

    /// One that was produced, or could not be, is refused.
    pub fn refused(&mut self, letter: Letter, why: &str, now: Instant) {
        self.queue.push_front(letter);
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
            .take_while(|letter| {
                bytes += letter.kept().len();
                bytes <= bytes_max
            })
            .count();
        let mut letters: Vec<Letter> = self.queue.drain(..count.max(1)).collect();
        let lines =
            letters.iter_mut().map(|letter| fitting_line(letter, self.file.max())).collect();
        self.writing = Some(letters);
        Some((self.file.clone(), lines))
    }

    /// The write ended: so many of its letters are durable, or none, and why. Returns those that are.
    pub fn written(&mut self, result: Result<usize, String>, now: Instant) -> Vec<Letter> {
        let mut letters = self.writing.take().unwrap_or_default();
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
        for letter in letters.drain(count.min(letters.len())..).rev() {
            self.queue.push_front(letter);
        }
        letters
    }

    /// A new epoch: those that wait are handed on again by their sources. A write that is going on
    /// still counts.
    pub fn restart(&mut self) {
        self.queue.clear();
        let taken = std::mem::take(&mut self.taken);
        self.room = self.room.map(|room| room + taken);
    }

    /// All that are not durable yet.
    pub fn waiting(&self) -> impl Iterator<Item = &Letter> {
        self.queue.iter().chain(self.writing.iter().flatten())
    }

    /// When to try again.
    pub fn next_try(&self) -> Option<Instant> {
        self.next_try.filter(|_| !self.queue.is_empty() && self.writing.is_none())
    }

    /// Why none can be written, if so and if it may be said now, and how often it was not said.
    pub fn may_warn(&mut self) -> Option<(&str, u64)> {
        let why = self.blocked.as_deref()?;
        let suppressed = self.limiter.pass(Instant::now())?;
        Some((why, suppressed))
    }

    /// What readiness says of it.
    pub fn hold(&self) -> Option<Hold> {
        let reason = self.blocked.clone()?;
        Some(Hold { kafka_topic: "dead letter".to_owned(), reason })
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

/// What of a letter counts in a Kafka topic.
fn room_of(letter: &Letter) -> u64 {
    (letter.kept().len() + letter.key().len()) as u64
}

/// The letter's line, which fits an empty file of so many bytes if any line of it does.
fn fitting_line(letter: &mut Letter, max: u64) -> Vec<u8> {
    loop {
        let line = letter.line();
        if line.len() as u64 <= max || !letter.shorten() {
            return line;
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
