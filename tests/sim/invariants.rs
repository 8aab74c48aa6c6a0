//! What must always hold, as numbered sentences. They look at bytes on wires, records and counts,
//! never into the brain.

use std::fmt;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use maskline::call::io::{CallStatus, LiveCall};
use maskline::domain::cdr::Cdr;
use maskline::domain::id::BindingId;
use maskline::phone::{CallState, Voice};

use crate::cast::{EVERYBODY, Who};
use crate::model::POLICY;
use crate::store::LOOKUPS_MAX;
use crate::whispers;
use crate::wire;
use crate::witness::{Attempt, Invited, Witness};
use crate::world::World;

/// The sentences. (9) and (10) follow from the design pages on failover and on both legs.
const SENTENCES: [&str; 12] = [
    "no bytes received by one side contain the other side's real number or address",
    "media arrives only at the other side of the same call, never after its end",
    "every attempt gives exactly one CDR, with times in order",
    "final states leave no timer, port or transaction",
    "an open port belongs to one live call or is in quarantine",
    "system and model agree on allow or refuse",
    "every queue stays below its named maximum",
    "after an acknowledged unbind or block no new connection goes through it",
    "both legs of a call end alike",
    "never do two trunks ring one subscriber for one call",
    "the caller is never answered before the callee was told who calls, and accepts",
    "each announced call has one result, and the keys that were pressed explain it",
];

/// After an acknowledged unbind, a ringing call through it is over within this time.
const UNBIND_TIME_MAX: Duration = Duration::from_secs(1);

/// An invariant that does not hold.
#[derive(Debug)]
pub(crate) struct Broken {
    number: u8,
    what: String,
}

impl Broken {
    pub(crate) fn new(number: u8, what: String) -> Self {
        Self { number, what }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = SENTENCES[usize::from(self.number) - 1];
        write!(f, "invariant {} ({sentence}): {}", self.number, self.what)
    }
}

pub(crate) type Verdict = Result<(), Broken>;

pub(crate) fn demand(holds: bool, number: u8, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken::new(number, what())) }
}

/// What a phone must never receive: everybody else's number and address.
static SECRETS: LazyLock<Vec<(Who, Vec<String>)>> = LazyLock::new(|| {
    let secrets_for = |who: Who| {
        let others = EVERYBODY.into_iter().filter(|other| other.host != who.host);
        others.flat_map(Who::secrets).filter(|secret| !who.secrets().contains(secret)).collect()
    };
    EVERYBODY.into_iter().map(|who| (who, secrets_for(who))).collect()
});

/// The header names that the relay may write: at most twenty-two towards either side.
const HEADERS: [&str; 22] = [
    "Via",
    "Max-Forwards",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Allow",
    "Supported",
    "Require",
    "RSeq",
    "RAck",
    "Session-Expires",
    "Min-SE",
    "Recv-Info",
    "Unsupported",
    "Accept",
    "Retry-After",
    "Reason",
    "X-Maskline-Binding",
    "Content-Type",
    "Content-Length",
];

fn no_secret_in(who: Who, bytes: &[u8]) -> Verdict {
    let secrets = SECRETS.iter().find(|(known, _)| *known == who).map(|(_, secrets)| secrets);
    for secret in secrets.into_iter().flatten() {
        let found = memchr::memmem::find(bytes, secret.as_bytes()).is_some();
        demand(!found, 1, || {
            format!("{} is sent {secret}:\n{}", who.name, String::from_utf8_lossy(bytes))
        })?;
    }
    Ok(())
}

/// A SIP message leaves the relay.
pub(crate) fn signal_leaves(world: &World, to: SocketAddr, bytes: &[u8]) -> Verdict {
    let who = Who::at(to.ip()).filter(|who| who.sip() == to);
    let Some(who) = who else { return Err(Broken::new(1, format!("bytes for a stranger, {to}"))) };
    no_secret_in(who, bytes)?;
    for name in wire::header_names(bytes) {
        demand(HEADERS.contains(&name), 1, || format!("the header {name} crosses"))?;
    }
    let mut witness = world.witness.borrow_mut();
    let invited = witness.relay_sends(world.now, who, bytes);
    let invited = invited.map_err(|what| Broken::new(5, what.to_owned()))?;
    if matches!(wire::status(bytes), Some(200..=299))
        && wire::header(bytes, "CSeq").ends_with("INVITE")
        && let Some(attempt) = witness.attempts.get(wire::header(bytes, "Call-ID"))
    {
        whispers::caller_is_answered(world, attempt)?;
    }
    drop(witness);
    invited.map_or(Ok(()), |invited| somebody_is_called(world, who, &invited))
}

fn somebody_is_called(world: &World, to: Who, invited: &Invited) -> Verdict {
    let witness = world.witness.borrow();
    let attempt = witness.attempt(invited.call).expect("an invited call has its attempt");
    let decided = attempt.routed.unwrap_or(world.now).wall;
    let allowed = witness
        .facts_since(attempt.arrived.monotonic)
        .filter_map(|(_, facts)| facts.reached(invited.dialler, &invited.number, decided).ok())
        .any(|callee| callee.user == to.user && callee.user == invited.user);
    demand(allowed, 6, || {
        format!("{} dials {} and {} is called", invited.dialler.name, invited.number, to.name)
    })?;
    demand(invited.caller_shown == invited.number, 1, || {
        format!("the caller is shown as {}", invited.caller_shown)
    })?;
    demand(!is_ended(world, attempt.binding), 8, || format!("{} is called", to.name))?;
    demand(!witness.rings_elsewhere(invited.call, &invited.branch), 10, || {
        format!("{} is called while another trunk rings", to.name)
    })
}

fn is_ended(world: &World, binding: Option<BindingId>) -> bool {
    let witness = world.witness.borrow();
    binding
        .and_then(|binding| witness.ended_bindings.get(&binding))
        .is_some_and(|ended| ended.acknowledged < world.now.monotonic)
}

/// A media packet leaves the relay.
pub(crate) fn media_leaves(world: &World, to: SocketAddr, bytes: &[u8]) -> Verdict {
    let Some(who) = Who::at(to.ip()) else {
        return Err(Broken::new(2, format!("media for a stranger, {to}")));
    };
    no_secret_in(who, bytes)?;
    let is_rtp = to.port().is_multiple_of(2);
    let rtp = SocketAddr::new(to.ip(), to.port() & !1);
    let witness = world.witness.borrow();
    let speaker = bytes.get(12..).and_then(Voice::find_signature);
    let mut open = witness
        .sessions
        .values()
        .filter(|session| !session.closing && session.remote.contains(&Some(rtp)));
    if speaker.is_none() && open.clone().any(|session| session.hears_us(rtp, is_rtp)) {
        return no_header_crosses(&witness, bytes, is_rtp);
    }
    let Some(session) = open.find(|session| session.bridged) else {
        return Err(Broken::new(2, format!("media for {to} without a bridged call")));
    };
    let call = session.call.and_then(|call| witness.attempt(call));
    let paired = call.is_some_and(|attempt| {
        let hosts = session.remote.map(|remote| remote.map(|address| address.ip()));
        // A caller without an offer says with its ACK where it listens.
        hosts[0].is_none_or(|host| host == attempt.dialler.ip())
            && attempt.invited.iter().any(|(_, who)| hosts[1] == Some(who.ip()))
    });
    demand(paired, 2, || format!("media for {to} of nobody's call"))?;
    if is_rtp {
        if let Some(key) = whispers::key_in_packet(bytes) {
            let is_insurers = who.tenant().is_some();
            return demand(!is_insurers, 2, || format!("{} is told of the key {key}", who.name));
        }
        let from_other_side = speaker
            .is_some_and(|speaker| speaker != rtp && session.remote.contains(&Some(speaker)));
        demand(from_other_side, 2, || format!("{to} hears {speaker:?}"))?;
    }
    no_header_crosses(&witness, bytes, is_rtp)
}

fn no_header_crosses(witness: &Witness, bytes: &[u8], is_rtp: bool) -> Verdict {
    if !is_rtp {
        return Ok(());
    }
    let stream = bytes.get(8..12).and_then(|name| <[u8; 4]>::try_from(name).ok());
    let is_ours = stream.is_some_and(|name| !witness.streams_of_phones.contains(&name));
    demand(is_ours, 1, || "the name of a phone's stream crosses".to_owned())?;
    demand(bytes.first() == Some(&0x80), 1, || "header extensions or CSRC cross".to_owned())
}

/// A live call changes its status.
pub(crate) fn status_changes(world: &World, live: &LiveCall) -> Verdict {
    let mut witness = world.witness.borrow_mut();
    let before = witness.attempt(live.call).and_then(|attempt| attempt.statuses.last().copied());
    witness.status_changes(live);
    drop(witness);
    let legal = match (before, live.status) {
        (None, CallStatus::Calling | CallStatus::Ended)
        | (Some(CallStatus::Calling), CallStatus::Ringing)
        | (Some(CallStatus::Calling | CallStatus::Ringing), CallStatus::Answered)
        | (
            Some(CallStatus::Calling | CallStatus::Ringing | CallStatus::Answered),
            CallStatus::Ended,
        ) => true,
        (None | Some(_), _) => false,
    };
    demand(legal, 3, || format!("a call goes from {before:?} to {:?}", live.status))?;
    let late = live.status == CallStatus::Answered && is_ended(world, Some(live.binding));
    demand(!late, 8, || format!("a call through {} is bridged", live.virtual_number))
}

/// A record is written.
pub(crate) fn record_written(world: &World, cdr: &Cdr) -> Verdict {
    let known = world.witness.borrow_mut().record(cdr);
    demand(known, 3, || "a record of no attempt".to_owned())?;
    let witness = world.witness.borrow();
    let attempt = witness.attempt(cdr.call).expect("checked above");
    demand(attempt.cdrs.len() == 1, 3, || format!("{} records", attempt.cdrs.len()))?;
    times_are_in_order(world, attempt, cdr)?;
    whispers::record_fits(world, attempt, cdr)?;
    let invited = !attempt.invited.is_empty();
    demand(cdr.setup.is_some() == invited && cdr.trunk_b.is_some() == invited, 3, || {
        format!("invited: {invited}, but the record says {cdr:?}")
    })?;
    demand(cdr.binding.is_none() || cdr.binding == attempt.binding, 3, || {
        "the record names another binding".to_owned()
    })?;
    if !POLICY.contains(&cdr.cause) {
        return Ok(());
    }
    let decided = attempt.routed.unwrap_or(world.now).wall;
    let agreed = witness.facts_since(attempt.arrived.monotonic).any(|(_, facts)| {
        let wanted = facts.reached(attempt.dialler, &attempt.number, decided);
        // A binding that ends after it was found ends the call with its own cause, not with that
        // of the next caller, who finds a cooling number.
        wanted.err() == Some(cdr.cause)
    });
    let agreed =
        agreed || attempt.binding.is_some_and(|it| witness.ended_bindings.contains_key(&it));
    demand(agreed, 6, || {
        format!("{} dials {}: {}", attempt.dialler.name, attempt.number, cdr.cause.label())
    })
}

fn times_are_in_order(world: &World, attempt: &Attempt, cdr: &Cdr) -> Verdict {
    let heard_at = cdr.whisper.as_ref().and_then(|whisper| whisper.heard_at);
    let (rang, told) = (cdr.ringing_at, [cdr.callee_answered_at, heard_at]);
    let times = [Some(cdr.started_at), rang, told[0], told[1], cdr.answered_at, Some(cdr.ended_at)];
    let times: Vec<_> = times.into_iter().flatten().collect();
    demand(times.is_sorted(), 3, || format!("{cdr:?}"))?;
    demand(cdr.started_at == attempt.arrived.wall, 3, || "it began at another time".to_owned())?;
    let answered = cdr.answered_at.is_some();
    demand(answered == (cdr.sip_status == 200), 3, || format!("{cdr:?}"))?;
    demand(answered || cdr.duration.is_zero(), 3, || format!("{cdr:?}"))?;
    let lasted = world.now.monotonic - attempt.arrived.monotonic;
    demand(cdr.duration <= lasted, 3, || format!("longer than {lasted:?}: {cdr:?}"))?;
    let told = attempt.final_status.map(|(_, status)| status);
    demand(told.is_none_or(|status| status == cdr.sip_status), 3, || {
        format!("the caller was told {told:?}, the record says {}", cdr.sip_status)
    })
}

/// After every step.
pub(crate) fn after_step(world: &World) -> Verdict {
    let witness = world.witness.borrow();
    for session in world.media.open_sessions() {
        let attempt = witness.call_of(session).and_then(|call| witness.attempt(call));
        let live = attempt.is_some_and(|attempt| attempt.cdrs.is_empty());
        demand(live, 5, || format!("{session:?} is open and its call is over"))?;
    }
    let core = world.core.occupancy();
    let config = &world.config;
    let bounded = [
        ("calls", core.calls, config.calls_max),
        ("pending routes", core.pending_routes, config.pending_routes_max),
        ("look-ups", world.store.waiting(), LOOKUPS_MAX),
        ("records", usize_from(world.recorder.waiting()), usize_from(config.recorder_credits)),
    ];
    for (queue, depth, most) in bounded {
        demand(depth <= most, 7, || format!("{queue}: {depth} of {most}"))?;
    }
    for (binding, ended) in &witness.ended_bindings {
        if ended.acknowledged + UNBIND_TIME_MAX >= world.now.monotonic {
            continue;
        }
        // Where nobody was called, the caller may still be hearing why.
        let called = |a: &&Attempt| a.binding == Some(*binding) && !a.invited.is_empty();
        for attempt in witness.attempts.values().filter(called) {
            let talks = attempt.statuses.contains(&CallStatus::Answered);
            let over = attempt.statuses.last().is_none_or(|last| *last == CallStatus::Ended)
                && attempt.final_status.is_some();
            demand(over || talks && !ended.drops_calls, 8, || {
                format!("{} still rings through {}", attempt.dialler.name, attempt.number)
            })?;
        }
    }
    Ok(())
}

/// When nothing is left to happen.
pub(crate) fn at_the_end(world: &World) -> Verdict {
    let core = world.core.occupancy();
    demand(core.is_empty(), 4, || format!("{core:?}"))?;
    demand(core.recorder_credits == world.config.recorder_credits, 4, || {
        format!("credits: {}", core.recorder_credits)
    })?;
    demand(world.core.poll_timeout().is_none(), 4, || "a timer is left".to_owned())?;
    demand(world.media.open_sessions().next().is_none(), 4, || "ports are open".to_owned())?;
    demand(world.store.waiting() == 0, 4, || "a look-up is left".to_owned())?;
    let counters = world.core.counters();
    demand(counters.invariants_broken == 0, 4, || format!("{counters:?}"))?;
    let witness = world.witness.borrow();
    let mut records = 0;
    for attempt in witness.attempts.values() {
        let taken = attempt.call.is_some();
        records += attempt.cdrs.len() as u64;
        demand(attempt.cdrs.len() == usize::from(taken), 3, || format!("{attempt:?}"))?;
        // Only what there is no room for is refused without a record: by a 503 without a trace.
        let refused = attempt.final_status.is_some_and(|(_, status)| status == 503);
        demand(taken || refused, 3, || format!("neither taken nor refused: {attempt:?}"))?;
    }
    demand(records == counters.attempts, 3, || {
        format!("{records} records of {} attempts", counters.attempts)
    })?;
    if world.net.is_reliable() { both_sides_agree(world) } else { Ok(()) }
}

/// With a network that loses nothing, no phone is left in a call that the relay has ended.
fn both_sides_agree(world: &World) -> Verdict {
    for (who, phone) in &world.people.borrow().phones {
        for call in phone.calls() {
            let over = matches!(call.state, CallState::Over(_));
            demand(over, 9, || format!("{} is still in a call: {call:?}", who.name))?;
        }
    }
    Ok(())
}

fn usize_from(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
