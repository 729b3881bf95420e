//! Routes a message outside of the bridge, where a panic must cost that one message only, as it does in the
//! bridge.

use super::input::Input;
use super::router::{Routed, Router};
use crate::failpoint::{self, Site};
use crate::message::Refusal;
use crate::observe::panics;

/// What a message becomes.
///
/// # Errors
/// Routing it panics: its message and its place. The router has forgotten what it remembered, since that
/// may be half-changed.
pub fn route(router: &mut Router, input: &Input<'_>) -> Result<Routed, Refusal> {
    let routed = panics::catch(|| {
        failpoint::hit(Site::Route);
        router.route(input)
    });
    routed.map_err(|panic| {
        router.forget();
        let at = if panic.location.is_empty() { "" } else { " at " };
        Refusal::new("panic", format!("{}{at}{}", panic.message, panic.location))
    })
}
