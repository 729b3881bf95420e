//! A real Prometheus.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::process::Process;
use super::{Http, PATIENT};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// If it is a story's own.
    process: Option<Process>,
    http: Http,
}

impl Prometheus {
    /// Starts it on a port of its own, with this configuration and these flags; its files, data included, are in `dir`.
    /// Returns when it answers queries.
    ///
    /// # Panics
    /// If there is none: tests/run installs it.
    pub fn start(dir: &Path, config: &str, flags: &[&str]) -> Self {
        let dir = dir.join("prometheus");
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let http = Http::free();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={}", http.address()))
            .args(flags);
        let process = Process::serving(command, &dir.join("log"), PATIENT, || {
            ask(&http, "/-/ready").is_some_and(|(status, _)| status == 200)
        });
        Self { process: Some(process), http }
    }

    /// One that somebody else starts and ends.
    #[allow(dead_code, reason = "for tests/stack")]
    pub fn elsewhere(http: Http) -> Self {
        Self { process: None, http }
    }

    /// Where it is.
    #[allow(dead_code, reason = "for tests/stack")]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Asks its HTTP interface, and returns the data of the answer; the error is its own.
    ///
    /// # Errors
    /// It does not do what was asked.
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let query = Serializer::new(String::new()).extend_pairs(query).finish();
        let answer = ask(&self.http, &format!("/api/v1/{path}?{query}"));
        let (_, body) = answer.ok_or("it does not answer")?;
        let mut said: Value = serde_json::from_str(&body).expect("it speaks JSON");
        match said["status"].as_str() {
            Some("success") => Ok(said["data"].take()),
            _ => Err(said["error"].to_string()),
        }
    }

    /// The series that a query has now.
    ///
    /// # Errors
    /// It does not understand the query.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        self.api("query", &[("query", query)]).map(series)
    }

    /// The series that a query had from `from` to `to`, in seconds since the Unix epoch, at each second.
    ///
    /// # Errors
    /// It does not understand the query.
    pub fn query_range(&self, query: &str, from: u64, to: u64) -> Result<Vec<Value>, String> {
        let [from, to] = [from, to].map(|at| at.to_string());
        let asked = [("query", query), ("start", &from), ("end", &to), ("step", "1")];
        self.api("query_range", &asked).map(series)
    }

    /// All alerting rules, as it has read them.
    pub fn rules(&self) -> Vec<Value> {
        let read = self.api("rules", &[("type", "alert")]).expect("its rules");
        let groups = read["groups"].as_array().expect("groups").iter();
        groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    /// The state of an alert: `inactive`, `pending` or `firing`.
    pub fn state(&self, alert: &str) -> String {
        let rule = self.rules().into_iter().find(|rule| rule["name"] == alert);
        let rule = rule.unwrap_or_else(|| panic!("no alert {alert}"));
        rule["state"].as_str().expect("a state").to_owned()
    }

    /// Its process, if it is a story's own.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the story started it")
    }
}

fn series(data: Value) -> Vec<Value> {
    match data {
        Value::Object(mut data) => match data.remove("result") {
            Some(Value::Array(series)) => series,
            other => panic!("a result with series: {other:?}"),
        },
        other => panic!("an object: {other}"),
    }
}

/// By HTTP 1.0: the answer is in one piece, and the connection ends behind it.
fn ask(http: &Http, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", http.address());
    http.ask(&request).ok().map(|answer| (answer.status, answer.body))
}
