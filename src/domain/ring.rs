//! Where the ring tone comes from that an agent hears.

/// What the caller of a subscriber hears while it rings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RingTone {
    /// A tone of the relay, where the caller can hear it; else that of its phone.
    #[default]
    Relay,
    /// That of its own phone.
    Phone,
}

impl RingTone {
    /// The stable word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Phone => "phone",
        }
    }

    /// Reads a label back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Relay, Self::Phone].into_iter().find(|ring| ring.label() == label)
    }
}
