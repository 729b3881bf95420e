//! What is told once for all records of a batch that have it in common. Pure.

use crate::message::RouteId;

/// So many routes at once are told apart at no cost; of more, some runs are shorter.
const PLACES: usize = 64;

/// Runs in the order in which they began. Routes may take turns: a record joins a run of its route that is not the
/// last one.
#[derive(Debug)]
pub struct Runs<T> {
    runs: Vec<T>,
    /// By the route's number, where in `runs` its last run may be.
    places: [usize; PLACES],
}

impl<T> Runs<T> {
    /// The run of `route` that a record joins, if `is_same` says so of the last one, or else a `new` one. `is_same` is also
    /// asked about runs of other routes.
    #[inline]
    pub(super) fn join(
        &mut self,
        route: RouteId,
        is_same: impl FnOnce(&T) -> bool,
        new: impl FnOnce() -> T,
    ) -> &mut T {
        let place = &mut self.places[route.0 % PLACES];
        if !self.runs.get(*place).is_some_and(is_same) {
            *place = self.runs.len();
            self.runs.push(new());
        }
        &mut self.runs[*place]
    }

    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        &self.runs
    }

    /// Takes all out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        // A place that means nothing any more is seen by `is_same`.
        self.runs.drain(..)
    }
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), places: [0; PLACES] }
    }
}
