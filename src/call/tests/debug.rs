//! `Debug` of anything that may hold somebody's number shows none: what a panic, a log line or a
//! failed assertion prints is no secret place.

#[cfg(test)]
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use super::harness::*;
use crate::call::io::{Input, Output};
use crate::domain::id::CallId;
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::domain::purpose::Stated;
use crate::domain::route::{Callee, Route, RouteAnswer, RouteQuery};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::screen::Capabilities;

/// Somebody's number; a part of [`BOB`] too.
const CANARY: &str = "13800001234";

fn hides(value: &impl Debug, what: &str) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.contains(CANARY), "{what} shows a number: {text}");
        let bytes: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
        let text = text.replace(char::is_whitespace, "");
        assert!(!text.contains(&bytes.join(",")), "{what} shows a number as bytes: {text}");
    }
}

fn dialled() -> VirtualNumber {
    VirtualNumber::parse(CANARY).expect("digits")
}

fn route_to(callee: Callee) -> Route {
    Route { callee, ..route() }
}

#[test]
fn debug_of_what_goes_in_and_out_of_the_brain_shows_no_number() {
    let call = CallId::from_u128(1);
    let caller = || RealNumber::parse(BOB).expect("a valid number");
    let bytes = || Bytes::from(Caller::agent().invite().replace(X, CANARY));
    hides(&Input::Datagram { peer: pbx(), bytes: bytes() }, "a datagram in");
    hides(&Output::Transmit { to: carrier().hop(), bytes: bytes() }, "a datagram out");
    let (trunk, tenant) = (pbx().trunk, TENANT);
    let agent = || RouteQuery::FromInsurer {
        trunk,
        tenant,
        dialled: dialled(),
        caller: CANARY.into(),
        stated: Stated::default(),
    };
    let subscriber =
        || RouteQuery::FromCarrier { trunk, dialled: dialled(), caller: Some(caller()) };
    for query in [agent(), subscriber()] {
        hides(&query, "a question");
        hides(&Output::FindRoute { call, query }, "a question going out");
    }
    for callee in [Callee::Desk(CANARY.into()), Callee::Subscriber(Arc::new(caller()))] {
        hides(&callee, "a callee");
        let route = route_to(callee);
        hides(&route, "a route");
        let answer = RouteAnswer::Found(Box::new(route));
        hides(&Input::Route { call, answer }, "an answer");
    }
}

#[test]
fn debug_of_a_message_and_of_what_was_read_in_it_shows_no_number() {
    let mut caller = Caller::at(carrier(), CANARY, CANARY);
    caller.extra = format!("Require: {CANARY}\r\nSubject: {CANARY}\r\n");
    caller.body += &format!("m={CANARY} 0 {CANARY} {CANARY}\r\n");
    let message = Message::parse(caller.invite().into()).expect("a message");
    hides(&message, "a message");
    hides(&message.from(), "an address");
    hides(&message.contact(), "a contact");
    hides(&message.request_uri(), "a URI");
    hides(&message.top_via(), "a Via");
    let can = Capabilities { allow: &[Method::Invite], supported: &[], accept: &[] };
    hides(&can.screen(&message).expect_err("unsupported"), "a refusal");
    hides(&crate::sdp::parse(message.body()).expect("an offer"), "an offer");
    let broken = caller.invite().replace("CSeq: 1", "CSeq: one");
    hides(&Message::parse(broken.into()).expect_err("malformed"), "a malformed message");
}

/// Every state of a call in turn, dialled by an agent and by the subscriber.
#[test]
fn debug_of_a_call_shows_no_number_at_any_time() {
    let mut h = Harness::new();
    let look = |h: &Harness, when: &str| {
        let occupancy = h.core.occupancy();
        assert!(occupancy.calls + occupancy.lingering > 0, "{when}: there is a call");
        hides(&h.core.calls, when);
        hides(&h.core, when);
    };
    let up = h.called();
    assert!(up.invite.contains(CANARY));
    look(&h, "called");
    h.from(carrier(), up.reply("180 Ringing"));
    look(&h, "ringing");
    h.from(carrier(), up.reply("200 OK"));
    look(&h, "answered");
    let mut caller = up.caller;
    caller.learn(&h.take(pbx()).pop().expect("an answer"));
    h.from(pbx(), caller.ack());
    look(&h, "bridged");
    h.from(pbx(), caller.bye());
    look(&h, "ending");
}

#[test]
fn debug_of_a_call_to_the_desk_shows_no_number_at_any_time() {
    let mut h = Harness::new();
    h.store = || None;
    let mut caller = Caller::at(carrier(), CANARY, "a-call@carrier");
    caller.body += &format!("m={CANARY} 0 {CANARY} {CANARY}\r\n");
    h.from(carrier(), caller.invite());
    hides(&h.core.calls, "routing");
    let desk = Route { callee: Callee::Desk(CANARY.into()), ..desk_route() };
    h.answer_route(RouteAnswer::Found(Box::new(desk)));
    hides(&h.core.calls, "called");
    let invite = h.take_one(pbx());
    h.from(pbx(), reply(&invite, "180 Ringing", CANARY, ""));
    h.from(pbx(), reply(&invite, "200 OK", CANARY, &sdp("192.0.2.20", 6_000)));
    assert_eq!(h.lines(carrier()).last().map(String::as_str), Some("200 INVITE"));
    hides(&h.core.calls, "answered");
    hides(&h.orders, "orders to the media plane");
    hides(&h.statuses, "what the list of live calls is told");
}
