//! Our side of one leg over the life of a call: each description of it that differs from the one
//! before has a version of its own, and a payload type never changes its codec.

use std::fmt;
use std::net::SocketAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use super::codec::{CodecSet, Payloads};
use super::crypto::{Crypto, Srtp, SrtpKey, Suite};
use super::networks::MediaNetworks;
use super::parse::parse_with;
use super::session::{Direction, InvalidSdp, Profile, Session};
use super::write::{Local, Said, describe};

/// What we say on one leg, and what we have said there before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ours {
    rtp: SocketAddr,
    /// Nothing else is ever spoken on this leg.
    codecs: CodecSet,
    session_id: u64,
    version: u64,
    /// All numbers that were ever given on this leg (RFC 3264 §8.3.2).
    numbers: Payloads,
    /// The last description.
    said: Option<Said>,
    /// Absent on a leg that has no encryption.
    keys: Option<Box<Keys>>,
    /// Where the peer may be.
    networks: MediaNetworks,
}

/// Our keys of a leg. None of them is ever on another one. `Debug` shows none.
#[derive(Clone, Eq, PartialEq)]
struct Keys {
    srtp: Srtp,
    /// One for each suite.
    own: [SrtpKey; 2],
    /// What the next ones come from.
    seed: Zeroizing<[u8; 32]>,
    /// A key of ours was in use once.
    is_used: bool,
    /// What both sides have agreed on: the line by its number, and the peer's key.
    agreed: Option<(u32, SrtpKey)>,
    /// The peer has agreed to speak in clear.
    is_plain: bool,
}

impl Keys {
    fn new(srtp: Srtp, rng: &mut impl Rng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        let own = new_keys(rng);
        rng.fill_bytes(&mut *seed);
        Self { srtp, own, seed, is_used: false, agreed: None, is_plain: false }
    }

    fn own(&self, suite: Suite) -> &SrtpKey {
        let [first, second] = &self.own;
        if first.suite() == suite { first } else { second }
    }

    fn line(&self, tag: u32, suite: Suite) -> Crypto {
        Crypto { tag, key: self.own(suite).clone() }
    }

    /// What an offer says: both suites until one is agreed on.
    fn offered(&self) -> Vec<Crypto> {
        match &self.agreed {
            Some((tag, theirs)) => vec![self.line(*tag, theirs.suite())],
            None if self.is_plain => Vec::new(),
            None => (1..).zip(Suite::ALL).map(|(tag, suite)| self.line(tag, suite)).collect(),
        }
    }

    /// The peer names the line that holds from now on.
    fn agree(&mut self, theirs: Option<&Crypto>) {
        self.is_plain = theirs.is_none();
        self.agreed = theirs.map(|Crypto { tag, key }| (*tag, key.clone()));
        self.is_used |= theirs.is_some();
    }

    /// Whoever changes its key in an offer may be somebody else, who does not know how many packets
    /// ours has encrypted: it gets a new one. And no key of ours is ever begun with twice.
    fn renew_for(&mut self, theirs: &Crypto) {
        let is_same = self.agreed.as_ref().is_some_and(|(_, before)| *before == theirs.key);
        if self.is_used && !is_same {
            let mut rng = ChaCha20Rng::from_seed(*self.seed);
            self.own = new_keys(&mut rng);
            rng.fill_bytes(&mut *self.seed);
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?}, agreed: {})", self.srtp, self.agreed.is_some())
    }
}

fn new_keys(rng: &mut impl Rng) -> [SrtpKey; 2] {
    Suite::ALL.map(|suite| SrtpKey::random(suite, rng))
}

/// What one side wants, which is what the other side is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Which way media flows, seen from the side that wishes.
    pub direction: Direction,
    /// The packet length it asks for, in milliseconds, when it is a usual one.
    pub ptime_ms: Option<u8>,
    /// What it can do.
    pub codecs: CodecSet,
}

impl Session {
    /// What this side wants.
    #[must_use]
    pub fn wish(&self) -> Wish {
        Wish { direction: self.direction, ptime_ms: self.ptime_ms, codecs: self.codecs() }
    }
}

impl Ours {
    /// Nothing has been said yet. `rtp` is our address on this leg, as to be advertised.
    #[must_use]
    pub fn new(rtp: SocketAddr, session_id: u64) -> Self {
        let (codecs, numbers) = (CodecSet::all(), Payloads::default());
        let networks = MediaNetworks::default();
        Self { rtp, codecs, session_id, version: 0, numbers, said: None, keys: None, networks }
    }

    /// The same on a leg where nothing but these codecs is spoken, whatever the peer can do. To be
    /// called before anything is said.
    #[must_use]
    pub const fn limited_to(mut self, codecs: CodecSet) -> Self {
        self.codecs = codecs;
        self
    }

    /// The same on a leg whose peer has its media in these. To be called before anything is
    /// said.
    #[must_use]
    pub fn within(mut self, networks: MediaNetworks) -> Self {
        self.networks = networks;
        self
    }

    /// The same on a leg that may be encrypted. To be called before anything is said.
    #[must_use]
    pub fn with_keys(mut self, srtp: Srtp, rng: &mut impl Rng) -> Self {
        if srtp != Srtp::Off {
            self.keys = Some(Box::new(Keys::new(srtp, rng)));
        }
        self
    }

    /// Which encryption this leg may have.
    #[must_use]
    pub fn srtp(&self) -> Srtp {
        self.keys.as_ref().map_or(Srtp::Off, |keys| keys.srtp)
    }

    /// Our key and the peer's, once both are agreed on.
    #[must_use]
    pub fn keys(&self) -> Option<(&SrtpKey, &SrtpKey)> {
        let keys = self.keys.as_ref()?;
        let (_, theirs) = keys.agreed.as_ref()?;
        Some((keys.own(theirs.suite()), theirs))
    }

    /// Reads an offer of the peer.
    pub fn read_offer(&self, body: &[u8]) -> Result<Session, InvalidSdp> {
        self.networks.admit(parse_with(body, self.srtp())?.only(self.codecs)?)
    }

    /// Reads the answer to our offer: one that takes a key names a line that we have offered.
    pub fn read_answer(&mut self, body: &[u8]) -> Result<Session, InvalidSdp> {
        let offered = self.said.as_ref().map_or(&[][..], |said| &said.crypto);
        let (Some(keys), false) = (&mut self.keys, offered.is_empty()) else {
            return self.networks.admit(parse_with(body, Srtp::Off)?.only(self.codecs)?);
        };
        let answer = self.networks.admit(parse_with(body, keys.srtp)?.only(self.codecs)?)?;
        // One of our lines, and not our own key sent back.
        let is_fit = |theirs: &Crypto| {
            let ours = offered.iter().find(|line| line.tag == theirs.tag);
            ours.is_some_and(|ours| ours.key.suite() == theirs.key.suite() && *ours != *theirs)
        };
        if answer.crypto.as_ref().is_some_and(|theirs| !is_fit(theirs)) {
            return Err(InvalidSdp::NoAudio);
        }
        keys.agree(answer.crypto.as_ref());
        Ok(answer)
    }

    /// Offers what the other side wants. Media lines that were refused before stay refused, each at
    /// its place (RFC 3264 §8).
    pub fn offer(&mut self, wish: Wish) -> String {
        let wish = Wish { codecs: wish.codecs.intersection(self.codecs), ..wish };
        self.numbers.add_ours(wish.codecs);
        let before = self.said.clone().unwrap_or_default();
        let payloads = self.numbers.only(wish.codecs);
        let crypto = self.keys.as_ref().map_or_else(Vec::new, |keys| keys.offered());
        // Where there is a choice, the word for packets in clear leaves it to the peer.
        let profile = match (self.srtp(), before.profile) {
            (Srtp::Required, Profile::Avp) => Profile::Savp,
            (Srtp::Required, Profile::Avpf) => Profile::Savpf,
            (_, Profile::Savp) if crypto.is_empty() => Profile::Avp,
            (_, Profile::Savpf) if crypto.is_empty() => Profile::Avpf,
            (_, before) => before,
        };
        let direction = wish.direction;
        self.say(Said { payloads, direction, profile, crypto, ..before }, wish)
    }

    /// Answers `offer` with those of `codecs` that it has, in its numbering, and with the direction
    /// that the other side wants as far as the offer allows.
    pub fn answer(&mut self, offer: &Session, wish: Wish) -> String {
        let codecs = wish.codecs.intersection(self.codecs);
        let mut said = Said::to_answer(offer, codecs, wish.direction);
        self.numbers.replace(said.payloads);
        if let Some(keys) = &mut self.keys {
            if let Some(theirs) = &offer.crypto {
                keys.renew_for(theirs);
            }
            keys.agree(offer.crypto.as_ref());
            said.crypto = keys.offered();
        }
        self.say(said, wish)
    }

    fn say(&mut self, said: Said, wish: Wish) -> String {
        let ptime_ms = wish.ptime_ms.unwrap_or(PTIME_MS_USUAL);
        let said = Said { ptime_ms, ..said };
        if self.said.as_ref() != Some(&said) {
            self.version += 1;
        }
        let local = Local {
            rtp: self.rtp,
            session_id: self.session_id,
            version: self.version,
            direction: said.direction,
            ptime_ms,
        };
        let text = describe(&local, &said);
        self.said = Some(said);
        text
    }

    /// The numbers that the peer was told for these codecs.
    #[must_use]
    pub fn payloads(&self, codecs: CodecSet) -> Payloads {
        self.numbers.only(codecs)
    }
}

const PTIME_MS_USUAL: u8 = 20;

#[cfg(test)]
mod tests {
    use super::super::{Codec, parse};
    use super::*;

    fn ours() -> Ours {
        Ours::new("203.0.113.5:20000".parse().expect("an address"), 7)
    }

    fn wish(direction: Direction, codecs: &[Codec]) -> Wish {
        Wish { direction, ptime_ms: None, codecs: codecs.iter().copied().collect() }
    }

    fn theirs(audio: &str) -> Session {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
             m=video 7000 RTP/AVP 97\r\n{audio}"
        );
        parse(text.as_bytes()).expect("a valid description")
    }

    fn version(text: &str) -> &str {
        text.lines().nth(1).and_then(|line| line.split(' ').nth(2)).expect("an o= line")
    }

    #[test]
    fn the_version_grows_with_every_change_and_an_unchanged_description_keeps_it() {
        let mut ours = ours();
        let talk = wish(Direction::SendRecv, &[Codec::Pcma]);
        let hold = wish(Direction::SendOnly, &[Codec::Pcma]);
        let texts = [talk, talk, hold, hold, talk].map(|wish| ours.offer(wish));
        assert_eq!(texts.each_ref().map(|text| version(text)), ["1", "1", "2", "2", "3"]);
        assert!(texts.iter().all(|text| text.contains("o=- 7 ")));
    }

    #[test]
    fn an_offer_after_an_answer_keeps_its_numbers_and_its_refused_lines() {
        let offer = theirs(
            "m=audio 6000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n\
             m=image 0 udptl t38\r\n",
        );
        let mut ours = ours();
        let answer = ours.answer(&offer, offer.wish());
        let again = ours.offer(Wish { codecs: CodecSet::all(), ..offer.wish() });
        assert!(again.contains("m=audio 20000 RTP/AVP 8 0 9 96\r\n"), "{again}");
        for text in [&answer, &again] {
            let kinds: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
            assert_eq!(kinds.len(), 3, "{text}");
            assert_eq!(kinds.first(), Some(&"m=video 0 RTP/AVP 97"));
            assert_eq!(kinds.last(), Some(&"m=image 0 udptl t38"));
        }
    }

    #[test]
    fn a_number_that_is_taken_is_not_given_twice() {
        let offer = theirs("m=audio 6000 RTP/AVP 101\r\na=rtpmap:101 PCMA/8000\r\n");
        let mut ours = ours();
        _ = ours.answer(&offer, offer.wish());
        let again = ours.offer(wish(Direction::SendRecv, &[Codec::Pcma, Codec::TelephoneEvent]));
        assert!(again.contains("m=audio 20000 RTP/AVP 101 96\r\n"), "{again}");
        assert!(again.contains("a=rtpmap:96 telephone-event/8000\r\n"), "{again}");
    }

    /// A leg that may be encrypted.
    fn encrypted(srtp: Srtp, seed: u64) -> Ours {
        ours().with_keys(srtp, &mut ChaCha20Rng::seed_from_u64(seed))
    }

    fn crypto_lines(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("a=crypto:")).collect()
    }

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    const OTHER_KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn their_offer(ours: &Ours, profile: &str, lines: &str) -> Result<Session, InvalidSdp> {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
             m=audio 6000 {profile} 8\r\n{lines}"
        );
        ours.read_offer(text.as_bytes())
    }

    fn aes_128(tag: u32, key: &str) -> String {
        format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n")
    }

    #[test]
    fn the_first_line_that_we_understand_is_answered_by_its_tag_with_a_key_of_ours() {
        let mut ours = encrypted(Srtp::Optional, 1);
        let lines = [
            "a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:x\r\n",
            &aes_128(4, KEY),
            &aes_128(5, OTHER_KEY),
        ];
        let offer = their_offer(&ours, "RTP/SAVP", &lines.concat()).expect("an offer");
        let answer = ours.answer(&offer, offer.wish());
        assert!(answer.contains("m=audio 20000 RTP/SAVP 8\r\n"), "{answer}");
        let lines = crypto_lines(&answer);
        assert!(
            matches!(&lines[..], [line] if line.starts_with("4 AES_CM_128_HMAC_SHA1_80 inline:"))
        );
        assert!(!answer.contains(KEY) && !answer.contains(OTHER_KEY), "{answer}");
        let (own, theirs) = ours.keys().expect("agreed");
        assert_eq!(theirs.secret(), b"YS___semctl () {\t220;}\n}\nunles");
        assert_ne!(own, theirs);
    }

    #[test]
    fn a_leg_without_encryption_refuses_encrypted_audio_and_reads_no_key() {
        for (srtp, profile, lines, is_taken) in [
            (Srtp::Off, "RTP/SAVP", aes_128(1, KEY), false),
            (Srtp::Off, "RTP/SAVPF", aes_128(1, KEY), false),
            (Srtp::Off, "RTP/AVP", aes_128(1, KEY), true),
            (Srtp::Optional, "RTP/AVP", String::new(), true),
            (Srtp::Optional, "RTP/AVPF", aes_128(1, KEY), true),
            (Srtp::Optional, "RTP/SAVPF", aes_128(1, KEY), true),
            (Srtp::Optional, "RTP/SAVP", String::new(), false),
            (Srtp::Required, "RTP/AVP", String::new(), false),
            (Srtp::Required, "RTP/AVP", aes_128(1, KEY), true),
            (Srtp::Required, "UDP/TLS/RTP/SAVP", aes_128(1, KEY), false),
        ] {
            let mut ours = encrypted(srtp, 1);
            let offer = their_offer(&ours, profile, &lines);
            assert_eq!(offer.is_ok(), is_taken, "{srtp:?} {profile}");
            let Ok(offer) = offer else { continue };
            let answer = ours.answer(&offer, offer.wish());
            let is_encrypted = srtp != Srtp::Off && !lines.is_empty();
            assert_eq!(crypto_lines(&answer).len(), usize::from(is_encrypted), "{answer}");
            assert_eq!(ours.keys().is_some(), is_encrypted);
            assert!(answer.contains(&format!(" {profile} 8")), "{answer}");
        }
    }

    #[test]
    fn an_answer_names_one_of_our_lines_or_leaves_the_choice_it_was_given() {
        let answered = |srtp, profile: &str, lines: &str| {
            let mut ours = encrypted(srtp, 1);
            let text = ours.offer(wish(Direction::SendRecv, &[Codec::Pcma]));
            let offered = if srtp == Srtp::Required { "RTP/SAVP" } else { "RTP/AVP" };
            assert!(text.contains(&format!(" {offered} 8\r\n")), "{text}");
            assert_eq!(crypto_lines(&text).len(), 2, "{text}");
            let own = crypto_lines(&text)[1].to_owned();
            let body = format!(
                "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 6000 {profile} 8\r\n{}",
                lines.replace("OURS", &own)
            );
            let is_read = ours.read_answer(body.as_bytes()).is_ok();
            is_read.then(|| ours.keys().is_some())
        };
        let (both, none) = ([Srtp::Optional, Srtp::Required], String::new());
        for srtp in both {
            assert_eq!(answered(srtp, "RTP/SAVP", &aes_128(2, KEY)), Some(true));
            // The first line has the other suite, and there is no third.
            assert_eq!(answered(srtp, "RTP/SAVP", &aes_128(1, KEY)), None);
            assert_eq!(answered(srtp, "RTP/SAVP", &aes_128(3, KEY)), None);
            assert_eq!(answered(srtp, "RTP/SAVP", &none), None);
            assert_eq!(answered(srtp, "RTP/SAVP", "a=crypto:OURS\r\n"), None, "our key sent back");
        }
        assert_eq!(answered(Srtp::Optional, "RTP/AVP", &none), Some(false));
        assert_eq!(answered(Srtp::Required, "RTP/AVP", &none), None);
    }

    #[test]
    fn a_key_of_ours_stays_until_the_peer_changes_its_own_and_is_never_begun_with_again() {
        let mut ours = encrypted(Srtp::Optional, 1);
        let mut own_after = |lines: &str| {
            let offer = their_offer(&ours, "RTP/AVP", lines).expect("an offer");
            let text = ours.answer(&offer, offer.wish());
            (version(&text).to_owned(), ours.keys().map(|(own, _)| own.clone()))
        };
        let one = own_after(&aes_128(1, KEY));
        assert_eq!(own_after(&aes_128(1, KEY)), one);
        let two = own_after(&aes_128(1, OTHER_KEY));
        assert_ne!(two.1, one.1);
        assert_eq!((one.0.as_str(), two.0.as_str()), ("1", "2"));
        assert_eq!(own_after("").1, None);
        let again = own_after(&aes_128(1, OTHER_KEY));
        assert!(again.1.is_some() && again.1 != two.1);
        let text = ours.offer(wish(Direction::SendOnly, &[Codec::Pcma]));
        assert_eq!(crypto_lines(&text).len(), 1, "one line is agreed on: {text}");
    }

    #[test]
    fn nothing_that_holds_a_key_shows_it() {
        let mut ours = encrypted(Srtp::Required, 1);
        let offer = their_offer(&ours, "RTP/SAVP", &aes_128(1, KEY)).expect("an offer");
        _ = ours.answer(&offer, offer.wish());
        let shown = format!("{ours:?} {offer:?} {:?}", ours.keys());
        assert!(shown.contains("SrtpKey(***)"), "{shown}");
        let numbers = shown.bytes().filter(|byte| *byte == b',').count();
        assert!(numbers < 60, "a key would be a list of bytes: {shown}");
    }
}
