//! What a certificate says: whom it is for, who has issued it, how long it is good.

use std::fs;
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Ref};

use crate::mqtt::tls_failure::{name, names};

/// No file of certificates is larger, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject.
    pub subject: String,
    /// The common name of its issuer.
    pub issuer: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Until when it is valid, as OpenSSL writes it.
    pub not_after: String,
    /// Whole days until then; negative once it has expired.
    pub days_left: i64,
}

impl Certificate {
    /// Of a certificate, today.
    pub fn of(certificate: &X509Ref) -> Self {
        let left = Asn1Time::days_from_now(0).and_then(|now| now.diff(certificate.not_after()));
        // Both parts have the same sign; a day that has begun to be over is over.
        let days_left = left.map_or(0, |left| match (left.days, left.secs) {
            (days, secs) if days < 0 || secs < 0 => i64::from(days) - i64::from(secs < 0),
            (days, _) => i64::from(days),
        });
        Self {
            subject: name(certificate.subject_name()),
            issuer: name(certificate.issuer_name()),
            names: names(certificate),
            not_after: certificate.not_after().to_string(),
            days_left,
        }
    }

    /// All certificates of a PEM file, at least one.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or has none; one line.
    pub fn read(path: &Path) -> Result<Vec<Self>, String> {
        Ok(read(path)?.iter().map(|certificate| Self::of(certificate)).collect())
    }
}

/// When the first of a PEM file's certificates ends, in seconds since the Unix epoch.
///
/// # Errors
/// As [`Certificate::read`]; or it has no such time.
pub fn first_end_s(path: &Path) -> Result<i64, String> {
    let found = read(path)?;
    let ends = found.iter().map(|certificate| {
        let left = Asn1Time::from_unix(0)?.diff(certificate.not_after())?;
        Ok(i64::from(left.days) * 86_400 + i64::from(left.secs))
    });
    let ends = ends.collect::<Result<Vec<_>, ErrorStack>>();
    let ends = ends.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(ends.into_iter().min().unwrap_or_default())
}

/// The certificates of a PEM file, at least one.
fn read(path: &Path) -> Result<Vec<X509>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES {
        return Err(failed(&"expected a file of at most 1 MiB"));
    }
    let pem = fs::read(path).map_err(|error| failed(&error))?;
    let found = X509::stack_from_pem(&pem).unwrap_or_default();
    match found.is_empty() {
        true => Err(failed(&"found no certificate, expected PEM")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::pki::{Authority, Wish};

    #[test]
    fn a_file_says_for_whom_and_for_how_long_its_certificates_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("plant");
        for (days, left) in [(30, 29..=30), (0, -1..=0), (-5, -6..=-5)] {
            let wish = Wish { valid_days: (-9, days), ..Wish::LOCALHOST };
            let (file, key) = authority.issue(&wish).write(dir.path(), "one");
            let found = Certificate::read(&file).expect("one");
            let [one] = &found[..] else { panic!("{found:?}") };
            assert!(left.contains(&one.days_left), "{days}: {one:?}");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_secs();
            let left_s = first_end_s(&file).expect("one") - i64::try_from(now).expect("now");
            assert!((left_s - 86_400 * days).abs() < 300, "{days}: {left_s}");
            assert_eq!((&*one.subject, &*one.issuer), ("localhost", "plant"));
            assert_eq!(one.names, ["localhost", "127.0.0.1"]);
            assert!(Certificate::read(&key).expect_err("a key").contains("found no certificate"));
        }
        assert!(
            Certificate::read(dir.path()).expect_err("a directory").contains("expected a file")
        );
        assert!(Certificate::read(&dir.path().join("gone")).is_err());
    }
}
