//! `doctor`: checks both sides with the configuration, finding by finding, and says what to do.
//!
//! [`ask`] and `host` find out, `judge` says what that means, `report` writes it. A bridge that runs is not
//! disturbed: on either side the doctor is a client of its own, which takes no message from the bridge's session or
//! group and writes nothing (docs/doctor.md).

pub(crate) mod args;
mod ask;
mod facts;
mod finding;
mod host;
mod judge;
mod report;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use mqtt_kafka_bridge::config::{Config, MqttConfig};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::http;
use mqtt_kafka_bridge::mqtt::state_file::StateFile;

use crate::config_args::ConfigArgs;
use args::DoctorArgs;
use finding::{Finding, Level, worst};
use report::Text;

/// Looks at everything. The exit code follows from the worst finding.
pub(crate) fn run(args: &DoctorArgs, config: &ConfigArgs) -> Exit {
    let file = config.config.display().to_string();
    let mut telling = Telling::new(args);
    let config = match config.load() {
        Ok(config) => Arc::new(config),
        Err(errors) => {
            telling.add(judge::configuration::illegal(&errors));
            // The exit code says it too.
            let _ = telling.finish(&file);
            return Exit::Configuration;
        }
    };
    // It is not waited for: a name server or a file system may answer never.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Failed;
        }
    };
    runtime.block_on(look(&file, &config, &mut telling));
    runtime.shutdown_background();
    match telling.finish(&file) {
        Ok(()) => telling.exit(args.strict),
        Err(error) => {
            eprintln!("cannot write the findings: {error}");
            Exit::Failed
        }
    }
}

async fn look(file: &str, config: &Arc<Config>, telling: &mut Telling) {
    telling.add(judge::configuration::legal(file, config));
    telling.add(judge::configuration::http_files(http::check_files(&config.http)));
    if let Some(listen) = config.http.listen {
        let asked = http::check::readiness(&config.http);
        telling.add(judge::configuration::bridge(&listen.to_string(), asked));
    }
    let mut seen = BTreeSet::new();
    for mqtt in &config.connections {
        // The members of a section differ in their client ids alone.
        if seen.insert(Arc::clone(&mqtt.section)) {
            let routes = config.routes_of(mqtt);
            let own = ask::own_mqtt_certificate(mqtt);
            let mut addresses = Vec::new();
            for address in &mqtt.addresses {
                telling.asks(address);
                addresses.push(ask::mqtt(mqtt, &routes, address).await);
            }
            telling.add(judge::mqtt::connection(mqtt, &routes, own.as_ref(), &addresses));
        }
        telling.add(session(config, mqtt));
    }
    telling.asks("Kafka");
    let facts = ask::kafka(config).await;
    let (findings, answering) = judge::kafka::cluster(&facts);
    telling.add(findings);
    if let Some(visit) = answering {
        telling.add(judge::kafka_topics::judge(config, visit));
    }
    telling.add(judge::host::judge(&host::look(config), host::needs(config)));
}

/// What the state file of a connection says.
fn session(config: &Config, mqtt: &MqttConfig) -> Option<Finding> {
    let file = StateFile::of(config.data_dir.as_deref(), mqtt)?;
    let shown = file.path().display().to_string();
    let routes = config.routes_of(mqtt);
    Some(judge::subscriptions::session(&mqtt.name, &shown, &routes, file.load()))
}

/// Tells findings as they come, or all at the end.
struct Telling {
    is_json: bool,
    /// `None` with `--json`, and once nothing can be written any more.
    text: Option<Text<anstream::AutoStream<io::Stdout>>>,
    findings: Vec<Finding>,
}

impl Telling {
    fn new(args: &DoctorArgs) -> Self {
        let text = (!args.json).then(|| Text::new(anstream::stdout(), args.quiet));
        Self { is_json: args.json, text, findings: Vec::new() }
    }

    /// Says who is asked, to a person who waits.
    fn asks(&self, whom: impl Display) {
        if self.text.is_some() && io::stdout().is_terminal() && io::stderr().is_terminal() {
            eprintln!("asking {whom}");
        }
    }

    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            // If the reader has closed the pipe, it has seen enough; the exit code is still of use.
            if self.text.as_mut().is_some_and(|text| text.write(&finding).is_err()) {
                self.text = None;
            }
            self.findings.push(finding);
        }
    }

    /// # Errors
    /// The findings cannot be written, other than because their reader has seen enough.
    fn finish(&mut self, file: &str) -> io::Result<()> {
        let written = match &mut self.text {
            Some(text) => text.finish(&self.findings),
            None if self.is_json => {
                let mut out = io::stdout();
                out.write_all(&report::json(file, &self.findings)).and_then(|()| out.flush())
            }
            None => Ok(()),
        };
        written.or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }

    fn exit(&self, is_strict: bool) -> Exit {
        match worst(&self.findings) {
            Level::Error => Exit::Unhealthy,
            Level::Warning if is_strict => Exit::Unhealthy,
            _ => Exit::Drained,
        }
    }
}
