//! The state file: what this client may have subscribed in its session, so that the next run knows what
//! an older configuration left there (docs/decisions/0008-state-file.md).
//!
//! One file for each pair of MQTT broker and client id. It is replaced whole, by rename and fsync. Its
//! loss costs a warning and perhaps duplicates, never a message; only a file of a newer version of the
//! bridge is refused, since this one would take its knowledge away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::MqttConfig;
use crate::message::Qos;
use crate::mqtt::subscriptions::Held;

/// What is written, and the newest that is understood.
const VERSION: u64 = 1;
/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
/// At most this many bytes of the client id are readable in the file's name.
const NAME_MAX: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    mqtt_broker: String,
    client_id: String,
}

/// Why the state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The bridge does not start.
    #[error(
        "{path}: expected a state file of version 1, found version {found}, which a newer bridge \
         wrote: run that one, or move the file away (then old subscriptions stay in the session)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The bridge starts without.
    #[error("{path}: expected a state file, found {detail}: old subscriptions stay in the session")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u64,
    mqtt_broker: String,
    client_id: String,
    subscriptions: Vec<Line>,
}

/// All that can be read of any version.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    filter: String,
    qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
}

impl StateFile {
    /// The file of this connection; none where its session ends with it, or no directory is given.
    pub fn of(data_dir: Option<&Path>, mqtt: &MqttConfig) -> Option<Self> {
        let data_dir = data_dir.filter(|_| mqtt.session_expiry_s > 0)?;
        let mqtt_broker = mqtt.first_address().endpoint.to_string();
        Some(Self::new(data_dir, mqtt_broker, mqtt.client_id.clone()))
    }

    fn new(data_dir: &Path, mqtt_broker: String, client_id: String) -> Self {
        let path = data_dir.join(file_name(&mqtt_broker, &client_id));
        Self { path, mqtt_broker, client_id }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(&self) -> Result<Vec<Held>, StateError> {
        let unusable =
            |path: &Path, detail: String| StateError::Unusable { path: path.to_owned(), detail };
        let data_dir = self.data_dir();
        if !data_dir.is_dir() {
            return Err(unusable(data_dir, "no directory (data_dir)".to_owned()));
        }
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => {
                let read = file.take(SIZE_MAX).read_to_end(&mut text);
                read.map_err(|error| unusable(&self.path, error.to_string()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(&self.path, error.to_string())),
        }
        let not_json = |error: serde_json::Error| unusable(&self.path, error.to_string());
        let Head { version } = serde_json::from_slice(&text).map_err(not_json)?;
        if version > VERSION {
            return Err(StateError::Newer { path: self.path.clone(), found: version });
        }
        let content: Content = serde_json::from_slice(&text).map_err(not_json)?;
        let is_ours =
            content.mqtt_broker == self.mqtt_broker && content.client_id == self.client_id;
        if !is_ours {
            return Err(unusable(&self.path, "that of another client or broker".to_owned()));
        }
        let held = content.subscriptions.into_iter().map(|line| {
            let filter =
                line.filter.parse().map_err(|error| format!("an invalid filter: {error}"))?;
            let qos = if line.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
            Ok(Held { filter, qos, id: line.id })
        });
        held.collect::<Result<_, String>>().map_err(|detail| unusable(&self.path, detail))
    }

    /// Replaces it, durably. Blocks.
    ///
    /// # Errors
    /// The system's; then the old one is still there.
    pub fn save(&self, held: &[Held]) -> io::Result<()> {
        let content = Content {
            version: VERSION,
            mqtt_broker: self.mqtt_broker.clone(),
            client_id: self.client_id.clone(),
            subscriptions: held
                .iter()
                .map(|held| Line {
                    filter: held.filter.to_string(),
                    qos: held.qos.level(),
                    id: held.id,
                })
                .collect(),
        };
        let mut text = serde_json::to_vec_pretty(&content)?;
        text.push(b'\n');
        let new = self.path.with_extension("new");
        // A killed run may have left it behind. Removed first, so that nothing is written through a link.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(self.data_dir())?.sync_all()
    }

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn data_dir(&self) -> &Path {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }
}

/// Readable as far as a file's name allows, and different for each broker and each client id.
fn file_name(mqtt_broker: &str, client_id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let readable: String =
        client_id.chars().map(|c| if is_plain(c) { c } else { '_' }).take(NAME_MAX).collect();
    let hash = Sha256::digest(format!("{mqtt_broker}\0{client_id}"));
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("mqtt-session-{readable}-{hash}.json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn held(filter: &str, id: Option<u32>) -> Held {
        Held { filter: filter.parse().expect("legal"), qos: Qos::AtLeastOnce, id }
    }

    fn file(dir: &Path) -> StateFile {
        StateFile::new(dir, "localhost:1883".to_owned(), "bridge-1".to_owned())
    }

    #[test]
    fn what_is_saved_is_loaded_and_no_one_else_reads_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file(dir.path());
        assert_eq!(file.load().expect("none is fine"), []);
        let first = [held("t/#", None), held("$share/g/+/\"\u{e4}", Some(7))];
        for held in [&first[..], &[], &first[..1]] {
            file.save(held).expect("saved");
            assert_eq!(file.load().expect("sound"), held);
            let mode = fs::metadata(file.path()).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_newer_one_is_refused_and_any_other_nonsense_only_warned_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file(dir.path());
        let newer = r#"{"version":2,"what":{"is":"this"}}"#;
        fs::write(file.path(), newer).expect("written");
        let error = file.load().expect_err("newer");
        assert!(matches!(error, StateError::Newer { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("expected a state file of version 1"), "{error}");
        let others = file.clone();
        StateFile { client_id: "other".to_owned(), ..others }.save(&[]).expect("saved");
        let other = fs::read_to_string(file.path()).expect("there");
        let bad_filter = r#"{"version":1,"mqtt_broker":"localhost:1883","client_id":"bridge-1",
            "subscriptions":[{"filter":"a/#/b","qos":1}]}"#;
        for text in ["", "{", "[]", "{\"version\":-1}", "{\"version\":1}", &other, bad_filter] {
            fs::write(file.path(), text).expect("written");
            let error = file.load().expect_err(text);
            assert!(matches!(error, StateError::Unusable { .. }), "{error}");
        }
        file.save(&[held("t", None)]).expect("replaced");
        assert_eq!(file.load().expect("sound").len(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file(&dir.path().join("gone"));
        let error = file.load().expect_err("not there").to_string();
        assert!(error.contains("gone: expected a state file, found no directory"), "{error}");
        assert!(file.save(&[]).is_err());
    }

    #[test]
    fn what_lies_in_the_way_is_replaced_and_not_written_through() {
        let dir = tempfile::tempdir().expect("a directory");
        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").expect("written");
        let file = file(dir.path());
        symlink(&victim, file.path().with_extension("new")).expect("linked");
        symlink(&victim, file.path()).expect("linked");
        file.save(&[]).expect("saved");
        assert_eq!(fs::read_to_string(&victim).expect("there"), "mine");
        assert_eq!(file.load().expect("sound"), []);
    }

    #[test]
    fn each_client_and_each_broker_has_a_file_of_its_own() {
        let dir = Path::new("/data");
        let mut paths = std::collections::BTreeSet::new();
        for broker in ["a:1883", "a:1884"] {
            for client_id in ["", "a", "a/../b", "a_.._b", &"x".repeat(65_535)] {
                let file = StateFile::new(dir, broker.to_owned(), client_id.to_owned());
                assert_eq!(file.path().parent(), Some(dir), "{client_id}");
                let name = file.path().file_name().expect("one").to_string_lossy().into_owned();
                assert!(name.len() < 128 && name.is_ascii(), "{name}");
                paths.insert(name);
            }
        }
        assert_eq!(paths.len(), 10);
    }
}
