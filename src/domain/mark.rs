//! What is noted of a call beside who calls and what it is for.

/// Something that a header of a trusted trunk says, whose other words are not kept; or that we have
/// seen ourselves.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mark {
    /// The call was on its way to somebody else before (RFC 5806, RFC 7044).
    Diverted,
    /// The caller does not want to be known (RFC 3323).
    Private,
    /// It carries a signature over who calls (RFC 8224). Nobody has checked it.
    Signed,
    /// The subscriber has used the self-service menu, or was offered it.
    Menu,
    /// A recording of it was begun.
    Recorded,
    /// It was said to be recorded, and is not, or not to its end.
    NotRecorded,
}

impl Mark {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Diverted,
        Self::Private,
        Self::Signed,
        Self::Menu,
        Self::Recorded,
        Self::NotRecorded,
    ];

    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Diverted => "diverted",
            Self::Private => "private",
            Self::Signed => "signed",
            Self::Menu => "menu",
            Self::Recorded => "recorded",
            Self::NotRecorded => "not_recorded",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_has_a_word_of_its_own() {
        for mark in Mark::ALL {
            assert_eq!(Mark::find_label(mark.label()), Some(mark));
        }
        assert_eq!(Mark::find_label("Signed"), None);
    }
}
