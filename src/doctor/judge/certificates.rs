//! How long certificates are valid. Pure.

use mqtt_kafka_bridge::certificate::Certificate;

use super::super::facts::OwnCertificate;
use super::super::finding::{Check, Finding, cure};

/// Fewer days than this are few.
pub(crate) const DAYS_MIN: i64 = 14;

/// Those that the other side has shown, its own first.
pub(crate) fn shown(check: &'static Check, of: &str, chain: &[Certificate]) -> Finding {
    let cure = |advice: &str| cure(format!("valid for {DAYS_MIN} days or more"), advice);
    let Some(first) = chain.iter().min_by_key(|one| one.days_left) else {
        return check.info(of, "it has shown no certificate");
    };
    let found = told(first);
    match first.days_left {
        ..0 => check.error(of, found, cure("renew it at the broker, or set this host's clock")),
        0..DAYS_MIN => {
            let advice =
                "renew it at the broker; a running bridge takes the new one at its next connection";
            check.warning(of, found, cure(advice))
        }
        _ => check.ok(of, found),
    }
}

/// Those of a file of ours.
pub(crate) fn own(check: &'static Check, own: &OwnCertificate) -> Finding {
    let OwnCertificate { key, path, found } = own;
    let of = format!("{key} {}", path.display());
    let cure = |advice: &str| cure(format!("valid for {DAYS_MIN} days or more"), advice);
    match found {
        Err(why) => check.error(
            of,
            why.clone(),
            cure("a file with certificates in PEM that the bridge's user can read"),
        ),
        Ok(chain) => match chain.iter().min_by_key(|one| one.days_left) {
            Some(first) if first.days_left < 0 => check.error(
                of,
                told(first),
                cure("replace the files; a running bridge takes them by itself"),
            ),
            Some(first) if first.days_left < DAYS_MIN => check.warning(
                of,
                told(first),
                cure("replace the files; a running bridge takes them by itself"),
            ),
            Some(first) => check.ok(of, told(first)),
            None => check.info(of, "no certificate"),
        },
    }
}

fn told(Certificate { subject, issuer, not_after, days_left, .. }: &Certificate) -> String {
    let when = match days_left {
        ..=-1 => format!("expired at {not_after}"),
        0 => format!("valid for less than a day, until {not_after}"),
        1 => format!("valid for 1 more day, until {not_after}"),
        days => format!("valid for {days} more days, until {not_after}"),
    };
    format!("{subject}, from {issuer}: {when}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::finding::{Level, MQTT_CERTIFICATE};
    use super::*;

    pub(crate) fn valid(days_left: i64) -> Certificate {
        Certificate {
            subject: "broker".to_owned(),
            issuer: "plant".to_owned(),
            names: vec!["broker".to_owned()],
            not_after: "Jan  1 00:00:00 2027 GMT".to_owned(),
            days_left,
        }
    }

    #[test]
    fn the_one_that_ends_first_counts() {
        for (days, level) in [
            (&[400, 300][..], Level::Ok),
            (&[400, 13], Level::Warning),
            (&[0], Level::Warning),
            (&[14], Level::Ok),
            (&[-1, 300], Level::Error),
            (&[], Level::Info),
        ] {
            let chain: Vec<_> = days.iter().map(|days| valid(*days)).collect();
            let finding = shown(MQTT_CERTIFICATE, "b", &chain);
            assert_eq!(finding.level, level, "{days:?}");
            let file = OwnCertificate { key: "k", path: "f".into(), found: Ok(chain) };
            assert_eq!(own(MQTT_CERTIFICATE, &file).level, level, "{days:?}");
        }
        let unread = OwnCertificate { key: "k", path: "f".into(), found: Err("gone".to_owned()) };
        assert_eq!(own(MQTT_CERTIFICATE, &unread).level, Level::Error);
    }
}
