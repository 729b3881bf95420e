//! Keys of a route that fill more, or less, than one field.

use super::field::{Field, field};
use super::resolved::Config;
use super::route_draft::{Missing, written_filter};
use super::setting::Setting;
use super::toml_text::string;
use super::value::Refused;
use crate::message::{IfMissing, NewKafkaTopic};
use crate::route::captures::Captures;

/// How the Kafka topics of a route are created, if they are.
fn created(config: &Config, at: usize) -> Option<&NewKafkaTopic> {
    match &config.routes[at].if_missing {
        IfMissing::Create(create) => Some(create),
        _ => None,
    }
}

/// `routes.name`: not printed where it is the filter.
pub(super) const NAME: Field = Field {
    show: |config, at, _| {
        let route = &config.routes[at];
        (*route.name != written_filter(route)).then(|| string(&route.name))
    },
    ..field!(routes.name)
};

/// `routes.filter`: with names of levels.
pub(super) const FILTER: Field = Field {
    read: |draft, at, value, _| {
        let text = value.text().ok_or(Refused::Form)?;
        let (filter, captures) = Captures::read(text)
            .map_err(|error| Refused::Because(format!("{error}, found {}", value.found())))?;
        let route = &mut draft.config.routes[at];
        (route.filter, route.captures) = (filter, captures);
        Ok(())
    },
    show: |config, at, _| Some(string(&written_filter(&config.routes[at]))),
};

/// `routes.missing_topic`
pub(super) const MISSING_TOPIC: Field = Field {
    read: |draft, at, value, form| {
        draft.routes[at].missing = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| {
        let missing = match config.routes[at].if_missing {
            IfMissing::DeadLetter => Missing::DeadLetter,
            IfMissing::Hold => Missing::Hold,
            IfMissing::Create(_) => Missing::Create,
        };
        missing.show(form)
    },
};

/// `routes.create_partitions`
pub(super) const CREATE_PARTITIONS: Field = Field {
    read: |draft, at, value, form| {
        draft.routes[at].create.partitions = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| created(config, at)?.partitions.show(form),
};

/// `routes.create_replication`
pub(super) const CREATE_REPLICATION: Field = Field {
    read: |draft, at, value, form| {
        draft.routes[at].create.replication = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| created(config, at)?.replication.show(form),
};

/// `routes.create_config`
pub(super) const CREATE_CONFIG: Field = Field {
    read: |draft, at, value, form| {
        draft.routes[at].create.config = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| created(config, at)?.config.show(form),
};
