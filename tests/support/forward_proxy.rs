//! Debian's proxies, through which a bridge dials out: tinyproxy (HTTP CONNECT) and microsocks (SOCKS 5),
//! both with a login.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SOON;
use super::process::{Process, free_port, with_sbin};

/// The login of both.
pub const USER: &str = "dialer";
pub const PASSWORD: &str = "proxy-password";

/// A proxy that a story may stop and start again on its port.
#[derive(Debug)]
pub struct ForwardProxy {
    scheme: &'static str,
    port: u16,
    /// The program and its arguments.
    command: Vec<String>,
    log: PathBuf,
    process: Option<Process>,
}

impl ForwardProxy {
    /// A running tinyproxy with its files under `dir`.
    pub fn http(dir: &Path) -> Self {
        let mut proxy = Self::http_stopped(dir);
        proxy.run();
        proxy
    }

    /// The same, not started yet.
    pub fn http_stopped(dir: &Path) -> Self {
        let port = free_port();
        let config = dir.join(format!("tinyproxy-{port}.conf"));
        let lines = [
            format!("Port {port}"),
            "Listen 127.0.0.1".to_owned(),
            "Allow 127.0.0.1".to_owned(),
            format!("BasicAuth {USER} {PASSWORD}"),
            "Timeout 600".to_owned(),
            "MaxClients 100".to_owned(),
            "LogLevel Connect".to_owned(),
        ];
        fs::write(&config, lines.join("\n") + "\n").unwrap();
        let config = config.to_str().expect("a path in UTF-8");
        Self::new("http", port, dir, &["tinyproxy", "-d", "-c", config])
    }

    /// A running microsocks.
    pub fn socks5(dir: &Path) -> Self {
        let port = free_port();
        let number = port.to_string();
        let arguments = ["-i", "127.0.0.1", "-p", &number, "-u", USER, "-P", PASSWORD];
        let mut proxy = Self::new("socks5", port, dir, &[&["microsocks"], &arguments[..]].concat());
        proxy.run();
        proxy
    }

    fn new(scheme: &'static str, port: u16, dir: &Path, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let log = dir.join(format!("{scheme}-proxy-{port}.log"));
        Self { scheme, port, command, log, process: None }
    }

    /// Starts it again after [`Self::stop`].
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the proxy is already running");
        let mut command = with_sbin(Command::new(&self.command[0]));
        command.args(&self.command[1..]);
        let serves = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        self.process = Some(Process::serving(command, &self.log, SOON, serves));
    }

    /// Ends it, and with it the connections through it.
    pub fn stop(&mut self) {
        self.process.take().expect("the proxy runs").kill();
    }

    /// As in `mqtt.proxy`, with the login.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    /// The same with another password.
    pub fn url_with(&self, password: &str) -> String {
        format!("{}://{USER}:{password}@127.0.0.1:{}", self.scheme, self.port)
    }

    /// The same without a login.
    pub fn url_without_login(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }
}
