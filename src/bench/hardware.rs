//! The machine on which the bench ran.

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hardware {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_bytes: u64,
}

impl Hardware {
    /// This machine. A field that cannot be read is empty.
    pub(super) fn of_this_machine() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
            value.unwrap_or_default().to_owned()
        };
        let kib = value(&read("/proc/meminfo"), "MemTotal");
        let kib = kib.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: kib.unwrap_or_default() * 1024,
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        format!(
            "{}, {} cores, Linux {}, {:.1} GiB",
            self.cpu,
            self.cores,
            self.kernel,
            self.memory_bytes as f64 / f64::from(1 << 30)
        )
    }
}
