//! Callers who hear why they are refused: in early media, never as an answer, and all alike where
//! nobody is reached.

use super::harness::*;
use crate::call::io::{Control, Input};
use crate::call::refusal::REFUSALS_MAX;
use crate::domain::binding::BindingState;
use crate::domain::cause::Cause;
use crate::domain::route::{CallerParty, Route, RouteAnswer};
use crate::rtp::plane::{Command, Report, Side};
use crate::rtp::sound::{Playlist, Sound};

fn aloud() -> Harness {
    Harness::with(|config| config.announce_refusals = true)
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
    h.from(pbx(), Caller::agent().with("ACK", "a1", 1, "", ""));
}

/// What the caller is sent and hears when the store says this.
fn refused(answer: RouteAnswer) -> (String, Option<Playlist>, Cause, u16) {
    let mut h = aloud();
    h.store = || None;
    h.from(pbx(), Caller::agent().invite());
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
fn whoever_gives_up_or_ends_it_meanwhile_changes_nothing_about_why() {
    let hang_up: fn(&mut Harness) = |h| h.from(pbx(), Caller::agent().cancel());
    let drain: fn(&mut Harness) = |h| h.control(Control::TerminateAll);
    let silence: fn(&mut Harness) = |h| h.advance(ms(20_000));
    for (end, sent) in [
        (hang_up, vec!["200 CANCEL", "404 INVITE"]),
        (drain, vec!["404 INVITE"]),
        (silence, vec!["404 INVITE"]),
    ] {
        let mut h = aloud();
        h.store = || Some(missing(Cause::NumberUnknown));
        h.from(pbx(), Caller::agent().invite());
        assert_eq!(h.lines(pbx()), ["183 INVITE"]);
        end(&mut h);
        assert_eq!(h.lines(pbx()), sent);
        confirm(&mut h);
        assert_eq!(h.cdr().cause, Cause::NumberUnknown);
        h.check_nothing_is_left();
    }
}

#[test]
fn whoever_offers_nothing_to_hear_in_is_refused_at_once() {
    let bodies = [String::new(), sdp("192.0.2.20", 4_000).replace("8 0 101", "9")];
    for body in bodies {
        let mut h = aloud();
        h.store = || Some(missing(Cause::NumberUnknown));
        h.from(pbx(), Caller { body, ..Caller::agent() }.invite());
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
    h.from(pbx(), Caller::agent().invite());
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
        let mut caller = Caller::at(pbx(), "8001", &format!("call-{n}@pbx"));
        caller.extra = String::new();
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
    let mut caller = Caller::agent();
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
