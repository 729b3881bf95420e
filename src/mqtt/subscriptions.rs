//! What is to be subscribed, what may be subscribed in the session, and what is due to bring the one
//! to the other. Pure: answers and moments in, SUBSCRIBE, UNSUBSCRIBE and events out.
//!
//! A session outlives the configuration that made it. So the bridge remembers, in its state file, each
//! filter that it may have subscribed: a filter is there before its SUBSCRIBE is sent, and until its
//! UNSUBACK came (docs/decisions/0008-state-file.md). What is remembered and no longer wanted is
//! unsubscribed once everything that takes its place is in force: rather twice than not at all.
//!
//! What another wanted filter covers is not subscribed, unless that other one is refused.
//!
//! Routes can change while a connection lasts ([`Subscriptions::reroute`], docs/decisions/0028-reload.md): what
//! is subscribed and still wanted as it is stays untouched, and the rest becomes due by the same rules.
//!
//! While a filter and one that takes its place are both subscribed, messages come for both. In MQTT 5 identifiers
//! tell those copies (docs/decisions/0009-copies.md): the one that goes has an identifier before the other one
//! is subscribed, and a second one before it is unsubscribed. What comes under the second is certain to come for
//! the other filter as well; of what comes under the first nobody can know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::backoff::Backoff;
use crate::config::Resubscribe;
use crate::message::{Qos, RouteId};
use crate::mqtt::copies::Standing;
use crate::mqtt::packet::{self, ServerLimits, Subscribe, Version};
use crate::mqtt::reason;
use crate::mqtt::session_event::SessionEvent;
use crate::route::pairs::Pairs;
use crate::route::{Filter, Route};

/// What was refused is asked for again after this long, doubling up to the second one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Our requests have packet ids up to this one; the one above it is for a PUBLISH of ours.
pub const PACKET_ID_MAX: u16 = u16::MAX - 1;
/// At most this many requests for each filter are remembered, for answers that come late.
const ASKED_MAX: usize = 16;
/// In 3.1.1 each SUBSCRIBE replays the retained messages: a session that was kept is subscribed again
/// at most once in this time.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// An identifier is at most this (MQTT 5, section 3.8.2.1.2).
const ID_MAX: u32 = 268_435_455;
/// How long a subscription that goes stays beside what takes its place, so that what the broker has queued of
/// the time before has come, and copies can be told.
const BESIDE_FOR: Duration = Duration::from_secs(1);
/// How long behind its UNSUBACK what a subscription may still bring is told by its identifier.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// At most this many that are gone are remembered for that.
const GONE_MAX: usize = 100;
/// "No subscription existed": there was nothing to unsubscribe (MQTT 5, section 3.11.3).
const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;

/// A filter that may be subscribed in the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What.
    pub filter: Filter,
    /// The QoS asked for.
    pub qos: Qos,
    /// Its subscription identifier, where MQTT 5 gave it one.
    pub id: Option<u32>,
}

impl Held {
    fn what(&self) -> (&str, Qos, Option<u32>) {
        (self.filter.as_str(), self.qos, self.id)
    }
}

/// What does not change while the bridge runs.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// When to subscribe again over 3.1.1.
    pub resubscribe: Resubscribe,
    /// How long SUBACK and UNSUBACK may take.
    pub answer_within: Duration,
    /// Someone writes down what is held before the broker is asked for it.
    pub is_recorded: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Subscriptions {
    policy: Policy,
    /// One for each route, in order, then those of an older configuration.
    entries: Vec<Entry>,
    routes: usize,
    /// What is held, as it was last handed out to be written down, and how often that has changed.
    record: Vec<Held>,
    changes: u64,
    /// Up to which change it is written down.
    recorded: u64,
    /// Up to which change the bridge no longer waits for the file.
    excused: u64,
    /// Two that are held overlap.
    may_copy: bool,
    /// The last identifier that was given.
    last_id: u32,
    /// What is known of copies says nothing any more.
    has_lost_count: bool,
    /// The keys of subscriptions that began since someone asked.
    begun: Vec<u32>,
    /// The session is to be left.
    is_leaving: bool,
    /// What we publish to this MQTT topic is not to come back.
    own_mqtt_topic: String,
    /// Nor what we publish to these, for routes that ask Sparkplug nodes for a rebirth.
    own_commands: Option<Filter>,
    renewed_at: Option<Instant>,
    /// CONNACK has come at least once: before, nothing is planned.
    has_connected: bool,
    /// Of the present connection.
    version: Version,
    limits: ServerLimits,
    next_packet_id: u16,
    /// Requests without an answer: packet id and entry.
    asked: Vec<(u16, usize)>,
}

#[derive(Debug)]
struct Entry {
    /// Who wants it; `None`: an older configuration did.
    route: Option<RouteId>,
    filter: Filter,
    qos: Qos,
    id: Option<u32>,
    /// A reload gave it one, which is not in force yet.
    is_id_new: bool,
    /// The identifier before `id`, of a filter that goes: what takes its place may not have been in force.
    first_id: Option<u32>,
    /// The second identifier was asked for.
    is_marked: bool,
    /// What comes under it comes for these as well: they were in force before, and stay or leave later.
    partners: Vec<u32>,
    /// UNSUBSCRIBE was sent since its identifier was given.
    is_gone: bool,
    /// It would bring back what we publish ourselves.
    no_local: bool,
    /// Routes that bring all that this one would.
    covered_by: Vec<usize>,
    /// Entries with MQTT topics in common.
    overlaps: Vec<usize>,
    /// It may be subscribed in the session.
    is_held: bool,
    /// The change that made it held.
    held_since: u64,
    /// This process saw it granted in the session, and has not asked for its end since.
    is_granted: bool,
    /// Its last answer on this connection was no, or a lower QoS.
    has_failed: bool,
    /// How often a lower QoS was granted on this connection.
    downgrades: u32,
    state: State,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is asked for.
    Idle,
    /// To be subscribed at this moment.
    Due(Instant),
    /// SUBSCRIBE was sent at this moment.
    Asked(Instant),
    /// As far as it gets on this connection; to be asked for once more at this moment, if any.
    InForce(Option<Instant>),
    /// To be given an identifier at this moment, before it goes.
    MarkDue(Instant),
    /// SUBSCRIBE was sent for that at this moment.
    Marking(Instant),
    /// To be unsubscribed at this moment.
    LeaveDue(Instant),
    /// UNSUBSCRIBE was sent at this moment.
    Leaving(Instant),
    /// UNSUBACK came at this moment. What the broker has queued of it still comes.
    Gone(Instant),
}

impl Entry {
    fn new(route: Option<RouteId>, held: Held, is_held: bool) -> Self {
        let Held { filter, qos, id } = held;
        Self {
            route,
            qos,
            // Each member of a group gets some of the messages for one filter and others for the next:
            // what looks like a copy may be the only one that came here.
            id: id.filter(|_| !filter.is_shared()),
            is_id_new: false,
            first_id: None,
            is_marked: false,
            partners: Vec::new(),
            is_gone: false,
            filter,
            no_local: false,
            covered_by: Vec::new(),
            overlaps: Vec::new(),
            is_held,
            held_since: 0,
            is_granted: false,
            has_failed: false,
            downgrades: 0,
            state: State::Idle,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
        }
    }

    /// The broker has answered for it on this connection, or will not be asked again.
    fn is_known_to_broker(&self) -> bool {
        matches!(self.state, State::InForce(_)) || self.has_failed
    }

    /// It is to be asked for with this QoS instead.
    fn want_qos(&mut self, qos: Qos, now: Instant) {
        self.qos = qos;
        self.is_granted = false;
        self.has_failed = false;
        self.downgrades = 0;
        self.backoff.reset();
        let is_known = matches!(self.state, State::Due(_) | State::Asked(_) | State::InForce(_));
        if is_known || self.is_being_marked() {
            self.state = State::Due(now);
        }
    }

    fn is_being_marked(&self) -> bool {
        matches!(self.state, State::MarkDue(_) | State::Marking(_))
    }

    /// The broker has ended it.
    fn is_over(&self) -> bool {
        matches!(self.state, State::Gone(_))
    }

    /// By what messages that come for it are counted.
    fn key(&self) -> Option<u32> {
        self.first_id.or(self.id)
    }

    /// Its SUBSCRIBE with an identifier was answered, or will not be.
    fn marked(&mut self, now: Instant) {
        self.state = match self.is_marked {
            true => State::LeaveDue(now + BESIDE_FOR),
            false => State::Idle,
        };
    }

    /// Nothing that came for it is certain to come for others.
    fn unmark(&mut self) {
        self.is_marked = false;
        self.partners.clear();
    }

    /// What makes two the same for the broker.
    fn what(&self) -> (&str, Qos, Option<u32>) {
        (self.filter.as_str(), self.qos, self.id)
    }

    fn held(&self) -> Held {
        Held { filter: self.filter.clone(), qos: self.qos, id: self.id }
    }
}

impl Subscriptions {
    /// For these routes, in a session in which all of `remembered` may be subscribed. An identifier that
    /// is remembered stays what it is.
    pub fn new(routes: &[Arc<Route>], remembered: Vec<Held>, policy: Policy) -> Self {
        let mut entries: Vec<_> = routes
            .iter()
            .map(|route| {
                let known = remembered.iter().find(|held| held.filter == route.filter);
                let id = known.and_then(|held| held.id);
                let held = Held { filter: route.filter.clone(), qos: route.qos, id };
                Entry::new(Some(route.id), held, known.is_some())
            })
            .collect();
        let is_wanted = |held: &Held| routes.iter().any(|route| route.filter == held.filter);
        let old = remembered.iter().filter(|held| !is_wanted(held)).cloned();
        entries.extend(old.map(|held| Entry::new(None, held, true)));
        relate(&mut entries, routes.len());
        let last_id = name(&mut entries, routes.len(), 0);
        let mut subscriptions = Self {
            policy,
            entries,
            routes: routes.len(),
            record: remembered,
            changes: 0,
            recorded: 0,
            excused: 0,
            may_copy: false,
            last_id,
            has_lost_count: false,
            begun: Vec::new(),
            is_leaving: false,
            own_mqtt_topic: String::new(),
            own_commands: commands_of(routes),
            renewed_at: None,
            has_connected: false,
            version: Version::V5,
            limits: ServerLimits::default(),
            next_packet_id: 0,
            asked: Vec::new(),
        };
        subscriptions.see_changes();
        subscriptions
    }

    /// The same, so that plain filters do not bring back what we publish to this MQTT topic.
    #[must_use]
    pub fn without(mut self, own_mqtt_topic: &str) -> Self {
        self.own_mqtt_topic = own_mqtt_topic.to_owned();
        self.leave_own_out();
        self
    }

    fn leave_own_out(&mut self) {
        for entry in &mut self.entries {
            let may_command =
                self.own_commands.as_ref().is_some_and(|ours| ours.overlaps(&entry.filter));
            entry.no_local = !entry.filter.is_shared()
                && (entry.filter.matches(&self.own_mqtt_topic) || may_command);
        }
    }

    /// Other routes are wanted from now on. What is subscribed for one of them stays as it is, unless it is
    /// to have another QoS or, so that copies can be told apart, an identifier; all else becomes due.
    pub fn reroute(&mut self, routes: &[Arc<Route>], now: Instant, events: &mut Vec<SessionEvent>) {
        if self.is_leaving {
            return;
        }
        let mut old: Vec<_> = std::mem::take(&mut self.entries).into_iter().map(Some).collect();
        // The new place of each old entry.
        let mut places = vec![None; old.len()];
        let mut same = Vec::new();
        for (place, route) in routes.iter().enumerate() {
            let is_it = |entry: &Option<Entry>| {
                entry.as_ref().is_some_and(|entry| entry.filter == route.filter && !entry.is_over())
            };
            let found = old.iter().position(is_it);
            let mut entry = found.and_then(|at| old[at].take()).unwrap_or_else(|| {
                let held = Held { filter: route.filter.clone(), qos: route.qos, id: None };
                Entry::new(None, held, false)
            });
            let is_same = entry.qos == route.qos && !entry.is_being_marked();
            if is_same && entry.is_known_to_broker() {
                same.extend(entry.route.map(|before| (before, route.id)));
            }
            if !is_same {
                entry.want_qos(route.qos, now);
            }
            entry.unmark();
            entry.route = Some(route.id);
            if let Some(at) = found {
                // The answer to what was asked for before says nothing of another QoS.
                let is_leaving = matches!(entry.state, State::Leaving(_));
                places[at] = (is_same || is_leaving).then_some(place);
            }
            self.entries.push(entry);
        }
        let mut gone = 0;
        for (at, entry) in old.into_iter().enumerate() {
            let Some(mut entry) = entry else { continue };
            let is_leaving = matches!(entry.state, State::Leaving(_));
            gone += usize::from(entry.is_over());
            let is_told = entry.is_over() && gone <= GONE_MAX;
            if !(entry.is_held || is_leaving || is_told) {
                continue;
            }
            entry.route = None;
            // Of what takes its place now nothing was certain.
            entry.unmark();
            if !is_leaving && !entry.is_over() {
                entry.state = State::Idle;
            }
            places[at] = Some(self.entries.len());
            self.entries.push(entry);
        }
        self.routes = routes.len();
        self.asked.retain_mut(|(_, at)| match places[*at] {
            Some(place) => {
                *at = place;
                true
            }
            None => false,
        });
        relate(&mut self.entries, self.routes);
        self.identify(now);
        let before: Vec<_> = self.entries.iter().map(|entry| entry.no_local).collect();
        self.own_commands = commands_of(routes);
        self.leave_own_out();
        for (entry, before) in self.entries.iter_mut().zip(before) {
            let is_known = matches!(entry.state, State::InForce(_) | State::Asked(_));
            if self.version == Version::V5 && is_known && entry.no_local != before {
                entry.state = State::Due(now);
            }
        }
        events.push(SessionEvent::Rerouted { same });
        if self.has_connected {
            self.plan(now, events);
        }
        self.tell_covered(events);
    }

    /// Gives identifiers to those that need one now. One that is subscribed with an identifier keeps it, and
    /// one that is subscribed without is subscribed again.
    fn identify(&mut self, now: Instant) {
        let before: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        self.last_id = name(&mut self.entries, self.routes, self.last_id);
        let is_told = self.version == Version::V5 && !self.limits.no_subscription_ids;
        for (index, before) in before.into_iter().enumerate() {
            let entry = &mut self.entries[index];
            if entry.id.is_none() && entry.is_held {
                entry.id = before;
            }
            entry.is_id_new |= self.has_connected && entry.id != before;
            let is_asked = matches!(entry.state, State::InForce(_) | State::Asked(_));
            if entry.id != before && is_told && is_asked {
                entry.state = State::Due(now);
                self.asked.retain(|(_, at)| *at != index);
            }
        }
    }

    fn tell_covered(&self, events: &mut Vec<SessionEvent>) {
        let covered = (0..self.routes).filter(|index| !self.is_active(*index));
        let covered = covered.filter_map(|index| self.entries[index].route);
        events.extend(covered.map(|route| SessionEvent::Covered { route }));
    }

    /// The same, so that nothing is wanted: all that routes subscribe, and all that is remembered, is
    /// unsubscribed, on each connection anew.
    #[must_use]
    pub fn leaving(mut self) -> Self {
        self.is_leaving = true;
        self.routes = 0;
        for entry in &mut self.entries {
            entry.route = None;
            entry.covered_by.clear();
            entry.is_held = true;
        }
        self.see_changes();
        self
    }

    /// How many filters may be subscribed in the session.
    pub fn held(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_held).count()
    }

    /// What is to be written down next, and its number; `None` if it is.
    pub fn to_record(&self) -> Option<(u64, &[Held])> {
        (self.recorded < self.changes).then_some((self.changes, &self.record))
    }

    /// The change of this number is written down, or could not be; the bridge goes on either way.
    pub fn recorded(&mut self, number: u64) {
        self.recorded = self.recorded.max(number);
        self.excused = self.excused.max(number);
    }

    /// Writing takes too long: the bridge goes on, and the file follows later. Returns whether anything
    /// waited for it.
    pub fn excuse(&mut self) -> bool {
        std::mem::replace(&mut self.excused, self.changes) < self.changes
    }

    /// Whether a message may come as several copies that can be told apart by their identifiers.
    pub fn may_copy(&self) -> bool {
        self.may_copy && self.version == Version::V5 && !self.limits.no_subscription_ids
    }

    /// Whether, since it was last asked, something happened by which what is known of copies counts no more.
    pub fn take_lost_count(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_count)
    }

    /// The subscriptions that began, or were given their first identifier, since it was last asked.
    pub fn take_begun(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.begun)
    }

    /// What is known of copies counts no more, nor does what was certain of those that go or are gone: it would
    /// be compared with what is counted from now on.
    fn lose_count(&mut self) {
        self.has_lost_count = true;
        self.entries.iter_mut().for_each(|entry| entry.partners.clear());
    }

    /// What these identifiers say of a message with this MQTT topic, if all are of subscriptions of ours. Before a
    /// restart an identifier may have been another's: then its filter need not match.
    pub fn standings(&self, ids: &[u32], mqtt_topic: &[u8]) -> Option<Vec<Standing>> {
        let mqtt_topic = std::str::from_utf8(mqtt_topic).ok()?;
        let standing = |id: &u32| {
            self.entries.iter().find_map(|entry| {
                let key = entry.key()?;
                let is_first = entry.first_id == Some(*id);
                let is_it = (is_first || entry.id == Some(*id)) && entry.filter.matches(mqtt_topic);
                is_it.then_some(Standing { key, is_certain: entry.first_id.is_some() && !is_first })
            })
        };
        ids.iter().map(standing).collect()
    }

    /// Of a subscription that the broker was asked to end, or that is not known any more: for which others
    /// that comes which comes for it for certain. `None` while it is in force.
    pub fn partners_of_gone(&self, key: u32) -> Option<&[u32]> {
        match self.entries.iter().find(|entry| entry.key() == Some(key)) {
            Some(entry) => entry.is_gone.then_some(&entry.partners),
            None => Some(&[]),
        }
    }

    /// Whether a broker may have granted this route's filter without knowing what it means: in 3.1.1 it
    /// cannot say that it has no shared subscriptions.
    pub fn is_granted_blindly(&self, route: RouteId) -> bool {
        let entry = self.entries.iter().find(|entry| entry.route == Some(route));
        self.version == Version::V311 && entry.is_some_and(|entry| entry.filter.is_shared())
    }

    /// For people: the filters that bring a message with these identifiers, or without any.
    pub fn names(&self, ids: &[u32]) -> impl Iterator<Item = &Filter> {
        let is_one = move |entry: &&Entry| {
            entry.is_held && (ids.is_empty() || entry.id.is_some_and(|id| ids.contains(&id)))
        };
        self.entries.iter().filter(is_one).map(|entry| &entry.filter)
    }

    /// Whether all that is wanted is in force, at the QoS that was asked for.
    pub fn is_in_force(&self) -> bool {
        (0..self.routes).all(|route| {
            let entry = &self.entries[route];
            !self.is_active(route) || matches!(entry.state, State::InForce(_)) && !entry.has_failed
        })
    }

    /// Whether the broker has answered for all that is wanted, be it with no, or has taken too long.
    pub fn is_answered(&self) -> bool {
        (0..self.routes).all(|route| {
            let entry = &self.entries[route];
            !self.is_active(route) || matches!(entry.state, State::InForce(_)) || entry.has_failed
        })
    }

    /// The broker may have lost the session without our being told.
    pub fn doubt(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.is_granted = false);
    }

    /// CONNACK came.
    pub fn connected(
        &mut self,
        version: Version,
        limits: &ServerLimits,
        session_present: bool,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        self.has_connected = true;
        self.version = version;
        self.limits = limits.clone();
        self.asked.clear();
        for entry in &mut self.entries {
            entry.is_held = (entry.is_held || self.is_leaving) && session_present;
            entry.is_granted &= session_present;
            entry.is_id_new &= session_present;
            entry.is_gone &= session_present;
            // What takes its place may be refused now, and what comes again was counted before.
            entry.unmark();
            entry.has_failed = false;
            entry.downgrades = 0;
            entry.state = State::Idle;
            entry.backoff.reset();
        }
        // The old subscriptions are gone and never asked for again: their places can go.
        if self.entries[self.routes..].iter().all(|entry| !entry.is_held) {
            self.forget_old();
        }
        if version == Version::V311 {
            self.keep_granted(now, events);
        }
        self.tell_covered(events);
        self.plan(now, events);
    }

    /// In 3.1.1, what the session has is not asked for again at once if that was done just now.
    fn keep_granted(&mut self, now: Instant, events: &mut Vec<SessionEvent>) {
        let renew_at = match self.policy.resubscribe {
            Resubscribe::NewSession => None,
            Resubscribe::Always => Some(self.renewed_at.map_or(now, |at| at + RENEW_EVERY)),
        };
        if renew_at.is_some_and(|at| at <= now) {
            if self.entries.iter().any(|entry| entry.is_granted) {
                self.renewed_at = Some(now);
            }
            return;
        }
        for entry in self.entries[..self.routes].iter_mut().filter(|entry| entry.is_granted) {
            entry.state = State::InForce(renew_at);
            events.extend(entry.route.map(|route| SessionEvent::StillSubscribed { route }));
        }
    }

    fn forget_old(&mut self) {
        self.entries.truncate(self.routes);
        for entry in &mut self.entries {
            entry.overlaps.retain(|other| *other < self.routes);
        }
    }

    /// The answer to a SUBSCRIBE: the QoS granted, or a refusal.
    pub fn on_suback(
        &mut self,
        packet_id: u16,
        code: u8,
        text: String,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        // An answer that comes late, after another request was sent, counts as well.
        let Some(index) = self.answered(packet_id) else { return };
        if matches!(self.entries[index].state, State::Marking(_)) {
            self.entries[index].marked(now);
            self.plan(now, events);
            return;
        }
        let entry = &mut self.entries[index];
        let Some(route) = entry.route else { return };
        let wanted = entry.qos.level();
        let possible = wanted.min(self.limits.maximum_qos.unwrap_or(wanted));
        if matches!(entry.state, State::MarkDue(_) | State::LeaveDue(_) | State::Leaving(_)) {
            return;
        }
        if code < reason::FAILURE {
            // What came for others alone stands for no copy of what comes now.
            if std::mem::take(&mut entry.is_id_new) {
                self.begun.extend(entry.key());
            }
        }
        if code >= reason::FAILURE {
            entry.has_failed = true;
            let retry_in = entry.backoff.pause(0.0);
            entry.state = State::Due(now + retry_in);
            events.push(SessionEvent::SubscriptionRefused { route, text, retry_in });
            // What others bring comes alone from now on, and is no copy of what this one brought.
            self.lose_count();
        } else if code >= possible {
            entry.has_failed = false;
            entry.is_granted = true;
            entry.backoff.reset();
            entry.state = State::InForce(None);
            events.push(match code >= wanted {
                true => SessionEvent::Subscribed { route, qos: code },
                // This broker grants no more.
                false => SessionEvent::Downgraded { route, qos: code, retry_in: None },
            });
        } else {
            entry.has_failed = true;
            entry.downgrades += 1;
            // In 3.1.1 each attempt replays the retained messages.
            let again = self.version == Version::V5 || entry.downgrades == 1;
            let retry_in = again.then(|| entry.backoff.pause(0.0));
            entry.state = retry_in.map_or(State::InForce(None), |pause| State::Due(now + pause));
            events.push(SessionEvent::Downgraded { route, qos: code, retry_in });
        }
        self.plan(now, events);
    }

    /// The answer to an UNSUBSCRIBE.
    pub fn on_unsuback(
        &mut self,
        packet_id: u16,
        code: u8,
        text: String,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        let Some(index) = self.answered(packet_id) else { return };
        let entry = &mut self.entries[index];
        let mqtt_filter = entry.filter.to_string();
        if code < reason::FAILURE || code == NO_SUBSCRIPTION_EXISTED {
            entry.is_held = false;
            entry.state = match entry.id {
                Some(_) if entry.route.is_none() => State::Gone(now),
                _ => State::Idle,
            };
            entry.backoff.reset();
            events.push(SessionEvent::Unsubscribed { mqtt_filter });
        } else {
            entry.state = State::LeaveDue(now + entry.backoff.pause(0.0));
            events.push(SessionEvent::UnsubscribeFailed { mqtt_filter, text });
        }
        self.plan(now, events);
    }

    fn answered(&mut self, packet_id: u16) -> Option<usize> {
        let at = self.asked.iter().position(|(id, _)| *id == packet_id)?;
        Some(self.asked.swap_remove(at).1)
    }

    /// Sends what is due at `now`. While nothing is read, no answer can be missing.
    pub fn on_time(
        &mut self,
        now: Instant,
        reading: bool,
        out: &mut BytesMut,
        events: &mut Vec<SessionEvent>,
    ) {
        let late = self.policy.answer_within;
        let mut refused = false;
        // First what is only to be given an identifier, so that it has it when copies begin to come.
        let all = 0..self.entries.len();
        for (is_named, index) in all.clone().map(|at| (true, at)).chain(all.map(|at| (false, at))) {
            let entry = &self.entries[index];
            let is_due_first = entry.is_granted && entry.route.is_some() || entry.is_being_marked();
            if is_due_first != is_named {
                continue;
            }
            if matches!(entry.state, State::LeaveDue(_)) && self.has_precursor(index) {
                continue;
            }
            let entry = &mut self.entries[index];
            match &mut entry.state {
                State::MarkDue(at) if *at <= now && entry.held_since <= self.excused => {
                    let is_sent = self.subscribe(index, now, out, events);
                    let entry = &mut self.entries[index];
                    match is_sent {
                        true => entry.state = State::Marking(now),
                        false => entry.marked(now),
                    }
                    refused |= !is_sent;
                }
                State::Marking(at) if !reading => *at = now,
                State::Marking(at) if *at + late <= now => {
                    entry.marked(now);
                    refused = true;
                }
                State::Gone(at) if *at + TOLD_FOR <= now => {
                    (entry.id, entry.first_id, entry.state) = (None, None, State::Idle);
                    refused = true;
                }
                State::Due(at) if *at <= now && entry.held_since <= self.excused => {
                    refused |= !self.subscribe(index, now, out, events);
                }
                State::InForce(Some(at)) if *at <= now => {
                    self.renewed_at = Some(now);
                    refused |= !self.subscribe(index, now, out, events);
                }
                State::LeaveDue(at) if *at <= now => self.unsubscribe(index, now, out),
                State::Asked(at) | State::Leaving(at) if !reading => *at = now,
                State::Asked(at) if *at + late <= now => {
                    // The filters that it covers must not wait for an answer that may never come.
                    entry.has_failed = true;
                    refused = true;
                    events.extend(entry.route.map(|route| SessionEvent::SubackMissing { route }));
                    self.subscribe(index, now, out, events);
                }
                State::Leaving(at) if *at + late <= now => {
                    let mqtt_filter = entry.filter.to_string();
                    let text = "no UNSUBACK".to_owned();
                    events.push(SessionEvent::UnsubscribeFailed { mqtt_filter, text });
                    self.unsubscribe(index, now, out);
                }
                _ => {}
            }
        }
        if refused {
            self.plan(now, events);
        }
    }

    /// The next moment at which [`Subscriptions::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let late = self.policy.answer_within;
        let due = self.entries.iter().enumerate().filter_map(|(at, entry)| match entry.state {
            State::LeaveDue(_) if self.has_precursor(at) => None,
            // It waits for the file.
            State::Due(_) | State::MarkDue(_) if entry.held_since > self.excused => None,
            State::Due(at)
            | State::MarkDue(at)
            | State::InForce(Some(at))
            | State::LeaveDue(at) => Some(at),
            State::Asked(at) | State::Marking(at) | State::Leaving(at) => Some(at + late),
            State::Gone(at) => Some(at + TOLD_FOR),
            State::Idle | State::InForce(None) => None,
        });
        due.min()
    }

    /// Sends SUBSCRIBE, unless CONNACK rules it out: that would be a protocol error and end the
    /// connection. Returns whether it was sent.
    fn subscribe(
        &mut self,
        index: usize,
        now: Instant,
        out: &mut BytesMut,
        events: &mut Vec<SessionEvent>,
    ) -> bool {
        let entry = &mut self.entries[index];
        if let Some(text) = ruled_out(&entry.filter, &self.limits) {
            entry.has_failed = true;
            let retry_in = entry.backoff.pause(0.0);
            entry.state = State::Due(now + retry_in);
            let refused = |route| SessionEvent::SubscriptionRefused { route, text, retry_in };
            events.extend(entry.route.map(refused));
            // What others bring comes alone from now on, and is no copy of what this one brought.
            self.lose_count();
            return false;
        }
        entry.state = State::Asked(now);
        let packet_id = self.request(index);
        let entry = &self.entries[index];
        let subscribe = Subscribe {
            packet_id,
            mqtt_filter: entry.filter.as_str(),
            qos: entry.qos,
            subscription_id: entry.id.filter(|_| !self.limits.no_subscription_ids),
            // A new subscription gets the retained messages in any case.
            only_if_new: true,
            no_local: entry.no_local,
        };
        packet::encode_subscribe(self.version, &subscribe, out);
        true
    }

    fn unsubscribe(&mut self, index: usize, now: Instant, out: &mut BytesMut) {
        // From here on the broker may have done it, whether its answer comes or the connection ends first.
        self.entries[index].is_granted = false;
        self.entries[index].is_gone = true;
        self.entries[index].state = State::Leaving(now);
        let packet_id = self.request(index);
        let mqtt_filter = self.entries[index].filter.as_str();
        packet::encode_unsubscribe(self.version, packet_id, mqtt_filter, out);
    }

    /// A packet id under which the answer is expected.
    fn request(&mut self, index: usize) -> u16 {
        self.next_packet_id = self.next_packet_id % PACKET_ID_MAX + 1;
        if self.asked.len() >= ASKED_MAX * self.entries.len() {
            self.asked.remove(0);
        }
        self.asked.push((self.next_packet_id, index));
        self.next_packet_id
    }

    /// Whether the route of this entry is to be subscribed itself.
    fn is_active(&self, index: usize) -> bool {
        self.entries[index].covered_by.iter().all(|other| self.entries[*other].has_failed)
    }

    /// Whether a subscription of an older configuration may go: everything that takes its place is there.
    fn may_leave(&self, index: usize) -> bool {
        self.entries[index].overlaps.iter().all(|other| {
            let it = &self.entries[*other];
            *other >= self.routes
                || !self.is_active(*other)
                || matches!(it.state, State::InForce(_)) && !it.has_failed
        })
    }

    /// What is next for a subscription that goes.
    fn step_down(&mut self, index: usize, now: Instant) -> State {
        let may_leave = self.may_leave(index);
        let are_told = self.version == Version::V5
            && !self.limits.no_subscription_ids
            && !self.entries[index].filter.is_shared()
            // Else it would perhaps be subscribed anew.
            && self.entries[index].is_granted;
        // A broker may drop QoS 0: then nothing is certain.
        let qos = self.entries[index].qos;
        let (mut partners, mut are_certain) = (Vec::new(), qos == Qos::AtLeastOnce);
        for other in self.entries[index].overlaps.iter().filter(|_| are_told) {
            let it = &self.entries[*other];
            let is_there = *other < self.routes && self.is_active(*other)
                // One that has its second identifier goes first.
                || it.is_granted && !it.is_marked;
            if let Some(key) = it.key().filter(|_| is_there) {
                partners.push(key);
                are_certain &= it.qos == qos;
            }
        }
        let entry = &self.entries[index];
        if !partners.is_empty() && (entry.id.is_none() || entry.is_id_new) {
            let id = entry.id.unwrap_or_else(|| self.fresh_id());
            let entry = &mut self.entries[index];
            (entry.id, entry.is_id_new) = (Some(id), false);
            return State::MarkDue(now);
        }
        if !may_leave {
            return State::Idle;
        }
        if !partners.is_empty() && are_certain && !entry.is_marked {
            if entry.first_id.is_some() {
                // What was counted under the identifier before counts for other filters.
                self.lose_count();
            }
            let id = self.fresh_id();
            let entry = &mut self.entries[index];
            (entry.first_id, entry.id, entry.is_marked) = (entry.id, Some(id), true);
            entry.partners = partners;
            return State::MarkDue(now);
        }
        State::LeaveDue(now)
    }

    /// Whether another one, of which it is a partner, is to be unsubscribed before it.
    fn has_precursor(&self, index: usize) -> bool {
        let this = self.entries[index].key();
        self.entries[index].overlaps.iter().any(|other| {
            let it = &self.entries[*other];
            let is_partner = this.is_some_and(|key| it.partners.contains(&key));
            is_partner && it.is_marked && !it.is_gone
        })
    }

    /// What comes for a subscription that is made again is no copy of what came before.
    fn begin_anew(&mut self, index: usize) {
        if self.entries[index].is_gone {
            let id = self.entries[index].id.map(|_| self.fresh_id());
            let entry = &mut self.entries[index];
            (entry.id, entry.first_id, entry.is_gone) = (id, None, false);
            entry.partners.clear();
        }
    }

    /// An identifier that was not used lately: what comes under an old one must not be taken for another's.
    fn fresh_id(&mut self) -> u32 {
        let is_taken = |id: u32| {
            self.entries.iter().any(|entry| entry.id == Some(id) || entry.first_id == Some(id))
        };
        let mut id = self.last_id % ID_MAX + 1;
        while is_taken(id) {
            id = id % ID_MAX + 1;
        }
        self.last_id = id;
        id
    }

    /// Looks at what is wanted and what is held, and makes the difference due.
    fn plan(&mut self, now: Instant, events: &mut Vec<SessionEvent>) {
        for index in 0..self.entries.len() {
            let is_active = index < self.routes && self.is_active(index);
            let Entry { route, state, is_held, .. } = self.entries[index];
            let next = match state {
                State::Idle | State::LeaveDue(_) if is_active => {
                    self.begin_anew(index);
                    self.entries[index].unmark();
                    if !self.entries[index].covered_by.is_empty() {
                        events.extend(route.map(|route| SessionEvent::Uncovered { route }));
                    }
                    State::Due(now)
                }
                // When its answer comes, this is evaluated again.
                State::Asked(_) | State::Marking(_) | State::Leaving(_) | State::Gone(_) => state,
                _ if is_active => state,
                State::Due(_) | State::InForce(_) | State::Idle if is_held => {
                    if state != State::Idle {
                        events.extend(route.map(|route| SessionEvent::Covered { route }));
                    }
                    self.step_down(index, now)
                }
                State::LeaveDue(_) if !self.may_leave(index) => {
                    self.entries[index].unmark();
                    State::Idle
                }
                State::MarkDue(_) | State::LeaveDue(_) => state,
                _ => State::Idle,
            };
            let entry = &mut self.entries[index];
            entry.state = next;
            entry.is_held |= matches!(next, State::Due(_) | State::MarkDue(_));
        }
        self.see_changes();
    }

    /// Sees whether what is held has changed, and is to be written down.
    fn see_changes(&mut self) {
        // What a session that is left still has came for all that was subscribed.
        let brings = |entry: &Entry| {
            (entry.is_held || entry.is_over() || self.is_leaving) && entry.id.is_some()
        };
        let may_copy = self.entries.iter().any(|entry| {
            brings(entry) && entry.overlaps.iter().any(|other| brings(&self.entries[*other]))
        });
        self.may_copy = may_copy;
        // Without copies: with each answer this is asked, and there may be thousands.
        let held = || self.entries.iter().filter(|entry| entry.is_held);
        if held().map(Entry::what).eq(self.record.iter().map(Held::what)) {
            return;
        }
        let known: BTreeSet<_> = self.record.iter().map(Held::what).collect();
        let record = held().map(Entry::held).collect();
        self.changes += 1;
        for entry in self.entries.iter_mut().filter(|entry| entry.is_held) {
            if !known.contains(&entry.what()) {
                entry.held_since = self.changes;
            }
        }
        self.record = record;
        if !self.policy.is_recorded {
            self.recorded(self.changes);
        }
    }
}

/// Notes which entries cover one another, and which have MQTT topics in common; the first so many are wanted.
fn relate(entries: &mut [Entry], routes: usize) {
    let pairs = Pairs::of(entries.iter().map(|entry| &entry.filter));
    for entry in entries.iter_mut() {
        entry.covered_by.clear();
        entry.overlaps.clear();
    }
    for this in 0..entries.len() {
        // Where very many overlap, there is no way around asking each of each.
        let others = match pairs.are_all() {
            true => pairs.earlier(this).to_vec(),
            false => (0..this).collect(),
        };
        for other in others {
            relate_to(entries, routes, this, other);
            relate_to(entries, routes, other, this);
        }
    }
}

/// Says of `this` whether `other` covers or overlaps it.
fn relate_to(entries: &mut [Entry], routes: usize, this: usize, other: usize) {
    let (mine, its) = (&entries[this], &entries[other]);
    let covers = other < routes && its.qos >= mine.qos && its.filter.covers(&mine.filter);
    let overlaps = covers || its.filter.overlaps(&mine.filter);
    let mine = &mut entries[this];
    mine.covered_by.extend(covers.then_some(other));
    mine.overlaps.extend(overlaps.then_some(other));
}

/// Gives an identifier to each route that has MQTT topics in common with another one, or with what is still
/// subscribed, the smallest that is free above the last one that was given, and takes it from the others. A shared
/// one has none: see [`Entry::new`]. Returns the last one that was given.
fn name(entries: &mut [Entry], routes: usize, last: u32) -> u32 {
    let taken: BTreeSet<u32> =
        entries.iter().flat_map(|entry| [entry.id, entry.first_id]).flatten().collect();
    let mut last = last;
    let mut free = (last + 1..=ID_MAX).filter(|id| !taken.contains(id));
    for index in 0..routes {
        let overlaps = entries[index].overlaps.iter().any(|other| {
            *other < routes || entries[*other].is_granted && !entries[*other].filter.is_shared()
        });
        let entry = &mut entries[index];
        if !overlaps || entry.filter.is_shared() {
            entry.id = None;
        } else if entry.id.is_none() {
            entry.id = free.next();
            last = entry.id.unwrap_or(last);
        }
    }
    last
}

/// Where routes that ask Sparkplug nodes for a rebirth publish, if there are any.
fn commands_of(routes: &[Arc<Route>]) -> Option<Filter> {
    let do_ask = routes.iter().any(|route| route.sparkplug_rebirth);
    do_ask.then(|| "spBv1.0/+/NCMD/+".parse().ok()).flatten()
}

/// Why CONNACK leaves no way to subscribe a filter, if so.
fn ruled_out(filter: &Filter, limits: &ServerLimits) -> Option<String> {
    if limits.no_wildcards && filter.has_wildcard() {
        return Some("the broker has no wildcard subscriptions".to_owned());
    }
    if limits.no_shared && filter.is_shared() {
        return Some("the broker has no shared subscriptions".to_owned());
    }
    // Fixed header, packet id, properties, length and options around the filter.
    let size = filter.as_str().len() + 16;
    match limits.maximum_packet_bytes {
        Some(maximum) if size > maximum as usize => {
            Some(format!("the broker takes packets of at most {maximum} bytes"))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
