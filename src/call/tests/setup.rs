//! Calls that go well, and the ways in which they end.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{CallStatus, Control, Input};
use crate::domain::cause::Cause;
use crate::domain::cdr::{Direction, EndedBy};
use crate::domain::route::{RouteAnswer, RouteQuery};
use crate::rtp::plane::{Command, Report, SessionId, Side};

#[test]
fn an_agent_reaches_the_subscriber_by_the_virtual_number() {
    let mut h = Harness::new();
    let up = h.bridged();
    let uri = up.invite.split_whitespace().nth(1).expect("a Request-URI").to_owned();
    assert_eq!(uri, format!("sip:{BOB}@198.51.100.1:5060"));
    assert!(header(&up.invite, "From").contains(&format!("sip:{X}@")));
    assert!(header(&up.invite, "To").contains(BOB));
    assert_ne!(header(&up.invite, "Call-ID"), up.caller.call_id);
    assert_eq!(header(&up.invite, "Max-Forwards"), "69");
    assert!(header(&up.invite, "Contact").contains("203.0.113.5:5060"));
    assert_eq!(header(&up.invite, "X-Maskline-Binding"), "", "no business of a carrier's");
    assert!(up.invite.contains("c=IN IP4 203.0.113.5") && up.invite.contains("m=audio 20002"));
    let (_, RouteQuery::FromInsurer { dialled, caller, .. }) = &h.asked[0] else {
        panic!("an agent's question");
    };
    assert_eq!((dialled.as_str(), &**caller), (X, "8001"));
    h.advance(ms(10_000));
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CallerHangup, EndedBy::Caller));
    assert_eq!((cdr.sip_status, cdr.q850, cdr.duration), (200, 16, ms(10_000)));
    assert_eq!((cdr.direction, cdr.trunk_b), (Direction::ToSubscriber, Some(carrier().trunk)));
    assert!(cdr.setup.is_some() && cdr.ringing_at.is_some() && cdr.media.is_some());
    h.check_nothing_is_left();
}

#[test]
fn media_is_opened_joined_and_closed_in_this_order() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    let session = SessionId(h.cdr().call.as_u128());
    let kinds: Vec<&str> = h
        .orders
        .iter()
        .map(|order| match order {
            Command::Open { .. } => "open",
            Command::Update { side: Side::A, remote, .. } => {
                assert_eq!(remote.rtp.to_string(), "192.0.2.20:4000");
                "a"
            }
            Command::Update { side: Side::B, remote, .. } => {
                assert_eq!(remote.rtp.to_string(), "198.51.100.77:6000");
                "b"
            }
            Command::Bridge { .. } => "bridge",
            Command::Hold { .. } => "hold",
            Command::Record { .. } => "record",
            Command::Play { .. } => "play",
            Command::Stop { .. } => "stop",
            Command::Keys { .. } => "keys",
            Command::Close { .. } => "close",
        })
        .collect();
    assert_eq!(kinds, ["open", "a", "b", "keys", "keys", "bridge", "close"]);
    assert!(h.orders.iter().all(|order| order.session() == session));
}

#[test]
fn a_live_call_tells_how_far_it_is() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), up.callee_bye());
    let seen: Vec<CallStatus> = h.statuses.iter().map(|live| live.status).collect();
    use CallStatus::{Answered, Calling, Ended, Ringing};
    assert_eq!(seen, [Calling, Ringing, Answered, Ended]);
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.confirm(pbx(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn the_subscriber_calls_back_and_reaches_the_desk() {
    let mut h = Harness::new();
    h.store = || Some(RouteAnswer::Found(Box::new(desk_route())));
    let mut caller = Caller::at(carrier(), "13800001234", "carrier-call");
    caller.body = sdp("198.51.100.66", 7_000);
    h.from(carrier(), caller.invite());
    let invite = h.take_one(pbx());
    assert!(invite.starts_with("INVITE sip:600@192.0.2.10:5060 SIP/2.0\r\n"), "{invite}");
    assert!(header(&invite, "From").contains(&format!("sip:{X}@")));
    assert_eq!(header(&invite, "X-Maskline-Binding"), BINDING.to_string());
    assert!(!invite.contains("1380000"));
    let (_, RouteQuery::FromCarrier { caller: Some(_), .. }) = &h.asked[0] else {
        panic!("a question with a caller");
    };
    h.from(pbx(), reply(&invite, "200 OK", "desk", &sdp("192.0.2.20", 4_000)));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    caller.learn(&h.take_one(carrier()));
    h.from(carrier(), caller.ack());
    h.from(carrier(), caller.bye());
    h.confirm(pbx(), "BYE");
    assert_eq!(h.cdr().direction, Direction::FromSubscriber);
    assert_eq!(h.cdr().agent, None);
    h.check_nothing_is_left();
}

#[test]
fn our_200_is_repeated_ever_slower_until_the_ack_comes() {
    let mut h = Harness::new();
    let up = h.answered();
    let mut repeats = Vec::new();
    for step in 0..140 {
        h.advance(ms(100));
        repeats.extend(h.lines(pbx()).into_iter().map(|_| (step + 1) * 100));
    }
    assert_eq!(repeats, [500, 1_500, 3_500, 7_500, 11_500]);
    h.from(pbx(), up.caller.ack());
    h.advance(ms(20_000));
    assert!(h.lines(pbx()).is_empty());
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_caller_who_never_confirms_is_ended_on_both_sides() {
    let mut h = Harness::new();
    h.answered();
    h.advance(64 * T1 - ms(1));
    h.take(pbx());
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
    h.advance(ms(1));
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::CallerHangup, EndedBy::Relay));
    h.check_nothing_is_left();
}

#[test]
fn the_longest_duration_ends_both_legs() {
    let mut h = Harness::with(|config| config.duration_max = ms(60_000));
    h.bridged();
    h.advance(ms(59_999));
    assert!(h.take(pbx()).is_empty());
    h.advance(ms(1));
    let bye = h.take_one(pbx());
    assert_eq!((start(&bye).as_str(), &*header(&bye, "CSeq")), ("BYE", "1 BYE"));
    assert!(header(&bye, "Reason").contains("Q.850;cause=31"));
    h.confirm(carrier(), "BYE");
    assert_eq!((h.cdr().cause, h.cdr().duration), (Cause::MaxDuration, ms(60_000)));
    h.from(pbx(), reply(&bye, "200 OK", "", ""));
    h.check_nothing_is_left();
}

#[test]
fn a_call_in_which_both_sides_are_silent_ends() {
    let mut h = Harness::new();
    h.bridged();
    let session = SessionId(h.statuses[0].call.as_u128());
    h.input(Input::Media(Report::Silent { session }));
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::MediaTimeout);
    h.check_nothing_is_left();
    h.orders.clear();
    h.input(Input::Media(Report::Silent { session }));
    assert_eq!(h.orders, [Command::Close { session }], "a call we have lost track of is closed");
}

#[test]
fn nobody_has_to_speak_while_it_rings() {
    let mut h = Harness::new();
    h.ringing();
    let session = SessionId(h.statuses[0].call.as_u128());
    h.input(Input::Media(Report::Silent { session }));
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn operators_end_a_call_at_any_time() {
    for talking in [false, true] {
        let mut h = Harness::new();
        let up = if talking { h.bridged() } else { h.ringing() };
        h.control(Control::Terminate { call: h.statuses[0].call });
        if talking {
            h.confirm(pbx(), "BYE");
            h.confirm(carrier(), "BYE");
        } else {
            assert_eq!(h.lines(pbx()), ["480 INVITE"]);
            h.from(pbx(), up.caller.request("ACK", "a1", 1));
            h.confirm(carrier(), "CANCEL");
            h.from(carrier(), up.reply("487 Request Terminated"));
            assert_eq!(h.lines(carrier()), ["ACK"]);
        }
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::OperatorTerminated, EndedBy::Relay));
        h.check_nothing_is_left();
    }
}

#[test]
fn an_ended_binding_ends_ringing_calls_at_once_and_talking_ones_only_when_told() {
    let ended = |h: &Harness, drop_calls| Control::BindingEnded {
        binding: BINDING,
        cause: Cause::BindingExpired,
        drop_calls,
        ordered_at: h.now.monotonic,
    };
    let mut h = Harness::new();
    let up = h.ringing();
    let order = ended(&h, false);
    h.control(order);
    assert_eq!(h.lines(pbx()), ["404 INVITE"]);
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), up.reply("487 Request Terminated"));
    assert_eq!(h.cdr().cause, Cause::BindingExpired);
    let mut h = Harness::new();
    h.bridged();
    h.advance(T1);
    let order = ended(&h, false);
    h.control(order);
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty(), "talking goes on after an unbind");
    let order = ended(&h, true);
    h.control(order);
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_call_answered_after_the_binding_was_ended_ends_though_the_order_comes_late() {
    let mut h = Harness::new();
    let ordered_at = h.now.monotonic;
    h.bridged();
    let (cause, drop_calls) = (Cause::BindingExpired, false);
    h.control(Control::BindingEnded { binding: BINDING, cause, drop_calls, ordered_at });
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::BindingExpired);
    h.check_nothing_is_left();
}

#[test]
fn the_end_of_the_drain_time_ends_every_call() {
    let mut h = Harness::new();
    h.bridged();
    h.control(Control::TerminateAll);
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::Draining);
    h.check_nothing_is_left();
}

#[test]
fn a_bridged_call_keeps_no_transaction_of_its_set_up() {
    let mut h = Harness::new();
    h.bridged();
    h.advance(70 * T1);
    let occupancy = h.core.occupancy();
    assert_eq!((occupancy.calls, occupancy.transactions), (1, 0), "{occupancy:?}");
}
