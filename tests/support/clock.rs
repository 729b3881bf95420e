//! A clock for librdkafka in the bridge that can be wrong: records get their time from it, and no other
//! part of the bridge does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Bridge;

/// Replaces the C library's functions of these names. The first adds the seconds that a file contains; the
/// second subtracts them again, since librdkafka waits until a moment of the first.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    char text[32] = "";
    const char *path = getenv("CLOCK_AHEAD");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0)
        return 0;
    long seconds = read(file, text, sizeof(text) - 1) > 0 ? atol(text) : 0;
    close(file);
    return seconds;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long failed = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += ahead();
    return (int)failed;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until) {
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    if (!wait)
        *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec right = *until;
    struct timeval now;
    syscall(SYS_gettimeofday, &now, NULL);
    long seconds = ahead();
    if (right.tv_sec - now.tv_sec > seconds / 2)
        right.tv_sec -= seconds;
    return wait(condition, mutex, &right);
}
"#;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    pub fn new(dir: &Path) -> Self {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, SOURCE).unwrap();
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .expect("the C compiler that builds librdkafka");
        assert!(compiler.success(), "{}", source.display());
        let clock = Self { library, file: dir.join("clock") };
        clock.set_ahead(0);
        clock
    }

    /// Sets it ahead by this many seconds.
    pub fn set_ahead(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// Applies to later runs of the bridge.
    pub fn give_to(&self, bridge: &mut Bridge) {
        bridge.environment("LD_PRELOAD", self.library.to_str());
        bridge.environment("CLOCK_AHEAD", self.file.to_str());
    }
}
