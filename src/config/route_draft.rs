//! A route whose keys are being read.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::{IfMissing, NewKafkaTopic};
use crate::route::Route;

/// What several keys of a route say together.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteDraft {
    pub(super) missing: Missing,
    pub(super) create: NewKafkaTopic,
}

/// `routes.missing_topic`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Missing {
    /// `"dead_letter"`
    #[default]
    DeadLetter,
    /// `"hold"`
    Hold,
    /// `"create"`: as the keys `create_*` say.
    Create,
}

impl RouteDraft {
    /// Completes the route, once every key is read.
    pub(super) fn finish(self, route: &mut Route) {
        route.if_missing = match self.missing {
            Missing::DeadLetter => IfMissing::DeadLetter,
            Missing::Hold => IfMissing::Hold,
            Missing::Create => IfMissing::Create(Arc::new(self.create)),
        };
    }
}

/// Names each route that has no name by its filter; with a number behind it where that name is taken.
pub(super) fn name_the_nameless(routes: &mut [Route]) {
    let mut taken: BTreeSet<_> = routes.iter().map(|route| Arc::clone(&route.name)).collect();
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        let filter = written_filter(route);
        let mut name: Arc<str> = filter.as_str().into();
        for number in 2.. {
            if taken.insert(Arc::clone(&name)) {
                break;
            }
            name = format!("{filter} ({number})").into();
        }
        route.name = name;
    }
}

/// The filter of a route as it is written in the configuration.
pub(super) fn written_filter(route: &Route) -> String {
    route.captures.write(&route.filter)
}
