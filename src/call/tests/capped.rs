//! Caps against fraud as one brain, and two that share them, meet them.

#[cfg(test)]
use super::harness::*;
use crate::call::io::SecurityEvent;
use crate::domain::cap::{Cap, CapMeasure, CapReached, CapSubject, Limits};
use crate::domain::cause::Cause;
use crate::domain::route::{Route, RouteAnswer};
use std::sync::Arc;

fn cap(subject: CapSubject, limits: Limits) -> Cap {
    Cap { subject, limits, load: Arc::default() }
}

/// One more attempt, whose route holds these caps.
fn attempt(h: &mut Harness, name: &str, caps: &[Cap]) {
    h.store = || None;
    let caller = Caller { call_id: name.into(), ..Caller::agent() };
    h.from(pbx(), caller.with("INVITE", name, caller.cseq, "", &caller.body));
    let route = Route { caps: caps.to_vec(), ..route() };
    h.answer_route(RouteAnswer::Found(Box::new(route)));
}

fn told(h: &Harness) -> Vec<CapReached> {
    let reached = |event: &SecurityEvent| match event {
        SecurityEvent::CapReached { reached, tenant, binding, .. } => {
            assert_eq!((*tenant, *binding), (TENANT, BINDING));
            Some(*reached)
        }
        SecurityEvent::LoginFailed { .. }
        | SecurityEvent::LoginGuessed { .. }
        | SecurityEvent::ForeignDialog { .. }
        | SecurityEvent::Silenced { .. } => None,
    };
    h.security.iter().filter_map(reached).collect()
}

#[test]
fn brains_that_share_a_cap_place_no_more_calls_together_than_it_allows() {
    let caps = [cap(CapSubject::Tenant, Limits { calls_max: Some(3), ..Limits::default() })];
    let mut brains = [(); 2].map(|()| Harness::new());
    for at in 0..4 {
        brains.iter_mut().for_each(|h| attempt(h, &format!("c{at}"), &caps));
    }
    assert_eq!(brains.iter_mut().map(|h| h.take(carrier()).len()).sum::<usize>(), 3);
    let reached = CapReached { subject: CapSubject::Tenant, measure: CapMeasure::Calls };
    let [first, second] = &mut brains;
    assert_eq!([told(first), told(second)].concat(), [reached], "told once, whoever met it");
    let noted = first.cdrs.iter().chain(&second.cdrs).flat_map(|cdr| &cdr.caps_reached);
    assert_eq!(noted.copied().collect::<Vec<_>>(), [reached]);
    for h in [&mut *first, &mut *second] {
        assert!(h.lines(pbx()).iter().all(|line| line == "403 INVITE"));
        for cdr in &h.cdrs {
            assert_eq!((cdr.cause, &cdr.reasons[..]), (Cause::CallsCap, &[Cause::CallsCap][..]));
        }
    }
    first
        .from(pbx(), Caller { call_id: "c0".into(), ..Caller::agent() }.request("CANCEL", "c0", 1));
    second.take(carrier());
    first.advance(65 * T1);
    first.take(carrier());
    attempt(second, "after", &caps);
    assert_eq!(second.lines(carrier()), ["INVITE"], "the place of one that is over");
    for h in &mut brains {
        h.check_nothing_is_left_after(ms(200_000));
    }
    assert_eq!(caps[0].load.calls(), 0);
}

#[test]
fn a_call_that_nobody_answers_uses_no_minute_and_one_that_is_answered_uses_each_that_begins() {
    let limits = Limits { minutes_per_day_max: Some(3), ..Limits::default() };
    let caps = [cap(CapSubject::Agent, limits)];
    let mut h = Harness::new();
    for at in 0..5 {
        attempt(&mut h, &format!("busy{at}"), &caps);
        let invite = h.take_one(carrier());
        h.from(carrier(), reply(&invite, "486 Busy Here", "bob", ""));
        h.take(carrier());
        h.take(pbx());
    }
    attempt(&mut h, "talks", &caps);
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    let answer = h.take_one(pbx());
    let mut caller = Caller { call_id: "talks".into(), ..Caller::agent() };
    caller.learn(&answer);
    h.from(pbx(), caller.ack());
    h.advance(ms(179_999));
    assert!(h.cdrs.iter().all(|cdr| cdr.cause != Cause::MinutesCap));
    h.advance(ms(1));
    let cut = h.cdrs.last().expect("a record");
    assert_eq!((cut.cause, cut.duration), (Cause::MinutesCap, ms(180_000)));
    h.take(pbx());
    attempt(&mut h, "after", &caps);
    assert_eq!(h.lines(pbx()), ["403 INVITE"]);
    assert_eq!(h.cdrs.last().expect("a record").reasons, [Cause::MinutesCap]);
    assert_eq!(told(&h).len(), 1, "of a day once a day");
}

#[test]
fn the_platforms_longest_call_bounds_that_of_a_binding_and_is_told() {
    let mut h = Harness::with(|config| config.duration_max = ms(100_000));
    h.store = || {
        let duration_max = Some(std::time::Duration::from_secs(86_400));
        Some(RouteAnswer::Found(Box::new(Route { duration_max, ..route() })))
    };
    h.bridged();
    h.advance(ms(100_000));
    assert_eq!((h.cdr().cause, h.cdr().duration), (Cause::MaxDuration, ms(100_000)));
    let longest = CapReached { subject: CapSubject::Call, measure: CapMeasure::Duration };
    assert_eq!((told(&h), &h.cdr().caps_reached), (vec![longest], &vec![longest]));
}
