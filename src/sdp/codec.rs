//! The codecs we pass. Everything else in an offer is left out, so that a name or a number invented
//! by one side never reaches the other.

/// A codec on the allow-list. The order of the variants is our order of preference, and the
/// position of a codec in every payload map of a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722. Its RTP clock is 8000 by a historical mistake (RFC 3551 §4.5.2).
    G722,
    /// Telephone events, RFC 4733.
    TelephoneEvent,
}

impl Codec {
    /// All of them, in our order of preference.
    pub const ALL: [Self; 4] = [Self::Pcma, Self::Pcmu, Self::G722, Self::TelephoneEvent];

    /// The position in the payload maps of a call.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Pcma => 0,
            Self::Pcmu => 1,
            Self::G722 => 2,
            Self::TelephoneEvent => 3,
        }
    }

    /// The payload type in our own offers.
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
            Self::G722 => 9,
            Self::TelephoneEvent => 101,
        }
    }

    /// What stands after the payload type in `a=rtpmap`.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA/8000",
            Self::Pcmu => "PCMU/8000",
            Self::G722 => "G722/8000",
            Self::TelephoneEvent => "telephone-event/8000",
        }
    }

    /// The codec of a payload type that needs no `a=rtpmap` (RFC 3551 table 4).
    pub(super) fn of_static(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            _ => None,
        }
    }

    /// The codec of an `a=rtpmap` encoding; one channel may be written or not.
    pub(super) fn of_rtpmap(encoding: &[u8]) -> Option<Self> {
        let mono = encoding.strip_suffix(b"/1").unwrap_or(encoding);
        let usual = Self::ALL.into_iter().find(|codec| codec.rtpmap().as_bytes() == mono);
        let is_it = |codec: &Self| codec.rtpmap().as_bytes().eq_ignore_ascii_case(mono);
        usual.or_else(|| Self::ALL.into_iter().find(is_it))
    }

    const fn bit(self) -> u8 {
        1 << self.index()
    }
}

/// Some of the codecs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CodecSet(u8);

impl CodecSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// All we know.
    #[must_use]
    pub fn all() -> Self {
        Codec::ALL.into_iter().collect()
    }

    /// Both laws of G.711, and telephone events: what can be written down of a call.
    #[must_use]
    pub fn g711() -> Self {
        [Codec::Pcma, Codec::Pcmu, Codec::TelephoneEvent].into_iter().collect()
    }

    /// Adds one.
    pub fn insert(&mut self, codec: Codec) {
        self.0 |= codec.bit();
    }

    /// Is it among them?
    #[must_use]
    pub const fn contains(self, codec: Codec) -> bool {
        self.0 & codec.bit() != 0
    }

    /// Those in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The same, with both laws of G.711 where it has one: the media plane turns one into the
    /// other.
    #[must_use]
    pub fn with_both_laws(mut self) -> Self {
        if self.contains(Codec::Pcma) || self.contains(Codec::Pcmu) {
            self.insert(Codec::Pcma);
            self.insert(Codec::Pcmu);
        }
        self
    }

    /// What can flow between two sides: what both can do. Only where that is nothing, G.711 is
    /// turned from the law of one into that of the other.
    #[must_use]
    pub fn flowing_to(self, other: Self) -> Option<Self> {
        let turned = || self.with_both_laws().intersection(other.with_both_laws());
        Some(self.intersection(other))
            .filter(|same| same.has_audio())
            .or_else(|| Some(turned()).filter(|turned| turned.has_audio()))
    }

    /// All of `other` are in this set.
    #[must_use]
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// A conversation is possible: telephone events alone are not one.
    #[must_use]
    pub const fn has_audio(self) -> bool {
        self.0 & !Codec::TelephoneEvent.bit() != 0
    }

    /// In our order of preference.
    pub fn iter(self) -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(move |codec| self.contains(*codec))
    }
}

impl FromIterator<Codec> for CodecSet {
    fn from_iter<I: IntoIterator<Item = Codec>>(codecs: I) -> Self {
        let mut set = Self::EMPTY;
        for codec in codecs {
            set.insert(codec);
        }
        set
    }
}

/// The numbers that may be given to any codec.
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// The payload type of each codec in one side's numbering, by [`Codec::index`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Payloads([Option<u8>; Codec::ALL.len()]);

impl Payloads {
    /// Our own numbers, as written in our offers.
    #[must_use]
    pub fn ours() -> Self {
        Self(Codec::ALL.map(|codec| Some(codec.payload_type())))
    }

    /// The number of a codec, when the side has one.
    #[must_use]
    pub fn of(&self, codec: Codec) -> Option<u8> {
        self.0[codec.index()]
    }

    /// The codecs that have a number.
    #[must_use]
    pub fn codecs(&self) -> CodecSet {
        Codec::ALL.into_iter().filter(|codec| self.of(*codec).is_some()).collect()
    }

    /// Only the numbers of `codecs`.
    #[must_use]
    pub fn only(self, codecs: CodecSet) -> Self {
        Self(Codec::ALL.map(|codec| self.of(codec).filter(|_| codecs.contains(codec))))
    }

    /// Gives each of `codecs` that has no number yet our own, or a free one where that is taken.
    pub(super) fn add_ours(&mut self, codecs: CodecSet) {
        for codec in codecs.iter().filter(|codec| self.of(*codec).is_none()).collect::<Vec<_>>() {
            let is_free = |number: &u8| !self.0.contains(&Some(*number));
            let mut wanted = std::iter::once(codec.payload_type()).chain(DYNAMIC);
            self.0[codec.index()] = wanted.find(is_free);
        }
    }

    /// Takes the numbers of `newer` where it has any.
    pub(super) fn replace(&mut self, newer: Self) {
        self.0 = Codec::ALL.map(|codec| newer.of(codec).or(self.of(codec)));
    }

    /// The first number of a codec stays: it is the one its side prefers.
    pub(super) fn add(&mut self, codec: Codec, payload_type: u8) {
        self.0[codec.index()].get_or_insert(payload_type);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_in_the_list() {
        for (position, codec) in Codec::ALL.into_iter().enumerate() {
            assert_eq!(codec.index(), position);
        }
    }

    #[test]
    fn telephone_events_alone_are_no_conversation() {
        assert!(!CodecSet::from_iter([Codec::TelephoneEvent]).has_audio());
        assert!(CodecSet::from_iter([Codec::TelephoneEvent, Codec::G722]).has_audio());
    }

    #[test]
    fn encodings_are_found_whatever_their_case_and_with_one_channel() {
        assert_eq!(Codec::of_rtpmap(b"pcma/8000/1"), Some(Codec::Pcma));
        assert_eq!(Codec::of_rtpmap(b"TELEPHONE-EVENT/8000"), Some(Codec::TelephoneEvent));
        assert_eq!(Codec::of_rtpmap(b"telephone-event/16000"), None);
        assert_eq!(Codec::of_rtpmap(b"opus/48000/2"), None);
    }
}
