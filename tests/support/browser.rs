//! A headless Chromium, told what to do over WebDriver.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::process::{Process, free_port};
use super::{PATIENT, eventually, target_dir};

/// The longest that a command of WebDriver may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);
/// The key that moves the focus, as WebDriver names it.
const TAB: &str = "\u{e004}";

/// What the system of the browser asks of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Light,
    Dark,
    Phone,
}

impl Look {
    pub const ALL: [Self; 3] = [Self::Light, Self::Dark, Self::Phone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::Phone => "phone",
        }
    }

    fn width(self) -> u32 {
        if self == Self::Phone { 375 } else { 1280 }
    }
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    _driver: Process,
    address: String,
    /// The path of its session.
    session: String,
}

impl Browser {
    /// Starts it, with its files in `dir`.
    ///
    /// # Panics
    /// If there is none: tests/run installs it.
    pub fn start(dir: &Path) -> Self {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let home = dir.join("browser");
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", &home);
        let log = dir.join("chromedriver.log");
        let driver = Process::serving(command, &log, PATIENT, || {
            ask(&address, "GET", "/status", &Value::Null).is_ok_and(|said| said["ready"] == true)
        });
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let arguments = [
            &*profile,
            "--headless=new",
            // The tests run as root in places.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            // It ends with its driver, also where that is killed.
            "--remote-debugging-pipe",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let said = ask(&address, "POST", "/session", &wanted).expect("chromedriver answers");
        let session = said["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {said}"));
        let session = format!("/session/{session}");
        let browser = Self { _driver: driver, address, session };
        browser.look(Look::Light);
        browser
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        let said = ask(&self.address, method, &path, body).expect("chromedriver answers");
        assert!(said.get("error").is_none(), "{method} {path}: {said}");
        said
    }

    /// A command of Chromium's own protocol.
    #[track_caller]
    fn chromium(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("POST", "/goog/cdp/execute", &body)
    }

    /// Changes what the page is shown on.
    #[track_caller]
    pub fn look(&self, look: Look) {
        let scheme = if look == Look::Dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.chromium("Emulation.setEmulatedMedia", &json!({ "features": features }));
        self.size(look.width(), 900);
    }

    fn size(&self, width: u32, height: u64) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Goes to a page, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page, with these arguments; what it returns.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &Value) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// The text of an element.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0]).textContent";
        self.run(script, &json!([selector])).as_str().expect("a text").to_owned()
    }

    /// Waits until the text of an element satisfies `wanted`.
    #[track_caller]
    pub fn wait_text(&self, selector: &str, deadline: Duration, wanted: impl Fn(&str) -> bool) {
        eventually(&format!("{selector} says what it should"), deadline, || {
            thread::sleep(Duration::from_millis(50));
            wanted(&self.text(selector))
        });
    }

    /// Writes into a field, as a person would.
    #[track_caller]
    pub fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("{element}/clear"), &json!({}));
        self.command("POST", &format!("{element}/value"), &json!({ "text": text }));
    }

    /// Clicks on an element.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("{element}/click"), &json!({}));
    }

    /// The path of an element.
    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &wanted);
        let name = found.as_object().and_then(|it| it.values().next()).and_then(Value::as_str);
        format!("/element/{}", name.expect("an element"))
    }

    /// A picture of what is seen, as a PNG in target/page.
    #[track_caller]
    pub fn screenshot(&self, name: &str) {
        let picture = self.command("GET", "/screenshot", &Value::Null);
        let picture = STANDARD.decode(picture.as_str().expect("base64")).expect("base64");
        let directory = target_dir().join("page");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.png")), picture).unwrap();
    }

    /// What the console has of warnings and errors since the last call.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list").iter();
        entries.filter(|entry| entry["level"] != "DEBUG").map(Value::to_string).collect()
    }

    /// The addresses that the page has asked for since the last call.
    #[track_caller]
    pub fn requests(&self) -> BTreeSet<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "performance" }));
        let messages = entries
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = messages.filter(|it| it["message"]["method"] == "Network.requestWillBeSent");
        let parameters = sent.map(|mut it| it["message"]["params"].take());
        // The browser's own first page is made of others.
        let of_pages = parameters
            .filter(|it| it["documentURL"].as_str().is_some_and(|url| !url.starts_with("chrome:")));
        of_pages.filter_map(|it| it["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// What axe-core finds wrong with the page: a line each.
    #[track_caller]
    pub fn violations(&self) -> Vec<String> {
        let axe = target_dir().join("axe-core/package/axe.min.js");
        let axe = fs::read_to_string(&axe).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}; tests/run installs what the tests need", axe.display())
        });
        self.run(&format!("{axe}; return null"), &json!([]));
        let script = "const done = arguments[0];
            axe.run().then(({ passes, violations }) => done([passes.length, violations.map((it) =>
                `${it.id}: ${it.help}: ${it.nodes.map(({ html }) => html).join(' ')}`)]),
                (error) => done([0, [String(error)]]));";
        let body = json!({ "script": script, "args": [] });
        let found = self.command("POST", "/execute/async", &body);
        assert!(found[0].as_u64().is_some_and(|passes| passes > 10), "it checked little: {found}");
        let found = found[1].as_array().expect("a list").iter();
        found.map(|it| it.as_str().expect("a text").to_owned()).collect()
    }

    /// Presses Tab.
    #[track_caller]
    pub fn tab(&self) {
        let keys = json!([{ "type": "keyDown", "value": TAB }, { "type": "keyUp", "value": TAB }]);
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] });
        self.command("POST", "/actions", &body);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ask(&self.address, "DELETE", &self.session, &Value::Null);
    }
}

/// One request, and the `value` of its answer.
fn ask(address: &str, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(COMMAND_WITHIN))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(body) = whole(&answer) {
            let mut said: Value = serde_json::from_slice(body)?;
            return Ok(said["value"].take());
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The body of an answer, once it is there.
fn whole(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    answer[end..].get(..length.trim().parse().ok()?)
}
