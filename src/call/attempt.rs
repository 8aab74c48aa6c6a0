//! From an INVITE to an attempt: what of it is read, and the question that is asked about it.

use std::time::Duration;

use super::call::Call;
use super::clocks::Agreed;
use super::core::CallCore;
use super::coupling::Action;
use super::io::{Output, Peer, PeerRole};
use super::leg_a::LegA;
use super::place::{Part, Place, Serial};
use super::record::Record;
use super::set_up::{Offer, SetUp};
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::cdr::Direction;
use crate::domain::id::{CallId, IntentId};
use crate::domain::mark::Mark;
use crate::domain::now::Now;
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::{Purpose, Stated};
use crate::domain::route::{AGENT_MARK, CALLER_CHARS_MAX, RouteQuery};
use crate::domain::trust::TrunkIdentity;
use crate::rtp::plane::Side;
use crate::sdp::{self, InvalidSdp, MediaNetworks, Srtp};
use crate::sip::address::Address;
use crate::sip::dialog::{Dialog, State};
use crate::sip::header::HeaderId;
use crate::sip::ids::Branch;
use crate::sip::message::Message;
use crate::sip::session_timer::{self, Decision};
use crate::sip::timers::TRYING_WITHIN;
use crate::sip::transaction::ServerId;
use crate::sip::via::{Via, default_port_of};

impl CallCore {
    /// An INVITE outside of any dialog that has passed the checks of a user agent.
    pub(super) fn on_attempt(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
    ) {
        if is_loop(&self.wires, message) || shows_itself(&self.wires, peer, message) {
            self.wires.counters.loops += 1;
            return self.turn_away(now, peer, server, message, 482, Cause::NoRoute);
        }
        let Ok(seat) = self.wires.accounts.seat(peer.trunk, now) else {
            self.wires.counters.trunks_full += 1;
            return self.turn_away(now, peer, server, message, 503, Cause::Overload);
        };
        let session = match self.wires.decide_session(message) {
            Decision::TooSmall => {
                return self.turn_away(now, peer, server, message, 422, Cause::NoRoute);
            }
            Decision::Off => None,
            Decision::On(terms) => {
                let takes_update = session_timer::takes_update(message);
                Some(Agreed { terms, is_uac: false, takes_update })
            }
        };
        let srtp = self.wires.srtp_of(peer);
        let networks = self.wires.media_networks(peer.trunk);
        let Ok(offer) = read_offer(message, srtp, &networks) else {
            return self.turn_away(now, peer, server, message, 400, Cause::MediaUnacceptable);
        };
        let Some(serial) = self.calls.next_serial() else {
            return self.turn_away(now, peer, server, message, 503, Cause::Overload);
        };
        let place = Place { serial, part: Part::Caller };
        let tag = self.wires.new_tag(place);
        let Ok(dialog) = Dialog::from_invite(message, &tag, State::Early) else {
            self.wires.places.remove(&tag);
            return self.turn_away(now, peer, server, message, 400, Cause::NoRoute);
        };
        self.wires.transactions.set_owner(server, place.to_owner());
        let id = self.new_id(now);
        let country = &self.wires.config.country_code;
        let identity = self.wires.accounts.identity(peer.trunk);
        let account = self.wires.accounts.registered_as(peer.trunk);
        let reading = Reading { country, identity, account };
        let (record, query) = question(now, id, peer, message, &reading);
        let leg_a = LegA::new(serial, *peer, tag, dialog, server, message, &mut self.wires);
        let mut set_up = SetUp::new(offer, srtp, message.max_forwards());
        set_up.sessions[Side::A.index()] = session;
        self.insert(Call::new(id, serial, leg_a, record, set_up, [seat, None]));
        let trying_at = now.monotonic + TRYING_WITHIN;
        self.wires.timers.arm(now.monotonic, serial, Timer::Trying, trying_at);
        if let Some(seconds) = message.expires().filter(|seconds| *seconds <= EXPIRES_S_MAX) {
            let expires_at = now.monotonic + Duration::from_secs(u64::from(seconds));
            self.wires.timers.arm(now.monotonic, serial, Timer::Expires, expires_at);
        }
        self.ask(now, id, serial, query);
    }

    /// Refuses an attempt that nobody is asked about, and writes it down.
    fn turn_away(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        status: u16,
        cause: Cause,
    ) {
        self.answer(now, peer, server, message, status);
        self.record_refusal(now, peer, status, cause);
    }

    /// Writes down an attempt that was refused with `status` before it became a call. Its credit is
    /// there: without one it would not have got as far as its transaction.
    pub(super) fn record_refusal(&mut self, now: Now, peer: &Peer, status: u16, cause: Cause) {
        let mut record = record_of(now, self.new_id(now), peer);
        record.turned_away(now, cause, status);
        self.take_credit();
        self.wires.outputs.push_back(Output::Finished(record.into_cdr()));
    }

    fn new_id(&mut self, now: Now) -> CallId {
        CallId::new(now.unix_ms(), self.wires.random_u128())
    }

    /// Each attempt takes one credit and gives one record.
    fn take_credit(&mut self) {
        self.wires.counters.invariants_broken += u64::from(self.credits == 0);
        self.credits = self.credits.saturating_sub(1);
        self.wires.counters.attempts += 1;
    }

    fn insert(&mut self, call: Call) {
        self.by_id.insert(call.id, call.serial);
        self.calls.insert(call);
        self.live += 1;
        self.pending_routes += 1;
        self.take_credit();
    }

    /// Asks who is reached by the number; what is no number reaches nobody.
    fn ask(&mut self, now: Now, id: CallId, serial: Serial, query: Option<RouteQuery>) {
        self.with_call(now, serial, |call, wires| match query {
            Some(query) => {
                call.carry_out(wires, now, Action::Arm(Timer::Route));
                wires.outputs.push_back(Output::FindRoute { call: id, query });
            }
            None => {
                if let Some(record) = call.record_mut() {
                    record.missing(Cause::NumberUnknown, None);
                }
                let event = call.refused(wires, Cause::NumberUnknown);
                call.happen(wires, now, event);
            }
        });
    }
}

/// No attempt lasts for longer, so that nobody need watch for it.
const EXPIRES_S_MAX: u32 = 3_600;

/// Whether the INVITE was ours once: one of its Via values is.
fn is_loop(wires: &Wires, message: &Message) -> bool {
    message.values(HeaderId::Via).any(|value| {
        let Ok(via) = Via::parse(value) else { return false };
        let port = via.port.unwrap_or(default_port_of(via.transport));
        let is_our_branch = via.branch.and_then(Branch::parse).is_some();
        is_our_branch && wires.names.is_one(via.host, port)
    })
}

/// Whether a carrier says that the caller is the number that is called. It is what we show of a
/// call: whoever was called has forwarded it there, and who is in between has left nothing else of
/// what we have written.
fn shows_itself(wires: &Wires, peer: &Peer, message: &Message) -> bool {
    if peer.role != PeerRole::Carrier {
        return false;
    }
    let country = &wires.config.country_code;
    let identity = wires.accounts.identity(peer.trunk);
    let account = wires.accounts.registered_as(peer.trunk);
    let dialled = read_dialled(message, peer.role, &Reading { country, identity, account });
    let caller = read_caller(message, identity);
    let caller = caller.and_then(|text| identity.format_in.read_virtual(&text, country).ok());
    caller.zip(dialled).is_some_and(|(caller, (dialled, _))| caller == dialled)
}

/// The caller's offer. One that cannot be relayed is refused after the gate's word about the call,
/// a broken one at once.
fn read_offer(
    message: &Message,
    srtp: Srtp,
    networks: &MediaNetworks,
) -> Result<Offer, InvalidSdp> {
    if message.body().is_empty() {
        return Ok(Offer::Wanted);
    }
    match sdp::parse_with(message.body(), srtp).and_then(|offer| networks.admit(offer)) {
        Ok(offer) => Ok(Offer::Made(offer)),
        Err(InvalidSdp::NoAudio | InvalidSdp::NoCodec) => Ok(Offer::Unusable),
        Err(broken @ (InvalidSdp::TooLarge | InvalidSdp::Malformed)) => Err(broken),
    }
}

/// The record of an attempt from this peer.
fn record_of(now: Now, id: CallId, peer: &Peer) -> Record {
    let direction = match peer.role {
        PeerRole::Insurer { .. } | PeerRole::Agent { .. } | PeerRole::Softphone => {
            Direction::ToSubscriber
        }
        PeerRole::Carrier => Direction::FromSubscriber,
    };
    let mut record = Record::new(now, id, peer.trunk, direction);
    if let PeerRole::Insurer { tenant } | PeerRole::Agent { tenant, .. } = peer.role {
        record.belongs_to(tenant);
    }
    record
}

/// How what a trunk writes is to be read.
struct Reading<'a> {
    /// Calling code of national numbers.
    country: &'a str,
    identity: TrunkIdentity,
    /// The user of our own Contact at this trunk.
    account: Option<&'a str>,
}

/// What is written down about the attempt, and what is asked about it; no question when the
/// Request-URI holds no number.
fn question(
    now: Now,
    id: CallId,
    peer: &Peer,
    message: &Message,
    reading: &Reading<'_>,
) -> (Record, Option<RouteQuery>) {
    let Reading { country, identity, .. } = *reading;
    let mut record = record_of(now, id, peer);
    let Some((dialled, code)) = read_dialled(message, peer.role, reading) else {
        return (record, None);
    };
    let mut stated = Stated::default();
    if identity.trusted {
        stated = read_stated(message);
        record.marked(read_marks(message));
    }
    if stated.purpose == Purpose::Unspecified {
        stated.purpose = code.unwrap_or_default();
    }
    if peer.role != PeerRole::Carrier {
        record.stated(stated);
    }
    record.dialled(dialled.clone());
    let trunk = peer.trunk;
    let caller = read_caller(message, identity);
    let query = match peer.role {
        PeerRole::Insurer { tenant } => {
            // A name that is too long is no agent's; cut short it might be another one's.
            let caller = caller.filter(|name| name.chars().count() <= CALLER_CHARS_MAX);
            // Nor is one that only a proved softphone has.
            let caller = caller.filter(|name| !name.starts_with(AGENT_MARK));
            let caller = caller.unwrap_or_default().into();
            RouteQuery::FromInsurer { trunk, tenant, dialled, caller, stated }
        }
        PeerRole::Agent { tenant, agent } => {
            let caller = format!("{AGENT_MARK}{agent}").into();
            RouteQuery::FromInsurer { trunk, tenant, dialled, caller, stated }
        }
        // It has proved nothing and never gets this far.
        PeerRole::Softphone => return (record, None),
        PeerRole::Carrier => {
            let caller = caller.and_then(|text| identity.format_in.read_real(&text, country).ok());
            RouteQuery::FromCarrier { trunk, dialled, caller }
        }
    };
    (record, Some(query))
}

/// The number that was dialled. A person of an insurer may dial a `*` and the code of a purpose
/// behind it.
fn read_dialled(
    message: &Message,
    role: PeerRole,
    reading: &Reading<'_>,
) -> Option<(VirtualNumber, Option<Purpose>)> {
    let Reading { country, identity, account } = *reading;
    let uri = message.request_uri().ok()?;
    let number = match uri.user_unescaped()? {
        // A carrier that we have registered at may put our Contact there (RFC 3261 §16.5); To still
        // says what was dialled. It is looked up among the numbers of that trunk like any other.
        user if role == PeerRole::Carrier && account == Some(&*user) => {
            message.to().parse_uri().ok()?.number()?
        }
        _ => uri.number()?,
    };
    let (digits, purpose) = match number.split_once('*') {
        Some((digits, code)) if role != PeerRole::Carrier => {
            (digits, Some(Purpose::find_code(code)?))
        }
        Some(_) | None => (&*number, None),
    };
    Some((identity.format_in.read_virtual(digits, country).ok()?, purpose))
}

/// What a trusted PBX says of the attempt. A purpose that we do not know is none; what names no
/// intent names one that never waits, so that no other is used in its place.
pub(super) fn read_stated(message: &Message) -> Stated {
    let text = |name| std::str::from_utf8(message.header_named(name)?).ok();
    Stated {
        purpose: text(PURPOSE).and_then(Purpose::find_label).unwrap_or_default(),
        intent: message
            .header_named(INTENT)
            .filter(|value| !value.is_empty())
            .map(|_| text(INTENT).and_then(|it| IntentId::parse(it).ok()).unwrap_or(NO_INTENT)),
    }
}

/// What a trusted trunk says of the attempt in headers whose texts are not kept.
fn read_marks(message: &Message) -> Vec<Mark> {
    let is_there = |id| message.header(id).is_some_and(|value| !value.is_empty());
    let is_marked = |mark: &Mark| match mark {
        // The first entry of a history is where the call was meant to go.
        Mark::Diverted => {
            is_there(HeaderId::Diversion) || message.values(HeaderId::HistoryInfo).nth(1).is_some()
        }
        Mark::Private => message.header(HeaderId::Privacy).is_some_and(hides_something),
        Mark::Signed => is_there(HeaderId::Identity),
        Mark::Menu | Mark::Recorded | Mark::NotRecorded => false,
    };
    Mark::ALL.into_iter().filter(is_marked).collect()
}

/// Whether a value of Privacy (RFC 3323 §4.2) asks for any.
fn hides_something(value: &[u8]) -> bool {
    let words = value.split(|byte| matches!(byte, b';' | b',' | b' ' | b'\t')).take(WORDS_MAX);
    words.filter(|word| !word.is_empty()).any(|word| !word.eq_ignore_ascii_case(b"none"))
}

/// Words of one Privacy that are looked at.
const WORDS_MAX: usize = 16;

/// Read from trusted trunks, never written.
const PURPOSE: &str = "X-Maskline-Purpose";
const INTENT: &str = "X-Maskline-Intent";
/// No intent has this name.
const NO_INTENT: IntentId = IntentId::from_u128(0);

/// Who calls: what a trusted trunk asserts, else the user part of From. Nothing of either is ever
/// passed on.
fn read_caller(message: &Message, identity: TrunkIdentity) -> Option<String> {
    let asserted = if identity.trusted { read_asserted(message) } else { None };
    asserted.or_else(|| Some(message.from().parse_uri().ok()?.number()?.into_owned()))
}

/// RFC 3325, and the older header that means the same. One of two values may be without a number.
fn read_asserted(message: &Message) -> Option<String> {
    let number = |value| Some(Address::parse(value).ok()?.parse_uri().ok()?.number()?.into_owned());
    let headers =
        [HeaderId::PAssertedIdentity, HeaderId::PPreferredIdentity, HeaderId::RemotePartyId];
    let values = headers.into_iter().flat_map(|id| message.values(id)).take(ASSERTED_MAX);
    values.filter_map(number).next()
}

/// Identities of one request that are looked at.
const ASSERTED_MAX: usize = 6;
