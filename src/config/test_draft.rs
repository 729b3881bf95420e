//! An example of a route whose keys are being read.

use crate::route::rule::{Expected, ExpectedRecord, RouteTest};

/// What the keys of one `[[routes.tests]]` say.
#[derive(Debug, Clone, Default)]
pub(super) struct TestDraft {
    /// The message.
    pub(super) test: RouteTest,
    /// What is expected of its record.
    pub(super) record: ExpectedRecord,
    /// Instead of a record.
    pub(super) dropped: Option<String>,
    /// Instead of a record.
    pub(super) dead_letter: Option<String>,
}

impl TestDraft {
    /// The example, once every key is read.
    pub(super) fn finish(self) -> RouteTest {
        let expect = match (self.dropped, self.dead_letter) {
            (Some(reason), _) => Expected::Dropped(reason),
            (None, Some(reason)) => Expected::DeadLetter(reason),
            (None, None) => Expected::Record(self.record),
        };
        RouteTest { expect, ..self.test }
    }

    /// The draft that becomes this example.
    pub(super) fn of(test: &RouteTest) -> Self {
        let mut draft = Self { test: test.clone(), ..Self::default() };
        match &test.expect {
            Expected::Record(record) => draft.record = record.clone(),
            Expected::Dropped(reason) => draft.dropped = Some(reason.clone()),
            Expected::DeadLetter(reason) => draft.dead_letter = Some(reason.clone()),
        }
        draft
    }
}
