//! The configuration, its files, and the bridge that runs with it. Pure.

use mqtt_kafka_bridge::config::{Config, ConfigErrors};
use mqtt_kafka_bridge::http::check::{Health, NoAnswer};

use super::super::finding::{BRIDGE, CONFIG, CONFIG_WARNINGS, Finding, HTTP_FILES, cure};

/// A legal configuration.
pub(crate) fn legal(file: &str, config: &Config) -> Vec<Finding> {
    let (routes, connections) = (config.routes.len(), config.connections.len());
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let found =
        format!("legal: {}, {}", counted(connections, "connection"), counted(routes, "route"));
    let mut findings = vec![CONFIG.ok(file, found)];
    let warnings = config.warnings();
    if warnings.is_empty() {
        findings.push(CONFIG_WARNINGS.ok(file, "no warnings"));
    }
    let what = || cure("no warnings", "change it, or leave it so if that is what is wanted");
    findings.extend(warnings.into_iter().map(|text| CONFIG_WARNINGS.warning(file, text, what())));
    findings
}

/// A configuration with errors.
pub(crate) fn illegal(errors: &ConfigErrors) -> Vec<Finding> {
    let error = |error: String| {
        let cure = cure("a legal configuration", "mend it; the bridge does not start with it");
        CONFIG.error("configuration", error, cure)
    };
    errors.to_string().lines().map(|line| error(line.to_owned())).collect()
}

/// The files of `[http]`.
pub(crate) fn http_files(read: Result<(), String>) -> Option<Finding> {
    read.err().map(|why| {
        let cure = cure(
            "files that the bridge's user can read, and a key that fits its certificate",
            "mend the file, or its rights; the bridge does not start without it",
        );
        HTTP_FILES.error("[http]", why, cure)
    })
}

/// So many reasons and warnings of a bridge are told; whoever answers there may have more.
const REASONS_MAX: usize = 100;

/// What `/readyz` says; `listen` is the address that was asked.
pub(crate) fn bridge(listen: &str, asked: Result<Health, NoAnswer>) -> Vec<Finding> {
    let as_told = || {
        cure(
            "ready, without warnings",
            "the findings below say more; else docs/operations.md by its symptom",
        )
    };
    match asked {
        Err(NoAnswer::Nobody(why)) => {
            vec![BRIDGE.info(listen, format!("no bridge runs here: {why}"))]
        }
        Err(NoAnswer::Strange(why)) => {
            let cure = cure(
                "a bridge that answers, or nobody",
                "if it is a bridge, its log: it hangs; if it is another program, another http.listen, since a bridge does \
                 not start while its port is taken",
            );
            vec![BRIDGE.warning(listen, why, cure)]
        }
        Ok(Health { is_good, reasons, warnings }) => {
            let head = match is_good {
                true => BRIDGE.ok(listen, "a bridge runs, and is ready"),
                false => BRIDGE.warning(listen, "a bridge runs, and is not ready", as_told()),
            };
            let all = reasons.into_iter().chain(warnings).take(REASONS_MAX);
            std::iter::once(head)
                .chain(all.map(|it| BRIDGE.warning(listen, it, as_told())))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::finding::{Level, worst};
    use super::*;

    const LEGAL: &str = "[mqtt]\nurl = 'mqtt://m'\nclient_id = 'c'\n[kafka]\nbrokers = ['k:9092']\n\
        [[routes]]\nfilter = 'a/#'\nkafka_topic = 't'\n";

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        Config::from_toml(text, "config.toml", BTreeMap::new())
    }

    #[test]
    fn a_configuration_is_legal_has_warnings_or_errors() {
        let findings = legal("c", &load(LEGAL).expect("legal"));
        assert_eq!(worst(&findings), Level::Ok, "{findings:?}");
        assert_eq!(findings[0].found, "legal: 1 connection, 1 route");
        let open = format!("{LEGAL}[http]\nlisten = '0.0.0.0:8080'\n");
        let findings = legal("c", &load(&open).expect("legal"));
        assert_eq!(worst(&findings), Level::Warning, "{findings:?}");
        let wrong = LEGAL.replace("a/#", "a/#/b").replace("k:9092", "k");
        let findings = illegal(&load(&wrong).expect_err("two errors"));
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.level == Level::Error));
    }

    #[test]
    fn a_bridge_that_is_not_ready_has_each_reason_and_no_bridge_is_no_fault() {
        let strange = Err(NoAnswer::Strange("it hangs".to_owned()));
        assert_eq!(worst(&bridge("l", strange)), Level::Warning);
        let findings = bridge("l", Err(NoAnswer::Nobody("refused".to_owned())));
        assert_eq!(worst(&findings), Level::Info);
        let health = |is_good, reasons: &[&str], warnings: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Ok(Health { is_good, reasons: own(reasons), warnings: own(warnings) })
        };
        assert_eq!(worst(&bridge("l", health(true, &[], &[]))), Level::Ok);
        let findings = bridge("l", health(false, &["kafka: x", "mqtt: y"], &["z"]));
        assert_eq!((findings.len(), worst(&findings)), (4, Level::Warning));
        assert_eq!(http_files(Ok(())), None);
        assert_eq!(http_files(Err("x".to_owned())).expect("one").level, Level::Error);
    }
}
