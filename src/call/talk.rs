//! What both sides of an answered call have said about their media, and what each was told of the
//! other: enough to see whether a new offer concerns the far side at all. No bytes and no times.

use super::clocks::Clocks;
use super::negotiation::{Media, leg_keys, remote_media};
use super::offer::{Change, Unconfirmed};
use super::typing::Typing;
use crate::domain::trunk_media::TrunkMedia;
use crate::rtp::plane::Side;
use crate::sdp::{self, Codec, CodecSet, Direction, InvalidSdp, Ours, Session, Wish};

/// The session of an answered call.
#[derive(Debug)]
pub(super) struct Talk {
    legs: [Leg; 2],
    /// The codecs that flow.
    agreed: CodecSet,
    /// An offer of ours to one side whose answer is not there yet.
    pub(super) change: Option<Box<Change>>,
    /// 2xx to INVITEs within the call that were not confirmed yet.
    pub(super) unconfirmed: [Option<Box<Unconfirmed>>; 2],
    /// Our offer in a 2xx waits for the answer of this side in its ACK.
    pub(super) offered: Option<Side>,
    /// Each side has agreed by itself, before it was known what the other one can do, or could not
    /// be told when that was due: who is to be brought in line first, once nothing is open, and how
    /// often that was tried before.
    pub(super) unsettled: Option<(Side, u8)>,
    /// The sides are not joined yet: what one says means nothing to the other.
    pub(super) is_apart: bool,
    /// How the media of each side's trunk behaves.
    pub(super) trunks: [TrunkMedia; 2],
    /// Who is put on hold is to hear us: it goes on listening whatever the other one says.
    pub(super) plays_hold: bool,
    /// Who hears our hold tone.
    pub(super) hears_hold: [bool; 2],
    /// Keys of the other one that a side has still to hear.
    pub(super) typed: [Typing; 2],
    /// Session timers, and what stands in for one.
    pub(super) clocks: Option<Box<Clocks>>,
}

/// One leg of it.
#[derive(Debug)]
struct Leg {
    ours: Ours,
    /// Absent until the side has answered our offer in a 2xx.
    theirs: Option<Session>,
    /// The last direction of ours that the side has agreed to.
    told: Direction,
    /// The codecs of that description.
    told_codecs: CodecSet,
    /// It has listened before: when it does not now, the other one is on hold.
    has_listened: bool,
}

impl Leg {
    fn agrees(&mut self, theirs: Session, told: Wish) {
        self.has_listened |= theirs.direction.receives();
        self.theirs = Some(theirs);
        self.told = told.direction;
        self.told_codecs = told.codecs;
    }
}

impl Talk {
    /// The caller has offered and the callee answered what it was told. `ours` are our sides of
    /// both legs; that of the callee has offered already. The second value is our answer to the
    /// caller.
    pub(super) fn begin(
        ours: [Ours; 2],
        offer: Session,
        (answer, told): (Session, Wish),
    ) -> Result<(Self, String), InvalidSdp> {
        let agreed = sdp::agree(&offer, &answer)?;
        let mut talk = Self::blank(ours, agreed);
        talk.leg_mut(Side::B).agrees(answer, told);
        let text = talk.answer(Side::A, offer);
        Ok((talk, text))
    }

    /// The caller waits for an offer, and the callee has answered what it was told. The second
    /// value is what the caller is offered; its answer comes with its ACK.
    pub(super) fn begin_offering(
        ours: [Ours; 2],
        (answer, told): (Session, Wish),
    ) -> Result<(Self, String), InvalidSdp> {
        let agreed = answer.codecs().intersection(told.codecs);
        if !agreed.has_audio() {
            return Err(InvalidSdp::NoCodec);
        }
        let mut talk = Self::blank(ours, agreed);
        talk.leg_mut(Side::B).agrees(answer, told);
        let text = talk.offer_in_answer(Side::A);
        Ok((talk, text))
    }

    /// Both sides have agreed to what they were told, each by itself.
    pub(super) fn begin_agreed(
        ours: [Ours; 2],
        (theirs, told_a): (Session, Wish),
        (answer, told_b): (Session, Wish),
    ) -> Result<Self, InvalidSdp> {
        let can_flow = theirs.codecs().intersection(told_a.codecs).flowing_to(answer.codecs());
        let mut talk = Self::blank(ours, can_flow.ok_or(InvalidSdp::NoCodec)?);
        talk.leg_mut(Side::A).agrees(theirs, told_a);
        talk.leg_mut(Side::B).agrees(answer, told_b);
        talk.unsettled = Some((Side::A, 0));
        Ok(talk)
    }

    /// The caller speaks with us alone: the other side is never there, and takes whatever we speak.
    /// The second value is our answer.
    pub(super) fn begin_alone(ours: [Ours; 2], offer: Session, spoken: CodecSet) -> (Self, String) {
        let mut talk = Self::blank(ours, spoken);
        talk.is_apart = true;
        let g711 = [Codec::Pcma, Codec::TelephoneEvent].into_iter().collect::<CodecSet>();
        talk.leg_mut(Side::B).told_codecs = g711.with_both_laws();
        let told = Wish { direction: Direction::SendRecv, ptime_ms: None, codecs: spoken };
        let leg = talk.leg_mut(Side::A);
        let text = leg.ours.answer(&offer, told);
        leg.agrees(offer, told);
        (talk, text)
    }

    fn blank(ours: [Ours; 2], agreed: CodecSet) -> Self {
        let (told, told_codecs) = (Direction::SendRecv, CodecSet::EMPTY);
        let legs =
            ours.map(|ours| Leg { ours, theirs: None, told, told_codecs, has_listened: false });
        let unconfirmed = [None, None];
        Self {
            legs,
            agreed,
            change: None,
            unconfirmed,
            offered: None,
            unsettled: None,
            is_apart: false,
            trunks: [TrunkMedia::default(), TrunkMedia::default()],
            plays_hold: false,
            hears_hold: [false; 2],
            typed: [Typing::default(), Typing::default()],
            clocks: None,
        }
    }

    const fn leg(&self, side: Side) -> &Leg {
        &self.legs[side.index()]
    }

    const fn leg_mut(&mut self, side: Side) -> &mut Leg {
        &mut self.legs[side.index()]
    }

    /// Whether an offer is open with either side, or not confirmed yet.
    pub(super) fn is_busy(&self) -> bool {
        let unconfirmed = self.unconfirmed.iter().any(Option::is_some);
        self.change.is_some() || self.offered.is_some() || unconfirmed
    }

    /// Whether `offer` of a side changes what the other side was told.
    pub(super) fn concerns_far_side(&self, side: Side, offer: &Session) -> bool {
        let far = self.leg(side.other());
        let told = far.told_codecs.with_both_laws();
        self.needs_far_side(side, offer) || !told.has_all(offer.codecs())
    }

    /// Whether `offer` of a side cannot be taken unless the other side changes too.
    pub(super) fn needs_far_side(&self, side: Side, offer: &Session) -> bool {
        let far = self.leg(side.other());
        let goes_on = [self.agreed, self.flowing(side)];
        let goes_on = goes_on.into_iter().any(|codecs| offer.codecs().has_all(codecs));
        far.told != self.shown(side, offer.direction) || !goes_on
    }

    /// What a side is told of an offer of the other one: what that wants, and the law that the side
    /// speaks where the offer has only the other.
    pub(super) fn wish_of_offer(&self, to: Side, offer: &Session) -> Wish {
        let wish = offer.wish();
        let direction = self.shown(to.other(), wish.direction);
        self.in_its_law(to, Wish { direction, ..wish })
    }

    /// What the other side is told of the direction that a side wants. Who is on hold goes on
    /// listening, since it hears us.
    fn shown(&self, side: Side, wanted: Direction) -> Direction {
        let is_held = self.plays_hold && self.leg(side).has_listened;
        match wanted {
            Direction::Inactive if is_held => Direction::SendOnly,
            Direction::SendRecv
            | Direction::SendOnly
            | Direction::RecvOnly
            | Direction::Inactive => wanted,
        }
    }

    /// Whether a side hears our hold tone: the other one has listened before and does not now.
    pub(super) fn waits(&self, side: Side) -> bool {
        let far = self.leg(side.other());
        let listens = far.theirs.as_ref().is_none_or(|theirs| theirs.direction.receives());
        self.plays_hold
            && far.has_listened
            && !listens
            && self.media(side).is_some_and(|(media, _)| media.receives)
    }

    fn in_its_law(&self, to: Side, mut wish: Wish) -> Wish {
        let spoken = self.flowing(to);
        if !wish.codecs.intersection(spoken).has_audio() {
            let law = wish.codecs.with_both_laws().intersection(spoken);
            for codec in law.iter().collect::<Vec<_>>() {
                wish.codecs.insert(codec);
            }
        }
        wish
    }

    /// The codecs that flow on the leg of a side: it has its own law of G.711 where the other one
    /// speaks the other.
    fn flowing(&self, side: Side) -> CodecSet {
        let leg = self.leg(side);
        let theirs = leg.theirs.as_ref().map_or(CodecSet::EMPTY, Session::codecs);
        let own = theirs.intersection(leg.told_codecs);
        let flowing = own.intersection(self.agreed.with_both_laws());
        if flowing.has_audio() { flowing } else { self.agreed }
    }

    /// Reads an offer of a side.
    pub(super) fn read_offer(&self, side: Side, body: &[u8]) -> Result<Session, InvalidSdp> {
        self.leg(side).ours.read_offer(body)
    }

    /// Takes a side's offer as far as the other side allows: our answer to it.
    pub(super) fn answer(&mut self, side: Side, offer: Session) -> String {
        let wish = Wish { codecs: self.agreed, ..self.wish_of(side.other()) };
        let leg = self.leg_mut(side);
        let text = leg.ours.answer(&offer, wish);
        let direction = offer.direction.reversed().and(wish.direction);
        leg.agrees(offer, Wish { direction, ..wish });
        text
    }

    /// Takes a side's offer while the other one is apart from it, which is told of it when it is
    /// there: our answer. The side is to hear us, so that it keeps whatever it can. Nothing changes
    /// where the two would have no codec in common.
    pub(super) fn answer_apart(
        &mut self,
        side: Side,
        offer: Session,
    ) -> Result<String, InvalidSdp> {
        let far = self.leg(side.other());
        let theirs = far.theirs.as_ref().map_or(far.told_codecs, Session::codecs);
        let far = theirs.intersection(far.told_codecs);
        self.agreed = far.flowing_to(offer.codecs()).ok_or(InvalidSdp::NoCodec)?;
        let wish = Wish { direction: Direction::SendRecv, ..offer.wish() };
        let leg = self.leg_mut(side);
        let text = leg.ours.answer(&offer, wish);
        let direction = offer.direction.reversed();
        leg.agrees(offer, Wish { direction, ..wish });
        Ok(text)
    }

    /// Offers a side that has asked for an offer what the other one can do and was told. Its answer
    /// comes with its ACK.
    pub(super) fn offer_in_answer(&mut self, to: Side) -> String {
        let wish = self.wish_to_offer(to);
        let text = self.offer(to, wish);
        self.was_told(to, wish);
        self.offered = Some(to);
        text
    }

    /// Offers one side what the other one wants.
    pub(super) fn offer(&mut self, to: Side, wish: Wish) -> String {
        self.leg_mut(to).ours.offer(wish)
    }

    /// One side has answered our offer of `told`, for which the other side waits with its own
    /// `offer`. `Err` leaves the session as it was.
    pub(super) fn far_side_answers(
        &mut self,
        side: Side,
        told: Wish,
        answer: &[u8],
        offer: &Session,
    ) -> Result<(), InvalidSdp> {
        let answer = self.leg_mut(side).ours.read_answer(answer)?;
        self.agreed = sdp::agree(offer, &answer)?;
        self.leg_mut(side).agrees(answer, told);
        Ok(())
    }

    /// One side has answered our offer of `told`, for which nobody waits.
    pub(super) fn side_answers(
        &mut self,
        side: Side,
        told: Wish,
        answer: &[u8],
    ) -> Result<(), InvalidSdp> {
        let answer = self.leg_mut(side).ours.read_answer(answer)?;
        let far = self.wish_of(side.other()).codecs;
        let theirs = answer.codecs().intersection(told.codecs);
        self.agreed = far.flowing_to(theirs).ok_or(InvalidSdp::NoCodec)?;
        self.leg_mut(side).agrees(answer, told);
        Ok(())
    }

    /// One side was told this, whatever it makes of it.
    pub(super) fn was_told(&mut self, side: Side, told: Wish) {
        let leg = self.leg_mut(side);
        leg.told = told.direction;
        leg.told_codecs = told.codecs;
    }

    /// What a side wants; both ways while it has said nothing.
    fn wish_of(&self, side: Side) -> Wish {
        let usual = Wish { direction: Direction::SendRecv, ptime_ms: None, codecs: self.agreed };
        let wish = self.leg(side).theirs.as_ref().map_or(usual, Session::wish);
        Wish { direction: self.shown(side, wish.direction), ..wish }
    }

    /// What a side was told last.
    pub(super) fn wish_told(&self, side: Side) -> Wish {
        let (leg, far) = (self.leg(side), self.wish_of(side.other()));
        Wish { direction: leg.told, codecs: leg.told_codecs, ..far }
    }

    /// What we offer a side that asks for an offer: what the other side can do and was told.
    pub(super) fn wish_to_offer(&self, to: Side) -> Wish {
        let far = self.wish_of(to.other());
        if self.is_apart {
            let codecs = self.leg(to).told_codecs;
            return Wish { codecs, direction: Direction::SendRecv, ..far };
        }
        let codecs = far.codecs.intersection(self.leg(to.other()).told_codecs);
        self.in_its_law(to, Wish { codecs, ..far })
    }

    /// What a side must be told to be in line with the other one; `None` when it is. Keys alone
    /// are no reason: they are taken from each leg that has agreed on them and end here, and a
    /// re-INVITE right after every answer would trouble more peers than a key that nobody hears.
    pub(super) fn wish_to_tell(&self, to: Side) -> Option<Wish> {
        let (leg, far) = (self.leg(to), self.wish_of(to.other()));
        let theirs = leg.theirs.as_ref()?.codecs().intersection(leg.told_codecs);
        let mut taken = self.agreed.with_both_laws();
        taken.insert(Codec::TelephoneEvent);
        let is_in_line = leg.told == far.direction && taken.has_all(theirs);
        let told = Wish { codecs: self.agreed, ..far };
        (!is_in_line).then(|| self.in_its_law(to, told))
    }

    /// Where a side's media goes and comes from, once it is known, and with what it is encrypted.
    /// Typed keys are understood on a leg that has agreed on them, whatever the other one has.
    /// While the sides are apart, the other one counts for nothing.
    pub(super) fn media(&self, side: Side) -> Option<Media> {
        let leg = self.leg(side);
        let theirs = leg.theirs.as_ref()?;
        let (mut codecs, mut far) = (self.flowing(side), self.wish_of(side.other()).direction);
        if self.is_apart {
            (codecs, far) = (theirs.codecs().intersection(leg.told_codecs), Direction::SendRecv);
        }
        if self.has_events(side) {
            codecs.insert(Codec::TelephoneEvent);
        }
        let learning = self.trunks[side.index()].learning;
        let remote = remote_media(theirs, leg.ours.payloads(codecs), codecs, far);
        Some((remote.learning(learning), leg_keys(&leg.ours)))
    }

    /// Whether a side can send keys as events.
    pub(super) fn has_events(&self, side: Side) -> bool {
        let leg = self.leg(side);
        let theirs = leg.theirs.as_ref().map_or(CodecSet::EMPTY, Session::codecs);
        theirs.intersection(leg.told_codecs).contains(Codec::TelephoneEvent)
    }
}
