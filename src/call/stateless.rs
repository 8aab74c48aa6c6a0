//! Answers of which nothing is kept (RFC 3261 §8.2.7): to attempts that are shed, and to whoever
//! has to prove first who it is. The source of a datagram may be forged, so that no answer is much
//! longer than what it answers, and none is repeated.

use bytes::Bytes;

use super::core::CallCore;
use super::egress::{self, WWW_AUTHENTICATE};
use super::io::Peer;
use super::receive::CAPABILITIES;
use crate::sip::ids::{Shard, Tag, mix};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::steer::to_tag_of;
use crate::sip::transport::Transport;
use crate::sip::write::ResponseWriter;

impl CallCore {
    /// Answers a request without keeping anything of it. Responses and ACKs are never answered.
    pub(super) fn answer_stateless(&mut self, peer: &Peer, message: &Message, status: u16) {
        if !message.is_request() || message.method() == Method::Ack {
            return;
        }
        let tag = tag_for(self.wires.shard, message);
        let answer = egress::plain(&mut self.wires, message, peer.hop(), status, &tag);
        self.send_stateless(peer, message, answer);
    }

    /// Asks who it is, with as many of the challenges, strongest first, as have room. The weakest
    /// one stays: whoever knows a better one knows that one too.
    pub(super) fn challenge_stateless(
        &mut self,
        peer: &Peer,
        message: &Message,
        challenges: &[String],
    ) {
        self.wires.counters.unproved += u64::from(message.method() == Method::Invite);
        for skipped in 0..challenges.len() {
            let challenges = challenges.get(skipped..).unwrap_or_default();
            let answer = self.write_challenge(peer, message, challenges);
            if is_short(peer, message, &answer) || challenges.len() == 1 {
                return self.send_stateless(peer, message, answer);
            }
        }
    }

    /// A 401 with these challenges.
    pub(super) fn write_challenge(
        &mut self,
        peer: &Peer,
        message: &Message,
        challenges: &[String],
    ) -> Bytes {
        let tag = tag_for(self.wires.shard, message);
        let source = self.wires.source(peer.hop());
        let out = &mut self.wires.out;
        let mut answer = ResponseWriter::start(out, message, source, 401, Some(&tag));
        for challenge in challenges {
            answer = answer.header(WWW_AUTHENTICATE, challenge);
        }
        answer.finish()
    }

    /// Answers a request outside of any dialog that is no INVITE, of a trunk that has not proved
    /// anything, as it would be answered after a proof: nobody is asked for one.
    pub(super) fn answer_unproved(&mut self, peer: &Peer, message: &Message) {
        let tag = tag_for(self.wires.shard, message);
        let source = self.wires.source(peer.hop());
        let method = message.method();
        if method == Method::Refer {
            return self.answer_stateless(peer, message, 403);
        }
        if method == Method::Options && self.is_draining {
            return self.answer_stateless(peer, message, 503);
        }
        if let Err(refusal) = CAPABILITIES.screen(message) {
            self.wires.counters.unsupported_requests += 1;
            let answer = refusal.write(&mut self.wires.out, message, source, &tag);
            return self.send_stateless(peer, message, answer);
        }
        let abilities = self.write_abilities(peer, message, &tag);
        if is_short(peer, message, &abilities) {
            return self.send_stateless(peer, message, abilities);
        }
        self.answer_stateless(peer, message, 200);
    }

    fn send_stateless(&mut self, peer: &Peer, message: &Message, answer: Bytes) {
        if is_short(peer, message, &answer) {
            self.wires.transmit(message.reply_hop(peer.hop()), answer);
        } else {
            self.wires.counters.silenced += 1;
        }
    }
}

/// Whether nobody gains by having us send this answer to somebody else. Nobody forges the source of
/// a connection.
fn is_short(peer: &Peer, request: &Message, answer: &Bytes) -> bool {
    let (asked, answered) = (request.bytes().len(), answer.len());
    peer.transport != Transport::Udp || answered * LONGER_MAX.1 <= asked * LONGER_MAX.0
}

/// An answer without state has at most 3/2 of the bytes of its request.
const LONGER_MAX: (usize, usize) = (3, 2);

/// The same for every repeat of a request, without a memory of it. It opens no dialog, so that it
/// need not be hard to guess.
fn tag_for(shard: Shard, request: &Message) -> Tag {
    let parts = [
        request.call_id(),
        request.from().raw,
        request.cseq_value(),
        request.top_via().branch.unwrap_or_default(),
    ];
    Tag::sealed(shard, parts.into_iter().fold(0, hash_of))
}

/// Eight bytes at a time, and the length: a flood costs one of these for each attempt.
fn hash_of(start: u64, part: &[u8]) -> u64 {
    let (words, rest) = part.as_chunks();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    let words = words.iter().chain([&last]);
    let hash = words.fold(start, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    mix(hash ^ part.len() as u64)
}

/// Whether a message is the ACK to an answer of which nothing was kept, and which needs nothing
/// more. It is read no further than its To: a flood that is refused brings one for each attempt.
pub(super) fn is_ack_of_stateless(bytes: &[u8], is_known: impl FnOnce(&Tag) -> bool) -> bool {
    let tag = || Tag::parse(to_tag_of(bytes)?);
    bytes.starts_with(b"ACK ") && tag().is_some_and(|tag| tag.is_sealed() && !is_known(&tag))
}
