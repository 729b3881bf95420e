//! What the bridge shows of itself: logs, timing records, counters.

pub mod keys;
pub mod log;
mod line;
mod buffer;
pub mod timing;
mod error;
mod foreign;
pub mod panics;
pub mod rate;
pub mod metrics;
#[cfg(test)]
pub(crate) mod test_support;

pub use error::ErrorChain;
pub use foreign::bridge_log_crate;
pub use line::Style;
pub use log::{FlushGuard, Logging};
pub use metrics::{Conservation, Hold, Metrics};
pub use panics::{PanicReport, install_hook};
pub use rate::Gate;
pub use timing::{TimingBatch, TimingRecord, TimingSink};
