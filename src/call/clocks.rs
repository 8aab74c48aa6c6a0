//! Session timers of both legs (RFC 4028), each agreed by itself: a side that is not refreshed in
//! time is gone, and the call ends.

use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::Event;
use super::egress::{self, MIN_SE, SESSION_EXPIRES};
use super::offer::{Asker, Change, glare_wait};
use super::place::Part;
use super::sides::side_of;
use super::timers::Timer;
use super::watch::Watch;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::session_timer::{self, Clock, Decision, MIN_SE_S, Refresher, Terms};
use crate::sip::transaction::ClientId;
use crate::sip::write::RequestWriter;

/// A refresh that came to nothing is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// No peer can make us promise to wait for longer than this.
const INTERVAL_S_MAX: u32 = 86_400;

/// What was agreed on a leg when it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub(super) terms: Terms,
    /// We have sent the INVITE.
    pub(super) is_uac: bool,
    pub(super) takes_update: bool,
}

/// The timers of both sides, and the questions to a side without one.
#[derive(Debug)]
pub(super) struct Clocks {
    legs: [Option<LegClock>; 2],
    watches: [Watch; 2],
}

impl Clocks {
    fn new(wires: &Wires, now: Instant) -> Self {
        Self { legs: [None, None], watches: [Side::A, Side::B].map(|_| Watch::new(wires, now)) }
    }

    pub(super) const fn watch_mut(&mut self, side: Side) -> &mut Watch {
        &mut self.watches[side.index()]
    }

    fn due_at(&self) -> Instant {
        let [a, b] = [Side::A, Side::B].map(|side| match &self.legs[side.index()] {
            Some(leg) => leg.clock.due_at(),
            None => self.watches[side.index()].due_at(),
        });
        a.min(b)
    }
}

#[derive(Debug)]
struct LegClock {
    clock: Clock,
    takes_update: bool,
    /// The least interval that the peer has told us by refusing less.
    least_s: Option<u32>,
    /// Our UPDATE on its way.
    update: Option<ClientId>,
}

/// What a request of ours inside a dialog says of its timer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    terms: Terms,
    /// Said beside it once less was refused, so that nobody on the way asks for less again.
    least_s: Option<u32>,
}

impl Asked {
    pub(super) fn write(self, request: RequestWriter<'_>) -> RequestWriter<'_> {
        let request = request.header(SESSION_EXPIRES, self.terms.value());
        match self.least_s {
            Some(least_s) => request.header(MIN_SE, least_s.to_string()),
            None => request,
        }
    }
}

impl LegClock {
    fn new(now: Instant, agreed: Agreed) -> Self {
        let Agreed { terms, is_uac, takes_update } = agreed;
        let is_ours = is_uac == (terms.refresher == Refresher::Uac);
        let clock = Clock::new(now, terms.interval_s.min(INTERVAL_S_MAX), is_ours);
        Self { clock, takes_update, least_s: None, update: None }
    }
}

impl Wires {
    /// How a request of a peer is answered that may begin or refresh a session.
    pub(super) fn decide_session(&self, request: &Message) -> Decision {
        session_timer::decide(request, self.config.session_expires_s)
    }
}

impl Call {
    /// Begins what was agreed on with a side; what runs already of the other one goes on.
    pub(super) fn start_clocks(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        agreed: [Option<Agreed>; 2],
    ) {
        if let Some(talk) = &mut self.talk {
            let clocks = talk.clocks.get_or_insert_with(|| Box::new(Clocks::new(wires, at)));
            for (clock, agreed) in clocks.legs.iter_mut().zip(agreed) {
                *clock = agreed.map(|agreed| LegClock::new(at, agreed)).or(clock.take());
            }
        }
        self.arm_clocks(wires, at);
    }

    fn arm_clocks(&self, wires: &mut Wires, at: Instant) {
        let Some(clocks) = self.talk.as_ref().and_then(|talk| talk.clocks.as_ref()) else { return };
        wires.timers.arm(at, self.serial, Timer::Refresh, clocks.due_at());
    }

    fn clock_mut(&mut self, side: Side) -> Option<&mut LegClock> {
        self.talk.as_mut()?.clocks.as_mut()?.legs[side.index()].as_mut()
    }

    /// What a request of ours to a side says of its timer.
    pub(super) fn session_asked(&self, wires: &Wires, side: Side) -> Option<Asked> {
        let clocks = self.talk.as_ref()?.clocks.as_ref()?;
        let LegClock { clock, least_s, .. } = clocks.legs[side.index()].as_ref()?;
        let refresher = if clock.is_ours { Refresher::Uac } else { Refresher::Uas };
        let terms = Terms { interval_s: clock.interval_s, refresher };
        // What is more than we ever ask for was demanded when the call was set up.
        let is_raised = terms.interval_s > wires.config.session_expires_s;
        Some(Asked { terms, least_s: least_s.or(is_raised.then_some(terms.interval_s)) })
    }

    /// A peer refreshes its session, perhaps on other terms: what our 2xx says of it.
    pub(super) fn on_refresh(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        part: Part,
        asker: &Asker,
    ) -> Option<Terms> {
        let side = self.talking_side(part, &asker.request)?;
        let agreed = match wires.decide_session(&asker.request) {
            Decision::On(terms) => {
                let takes_update = session_timer::takes_update(&asker.request);
                Some(Agreed { terms, is_uac: false, takes_update })
            }
            Decision::TooSmall | Decision::Off => None,
        };
        let talk = self.talk.as_mut()?;
        if agreed.is_some() || talk.clocks.is_some() {
            let clocks = talk.clocks.get_or_insert_with(|| Box::new(Clocks::new(wires, at)));
            clocks.legs[side.index()] = agreed.map(|agreed| LegClock::new(at, agreed));
            self.arm_clocks(wires, at);
        }
        agreed.map(|agreed| agreed.terms)
    }

    /// The time of a session timer has come.
    pub(super) fn on_refresh_timer(&mut self, wires: &mut Wires, now: Now) {
        let at = now.monotonic;
        for side in [Side::A, Side::B] {
            let Some(leg) = self.clock_mut(side) else {
                self.ask_if_there(wires, at, side);
                continue;
            };
            if leg.clock.ends_at <= at {
                return self.happen(wires, now, Event::Stopped(Cause::SessionExpired));
            }
            if leg.clock.is_ours && leg.clock.refresh_at <= at {
                leg.clock.refresh_at = at + AGAIN_AFTER;
                self.refresh(wires, at, side);
            }
        }
        self.arm_clocks(wires, at);
    }

    /// By UPDATE, which is one round trip; else by a re-INVITE with what was said before.
    fn refresh(&mut self, wires: &mut Wires, at: Instant, side: Side) {
        let Some(leg) = self.clock_mut(side).filter(|leg| leg.update.is_none()) else { return };
        if leg.takes_update {
            let client = self.update(wires, at, side);
            if let Some(leg) = self.clock_mut(side) {
                leg.update = client;
            }
            return;
        }
        let is_confirmed = self.is_confirmed(side);
        let Some(talk) = &self.talk else { return };
        let is_free = talk.change.is_none() && talk.offered.is_none();
        if is_free && is_confirmed && talk.unconfirmed[side.index()].is_none() {
            let told = talk.wish_told(side);
            self.tell(wires, at, Change::new(side, told));
        }
    }

    fn update(&mut self, wires: &mut Wires, at: Instant, side: Side) -> Option<ClientId> {
        let asked = self.session_asked(wires, side)?;
        let place = self.place_of(side);
        let branch = wires.new_branch();
        let (dialog, hop) = self.line(side)?;
        let own = wires.names.of(hop);
        let request =
            dialog.request(&mut wires.out, Method::Update, wires.names.via_of(hop), branch);
        let request = asked.write(egress::stating(request, own)).finish();
        wires.transactions.request(at, request, hop, place.to_owner()).ok()
    }

    /// A 2xx to a request of ours that refreshes the session of a side.
    pub(super) fn refreshed(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        side: Side,
        response: &Message,
    ) {
        let Some(leg) = self.clock_mut(side) else { return };
        match session_timer::agreed(response) {
            Some(terms) => {
                let is_ours = terms.refresher == Refresher::Uac;
                leg.clock = Clock::new(at, terms.interval_s.min(INTERVAL_S_MAX), is_ours);
            }
            // Whether or not the peer counts, we see that it is there.
            None if leg.clock.is_ours => {
                leg.clock = Clock::new(at, leg.clock.interval_s, true);
            }
            // It never has to refresh again.
            None => {
                if let Some(clocks) = self.talk.as_mut().and_then(|talk| talk.clocks.as_mut()) {
                    clocks.legs[side.index()] = None;
                }
            }
        }
        self.arm_clocks(wires, at);
    }

    /// A refusal that is about the timer. True when it was raised: it is worth another try.
    pub(super) fn raise_interval(&mut self, side: Side, response: &Message) -> bool {
        let Some(min) = session_timer::find_min_se(response) else { return false };
        let Some(leg) = self.clock_mut(side) else { return false };
        let is_more = min > leg.clock.interval_s && min <= INTERVAL_S_MAX;
        if is_more {
            leg.clock.interval_s = min;
            leg.least_s = Some(min);
        }
        is_more
    }

    /// The final response to an UPDATE of ours. False when it is to something else.
    pub(super) fn on_update_response(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        client: ClientId,
        response: &Message,
    ) -> bool {
        let (side, at) = (side_of(part), now.monotonic);
        let Some(leg) = self.clock_mut(side) else { return false };
        if leg.update.take_if(|update| *update == client).is_none() {
            return false;
        }
        match response.status().unwrap_or_default() {
            200..=299 => {
                if let Some((dialog, _)) = self.answered_line(part, response) {
                    dialog.refresh_target(response);
                }
                self.refreshed(wires, at, side, response);
            }
            422 if self.raise_interval(side, response) => self.refresh_now(wires, at, side),
            405 | 501 => {
                if let Some(leg) = self.clock_mut(side) {
                    leg.takes_update = false;
                }
                self.refresh_now(wires, at, side);
            }
            408 | 481 => self.happen(wires, now, Event::Stopped(Cause::SessionExpired)),
            491 => self.refresh_after_glare(wires, at, side),
            // It is tried again before it is too late.
            _ => {}
        }
        true
    }

    /// A refresh has met an offer of the peer: it is tried again after the wait for that.
    pub(super) fn refresh_after_glare(&mut self, wires: &mut Wires, at: Instant, side: Side) {
        // The caller's Call-ID is the caller's, the callee's is ours.
        let again_at = at + glare_wait(wires, side == Side::B);
        let Some(leg) = self.clock_mut(side) else { return };
        if leg.clock.is_ours && leg.clock.refresh_at <= at + AGAIN_AFTER {
            leg.clock.refresh_at = again_at;
            self.arm_clocks(wires, at);
        }
    }

    fn refresh_now(&mut self, wires: &mut Wires, at: Instant, side: Side) {
        if let Some(leg) = self.clock_mut(side) {
            leg.clock.refresh_at = at + AGAIN_AFTER;
        }
        self.refresh(wires, at, side);
        self.arm_clocks(wires, at);
    }

    /// An UPDATE of ours got no answer at all. False when it is another request.
    pub(super) fn on_update_failure(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        client: ClientId,
        is_silent: bool,
    ) -> bool {
        let Some(leg) = self.clock_mut(side_of(part)) else { return false };
        let is_it = leg.update.take_if(|update| *update == client).is_some();
        if is_it && is_silent {
            self.happen(wires, now, Event::Stopped(Cause::SessionExpired));
        }
        is_it
    }

    /// An UPDATE of ours was sent again by another transaction.
    pub(super) fn replace_update(&mut self, part: Part, old: ClientId, new: ClientId) {
        if let Some(leg) = self.clock_mut(side_of(part)).filter(|leg| leg.update == Some(old)) {
            leg.update = Some(new);
        }
    }

    /// The session that a trunk demands at least which has refused ours as too short; only once,
    /// and only what we would wait for. Trunks that are tried later are asked for as much.
    pub(super) fn take_longer(&mut self, wires: &Wires, response: &Message) -> Option<u32> {
        let min = session_timer::find_min_se(response)?;
        let set_up = self.set_up.as_mut().filter(|set_up| set_up.session_min_s.is_none())?;
        let is_more = min > wires.config.session_expires_s.max(MIN_SE_S) && min <= INTERVAL_S_MAX;
        set_up.session_min_s = is_more.then_some(min);
        set_up.session_min_s
    }
}
