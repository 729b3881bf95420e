//! What a connection works on, and what outlives it, a panic included: the session, and the intake
//! with its window. Below both the connection and the actor.

use std::sync::Arc;
use std::time::Instant;

use crate::message::Stamp;
use crate::mqtt::announce::Announcer;
use crate::mqtt::intake::Intake;
use crate::mqtt::leaving::Leaving;
use crate::mqtt::publish::Publish;
use crate::mqtt::session::{Session, Settings};
use crate::mqtt::session_event::SessionEvent;
use crate::mqtt::timings::{ACK_AWAITED, Timings};
use crate::observe::{ConnectionMetrics, Metrics};
use crate::route::{Match, Route};

/// See the module.
pub(super) struct Core {
    pub(super) settings: Arc<Settings>,
    pub(super) session: Session,
    pub(super) intake: Intake,
    pub(super) announcer: Announcer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timings: Timings,
    /// Nothing more is taken in; what is in flight is finished.
    pub(super) draining: bool,
    /// The session is to be ended for good.
    pub(super) leaving: Option<Leaving>,
}

impl Core {
    /// What is counted of this connection.
    pub(super) fn counters(&self) -> &ConnectionMetrics {
        self.metrics.connection(self.settings.source)
    }

    /// Shows which of the broker's addresses is tried.
    pub(super) fn tell_broker(&self, address: usize) {
        if let Some(broker) = self.settings.mqtt.addresses.get(address) {
            self.counters().set_broker(broker, self.settings.is_insecure(address));
        }
    }

    /// [`Intake::receive`] with the subscriptions of the session.
    pub(super) fn receive(
        &mut self,
        publish: Publish,
        received_at: Stamp,
        passed: &mut usize,
    ) -> Option<Publish> {
        self.intake.receive(publish, received_at, passed, &self.session.subscriptions)
    }

    /// Hands on what came and is routed, at `now`.
    pub(super) fn forward(&mut self, now: Instant) {
        let window = &mut self.intake.window;
        if window.any_unrouted() {
            window.routed(now);
            self.metrics.connection(self.settings.source).record_routed(window.take_routed(), now);
        }
        self.intake.forward();
    }

    /// The same outside of the connection's course, where there is seldom anything.
    pub(super) fn forward_rest(&mut self) {
        match self.intake.window.any_unrouted() {
            true => self.forward(Instant::now()),
            false => self.intake.forward(),
        }
    }

    /// Writes the timing records of messages that are not acknowledged, and not for long.
    pub(super) fn give_up_acks(&mut self, now: Instant) {
        if let Some(before) = now.checked_sub(ACK_AWAITED) {
            self.intake.window.give_up_acks(before);
            self.timings.write_due(&mut self.intake.window, now);
        }
    }

    /// Other routes from now on: for the next message, and for what is subscribed.
    pub(super) fn reroute(&mut self, routes: &[Route], match_: Match) {
        self.intake.reroute(routes, match_);
        let routes = self.intake.routes().to_vec();
        let before = &self.settings.routes;
        let is_same = |route: &&Arc<Route>| {
            before.iter().any(|it| (it.id, &it.filter) == (route.id, &route.filter))
        };
        let same: Vec<_> = routes.iter().filter(is_same).map(|route| route.id).collect();
        self.intake.silence.keep(&same);
        let mut events = Vec::new();
        self.session.reroute(&routes, Instant::now(), &mut events);
        self.settings = Arc::new(Settings { routes, ..Settings::clone(&self.settings) });
        self.announcer.reroute(Arc::clone(&self.settings));
        self.handle(&mut events);
    }

    /// Does what each event asks for, and announces it.
    pub(super) fn handle(&mut self, events: &mut Vec<SessionEvent>) {
        if self.session.subscriptions.take_lost_count() && self.leaving.is_none() {
            self.intake.forget_copies();
        }
        for key in self.session.subscriptions.take_begun() {
            self.intake.begin_copies(key);
        }
        for event in events.drain(..) {
            match &event {
                SessionEvent::Connected { session_present, .. } => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.connected(*session_present);
                    }
                    if !session_present {
                        self.intake.session_lost();
                        self.intake.former.clear();
                    }
                }
                SessionEvent::Subscribed { route, .. }
                | SessionEvent::StillSubscribed { route }
                    if self.session.subscriptions.is_granted_blindly(*route) =>
                {
                    self.intake.silence.granted(*route, Instant::now());
                }
                _ => {}
            }
            self.announcer.announce(event, self.session.failover.current());
        }
    }

    /// Warns of granted subscriptions that bring nothing.
    pub(super) fn warn_of_silence(&mut self) {
        for (route, elapsed) in self.intake.silence.overdue(Instant::now()) {
            self.announcer.silent(route, elapsed);
        }
    }
}

/// The process ends: what is delivered and not acknowledged has its timing record too.
impl Drop for Core {
    fn drop(&mut self) {
        let now = Instant::now();
        self.intake.window.give_up_acks(now);
        self.timings.write_due(&mut self.intake.window, now);
    }
}
