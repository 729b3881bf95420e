//! What the system says of this process: CPU, memory, open files. From `/proc`; nothing where there is none.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Ticks of a second in `/proc/self/stat`: Linux shows so many to programs on all machines that it runs on today.
const TICKS_PER_S: f64 = 100.0;

/// See the module. What cannot be read is missing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Process {
    /// CPU time of all threads, in user and system mode, in seconds.
    pub cpu_s: Option<f64>,
    /// Memory that is not swapped out, in bytes.
    pub resident_memory_bytes: Option<u64>,
    /// Open file handles.
    pub open_fds: Option<u64>,
    /// How many it may open; missing if there is no limit.
    pub max_fds: Option<u64>,
    /// When it started, in seconds since the Unix epoch.
    pub start_time_s: Option<f64>,
}

impl Process {
    /// As it is now.
    pub fn now() -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let stat = read("stat");
        let open = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
        // The handle of the directory itself is gone again.
        let open_fds = open.map(|count| count.saturating_sub(1) as u64);
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time_s(&text));
        let started = boot.zip(ticks(&stat, STARTED)).map(|(boot, ticks)| boot + ticks);
        Self {
            cpu_s: ticks(&stat, USER).zip(ticks(&stat, SYSTEM)).map(|(user, system)| user + system),
            resident_memory_bytes: resident_bytes(&read("status")),
            open_fds,
            max_fds: max_fds(&read("limits")),
            start_time_s: started.filter(|at| *at <= now_s()),
        }
    }
}

/// Fields of `/proc/self/stat` behind the program's name, counted from 0.
const USER: usize = 11;
const SYSTEM: usize = 12;
const STARTED: usize = 19;

/// A time of `/proc/self/stat`, in seconds.
fn ticks(stat: &str, field: usize) -> Option<f64> {
    // The name is in brackets and may contain anything, brackets included.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_ascii_whitespace().nth(field)?.parse().ok()?;
    Some(ticks / TICKS_PER_S)
}

fn boot_time_s(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The soft limit, which is in force.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_odd_files_are_read_as_they_are_meant() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 12345 1 2 3\n";
        assert_eq!(ticks(stat, USER), Some(2.5));
        assert_eq!(ticks(stat, SYSTEM), Some(0.5));
        assert_eq!(ticks(stat, STARTED), Some(123.45));
        for odd in ["", "42", "42 (a", "42 (a) S", "42 (a) S x x x x x x x x x x x x"] {
            assert_eq!(ticks(odd, USER), None, "{odd}");
        }
        assert_eq!(boot_time_s("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
        assert_eq!(resident_bytes("VmPeak: 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(resident_bytes("VmRSS: many\n"), None);
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(max_fds("Max open files            unlimited  unlimited files\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen() {
        let now = Process::now();
        assert!(now.resident_memory_bytes.is_some_and(|bytes| bytes > 1024 * 1024), "{now:?}");
        assert!(now.open_fds.is_some_and(|count| count >= 3), "{now:?}");
        let file = fs::File::open("/proc/self/stat").expect("it is there");
        let start = now.start_time_s.expect("it has started");
        assert!(start > 1_500_000_000.0 && start <= now_s(), "{start}");
        assert!(now.cpu_s.is_some(), "{now:?}");
        drop(file);
    }
}
