//! How far the clocks of devices are ahead of the bridge's, by route. A device's clock is ahead if the time that it
//! gives lies behind the receipt of its message: no clock that is right can do that.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::message::RouteId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DeviceClocks(Mutex<BTreeMap<RouteId, ClockAhead>>);

/// Of one route, at most, in microseconds.
#[derive(Debug, Default)]
struct ClockAhead {
    period: u64,
    now_us: u64,
    before_us: u64,
}

impl ClockAhead {
    fn record(&mut self, period: u64, ahead_us: u64) {
        if period > self.period {
            self.before_us = if period > self.period + 1 { 0 } else { self.now_us };
            (self.now_us, self.period) = (0, period);
        }
        self.now_us = self.now_us.max(ahead_us);
    }

    fn at(&self, period: u64) -> u64 {
        match period.saturating_sub(self.period) {
            0 => self.now_us.max(self.before_us),
            1 => self.now_us,
            _ => 0,
        }
    }
}

impl DeviceClocks {
    /// A device of the route was ahead by so much; 0 if it was not.
    pub(super) fn record(&self, route: RouteId, period: u64, ahead_us: u64) {
        self.0.lock().entry(route).or_default().record(period, ahead_us);
    }

    /// The most of this period and the one before, of each route that has records with a device's time.
    pub(super) fn ahead(&self, period: u64) -> BTreeMap<RouteId, Duration> {
        let ahead = self.0.lock();
        ahead.iter().map(|(route, it)| (*route, Duration::from_micros(it.at(period)))).collect()
    }

    /// Lets go what is known of other routes.
    pub(super) fn keep(&self, is_known: impl Fn(&RouteId) -> bool) {
        self.0.lock().retain(|route, _| is_known(route));
    }
}
