//! What a call needs between the INVITE and the answer: whom to call, what the caller has offered,
//! and the first description of each side.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::announce::Announcement;
use super::b_invite::{self, Facts};
use super::branch::Branch;
use super::call::Call;
use super::clocks::Agreed;
use super::io::Output;
use super::names::hop_of;
use super::place::Place;
use super::ring;
use super::talk::Talk;
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::route::{Callee, TrunkTarget};
use crate::rtp::plane::{Command, Side};
use crate::sdp::{Codec, CodecSet, Direction, InvalidSdp, Ours, Session, Srtp, Wish};
use crate::sip::message::Message;
use crate::sip::session_timer;

/// What is known between the INVITE and the answer. `Debug` shows none of the texts.
pub(super) struct SetUp {
    pub(super) offer: Offer,
    /// Which encryption the caller's leg may have, whatever is said of its trunk later.
    pub(super) srtp: Srtp,
    /// What may be spoken on either leg.
    codecs: CodecSet,
    /// The law in which the caller hears our ring tone; absent when it hears that of its phone.
    pub(super) rings_in: Option<Codec>,
    /// Our side of the caller's leg, when something was agreed there before the answer.
    pub(super) early: Option<Box<Early>>,
    /// Hops that the caller's INVITE allowed.
    max_forwards: Option<u8>,
    pub(super) callee: Option<Callee>,
    pub(super) targets: Vec<TrunkTarget>,
    pub(super) local: Option<[SocketAddr; 2]>,
    /// Our side of the leg to the trunk that is being asked.
    pub(super) ours_b: Option<Ours>,
    /// What a callee was told that has made an offer of its own while it rang.
    pub(super) told_b: Option<Wish>,
    pub(super) answer: Option<String>,
    /// The session timers, as far as a side wants one.
    pub(super) sessions: [Option<Agreed>; 2],
    /// The least that a trunk has demanded of ours.
    pub(super) session_min_s: Option<u32>,
    /// What the callee is told before it is connected.
    pub(super) announcement: Option<Box<Announcement>>,
}

/// What is agreed with the caller while it rings: by our early answer, by PRACK or UPDATE.
pub(super) struct Early {
    pub(super) ours: Ours,
    /// What the caller was told last.
    pub(super) told: Wish,
    /// Absent until it has answered our offer.
    pub(super) theirs: Option<Session>,
    /// The answer of a callee that was faster than the caller's.
    pub(super) answered: Option<Box<[u8]>>,
    /// Our answer to the INVITE.
    pub(super) answer: Answered,
}

/// Whether the offer of the INVITE was answered while it rang.
pub(super) enum Answered {
    /// It waits for the callee, or there was none.
    NotYet,
    /// With this text, which the 200 has to repeat (RFC 3261 §13.2.1).
    Once(String),
    /// In a response that waits for its PRACK; the 200 waits, too (RFC 3262 §3).
    Unconfirmed,
    /// For good.
    Confirmed,
}

/// What the caller's INVITE offers.
pub(super) enum Offer {
    /// This.
    Made(Session),
    /// Nothing: it wants our offer in the 2xx and answers with its ACK (RFC 3261 §13.2.1).
    Wanted,
    /// Nothing that can be relayed.
    Unusable,
}

impl Early {
    fn waits_for_caller(&self) -> bool {
        self.theirs.is_none() || matches!(self.answer, Answered::Unconfirmed)
    }

    /// An offer was made and answered, and a PRACK may bring the next one.
    pub(super) fn has_agreed(&self) -> bool {
        self.theirs.is_some() && !matches!(self.answer, Answered::Once(_))
    }

    /// The caller may make offers: none is open, and what was answered before is known to have
    /// arrived (RFC 3311 §5.1).
    pub(super) fn takes_offers(&self) -> bool {
        !self.waits_for_caller() && !matches!(self.answer, Answered::Once(_))
    }
}

impl SetUp {
    /// What the INVITE says.
    pub(super) fn new(offer: Offer, srtp: Srtp, max_forwards: Option<u8>) -> Self {
        Self {
            offer,
            srtp,
            codecs: CodecSet::all(),
            rings_in: None,
            early: None,
            max_forwards,
            callee: None,
            targets: Vec::new(),
            local: None,
            ours_b: None,
            told_b: None,
            answer: None,
            sessions: [None, None],
            session_min_s: None,
            announcement: None,
        }
    }

    /// Whether there is something to agree on with the callee.
    pub(super) const fn can_be_relayed(&self) -> bool {
        !matches!(self.offer, Offer::Unusable)
    }

    /// Neither leg speaks anything but these codecs. What the caller has offered beside them is as
    /// if it had not; with nothing left of it, its call cannot be relayed.
    pub(super) fn limit_to(&mut self, codecs: CodecSet) {
        self.codecs = codecs;
        self.offer = match std::mem::replace(&mut self.offer, Offer::Unusable) {
            Offer::Made(offer) => offer.only(codecs).map_or(Offer::Unusable, Offer::Made),
            Offer::Wanted => Offer::Wanted,
            Offer::Unusable => Offer::Unusable,
        };
    }

    /// What the callee is told of what the caller offers.
    pub(super) fn wish_of_caller(&self) -> Option<Wish> {
        let (direction, codecs) = (Direction::SendRecv, self.codecs);
        match &self.offer {
            Offer::Made(offer) => Some(offer.wish()),
            Offer::Wanted => Some(Wish { direction, ptime_ms: None, codecs }),
            Offer::Unusable => None,
        }
    }

    /// What the callee is offered: what the caller wants. One that is told who calls has to hear us
    /// and to type keys, whatever the caller wants.
    pub(super) fn wish_of_callee(&self) -> Option<Wish> {
        let mut wish = self.wish_of_caller()?;
        if self.rings_in.is_some() {
            wish.codecs = ring::as_told(wish.codecs);
        }
        if self.announcement.is_some() {
            wish.direction = Direction::SendRecv;
            for codec in [Codec::Pcma, Codec::Pcmu, Codec::TelephoneEvent] {
                wish.codecs.insert(codec);
            }
        }
        Some(wish)
    }

    /// Joins the callee's answer to what the caller has offered or wants to be offered: the
    /// session, and what the caller is told: nothing more when that was agreed while it rang.
    fn agree(&mut self, ours_a: Ours, body: &[u8]) -> Result<(Talk, String), InvalidSdp> {
        let mut ours_b = self.ours_b.take().ok_or(InvalidSdp::NoAudio)?;
        let (answer, told) = match self.told_b.take() {
            Some(told) => (ours_b.read_offer(body)?, told),
            None => {
                let told = self.wish_of_callee().ok_or(InvalidSdp::NoAudio)?;
                (ours_b.read_answer(body)?, told)
            }
        };
        let offer = std::mem::replace(&mut self.offer, Offer::Unusable);
        let Some(early) = self.early.take() else {
            let ours = [ours_a, ours_b];
            return match offer {
                Offer::Made(offer) => Talk::begin(ours, offer, (answer, told)),
                Offer::Wanted => Talk::begin_offering(ours, (answer, told)),
                Offer::Unusable => Err(InvalidSdp::NoAudio),
            };
        };
        let theirs = early.theirs.ok_or(InvalidSdp::NoAudio)?;
        let ours = [early.ours, ours_b];
        let text = match (offer, early.answer) {
            (_, Answered::Once(text)) => text,
            (_, Answered::NotYet | Answered::Unconfirmed | Answered::Confirmed) => String::new(),
        };
        Ok((Talk::begin_agreed(ours, (theirs, early.told), (answer, told))?, text))
    }
}

impl fmt::Debug for SetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usable, has_answer) = (self.can_be_relayed(), self.answer.is_some());
        let targets = self.targets.len();
        write!(f, "SetUp(usable: {usable}, answer: {has_answer}, {targets} targets)")
    }
}

impl Call {
    /// Sends B's INVITE. `None` when it cannot be sent at all.
    pub(super) fn invite(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        position: usize,
        place: Place,
    ) -> Option<(Branch, TrunkId)> {
        let set_up = self.set_up.as_ref()?;
        let (wish, local) = (set_up.wish_of_callee()?, set_up.local?);
        let target = set_up.targets.get(position)?.clone();
        let known = self.record.as_ref()?.known();
        let srtp = wires.srtp(hop_of(&target).transport, target.trunk)?;
        let local = wires.media_for(local[Side::B.index()], target.address.ip());
        let ours = Ours::new(local, wires.random_u64());
        let ours = ours.with_keys(srtp, &mut wires.rng).limited_to(set_up.codecs);
        let mut ours = ours.within(wires.media_networks(target.trunk));
        let text = ours.offer(wish);
        let tag = wires.new_tag(place);
        let written = b_invite::write(
            wires,
            &Facts {
                callee: set_up.callee.as_ref()?,
                target: &target,
                virtual_number: known.virtual_number.as_ref()?,
                binding: known.binding?,
                tag: &tag,
                max_forwards: set_up.max_forwards,
                sdp: &text,
                session_min_s: set_up.session_min_s,
            },
        );
        let sent = written.and_then(|(request, opening)| {
            let owner = place.to_owner();
            let client = wires.transactions.request(at, request, hop_of(&target), owner).ok()?;
            Some((client, opening))
        });
        let Some((client, opening)) = sent else {
            wires.places.remove(&tag);
            return None;
        };
        self.set_up.as_mut()?.ours_b = Some(ours);
        let trunk = target.trunk;
        Some((Branch::new(place, target, tag, client, opening), trunk))
    }

    /// The caller was offered something and has to answer that, or was answered and has to confirm
    /// that, before it may be told that the callee has answered (RFC 3262 §3): the callee's answer
    /// is kept until then.
    pub(super) fn waits_for_the_caller(&mut self, body: &[u8]) -> bool {
        let early = self.set_up.as_mut().and_then(|set_up| set_up.early.as_mut());
        let Some(early) = early.filter(|early| early.waits_for_caller()) else { return false };
        early.answered = Some(body.into());
        true
    }

    /// What the 2xx of the callee says of a session timer.
    pub(super) fn note_callee_session(&mut self, response: &Message) {
        let Some(terms) = session_timer::agreed(response) else { return };
        let takes_update = session_timer::takes_update(response);
        if let Some(set_up) = &mut self.set_up {
            set_up.sessions[Side::B.index()] = Some(Agreed { terms, is_uac: true, takes_update });
        }
    }

    /// Our side of the caller's leg, before anything is said there.
    pub(super) fn ours_of_caller(&self, wires: &mut Wires) -> Option<Ours> {
        let SetUp { local, srtp, codecs, offer, .. } = self.set_up.as_deref()?;
        // What the caller speaks there counts; its signalling may have come by the other family.
        let peer = match offer {
            Offer::Made(offer) if !offer.rtp.ip().is_unspecified() => offer.rtp.ip(),
            Offer::Made(_) | Offer::Wanted | Offer::Unusable => self.leg_a.peer().address.ip(),
        };
        let local = wires.media_for((*local)?[Side::A.index()], peer);
        let ours = Ours::new(local, wires.random_u64());
        let networks = wires.media_networks(self.leg_a.peer().trunk);
        Some(ours.with_keys(*srtp, &mut wires.rng).limited_to(*codecs).within(networks))
    }

    /// Takes the callee's answer: what is known of both sides of the media, and what the caller is
    /// told. False when it cannot be relayed.
    pub(super) fn negotiate(&mut self, wires: &mut Wires, body: &[u8]) -> bool {
        let session = self.session();
        let trunks = [Side::A, Side::B].map(|side| self.trunk_media(wires, side));
        let Some(ours_a) = self.ours_of_caller(wires) else { return false };
        let Some(set_up) = &mut self.set_up else { return false };
        let Ok((mut talk, text)) = set_up.agree(ours_a, body) else { return false };
        set_up.answer = Some(text);
        // A caller that is not answered yet is sent nothing, not even reports.
        let is_announced = set_up.announcement.is_some();
        talk.is_apart = is_announced;
        talk.trunks = trunks;
        talk.plays_hold = wires.config.hold_tone;
        let sides = if is_announced { &[Side::B][..] } else { &[Side::A, Side::B] };
        for &side in sides {
            let Some((remote, keys)) = talk.media(side) else { continue };
            let update = Command::Update { session, side, remote, keys };
            wires.outputs.push_back(Output::Media(update));
        }
        self.talk = Some(Box::new(talk));
        true
    }
}
