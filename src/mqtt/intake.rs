//! What becomes of each message that arrives. In this order: do we know it already, is there room for
//! it, is it a copy, where does it go; then the window admits it and it is handed on to the next stage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Recipient;
use bytes::Bytes;
use slog::{Logger, warn};

use crate::config::Unmatched;
use crate::failpoint::{self, Site};
use crate::message::{
    Destination, Destinations, Epoch, Message, NO_ROUTE, Qos, Refusal, RouteId, Stamp,
};
use crate::mqtt::announce::WARN_EVERY;
use crate::mqtt::copies::{Copies, Standing};
use crate::mqtt::former::Former;
use crate::mqtt::publish::{Publish, SubscriptionIds, same_properties};
use crate::mqtt::redelivery::Fingerprint;
use crate::mqtt::session::Settings;
use crate::mqtt::silence::Silence;
use crate::mqtt::subscriptions::Subscriptions;
use crate::mqtt::window::{Ack, Window};
use crate::observe::{LogLimiter, events, keys, panics};
use crate::route::note::Note;
use crate::route::{Filter, Input, Match, Route, Routed, Router};
use crate::stage::{ForwardBatch, Verdict};

/// A message may keep this many bytes in memory beside itself and as much again: a packet's header, or
/// the answer to a PINGREQ in between.
const PINNED_ALLOWANCE_BYTES: usize = 256;
/// At most this many filters are named when one of them brought a message that no route matches.
const NAMED_MAX: usize = 5;

/// See the module's documentation.
pub(super) struct Intake {
    settings: Arc<Settings>,
    router: Router,
    /// What its former routes made of messages that none of the present ones matches.
    pub(super) former: Former,
    pub(super) window: Window,
    copies: Copies,
    pub(super) silence: Silence,
    /// Since when the window has had no room for what came.
    pub(super) full_since: Option<Instant>,

    batches: Recipient<ForwardBatch>,
    /// Of the next stage, if it is ready.
    stage_epoch: Option<Epoch>,
    /// Not yet taken by [`Intake::take_notes`].
    notes: BTreeMap<(RouteId, Note), u64>,

    log: Logger,
    shed_limiter: LogLimiter,
    unmatched_limiter: LogLimiter,
    panic_limiter: LogLimiter,
}

impl Intake {
    /// Hands on to `batches`.
    pub(super) fn new(
        settings: Arc<Settings>,
        router: Router,
        window: Window,
        batches: Recipient<ForwardBatch>,
        log: Logger,
    ) -> Self {
        Self {
            router,
            former: Former::default(),
            window,
            copies: Copies::default(),
            silence: Silence::new(settings.mqtt.silence_warning),
            full_since: None,
            batches,
            stage_epoch: None,
            notes: BTreeMap::new(),
            log,
            shed_limiter: LogLimiter::every(WARN_EVERY),
            unmatched_limiter: LogLimiter::every(WARN_EVERY),
            panic_limiter: LogLimiter::every(WARN_EVERY),
            settings,
        }
    }

    /// What routing remembers is forgotten: a panic may have left it half-changed.
    pub(super) fn forget_routed(&mut self) {
        self.router.forget();
        self.former.forget();
    }

    /// Its routes, in order.
    pub(super) fn routes(&self) -> &[Arc<Route>] {
        self.router.routes()
    }

    /// Other routes from the next message on. What their subscriptions no longer bring, and what the broker
    /// still has of it, keeps its way ([`Former`]).
    pub(super) fn reroute(&mut self, routes: &[Route], match_: Match) {
        self.former.retire(self.router.routes(), self.router.match_(), routes);
        self.router.replace(routes, match_);
    }

    /// What is to be published because of what came, at QoS 0: MQTT topics and payloads.
    pub(super) fn take_requests(&mut self) -> Vec<(String, Bytes)> {
        self.router.take_requests()
    }

    /// Takes a message in. Gives it back if it has to wait for room in the window. `passed` counts the
    /// bytes that were read since the last message that was kept.
    pub(super) fn receive(
        &mut self,
        mut publish: Publish,
        received_at: Stamp,
        passed: &mut usize,
        subscriptions: &Subscriptions,
    ) -> Option<Publish> {
        if self.is_known(&publish) {
            return None;
        }
        if !self.window.has_room(publish.qos, publish.window_bytes()) {
            return self.wait_or_shed(publish, received_at);
        }
        self.full_since = None;
        // A message keeps everything that was read together with it in memory. Bytes of messages that
        // were dropped must not be kept uncounted.
        if *passed > 2 * publish.window_bytes() + PINNED_ALLOWANCE_BYTES {
            publish.detach();
        }
        *passed = 0;
        let content = self.copied_content(&publish, subscriptions);
        let now = received_at.instant;
        let twin = content.as_ref().and_then(|(content, under)| {
            let partners = |key| subscriptions.partners_of_gone(key);
            self.copies.take(*content, under, partners, now, self.window.oldest())
        });
        let destinations = match twin {
            Some(_) => Destinations::None,
            None => self.destinations(&publish, received_at, subscriptions),
        };
        let message = Message {
            mqtt_topic: publish.mqtt_topic,
            payload: publish.payload,
            properties: publish.properties,
            qos: publish.qos,
            retain: publish.retain,
            received_at,
            destinations,
        };
        if let Some(twin) = twin {
            self.window.copied(publish.ack, twin, Arc::new(message));
            return None;
        }
        let seq = self.window.admit(Arc::new(message), publish.ack);
        self.router.admitted(seq);
        if let Some((content, _)) = content {
            self.copies.admitted(content, seq, now);
        }
        None
    }

    /// Whether this is a message that came before, sent again.
    fn is_known(&mut self, publish: &Publish) -> bool {
        let Some(ack) = publish.ack else { return false };
        self.window.awaits_renumbered() && self.is_renumbered(publish, ack)
            || self.window.redelivered(ack, publish.dup, &publish.mqtt_topic, &publish.payload)
    }

    /// Whether a message in flight came again under a new packet id. Only where the broker owes it to
    /// us: it may drop a message that expires, and give a shared one to another member of the group.
    fn is_renumbered(&mut self, publish: &Publish, ack: Ack) -> bool {
        let is_owed_to_us = || {
            let mqtt_topic = std::str::from_utf8(&publish.mqtt_topic).unwrap_or_default();
            // What came for a route that is gone is owed to us as well, as far as it was.
            let all = self.router.routes().iter().chain(self.former.routes());
            let mut matching = all.filter(|route| route.filter.matches(mqtt_topic));
            let first = matching.next();
            first.is_some_and(|route| !route.filter.is_shared())
                && !matching.any(|route| route.filter.is_shared())
        };
        if publish.dup && (publish.expires || publish.refusal.is_some() || !is_owed_to_us()) {
            return false;
        }
        self.window.renumbered(ack, publish.dup, |message| {
            message.mqtt_topic == publish.mqtt_topic
                && message.payload == publish.payload
                && (message.qos, message.retain) == (publish.qos, publish.retain)
                && same_properties(&message.properties, &publish.properties)
        })
    }

    /// The window is full: the message waits, and the reading with it; but QoS 0 is shed once the
    /// window has been full for `delivery.qos0_shed_after`.
    fn wait_or_shed(&mut self, publish: Publish, received_at: Stamp) -> Option<Publish> {
        let full_since = *self.full_since.get_or_insert(received_at.instant);
        match self.settings.qos0_shed_after.filter(|_| publish.qos == Qos::AtMostOnce) {
            Some(patience) if full_since.elapsed() >= patience => {
                self.shed_qos0();
                None
            }
            _ => Some(publish),
        }
    }

    /// Drops a QoS 0 message on purpose, counted and logged.
    pub(super) fn shed_qos0(&mut self) {
        self.window.count_shed();
        if let Some(suppressed) = self.shed_limiter.pass(Instant::now()) {
            warn!(self.log, "window full, qos 0 messages shed"; events::QOS0_SHED,
                keys::SHED => self.window.snapshot().shed,
                keys::IN_FLIGHT => self.window.snapshot().in_flight,
                keys::SUPPRESSED => suppressed);
        }
    }

    /// When a QoS 0 message that waits for room is shed.
    pub(super) fn shed_at(&self, waiting: &Publish) -> Option<Instant> {
        let patience = self.settings.qos0_shed_after?;
        (waiting.qos == Qos::AtMostOnce).then(|| self.full_since.map(|since| since + patience))?
    }

    /// What a message has in common with its copies, and for which subscriptions it came, if it may have any.
    fn copied_content(
        &self,
        publish: &Publish,
        subscriptions: &Subscriptions,
    ) -> Option<(Fingerprint, Vec<Standing>)> {
        let ids = &publish.subscription_ids;
        // Most messages have no identifier: those for which no subscriptions overlap.
        let may_be = *ids != SubscriptionIds::None
            && subscriptions.may_copy()
            // An unmatched QoS 0 message is not kept: it cannot stand for a copy at QoS 1.
            && (self.router.matches(&publish.mqtt_topic)
                || self.former.matches(&publish.mqtt_topic));
        // Identifiers that are not ours tell nothing, and there is no bound on their number.
        let under = may_be
            .then(|| subscriptions.standings(ids.as_slice(), &publish.mqtt_topic))
            .flatten()?;
        Some((self.copies.content(publish)?, under))
    }

    /// Where a message goes.
    fn destinations(
        &mut self,
        publish: &Publish,
        received_at: Stamp,
        subscriptions: &Subscriptions,
    ) -> Destinations {
        if self.is_own_status(&publish.mqtt_topic) {
            return Destinations::None;
        }
        if let Some(refusal) = &publish.refusal {
            return Destinations::One(Destination::DeadLetter(refusal.clone()));
        }
        let routed = self.route_catching_panics(publish, received_at);
        if !routed.is_matched {
            return self.unmatched(publish, subscriptions);
        }
        self.silence.broken_by(&routed.destinations);
        for (route, note) in self.router.notes().iter().chain(self.former.notes()) {
            self.silence.broken_on(*route);
            *self.notes.entry((*route, *note)).or_default() += 1;
        }
        routed.destinations
    }

    /// A part of a message has its verdict.
    pub(super) fn settle(&mut self, verdict: Verdict, at: Instant) {
        if self.window.settle(verdict, at) {
            self.router.settled(verdict.id(), matches!(verdict, Verdict::Delivered(_)));
        }
    }

    /// What routes noted since the last call, and how often.
    pub(super) fn take_notes(&mut self) -> BTreeMap<(RouteId, Note), u64> {
        std::mem::take(&mut self.notes)
    }

    /// Whether it is our own status, of now or earlier. No Local keeps away what we publish while we are
    /// subscribed, but not, on Mosquitto for one, what a new subscription finds retained; nor what an older
    /// subscription without it brings, nor the will that a broker queues for our own session.
    fn is_own_status(&self, mqtt_topic: &[u8]) -> bool {
        let status = self.settings.mqtt.status.as_ref();
        status.is_some_and(|status| status.mqtt_topic.as_bytes() == mqtt_topic)
    }

    /// Routes a message. A panic on the way is this one message's fault: it goes to the dead letter.
    fn route_catching_panics(&mut self, publish: &Publish, received_at: Stamp) -> Routed {
        let routed = panics::catch(|| {
            failpoint::hit(Site::Route);
            let input = Input {
                mqtt_topic: &publish.mqtt_topic,
                payload: &publish.payload,
                properties: &publish.properties,
                qos: publish.qos,
                retain: publish.retain,
                dup: publish.dup,
                received_at,
                // Few are asked for it, and the clock costs.
                waited: if publish.expires
                    || self.router.says_routed_at()
                    || self.former.says_routed_at()
                {
                    received_at.instant.elapsed()
                } else {
                    Duration::ZERO
                },
                connection: &self.settings.mqtt.section,
            };
            let routed = self.router.route(&input);
            self.former.route(&input, routed)
        });
        routed.unwrap_or_else(|panic| {
            self.forget_routed();
            if let Some(suppressed) = self.panic_limiter.pass(Instant::now()) {
                warn!(self.log, "panic while a message was routed, it goes to the dead letter"; events::ROUTING_PANICKED,
                    keys::MQTT_TOPIC => %publish.mqtt_topic_lossy(),
                    keys::PANIC => &panic.message,
                    keys::LOCATION => &panic.location,
                    keys::SUPPRESSED => suppressed);
            }
            let detail = format!("{} at {}", panic.message, panic.location);
            Routed { destinations: dead_letter("panic", detail), is_matched: true }
        })
    }

    /// What becomes of a message that no route matches: an older configuration subscribed it, or the
    /// broker sent it under another name than the filter says.
    fn unmatched(&mut self, publish: &Publish, subscriptions: &Subscriptions) -> Destinations {
        let ids = publish.subscription_ids.as_slice();
        let mut names = subscriptions.names(ids).map(Filter::as_str);
        let mut subscribed = names.by_ref().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        if names.next().is_some() {
            subscribed.push_str(", ...");
        }
        let mqtt_topic = publish.mqtt_topic_lossy();
        if let Some(suppressed) = self.unmatched_limiter.pass(Instant::now()) {
            warn!(self.log, "no route matches a message"; events::MESSAGE_UNMATCHED,
                keys::MQTT_TOPIC => %mqtt_topic,
                keys::DETAIL => format!("subscribed {subscribed}, received {mqtt_topic}"),
                keys::SUPPRESSED => suppressed);
        }
        let is_kept = self.settings.mqtt.unmatched == Unmatched::DeadLetter;
        // MQTT does not promise that a QoS 0 message arrives.
        if !is_kept || publish.qos == Qos::AtMostOnce {
            return Destinations::None;
        }
        dead_letter(NO_ROUTE, format!("no route matches it; subscribed: {subscribed}"))
    }

    /// Hands on what the next stage was not given yet.
    pub(super) fn forward(&mut self) {
        let Some(stage_epoch) = self.stage_epoch else { return };
        let messages = self.window.take_unforwarded();
        if !messages.is_empty() {
            let source = self.settings.source;
            self.batches.do_send(ForwardBatch { stage_epoch, messages, source });
        }
    }

    /// The next stage is ready in this epoch: if that is new, it is given everything without a verdict.
    pub(super) fn stage_ready(&mut self, stage_epoch: Epoch) {
        if self.stage_epoch.replace(stage_epoch) != Some(stage_epoch) {
            self.window.rewind();
        }
    }

    /// Verdicts may be lost: nothing is handed on until the stage has answered a new attachment.
    pub(super) fn stage_unknown(&mut self) {
        self.stage_epoch = None;
    }

    /// The connection is gone; if the broker had accepted it, the right to acknowledge what came went with
    /// it.
    pub(super) fn connection_lost(&mut self, was_accepted: bool) {
        self.silence.connection_lost();
        self.full_since = None;
        if was_accepted {
            self.window.connection_lost();
        }
    }

    /// The broker has no session any more, or another client has it.
    pub(super) fn session_lost(&mut self) {
        self.window.session_lost();
        self.copies.clear();
    }

    /// A subscription began: no message of it counts as a copy of an earlier one.
    pub(super) fn begin_copies(&mut self, key: u32) {
        self.copies.begin(key);
    }

    /// The subscriptions changed: no message counts as a copy of an earlier one.
    pub(super) fn forget_copies(&mut self) {
        self.copies.clear();
    }
}

fn dead_letter(reason: &'static str, detail: String) -> Destinations {
    Destinations::One(Destination::DeadLetter(Box::new(Refusal::new(reason, detail))))
}
