//! Which dead letters are meant. Pure.

use std::time::{Duration, SystemTime};

use clap::Args;

use mqtt_kafka_bridge::kafka::dead_letter::letter::{Fields, Letter};
use mqtt_kafka_bridge::route::Filter;

/// All that are named must fit.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SelectArgs {
    /// Only those with this reason; may be given several times
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// Only those of this route; may be given several times
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// Only those since then: RFC 3339, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Only those before then: RFC 3339, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<SystemTime>,
    /// Only those whose MQTT topic matches
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    mqtt_filter: Option<Filter>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<u64>,
}

impl SelectArgs {
    /// Whether this one is meant. One whose time cannot be read is in no time.
    pub(super) fn wants(&self, letter: &Letter<'_>) -> bool {
        let fields = &letter.fields;
        let is_any = |wanted: &[String], it: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == it)
        };
        is_any(&self.reason, &fields.reason)
            && is_any(&self.route, fields.route.as_deref().unwrap_or_default())
            && self.is_in_time(fields)
            && self.mqtt_filter.as_ref().is_none_or(|filter| filter.matches(&fields.mqtt_topic))
    }

    fn is_in_time(&self, fields: &Fields<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let at = humantime::parse_rfc3339(time(fields)).ok();
        at.is_some_and(|at| {
            self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
        })
    }
}

/// When it was dead-lettered; version 1 says only when it was received.
pub(super) fn time<'a>(fields: &'a Fields<'_>) -> &'a str {
    fields.dead_lettered_at.as_deref().unwrap_or(&fields.received_at)
}

fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.into());
    }
    let ago =
        humantime::parse_duration(text).ok().filter(|ago| *ago < Duration::from_secs(1 << 40));
    ago.and_then(|ago| SystemTime::now().checked_sub(ago)).ok_or_else(|| {
        "expected a time such as 2026-11-26T20:00:00Z, or a time ago such as 2h".to_owned()
    })
}

fn filter(text: &str) -> Result<Filter, String> {
    text.parse::<Filter>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_named_must_fit() {
        let fields = Fields {
            reason: "kafka_refused".into(),
            route: Some("plant".into()),
            mqtt_topic: "plant/a".into(),
            received_at: "2026-11-26T20:00:00.000000Z".into(),
            ..Fields::default()
        };
        let letter = Letter { fields, ..Letter::default() };
        let at = |text| Some(moment(text).expect("a time"));
        let all = SelectArgs::default;
        let of = |route: &str| vec!["other".to_owned(), route.to_owned()];
        for (select, wanted) in [
            (all(), true),
            (SelectArgs { route: of("plant"), ..all() }, true),
            (SelectArgs { route: of("hall"), ..all() }, false),
            (SelectArgs { reason: of("kafka_refused"), ..all() }, true),
            (SelectArgs { reason: of("no_route"), ..all() }, false),
            (SelectArgs { since: at("2026-11-26T20:00:00Z"), ..all() }, true),
            (SelectArgs { until: at("2026-11-26T21:00:00+01:00"), ..all() }, false),
            (SelectArgs { since: at("2026-11-26T21:00:01+01:00"), ..all() }, false),
            (SelectArgs { mqtt_filter: Some(filter("plant/+").expect("legal")), ..all() }, true),
            (SelectArgs { mqtt_filter: Some(filter("hall/#").expect("legal")), ..all() }, false),
        ] {
            assert_eq!(select.wants(&letter), wanted, "{select:?}");
        }
        assert!(moment("2h").expect("ago") < SystemTime::now());
        for wrong in ["", "yesterday", "2026-11-26", "99999999999y"] {
            moment(wrong).expect_err(wrong);
        }
    }
}
