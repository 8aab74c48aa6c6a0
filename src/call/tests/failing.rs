//! Attempts that fail: refusals, dead trunks, full tables. Each gives one record with its cause.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Control, Input, Peer};
use crate::domain::binding::{BindingState, SuspendReason};
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::route::{CallerParty, Route, RouteAnswer};
use crate::sip::ids::Branch;
use crate::sip::steer::branch_in;

fn refuse(change: fn(&mut Route)) -> Harness {
    let mut h = Harness::new();
    h.store = || None;
    h.from(pbx(), Caller::agent().invite());
    let mut route = route();
    change(&mut route);
    h.answer_route(RouteAnswer::Found(Box::new(route)));
    assert!(h.take(carrier()).is_empty(), "the subscriber's phone never rings");
    h
}

/// The refusal's status, and the cause in the record.
fn outcome(mut h: Harness) -> (String, Cause) {
    let refusal = h.take(pbx()).pop().expect("a refusal");
    let cdr = h.cdr();
    let (cause, status) = (cdr.cause, cdr.sip_status.to_string());
    assert_eq!(cdr.ended_by, EndedBy::Relay);
    assert!(header(&refusal, "Reason").contains(&format!("Q.850;cause={}", cdr.q850)));
    assert_eq!(start(&refusal), format!("{status} INVITE"));
    h.check_nothing_is_left();
    (status, cause)
}

#[test]
fn the_gate_refuses_before_leg_b_exists() {
    let suspended = refuse(|route| {
        route.state = BindingState::Suspended { reason: SuspendReason::Operator, expires_at: None };
        route.tenant_active = false;
    });
    let reasons = suspended.cdr().reasons.clone();
    assert_eq!(reasons, [Cause::BindingSuspended, Cause::TenantSuspended]);
    assert!(suspended.orders.is_empty(), "no port was opened");
    assert_eq!(outcome(suspended), ("403".into(), Cause::BindingSuspended));
    let tenant = refuse(|route| route.tenant_active = false);
    assert_eq!(outcome(tenant), ("403".into(), Cause::TenantSuspended));
    let agent = refuse(|route| route.caller = CallerParty::UnknownAgent);
    assert_eq!(outcome(agent), ("403".into(), Cause::AgentUnknown));
    let over = refuse(|route| {
        route.state = BindingState::Released { released_at: std::time::SystemTime::UNIX_EPOCH };
    });
    assert_eq!(outcome(over), ("404".into(), Cause::BindingExpired));
    let no_trunk = refuse(|route| route.targets.clear());
    assert_eq!(outcome(no_trunk), ("503".into(), Cause::NoRoute));
}

#[test]
fn unknown_numbers_sound_alike_whatever_the_reason() {
    let ask = |answer: fn() -> Option<RouteAnswer>, uri: &str| {
        let mut h = Harness::new();
        h.store = answer;
        h.from(pbx(), Caller::agent().invite().replacen(X, uri, 1));
        let refusal = h.take(pbx()).pop().expect("a refusal");
        let is_ours = h.cdr().cause == Cause::Cooling;
        assert_eq!(h.cdr().virtual_number.is_some(), is_ours, "it may be somebody's own number");
        let lines: Vec<&str> = refusal.lines().filter(|line| !line.starts_with("To:")).collect();
        (lines.join("\n"), h.cdr().cause)
    };
    let missing = || Some(RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: None });
    let cooling = || Some(RouteAnswer::Missing { cause: Cause::Cooling, tenant: Some(TENANT) });
    let (unknown, cause) = ask(missing, X);
    assert_eq!(cause, Cause::NumberUnknown);
    let (rests, cause) = ask(cooling, X);
    assert_eq!((rests, cause), (unknown.clone(), Cause::Cooling));
    for no_number in ["alice", "+86138000000000000000", "12", "%00"] {
        assert_eq!(ask(found, no_number), (unknown.clone(), Cause::NumberUnknown), "{no_number}");
    }
}

#[test]
fn every_failure_of_the_callee_has_one_cause() {
    let rows = [
        ("486 Busy Here", Cause::Busy, "486"),
        ("600 Busy Everywhere", Cause::Busy, "486"),
        ("603 Decline", Cause::Rejected, "603"),
        ("403 Forbidden", Cause::Rejected, "603"),
        ("404 Not Found", Cause::Unreachable, "480"),
        ("480 Gone away", Cause::Unreachable, "480"),
        ("487 Request Terminated", Cause::NoAnswer, "480"),
        ("488 Not Acceptable Here", Cause::MediaUnacceptable, "488"),
        ("500 Server Internal Error", Cause::TrunkFailed, "503"),
        ("302 Moved Temporarily", Cause::TrunkFailed, "503"),
    ];
    for (status, cause, told) in rows {
        let mut h = Harness::new();
        let up = h.called();
        h.from(carrier(), up.reply(status));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        assert_eq!(h.lines(pbx()), [format!("{told} INVITE")]);
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (cause, EndedBy::Callee), "{status}");
        assert!(h.take(second_carrier()).is_empty());
        h.check_nothing_is_left();
    }
}

#[test]
fn a_408_moves_on_to_the_next_trunk_unless_a_phone_has_rung() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), up.reply("408 Request Timeout"));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let next = h.take_one(second_carrier());
    h.from(second_carrier(), reply(&next, "408 Request Timeout", "two", ""));
    assert_eq!(h.lines(pbx()), ["480 INVITE"]);
    assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::NoAnswer, EndedBy::Callee));
    h.check_nothing_is_left();
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(carrier(), up.reply("408 Request Timeout"));
    assert_eq!(h.lines(pbx()), ["480 INVITE"]);
    assert!(h.take(second_carrier()).is_empty(), "nobody rings the same phone twice");
    assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::NoAnswer, EndedBy::Callee));
    h.check_nothing_is_left();
}

#[test]
fn offers_that_cannot_be_relayed_are_refused_after_the_gate() {
    let video = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
                 m=video 4000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let mut h = Harness::new();
    let caller = Caller { body: video.to_owned(), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    assert!(h.orders.is_empty());
    assert_eq!(h.cdr().cause, Cause::MediaUnacceptable);
    assert_eq!(h.cdr().tenant, Some(TENANT));
    h.check_nothing_is_left();
}

#[test]
fn an_answer_that_cannot_be_relayed_ends_both_legs() {
    for body in ["", "rubbish"] {
        let mut h = Harness::new();
        let up = h.ringing();
        h.from(carrier(), reply(&up.invite, "200 OK", "bob", body));
        let sent = h.take(carrier());
        assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
        h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
        assert_eq!(h.lines(pbx()), ["488 INVITE"]);
        assert_eq!(h.cdr().cause, Cause::MediaUnacceptable);
        h.check_nothing_is_left();
    }
}

/// Answers of a phone whose 200 says not, or not readably, where to send the ACK.
const NO_CONTACT: [&str; 3] = ["", "Contact: <mailto:bob@h>\r\n", "Contact: *\r\n"];

fn without_contact(response: &str, instead: &str) -> String {
    response.replace("Contact: <sip:callee@198.51.100.77:5070>\r\n", instead)
}

#[test]
fn an_answer_without_a_usable_contact_is_acked_and_ended_and_fails_the_call() {
    for contact in NO_CONTACT {
        let mut h = Harness::new();
        let up = h.called();
        let answer = without_contact(&up.reply("200 OK"), contact);
        h.from(carrier(), &answer);
        let sent = h.take(carrier());
        assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
        for request in &sent {
            let uri = request.split_whitespace().nth(1);
            assert_eq!(uri, up.invite.split_whitespace().nth(1), "the INVITE's own target");
            assert_eq!(tag(&header(request, "To")), "bob");
            assert_eq!(header(request, "Call-ID"), header(&up.invite, "Call-ID"));
        }
        assert_eq!(h.lines(pbx()), ["503 INVITE"]);
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::TrunkFailed, EndedBy::Callee));
        h.from(carrier(), &answer);
        assert_eq!(h.lines(carrier()), ["ACK"], "its repeat is acked, not ended twice");
        h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
        h.from(carrier(), reply(&up.invite, "200 OK", "fork", &sdp("198.51.100.77", 6_000)));
        let late = h.take(carrier());
        assert_eq!(late.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
        h.from(carrier(), reply(&late[1], "200 OK", "", ""));
        assert!(h.take(second_carrier()).is_empty() && h.take(pbx()).is_empty());
        h.check_nothing_is_left();
    }
}

#[test]
fn a_fork_without_a_usable_contact_is_acked_and_ended_and_the_call_goes_on() {
    let mut h = Harness::new();
    let up = h.bridged();
    let fork = reply(&up.invite, "200 OK", "fork", &sdp("198.51.100.9", 6_100));
    h.from(carrier(), without_contact(&fork, ""));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(sent.iter().all(|text| tag(&header(text, "To")) == "fork"));
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty());
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CallerHangup);
    h.check_nothing_is_left();
}

#[test]
fn an_answer_without_a_usable_contact_after_cancel_is_acked_and_ended() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(pbx(), up.caller.cancel());
    h.from(carrier(), without_contact(&up.reply("200 OK"), ""));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
    h.check_nothing_is_left();
}

#[test]
fn an_answer_without_a_tag_cannot_be_acked_and_fails_the_call() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), reply(&up.invite, "200 OK", "", &sdp("198.51.100.77", 6_000)));
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::TrunkFailed);
    h.check_nothing_is_left();
}

#[test]
fn a_silent_trunk_is_left_within_two_seconds_and_two_never_ring() {
    let mut h = Harness::new();
    let first = h.called();
    h.advance(ms(1_999));
    assert!(h.take(second_carrier()).is_empty());
    h.advance(ms(1));
    let second = h.take_one(second_carrier());
    assert_eq!(start(&second), "INVITE");
    assert_ne!(header(&second, "Call-ID"), header(&first.invite, "Call-ID"));
    h.take(carrier());
    h.from(second_carrier(), reply(&second, "180 Ringing", "two", ""));
    assert_eq!(h.lines(pbx()), ["180 INVITE"]);
    // The first wakes up: it is cancelled, and ended properly should it answer all the same.
    h.from(carrier(), first.reply("180 Ringing"));
    assert_eq!(h.lines(carrier()), ["CANCEL"]);
    h.from(carrier(), first.reply("200 OK"));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    assert!(h.take(pbx()).is_empty());
    h.from(second_carrier(), reply(&second, "200 OK", "two", &sdp("198.51.100.77", 6_000)));
    assert_eq!(h.lines(second_carrier()), ["ACK"]);
    let mut caller = first.caller;
    caller.learn(&h.take_one(pbx()));
    h.from(pbx(), caller.ack());
    h.from(pbx(), caller.bye());
    h.confirm(second_carrier(), "BYE");
    assert_eq!(h.cdr().trunk_b, Some(second_carrier().trunk));
    assert_eq!(h.core.counters().failovers, 1);
    h.check_nothing_is_left();
}

/// ICMP repeats the request.
fn undelivered(to: Peer, request: &str) -> Input {
    let branch = branch_in(request.as_bytes()).expect("one of ours");
    Input::Undelivered { peer: to.hop(), branch }
}

#[test]
fn a_503_or_an_icmp_error_moves_on_at_once() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), up.reply("503 Service Unavailable"));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
    let mut h = Harness::new();
    let first = h.called().invite;
    h.input(undelivered(carrier(), &first));
    let second = h.take_one(second_carrier());
    assert_eq!(start(&second), "INVITE");
    h.input(undelivered(second_carrier(), &second));
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::TrunkFailed);
    h.check_nothing_is_left();
}

#[test]
fn an_icmp_error_of_somebody_who_has_not_seen_the_invite_moves_nothing_on() {
    let mut h = Harness::new();
    let invite = h.called().invite;
    let branch = branch_in(invite.as_bytes()).expect("one of ours");
    let branch = Branch::made_of(branch.shard(), || 7);
    h.input(Input::Undelivered { peer: carrier().hop(), branch });
    h.input(undelivered(second_carrier(), &invite));
    assert!(h.take(second_carrier()).is_empty() && h.take(pbx()).is_empty());
    h.advance(ms(2_000));
    assert_eq!(h.lines(second_carrier()), ["INVITE"], "its silence does");
}

#[test]
fn trunks_that_are_all_silent_fail_the_call() {
    let mut h = Harness::new();
    h.called();
    h.advance(ms(2_000) + 64 * T1);
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::TrunkFailed);
    h.check_nothing_is_left();
}

#[test]
fn a_full_house_refuses_before_a_transaction_exists() {
    let mut h = Harness::with(|config| config.calls_max = 1);
    h.bridged();
    h.advance(65 * T1);
    let mut second = Caller::at(pbx(), "8002", "second");
    let text = second.invite().replace("z9hG4bKa1", "z9hG4bKz1");
    h.from(pbx(), &text);
    let refusal = h.take_one(pbx());
    assert_eq!(start(&refusal), "503 INVITE");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    assert_eq!((h.core.occupancy().transactions, h.core.counters().refused_overload), (0, 1));
    second.learn(&refusal);
    h.from(pbx(), second.request("ACK", "z1", 1));
    assert!(h.take(pbx()).is_empty());
    assert!(h.cdrs.is_empty(), "an attempt that was never taken has no record");
}

#[test]
fn pending_routes_have_a_maximum() {
    let mut h = Harness::with(|config| config.pending_routes_max = 1);
    h.store = || None;
    h.from(pbx(), Caller::agent().invite());
    let second = Caller::at(pbx(), "8002", "second");
    h.from(pbx(), second.invite().replace("z9hG4bKa1", "z9hG4bKz1"));
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.asked.len(), 1);
}

#[test]
fn without_credit_of_the_recorder_no_attempt_is_taken() {
    let mut h = Harness::with(|config| config.recorder_credits = 0);
    h.from(pbx(), Caller::agent().invite());
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!((h.core.counters().refused_recorder, h.cdrs.len()), (1, 0));
    h.input(Input::RecorderCredit(1));
    h.from(pbx(), Caller::agent().invite());
    assert!(h.take(pbx()).is_empty(), "taken");
    assert_eq!(h.core.occupancy().recorder_credits, 0);
}

#[test]
fn a_refusal_of_what_an_invite_says_takes_a_credit_and_is_refused_without_one() {
    let mut h = Harness::with(|config| config.recorder_credits = 1);
    let text = Caller::agent().invite().replace("Max-Forwards: 70", "Max-Forwards: 0");
    let invite = || Input::Datagram { peer: pbx(), bytes: text.clone().into() };
    h.core.handle_input(h.now, invite());
    assert_eq!((h.core.occupancy().recorder_credits, h.core.counters().attempts), (0, 1));
    while h.core.poll_output().is_some() {}
    let other = text.replace("z9hG4bKa1", "z9hG4bKz1").replace("a-call@", "other@");
    h.from(pbx(), &other);
    assert_eq!(h.lines(pbx()), ["503 INVITE"], "rather no attempt than one without a record");
    assert_eq!((h.core.counters().refused_recorder, h.cdrs.len()), (1, 0));
    h.input(Input::RecorderCredit(1));
    h.from(pbx(), &other);
    assert_eq!(h.lines(pbx()), ["483 INVITE"]);
    assert_eq!((h.core.occupancy().recorder_credits, h.cdrs.len()), (1, 1));
}

#[test]
fn draining_refuses_attempts_and_probes_and_lets_calls_go_on() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.control(Control::Drain);
    let second = Caller::at(pbx(), "8002", "second");
    h.from(pbx(), second.invite().replace("z9hG4bKa1", "z9hG4bKz1"));
    h.from(pbx(), second.request("OPTIONS", "z2", 1));
    let refusals = h.take(pbx());
    assert_eq!(
        refusals.iter().map(|text| start(text)).collect::<Vec<_>>(),
        ["503 INVITE", "503 OPTIONS"]
    );
    assert!(refusals.iter().all(|text| header(text, "Retry-After") == "5"));
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_call_that_goes_on_while_draining_still_answers_its_peers_questions() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.control(Control::Drain);
    h.from(pbx(), up.caller.request("OPTIONS", "o1", 2));
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 OPTIONS", "a 503 would end the call at some PBXs");
    assert_eq!(header(&answer, "Allow"), "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK");
    h.from(carrier(), callee_request(&up.invite, "OPTIONS", "bob", 1));
    assert_eq!(h.lines(carrier()), ["200 OPTIONS"]);
    h.from(pbx(), Caller::at(pbx(), "8001", "probe").request("OPTIONS", "o2", 1));
    assert_eq!(h.lines(pbx()), ["503 OPTIONS"], "outside of it the relay says that it drains");
    h.from(carrier(), callee_request(&up.invite, "BYE", "bob", 2));
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    h.confirm(pbx(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}
