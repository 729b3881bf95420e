//! Simulated devices: believable readings that drift, the same for the same seed. Pure.

use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use fastrand::Rng;

/// All devices publish below this MQTT topic level.
pub(super) const MQTT_ROOT: &str = "sensors";

/// Where the devices are.
const SITES: [&str; 4] = ["plant-1", "plant-2", "depot", "office"];

/// One simulated device: a name, a place, and readings that continue from the last ones.
#[derive(Debug)]
pub(super) struct Device {
    name: String,
    mqtt_topic: Bytes,
    state: State,
    rng: Rng,
    seq: u64,
}

impl Device {
    /// The device with this index. Neighbours are of different kinds.
    pub(super) fn new(seed: u64, index: usize) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_add((index as u64).wrapping_mul(0x9E37_79B9)));
        let state = State::new(index % KINDS, &mut rng);
        let site = SITES[index / KINDS % SITES.len()];
        let name = format!("{}-{index:03}", state.kind());
        let mqtt_topic = format!("{MQTT_ROOT}/{site}/{}/{name}", state.kind());
        Self { name, mqtt_topic: Bytes::from(mqtt_topic), state, rng, seq: 0 }
    }

    /// The MQTT topic to which it alone publishes.
    pub(super) fn mqtt_topic(&self) -> &Bytes {
        &self.mqtt_topic
    }

    /// Its next message: the sequence number, from 1 and without gaps, and the JSON payload.
    pub(super) fn next_message(&mut self, now: SystemTime) -> (u64, Bytes) {
        self.seq += 1;
        self.state.step(&mut self.rng);
        let mut json = String::with_capacity(160);
        // Writing to a String cannot fail; names and numbers need no escapes.
        let _ = write!(
            json,
            r#"{{"device":"{}","seq":{},"at":"{}","#,
            self.name,
            self.seq,
            humantime::format_rfc3339_millis(now),
        );
        self.state.write_readings(&mut json);
        json.push('}');
        (self.seq, Bytes::from(json))
    }
}

/// How many kinds of devices there are.
const KINDS: usize = 5;

/// The last readings of a device.
#[derive(Debug)]
enum State {
    Climate { celsius: f64, humidity_pct: f64 },
    Power { volts: f64, amperes: f64, load_amperes: f64, energy_kwh: f64 },
    Vibration { rms_mm_s: f64, bearing_celsius: f64, rpm: f64 },
    Tracker { latitude: f64, longitude: f64, heading_deg: f64, speed_km_h: f64 },
    Door { open: bool, opened: u64, battery_pct: f64 },
}

impl State {
    fn new(kind: usize, rng: &mut Rng) -> Self {
        match kind {
            0 => Self::Climate { celsius: between(rng, 18.0, 26.0), humidity_pct: 45.0 },
            1 => {
                let load = between(rng, 2.0, 14.0);
                let energy_kwh = between(rng, 100.0, 90_000.0);
                Self::Power { volts: 230.0, amperes: load, load_amperes: load, energy_kwh }
            }
            2 => Self::Vibration { rms_mm_s: 1.2, bearing_celsius: 48.0, rpm: 1_480.0 },
            3 => Self::Tracker {
                latitude: between(rng, 50.5, 52.5),
                longitude: between(rng, 8.0, 13.0),
                heading_deg: between(rng, 0.0, 360.0),
                speed_km_h: between(rng, 20.0, 80.0),
            },
            _ => Self::Door { open: false, opened: 0, battery_pct: between(rng, 60.0, 100.0) },
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Climate { .. } => "climate",
            Self::Power { .. } => "power",
            Self::Vibration { .. } => "vibration",
            Self::Tracker { .. } => "tracker",
            Self::Door { .. } => "door",
        }
    }

    /// Lets one second pass on the device.
    fn step(&mut self, rng: &mut Rng) {
        match self {
            Self::Climate { celsius, humidity_pct } => {
                drift(rng, celsius, 21.5, 0.15);
                drift(rng, humidity_pct, 45.0, 0.4);
            }
            Self::Power { volts, amperes, load_amperes, energy_kwh } => {
                if rng.f64() < 0.02 {
                    *load_amperes = between(rng, 0.5, 16.0); // a machine was switched
                }
                drift(rng, volts, 230.0, 0.5);
                drift(rng, amperes, *load_amperes, 0.2);
                *amperes = amperes.max(0.0);
                *energy_kwh += *volts * *amperes / 1_000.0 / 3_600.0;
            }
            Self::Vibration { rms_mm_s, bearing_celsius, rpm } => {
                drift(rng, rms_mm_s, 1.2, 0.08);
                if rng.f64() < 0.005 {
                    *rms_mm_s += between(rng, 1.0, 4.0); // something hit it
                }
                *rms_mm_s = rms_mm_s.max(0.05);
                drift(rng, bearing_celsius, 40.0 + 7.0 * *rms_mm_s, 0.1);
                drift(rng, rpm, 1_480.0, 2.0);
            }
            Self::Tracker { latitude, longitude, heading_deg, speed_km_h } => {
                drift(rng, speed_km_h, 50.0, 3.0);
                *speed_km_h = speed_km_h.clamp(0.0, 90.0);
                *heading_deg = (*heading_deg + between(rng, -8.0, 8.0)).rem_euclid(360.0);
                // A degree of latitude is 111.2 km everywhere.
                let degrees = *speed_km_h / 3_600.0 / 111.2;
                let heading = heading_deg.to_radians();
                *latitude = (*latitude + degrees * heading.cos()).clamp(-85.0, 85.0);
                *longitude += degrees * heading.sin() / latitude.to_radians().cos();
                *longitude = (*longitude + 180.0).rem_euclid(360.0) - 180.0;
            }
            Self::Door { open, opened, battery_pct } => {
                let turns = rng.f64() < if *open { 0.3 } else { 0.03 };
                *open ^= turns;
                *opened += u64::from(turns && *open);
                *battery_pct = (*battery_pct - 0.000_02).max(0.0);
            }
        }
    }

    fn write_readings(&self, json: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Climate { celsius, humidity_pct } => {
                write!(json, r#""temperature_c":{celsius:.2},"humidity_pct":{humidity_pct:.1}"#)
            }
            Self::Power { volts, amperes, energy_kwh, .. } => {
                let watts = volts * amperes;
                write!(
                    json,
                    r#""voltage_v":{volts:.1},"current_a":{amperes:.2},"power_w":{watts:.0},"energy_kwh":{energy_kwh:.3}"#
                )
            }
            Self::Vibration { rms_mm_s, bearing_celsius, rpm } => write!(
                json,
                r#""rms_mm_s":{rms_mm_s:.3},"bearing_c":{bearing_celsius:.1},"rpm":{rpm:.0}"#
            ),
            Self::Tracker { latitude, longitude, heading_deg, speed_km_h } => write!(
                json,
                r#""lat":{latitude:.6},"lon":{longitude:.6},"speed_km_h":{speed_km_h:.1},"heading_deg":{heading_deg:.0}"#
            ),
            Self::Door { open, opened, battery_pct } => {
                write!(json, r#""open":{open},"opened":{opened},"battery_pct":{battery_pct:.1}"#)
            }
        };
    }
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + rng.f64() * (high - low)
}

/// A random step of up to `step`, and a little of the way back to `home`.
fn drift(rng: &mut Rng, value: &mut f64, home: f64, step: f64) {
    *value += between(rng, -step, step) + 0.02 * (home - *value);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn messages(seed: u64) -> Vec<(Bytes, u64, Bytes)> {
        let mut devices: Vec<_> = (0..KINDS * 5).map(|index| Device::new(seed, index)).collect();
        let mut all = Vec::new();
        for second in 0..200 {
            for device in &mut devices {
                let (seq, json) = device.next_message(UNIX_EPOCH + Duration::from_secs(second));
                all.push((device.mqtt_topic().clone(), seq, json));
            }
        }
        all
    }

    #[test]
    fn every_payload_is_json_with_device_seq_time_and_readings() {
        for (mqtt_topic, seq, json) in messages(7) {
            let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
            let mqtt_topic = String::from_utf8(mqtt_topic.to_vec()).unwrap();
            let device = value["device"].as_str().expect("a device");
            assert!(mqtt_topic.ends_with(&format!("/{device}")), "{mqtt_topic} {device}");
            assert_eq!(value["seq"].as_u64(), Some(seq));
            assert!(humantime::parse_rfc3339(value["at"].as_str().expect("a time")).is_ok());
            assert!(value.as_object().expect("an object").len() >= 5, "readings in {value}");
        }
    }

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_one_another() {
        assert_eq!(messages(7), messages(7));
        assert_ne!(messages(7), messages(8));
    }

    #[test]
    fn devices_have_mqtt_topics_of_their_own() {
        let topics: std::collections::BTreeSet<_> =
            (0..1_000).map(|index| Device::new(1, index).mqtt_topic().clone()).collect();
        assert_eq!(topics.len(), 1_000);
    }

    #[test]
    fn readings_stay_plausible_for_hours() {
        let mut climate = Device::new(3, 0);
        for _ in 0..20_000 {
            let (_, json) = climate.next_message(UNIX_EPOCH);
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let celsius = value["temperature_c"].as_f64().unwrap();
            assert!((15.0..28.0).contains(&celsius), "{celsius}");
        }
    }
}
