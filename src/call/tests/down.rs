//! Targets that are down: by what they are asked, and by what calls find.

#[cfg(test)]
use super::errands::{tell, tell_after, terms};
use super::harness::*;
use crate::call::io::{Input, Peer, TrunkStatus};
use crate::call::pick::Weighed;
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::id::SubscriberId;
use crate::domain::route::{Route, RouteAnswer, TrunkTarget};
use std::time::Duration;

/// What changes by a status, as the shell sees it: it is told of each trunk again and again.
pub(super) fn news(known: &[TrunkStatus], status: TrunkStatus) -> Option<TrunkStatus> {
    let TrunkStatus::Targets { trunk: of, down: new } = status else { return Some(status) };
    let bits = |known: &TrunkStatus| match known {
        TrunkStatus::Targets { trunk, down } => (*trunk == of).then_some(*down),
        TrunkStatus::Registered { .. } => None,
    };
    let before = known.iter().rev().find_map(bits).unwrap_or(0);
    (before != new).then_some(status)
}

fn probing() -> Harness {
    let mut h = Harness::with(|config| config.probe_interval = Duration::from_secs(30));
    tell(&mut h, vec![(carrier(), terms(carrier())), (second_carrier(), terms(second_carrier()))]);
    h
}

/// Answers what both carriers were asked; the first one only if it is there.
fn answer_probes(h: &mut Harness, first_is_there: bool) {
    for (peer, answers) in [(carrier(), first_is_there), (second_carrier(), true)] {
        for request in h.take(peer).iter().filter(|text| text.starts_with("OPTIONS")) {
            if answers {
                h.from(peer, reply(request, "200 OK", "x", ""));
            }
        }
    }
}

#[test]
fn targets_are_asked_one_after_the_other_and_never_all_at_once() {
    let mut h = Harness::with(|config| config.probe_interval = Duration::from_secs(30));
    let mut all = terms(carrier());
    let first = all.targets[0].item.clone();
    all.targets.clear();
    for port in 1..=10 {
        let address = std::net::SocketAddr::new(first.address.ip(), port);
        let item = TrunkTarget { address, ..first.clone() };
        all.targets.push(Weighed { item, priority: 0, weight: 0 });
    }
    let peer = |port| {
        let address = std::net::SocketAddr::new(first.address.ip(), port);
        Peer { address, ..carrier() }
    };
    tell(&mut h, vec![(carrier(), all)]);
    for _ in 0..5 {
        for port in 1..=10 {
            assert!((1..=10).all(|port| !h.has_sent(peer(port))));
            h.advance(ms(3_000));
            h.confirm(peer(port), "OPTIONS");
        }
    }
}

#[test]
fn a_silent_target_goes_out_after_three_probes_and_comes_back_after_two_good_ones() {
    let mut h = probing();
    let down = |down| TrunkStatus::Targets { trunk: carrier().trunk, down };
    let mut seconds = 0;
    while h.trunk_statuses.is_empty() {
        answer_probes(&mut h, false);
        h.advance(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((75..=110).contains(&seconds), "{seconds}");
    assert_eq!(h.trunk_statuses, [down(1)]);
    answer_probes(&mut h, false);
    for at in 0..5 {
        let caller = Caller { call_id: format!("c{at}"), ..Caller::agent() };
        h.from(pbx(), caller.with("INVITE", &format!("c{at}"), 1, "", &caller.body));
        assert!(h.take(carrier()).iter().all(|text| !text.starts_with("INVITE")));
        assert!(h.take(second_carrier()).iter().any(|text| text.starts_with("INVITE")));
    }
    let mut seconds = 0;
    while h.trunk_statuses.len() == 1 {
        answer_probes(&mut h, true);
        h.advance(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((30..=70).contains(&seconds), "{seconds}");
    assert_eq!(h.trunk_statuses, [down(1), down(0)]);
}

#[test]
fn a_target_that_is_down_stays_down_when_the_trunk_gets_another_one() {
    let mut h = Harness::with(|config| config.probe_interval = Duration::from_secs(30));
    let both =
        |one: TrunkTerms| vec![(carrier(), one), (second_carrier(), terms(second_carrier()))];
    let book = tell_after(&mut h, &TrunkBook::default(), both(terms(carrier())));
    let down = |down| TrunkStatus::Targets { trunk: carrier().trunk, down };
    while !h.trunk_statuses.contains(&down(1)) {
        answer_probes(&mut h, false);
        h.advance(Duration::from_secs(1));
    }
    let mut more = terms(carrier());
    let mut new = more.targets[0].clone();
    new.item.address = "198.51.100.0:5060".parse().expect("an address");
    more.targets.insert(0, new);
    let book = tell_after(&mut h, &book, both(more));
    let load = |book: &TrunkBook| book.get(carrier().trunk).expect("it is there").down.bits();
    assert_eq!((h.trunk_statuses.last(), load(&book)), (Some(&down(2)), 2));
    // The probe that took it out is the one that brings it back.
    for _ in 0..70 {
        answer_probes(&mut h, true);
        h.advance(Duration::from_secs(1));
    }
    assert_eq!(h.trunk_statuses.last(), Some(&down(0)));
    let book = tell_after(&mut h, &book, both(terms(carrier())));
    assert_eq!(load(&book), 0);
}

#[test]
fn a_trunk_without_the_target_that_calls_found_down_is_said_to_be_up() {
    let mut h = Harness::with(|config| config.probe_interval = Duration::ZERO);
    let last = || TrunkTerms { priority: 20, ..terms(second_carrier()) };
    let all = |one| vec![(carrier(), one), (second_carrier(), last())];
    let book = tell_after(&mut h, &TrunkBook::default(), all(terms(carrier())));
    for call in 1..=3 {
        let (_, invite) = place_anew(&mut h, call);
        BUSY(&mut h, &invite);
        goes_on(&mut h);
        h.advance(ms(10));
    }
    let mut moved = terms(carrier());
    moved.targets[0].item.address = "198.51.100.0:5060".parse().expect("an address");
    tell_after(&mut h, &book, all(moved));
    let down = |down| TrunkStatus::Targets { trunk: carrier().trunk, down };
    assert_eq!(h.trunk_statuses, [down(1), down(0)]);
}

/// Two carriers, the first of which is always asked first.
fn one_after_the_other(probe_interval: Duration) -> Harness {
    let mut h = Harness::with(|config| config.probe_interval = probe_interval);
    let last = TrunkTerms { priority: 20, ..terms(second_carrier()) };
    tell(&mut h, vec![(carrier(), terms(carrier())), (second_carrier(), last)]);
    h
}

/// Who gets the INVITE of a new call to the usual subscriber.
fn place(h: &mut Harness, call: &str) -> (Peer, String) {
    place_to(h, call, route())
}

/// Who gets the INVITE of a new call to a subscriber whom nobody has called before.
fn place_anew(h: &mut Harness, call: u32) -> (Peer, String) {
    let subscriber = SubscriberId::from_u128(call.into());
    place_to(h, &format!("c{call}"), Route { subscriber, ..route() })
}

fn place_to(h: &mut Harness, call: &str, route: Route) -> (Peer, String) {
    h.store = || None;
    let caller = Caller { call_id: call.into(), ..Caller::agent() };
    h.from(pbx(), caller.with("INVITE", call, 1, "", &caller.body));
    h.answer_route(RouteAnswer::Found(Box::new(route)));
    invited(h)
}

fn invited(h: &mut Harness) -> (Peer, String) {
    let mut all = Vec::new();
    for peer in [carrier(), second_carrier()] {
        let sent = h.take(peer).into_iter().filter(|text| text.starts_with("INVITE"));
        all.extend(sent.map(|text| (peer, text)));
    }
    assert_eq!(all.len(), 1, "one carrier is asked");
    all.remove(0)
}

/// The second carrier has taken over.
fn goes_on(h: &mut Harness) {
    h.take(carrier());
    let (peer, invite) = invited(h);
    assert_eq!(peer, second_carrier());
    h.from(peer, reply(&invite, "486 Busy Here", "two", ""));
}

type Failing = fn(&mut Harness, &str);
const SILENT: Failing = |h, _| h.advance(ms(2_000));
const BUSY: Failing = |h, invite| h.from(carrier(), reply(invite, "503 Busy", "one", ""));
const AWAY: Failing = |h, _| h.input(Input::Unreachable { peer: carrier().hop() });

#[test]
fn a_carrier_that_fails_three_calls_is_asked_last_without_any_probe() {
    let down = |down| TrunkStatus::Targets { trunk: carrier().trunk, down };
    for fail in [SILENT, BUSY, AWAY] {
        let mut h = one_after_the_other(Duration::ZERO);
        for call in 1..=3 {
            assert!(h.trunk_statuses.is_empty());
            let (peer, invite) = place_anew(&mut h, call);
            assert_eq!(peer, carrier());
            fail(&mut h, &invite);
            goes_on(&mut h);
            h.advance(ms(10));
            h.take(carrier());
        }
        assert_eq!(h.trunk_statuses, [down(1)]);
        let (peer, invite) = place_anew(&mut h, 4);
        assert_eq!(peer, second_carrier());
        h.from(peer, reply(&invite, "486 Busy Here", "two", ""));
        // A call finds out whether it is back. It is not.
        h.advance(Duration::from_secs(30));
        let (peer, invite) = place_anew(&mut h, 5);
        assert_eq!(peer, carrier());
        assert_eq!(h.trunk_statuses, [down(1), down(0)]);
        fail(&mut h, &invite);
        goes_on(&mut h);
        assert_eq!(h.trunk_statuses, [down(1), down(0), down(1)]);
    }
}

#[test]
fn a_subscriber_who_cannot_be_reached_takes_no_carrier_from_the_others() {
    for fail in [SILENT, BUSY, AWAY] {
        let mut h = one_after_the_other(Duration::ZERO);
        for call in 0..10 {
            let (peer, invite) = place(&mut h, &format!("c{call}"));
            assert_eq!(peer, carrier());
            fail(&mut h, &invite);
            goes_on(&mut h);
            h.advance(ms(10));
            h.take(carrier());
        }
        assert!(h.trunk_statuses.is_empty());
    }
}

#[test]
fn a_carrier_that_answers_in_between_stays_and_so_does_one_that_refuses_callees() {
    let mut h = one_after_the_other(Duration::ZERO);
    for call in 0..12 {
        let (peer, invite) = place_anew(&mut h, call);
        assert_eq!(peer, carrier());
        match call % 3 {
            2 => h.from(carrier(), reply(&invite, "404 Not Found", "one", "")),
            _ => {
                BUSY(&mut h, &invite);
                goes_on(&mut h);
            }
        }
        h.advance(ms(10));
        h.take(carrier());
    }
    assert!(h.trunk_statuses.is_empty());
}

#[test]
fn failed_calls_count_beside_unanswered_probes_and_good_probes_bring_back() {
    let mut h = one_after_the_other(Duration::from_secs(30));
    let down = |down| TrunkStatus::Targets { trunk: carrier().trunk, down };
    for call in 1..=2 {
        let (_, invite) = place_anew(&mut h, call);
        BUSY(&mut h, &invite);
        goes_on(&mut h);
        h.advance(ms(10));
    }
    assert!(h.trunk_statuses.is_empty());
    let mut seconds = 0;
    while h.trunk_statuses.is_empty() {
        answer_probes(&mut h, false);
        h.advance(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((15..=35).contains(&seconds), "{seconds}: one silent probe is enough");
    assert_eq!(h.trunk_statuses, [down(1)]);
    answer_probes(&mut h, false);
    let mut seconds = 0;
    while h.trunk_statuses.len() == 1 {
        answer_probes(&mut h, true);
        h.advance(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((30..=70).contains(&seconds), "{seconds}");
    assert_eq!(h.trunk_statuses, [down(1), down(0)]);
}
