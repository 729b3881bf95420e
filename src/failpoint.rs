//! Places where a test, or `demo --chaos`, can make the bridge, or `top`, panic or hang. Without the cargo feature
//! `failpoints` nothing of this is in the binary: [`hit`] is empty.

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Site {
    /// MqttActor, once a read that yielded packets.
    MqttRead,
    /// MqttActor, once a mail of verdicts, before they are settled.
    MqttVerdicts,
    /// MqttActor, once a message, while it is routed.
    Route,
    /// KafkaProducerActor, once a batch, before it is produced.
    KafkaBatch,
    /// KafkaProducerActor, once a message, while it is mapped to a record.
    KafkaRecord,
    /// KafkaProducerActor, once a mail of delivery reports.
    KafkaReports,
    /// The delivery poll thread, once a round.
    KafkaPoll,
    /// SupervisorActor, once a tick.
    Supervisor,
    /// `top`, once a screen.
    TopDraw,
    /// `top`, each time that it asks the bridge.
    TopAsks,
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    use super::Site;

    /// The sites with the names they have in the environment.
    const SITES: [(&str, Site); 10] = [
        ("mqtt_read", Site::MqttRead),
        ("mqtt_verdicts", Site::MqttVerdicts),
        ("route", Site::Route),
        ("kafka_batch", Site::KafkaBatch),
        ("kafka_record", Site::KafkaRecord),
        ("kafka_reports", Site::KafkaReports),
        ("kafka_poll", Site::KafkaPoll),
        ("supervisor", Site::Supervisor),
        ("top_draw", Site::TopDraw),
        ("top_asks", Site::TopAsks),
    ];

    /// The variable that arms sites from outside.
    const VARIABLE: &str = "BRIDGE_FAILPOINTS";

    /// Never comes back, instead of a panic.
    const HANG: i64 = -2;

    /// For each site: 0 never panics, -1 always, n > 0 at the n-th hit from now; [`HANG`] hangs.
    static COUNTDOWN: [AtomicI64; SITES.len()] = [const { AtomicI64::new(0) }; SITES.len()];

    /// Panics if `site` is armed and its turn has come.
    ///
    /// # Panics
    /// On purpose.
    #[inline]
    pub fn hit(site: Site) {
        let countdown = &COUNTDOWN[site as usize];
        let left = countdown.load(Relaxed);
        if left == 0 {
            return;
        }
        if left == HANG {
            loop {
                std::thread::park();
            }
        }
        if left < 0 || countdown.fetch_sub(1, Relaxed) == 1 {
            panic!("failpoint {site:?}");
        }
    }

    /// Makes `site` panic once, at its `nth` hit from now (1 is the next).
    pub fn arm_once(site: Site, nth: u32) {
        COUNTDOWN[site as usize].store(i64::from(nth), Relaxed);
    }

    /// Arms what the environment variable `BRIDGE_FAILPOINTS` names, if it is set:
    /// `site=N` panics at the N-th hit, `site=always` at each, `site=hang` never comes back from the
    /// next; several are separated by commas.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn arm_from_env() -> Result<(), String> {
        let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let refused = || {
                let names = SITES.map(|(name, _)| name).join(", ");
                format!(
                    "{VARIABLE}: expected SITE=N, SITE=always or SITE=hang with SITE one of {names}; found {term:?}"
                )
            };
            let (name, when) = term.split_once('=').ok_or_else(refused)?;
            let (_, site) = SITES.iter().find(|(known, _)| *known == name).ok_or_else(refused)?;
            let countdown = match when {
                "always" => -1,
                "hang" => HANG,
                nth => nth.parse::<u32>().map(i64::from).map_err(|_| refused())?,
            };
            COUNTDOWN[*site as usize].store(countdown, Relaxed);
        }
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{arm_from_env, arm_once, hit};

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_: Site) {}
