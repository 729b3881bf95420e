//! The keys of `[[routes.tests]]`. Their section is counted over all routes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::field::Field;
use super::resolved::Config;
use super::setting::Setting;
use super::test_draft::TestDraft;
use super::toml_text::string;
use super::value::Refused;
use crate::route::rule::TestPayload;

/// What `dropped` may be: [`DropReason::name`](crate::route::note::DropReason::name).
pub(super) const DROPPED: &[&str] =
    &["retained", "expired", "drop_if", "keep_if", "sample", "dedupe"];

/// The [`Field`] of a key that fills one field of [`TestDraft`].
macro_rules! test_field {
    ($($name:ident).+) => {
        Field {
            read: |draft, at, value, form| {
                draft.tests[at].$($name).+ = super::setting::Setting::read(value, form)?;
                Ok(())
            },
            show: |config, at, form| {
                let draft = super::test_fields::draft(config, at)?;
                super::setting::Setting::show(&draft.$($name).+, form)
            },
        }
    };
}
pub(super) use test_field as field;

/// The example that is the `at`-th of all routes.
pub(super) fn draft(config: &Config, at: usize) -> Option<TestDraft> {
    config.routes.iter().flat_map(|route| &route.tests).nth(at).map(TestDraft::of)
}

/// `routes.tests.payload`
pub(super) const PAYLOAD: Field = Field {
    read: |draft, at, value, form| {
        draft.tests[at].test.payload = TestPayload::Text(form.text(value)?.to_owned());
        Ok(())
    },
    show: |config, at, _| match draft(config, at)?.test.payload {
        TestPayload::Text(text) if !text.is_empty() => Some(string(&text)),
        _ => None,
    },
};

/// `routes.tests.payload_base64`
pub(super) const PAYLOAD_BASE64: Field = Field {
    read: |draft, at, value, form| {
        let bytes = STANDARD.decode(form.text(value)?).map_err(|_| Refused::Form)?;
        draft.tests[at].test.payload = TestPayload::Bytes(bytes);
        Ok(())
    },
    show: |config, at, _| match draft(config, at)?.test.payload {
        TestPayload::Bytes(bytes) => Some(string(&STANDARD.encode(bytes))),
        _ => None,
    },
};

/// `routes.tests.payload_file`
pub(super) const PAYLOAD_FILE: Field = Field {
    read: |draft, at, value, form| {
        draft.tests[at].test.payload = TestPayload::File(Setting::read(value, form)?);
        Ok(())
    },
    show: |config, at, form| match draft(config, at)?.test.payload {
        TestPayload::File(path) => path.show(form),
        _ => None,
    },
};

/// `routes.tests.tombstone`
pub(super) const TOMBSTONE: Field = Field {
    show: |config, at, form| draft(config, at)?.record.is_tombstone.then(|| true.show(form))?,
    ..field!(record.is_tombstone)
};
