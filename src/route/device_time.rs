//! `device_time`: when the device that published a message says that it did. Pure.

use super::input::View;
use super::message_field::MessageField;
use super::moment::{self, EpochUnit};

/// Where a message has its device's own time. It is for latencies alone, and changes nothing of the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceTime {
    /// Where it stands; `None`: nobody asks for it.
    pub from: Option<MessageField>,
    /// What a plain number counts.
    pub unit: EpochUnit,
}

/// There is no moment where the route looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl DeviceTime {
    /// In microseconds since the Unix epoch, if the route asks for it.
    ///
    /// # Errors
    /// The message has none, or what it has is no moment.
    pub fn of(&self, view: &View<'_>) -> Result<Option<i64>, Unreadable> {
        let Some(field) = &self.from else { return Ok(None) };
        let found = field.of(view).ok_or(Unreadable)?;
        let moment = moment::read(&found, self.unit).ok_or(Unreadable)?;
        Ok(Some(moment.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::captures::Captures;
    use crate::route::test_support::Sample;

    fn read(device_time: &DeviceTime, payload: &str) -> Result<Option<i64>, Unreadable> {
        let sample = Sample::new("a", payload);
        let (input, captures) = (sample.input(), Captures::default());
        device_time.of(&View::new(&input, &captures, sample.payload.clone()))
    }

    fn json(unit: EpochUnit) -> DeviceTime {
        DeviceTime { from: Some(MessageField::Json("/ts".to_owned())), unit }
    }

    #[test]
    fn the_time_of_a_device_is_a_field_to_the_microsecond_however_far_it_lies() {
        for (unit, ts, expected) in [
            (EpochUnit::Milliseconds, "1773576000123.5", Ok(1_773_576_000_123_500)),
            (EpochUnit::Seconds, "1773576000", Ok(1_773_576_000_000_000)),
            (EpochUnit::Seconds, "\"2026-03-15T13:00:00.000001+01:00\"", Ok(1_773_576_000_000_001)),
            (EpochUnit::Seconds, "-1", Ok(-1_000_000)),
            (EpochUnit::Seconds, "\"noon\"", Err(Unreadable)),
            (EpochUnit::Seconds, "null", Err(Unreadable)),
        ] {
            let found = read(&json(unit), &format!("{{\"ts\":{ts}}}"));
            assert_eq!(found, expected.map(Some), "{ts}");
        }
        assert_eq!(read(&json(EpochUnit::Seconds), "21.5"), Err(Unreadable));
        assert_eq!(read(&DeviceTime::default(), "21.5"), Ok(None), "nobody asks");
    }

    #[test]
    fn the_time_of_a_device_may_be_a_user_property() {
        let sample = Sample {
            properties: bytes::Bytes::from_static(b"\x26\0\x02ts\0\x017"),
            ..Sample::new("a", "")
        };
        let (input, captures) = (sample.input(), Captures::default());
        let view = View::new(&input, &captures, sample.payload.clone());
        let user = |name: &str| DeviceTime {
            from: Some(MessageField::User(name.to_owned())),
            unit: EpochUnit::Seconds,
        };
        assert_eq!(user("ts").of(&view), Ok(Some(7_000_000)));
        assert_eq!(user("other").of(&view), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn nothing_that_a_device_says_panics(ts in "[0-9TZeE.:+-]{0,40}", unit in prop::sample::select(&EpochUnit::ALL[..])) {
            let _ = read(&json(unit), &format!("{{\"ts\":\"{ts}\"}}"));
            let _ = read(&json(unit), &format!("{{\"ts\":{ts}}}"));
        }
    }
}
