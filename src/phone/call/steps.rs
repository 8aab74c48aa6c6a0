//! What the script makes a phone do, step by step.

use std::time::Duration;

use super::super::leg::{Answer, LegState};
use super::super::line::Line;
use super::super::record::{CallState, Ending};
use super::super::script::Step;
use super::super::speech::{Stream, Voice};
use super::{Call, Pause, Speech};
use crate::domain::now::Now;

impl Call {
    pub(super) fn take_step(&mut self, now: Now, line: &mut Line, step: Step) {
        match step {
            Step::Wait(time) => self.pause = Pause::Until(now.monotonic + time),
            Step::AwaitRinging if self.record.state == CallState::Calling => {
                self.pause = Pause::ForRinging;
            }
            Step::AwaitAnswer if !self.is_up() => self.pause = Pause::ForAnswer,
            Step::AwaitRinging | Step::AwaitAnswer => {}
            Step::Ring { status, fork } => self.ring(now, line, status, fork),
            Step::Answer { fork } => self.answer(now, line, fork),
            Step::Reject { status } => self.refuse(now, line, status),
            Step::Speak { voice, every } => self.speak(now, line, voice, every),
            Step::Press { event } => self.press(line, event),
            Step::TellKey { event } => {
                let owner = self.owner;
                if let Some(leg) = self.legs.iter_mut().find(|leg| leg.state == LegState::Up) {
                    leg.send_key(now, line, owner, event);
                }
            }
            Step::Hush => self.speech = None,
            Step::HangUp => self.hang_up(now, line),
            Step::LoseAcks { times } => self.acks_to_lose = times,
            Step::Reinvite => self.reinvite(now, line, Some(self.record.media)),
            Step::AskForOffer => self.reinvite(now, line, None),
            Step::Refresh => self.refresh(now, line),
            // Too late for that.
            Step::DialWithoutOffer | Step::DialReliably | Step::DialWithTimer => {}
            Step::Vanish => self.end(Ending::Vanished),
        }
    }

    fn ring(&mut self, now: Now, line: &mut Line, status: u16, fork: u8) {
        let Some(server) = self.server else { return };
        let Some(index) = self.leg_index(line, fork) else { return };
        let tag = self.legs.get(index).map(|leg| leg.tag);
        let sdp = (status == 183).then(|| line.sdp(self.record.media, 1));
        let to = (&self.invite, self.source);
        line.respond(now, server, to, status, tag.as_ref(), sdp.as_deref());
        if self.record.state == CallState::Calling {
            self.record.state = CallState::Ringing;
        }
    }

    fn answer(&mut self, now: Now, line: &mut Line, fork: u8) {
        let Some(server) = self.server else { return };
        let Some(index) = self.leg_index(line, fork) else { return };
        let Some(leg) = self.legs.get_mut(index) else { return };
        let sdp = line.sdp(self.record.media, 1);
        let to = (&self.invite, self.source);
        let bytes = line.respond(now, server, to, 200, Some(&leg.tag), Some(&sdp));
        leg.answer = Some(Answer::new(now, bytes));
        leg.state = LegState::Answered;
        _ = leg.dialog.confirm(None);
        self.record.state = CallState::Talking;
        self.record.answered_at.get_or_insert(now);
    }

    /// Refuses an incoming call that is not answered yet.
    pub(super) fn refuse(&mut self, now: Now, line: &mut Line, status: u16) {
        let Some(server) = self.server else { return };
        if self.is_over() || self.record.state == CallState::Talking {
            return;
        }
        let tag = match self.legs.first() {
            Some(leg) => leg.tag,
            None => line.new_tag(),
        };
        line.respond(now, server, (&self.invite, self.source), status, Some(&tag), None);
        self.end(Ending::Refused(status));
    }

    fn reinvite(&mut self, now: Now, line: &mut Line, offer: Option<std::net::SocketAddr>) {
        let (owner, media) = (self.owner, self.record.media);
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.state == LegState::Up) {
            leg.answers_late = offer.is_none().then_some(media);
            leg.send_reinvite(now, line, owner, offer);
        }
    }

    fn hang_up(&mut self, now: Now, line: &mut Line) {
        if self.legs.iter().any(|leg| leg.state.is_live()) {
            for leg in self.legs.iter_mut().filter(|leg| leg.state.is_live()) {
                leg.send_bye(now, line, self.owner);
            }
            self.speech = None;
            return;
        }
        match self.client {
            Some(client) => {
                self.cancelled = true;
                line.transactions.cancel(now.monotonic, client);
            }
            None => self.refuse(now, line, 480),
        }
    }

    /// Within what it says, or in a stream of its own.
    fn press(&mut self, line: &mut Line, event: u8) {
        let Some(to) = self.remote else { return };
        let (ssrc, timestamp) = (line.next_u32(), line.next_u32());
        let media = self.record.media;
        let mut own = Stream::new(Voice::Signature, media, ssrc, 0, timestamp);
        let stream = self.speech.as_mut().map_or(&mut own, |speech| &mut speech.stream);
        for packet in stream.key_packets(event) {
            line.send_media(media, to, packet);
        }
    }

    fn speak(&mut self, now: Now, line: &mut Line, voice: Voice, every: Duration) {
        let (ssrc, offsets) = (line.next_u32(), line.next_u32());
        let [_, _, high, low] = offsets.to_be_bytes();
        let sequence = u16::from_be_bytes([high, low]);
        let stream = Stream::new(voice, self.record.media, ssrc, sequence, offsets);
        self.speech = Some(Speech { stream, every, next_at: now.monotonic });
    }
}
