//! One dialog of a phone's call: usually the only one, unless several phones behind one number
//! answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::line::{Line, with_extras};
use crate::domain::now::Now;
use crate::sip::dialog::Dialog;
use crate::sip::ids::Tag;
use crate::sip::method::Method;
use crate::sip::timers::{GIVE_UP, T1, T2};
use crate::sip::transaction::{ClientId, Owner};

pub(super) struct Leg {
    /// Which of several phones; 0 for a caller.
    pub(super) fork: u8,
    /// Ours.
    pub(super) tag: Tag,
    pub(super) dialog: Dialog,
    pub(super) state: LegState,
    /// Repeated until the ACK.
    pub(super) answer: Option<Answer>,
    /// What confirmed the 200; sent again for each repeat of it.
    pub(super) ack: Option<Bytes>,
    /// Where media is taken, when the next ACK has to say so.
    pub(super) answers_late: Option<SocketAddr>,
    pub(super) bye: Option<ClientId>,
    pub(super) reinvite: Option<ClientId>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LegState {
    /// Has rung at most.
    Early,
    /// A callee has sent its 200 and waits for the ACK.
    Answered,
    /// Confirmed.
    Up,
    /// Our BYE is on its way.
    Ending,
    /// Over.
    Over,
}

impl LegState {
    pub(super) const fn is_live(self) -> bool {
        matches!(self, Self::Answered | Self::Up)
    }
}

/// A 200 that waits for its ACK: RFC 3261 §13.3.1.4.
pub(super) struct Answer {
    pub(super) bytes: Bytes,
    pub(super) repeat_at: Instant,
    pub(super) interval: Duration,
    pub(super) give_up_at: Instant,
}

impl Answer {
    pub(super) fn new(now: Now, bytes: Bytes) -> Self {
        let now = now.monotonic;
        Self { bytes, repeat_at: now + T1, interval: T1, give_up_at: now + GIVE_UP }
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        self.repeat_at <= now.monotonic
    }

    pub(super) fn is_hopeless(&self, now: Now) -> bool {
        self.give_up_at <= now.monotonic
    }

    pub(super) fn wait_longer(&mut self, now: Now) {
        self.interval = (self.interval * 2).min(T2);
        self.repeat_at = (now.monotonic + self.interval).min(self.give_up_at);
    }
}

impl Leg {
    pub(super) fn new(fork: u8, tag: Tag, dialog: Dialog) -> Self {
        Self {
            fork,
            tag,
            dialog,
            state: LegState::Early,
            answer: None,
            ack: None,
            answers_late: None,
            bye: None,
            reinvite: None,
        }
    }

    /// Confirms a 200 to the INVITE with this number, and keeps the ACK for the repeats.
    pub(super) fn send_ack(&mut self, now: Now, line: &mut Line, cseq: u32) {
        let branch = line.new_branch();
        let answer = self.answers_late.take().map(|media| line.sdp(media, 2));
        let writer = self.dialog.ack_number(&mut line.scratch, cseq, &line.sent_by, branch);
        let writer = with_extras(writer, &line.config);
        let ack = match answer {
            Some(sdp) => writer.body("application/sdp", sdp.as_bytes()),
            None => writer.finish(),
        };
        self.ack = Some(ack.bytes.clone());
        let relay = line.config.relay;
        line.send(now, relay, ack.bytes);
    }

    /// Ends the dialog.
    pub(super) fn send_bye(&mut self, now: Now, line: &mut Line, owner: Owner) {
        let branch = line.new_branch();
        let writer = self.dialog.request(&mut line.scratch, Method::Bye, &line.sent_by, branch);
        let bye = with_extras(writer, &line.config).finish();
        self.bye = line.transactions.request(now.monotonic, bye, line.config.relay, owner).ok();
        self.answer = None;
        self.state = LegState::Ending;
    }

    /// Tells of a key.
    pub(super) fn send_key(&mut self, now: Now, line: &mut Line, owner: Owner, event: u8) {
        let branch = line.new_branch();
        let body = format!("Signal={event}\r\nDuration=160\r\n");
        let writer = self.dialog.request(&mut line.scratch, Method::Info, &line.sent_by, branch);
        let writer = with_extras(writer, &line.config);
        let info = writer.body("application/dtmf-relay", body.as_bytes());
        // Nothing depends on its answer.
        let _ = line.transactions.request(now.monotonic, info, line.config.relay, owner);
    }

    /// Offers new media, or asks for an offer that will be answered late.
    pub(super) fn send_reinvite(
        &mut self,
        now: Now,
        line: &mut Line,
        owner: Owner,
        offer: Option<SocketAddr>,
    ) {
        let branch = line.new_branch();
        let sdp = offer.map(|media| line.sdp(media, 2));
        let writer = self.dialog.request(&mut line.scratch, Method::Invite, &line.sent_by, branch);
        let writer = with_extras(writer, &line.config);
        let invite = match sdp {
            Some(sdp) => writer.body("application/sdp", sdp.as_bytes()),
            None => writer.finish(),
        };
        let relay = line.config.relay;
        self.reinvite = line.transactions.request(now.monotonic, invite, relay, owner).ok();
    }
}
