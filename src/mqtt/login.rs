//! The login for one CONNECT: a password may be in a file that changes, or be made by a command each time.
//!
//! Nothing that a file or a command contains is ever shown. That goes for the command's standard error
//! too: tools that fetch tokens print requests with their headers, and scripts print their commands, with
//! the very secrets that they were given. Its arguments may be secrets as well, so that only the program is
//! named.

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::command::Running;
use crate::config::{MqttConfig, Password, Secret, read_secret};
use crate::mqtt::lost::{self, Lost};

/// The longest password that MQTT can carry, in bytes ([MQTT-1.5.4], its two-byte length).
const PASSWORD_MAX_BYTES: usize = 65_535;

/// What CONNECT says to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// User name, if any.
    pub username: Option<Secret>,
    /// Password, if any.
    pub password: Option<Secret>,
}

/// Gets the login for the next CONNECT, within `mqtt.connect_timeout`. If it is dropped before it is done,
/// the command is killed.
///
/// # Errors
/// There is no password ([`lost::PASSWORD_UNAVAILABLE`]): where it should come from, and what is wrong.
pub async fn login(mqtt: &MqttConfig) -> Result<Login, Lost> {
    let within = mqtt.connect_timeout;
    let password = match &mqtt.password {
        None => None,
        Some(Password::Fixed(secret)) => Some(secret.clone()),
        Some(Password::File(path)) => {
            // A slow disk must not stop the connection's thread.
            let reading = spawn_blocking({
                let path = path.clone();
                move || read_secret(path)
            });
            let read = match timeout(within, reading).await {
                Ok(Ok(read)) => read.and_then(not_empty),
                Ok(Err(panicked)) => Err(panicked.to_string()),
                Err(_) => Err(format!("not read within {within:?} (mqtt.connect_timeout)")),
            };
            let source = format!("mqtt.password_file {}", path.display());
            Some(read.map_err(|why| unavailable(&source, &why))?)
        }
        Some(Password::Command(words)) => {
            let made = match timeout(within, output(words)).await {
                Ok(made) => made.and_then(not_empty),
                Err(_) => {
                    Err(format!("not done within {within:?} (mqtt.connect_timeout), and killed"))
                }
            };
            let program = words.first().map_or("", String::as_str);
            let source = format!("mqtt.password_command {program}");
            Some(made.map_err(|why| unavailable(&source, &why))?)
        }
    };
    Ok(Login { username: mqtt.username.clone(), password })
}

fn unavailable(source: &str, why: &str) -> Lost {
    Lost::new(lost::PASSWORD_UNAVAILABLE, format!("{source}: {why}"))
}

/// A file that is being replaced may be empty for a moment, and a command that fails may succeed with
/// nothing. No broker takes an empty password that somebody took care to provide.
fn not_empty(password: String) -> Result<Secret, String> {
    if password.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(password)) }
}

/// The standard output of a command, without the newline at its end.
async fn output(words: &[String]) -> Result<String, String> {
    // It has started only when the program is read, and a file system may be slow. Started after it was
    // given up, it is dropped, and killed.
    let starting = spawn_blocking({
        let words = words.to_vec();
        move || {
            let mut words = words.iter().map(String::as_str);
            let program = words.next().unwrap_or_default();
            Running::start(program, &words.collect::<Vec<_>>())
        }
    });
    let started = starting.await.map_err(|panicked| panicked.to_string())?;
    let mut running = started.map_err(|error| format!("it cannot be started: {error}"))?;
    // And its newline, and one more.
    let finished = running.finish(PASSWORD_MAX_BYTES + 3).await;
    let (bytes, status) = finished.map_err(|error| error.to_string())?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() > PASSWORD_MAX_BYTES {
        return Err(format!("it wrote more than {PASSWORD_MAX_BYTES} bytes"));
    }
    if !status.success() {
        // Its standard error is not shown: see the module.
        return Err(format!("it failed with {status}; run it by hand to see why"));
    }
    let text = str::from_utf8(text).map_err(|_| "it wrote something that is not UTF-8")?;
    if text.contains('\0') {
        return Err("it wrote a NUL character".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
