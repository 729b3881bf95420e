//! Whether a broker has sent all that a session had, once nothing new comes into it. Pure.
//!
//! No packet says so. But a broker that has read our PUBACKs sends what it held back for them, and answers a
//! PINGREQ that we wrote behind them. So: when nothing is in flight, ask; wait a little, since some brokers
//! send from another thread than the one that answers; ask once more. If nothing came from the first question
//! to the second answer, there is nothing. However slow Kafka is and however few messages the broker sends at
//! once, a question is only asked when all that came is acknowledged.

use std::time::{Duration, Instant};

/// The answers that it takes, with nothing between.
const ANSWERS: u32 = 2;
/// The pause before the second question.
pub const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Quiet {
    answers: u32,
    question: Question,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// To be asked as soon as nothing is in flight.
    #[default]
    Open,
    /// The PINGREQ of this number was it.
    Asked(u64),
    /// To be asked at this moment.
    At(Instant),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something comes or the moment of [`Quiet::deadline`].
    Wait,
    /// Write a PINGREQ.
    Ask,
    /// There is nothing more.
    Over,
}

impl Quiet {
    /// A message came: not quiet.
    pub fn disturbed(&mut self) {
        *self = Self::default();
    }

    /// What to do at `now`; `is_idle`: nothing is in flight, and nothing more can come into the session;
    /// PINGREQs were `written` on this connection, and so many of them `answered`.
    pub fn step(&mut self, now: Instant, is_idle: bool, written: u64, answered: u64) -> Step {
        if !is_idle {
            self.disturbed();
            return Step::Wait;
        }
        if let Question::Asked(number) = self.question
            && answered >= number
        {
            self.answers += 1;
            self.question = Question::At(now + PAUSE);
        }
        match self.question {
            _ if self.answers >= ANSWERS => Step::Over,
            Question::Asked(_) => Step::Wait,
            Question::At(at) if now < at => Step::Wait,
            Question::Open | Question::At(_) => {
                self.question = Question::Asked(written + 1);
                Step::Ask
            }
        }
    }

    /// When to look again, if nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        match self.question {
            Question::At(at) => Some(at),
            Question::Open | Question::Asked(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_answers_with_a_pause_and_nothing_between_are_quiet() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.step(now, false, 0, 0), Step::Wait);
        assert_eq!(quiet.step(now, true, 0, 0), Step::Ask);
        assert_eq!(quiet.step(now, true, 1, 0), Step::Wait);
        assert_eq!(quiet.step(now, true, 1, 1), Step::Wait);
        assert_eq!(quiet.deadline(), Some(now + PAUSE));
        assert_eq!(quiet.step(now + PAUSE, true, 1, 1), Step::Ask);
        assert_eq!(quiet.step(now + PAUSE, true, 2, 2), Step::Over);
    }

    #[test]
    fn an_answer_to_an_earlier_pingreq_is_none_to_the_question() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        // One of the keep-alive is on its way, written before the last PUBACK.
        assert_eq!(quiet.step(now, true, 1, 0), Step::Ask);
        assert_eq!(quiet.step(now, true, 2, 1), Step::Wait);
        assert_eq!(quiet.deadline(), None);
        assert_eq!(quiet.step(now, true, 2, 2), Step::Wait);
        assert_eq!(quiet.deadline(), Some(now + PAUSE));
    }

    #[test]
    fn a_message_between_the_answers_begins_it_anew() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        quiet.step(now, true, 0, 0);
        quiet.step(now, true, 1, 1);
        quiet.disturbed();
        assert_eq!(quiet.step(now + PAUSE, true, 1, 1), Step::Ask);
        assert_eq!(quiet.step(now + PAUSE, true, 2, 2), Step::Wait, "the first answer");
    }

    /// A broker with a queue and a receive maximum, which sends from another thread, up to `lag` ticks after
    /// it read a PUBACK; and Kafka, which takes its time for each message.
    #[derive(Debug)]
    struct World {
        queue: u32,
        lag: u64,
        kafka: u64,
        /// Sent and not acknowledged.
        unacknowledged: u32,
        /// When the next may be sent.
        sends_at: VecDeque<u64>,
        /// In our window: when Kafka has it.
        window: VecDeque<u64>,
    }

    proptest! {
        #[test]
        fn nothing_is_left_behind_whatever_the_window_and_the_pace_of_kafka(
            queue in 0_u32..60,
            receive_maximum in 1_u32..8,
            // A tick is 100 ms: less than the pause.
            lag in 0_u64..9,
            kafka in 0_u64..100,
            question in 0_u64..3,
        ) {
            let mut world = World {
                queue, lag, kafka,
                unacknowledged: 0,
                sends_at: (0..receive_maximum).map(|_| lag).collect(),
                window: VecDeque::new(),
            };
            let (mut quiet, start) = (Quiet::default(), Instant::now());
            let (mut written, mut answered, mut answers_at) = (0, 0, VecDeque::new());
            for tick in 0_u64.. {
                prop_assert!(tick < 100_000, "it must end: {world:?}");
                while world.sends_at.front().is_some_and(|at| *at <= tick) && world.queue > 0 {
                    world.sends_at.pop_front();
                    world.queue -= 1;
                    world.unacknowledged += 1;
                    world.window.push_back(tick + world.kafka);
                    quiet.disturbed();
                }
                while world.window.front().is_some_and(|at| *at <= tick) {
                    world.window.pop_front();
                    world.unacknowledged -= 1;
                    world.sends_at.push_back(tick + world.lag);
                }
                while answers_at.front().is_some_and(|at| *at <= tick) {
                    answers_at.pop_front();
                    answered += 1;
                }
                let now = start + Duration::from_millis(100) * u32::try_from(tick).expect("few");
                match quiet.step(now, world.window.is_empty(), written, answered) {
                    Step::Wait => {}
                    Step::Ask => {
                        written += 1;
                        answers_at.push_back(tick + question);
                    }
                    Step::Over => break,
                }
            }
            prop_assert_eq!((world.queue, world.unacknowledged), (0, 0), "{:?}", world);
        }
    }
}
