//! This host. Pure.

use bytesize::ByteSize;

use super::super::facts::{Clock, Disk, HostFacts, Needs};
use super::super::finding::{
    CLOCK, Check, DATA_DIR, DEAD_LETTER_FILE, Finding, MEMORY, OPEN_FILES, cure,
};

/// Below this, a disk counts as full.
const FREE_MIN_BYTES: u64 = 1024 * 1024;

/// What the bridge needs, against what there is.
pub(crate) fn judge(facts: &HostFacts, needs: Needs) -> Vec<Finding> {
    let mut findings = vec![files(facts.files, needs.files)];
    findings.push(memory(facts, needs.memory_bytes));
    findings.push(clock(facts.clock));
    if let Some(disk) = &facts.dead_letters {
        findings.extend(self::disk(DEAD_LETTER_FILE, "dead_letter.file", disk));
    }
    if let Some(disk) = &facts.data_dir {
        findings.extend(self::disk(DATA_DIR, "data_dir", disk));
    }
    findings
}

fn files((soft, hard): (Option<u64>, Option<u64>), needed: u64) -> Finding {
    let of = "limit of open files";
    let cure = || {
        cure(
            format!("{needed} or more"),
            "`ulimit -n`, `LimitNOFILE=` of systemd, or `--ulimit nofile=` of the container",
        )
    };
    let told = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let found = format!("{} (hard {})", told(soft), told(hard));
    match soft {
        Some(soft) if soft < needed => OPEN_FILES.error(of, found, cure()),
        _ => OPEN_FILES.ok(of, found),
    }
}

fn memory(facts: &HostFacts, needed: u64) -> Finding {
    let of = "limit of memory";
    let Some((limit, file)) = &facts.memory else {
        return MEMORY.ok(of, format!("none; the bridge may need {}", size(needed)));
    };
    let found = format!("{} ({})", size(*limit), file.display());
    match *limit < needed {
        true => MEMORY.warning(
            of,
            found,
            cure(
                format!(
                    "{} or more: 32 MiB, and twice delivery.window_bytes for each connection",
                    size(needed)
                ),
                "more memory, a smaller delivery.window_bytes, or fewer connections",
            ),
        ),
        false => MEMORY.ok(of, found),
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn clock(clock: Clock) -> Finding {
    let of = "this host's clock";
    match clock {
        Clock::Synchronised => CLOCK.ok(of, "synchronised (systemd-timesyncd)"),
        Clock::NotYet => CLOCK.warning(
            of,
            "systemd-timesyncd runs and has not reached a time server",
            cure(
                "synchronised",
                "`timedatectl timesync-status`, and the way to a time server (UDP 123)",
            ),
        ),
        Clock::Unknown => CLOCK.info(
            of,
            "nothing here tells whether it is synchronised (chrony and containers do not)",
        ),
    }
}

fn disk(check: &'static Check, key: &str, disk: &Disk) -> Vec<Finding> {
    let Disk { path, usable, free_bytes, may_grow_bytes } = disk;
    let of = format!("{key} {}", path.display());
    let warning = match usable {
        Err(why) => {
            let cure = cure(
                "a place that the bridge's user can write to",
                "its path, its owner and rights; in the image, user 10001 and a volume",
            );
            return vec![check.error(of, why.clone(), cure)];
        }
        Ok(warning) => warning,
    };
    let mut findings = Vec::new();
    if let Some(warning) = warning {
        let cure = cure("a file that can be written as it is", "as the line says");
        findings.push(check.warning(&of, warning.clone(), cure));
    }
    let Some(free) = *free_bytes else {
        findings.push(check.info(of, "it can be written; how much is free is not known"));
        return findings;
    };
    let found = match free {
        0 => "its disk is full".to_owned(),
        _ => format!("it can be written, {} free", size(free)),
    };
    let cure = || {
        let advice = match *may_grow_bytes > 0 {
            true => "free some, or move it to another disk, or lower dead_letter.file_max",
            false => "free some, or move it to another disk",
        };
        cure(format!("{} or more", size((*may_grow_bytes).max(FREE_MIN_BYTES))), advice)
    };
    findings.push(if free < FREE_MIN_BYTES {
        check.error(of, found, cure())
    } else if free < *may_grow_bytes {
        check.warning(of, found, cure())
    } else {
        check.ok(of, found)
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Level;
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn facts() -> HostFacts {
        HostFacts {
            files: (Some(1024), None),
            memory: Some((256 * MIB, "/sys/fs/cgroup/memory.max".into())),
            clock: Clock::Synchronised,
            dead_letters: Some(place()),
            data_dir: Some(place()),
        }
    }

    fn place() -> Disk {
        Disk {
            path: "d".into(),
            usable: Ok(None),
            free_bytes: Some(1024 * MIB),
            may_grow_bytes: 110 * MIB,
        }
    }

    /// What is no more than good to know is left out.
    fn bad(facts: &HostFacts) -> Vec<(&'static str, Level)> {
        let needs = Needs { files: 64, memory_bytes: 64 * MIB };
        let findings = judge(facts, needs).into_iter();
        findings.map(|it| (it.check.name, it.level)).filter(|it| it.1 > Level::Ok).collect()
    }

    #[test]
    fn each_lack_has_its_finding() {
        let letters = |disk| HostFacts { dead_letters: Some(disk), ..facts() };
        let full = |free| Disk { free_bytes: Some(free), ..place() };
        for (facts, expected) in [
            (facts(), None),
            (
                HostFacts { files: (Some(32), Some(32)), ..facts() },
                Some(("open_files", Level::Error)),
            ),
            (HostFacts { files: (None, None), ..facts() }, None),
            (
                HostFacts { memory: Some((48 * MIB, "f".into())), ..facts() },
                Some(("memory", Level::Warning)),
            ),
            (HostFacts { memory: None, ..facts() }, None),
            (HostFacts { clock: Clock::NotYet, ..facts() }, Some(("clock", Level::Warning))),
            (HostFacts { clock: Clock::Unknown, ..facts() }, Some(("clock", Level::Info))),
            (letters(full(50 * MIB)), Some(("dead_letter_file", Level::Warning))),
            (letters(full(4096)), Some(("dead_letter_file", Level::Error))),
            (
                letters(Disk { usable: Err("denied".to_owned()), ..place() }),
                Some(("dead_letter_file", Level::Error)),
            ),
            (
                letters(Disk { usable: Ok(Some("open to all".to_owned())), ..place() }),
                Some(("dead_letter_file", Level::Warning)),
            ),
            (
                letters(Disk { free_bytes: None, ..place() }),
                Some(("dead_letter_file", Level::Info)),
            ),
            (
                HostFacts {
                    data_dir: Some(Disk { usable: Err("x".to_owned()), ..place() }),
                    ..facts()
                },
                Some(("data_dir", Level::Error)),
            ),
            (HostFacts { data_dir: None, dead_letters: None, ..facts() }, None),
        ] {
            let found = bad(&facts);
            assert_eq!(found, Vec::from_iter(expected), "{facts:?}");
        }
    }
}
