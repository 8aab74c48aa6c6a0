//! The CDR of one attempt while it is being written: what is known grows, the end is set once.

use std::fmt;
use std::time::Instant;

use super::io::{CallStatus, LiveCall};
use crate::domain::cap::CapReached;
use crate::domain::cause::Cause;
use crate::domain::cdr::{Cdr, Direction, EndedBy, MediaCounts, Whispered};
use crate::domain::id::{AgentId, CallId, TenantId, TrunkId};
use crate::domain::mark::Mark;
use crate::domain::menu::CallCode;
use crate::domain::now::Now;
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::{Announced, Stated};
use crate::domain::route::{CallerParty, Route};
use crate::domain::whisper::WhisperResult;
use crate::policy::gate::Attempt;
use crate::prompt::{self, ClipHashes};
use crate::rtp::plane::{Side, SideCounts};
use crate::rtp::sound::Playlist;

/// The final status told to a caller who was answered.
const ANSWERED_STATUS: u16 = 200;

/// A record with its gaps, and the monotonic times that measure it. `Debug` does not show what was
/// dialled.
pub(super) struct Record {
    cdr: Box<Cdr>,
    /// What was dialled. It is not written down before it is known to be a number of ours: somebody
    /// may have dialled a real one.
    dialled: Option<VirtualNumber>,
    started: Instant,
    answered: Option<Instant>,
    is_announced: bool,
    /// What was noticed of the media of each side while the call was up.
    noticed: [Noticed; 2],
    /// The Q.850 cause that a peer has given last.
    heard_q850: Option<u8>,
    /// How the caller was refused.
    refused_with: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Noticed {
    one_way: bool,
    latched: bool,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?})", self.cdr)
    }
}

impl Record {
    /// An attempt that has just arrived.
    pub(super) fn new(now: Now, call: CallId, trunk_a: TrunkId, direction: Direction) -> Self {
        let cdr = Cdr {
            call,
            tenant: None,
            binding: None,
            subscriber: None,
            agent: None,
            virtual_number: None,
            direction,
            purpose: None,
            intent: None,
            marks: Vec::new(),
            trunk_a,
            trunk_b: None,
            started_at: now.wall,
            ringing_at: None,
            callee_answered_at: None,
            answered_at: None,
            ended_at: now.wall,
            duration: std::time::Duration::ZERO,
            setup: None,
            // In doubt it was our fault: every end sets its own cause.
            cause: Cause::Internal,
            reasons: Vec::new(),
            ended_by: EndedBy::Relay,
            sip_status: Cause::Internal.sip_status(),
            q850: Cause::Internal.q850(),
            media: None,
            caps_reached: Vec::new(),
            whisper: None,
        };
        Self {
            cdr: Box::new(cdr),
            dialled: None,
            started: now.monotonic,
            answered: None,
            is_announced: false,
            noticed: [Noticed::default(); 2],
            heard_q850: None,
            refused_with: None,
        }
    }

    /// The number that was dialled.
    pub(super) fn dialled(&mut self, number: VirtualNumber) {
        self.dialled = Some(number);
    }

    /// What the caller says it is for.
    pub(super) const fn stated(&mut self, stated: Stated) {
        self.cdr.purpose = Some(stated.purpose);
    }

    /// What the caller's trunk says of it beside that.
    pub(super) fn marked(&mut self, marks: Vec<Mark>) {
        self.cdr.marks = marks;
    }

    /// What the gate has to know of it.
    pub(super) fn attempt(&self) -> Attempt {
        let purpose = self.cdr.purpose.unwrap_or_default();
        let stated = Stated { purpose, intent: self.cdr.intent };
        Attempt { direction: self.cdr.direction, stated }
    }

    /// Whose attempt it is.
    pub(super) const fn belongs_to(&mut self, tenant: TenantId) {
        self.cdr.tenant = Some(tenant);
    }

    /// A binding was found.
    pub(super) fn routed(&mut self, route: &Route) {
        self.cdr.tenant = Some(route.tenant);
        self.cdr.binding = Some(route.binding);
        self.cdr.subscriber = Some(route.subscriber);
        self.cdr.virtual_number = Some(route.virtual_number.clone());
        self.cdr.agent = find_agent(route.caller);
        // What was said first holds, whatever has been dialled since.
        if let Some(Announced { intent, purpose }) = route.announced {
            (self.cdr.intent, self.cdr.purpose) = (Some(intent), Some(purpose));
        }
    }

    /// Nobody is reached by the number.
    pub(super) fn missing(&mut self, cause: Cause, tenant: Option<TenantId>) {
        self.cdr.tenant = tenant.or(self.cdr.tenant);
        self.cdr.reasons = vec![cause];
        if cause != Cause::NumberUnknown {
            self.cdr.virtual_number = self.dialled.take();
        }
    }

    /// The attempt was refused with `status` before anybody was asked about it.
    pub(super) fn turned_away(&mut self, now: Now, cause: Cause, status: u16) {
        self.cdr.reasons = vec![cause];
        self.ended(now, cause, EndedBy::Relay);
        self.cdr.sip_status = status;
    }

    /// The caller was refused with this status, which may say less than the cause.
    pub(super) const fn refused_with(&mut self, status: u16) {
        self.refused_with = Some(status);
    }

    /// The gate has refused.
    pub(super) fn refused(&mut self, reasons: Vec<Cause>) {
        self.cdr.reasons = reasons;
    }

    /// The caller is answered for the menu; `why` is the cause for which nobody else was reached.
    pub(super) fn used_menu(&mut self, why: Option<Cause>) {
        self.cdr.marks.push(Mark::Menu);
        self.cdr.reasons.extend(why);
    }

    /// A peer says with which Q.850 cause it ends the call. Only the code is kept.
    pub(super) const fn heard_reason(&mut self, q850: u8) {
        self.heard_q850 = Some(q850);
    }

    /// It was the first to meet this cap in its period.
    pub(super) fn cap_reached(&mut self, reached: CapReached) {
        self.cdr.caps_reached.push(reached);
    }

    /// The callee was asked for on this trunk; the first time counts for the set-up time.
    pub(super) fn called(&mut self, now: Now, trunk: TrunkId) {
        self.heard_q850 = None;
        self.cdr.trunk_b = Some(trunk);
        let setup = now.monotonic.saturating_duration_since(self.started);
        self.cdr.setup.get_or_insert(setup);
    }

    /// The callee's phone rings.
    pub(super) fn ringing(&mut self, now: Now) {
        self.cdr.ringing_at.get_or_insert(self.time_of(now));
    }

    /// The callee has answered.
    pub(super) fn callee_answered(&mut self, now: Now) {
        self.cdr.callee_answered_at.get_or_insert(self.time_of(now));
    }

    /// The callee is being told this.
    pub(super) fn told(&mut self, text: &Playlist, hashes: &ClipHashes, code: Option<CallCode>) {
        // Until something else comes of it.
        let result = WhisperResult::GivenUp;
        self.cdr.whisper.get_or_insert_with(|| {
            let (prompt, prompt_hash) = (prompt::names(text), Some(hashes.of(text)));
            Box::new(Whispered { result, prompt, prompt_hash, heard_at: None, code })
        });
    }

    /// The call is recorded, or it is not recorded any more though its callee was told so.
    pub(super) fn taped(&mut self, begun: bool) {
        let mark = if begun { Mark::Recorded } else { Mark::NotRecorded };
        if !self.cdr.marks.contains(&mark) {
            self.cdr.marks.push(mark);
        }
    }

    /// The callee has heard it once.
    pub(super) fn heard(&mut self, now: Now) {
        let time = self.time_of(now);
        if let Some(whisper) = &mut self.cdr.whisper {
            whisper.heard_at.get_or_insert(time);
        }
    }

    /// What came of it.
    pub(super) fn whispered(&mut self, result: WhisperResult) {
        if let Some(whisper) = &mut self.cdr.whisper {
            whisper.result = result;
        }
    }

    /// Both sides are bridged.
    pub(super) fn answered(&mut self, now: Now) {
        self.cdr.answered_at = Some(self.time_of(now));
        self.answered = Some(now.monotonic);
    }

    /// For how long both have been talking.
    pub(super) fn talked_for(&self, now: Now) -> Option<std::time::Duration> {
        self.answered.map(|answered| now.monotonic.saturating_duration_since(answered))
    }

    pub(super) fn was_answered_before(&self, time: Instant) -> bool {
        self.answered.is_some_and(|answered| answered < time)
    }

    /// Both legs have been told to end.
    pub(super) fn ended(&mut self, now: Now, cause: Cause, by: EndedBy) {
        self.cdr.ended_at = self.time_of(now);
        self.cdr.cause = cause;
        self.cdr.ended_by = by;
        // What a peer gives as its reason counts where it was the one who ended the call.
        let heard = self.heard_q850.filter(|_| by != EndedBy::Relay);
        self.cdr.q850 = heard.unwrap_or(cause.q850());
        let refused_with = self.refused_with.unwrap_or(cause.sip_status());
        self.cdr.sip_status = if self.answered.is_some() { ANSWERED_STATUS } else { refused_with };
        self.cdr.duration = self
            .answered
            .map_or(std::time::Duration::ZERO, |at| now.monotonic.saturating_duration_since(at));
    }

    /// A side is not heard while the other one is.
    pub(super) const fn unheard(&mut self, side: Side) {
        self.noticed[side.index()].one_way = true;
    }

    /// The address of a side was learnt from its packets.
    pub(super) const fn latched(&mut self, side: Side) {
        self.noticed[side.index()].latched = true;
    }

    /// The media plane's last report.
    pub(super) fn counted(&mut self, counts: [SideCounts; 2]) {
        self.cdr.media = Some(counts.map(|side| MediaCounts {
            packets: side.packets,
            lost: side.lost,
            dropped: side.dropped,
            jitter_us: side.jitter_us,
            round_trip_us: side.round_trip_us,
            mos_centi: side.mos_centi,
            ..MediaCounts::default()
        }));
    }

    /// The record as it is to be written down.
    pub(super) fn into_cdr(mut self) -> Box<Cdr> {
        for (side, noticed) in self.cdr.media.iter_mut().flatten().zip(self.noticed) {
            (side.one_way, side.latched) = (noticed.one_way, noticed.latched);
        }
        self.cdr
    }

    /// The call for the list of live calls. Absent for an attempt that never got as far as its
    /// callee: it is not live, and its end is not told either.
    pub(super) fn live(&mut self, status: CallStatus) -> Option<LiveCall> {
        self.is_announced |= status == CallStatus::Calling;
        if !self.is_announced {
            return None;
        }
        Some(LiveCall {
            call: self.cdr.call,
            tenant: self.cdr.tenant?,
            binding: self.cdr.binding?,
            agent: self.cdr.agent,
            virtual_number: self.cdr.virtual_number.clone()?,
            direction: self.cdr.direction,
            status,
            started_at: self.cdr.started_at,
            answered_at: self.cdr.answered_at,
        })
    }

    /// Read access to what is known so far.
    pub(super) const fn known(&self) -> &Cdr {
        &self.cdr
    }

    /// The time on the wall; where that clock was set back, a time that does not make the record
    /// run backwards.
    fn time_of(&self, now: Now) -> std::time::SystemTime {
        let heard_at = self.cdr.whisper.as_ref().and_then(|whisper| whisper.heard_at);
        let noted =
            [self.cdr.ringing_at, self.cdr.callee_answered_at, heard_at, self.cdr.answered_at];
        let last =
            noted.into_iter().flatten().fold(self.cdr.started_at, std::time::SystemTime::max);
        if now.wall >= last {
            return now.wall;
        }
        let elapsed = now.monotonic.saturating_duration_since(self.started);
        last.max(self.cdr.started_at + elapsed)
    }
}

const fn find_agent(caller: CallerParty) -> Option<AgentId> {
    match caller {
        CallerParty::Agent { id, .. } => Some(id),
        CallerParty::UnknownAgent | CallerParty::Subscriber | CallerParty::Stranger => None,
    }
}
