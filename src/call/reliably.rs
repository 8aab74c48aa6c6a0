//! Provisional responses that are confirmed by PRACK (RFC 3262): ours to a caller that demands it,
//! and those of the phones of a callee.

use std::time::Instant;

use super::branch::Branch;
use super::call::Call;
use super::coupling::{Event, Stage};
use super::egress::{ALLOW, ALLOWED_METHODS, RACK, SDP};
use super::names::hop_of;
use super::offer::Asker;
use super::place::Part;
use super::renegotiate::say;
use super::set_up::{Answered, Early, Offer};
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sdp::{self, InvalidSdp, Ours, Srtp, Wish};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reliable::{Confirmed, RAck};
use crate::sip::write::ResponseWriter;

/// What a phone of the callee has said reliably before anybody answered. `Debug` shows no body.
pub(super) struct Heard {
    rseq: u32,
    /// Its answer to our offer: it holds, and the 200 need not repeat it.
    answer: Option<Box<[u8]>>,
    /// What it has changed of that by UPDATE.
    changed: Option<Box<Changed>>,
}

/// An offer of a phone that rings still, and how it was answered.
pub(super) struct Changed {
    offer: Box<[u8]>,
    ours: Ours,
    /// What it was told.
    told: Wish,
}

impl Changed {
    fn new(mut ours: Ours, told: Wish, body: &[u8]) -> Result<(Self, String), InvalidSdp> {
        let offer = ours.read_offer(body)?;
        let codecs = told.codecs.intersection(offer.codecs());
        if !codecs.has_audio() {
            return Err(InvalidSdp::NoCodec);
        }
        let text = ours.answer(&offer, told);
        let direction = offer.direction.reversed().and(told.direction);
        Ok((Self { offer: body.into(), ours, told: Wish { direction, codecs, ..told } }, text))
    }
}

impl Branch {
    /// Confirms a reliable provisional response. False when it came before or out of turn: then it
    /// counts as not received.
    pub(super) fn confirm_early(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        response: &Message,
        rseq: u32,
    ) -> bool {
        let (place, hop) = (self.place, hop_of(&self.target));
        let rack = RAck { rseq, cseq: self.cseq };
        let Some(held) = self.held.iter_mut().find(|it| it.dialog.matches_response(response))
        else {
            return false;
        };
        let before = held.heard.take();
        if let Some(heard) = &before
            && heard.rseq.wrapping_add(1) != rseq
        {
            held.heard = before;
            return false;
        }
        // The first answer is the answer.
        let (answer, changed) = before.map_or((None, None), |heard| (heard.answer, heard.changed));
        let body = response.body();
        let answer =
            answer.or_else(|| sdp::parse_with(body, Srtp::Optional).is_ok().then(|| body.into()));
        held.heard = Some(Box::new(Heard { rseq, answer, changed }));
        let branch = wires.new_branch();
        let prack = held
            .dialog
            .request(&mut wires.out, Method::Prack, wires.names.via_of(hop), branch)
            .header(RACK, rack.value())
            .finish();
        // Without room for one more transaction the phone will ask again.
        let _ = wires.transactions.request(now, prack, hop, place.to_owner());
        true
    }

    /// The answer that the phone of this response has given before.
    fn early_answer(&self, response: &Message) -> Option<Box<[u8]>> {
        let held = self.held.iter().find(|it| it.dialog.matches_response(response))?;
        held.heard.as_ref()?.answer.clone()
    }

    fn take_changed(&mut self, response: &Message) -> Option<Box<Changed>> {
        let held = self.held.iter_mut().find(|it| it.dialog.matches_response(response))?;
        held.heard.as_mut()?.changed.take()
    }
}

impl Call {
    /// What the caller is offered with the first reliable response, if it waits for an offer
    /// (RFC 3261 §13.2.1).
    pub(super) fn early_offer(&mut self, wires: &mut Wires) -> Option<String> {
        if !self.leg_a.rings_reliably() {
            return None;
        }
        let set_up = self.set_up.as_ref()?;
        if !matches!(set_up.offer, Offer::Wanted) || set_up.early.is_some() {
            return None;
        }
        let told = set_up.wish_of_caller()?;
        let mut ours = self.ours_of_caller(wires)?;
        let text = ours.offer(told);
        let answer = Answered::NotYet;
        let set_up = self.set_up.as_mut()?;
        set_up.early = Some(Box::new(Early { ours, told, theirs: None, answered: None, answer }));
        Some(text)
    }

    /// A PRACK of a peer. Only the caller is ever told something reliably.
    pub(super) fn on_prack(&mut self, wires: &mut Wires, now: Now, part: Part, asker: Asker) {
        let at = now.monotonic;
        let confirmed = match (part, RAck::of(&asker.request)) {
            (Part::Caller, Some(rack)) => self.leg_a.confirm_ringing(wires, rack),
            (Part::Caller | Part::Callee(_), _) => None,
        };
        let Some(Confirmed { had_offer }) = confirmed else {
            wires.counters.unknown_dialogs += 1;
            return say(wires, at, &asker, 481);
        };
        if had_offer {
            return self.take_early_answer(wires, now, asker);
        }
        let early = self.set_up.as_ref().and_then(|set_up| set_up.early.as_ref());
        if asker.request.body().is_empty() {
            accept(wires, at, &asker, None);
        } else if early.is_some_and(|early| early.has_agreed()) {
            self.answer_early_offer(wires, at, &asker);
        } else {
            // The offer of its INVITE is to be answered first (RFC 3262 §5).
            say(wires, at, &asker, 500);
        }
        self.ringing_is_confirmed(wires, now);
    }

    /// The caller answers our offer before the callee has answered the call.
    fn take_early_answer(&mut self, wires: &mut Wires, now: Now, asker: Asker) {
        let early = self.set_up.as_mut().and_then(|set_up| set_up.early.as_mut());
        let Some(early) = early else { return accept(wires, now.monotonic, &asker, None) };
        let theirs = early.ours.read_answer(asker.request.body()).and_then(|theirs| {
            early
                .told
                .codecs
                .intersection(theirs.codecs())
                .has_audio()
                .then_some(theirs)
                .ok_or(InvalidSdp::NoCodec)
        });
        let Ok(theirs) = theirs else {
            say(wires, now.monotonic, &asker, 488);
            return self.happen(wires, now, Event::Stopped(Cause::MediaUnacceptable));
        };
        early.theirs = Some(theirs);
        let answered = early.answered.take();
        accept(wires, now.monotonic, &asker, None);
        // The callee was faster.
        if let Some(body) = answered {
            self.mean_answered(wires, now, &body);
        }
    }

    /// Whether the caller may make offers before the callee has answered the call.
    pub(super) fn takes_early_offers(&self) -> bool {
        let early = self.set_up.as_ref().and_then(|set_up| set_up.early.as_ref());
        matches!(self.stage(), Stage::Calling { .. })
            && early.is_some_and(|early| early.takes_offers())
    }

    /// Whether the caller has not answered yet what it was offered with a reliable response.
    pub(super) fn waits_for_early_answer(&self) -> bool {
        let early = self.set_up.as_ref().and_then(|set_up| set_up.early.as_ref());
        early.is_some_and(|early| early.theirs.is_none())
    }

    /// Whether the phone of this request has answered our offer before it has answered the call.
    pub(super) fn has_answered_early(&mut self, part: Part, request: &Message) -> bool {
        let Some(branch) = self.branch_mut(part) else { return false };
        let held = branch.held.iter().find(|it| it.dialog.matches_request(request));
        held.and_then(|it| it.heard.as_ref()).is_some_and(|heard| heard.answer.is_some())
    }

    /// Whether the phone of this request rings at the trunk that is being asked, and has answered
    /// our offer: then it may make one (RFC 3311 §5.1).
    pub(super) fn takes_offers_of_callee(&mut self, part: Part, request: &Message) -> bool {
        let is_calling = matches!(self.stage(), Stage::Calling { .. });
        if !is_calling || part != self.part_of(Side::B) || request.method() != Method::Update {
            return false;
        }
        let branch = self.branch_mut(part);
        let held = branch.and_then(|branch| branch.ringing_mut(request));
        let heard = held.and_then(|held| held.heard.as_ref());
        heard.is_some_and(|heard| heard.answer.is_some())
    }

    /// A phone that rings offers something else than it has answered. Nothing of what it sends
    /// reaches the caller yet, so that it is answered with what it was offered; the caller hears of
    /// it with the answer to its call.
    pub(super) fn answer_callee_early(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        part: Part,
        asker: Asker,
    ) {
        let set_up = self.set_up.as_ref();
        let offered = set_up.and_then(|it| Some((it.ours_b.clone()?, it.wish_of_callee()?)));
        let branch = self.branch_mut(part);
        let held = branch.and_then(|branch| branch.ringing_mut(&asker.request));
        let heard = held.and_then(|held| held.heard.as_mut());
        let (Some((mut ours, told)), Some(heard)) = (offered, heard) else {
            return say(wires, at, &asker, 481);
        };
        if let Some(changed) = &heard.changed {
            ours = changed.ours.clone();
        } else if ours.read_answer(heard.answer.as_deref().unwrap_or_default()).is_err() {
            return say(wires, at, &asker, 488);
        }
        match Changed::new(ours, told, asker.request.body()) {
            Ok((changed, text)) => {
                heard.changed = Some(Box::new(changed));
                self.agree(wires, at, part, asker, Some(text));
            }
            Err(InvalidSdp::TooLarge | InvalidSdp::Malformed) => say(wires, at, &asker, 400),
            Err(InvalidSdp::NoAudio | InvalidSdp::NoCodec) => say(wires, at, &asker, 488),
        }
    }

    /// What a phone that answers the call has said of its media while it rang, if that still holds:
    /// its own offer, or its answer where the 2xx has none.
    pub(super) fn said_early(&mut self, part: Part, response: &Message) -> Option<Box<[u8]>> {
        let changed = self.branch_mut(part)?.take_changed(response);
        if let (Some(changed), Some(set_up)) = (changed, &mut self.set_up) {
            set_up.ours_b = Some(changed.ours);
            set_up.told_b = Some(changed.told);
            return Some(changed.offer);
        }
        let branch = self.branch_mut(part).filter(|_| response.body().is_empty())?;
        branch.early_answer(response)
    }

    /// The caller offers something before the callee has answered the call, in a PRACK or in an
    /// UPDATE: it is answered with what the callee was offered. What the callee takes of that is
    /// seen when it answers.
    pub(super) fn answer_early_offer(&mut self, wires: &mut Wires, at: Instant, asker: &Asker) {
        let Some(set_up) = &mut self.set_up else { return say(wires, at, asker, 481) };
        let Some(told) = set_up.wish_of_caller() else { return say(wires, at, asker, 488) };
        let Some(early) = &mut set_up.early else { return say(wires, at, asker, 500) };
        let offer = match early.ours.read_offer(asker.request.body()) {
            Ok(offer) => offer,
            Err(InvalidSdp::TooLarge | InvalidSdp::Malformed) => return say(wires, at, asker, 400),
            Err(InvalidSdp::NoAudio | InvalidSdp::NoCodec) => return say(wires, at, asker, 488),
        };
        if !offer.codecs().intersection(told.codecs).has_audio() {
            return say(wires, at, asker, 488);
        }
        let text = early.ours.answer(&offer, told);
        early.told = Wish {
            direction: offer.direction.reversed().and(told.direction),
            codecs: told.codecs.intersection(offer.codecs()),
            ..told
        };
        early.theirs = Some(offer);
        accept(wires, at, asker, Some(&text));
        self.moves_while_ringing(wires);
    }
}

fn accept(wires: &mut Wires, at: Instant, asker: &Asker, text: Option<&str>) {
    let Asker { server, source, request } = asker;
    let source = wires.source(*source);
    let writer = ResponseWriter::start(&mut wires.out, request, source, 200, None)
        .header(ALLOW, ALLOWED_METHODS);
    let response = match text {
        Some(text) => writer.body(SDP, text.as_bytes()),
        None => writer.finish(),
    };
    wires.transactions.respond(at, *server, 200, response);
}
