//! A Mosquitto for one story.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::broker::{Broker, OwnBroker};
use super::certificates::Certificates;
use super::process::{Process, free_port, with_sbin};
use super::transport::Listener;
use super::{SOON, eventually};

/// How a Mosquitto is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    persistence: bool,
    max_inflight: u16,
    plugin: Option<(PathBuf, PathBuf)>,
    listeners: Vec<Listener>,
    /// User name and password; who gives no user name is let in all the same.
    users: Vec<(String, String)>,
    /// On all listeners but the plain one.
    names_clients_by_user: bool,
    acl: String,
}

/// A listener, and its `host:port` or path.
type Address = (Listener, String);

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

    /// Listens so as well, besides a plain listener.
    pub fn listen(mut self, listener: Listener) -> Self {
        if listener != Listener::Plain && !self.listeners.contains(&listener) {
            self.listeners.push(listener);
        }
        self
    }

    /// Whoever gives a user name needs this password for this one.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// On all listeners but the plain one, the user name takes the place of the client id.
    pub fn names_clients_by_user(mut self) -> Self {
        self.names_clients_by_user = true;
        self
    }

    /// Who may do what, in the words of `acl_file`.
    pub fn acl(mut self, text: &str) -> Self {
        text.clone_into(&mut self.acl);
        self
    }

    /// The plain listener and the others, each with a free port or a path.
    fn addresses(&self) -> Vec<Address> {
        let address = |&listener: &Listener| match listener {
            // Not in the story's directory: a socket's path is limited to some hundred characters.
            Listener::Unix => {
                let path = std::env::temp_dir().join(format!("mqtt-{}.sock", free_port()));
                (listener, path.to_str().expect("a path in UTF-8").to_owned())
            }
            _ => (listener, format!("127.0.0.1:{}", free_port())),
        };
        [Listener::Plain].iter().chain(&self.listeners).map(address).collect()
    }

    fn text(&self, addresses: &[Address], data: &Path, certificates: &Certificates) -> String {
        let mut lines = vec![
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
        if !self.users.is_empty() {
            lines.push(format!("password_file {}", data.join("passwords").display()));
        }
        if !self.acl.is_empty() {
            fs::write(data.join("acl"), &self.acl).unwrap();
            lines.push(format!("acl_file {}", data.join("acl").display()));
        }
        for (listener, address) in addresses {
            lines.push(match address.rsplit_once(':') {
                Some((host, port)) => format!("listener {port} {host}"),
                None => format!("listener 0 {address}"),
            });
            if self.names_clients_by_user && *listener != Listener::Plain {
                lines.push("use_username_as_clientid true".to_owned());
            }
            if listener.is_websocket() {
                lines.push("protocol websockets".to_owned());
            }
            if listener.is_tls() {
                let [certificate, key] = certificates.broker();
                lines.push(format!("certfile {}", certificate.display()));
                lines.push(format!("keyfile {}", key.display()));
            }
            if *listener == Listener::MutualTls {
                lines.push(format!("cafile {}", certificates.clients_authorities().display()));
                lines.push("require_certificate true".to_owned());
            }
        }
        lines.join("\n") + "\n"
    }
}

/// A Mosquitto that a story may stop and start again on its ports.
#[derive(Debug)]
pub struct Mosquitto {
    addresses: Vec<Address>,
    certificates: Certificates,
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts one with its files under `dir`, and waits until it listens.
    pub fn start(dir: &Path, setup: &Setup) -> Self {
        let mut mosquitto = Self::prepare(dir, setup);
        mosquitto.run();
        mosquitto
    }

    /// The same, not started yet.
    pub fn prepare(dir: &Path, setup: &Setup) -> Self {
        let addresses = setup.addresses();
        let (_, port) = addresses[0].1.rsplit_once(':').expect("a port");
        let dir = dir.join(format!("mosquitto-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let certificates = Certificates::new(&dir);
        let config = dir.join("mosquitto.conf");
        fs::write(&config, setup.text(&addresses, &dir, &certificates)).unwrap();
        let log = dir.join("log");
        let mosquitto = Self { addresses, certificates, config, log, process: None };
        for (name, password) in &setup.users {
            mosquitto.set_password(name, password);
        }
        mosquitto
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], and waits until all its listeners do.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "Mosquitto is already running");
        let mut command = with_sbin(Command::new("mosquitto"));
        command.arg("-c").arg(&self.config);
        // It opens one after the other.
        let serves = || self.addresses.iter().all(|(listener, address)| listener.accepts(address));
        self.process = Some(Process::serving(command, &self.log, SOON, serves));
    }

    /// `host:port` of the plain listener.
    pub fn address(&self) -> String {
        self.address_of(Listener::Plain)
    }

    /// `host:port` of this listener, or its path.
    pub fn address_of(&self, wanted: Listener) -> String {
        let found = self.addresses.iter().find(|(listener, _)| *listener == wanted);
        found.unwrap_or_else(|| panic!("Mosquitto has no listener {wanted:?}")).1.clone()
    }

    /// What its listeners with TLS show and trust.
    pub fn certificates(&mut self) -> &mut Certificates {
        &mut self.certificates
    }

    /// Sets a password in its file; it must be told to read that again.
    pub fn set_password(&self, name: &str, password: &str) {
        let file = self.config.with_file_name("passwords");
        File::options().create(true).append(true).open(&file).unwrap();
        let mut command = with_sbin(Command::new("mosquitto_passwd"));
        command.arg("-b").arg(&file).args([name, password]);
        let log = self.config.with_file_name("mosquitto_passwd.log");
        assert_eq!(Process::start(command, &log).wait(SOON), 0, "see {}", log.display());
    }

    /// Makes it read its passwords, permissions, and the certificates of its listeners with TLS, but not
    /// those of WebSocket nor the authorities, again.
    pub fn reload(&mut self) {
        self.process().signal(libc::SIGHUP);
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
        self.process().end_in_order(SOON);
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

    fn address_of(&self, listener: Listener) -> String {
        self.address_of(listener)
    }

    fn certificates(&self) -> Option<&Certificates> {
        Some(&self.certificates)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        for (_, path) in self.addresses.iter().filter(|(listener, _)| *listener == Listener::Unix) {
            let _ = fs::remove_file(path);
        }
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
