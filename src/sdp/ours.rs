//! Our side of one leg over the life of a call: each description of it that differs from the one
//! before has a version of its own, and a payload type never changes its codec.

use std::net::SocketAddr;

use super::codec::{CodecSet, Payloads};
use super::session::{Direction, Session};
use super::write::{Local, Said, describe};

/// What we say on one leg, and what we have said there before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ours {
    rtp: SocketAddr,
    session_id: u64,
    version: u64,
    /// All numbers that were ever given on this leg (RFC 3264 §8.3.2).
    numbers: Payloads,
    /// The last description.
    said: Option<Said>,
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
        Self { rtp, session_id, version: 0, numbers: Payloads::default(), said: None }
    }

    /// Offers what the other side wants. Media lines that were refused before stay refused, each at
    /// its place (RFC 3264 §8).
    pub fn offer(&mut self, wish: Wish) -> String {
        self.numbers.add_ours(wish.codecs);
        let before = self.said.clone().unwrap_or_default();
        let payloads = self.numbers.only(wish.codecs);
        self.say(Said { payloads, direction: wish.direction, ..before }, wish)
    }

    /// Answers `offer` with those of `codecs` that it has, in its numbering, and with the direction
    /// that the other side wants as far as the offer allows.
    pub fn answer(&mut self, offer: &Session, wish: Wish) -> String {
        let said = Said::to_answer(offer, wish.codecs, wish.direction);
        self.numbers.replace(said.payloads);
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
}
