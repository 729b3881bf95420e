//! What the bridge shows of itself: logs, timing records, counters.

pub mod keys;
pub mod events;
pub mod log;
mod format;
mod blocks;
mod buffer;
pub mod timing;
mod timing_json;
mod timing_record;
mod error;
mod log_crate;
pub mod panics;
pub mod log_limiter;
pub mod certificates;
pub mod kafka_statistics;
pub mod metrics;
pub mod process;
pub mod remedies;
pub mod status;
pub mod status_json;
pub mod happened;
pub mod rates;
pub mod recent;
pub mod volume;
pub mod latency;
pub mod hops;
mod connection_latencies;
mod device_clocks;
mod runs;
pub mod slowest;
pub mod health;
pub mod diagnosis;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
pub(crate) mod status_fixture;
#[cfg(test)]
mod log_lines_tests;

pub use diagnosis::Diagnosis;
pub use error::ErrorChain;
pub(crate) use format::Rfc3339;
pub use format::{Style, level_name};
pub use happened::WindowUse;
pub use health::{
    BrokerInUse, Health, HeldPlace, Hold, KafkaHealth, MqttHealth, Subscription, TopicTrouble,
};
pub use hops::{Hop, HopLatencies, Percentiles, RouteLatencies};
pub use latency::{Acknowledged, Delivered, FromDevice, RoutedRun};
pub use log::{FlushGuard, Logging};
pub use log_crate::bridge_log_crate;
pub use log_limiter::{LogLimiter, LogLimiters};
pub use metrics::{ConnectionMetrics, Conservation, Metrics, ReloadOutcome};
pub use panics::{PanicReport, install_hook};
pub use runs::Runs;
pub use slowest::{Slow, Slowest};
pub use timing::{TimingBatch, TimingSink};
pub(crate) use timing_record::since_device;
pub use timing_record::{AckTime, NoAck, TimingRecord};
