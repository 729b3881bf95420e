//! What a route did with a message beside making a record, to be counted by route.

/// Something that a route did with a message and that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// It was dropped.
    Dropped(DropReason),
    /// It had no usable timestamp, and the time of receipt was taken.
    TimestampFellBack,
    /// It had no readable time of its device.
    DeviceTimeUnreadable,
    /// Sparkplug messages of its node are missing before it.
    SparkplugGap,
    /// It has an alias whose birth is unknown.
    SparkplugAliasUnknown,
    /// A node was asked for its birth.
    SparkplugRebirthAsked,
}

impl Note {
    /// The least of them.
    pub const FIRST: Self = Self::Dropped(DropReason::Retained);
    /// The greatest.
    pub const LAST: Self = Self::SparkplugRebirthAsked;

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dropped(reason) => reason.name(),
            Self::TimestampFellBack => "timestamp_fell_back",
            Self::DeviceTimeUnreadable => "device_time_unreadable",
            Self::SparkplugGap => "sparkplug_gap",
            Self::SparkplugAliasUnknown => "sparkplug_alias_unknown",
            Self::SparkplugRebirthAsked => "sparkplug_rebirth_asked",
        }
    }
}

/// Why a route dropped a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// `retained = "skip"`
    Retained,
    /// `expired = "drop"`
    Expired,
    /// `drop_if`
    DropIf,
    /// `keep_if`
    KeepIf,
    /// `sample`
    Sample,
    /// `dedupe`
    Dedupe,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Retained, Self::Expired, Self::DropIf, Self::KeepIf, Self::Sample, Self::Dedupe];

    /// The label of metrics and the word in `map`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Expired => "expired",
            Self::DropIf => "drop_if",
            Self::KeepIf => "keep_if",
            Self::Sample => "sample",
            Self::Dedupe => "dedupe",
        }
    }
}
