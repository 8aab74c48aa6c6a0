//! A softphone is its connection: whoever else is behind its address is not heard in its name.

#[cfg(test)]
use super::harness::*;
use super::softphone::*;
use crate::call::io::{Input, Peer, SecurityEvent};
use crate::domain::cause::Cause;
use crate::sip::transport::Transport;

/// What another phone of the same agent registers.
const OTHER_CONTACT: &str = "Contact: <sip:b@10.0.0.8>\r\n";

/// A phone of the agent that has registered from this port.
fn registers(h: &mut Harness, port: u16, contact: &str) -> Phone {
    let mut phone = Phone::at(port);
    phone.register(h, "");
    assert!(phone.register(h, contact).starts_with("SIP/2.0 200"));
    phone
}

/// Somebody else behind the same address.
fn neighbour() -> Peer {
    softphone(41_000)
}

/// An agent's call that is up, and its phone.
fn bridged(h: &mut Harness) -> (Phone, Caller) {
    let (phone, up) = answered(h);
    h.from(phone.peer, up.caller.ack());
    (phone, up.caller)
}

/// An agent's call that was answered, and its phone, which has not confirmed it yet.
fn answered(h: &mut Harness) -> (Phone, Up) {
    let mut phone = registered(h);
    assert!(phone.invite(h, "c1").is_empty());
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    let answer = h.take_one(phone.peer);
    let mut caller = Caller { cseq: phone.cseq, ..Caller::at(phone.peer, USER, "c1") };
    caller.learn(&answer);
    h.take(carrier());
    (phone, Up { caller, invite })
}

/// The phone's connection is lost, and it has registered by another one.
fn reconnected(h: &mut Harness, phone: &Phone) -> Phone {
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    registers(h, 42_000, CONTACT)
}

/// S18.
#[test]
fn nobody_else_behind_the_address_of_a_softphone_ends_its_call() {
    let mut h = Harness::new();
    let (phone, caller) = bridged(&mut h);
    let inside = |method: &str| caller.with(method, &format!("n{method}"), 50, "", "");
    for method in ["BYE", "UPDATE", "INVITE"] {
        h.from(neighbour(), inside(method));
        assert_eq!(h.lines(neighbour()), [format!("481 {method}")]);
    }
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.core.counters().foreign_sources, 3);
    let source = neighbour().address.ip();
    assert_eq!(h.security, [SecurityEvent::ForeignDialog { source, trunk: None }; 3]);
    h.from(phone.peer, caller.bye());
    assert_eq!(h.lines(phone.peer), ["200 BYE"]);
}

#[test]
fn nobody_else_behind_the_address_of_a_softphone_cancels_its_call() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let caller = phone.caller("c1");
    h.from(phone.peer, caller.invite());
    for is_looked_up in [false, true] {
        if is_looked_up {
            phone.answer_lookup(&mut h);
        }
        h.from(neighbour(), caller.cancel().replace("a1;rport", "a1"));
        assert_eq!(h.lines(neighbour()), ["481 CANCEL"]);
        assert!(h.take(phone.peer).is_empty());
        h.advance(ms(40_000));
    }
    assert_eq!(h.lines(carrier())[0], "INVITE");
}

#[test]
fn an_agent_whose_connection_was_lost_goes_on_by_the_next_one_that_it_registers() {
    let mut h = Harness::new();
    let (phone, caller) = bridged(&mut h);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    let mut next = Phone::at(42_000);
    h.from(next.peer, caller.bye());
    assert_eq!(h.lines(next.peer), ["481 BYE"]);
    next.register(&mut h, "");
    assert!(next.register(&mut h, CONTACT).starts_with("SIP/2.0 200"));
    h.from(next.peer, caller.with("BYE", "again", caller.cseq + 1, "", ""));
    assert_eq!(h.lines(next.peer), ["200 BYE"]);
    assert_eq!(h.lines(carrier()), ["BYE"]);
}

#[test]
fn what_we_say_in_a_call_follows_its_agent_to_the_next_connection() {
    for method in ["UPDATE", "INVITE", "INFO", "ACK"] {
        let mut h = Harness::new();
        let (phone, up) = answered(&mut h);
        if method != "ACK" {
            h.from(phone.peer, up.caller.ack());
        }
        let next = reconnected(&mut h, &phone);
        let cseq = up.caller.cseq + u32::from(method != "ACK");
        h.from(next.peer, up.caller.with(method, "moved", cseq, "", ""));
        let answers = h.lines(next.peer);
        assert!(answers.iter().all(|it| it.starts_with("200 ")), "{method}: {answers:?}");
        if method == "INVITE" {
            h.from(next.peer, up.caller.with("ACK", "moved2", cseq, "", &up.caller.body));
        }
        h.from(carrier(), up.callee_bye());
        h.confirm(next.peer, "BYE");
        assert!(h.take(phone.peer).is_empty(), "{method}");
        assert_eq!(h.cdr().cause, Cause::CalleeHangup);
        h.check_nothing_is_left();
    }
}

#[test]
fn a_phone_that_has_said_nothing_since_it_came_back_is_told_of_the_end_where_it_is() {
    let mut h = Harness::new();
    let (phone, up) = answered(&mut h);
    h.from(phone.peer, up.caller.ack());
    let next = reconnected(&mut h, &phone);
    h.from(carrier(), up.callee_bye());
    h.confirm(next.peer, "BYE");
    assert!(h.take(phone.peer).is_empty());
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}

/// The same registration, before the old connection is known to be lost.
#[test]
fn a_phone_that_registers_by_another_connection_is_spoken_to_there() {
    let mut h = Harness::new();
    let (phone, up) = answered(&mut h);
    h.from(phone.peer, up.caller.ack());
    let next = registers(&mut h, 42_000, CONTACT);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    h.from(carrier(), up.callee_bye());
    h.confirm(next.peer, "BYE");
    assert!(h.take(phone.peer).is_empty());
}

#[test]
fn the_call_of_a_phone_that_was_lost_waits_for_it_and_does_not_go_to_another_one() {
    let mut h = Harness::new();
    let (phone, up) = answered(&mut h);
    h.from(phone.peer, up.caller.ack());
    let second = registers(&mut h, 43_000, OTHER_CONTACT);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    h.advance(ms(1_000));
    let back = registers(&mut h, 42_000, CONTACT);
    h.from(carrier(), up.callee_bye());
    h.confirm(back.peer, "BYE");
    assert!(h.take(second.peer).is_empty() && h.take(phone.peer).is_empty());
}

#[test]
fn the_call_of_one_phone_does_not_move_to_another_one_of_its_agent_while_it_is_there() {
    let mut h = Harness::new();
    let (phone, up) = answered(&mut h);
    h.from(phone.peer, up.caller.ack());
    let second = registers(&mut h, 42_000, OTHER_CONTACT);
    h.from(carrier(), up.callee_bye());
    h.confirm(phone.peer, "BYE");
    assert!(h.take(second.peer).is_empty());
}

#[test]
fn a_session_is_refreshed_where_its_agent_has_gone() {
    let mut h = Harness::new();
    let (phone, caller) = bridged(&mut h);
    let next = reconnected(&mut h, &phone);
    let timer = "Supported: timer\r\nAllow: UPDATE\r\nSession-Expires: 600;refresher=uas\r\n";
    h.from(next.peer, caller.with("UPDATE", "moved", caller.cseq + 1, timer, ""));
    assert_eq!(h.lines(next.peer), ["200 UPDATE"]);
    h.advance(ms(301_000));
    h.confirm(next.peer, "UPDATE");
    assert!(h.take(phone.peer).is_empty() && h.cdrs.is_empty());
}

/// Its number is an old one of the dialog.
#[test]
fn a_late_request_by_another_connection_moves_no_call() {
    let mut h = Harness::new();
    let (phone, up) = answered(&mut h);
    h.from(phone.peer, up.caller.ack());
    let second = registers(&mut h, 42_000, OTHER_CONTACT);
    h.from(second.peer, up.caller.with("INFO", "late", up.caller.cseq - 1, "", ""));
    assert_eq!(h.lines(second.peer), ["500 INFO"]);
    h.from(carrier(), up.callee_bye());
    h.confirm(phone.peer, "BYE");
}

#[test]
fn a_proved_softphone_that_is_refused_has_a_record_and_an_unproved_one_is_counted() {
    let mut h = Harness::new();
    let mut phone = Phone::at(40_000);
    h.from(phone.peer, Caller::at(phone.peer, USER, "c0").invite());
    assert_eq!(h.lines(phone.peer), ["401 INVITE"]);
    assert_eq!((h.cdrs.len(), h.core.counters().unproved), (0, 1));
    phone.register(&mut h, "");
    let refused = phone.invite(&mut h, "c1");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.sip_status, cdr.tenant), (Cause::AgentUnknown, 403, Some(TENANT)));
}

#[test]
fn a_login_that_is_found_after_its_connection_was_lost_registers_nobody() {
    let mut h = Harness::new();
    let mut phone = Phone::at(40_000);
    phone.register(&mut h, "");
    let contact = Caller::at(phone.peer, USER, "late");
    let extra = CONTACT.to_owned() + &phone.credentials("REGISTER", "sip:203.0.113.5");
    let text = contact.with("REGISTER", "late", 9, "", "").replace(X, USER);
    let text = text.replace(&format!("sip:{USER}@203.0.113.5 SIP"), "sip:203.0.113.5 SIP");
    let text = text.replace(&format!("Contact: <sip:{USER}@{}>\r\n", phone.peer.address), &extra);
    h.from(phone.peer, text);
    assert_eq!(h.logins.len(), 1);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    assert_eq!(h.lines(phone.peer), ["503 REGISTER"]);
    phone.answer_lookup(&mut h);
    assert!(h.take(phone.peer).is_empty());
    let refused = phone.invite(&mut h, "c1");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
    h.check_nothing_is_left();
}

#[test]
fn what_has_come_while_a_login_was_looked_up_counts_too() {
    let mut h = Harness::with(|config| config.calls_max = 1);
    let mut phone = registered(&mut h);
    let caller = phone.caller("c1");
    h.from(phone.peer, caller.invite());
    h.called();
    phone.answer_lookup(&mut h);
    assert_eq!(h.lines(phone.peer), ["503 INVITE"]);
    assert_eq!((h.core.occupancy().calls, h.core.counters().refused_overload), (1, 1));
}

/// An agent's call that rings, and its phone.
fn ringing(h: &mut Harness) -> (Phone, Up) {
    let mut phone = registered(h);
    assert!(phone.invite(h, "c1").is_empty());
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "180 Ringing", "bob", ""));
    let rings = h.take_one(phone.peer);
    let mut caller = Caller { cseq: phone.cseq, ..Caller::at(phone.peer, USER, "c1") };
    caller.learn(&rings);
    (phone, Up { caller, invite })
}

#[test]
fn a_phone_that_was_lost_while_it_rang_hears_the_answer_where_it_has_come_back() {
    let mut h = Harness::new();
    let (phone, up) = ringing(&mut h);
    let next = reconnected(&mut h, &phone);
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(next.peer), ["200 INVITE"]);
    h.from(next.peer, up.caller.ack());
    h.advance(ms(40_000));
    assert!(h.take(next.peer).is_empty() && h.take(phone.peer).is_empty());
    h.take(carrier());
    h.from(carrier(), up.callee_bye());
    h.confirm(next.peer, "BYE");
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}

#[test]
fn a_phone_that_comes_back_after_the_answer_hears_it_when_it_is_repeated() {
    let mut h = Harness::new();
    let (phone, up) = ringing(&mut h);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    h.from(carrier(), up.reply("200 OK"));
    h.advance(ms(5_000));
    h.take(phone.peer);
    let next = registers(&mut h, 42_000, CONTACT);
    h.advance(ms(4_000));
    assert_eq!(h.lines(next.peer), ["200 INVITE"]);
    h.from(next.peer, up.caller.ack());
    h.advance(ms(40_000));
    assert!(h.take(next.peer).is_empty() && h.take(phone.peer).is_empty());
    assert!(h.cdrs.is_empty(), "they talk");
}

#[test]
fn a_phone_that_was_lost_while_it_rang_hears_the_refusal_or_gives_up_where_it_has_come_back() {
    let mut h = Harness::new();
    let (phone, up) = ringing(&mut h);
    let next = reconnected(&mut h, &phone);
    h.from(carrier(), up.reply("486 Busy Here"));
    assert_eq!(h.lines(next.peer), ["486 INVITE"]);
    let mut h = Harness::new();
    let (phone, up) = ringing(&mut h);
    let next = reconnected(&mut h, &phone);
    let caller = Caller { to_tag: String::new(), ..Caller::at(phone.peer, USER, "c1") };
    let branch = format!("ic1{}", up.caller.cseq);
    h.from(next.peer, caller.request("CANCEL", &branch, up.caller.cseq));
    assert_eq!(h.lines(next.peer), ["200 CANCEL", "487 INVITE"]);
    assert!(h.take(phone.peer).is_empty());
    assert_eq!(h.lines(carrier()), ["CANCEL"]);
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
}

/// Its answer holds the keys of its media.
#[test]
fn a_call_over_tls_does_not_go_on_where_others_can_read_it() {
    let mut h = Harness::new();
    let (phone, up) = ringing(&mut h);
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    let mut bare = Phone::at(42_000);
    bare.peer.transport = Transport::Tcp;
    bare.register(&mut h, "");
    assert!(bare.register(&mut h, CONTACT).starts_with("SIP/2.0 200"));
    h.from(carrier(), up.reply("200 OK"));
    assert!(h.take(bare.peer).is_empty());
}
