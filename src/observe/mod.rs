//! What the bridge shows of itself: logs, timing records, counters.

pub mod keys;
pub mod log;
pub mod metrics;
pub mod panics;
pub mod rate;
pub mod timing;

pub use metrics::{Conservation, Hold, Metrics};
pub use rate::Gate;
pub use timing::{TimingRecord, TimingSink};
