//! The bridge's dead letter file.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// A dead letter file, which need not exist yet.
#[derive(Debug)]
pub struct DeadLetters(PathBuf);

/// One line of it.
#[derive(Debug)]
pub struct DeadLetter(pub Value);

impl DeadLetters {
    /// At this path.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The path, for the configuration.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("the paths of stories are UTF-8")
    }

    /// Moves the file away, as an operator does.
    pub fn move_away(&self) {
        std::fs::rename(&self.0, self.0.with_extension("moved")).unwrap();
    }

    /// All dead letters so far.
    pub fn read(&self) -> Vec<DeadLetter> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        // The bridge may be writing a line at this moment.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parsed = whole.lines().map(serde_json::from_str);
        parsed.map(|line| DeadLetter(line.expect("each line is JSON"))).collect()
    }
}

impl DeadLetter {
    /// Its reason.
    pub fn reason(&self) -> &str {
        self.0["reason"].as_str().expect("each dead letter has a reason")
    }

    /// The kept part of the payload.
    pub fn payload(&self) -> Vec<u8> {
        match (self.0["payload"].as_str(), self.0["payload_base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(text)) => BASE64.decode(text).expect("base64"),
            _ => panic!("expected payload or payload_base64: {}", self.0["reason"]),
        }
    }
}
