//! One call of a phone: what the script wants, and what the far end answers.

mod early;
mod steps;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::leg::{Leg, LegState};
use super::line::{Line, with_extras};
use super::record::{CallRecord, CallState, Dialler, Ending};
use super::script::Script;
use super::speech::Stream;
use crate::domain::now::Now;
use crate::sdp;
use crate::sip::dialog::{Dialog, Order, State};
use crate::sip::ids::Tag;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::timers::MAX_FORWARDS;
use crate::sip::transaction::{ClientId, Owner, ServerId};
use crate::sip::write::{RequestHead, RequestWriter};
use early::Manner;

/// The most phones that may answer behind one number.
const FORKS_MAX: usize = 8;

/// Why the script does not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// It does.
    None,
    Until(Instant),
    ForRinging,
    ForAnswer,
    /// Nothing is left.
    ForEver,
}

pub(super) struct Call {
    pub(super) record: CallRecord,
    script: Script,
    pause: Pause,
    owner: Owner,
    /// The INVITE that began it, ours or theirs, and where theirs came from.
    invite: Message,
    source: SocketAddr,
    client: Option<ClientId>,
    server: Option<ServerId>,
    legs: Vec<Leg>,
    /// The dialog of what rings reliably.
    early: Option<Dialog>,
    cancelled: bool,
    acks_to_lose: u8,
    remote: Option<SocketAddr>,
    speech: Option<Speech>,
}

struct Speech {
    stream: Stream,
    every: Duration,
    next_at: Instant,
}

/// An outgoing call: the INVITE leaves.
pub(super) fn dial(
    now: Now,
    line: &mut Line,
    slot: usize,
    number: &str,
    mut script: Script,
) -> Option<Call> {
    let manner = Manner::of(&mut script);
    let (tag, branch, call_id) = (line.new_tag(), line.new_branch(), line.new_call_id());
    let media = line.media_of(slot);
    let (relay, sdp) = (line.config.relay, line.sdp(media, 1));
    let uri = format!("sip:{number}@{relay}");
    let from = format!("<{}>;tag={tag}", line.own_uri());
    let to = format!("<{uri}>");
    let head = RequestHead {
        method: Method::Invite,
        uri: uri.as_bytes(),
        sent_by: &line.sent_by,
        branch,
        max_forwards: MAX_FORWARDS,
        routes: &[],
        from: from.as_bytes(),
        to: to.as_bytes(),
        call_id: call_id.as_bytes(),
        cseq: 1,
    };
    let writer = RequestWriter::start(&mut line.scratch, &head);
    let writer = manner.write(with_extras(writer, &line.config));
    let request = match manner.without_offer {
        false => writer.body("application/sdp", sdp.as_bytes()),
        true => writer.finish(),
    };
    let invite = Message::parse(request.bytes.clone()).ok()?;
    let owner = Owner(slot as u64);
    let client = line.transactions.request(now.monotonic, request, relay, owner).ok()?;
    let record = CallRecord {
        dialler: Dialler::Us,
        number: number.into(),
        caller: line.config.user.clone(),
        sip_call_id: call_id.as_str().into(),
        ..CallRecord::blank(media)
    };
    Some(Call { client: Some(client), ..blank_call(record, script, owner, invite, relay) })
}

/// An incoming call: nothing has been answered yet.
pub(super) fn receive(
    line: &Line,
    slot: usize,
    server: ServerId,
    invite: Message,
    source: SocketAddr,
    script: Script,
) -> Call {
    let user = |uri: Result<crate::sip::uri::Uri<'_>, _>| {
        uri.ok().and_then(|uri| uri.number().map(Box::from)).unwrap_or_default()
    };
    let record = CallRecord {
        dialler: Dialler::Them,
        number: user(invite.request_uri()),
        caller: user(invite.from().parse_uri()),
        sip_call_id: String::from_utf8_lossy(invite.call_id()).into(),
        ..CallRecord::blank(line.media_of(slot))
    };
    let remote = sdp::parse(invite.body()).ok().map(|session| session.rtp);
    let owner = Owner(slot as u64);
    Call { server: Some(server), remote, ..blank_call(record, script, owner, invite, source) }
}

fn blank_call(
    record: CallRecord,
    script: Script,
    owner: Owner,
    invite: Message,
    source: SocketAddr,
) -> Call {
    Call {
        record,
        script,
        pause: Pause::None,
        owner,
        invite,
        source,
        client: None,
        server: None,
        legs: Vec::new(),
        early: None,
        cancelled: false,
        acks_to_lose: 0,
        remote: None,
        speech: None,
    }
}

impl Call {
    /// Does what the script says until it says to wait.
    pub(super) fn go_on(&mut self, now: Now, line: &mut Line) {
        loop {
            if matches!(self.pause, Pause::Until(at) if at <= now.monotonic) {
                self.pause = Pause::None;
            }
            if self.pause != Pause::None || self.is_over() {
                return;
            }
            let Some(step) = self.script.next_step() else {
                self.pause = Pause::ForEver;
                return;
            };
            self.take_step(now, line, step);
        }
    }

    /// The phone goes on by itself when this time has come.
    pub(super) fn handle_timeout(&mut self, now: Now, line: &mut Line) {
        self.repeat_answers(now, line);
        self.say_next(now, line);
        self.go_on(now, line);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.has_vanished() {
            return None;
        }
        let pause = match self.pause {
            Pause::Until(at) if !self.is_over() => Some(at),
            Pause::Until(_)
            | Pause::None
            | Pause::ForRinging
            | Pause::ForAnswer
            | Pause::ForEver => None,
        };
        let answers = self.legs.iter().filter_map(|leg| Some(leg.answer.as_ref()?.repeat_at)).min();
        let speech = self.speech.as_ref().map(|speech| speech.next_at);
        [pause, answers, speech].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.record.state, CallState::Over(_))
    }

    pub(super) fn has_vanished(&self) -> bool {
        self.record.state == CallState::Over(Ending::Vanished)
    }

    fn is_up(&self) -> bool {
        self.legs.iter().any(|leg| leg.state == LegState::Up)
    }

    fn leg_index(&mut self, line: &mut Line, fork: u8) -> Option<usize> {
        if let Some(index) = self.legs.iter().position(|leg| leg.fork == fork) {
            return Some(index);
        }
        if self.legs.len() >= FORKS_MAX {
            return None;
        }
        let tag = line.new_tag();
        let dialog = Dialog::from_invite(&self.invite, &tag, State::Early).ok()?;
        self.legs.push(Leg::new(fork, tag, dialog));
        Some(self.legs.len() - 1)
    }

    fn end(&mut self, ending: Ending) {
        if !self.is_over() {
            self.record.state = CallState::Over(ending);
            self.speech = None;
        }
    }

    fn say_next(&mut self, now: Now, line: &mut Line) {
        let (Some(speech), Some(to)) = (&mut self.speech, self.remote) else { return };
        while speech.next_at <= now.monotonic {
            speech.next_at += speech.every;
            let media = self.record.media;
            if let Some(report) = speech.stream.report_due(&line.own_uri()) {
                let next = |of: SocketAddr| SocketAddr::new(of.ip(), of.port().saturating_add(1));
                line.send_media(next(media), next(to), report);
            }
            line.send_media(media, to, speech.stream.next_packet());
            self.record.packets_out += 1;
        }
    }

    fn repeat_answers(&mut self, now: Now, line: &mut Line) {
        let Some(server) = self.server else { return };
        for leg in &mut self.legs {
            let Some(answer) = leg.answer.as_mut().filter(|answer| answer.is_due(now)) else {
                continue;
            };
            if answer.is_hopeless(now) {
                leg.send_bye(now, line, self.owner);
                if !matches!(self.record.state, CallState::Over(_)) {
                    self.record.state = CallState::Over(Ending::NoAck);
                }
                self.speech = None;
                continue;
            }
            answer.wait_longer(now);
            line.transactions.respond(now.monotonic, server, 200, answer.bytes.clone());
        }
    }

    /// A response to a request of this call.
    pub(super) fn handle_response(
        &mut self,
        now: Now,
        line: &mut Line,
        client: ClientId,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(0);
        if self.client == Some(client) {
            self.handle_invite_response(now, line, status, response);
        } else if let Some(leg) = self.legs.iter_mut().find(|leg| leg.reinvite == Some(client)) {
            if (200..300).contains(&status) {
                leg.send_ack(now, line, response.cseq());
            }
        } else if status >= 200 {
            self.bye_is_over(client);
        }
        self.go_on(now, line);
    }

    fn handle_invite_response(
        &mut self,
        now: Now,
        line: &mut Line,
        status: u16,
        response: &Message,
    ) {
        match status {
            101..=199 => {
                self.record.rings += 1;
                self.confirm_ringing(now, line, response);
                if self.record.state == CallState::Calling {
                    self.record.state = CallState::Ringing;
                }
                if self.pause == Pause::ForRinging {
                    self.pause = Pause::None;
                }
            }
            200..=299 => self.handle_answer(now, line, response),
            300..=699 if self.cancelled => self.end(Ending::Cancelled),
            300..=699 => self.end(Ending::Refused(status)),
            // 100 says nothing; other numbers do not come through the parser.
            0..=100 | 700.. => {}
        }
    }

    /// A 200 to our INVITE, the first or a repeat, from any of several phones.
    pub(super) fn handle_answer(&mut self, now: Now, line: &mut Line, response: &Message) {
        let known = self.legs.iter_mut().find(|leg| leg.dialog.matches_response(response));
        if let Some(leg) = known {
            if self.acks_to_lose > 0 {
                self.acks_to_lose -= 1;
            } else if let Some(ack) = leg.ack.clone() {
                let relay = line.config.relay;
                line.send(now, relay, ack);
            } else {
                leg.send_ack(now, line, response.cseq());
            }
            return;
        }
        if self.legs.len() >= FORKS_MAX {
            return;
        }
        let early = self.early.take_if(|early| early.matches_response(response));
        let dialog = early.map_or_else(|| Dialog::from_response(&self.invite, response), Ok);
        let Ok(mut dialog) = dialog else { return };
        _ = dialog.confirm(Some(response));
        let Some(tag) = self.invite.from().tag.and_then(Tag::parse) else { return };
        let unwanted = self.cancelled || self.is_over() || !self.legs.is_empty();
        let mut leg = Leg::new(0, tag, dialog);
        leg.state = LegState::Up;
        let is_offered = self.invite.body().is_empty() && !response.body().is_empty();
        leg.answers_late = is_offered.then_some(self.record.media);
        if self.acks_to_lose > 0 {
            self.acks_to_lose -= 1;
        } else {
            leg.send_ack(now, line, response.cseq());
        }
        if unwanted {
            leg.send_bye(now, line, self.owner);
        } else {
            let remote = sdp::parse(response.body()).ok().map(|session| session.rtp);
            self.remote = remote.or(self.remote);
            self.record.state = CallState::Talking;
            self.record.answered_at = Some(now);
            if matches!(self.pause, Pause::ForAnswer | Pause::ForRinging) {
                self.pause = Pause::None;
            }
        }
        self.legs.push(leg);
    }

    fn bye_is_over(&mut self, client: ClientId) {
        let ended = self.legs.iter_mut().find(|leg| leg.bye == Some(client));
        let Some(leg) = ended else { return };
        leg.state = LegState::Over;
        self.end_with_last_leg(Ending::HungUp);
    }

    fn end_with_last_leg(&mut self, ending: Ending) {
        let early = |leg: &Leg| leg.state == LegState::Early;
        if self.legs.iter().all(|leg| leg.state == LegState::Over || early(leg)) {
            self.end(if self.cancelled { Ending::Cancelled } else { ending });
        }
    }

    /// A request of this call got no answer at all.
    pub(super) fn handle_failure(&mut self, client: ClientId) {
        if self.client == Some(client) {
            self.end(Ending::NoReply);
        } else {
            self.bye_is_over(client);
        }
    }

    /// A request inside one of this call's dialogs.
    pub(super) fn handle_request(
        &mut self,
        now: Now,
        line: &mut Line,
        server: ServerId,
        request: (&Message, SocketAddr),
    ) {
        let leg = self.legs.iter_mut().find(|leg| {
            leg.state != LegState::Over
                && leg.state != LegState::Early
                && leg.dialog.matches_request(request.0)
        });
        let Some(leg) = leg else {
            line.respond(now, server, request, 481, None, None);
            return;
        };
        if leg.dialog.receive(request.0) == Order::Old {
            line.respond(now, server, request, 500, None, None);
            return;
        }
        if request.0.method() == Method::Invite {
            // This phone does not change its media.
            line.respond(now, server, request, 488, None, None);
            return;
        }
        leg.state = LegState::Over;
        leg.answer = None;
        line.respond(now, server, request, 200, None, None);
        self.end_with_last_leg(Ending::FarHungUp);
        self.go_on(now, line);
    }

    /// The far end confirms our 200.
    pub(super) fn handle_ack(&mut self, now: Now, line: &mut Line, ack: &Message) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.dialog.matches_request(ack)) else {
            return;
        };
        leg.answer = None;
        if leg.state == LegState::Answered {
            leg.state = LegState::Up;
        }
        if self.pause == Pause::ForAnswer {
            self.pause = Pause::None;
        }
        self.go_on(now, line);
    }

    /// The caller gives up.
    pub(super) fn handle_cancel(&mut self, now: Now, line: &mut Line) {
        let Some(server) = self.server else { return };
        if self.is_over() || self.record.state == CallState::Talking {
            return;
        }
        let tag = match self.legs.first() {
            Some(leg) => leg.tag,
            None => line.new_tag(),
        };
        line.respond(now, server, (&self.invite, self.source), 487, Some(&tag), None);
        self.end(Ending::Cancelled);
    }

    /// A media packet.
    pub(super) fn handle_media(&mut self, from: SocketAddr) {
        if self.remote == Some(from) {
            self.record.packets_in += 1;
        } else {
            self.record.packets_of_strangers += 1;
        }
    }
}
