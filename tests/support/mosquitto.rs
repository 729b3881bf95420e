//! A Mosquitto for one story.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::broker::{Broker, OwnBroker};
use super::process::{Process, free_port, with_sbin};
use super::{SOON, eventually};

/// How a Mosquitto is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    persistence: bool,
    max_inflight: u16,
    plugin: Option<(PathBuf, PathBuf)>,
    certificate: Option<PathBuf>,
}

impl Setup {
    /// Sessions and queued messages survive a restart of the broker.
    pub fn persistent(mut self) -> Self {
        self.persistence = true;
        self
    }

    /// Whether [`Self::persistent`] was called.
    pub fn is_persistent(&self) -> bool {
        self.persistence
    }

    /// Limit of messages in flight to one client; 0, the default here, means no limit.
    pub fn max_inflight(mut self, messages: u16) -> Self {
        self.max_inflight = messages;
        self
    }

    /// Clients and permissions come from the dynamic-security plugin with this file.
    pub fn dynamic_security(mut self, file: &Path) -> Self {
        self.plugin = Some((dynamic_security_plugin(), file.to_owned()));
        self
    }

    /// Uses TLS, with this certificate and key in one file.
    pub fn tls(mut self, certificate: &Path) -> Self {
        self.certificate = Some(certificate.to_owned());
        self
    }

    fn text(&self, port: u16, data: &Path) -> String {
        let mut lines = vec![
            format!("listener {port} 127.0.0.1"),
            // Otherwise it changes from root to a user that may not write here.
            "user root".to_owned(),
            format!("allow_anonymous {}", self.plugin.is_none()),
            // Not stdout, which is buffered.
            "log_dest stderr".to_owned(),
            "log_type error".to_owned(),
            "log_type warning".to_owned(),
            "log_type notice".to_owned(),
            "log_type subscribe".to_owned(),
            "log_timestamp_format %H:%M:%S".to_owned(),
            "max_queued_messages 0".to_owned(),
            "set_tcp_nodelay true".to_owned(),
            format!("max_inflight_messages {}", self.max_inflight),
        ];
        if self.persistence {
            lines.extend([
                "persistence true".to_owned(),
                "autosave_interval 1".to_owned(),
                format!("persistence_location {}/", data.display()),
            ]);
        }
        if let Some((plugin, file)) = &self.plugin {
            lines.extend([
                format!("plugin {}", plugin.display()),
                format!("plugin_opt_config_file {}", file.display()),
            ]);
        }
        if let Some(file) = &self.certificate {
            let file = file.display();
            // An option of the listener, so it must follow it.
            lines.splice(1..1, [format!("certfile {file}"), format!("keyfile {file}")]);
        }
        lines.join("\n") + "\n"
    }
}

/// A Mosquitto that a story may stop and start again on its port.
#[derive(Debug)]
pub struct Mosquitto {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts one with its files under `dir`, and waits until it listens.
    pub fn start(dir: &Path, setup: &Setup) -> Self {
        let port = free_port();
        let dir = dir.join(format!("mosquitto-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let config = dir.join("mosquitto.conf");
        fs::write(&config, setup.text(port, &dir)).unwrap();
        let mut mosquitto = Self { port, config, log: dir.join("log"), process: None };
        mosquitto.run();
        mosquitto
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], and waits until it listens.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "Mosquitto is already running");
        let mut command = with_sbin(Command::new("mosquitto"));
        command.arg("-c").arg(&self.config);
        let serves = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        self.process = Some(Process::serving(command, &self.log, SOON, serves));
    }

    /// `host:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process, to send it signals.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("Mosquitto runs")
    }

    /// Waits until Mosquitto logs that the client has subscribed this many times.
    #[track_caller]
    pub fn wait_subscribed(&self, client_id: &str, times: usize) {
        let what = format!("{client_id} subscribes (Mosquitto's log: {})", self.log.display());
        let mark = format!(": {client_id} ");
        eventually(&what, SOON, || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            log.lines().filter(|line| line.contains(&mark)).count() >= times
        });
    }

    /// Waits until it has saved its present sessions.
    #[track_caller]
    pub fn wait_saved(&self) {
        let database = self.config.with_file_name("mosquitto.db");
        let now = SystemTime::now();
        eventually("Mosquitto saves its sessions", SOON, || {
            fs::metadata(&database).is_ok_and(|file| file.modified().unwrap() > now)
        });
    }

    /// Its last saved sessions; it must be stopped.
    pub fn backup(&self) -> Vec<u8> {
        assert!(self.process.is_none(), "Mosquitto runs");
        fs::read(self.config.with_file_name("mosquitto.db")).unwrap()
    }

    /// Replaces its last saved sessions by older ones; it must be stopped.
    pub fn restore(&self, sessions: &[u8]) {
        assert!(self.process.is_none(), "Mosquitto runs");
        fs::write(self.config.with_file_name("mosquitto.db"), sessions).unwrap();
    }

    /// Stops it in order: with persistence it saves its sessions.
    pub fn stop(&mut self) {
        self.process().signal(libc::SIGTERM);
        self.process().wait(SOON);
        self.process = None;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }
}

impl Broker for Mosquitto {
    fn address(&self) -> String {
        self.address()
    }
}

impl OwnBroker for Mosquitto {
    fn run(&mut self) {
        self.run();
    }

    fn stop(&mut self) {
        self.stop();
    }
}

/// The plugin of Debian's package, whatever the architecture.
fn dynamic_security_plugin() -> PathBuf {
    let name = "mosquitto_dynamic_security.so";
    let directories = fs::read_dir("/usr/lib").expect("/usr/lib is there").flatten();
    let mut candidates = directories.map(|directory| directory.path().join(name));
    candidates.find(|path| path.exists()).unwrap_or_else(|| {
        panic!("no {name} in the directories of /usr/lib; tests/run installs what the tests need")
    })
}
