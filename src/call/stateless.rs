//! Answers of which nothing is kept (RFC 3261 §8.2.7): to attempts that are shed, and to whoever
//! has to prove first who it is. The source of a datagram may be forged, so that no answer is much
//! longer than what it answers, and none is repeated.

use bytes::Bytes;

use super::core::CallCore;
use super::egress::{self, WWW_AUTHENTICATE};
use super::io::Peer;
use super::receive::CAPABILITIES;
use crate::sip::ids::{Shard, Tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
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
    // FNV-1a, and then the high bits of products, as `steer` does.
    let bytes = parts.iter().flat_map(|part| part.iter().chain(b"\n"));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = hash;
    Tag::made_of(shard, || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (state.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
    })
}
