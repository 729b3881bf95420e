//! Routes that a reload took away, for what their subscriptions still bring. Pure.
//!
//! Between UNSUBSCRIBE and UNSUBACK, and behind it what it has begun to send or has queued, a broker delivers
//! messages for a filter that no route has any more (MQTT 5, section 3.10.4). They were taken for the session while
//! the configuration wanted them: they become the records that they would have become then, and no reload makes a
//! dead letter of them (docs/decisions/0028-reload.md).

use std::sync::Arc;

use crate::message::RouteId;
use crate::route::note::Note;
use crate::route::{Input, Match, Route, Routed, Router};

/// At most this many routes are kept; the oldest go first.
const FORMER_MAX: usize = 1_000;

/// See the module. It is asked only for messages that no present route matches.
#[derive(Debug, Default)]
pub(super) struct Former {
    router: Option<Router>,
    /// It has routed the last message.
    has_routed: bool,
}

impl Former {
    /// `before` are replaced by `now`.
    pub(super) fn retire(&mut self, before: &[Arc<Route>], match_: Match, now: &[Route]) {
        let older = self.routes();
        let before_that =
            older.iter().filter(|route| !before.iter().any(|other| other.filter == route.filter));
        let gone = before.iter().chain(before_that);
        let gone = gone.filter(|route| !now.iter().any(|other| other.filter == route.filter));
        // What nobody wants any more is not worth a command to a plant.
        let retired =
            |route: &Arc<Route>| Route { sparkplug_rebirth: false, ..Route::clone(route) };
        let gone: Vec<_> = gone.take(FORMER_MAX).map(retired).collect();
        self.has_routed = false;
        self.router = (!gone.is_empty()).then(|| Router::new(&gone, match_));
    }

    /// What these routes make of a message of which the present ones made `routed`.
    pub(super) fn route(&mut self, input: &Input<'_>, routed: Routed) -> Routed {
        self.has_routed = false;
        match &mut self.router {
            Some(router) if !routed.is_matched => {
                let routed = router.route(input);
                self.has_routed = routed.is_matched;
                routed
            }
            _ => routed,
        }
    }

    /// What is to be counted of the last message, by route, if these routes took it.
    pub(super) fn notes(&self) -> &[(RouteId, Note)] {
        self.router.as_ref().filter(|_| self.has_routed).map_or(&[], Router::notes)
    }

    /// These routes.
    pub(super) fn routes(&self) -> &[Arc<Route>] {
        self.router.as_ref().map_or(&[], Router::routes)
    }

    /// See [`Router::says_routed_at`].
    #[inline]
    pub(super) fn says_routed_at(&self) -> bool {
        self.router.as_ref().is_some_and(Router::says_routed_at)
    }

    /// Whether one of them matches.
    pub(super) fn matches(&self, mqtt_topic: &[u8]) -> bool {
        self.router.as_ref().is_some_and(|router| router.matches(mqtt_topic))
    }

    /// A panic may have left half-changed what routing remembers.
    pub(super) fn forget(&mut self) {
        self.router.iter_mut().for_each(Router::forget);
    }

    /// The session is another one: nothing of them comes any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(filters: &[&str]) -> Vec<Route> {
        let route =
            |filter: &&str| Route::new(RouteId(0), filter.parse().expect("legal"), "kafka-topic");
        filters.iter().map(route).collect()
    }

    fn shared(filters: &[&str]) -> Vec<Arc<Route>> {
        routes(filters).into_iter().map(Arc::new).collect()
    }

    #[test]
    fn what_no_present_route_has_is_kept_over_several_reloads_and_goes_with_the_session() {
        let mut former = Former::default();
        former.retire(&shared(&["a/#", "b", "a/#"]), Match::All, &routes(&["b", "c"]));
        let kept = former.router.as_ref().map(|router| router.routes().len());
        assert_eq!(kept, Some(2), "both parts of a message");
        assert!(former.matches(b"a/1") && !former.matches(b"b"));
        former.retire(&shared(&["b", "c"]), Match::First, &routes(&["c"]));
        assert!(former.matches(b"a/1") && former.matches(b"b") && !former.matches(b"c"));
        former.retire(&shared(&["c"]), Match::First, &routes(&["c", "a/#"]));
        assert!(!former.matches(b"a/1") && former.matches(b"b"), "it has a route again");
        former.clear();
        assert!(!former.matches(b"b"));
    }

    #[test]
    fn no_former_route_asks_for_a_rebirth() {
        let mut former = Former::default();
        let mut asking = routes(&["spBv1.0/#"]);
        asking[0].sparkplug_rebirth = true;
        let asking: Vec<_> = asking.into_iter().map(Arc::new).collect();
        former.retire(&asking, Match::First, &routes(&["b"]));
        assert_eq!(former.routes().len(), 1);
        assert!(former.routes().iter().all(|route| !route.sparkplug_rebirth));
    }

    #[test]
    fn the_number_of_routes_that_are_kept_is_bounded() {
        let mut former = Former::default();
        for reload in 0..3 {
            let filters: Vec<_> = (0..FORMER_MAX).map(|at| format!("{reload}/{at}")).collect();
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            former.retire(&shared(&filters), Match::First, &routes(&["other"]));
        }
        assert!(former.matches(b"2/0") && !former.matches(b"1/0"));
        assert_eq!(former.router.map(|router| router.routes().len()), Some(FORMER_MAX));
    }
}
