//! What an agent hears while the subscriber's phone rings: a tone made here, with an answer to its
//! offer that comes before the callee's. It says 180 and not 183: who cannot hear early media, or
//! takes no notice of it in a 180, still rings by itself (RFC 3960 §3.2), and a PBX sees it ring.

use std::time::Instant;

use super::call::Call;
use super::coupling::Stage;
use super::io::Output;
use super::negotiation::{Media, leg_keys, remote_media};
use super::set_up::{Answered, Early, Offer};
use super::wires::Wires;
use crate::domain::now::Now;
use crate::domain::ring::RingTone;
use crate::rtp::plane::{Command, SessionId, Side};
use crate::rtp::sound::{Sound, Tone};
use crate::sdp::{Codec, CodecSet, Direction, Ours, Session, Wish};

/// The number of the tone: it differs from that of every speech.
const RINGING: u32 = 101;
/// What a caller that hears our tone talks in: one law of G.711. Nobody knows yet what the callee
/// will speak, and the media plane turns one law into the other, and nothing else.
const SPOKEN: [Codec; 3] = [Codec::Pcma, Codec::Pcmu, Codec::TelephoneEvent];

impl Call {
    /// Decides whose ring tone the caller will hear, before the callee is offered anything.
    pub(super) fn choose_ring(&mut self, wires: &Wires) {
        let is_agent = self.insurer_side() == Some(Side::A);
        let Some(set_up) = &mut self.set_up else { return };
        set_up.rings_in = match (&set_up.offer, wires.config.ring) {
            (Offer::Made(offer), RingTone::Relay) if is_agent && listens(offer) => law_of(offer),
            (Offer::Made(_) | Offer::Wanted | Offer::Unusable, _) => None,
        };
    }

    /// Tells the caller that it rings, and lets it hear that.
    pub(super) fn ring_caller(&mut self, wires: &mut Wires, at: Instant) {
        let Some((text, media)) = self.early_answer(wires) else {
            let offer = self.early_offer(wires);
            return self.leg_a.ring(wires, at, offer.as_deref());
        };
        self.leg_a.tell_early(wires, at, 180, &text);
        let (session, side) = (self.session(), Side::A);
        let (play, sound) = (RINGING, Sound::Tone(Tone::Ring));
        wires.outputs.extend([
            update_of_caller(session, media),
            Output::Media(Command::Play { session, side, play, sound, until_key: false }),
        ]);
    }

    /// What answers the offer of a caller that hears our tone, where it is sent, and what it means.
    fn early_answer(&mut self, wires: &mut Wires) -> Option<(String, Media)> {
        let mut ours = self.ours_of_caller(wires)?;
        let learning = self.trunk_media(wires, Side::A).learning;
        let set_up = self.set_up.as_mut()?;
        let law = set_up.rings_in?;
        let Offer::Made(offer) = &set_up.offer else { return None };
        if set_up.early.is_some() {
            return None;
        }
        let codecs = CodecSet::from_iter([law, Codec::TelephoneEvent]);
        let codecs = codecs.intersection(offer.codecs());
        let told = Wish { direction: Direction::SendRecv, ptime_ms: None, codecs };
        let text = ours.answer(offer, told);
        let media = media_of(offer, &ours, codecs, learning);
        let answer = match self.leg_a.rings_reliably() {
            true => Answered::Unconfirmed,
            false => Answered::Once(text.clone()),
        };
        let theirs = Some(offer.clone());
        set_up.early = Some(Box::new(Early { ours, told, theirs, answered: None, answer }));
        Some((text, media))
    }

    /// Whether a caller has still to hear that it rings, before it is told what its callee has
    /// answered: who is told who calls takes its time.
    pub(super) fn has_to_ring(&self) -> bool {
        let is_calling = matches!(self.stage(), Stage::Calling { ringing: false });
        let set_up = self.set_up.as_ref().filter(|_| is_calling);
        set_up.is_some_and(|set_up| set_up.rings_in.is_some() && set_up.announcement.is_some())
    }

    /// The caller hears our tone no more.
    pub(super) fn stop_ringing(&self, wires: &mut Wires) {
        let set_up = self.set_up.as_ref();
        if set_up.is_some_and(|set_up| set_up.rings_in.is_some()) {
            let stop = Command::Stop { session: self.session(), side: Side::A };
            wires.outputs.push_back(Output::Media(stop));
        }
    }

    /// The caller has confirmed the 180 that held our answer: it may be told what the callee has
    /// answered meanwhile (RFC 3262 §3).
    pub(super) fn ringing_is_confirmed(&mut self, wires: &mut Wires, now: Now) {
        let early = self.set_up.as_mut().and_then(|set_up| set_up.early.as_mut());
        let Some(early) = early.filter(|early| matches!(early.answer, Answered::Unconfirmed))
        else {
            return;
        };
        early.answer = Answered::Confirmed;
        if let Some(body) = early.answered.take() {
            self.mean_answered(wires, now, &body);
        }
    }

    /// A caller that hears our tone has made another offer, which was answered.
    pub(super) fn moves_while_ringing(&self, wires: &mut Wires) {
        let set_up = self.set_up.as_ref().filter(|set_up| set_up.rings_in.is_some());
        let Some(early) = set_up.and_then(|set_up| set_up.early.as_ref()) else { return };
        let Some(theirs) = &early.theirs else { return };
        let learning = self.trunk_media(wires, Side::A).learning;
        let media = media_of(theirs, &early.ours, early.told.codecs, learning);
        wires.outputs.push_back(update_of_caller(self.session(), media));
    }
}

/// What of a caller's codecs the callee is offered when the caller hears our tone.
pub(super) fn as_told(codecs: CodecSet) -> CodecSet {
    codecs.intersection(CodecSet::from_iter(SPOKEN))
}

fn listens(offer: &Session) -> bool {
    offer.direction == Direction::SendRecv && !offer.rtp.ip().is_unspecified()
}

fn law_of(offer: &Session) -> Option<Codec> {
    [Codec::Pcma, Codec::Pcmu].into_iter().find(|law| offer.codecs().contains(*law))
}

/// Where the caller hears our tone, and with what it is encrypted.
fn media_of(theirs: &Session, ours: &Ours, codecs: CodecSet, learning: bool) -> Media {
    let remote = remote_media(theirs, ours.payloads(codecs), codecs, Direction::SendRecv);
    (remote.learning(learning), leg_keys(ours))
}

fn update_of_caller(session: SessionId, (remote, keys): Media) -> Output {
    Output::Media(Command::Update { session, side: Side::A, remote, keys })
}
