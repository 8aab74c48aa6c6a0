//! What a call is for: from a trusted PBX or dialled by a person, kept as a fact, never passed on.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::cause::Cause;
use crate::domain::id::IntentId;
use crate::domain::purpose::{Announced, Purpose, Stated};
use crate::domain::route::{Route, RouteAnswer, RouteQuery};
use crate::domain::trust::TrunkIdentity;
use std::collections::BTreeMap;
use std::sync::Arc;

const INTENT: IntentId = IntentId::from_u128(0x17);

pub(crate) fn with_trusted(peer: Peer) -> Harness {
    let identity = TrunkIdentity { trusted: true, ..TrunkIdentity::default() };
    let terms = TrunkTerms { identity, ..TrunkTerms::default() };
    let mut h = Harness::new();
    let book = TrunkBook::new(BTreeMap::from([(peer.trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    h
}

fn stated(query: &RouteQuery) -> Stated {
    let RouteQuery::FromInsurer { stated, dialled, .. } = query else { panic!("an insurer's") };
    assert_eq!(dialled.as_str(), X);
    *stated
}

fn headers_of(purpose: &str) -> String {
    format!("X-Maskline-Purpose: {purpose}\r\nx-maskline-intent: {INTENT}\r\n")
}

fn dial(h: &mut Harness, user: &str, extra: &str) {
    let caller = Caller::agent();
    let text = caller.with("INVITE", "p1", 1, extra, &caller.body);
    h.from(pbx(), text.replace(&format!("INVITE sip:{X}@"), &format!("INVITE sip:{user}@")));
}

#[test]
fn what_a_trusted_pbx_says_reaches_the_question_and_the_record_and_never_the_callee() {
    let mut h = with_trusted(pbx());
    dial(&mut h, X, &headers_of("claim"));
    let wanted = Stated { purpose: Purpose::Claim, intent: Some(INTENT) };
    assert_eq!(stated(&h.asked[0].1), wanted);
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "486 Busy Here", "bob", ""));
    // Only the store knows whether there is such an intent.
    assert_eq!((h.cdr().purpose, h.cdr().intent), (Some(Purpose::Claim), None));
    for (_, text) in &h.wire {
        let text = text.to_ascii_lowercase();
        assert!(!text.contains("x-maskline-purpose") && !text.contains("x-maskline-intent"));
        assert!(!text.contains("claim") && !text.contains("int_"));
    }
}

#[test]
fn what_was_said_before_the_call_holds_whatever_is_dialled_or_in_a_header() {
    let mut h = with_trusted(pbx());
    h.store = || {
        let announced = Some(Announced { intent: INTENT, purpose: Purpose::Marketing });
        let until = std::time::SystemTime::UNIX_EPOCH + ms(u64::from(u32::MAX) * 1_000);
        let do_not_call = vec![(Purpose::Marketing, until)];
        Some(RouteAnswer::Found(Box::new(Route { announced, do_not_call, ..route() })))
    };
    dial(&mut h, &format!("{X}*02"), "X-Maskline-Purpose: claim\r\n");
    assert_eq!(h.lines(carrier()), Vec::<String>::new(), "the gate judges the intent's purpose");
    assert_eq!((h.cdr().purpose, h.cdr().intent), (Some(Purpose::Marketing), Some(INTENT)));
    assert_eq!(h.cdr().cause, Cause::DoNotCall);
}

#[test]
fn an_agent_who_is_limited_has_to_name_one_of_its_purposes() {
    for (user, status) in [
        (format!("{X}*02"), None),
        (format!("{X}*09"), Some("403 INVITE")),
        (X.to_owned(), Some("403 INVITE")),
    ] {
        let mut h = Harness::new();
        h.store = || {
            let allowed_purposes = Some([Purpose::Claim].into());
            Some(RouteAnswer::Found(Box::new(Route { allowed_purposes, ..route() })))
        };
        dial(&mut h, &user, "");
        let Some(status) = status else {
            assert_eq!(h.lines(carrier()), ["INVITE"]);
            continue;
        };
        assert_eq!(h.lines(carrier()), Vec::<String>::new(), "{user}");
        assert!(h.lines(pbx()).iter().any(|line| line == status), "{user}");
        assert_eq!(h.cdr().cause, Cause::PurposeNotAllowed);
    }
}

#[test]
fn a_trunk_that_is_not_trusted_says_nothing_of_purposes() {
    let mut h = Harness::new();
    dial(&mut h, X, &headers_of("claim"));
    assert_eq!(stated(&h.asked[0].1), Stated::default());
}

#[test]
fn a_word_that_is_no_purpose_counts_as_none() {
    for word in ["", "Claim", "lottery", "claim, marketing", "unspecified", "claim;x"] {
        let mut h = with_trusted(pbx());
        let extra = format!("X-Maskline-Purpose: {word}\r\nX-Maskline-Intent: \r\n");
        dial(&mut h, X, &extra);
        assert_eq!(stated(&h.asked[0].1), Stated::default(), "{word}");
    }
}

#[test]
fn what_names_no_intent_is_no_wish_for_any_that_waits() {
    for name in ["int_5; drop", "CASE-7", "INT_00000000000000000000000000000001"] {
        let mut h = with_trusted(pbx());
        dial(&mut h, X, &format!("X-Maskline-Intent: {name}\r\n"));
        let never = Some(IntentId::from_u128(0));
        assert_eq!(stated(&h.asked[0].1).intent, never, "{name}");
    }
}

#[test]
fn a_person_dials_a_star_and_the_code_of_the_purpose() {
    for (user, purpose) in [
        (format!("{X}*07"), Purpose::PaymentReminder),
        (format!("{X}%2A01"), Purpose::AccidentEmergency),
        (X.to_owned(), Purpose::Unspecified),
    ] {
        let mut h = Harness::new();
        dial(&mut h, &user, "");
        assert_eq!(stated(&h.asked[0].1).purpose, purpose, "{user}");
        assert_eq!(h.lines(carrier()), ["INVITE"]);
    }
    let mut h = with_trusted(pbx());
    dial(&mut h, &format!("{X}*07"), &headers_of("survey"));
    assert_eq!(stated(&h.asked[0].1).purpose, Purpose::Survey, "the tool knows better");
}

#[test]
fn a_code_that_means_nothing_reaches_nobody() {
    for code in ["", "7", "99", "007", "07*08", "13800001234"] {
        let mut h = Harness::new();
        dial(&mut h, &format!("{X}*{code}"), "");
        assert!(h.asked.is_empty() && h.take(carrier()).is_empty(), "{code}");
        assert_eq!(h.lines(pbx()), ["404 INVITE"]);
        assert_eq!(h.cdr().cause, Cause::NumberUnknown);
    }
}

#[test]
fn the_public_network_names_no_purpose() {
    let mut h = with_trusted(carrier());
    h.store = || None;
    let caller = Caller::at(carrier(), "13800001234", "s1");
    let text = caller.with("INVITE", "s1", 1, &headers_of("claim"), &caller.body);
    h.from(carrier(), text.replace(&format!("INVITE sip:{X}@"), &format!("INVITE sip:{X}*07@")));
    assert!(h.asked.is_empty());
    assert_eq!(h.lines(carrier()), ["404 INVITE"]);
    assert_eq!(h.cdr().purpose, None);
}

#[test]
fn a_call_about_an_accident_goes_before_all_others_under_overload() {
    let mut h = with_trusted(pbx());
    for _ in 0..200 {
        h.now = h.now + ms(1);
        h.core.note_queue_delay(h.now, ms(30));
    }
    dial(&mut h, X, &headers_of("claim"));
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    dial(&mut h, X, &headers_of("accident_emergency"));
    assert_eq!(h.lines(carrier()), ["INVITE"]);
    // The queue is short again, and others are let in one by one.
    h.core.note_queue_delay(h.now, ms(0));
    for (at, (purpose, lines)) in [("claim", 0), ("accident_emergency", 1)].into_iter().enumerate()
    {
        let caller = Caller { call_id: format!("next{at}"), ..Caller::agent() };
        let branch = format!("n{at}");
        h.from(pbx(), caller.with("INVITE", &branch, 1, &headers_of(purpose), &caller.body));
        assert_eq!(h.lines(carrier()).len(), lines, "{at} {purpose}");
    }
    assert_eq!(h.core.counters().refused_overload, 2);
}
