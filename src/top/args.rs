//! The options of `top`.

use std::time::Duration;

use clap::Args;

/// Oftener tells a person nothing more; seldomer is no watching.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(3600);

/// How the bridge is watched.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// How often the bridge is asked, from 200ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).ok();
    interval
        .filter(|interval| INTERVALS.contains(interval))
        .ok_or_else(|| "expected a time from 200ms to 1h, such as 2s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_time_that_a_person_can_follow() {
        for (text, ms) in [("1s", 1_000), ("200ms", 200), ("1h", 3_600_000), ("1m 30s", 90_000)] {
            assert_eq!(interval(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "0s", "199ms", "61m", "1", "-1s", "fast", "999999999999999h"] {
            assert!(interval(text).expect_err(text).starts_with("expected a time"), "{text}");
        }
    }
}
