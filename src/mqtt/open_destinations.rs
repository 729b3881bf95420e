//! Which destinations of one message have no verdict yet, and what the message's verdict is once all
//! have theirs. Pure; nothing is allocated for a message with one destination.

use std::time::Instant;

use crate::message::Destinations;
use crate::mqtt::held_timings::HeldKey;
use crate::stage::Verdict;

/// See the module.
#[derive(Debug)]
pub enum OpenDestinations {
    /// The message has its verdict.
    None,
    /// Its only destination is open.
    Only,
    /// It has several, and at least one is open.
    Several(Box<Several>),
}

/// Of a message with several destinations.
#[derive(Debug)]
pub struct Several {
    /// By the index of the destination.
    is_open: Box<[bool]>,
    /// When each that was delivered was, by the same index.
    delivered_at: Box<[Option<Instant>]>,
    /// Where what is held of each open one is, by the same index; empty while nothing is.
    held: Box<[HeldKey]>,
    /// How many are open.
    open: usize,
    /// What the message counts as, by the verdicts so far.
    outcome: Outcome,
}

/// What a message counts as. The greatest of its destinations' outcomes is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything is in Kafka.
    Delivered,
    /// Part of it was dropped as unmatched.
    Filtered,
    /// Part of it went to the dead letter.
    DeadLettered,
}

impl Outcome {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered(_) => Self::Delivered,
            Verdict::Dropped(_) => Self::Filtered,
            Verdict::Rejected(_) => Self::DeadLettered,
        }
    }
}

/// What a verdict meant for its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: its destination has its verdict, or the message has no such destination.
    Nothing,
    /// One destination has its verdict, others are open.
    Destination,
    /// It was the last one that was missing.
    Message(Outcome, DeliveredAt),
}

/// When what a message became was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeliveredAt {
    /// It was not, or not all of it has its verdict.
    #[default]
    Never,
    /// Its only destination, at this moment.
    At(Instant),
    /// By the index of the destination: at this moment, or not.
    Each(Box<[Option<Instant>]>),
}

impl OpenDestinations {
    /// All of them.
    #[inline]
    pub fn all(destinations: &Destinations) -> Self {
        match destinations.as_slice() {
            [] => Self::None,
            [_] => Self::Only,
            several => Self::Several(Box::new(Several {
                is_open: vec![true; several.len()].into(),
                delivered_at: vec![None; several.len()].into(),
                held: Box::default(),
                open: several.len(),
                outcome: Outcome::Delivered,
            })),
        }
    }

    /// Whether the message has its verdict.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether this destination has no verdict yet.
    #[inline]
    pub fn is_open(&self, index: u16) -> bool {
        match self {
            Self::None => false,
            Self::Only => index == 0,
            Self::Several(several) => {
                several.is_open.get(usize::from(index)).copied().unwrap_or_default()
            }
        }
    }

    /// Where what is held of an open destination is; `first` is what is held of the message.
    #[inline]
    pub(super) fn held(&self, index: u16, first: HeldKey) -> HeldKey {
        match self {
            Self::None => HeldKey::NONE,
            Self::Only => first,
            Self::Several(several) => {
                several.held.get(usize::from(index)).copied().unwrap_or_default()
            }
        }
    }

    /// Something is held of an open destination.
    #[inline]
    pub(super) fn hold(&mut self, index: u16, key: HeldKey) {
        let Self::Several(several) = self else { return };
        if several.held.is_empty() {
            several.held = vec![HeldKey::NONE; several.is_open.len()].into();
        }
        if let Some(held) = several.held.get_mut(usize::from(index)) {
            *held = key;
        }
    }

    /// Calls `each` with the index of each open destination, ascending.
    #[inline]
    pub fn for_each(&self, mut each: impl FnMut(u16)) {
        match self {
            Self::None => {}
            Self::Only => each(0),
            Self::Several(several) => {
                // As many indexes as there are destinations, `Destinations::MAX` at most.
                (0..=u16::MAX)
                    .zip(&several.is_open)
                    .filter(|(_, open)| **open)
                    .for_each(|(index, _)| each(index));
            }
        }
    }

    /// Takes a verdict, told at `at`.
    #[inline]
    pub fn settle(&mut self, verdict: Verdict, at: Instant) -> Settled {
        let (outcome, delivered_at) = match self {
            Self::Only if verdict.id().index == 0 => match Outcome::of(verdict) {
                Outcome::Delivered => (Outcome::Delivered, DeliveredAt::At(at)),
                outcome => (outcome, DeliveredAt::Never),
            },
            Self::None | Self::Only => return Settled::Nothing,
            Self::Several(several) => {
                let place = several.is_open.get_mut(usize::from(verdict.id().index));
                if !place.is_some_and(std::mem::take) {
                    return Settled::Nothing;
                }
                several.open -= 1;
                let outcome = Outcome::of(verdict);
                several.outcome = several.outcome.max(outcome);
                if outcome == Outcome::Delivered {
                    several.delivered_at[usize::from(verdict.id().index)] = Some(at);
                }
                if several.open > 0 {
                    return Settled::Destination;
                }
                (several.outcome, DeliveredAt::Each(std::mem::take(&mut several.delivered_at)))
            }
        };
        *self = Self::None;
        Settled::Message(outcome, delivered_at)
    }
}
