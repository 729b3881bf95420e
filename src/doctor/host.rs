//! Looks at this host: what limits this process, its clock, its disks. A bridge that is started in another way, by
//! systemd or in a container, has other limits: then the doctor must be started in the same way.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::process::{Resource, getrlimit};

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::kafka::dead_letter::file::DeadLetterFile;

use super::facts::{Clock, Disk, HostFacts, Needs};

/// What a bridge has open with one connection and no client of HTTP, and with each further one.
const FILES: u64 = 64;
const FILES_A_CONNECTION: u64 = 5;
/// What its HTTP server may have open at a time.
const FILES_OF_HTTP: u64 = 32;
/// What up to seven further clients of Kafka have open (docs/decisions/0030-several-clients-of-a-producer.md).
const FILES_OF_CLIENTS: u64 = 70;
/// What a bridge needs beside its windows, in bytes.
const MEMORY: u64 = 32 * 1024 * 1024;
/// A message is in the window, and once more on its way to Kafka.
const COPIES: u64 = 2;
/// A limit of memory above this is none (version 1 of control groups has no word for it).
const NO_LIMIT: u64 = 1 << 60;
/// What systemd-timesyncd writes.
const TIMESYNC: &str = "/run/systemd/timesync";
/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// A state file is replaced by a new one.
const STATE_BYTES: u64 = 1024 * 1024;

/// What a bridge with this configuration needs.
pub(super) fn needs(config: &Config) -> Needs {
    let connections = config.connections.len() as u64;
    let has_templates = config.routes.iter().any(|route| route.kafka_topic.as_fixed().is_none());
    let files = FILES
        + FILES_A_CONNECTION * connections.saturating_sub(1)
        + if config.http.listen.is_some() { FILES_OF_HTTP } else { 0 }
        + if has_templates { FILES_OF_CLIENTS } else { 0 };
    let windows = COPIES * config.delivery.window_bytes as u64 * connections;
    Needs { files, memory_bytes: MEMORY + windows }
}

/// What there is.
pub(super) fn look(config: &Config) -> HostFacts {
    let limit = getrlimit(Resource::Nofile);
    let read = |path: &Path| fs::read_to_string(path).ok();
    let clock =
        match (Path::new(TIMESYNC).join("synchronized").exists(), Path::new(TIMESYNC).exists()) {
            (true, _) => Clock::Synchronised,
            (false, true) => Clock::NotYet,
            (false, false) => Clock::Unknown,
        };
    let dead_letter = &config.dead_letter;
    let dead_letters = dead_letter.kafka_topic.is_none().then(|| {
        let sizes = [
            DeadLetterFile::new(dead_letter.file.clone(), dead_letter.file_max_bytes),
            DeadLetterFile::of_unmatched(dead_letter),
        ];
        let may_grow = sizes.iter().map(|file| {
            let has = fs::metadata(file.path()).map_or(0, |metadata| metadata.len());
            file.max().saturating_sub(has)
        });
        Disk {
            usable: DeadLetterFile::check(dead_letter).map_err(|error| error.to_string()),
            free_bytes: free(directory(&dead_letter.file)),
            may_grow_bytes: may_grow.fold(0, u64::saturating_add),
            path: dead_letter.file.clone(),
        }
    });
    let keeps_state = config.connections.iter().any(|mqtt| mqtt.session_expiry_s > 0);
    let data_dir = config.data_dir.as_ref().filter(|_| keeps_state).map(|path| Disk {
        usable: writable(path).map(|()| None),
        free_bytes: free(path),
        may_grow_bytes: STATE_BYTES,
        path: path.clone(),
    });
    HostFacts {
        files: (limit.current, limit.maximum),
        memory: memory_limit(&read),
        clock,
        dead_letters,
        data_dir,
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn free(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

fn writable(path: &Path) -> Result<(), String> {
    if !path.is_dir() {
        return Err("no directory".to_owned());
    }
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|error| error.to_string())
}

/// The lowest limit of memory of the control groups that this process is in, and its file: those above count too.
fn memory_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<(u64, PathBuf)> {
    let own = read(Path::new("/proc/self/cgroup"))?;
    let mut lowest: Option<(u64, PathBuf)> = None;
    for line in own.lines() {
        // `0::/PATH` is version 2, `N:CONTROLLERS:/PATH` version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => (PathBuf::from(CGROUPS), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (Path::new(CGROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be that of the host, and the group the root of what is seen.
        let group = Path::new(group.trim_start_matches('/'));
        for above in group.ancestors() {
            let file = root.join(above).join(name);
            let limit = read(&file).and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) = limit.filter(|limit| *limit < NO_LIMIT)
                && lowest.as_ref().is_none_or(|(so_far, _)| limit < *so_far)
            {
                lowest = Some((limit, file));
            }
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_lowest_limit_of_both_versions_of_control_groups_counts() {
        let v2 = "0::/system.slice/bridge.service\n";
        let v1 = "5:cpu:/a\n4:name=systemd:/a\n3:memory:/docker/abc\n";
        for (own, files, expected) in [
            (v2, &[("system.slice/bridge.service/memory.max", "67108864\n")][..], Some(67_108_864)),
            (v2, &[("system.slice/bridge.service/memory.max", "max\n")], None),
            (
                v2,
                &[
                    ("system.slice/bridge.service/memory.max", "900"),
                    ("system.slice/memory.max", "800"),
                ],
                Some(800),
            ),
            ("0::/\n", &[("memory.max", "4096")], Some(4096)),
            (v1, &[("memory/docker/abc/memory.limit_in_bytes", "1000")], Some(1000)),
            // A container of its own sees its group as the root.
            (v1, &[("memory/memory.limit_in_bytes", "1000")], Some(1000)),
            (v1, &[("memory/memory.limit_in_bytes", "9223372036854771712")], None),
            ("", &[], None),
            ("strange", &[], None),
        ] {
            let files: BTreeMap<_, _> = files
                .iter()
                .map(|(path, text)| (Path::new(CGROUPS).join(path), (*text).to_owned()))
                .chain([(PathBuf::from("/proc/self/cgroup"), own.to_owned())])
                .collect();
            let found = memory_limit(&|path| files.get(path).cloned());
            assert_eq!(found.map(|(limit, _)| limit), expected, "{own}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(writable(dir.path()), Ok(()));
        assert_eq!(writable(&dir.path().join("gone")), Err("no directory".to_owned()));
        assert!(free(dir.path()).expect("known") > 0);
    }
}
