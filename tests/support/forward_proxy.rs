//! Debian's proxies, through which a bridge dials out: tinyproxy (HTTP CONNECT) and microsocks (SOCKS 5),
//! both with a login.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SOON;
use super::process::{Process, free_port, with_sbin};

/// The login of both; the password is the first one.
const USER: &str = "dialer";
const PASSWORD: &str = "proxy-password";

/// A proxy that a story may start late.
#[derive(Debug)]
pub struct ForwardProxy {
    kind: Kind,
    port: u16,
    password: String,
    dir: PathBuf,
    process: Option<Process>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

impl ForwardProxy {
    /// A running tinyproxy with its files under `dir`.
    pub fn http(dir: &Path) -> Self {
        Self::http_stopped(dir).running()
    }

    /// The same, not started yet.
    pub fn http_stopped(dir: &Path) -> Self {
        Self::new(Kind::Http, dir)
    }

    /// A running microsocks.
    pub fn socks5(dir: &Path) -> Self {
        Self::socks5_stopped(dir).running()
    }

    /// The same, not started yet.
    pub fn socks5_stopped(dir: &Path) -> Self {
        Self::new(Kind::Socks5, dir)
    }

    fn new(kind: Kind, dir: &Path) -> Self {
        let (password, dir) = (PASSWORD.to_owned(), dir.to_owned());
        Self { kind, port: free_port(), password, dir, process: None }
    }

    fn running(mut self) -> Self {
        self.run();
        self
    }

    /// Starts it.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the proxy is already running");
        let mut command;
        match self.kind {
            Kind::Http => {
                command = with_sbin(Command::new("tinyproxy"));
                command.arg("-d").arg("-c").arg(self.write_config());
            }
            Kind::Socks5 => {
                let port = self.port.to_string();
                command = with_sbin(Command::new("microsocks"));
                command.args(["-i", "127.0.0.1", "-p", &port, "-u", USER, "-P", &self.password]);
            }
        }
        let log = self.dir.join(format!("proxy-{}.log", self.port));
        let serves = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        self.process = Some(Process::serving(command, &log, SOON, serves));
    }

    fn write_config(&self) -> PathBuf {
        let config = self.dir.join(format!("tinyproxy-{}.conf", self.port));
        let lines = [
            format!("Port {}", self.port),
            "Listen 127.0.0.1".to_owned(),
            "Allow 127.0.0.1".to_owned(),
            format!("BasicAuth {USER} {}", self.password),
            "Timeout 600".to_owned(),
            "MaxClients 100".to_owned(),
            "LogLevel Connect".to_owned(),
        ];
        fs::write(&config, lines.join("\n") + "\n").unwrap();
        config
    }

    /// Whether it has neither been stopped nor ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exit_status().is_none())
    }

    /// Takes this password from here on; `url` has it then.
    pub fn set_password(&mut self, password: &str) {
        password.clone_into(&mut self.password);
        let Some(mut process) = self.process.take() else { return };
        match self.kind {
            Kind::Http => {
                self.write_config();
                process.signal(libc::SIGUSR1);
                self.process = Some(process);
            }
            Kind::Socks5 => {
                process.kill();
                self.run();
            }
        }
    }

    /// As in `mqtt.proxy`, with the login.
    pub fn url(&self) -> String {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
        };
        format!("{scheme}://{USER}:{}@127.0.0.1:{}", self.password, self.port)
    }
}
