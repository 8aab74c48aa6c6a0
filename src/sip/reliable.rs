//! Reliable provisional responses: RFC 3262. A response with a number of its own is repeated until
//! a PRACK names it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::header::HeaderId;
use super::message::Message;
use super::method::Method;
use super::timers::{GIVE_UP, T1};

/// The option tag.
pub const OPTION: &str = "100rel";

/// Whether a list of option tags (Require, Supported) holds this one.
#[must_use]
pub fn lists_option(message: &Message, list: HeaderId, option: &str) -> bool {
    message.values(list).any(|value| value.eq_ignore_ascii_case(option.as_bytes()))
}

/// The number of a provisional response that wants a PRACK.
#[must_use]
pub fn find_rseq(response: &Message) -> Option<u32> {
    if !lists_option(response, HeaderId::Require, OPTION) {
        return None;
    }
    read_number(response.header(HeaderId::RSeq)?)
}

/// Which response a PRACK confirms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RAck {
    /// The number of the response.
    pub rseq: u32,
    /// The number of its INVITE.
    pub cseq: u32,
}

impl RAck {
    /// What a PRACK says.
    #[must_use]
    pub fn of(prack: &Message) -> Option<Self> {
        let value = prack.header(HeaderId::RAck)?;
        let mut words =
            // Line ends are those of a folded line.
            value.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
        let rack = Self { rseq: read_number(words.next()?)?, cseq: read_number(words.next()?)? };
        let is_invite = words.next() == Some(Method::Invite.name().as_bytes());
        (is_invite && words.next().is_none()).then_some(rack)
    }

    /// As in the header.
    #[must_use]
    pub fn value(self) -> String {
        format!("{} {} INVITE", self.rseq, self.cseq)
    }
}

fn read_number(text: &[u8]) -> Option<u32> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Our side of a caller that wants its provisional responses to be reliable: at most one at a time
/// waits for its PRACK. `Debug` shows no response.
#[derive(Default)]
pub struct Reliable {
    rseq: u32,
    waiting: Option<Waiting>,
}

struct Waiting {
    response: Bytes,
    status: u16,
    carries_offer: bool,
    repeat_at: Instant,
    interval: Duration,
    give_up_at: Instant,
}

/// What has become of a response when its time came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Due {
    /// To be sent again.
    Repeat(u16, Bytes),
    /// Nobody will ever confirm it.
    GiveUp,
    /// Nothing waits.
    Nothing,
}

/// A response was confirmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Confirmed {
    /// The PRACK has to answer our offer.
    pub had_offer: bool,
}

impl Reliable {
    /// The number of the next response; the first one is by chance (§3).
    pub fn next_rseq(&mut self, chance: impl FnOnce() -> u64) -> u32 {
        self.rseq = match self.rseq {
            0 => (chance() % FIRST_RSEQ_MAX) as u32 + 1,
            last => last.wrapping_add(1),
        };
        self.rseq
    }

    /// A response with the last number was sent.
    pub fn sent(&mut self, now: Instant, status: u16, response: Bytes, carries_offer: bool) {
        let (repeat_at, give_up_at) = (now + T1, now + GIVE_UP);
        let interval = T1;
        let waiting = Waiting { response, status, carries_offer, repeat_at, interval, give_up_at };
        self.waiting = Some(waiting);
    }

    /// A PRACK for the INVITE with this number. `None` when nothing waits for it: answer 481.
    pub fn confirm(&mut self, rack: RAck, invite_cseq: u32) -> Option<Confirmed> {
        if rack != (RAck { rseq: self.rseq, cseq: invite_cseq }) {
            return None;
        }
        self.waiting.take().map(|waiting| Confirmed { had_offer: waiting.carries_offer })
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.repeat_at.min(waiting.give_up_at))
    }

    /// The time has come: each wait is twice as long as the one before.
    pub fn handle_timeout(&mut self, now: Instant) -> Due {
        match &mut self.waiting {
            Some(waiting) if waiting.give_up_at <= now => {
                self.waiting = None;
                Due::GiveUp
            }
            Some(waiting) if waiting.repeat_at <= now => {
                waiting.interval *= 2;
                waiting.repeat_at = now + waiting.interval;
                Due::Repeat(waiting.status, waiting.response.clone())
            }
            Some(_) | None => Due::Nothing,
        }
    }
}

impl fmt::Debug for Reliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reliable({}, waiting: {})", self.rseq, self.waiting.is_some())
    }
}

const FIRST_RSEQ_MAX: u64 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn prack(rack: &str) -> Option<RAck> {
        let text = format!(
            "PRACK sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 2 PRACK\r\n{rack}\r\n"
        );
        RAck::of(&Message::parse(Bytes::from(text)).expect("a valid message"))
    }

    #[test]
    fn a_rack_names_a_response_and_its_invite() {
        let wanted = RAck { rseq: 776656, cseq: 1 };
        assert_eq!(prack("RAck: 776656 1 INVITE\r\n"), Some(wanted));
        assert_eq!(prack("RAck: 776656\t 1  INVITE\r\n"), Some(wanted));
        assert_eq!(prack("RAck: 776656\r\n 1 \r\n\tINVITE\r\n"), Some(wanted), "folded");
        assert_eq!(wanted.value(), "776656 1 INVITE");
        for broken in ["", "RAck: 1 1\r\n", "RAck: 1 1 BYE\r\n", "RAck: +1 1 INVITE\r\n"] {
            assert_eq!(prack(broken), None, "{broken}");
        }
        assert_eq!(prack("RAck: 4294967296 1 INVITE\r\n"), None);
    }

    #[test]
    fn numbers_begin_by_chance_and_grow_by_one() {
        let mut reliable = Reliable::default();
        assert_eq!(reliable.next_rseq(|| u64::MAX), (u64::MAX % FIRST_RSEQ_MAX) as u32 + 1);
        let first = reliable.next_rseq(|| 0);
        assert_eq!(reliable.next_rseq(|| 0), first + 1);
    }
}
