//! What the bridge shows of itself: logs, timing records, counters.

pub mod keys;
pub mod log;
mod line;
mod buffer;
pub mod timing;
mod timing_json;
mod error;
mod foreign;
pub mod panics;
pub mod rate;
pub mod metrics;
pub mod stages;
pub mod health;
pub mod diagnosis;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod log_lines_tests;

pub use diagnosis::Diagnosis;
pub use error::ErrorChain;
pub use foreign::bridge_log_crate;
pub use health::{Health, KafkaHealth, MqttHealth, Subscription, TopicTrouble};
pub use line::Style;
pub use log::{FlushGuard, Logging};
pub use metrics::{Conservation, Hold, Metrics};
pub use panics::{PanicReport, install_hook};
pub use rate::Gate;
pub use stages::{Acknowledged, Delivered};
pub use timing::{TimingBatch, TimingRecord, TimingSink};
