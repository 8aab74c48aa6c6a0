//! Toll fraud (S22) and redirection (S16): nothing that a caller writes chooses whom we dial or
//! where a packet goes.

#[cfg(test)]
use super::harness::*;
use crate::domain::cause::Cause;
use crate::domain::number::VirtualNumber;
use crate::domain::route::{RouteAnswer, RouteQuery};

/// What somebody might try as a Request-URI: premium, international, emergency and short numbers,
/// unbound ones, and every way to say one number and mean another.
const TARGETS: &[&str] = &[
    "sip:0013800009999@203.0.113.5",
    "sip:+13800009999@203.0.113.5",
    "sip:13800009999@203.0.113.5",
    "sip:9013800009999@203.0.113.5",
    "sip:110@203.0.113.5",
    "sip:112@203.0.113.5",
    "sip:12121@203.0.113.5",
    "sip:13800009999@203.0.113.5",
    "sip:+8613800001234@203.0.113.5",
    "sip:95012345678;npdi;rn=13800009999@203.0.113.5",
    "sip:95012345678;phone-context=+1@203.0.113.5",
    "sip:%39%35012345678@198.51.100.99:5090",
    "sip:95012345678@premium.example;maddr=198.51.100.99",
    "sip:95012345678:secret@198.51.100.99;transport=tcp",
    "sip:95012345678@203.0.113.5?Route=%3Csip:198.51.100.99;lr%3E",
    "sip:95012345678,13800009999@203.0.113.5",
    "sip:95012345678%2313800009999@203.0.113.5",
    "sip:95012345678*13800009999@203.0.113.5",
    "sips:95012345678@203.0.113.5;user=phone",
    "sip:13800009999%00%39@203.0.113.5",
    "tel:+13800009999",
    "tel:13800009999;phone-context=203.0.113.5",
    "tel:95012345678;rn=+13800009999;npdi",
    "sip:@203.0.113.5",
    "sip:203.0.113.5",
];

/// What somebody might write beside it.
const HEADERS: &[&str] = &[
    "",
    "Route: <sip:198.51.100.99:5090;lr>\r\n",
    "Route: <sip:203.0.113.5;lr>, <sip:13800009999@198.51.100.99>\r\n",
    "Record-Route: <sip:198.51.100.99;lr>\r\n",
    "P-Asserted-Identity: <tel:+13800009999>\r\n",
    "P-Preferred-Identity: <sip:95012345678@203.0.113.5>\r\n",
    "Diversion: <tel:+13800009999>;reason=unconditional\r\n",
    "History-Info: <sip:13800009999@203.0.113.5>;index=1\r\n",
    "Remote-Party-ID: <sip:13800009999@203.0.113.5>;party=called\r\n",
    "P-Called-Party-ID: <sip:13800009999@203.0.113.5>\r\n",
    "Refer-To: <tel:+13800009999>\r\n",
];

/// The store of this test: only X is bound.
fn answer(query: &RouteQuery) -> RouteAnswer {
    let (RouteQuery::FromInsurer { dialled, .. } | RouteQuery::FromCarrier { dialled, .. }) = query;
    if *dialled == VirtualNumber::parse(X).expect("a number") {
        RouteAnswer::Found(Box::new(route()))
    } else {
        RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: None }
    }
}

#[test]
fn the_only_number_that_can_be_dialled_is_that_of_the_binding() {
    let mut dialled = 0;
    for (at, target) in TARGETS.iter().enumerate() {
        for (with, headers) in HEADERS.iter().enumerate() {
            let mut h = Harness::new();
            h.store = || None;
            let caller = Caller { call_id: format!("i{at}-{with}"), ..Caller::agent() };
            let invite = caller.with("INVITE", "i1", 1, headers, &caller.body);
            h.from(
                pbx(),
                invite.replace(&format!("sip:{X}@203.0.113.5 SIP"), &format!("{target} SIP")),
            );
            while let Some((_, query)) = h.asked.first() {
                let answer = answer(query);
                h.answer_route(answer);
            }
            h.advance(ms(40_000));
            for (to, text) in &h.wire {
                let is_known =
                    [pbx(), carrier(), second_carrier()].iter().any(|p| p.address == *to);
                assert!(is_known, "{target} {headers}: a packet to a third party");
                if *to != pbx().address && text.starts_with("INVITE ") {
                    dialled += 1;
                    let host = to;
                    let wanted = format!("INVITE sip:{BOB}@{host} SIP/2.0\r\n");
                    assert!(text.starts_with(&wanted), "{target} {headers}:\n{text}");
                    assert!(!text.contains("13800009999") && !text.contains("198.51.100.99"));
                }
            }
        }
    }
    assert!(dialled > 0, "some of them are X, after all");
}

#[test]
fn an_unbound_number_and_a_forbidden_one_sound_alike_but_for_the_echo() {
    let mut heard = Vec::new();
    for target in ["sip:0013800009999@203.0.113.5", "sip:110@203.0.113.5", "tel:+13800009999"] {
        let mut h = Harness::new();
        h.store = || Some(RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: None });
        let invite = Caller::agent().invite();
        h.from(
            pbx(),
            invite.replace(&format!("sip:{X}@203.0.113.5 SIP"), &format!("{target} SIP")),
        );
        let answer = h.take_one(pbx());
        let to_tag = tag(&header(&answer, "To"));
        heard.push(answer.replace(&to_tag, "TAG"));
    }
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
}

/// S16. The port of Via counts only where the caller has not asked for the source port.
#[test]
fn answers_go_to_the_source_of_the_packet_whatever_it_says() {
    let via = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKa1;rport", pbx().address);
    for forged in [
        "Via: SIP/2.0/UDP 198.51.100.99:5060;branch=z9hG4bKa1;rport",
        "Via: SIP/2.0/UDP 198.51.100.99:5060;branch=z9hG4bKa1;rport;maddr=198.51.100.98",
        "Via: SIP/2.0/UDP h;branch=z9hG4bKa1;rport=9;received=198.51.100.97",
        "Via: SIP/2.0/TCP 198.51.100.99:5060;branch=z9hG4bKa1;maddr=198.51.100.98;ttl=255",
        "Via: SIP/2.0/UDP 198.51.100.99;branch=z9hG4bKa1;maddr=224.0.1.75",
    ] {
        let mut h = Harness::new();
        h.store = || Some(RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: None });
        for (method, at) in [("INVITE", "1"), ("OPTIONS", "2"), ("BYE", "3"), ("MESSAGE", "4")] {
            let caller = Caller { call_id: at.into(), ..Caller::agent() };
            let text = caller.with(method, "a1", 1, "", "");
            h.from(pbx(), text.replace(&via, &forged.replace("a1", &format!("a1{at}"))));
        }
        h.advance(ms(40_000));
        assert!(h.wire.len() >= 4, "{forged}");
        assert!(h.wire.iter().all(|(to, _)| to.ip() == pbx().address.ip()), "{forged}");
    }
}

#[test]
fn a_redirection_by_the_carrier_is_never_followed() {
    for status in ["300 Multiple", "301 Moved", "302 Moved", "305 Use Proxy", "380 Alternative"] {
        let mut h = Harness::new();
        let up = h.called();
        let moved = up.reply(status).replace(
            "Contact: <sip:callee@198.51.100.77:5070>",
            "Contact: <sip:13800009999@198.51.100.99:5090>;q=1.0, <tel:+13800009999>",
        );
        h.from(carrier(), moved);
        h.advance(ms(40_000));
        for (to, text) in &h.wire {
            assert_ne!(to.ip().to_string(), "198.51.100.99", "{status}");
            assert!(!text.contains("13800009999"), "{status}");
        }
    }
}
