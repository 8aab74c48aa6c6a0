//! Identity at the trust boundary: who calls is believed only where a trunk is trusted, numbers are
//! spelled as each trunk wants them, and nothing of one side's identity reaches the other.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::mark::Mark;
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::domain::route::{RouteAnswer, RouteQuery};
use crate::domain::trust::{NumberFormat, TrunkIdentity};
use std::collections::BTreeMap;
use std::sync::Arc;

const OWN: &str = "17000001234";

fn with_identity(peer: Peer, identity: TrunkIdentity) -> Harness {
    let terms = TrunkTerms { identity, ..TrunkTerms::default() };
    let mut h = Harness::new();
    let book = TrunkBook::new(BTreeMap::from([(peer.trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    h
}

fn trusted(peer: Peer) -> Harness {
    with_identity(peer, TrunkIdentity { trusted: true, ..TrunkIdentity::default() })
}

fn agent_of(h: &Harness) -> &str {
    let (_, RouteQuery::FromInsurer { caller, .. }) = &h.asked[0] else { panic!("an insurer's") };
    caller
}

fn dial(h: &mut Harness, extra: &str) {
    let caller = Caller::agent();
    h.from(pbx(), caller.with("INVITE", "a1", 1, extra, &caller.body));
}

#[test]
fn a_trusted_trunk_asserts_who_calls_and_any_other_is_known_by_from() {
    for (extra, agent) in [
        ("P-Asserted-Identity: \"A\" <sip:8042@pbx>\r\n", "8042"),
        ("P-Asserted-Identity: <sip:pbx.example>, <tel:8042>\r\n", "8042"),
        ("P-Preferred-Identity: <sip:8042@pbx>\r\n", "8042"),
        ("Remote-Party-ID: <sip:8042@pbx>;party=calling\r\n", "8042"),
        ("P-Asserted-Identity: <sip:8042@pbx>\r\nRemote-Party-ID: <sip:8043@pbx>\r\n", "8042"),
        ("P-Asserted-Identity: nonsense <\r\n", "8001"),
        ("Diversion: <sip:8042@pbx>\r\nHistory-Info: <sip:8042@pbx>;index=1\r\n", "8001"),
        ("", "8001"),
    ] {
        let mut h = trusted(pbx());
        dial(&mut h, extra);
        assert_eq!(agent_of(&h), agent, "{extra}");
        let mut h = Harness::new();
        dial(&mut h, extra);
        assert_eq!(agent_of(&h), "8001", "not trusted: {extra}");
    }
}

#[test]
fn what_a_trusted_trunk_says_of_a_call_is_kept_as_words_of_ours_and_not_as_texts() {
    let none: &[Mark] = &[];
    for (extra, marks) in [
        ("Diversion: <tel:13800005555>;reason=unconditional\r\n", &[Mark::Diverted][..]),
        ("History-Info: <sip:1@h>;index=1, <sip:2@h>;index=1.1\r\n", &[Mark::Diverted]),
        ("History-Info: <sip:1@h>;index=1\r\n", none),
        ("Privacy: none\r\n", none),
        ("Privacy: NONE ; \r\n", none),
        ("Privacy: user;id\r\nIdentity: eyJ;info=<https://x>\r\n", &[Mark::Private, Mark::Signed]),
        ("", none),
    ] {
        let mut h = trusted(pbx());
        dial(&mut h, extra);
        h.from(pbx(), Caller::agent().cancel());
        let invite = h.take_one(carrier());
        h.from(carrier(), reply(&invite, "486 Busy Here", "b", ""));
        assert_eq!(h.cdr().marks, marks, "{extra}");
        let mut h = Harness::new();
        h.store = || Some(RouteAnswer::Failed);
        dial(&mut h, extra);
        assert_eq!(h.cdr().marks, none, "not trusted: {extra}");
    }
}

/// L1 and M11 with trust on both sides.
#[test]
fn nothing_that_a_trusted_side_asserts_reaches_the_other() {
    let mut h = trusted(pbx());
    dial(
        &mut h,
        "P-Asserted-Identity: <tel:13800005555>\r\nPrivacy: id\r\nIdentity: 13800005555\r\n\
         Diversion: <tel:13800005555>\r\nHistory-Info: <sip:13800005555@h>;index=1\r\n\
         Remote-Party-ID: <sip:13800005555@h>\r\nP-Preferred-Identity: <tel:13800005555>\r\n",
    );
    let invite = h.take_one(carrier());
    let identity = "P-Asserted-Identity: <tel:13800007777>\r\nDiversion: <tel:13800007777>\r\n";
    let body = sdp("198.51.100.77", 6_000);
    h.from(carrier(), reply_with(&invite, "200 OK", "bob", identity, &body));
    h.advance(ms(1_000));
    for (to, text) in &h.wire {
        let foreign = if *to == pbx().address { "13800007777" } else { "13800005555" };
        assert!(!text.contains(foreign), "{text}");
        for name in ["Asserted", "Preferred", "Remote-Party", "Diversion", "History", "Privacy"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
    }
    assert!(header(&invite, "From").starts_with(&format!("<sip:{X}@")), "only X");
}

fn formats() -> [(NumberFormat, &'static str, &'static str); 5] {
    [
        (NumberFormat::AsIs, "+8613800001234", "17000001234"),
        (NumberFormat::E164, "+8613800001234", "+8617000001234"),
        (NumberFormat::E164Digits, "8613800001234", "8617000001234"),
        (NumberFormat::TrunkPrefix, "013800001234", "017000001234"),
        (NumberFormat::National, "13800001234", "17000001234"),
    ]
}

#[test]
fn each_carrier_is_dialled_and_shown_x_in_its_own_format() {
    for (format_out, real, shown) in formats() {
        let identity = TrunkIdentity { format_out, ..TrunkIdentity::default() };
        let mut h = with_identity(carrier(), identity);
        h.store = || {
            let virtual_number = VirtualNumber::parse(OWN).expect("a number");
            Some(RouteAnswer::Found(Box::new(crate::domain::route::Route {
                virtual_number,
                ..route()
            })))
        };
        dial(&mut h, "");
        let invite = h.take_one(carrier());
        assert!(invite.starts_with(&format!("INVITE sip:{real}@")), "{format_out:?}: {invite}");
        assert!(header(&invite, "From").starts_with(&format!("<sip:{shown}@")), "{invite}");
        h.from(carrier(), reply(&invite, "503 Busy", "b", ""));
        h.take(carrier());
        let second = h.take_one(second_carrier());
        assert!(second.starts_with(&format!("INVITE sip:{BOB}@")), "the other has its own");
    }
}

#[test]
fn what_a_carrier_sends_is_read_in_its_own_format() {
    let wanted = RealNumber::parse(BOB).expect("a number");
    for (format_in, real, dialled) in formats() {
        let identity = TrunkIdentity { format_in, trusted: true, ..TrunkIdentity::default() };
        let mut h = with_identity(carrier(), identity);
        h.store = || None;
        let caller = Caller::at(carrier(), "anonymous", "s1");
        let extra = format!("P-Asserted-Identity: <sip:{real}@carrier>\r\nPrivacy: id\r\n");
        let text = caller.with("INVITE", "s1", 1, &extra, &caller.body);
        h.from(
            carrier(),
            text.replace(&format!("INVITE sip:{X}@"), &format!("INVITE sip:{dialled}@")),
        );
        let (_, RouteQuery::FromCarrier { dialled, caller, .. }) = &h.asked[0] else {
            panic!("a carrier's")
        };
        assert_eq!(dialled.as_str(), OWN, "{format_in:?}");
        assert_eq!(caller.as_ref(), Some(&wanted), "{format_in:?}");
    }
}
