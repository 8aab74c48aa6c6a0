//! Callers who hear why they are refused: in early media, never as an answer, and all alike where
//! nobody is reached.

use super::harness::*;
use crate::call::io::{Control, Input, Peer};
use crate::call::refusal::REFUSALS_MAX;
use crate::domain::binding::BindingState;
use crate::domain::cause::Cause;
use crate::domain::route::{CallerParty, Route, RouteAnswer};
use crate::rtp::plane::{Command, Report, Side};
use crate::rtp::sound::{Playlist, Sound};
use crate::sip::transport::Transport;

fn aloud() -> Harness {
    Harness::with(|config| config.announce_refusals = true)
}

/// One who hears where it sends from, as whoever has proved nothing must.
fn caller() -> Caller {
    Caller { body: sdp("192.0.2.10", 4_000), ..Caller::agent() }
}

/// What is played to the caller.
fn spoken(h: &Harness) -> Option<Playlist> {
    let mut spoken = None;
    for order in &h.orders {
        if let Command::Play { side: Side::A, sound: Sound::Prompt(text), .. } = order {
            spoken = Some(*text);
        }
    }
    spoken
}

fn said(h: &mut Harness) {
    let session = h.orders.first().expect("ports were opened").session();
    h.input(Input::Media(Report::PlayDone { session, side: Side::A, play: 1, was_sent: true }));
}

fn confirm(h: &mut Harness) {
    h.from(pbx(), caller().with("ACK", "a1", 1, "", ""));
}

/// What the caller is sent and hears when the store says this.
fn refused(answer: RouteAnswer) -> (String, Option<Playlist>, Cause, u16) {
    let mut h = aloud();
    h.store = || None;
    h.from(pbx(), caller().invite());
    h.answer_route(answer);
    let early = h.take_one(pbx());
    assert!(early.starts_with("SIP/2.0 183 ") && early.contains("m=audio 20000 RTP/AVP 8\r\n"));
    assert!(h.take(carrier()).is_empty(), "nobody is called");
    said(&mut h);
    let refusal = h.take_one(pbx());
    confirm(&mut h);
    let seen = (start(&refusal), spoken(&h), h.cdr().cause, h.cdr().sip_status);
    assert!(h.orders.iter().all(|order| !matches!(order, Command::Bridge { .. })));
    assert_eq!(h.cdr().answered_at, None);
    h.check_nothing_is_left();
    seen
}

fn missing(cause: Cause) -> RouteAnswer {
    RouteAnswer::Missing { cause, tenant: None }
}

fn found(change: impl FnOnce(&mut Route)) -> RouteAnswer {
    let mut route = route();
    change(&mut route);
    RouteAnswer::Found(Box::new(route))
}

#[test]
fn numbers_that_reach_nobody_sound_alike() {
    let over = BindingState::Released { released_at: epoch().wall };
    let unknown = refused(missing(Cause::NumberUnknown));
    assert_eq!((unknown.0.as_str(), unknown.2), ("404 INVITE", Cause::NumberUnknown));
    let stranger = refused(found(|route| route.caller = CallerParty::Stranger));
    let alike =
        [refused(missing(Cause::Cooling)), refused(found(|route| route.state = over)), stranger];
    for other in alike {
        assert_eq!((&other.0, &other.1, other.3), (&unknown.0, &unknown.1, unknown.3));
    }
}

#[test]
fn a_refusal_by_a_rule_sounds_otherwise() {
    let refusal = refused(found(|route| route.tenant_active = false));
    assert_eq!((refusal.0.as_str(), refusal.2), ("403 INVITE", Cause::TenantSuspended));
    assert_ne!(refusal.1, refused(missing(Cause::NumberUnknown)).1);
}

#[test]
fn a_refusal_is_told_to_its_end_though_the_binding_is_cleared_away_meanwhile() {
    let over = BindingState::Active { expires_at: Some(epoch().wall) };
    let mut h = aloud();
    h.store = || None;
    h.from(pbx(), caller().invite());
    h.answer_route(found(|route| route.state = over));
    assert_eq!(h.lines(pbx()), ["183 INVITE"]);
    let (cause, ordered_at) = (Cause::BindingExpired, h.now.monotonic);
    for drop_calls in [false, true] {
        h.control(Control::BindingEnded { binding: BINDING, cause, drop_calls, ordered_at });
        assert!(h.take(pbx()).is_empty(), "the end of its binding is heard");
    }
    said(&mut h);
    assert_eq!(h.lines(pbx()), ["404 INVITE"]);
    confirm(&mut h);
    h.check_nothing_is_left();
}

#[test]
fn whoever_gives_up_or_ends_it_meanwhile_changes_nothing_about_why() {
    let hang_up: fn(&mut Harness) = |h| h.from(pbx(), caller().cancel());
    let drain: fn(&mut Harness) = |h| h.control(Control::TerminateAll);
    let silence: fn(&mut Harness) = |h| h.advance(ms(20_000));
    for (end, sent) in [
        (hang_up, vec!["200 CANCEL", "487 INVITE"]),
        (drain, vec!["404 INVITE"]),
        (silence, vec!["404 INVITE"]),
    ] {
        let mut h = aloud();
        h.store = || Some(missing(Cause::NumberUnknown));
        h.from(pbx(), caller().invite());
        assert_eq!(h.lines(pbx()), ["183 INVITE"]);
        end(&mut h);
        assert_eq!(h.lines(pbx()), sent);
        confirm(&mut h);
        assert_eq!(h.cdr().cause, Cause::NumberUnknown);
        assert_eq!(sent.last(), Some(&&*format!("{} INVITE", h.cdr().sip_status)));
        h.check_nothing_is_left();
    }
}

#[test]
fn whoever_offers_nothing_to_hear_in_is_refused_at_once() {
    let bodies = [String::new(), sdp("192.0.2.20", 4_000).replace("8 0 101", "9")];
    for body in bodies {
        let mut h = aloud();
        h.store = || Some(missing(Cause::NumberUnknown));
        h.from(pbx(), Caller { body, ..caller() }.invite());
        assert_eq!(h.lines(pbx()), ["404 INVITE"]);
        confirm(&mut h);
        assert!(h.orders.is_empty());
        h.check_nothing_is_left();
    }
}

#[test]
fn without_ports_the_status_comes_at_once() {
    let mut h = aloud();
    h.has_media = false;
    h.store = || Some(missing(Cause::Cooling));
    h.from(pbx(), caller().invite());
    let session = h.orders[0].session();
    h.input(Input::Media(Report::Failed { session }));
    assert_eq!(h.lines(pbx()), ["404 INVITE"]);
    confirm(&mut h);
    assert_eq!(h.cdr().cause, Cause::Cooling);
    h.check_nothing_is_left();
}

#[test]
fn more_than_may_be_told_at_one_time_are_refused_at_once() {
    let mut h = aloud();
    h.store = || Some(missing(Cause::NumberUnknown));
    for n in 0..=REFUSALS_MAX {
        let mut caller = caller();
        caller.call_id = format!("call-{n}@pbx");
        let invite = caller.invite().replace("branch=z9hG4bKa1", &format!("branch=z9hG4bKn{n}"));
        h.from(pbx(), invite);
    }
    let lines = h.lines(pbx());
    let count = |line: &str| lines.iter().filter(|it| *it == line).count();
    assert_eq!((count("183 INVITE"), count("404 INVITE")), (REFUSALS_MAX, 1));
}

#[test]
fn a_caller_who_demands_it_confirms_that_it_hears_why() {
    let mut h = aloud();
    h.store = || Some(missing(Cause::NumberUnknown));
    let mut caller = caller();
    caller.extra = "Require: 100rel\r\n".to_owned();
    h.from(pbx(), caller.invite());
    let early = h.take_one(pbx());
    let rseq = header(&early, "RSeq");
    assert!(!rseq.is_empty(), "{early}");
    caller.learn(&early);
    let rack = format!("RAck: {rseq} 1 INVITE\r\n");
    h.from(pbx(), caller.with("PRACK", "p1", 2, &rack, ""));
    assert_eq!(h.lines(pbx()), ["200 PRACK"]);
    said(&mut h);
    assert_eq!(h.lines(pbx()), ["404 INVITE"]);
    confirm(&mut h);
    h.check_nothing_is_left();
}

/// S15: a datagram can be forged, and what is played lasts for seconds.
#[test]
fn who_has_proved_nothing_is_told_nothing_where_it_does_not_send_from() {
    let elsewhere = sdp("198.51.100.99", 4_000);
    let rtcp = sdp("192.0.2.10", 4_000) + "a=rtcp:4001 IN IP4 198.51.100.99\r\n";
    for body in [&elsewhere, &rtcp] {
        let mut h = aloud();
        h.store = || Some(missing(Cause::NumberUnknown));
        h.from(pbx(), Caller { body: body.clone(), ..caller() }.invite());
        assert_eq!(h.lines(pbx()), ["404 INVITE"]);
        assert_eq!(spoken(&h), None);
    }
    let mut h = aloud();
    h.store = || Some(missing(Cause::NumberUnknown));
    let by_stream = Peer { transport: Transport::Tcp, ..pbx() };
    let caller = Caller { peer: by_stream, body: elsewhere, ..caller() };
    h.from(by_stream, caller.invite().replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    assert_eq!(h.lines(by_stream), ["183 INVITE"], "nobody forges a connection");
    assert!(spoken(&h).is_some());
}
