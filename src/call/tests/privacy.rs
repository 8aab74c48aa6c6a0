//! What one side says never reaches the other: headers, tags, Call-IDs, addresses, bodies, phrases.

#[cfg(test)]
use std::collections::BTreeSet;

use super::harness::*;
use crate::call::egress::{NAMES_MAX, REQUEST_NAMES, RESPONSE_NAMES};

/// Headers that can carry a number or an address. `CANARY` is replaced by each side's own.
const MEMBERS: &[&str] = &[
    "Record-Route: <sip:CANARY@h;lr>",
    "P-Asserted-Identity: <tel:CANARY>",
    "P-Preferred-Identity: <sip:CANARY@h>",
    "Remote-Party-ID: <sip:CANARY@h>;party=called",
    "Diversion: <tel:CANARY>;reason=unconditional",
    "History-Info: <sip:CANARY@h?Reason=SIP%3Bcause%3D302>;index=1",
    "Referred-By: <sip:CANARY@h>",
    "Refer-To: <sip:CANARY@h>",
    "Call-Info: <http://h/CANARY>;purpose=icon",
    "Alert-Info: <http://h/CANARY>",
    "Error-Info: <sip:CANARY@h>",
    "Reason: SIP;cause=480;text=\"CANARY\"",
    "Warning: 399 h \"CANARY\"",
    "Subject: CANARY",
    "Organization: CANARY",
    "User-Agent: CANARY",
    "Server: CANARY",
    "Geolocation: <sip:CANARY@h>",
    "Identity: eyJCANARY;info=<https://h/CANARY>;alg=ES256",
    "Identity-Info: <https://h/CANARY>",
    "P-Called-Party-ID: <sip:CANARY@h>",
    "P-Charging-Vector: icid-value=CANARY",
    "P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=CANARY",
    "P-Served-User: <sip:CANARY@h>",
    "P-Associated-URI: <sip:CANARY@h>",
    "User-to-User: CANARY;encoding=hex",
    "Privacy: id;CANARY",
    "Session-ID: CANARY;remote=00000000000000000000000000000000",
    "Supported: CANARY",
    "Accept: application/sdp, application/CANARY",
    "Accept-Encoding: CANARY",
    "Accept-Language: CANARY",
    "Accept-Contact: *;CANARY",
    "Reject-Contact: *;CANARY",
    "Date: Sat, 13 Nov 2010 23:29:00 GMT;CANARY",
    "X-Number: CANARY",
    "X-Caller-Real: CANARY",
    "Made-Up-Header: CANARY",
    "Content-Disposition: session;CANARY",
    "Content-Language: CANARY",
    "Content-ID: <CANARY@h>",
    "MIME-Version: 1.0 (CANARY)",
    "Timestamp: 54.21 CANARY",
    "Authentication-Info: nextnonce=\"CANARY\"",
    "WWW-Authenticate: Digest realm=\"CANARY\"",
    "Proxy-Authenticate: Digest realm=\"CANARY\"",
    "Authorization: Digest username=\"CANARY\"",
    "In-Reply-To: CANARY@h",
    "Allow: INVITE, CANARY",
    "Allow-Events: CANARY",
    "Target-Dialog: CANARY@h;local-tag=a;remote-tag=b",
    "Feature-Caps: *;+g.CANARY",
    "P-Early-Media: CANARY",
    "Info-Package: CANARY",
];

fn members(canary: &str) -> String {
    let lines = MEMBERS.iter().map(|line| format!("{line}\r\n"));
    lines.collect::<String>().replace("CANARY", canary)
}

const A_CANARY: &str = "13800005555";
const B_CANARY: &str = "13800007777";

/// SDP whose every line that allows it holds a canary.
fn loud_sdp(host: &str, port: u16, canary: &str) -> String {
    sdp(host, port)
        .replace("s=-", &format!("s={canary}\r\ni={canary}\r\nu=http://h/{canary}"))
        .replace("o=- 1 1", &format!("o={canary} {canary} 1"))
        + &format!("a=label:{canary}\r\na=ssrc:1 cname:{canary}\r\na={canary}\r\n")
}

fn loud_caller() -> Caller {
    let mut caller = Caller::agent();
    caller.call_id = format!("{A_CANARY}@pbx.insurer.example");
    caller.extra =
        members(A_CANARY) + &format!("Via: SIP/2.0/UDP h{A_CANARY}:5060;branch=z9hG4bKx\r\n");
    caller.body = loud_sdp("192.0.2.20", 4_000, A_CANARY);
    caller
}

fn loud(h: &mut Harness, invite: &str, status: &str, tag: &str) {
    let body = loud_sdp("198.51.100.77", 6_000, B_CANARY);
    let status = format!("{status} {B_CANARY} is the real one");
    h.from(carrier(), reply_with(invite, &status, tag, &members(B_CANARY), &body));
}

/// All that ever went to each side, and the names of the headers in it.
fn check(h: &Harness) {
    let (mut requests, mut responses) = (BTreeSet::new(), BTreeSet::new());
    for (to, text) in &h.wire {
        let head = text.split("\r\n\r\n").next().expect("a head");
        let names = if text.starts_with("SIP/2.0") { &mut responses } else { &mut requests };
        names.extend(
            head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())),
        );
        if to.ip() == pbx().address.ip() {
            for hidden in [B_CANARY, "13800001234", "198.51.100.", "bob", "callee"] {
                assert!(!text.contains(hidden), "`{hidden}` reached the insurer:\n{text}");
            }
        } else {
            for hidden in [A_CANARY, "8001", "192.0.2.", "pbx", "Desk", "from-"] {
                assert!(!text.contains(hidden), "`{hidden}` reached the carrier:\n{text}");
            }
        }
    }
    let outside = |names: &BTreeSet<String>, allowed: &[&str]| {
        names.iter().filter(|name| !allowed.contains(&name.as_str())).cloned().collect::<Vec<_>>()
    };
    assert_eq!(outside(&requests, REQUEST_NAMES), Vec::<String>::new());
    assert_eq!(outside(&responses, RESPONSE_NAMES), Vec::<String>::new());
}

#[test]
fn the_allow_lists_are_short_and_there_are_enough_members() {
    assert!(REQUEST_NAMES.len() <= NAMES_MAX && RESPONSE_NAMES.len() <= NAMES_MAX);
    assert_eq!(NAMES_MAX, 24);
    assert!(MEMBERS.len() >= 45);
}

#[test]
fn no_header_tag_address_or_body_crosses_in_an_answered_call() {
    let mut h = Harness::new();
    let mut caller = loud_caller();
    h.from(pbx(), caller.invite());
    let invite = h.take_one(carrier());
    for status in ["100", "180", "181", "182", "183", "199"] {
        loud(&mut h, &invite, status, &format!("bob-{status}-{B_CANARY}"));
    }
    loud(&mut h, &invite, "200", &format!("bob-{B_CANARY}"));
    let answer = h.take(pbx()).pop().expect("an answer");
    caller.learn(&answer);
    let ack = caller.with("ACK", "a2", 1, &members(A_CANARY).replace("Record-Route", "X-RR"), "");
    h.from(pbx(), ack);
    let tag = format!("bob-{B_CANARY}");
    let extra = members(B_CANARY).replace("Record-Route", "X-RR");
    let insert =
        |text: String| text.replacen("Content-Length", &format!("{extra}Content-Length"), 1);
    for (cseq, method) in (1..).zip(["INFO", "UPDATE", "NOTIFY", "MESSAGE", "REFER", "BYE"]) {
        h.from(carrier(), insert(callee_request(&invite, method, &tag, cseq)));
    }
    let bye = h.take(pbx()).pop().expect("a BYE");
    assert_eq!(start(&bye), "BYE");
    h.from(pbx(), reply_with(&bye, &format!("200 {A_CANARY}"), "", &members(A_CANARY), ""));
    check(&h);
    h.check_nothing_is_left();
    check(&h);
}

#[test]
fn no_failure_of_the_callee_says_more_than_its_cause() {
    for status in ["302", "401", "404", "407", "410", "480", "484", "486", "500", "503", "603"] {
        let mut h = Harness::new();
        h.from(pbx(), loud_caller().invite());
        let invite = h.take_one(carrier());
        loud(&mut h, &invite, "183", "bob-early");
        loud(&mut h, &invite, status, "bob-final");
        h.advance(ms(1_000));
        check(&h);
    }
}

#[test]
fn a_cancelled_call_and_its_late_answer_cross_nothing() {
    let mut h = Harness::new();
    let caller = loud_caller();
    h.from(pbx(), caller.invite());
    let invite = h.take_one(carrier());
    loud(&mut h, &invite, "180", "bob");
    h.from(pbx(), caller.with("CANCEL", "a1", 1, &members(A_CANARY), ""));
    loud(&mut h, &invite, "200", "bob");
    h.check_nothing_is_left();
    check(&h);
}

/// S16: nothing a peer writes chooses where we send.
#[test]
fn maddr_pre_loaded_route_3xx_contact_and_escaped_route_headers_never_choose_a_destination() {
    let elsewhere = "203.0.113.66";
    let mut h = Harness::new();
    let mut caller = Caller::agent();
    caller.extra = format!(
        "Record-Route: <sip:{elsewhere};lr>\r\nRoute: <sip:{elsewhere};lr>\r\n\
         Path: <sip:{elsewhere}>\r\n"
    );
    let forged = format!(";received={elsewhere};maddr={elsewhere};rport\r\nMax");
    let invite = caller.invite().replace(";rport\r\nMax", &forged);
    let escaped = format!("Contact: <sip:{elsewhere}?Route=%3Csip:{elsewhere}%3Blr%3E>");
    let invite = invite.replace("Contact: <sip:8001@192.0.2.10:5060>", &escaped);
    h.from(pbx(), invite);
    let ours = h.take_one(carrier());
    h.from(carrier(), reply(&ours, "302 Moved", "x", ""));
    let mut h2 = Harness::new();
    h2.from(pbx(), caller.invite());
    let ours = h2.take_one(carrier());
    let routes = format!("Record-Route: <sip:{elsewhere};lr>\r\n");
    let answer = reply_with(&ours, "200 OK", "bob", &routes, &sdp("198.51.100.77", 6_000));
    h2.from(carrier(), answer.replace("callee@198.51.100.77:5070", elsewhere));
    caller.learn(&h2.take(pbx()).pop().expect("an answer"));
    h2.from(pbx(), caller.ack());
    h2.control(crate::call::io::Control::TerminateAll);
    let bye = h2.take_one(pbx());
    assert!(header(&bye, "Route").contains(elsewhere), "the route is written, not followed");
    h2.advance(ms(1_000));
    let trunks = [pbx().address, carrier().address, second_carrier().address];
    for (to, text) in h.wire.iter().chain(&h2.wire) {
        assert!(trunks.contains(to), "a packet left for {to}:\n{text}");
    }
}

/// L4: two subscribers whose numbers differ in one digit look the same from the insurer's side.
#[test]
fn nothing_on_the_insurers_side_depends_on_the_number() {
    let seen = |number: &'static str| {
        let mut h = Harness::new();
        h.store = || None;
        h.from(pbx(), Caller::agent().invite());
        let mut route = route();
        let number = crate::domain::number::RealNumber::parse(number).expect("a valid number");
        route.callee = crate::domain::route::Callee::Subscriber(std::sync::Arc::new(number));
        h.answer_route(crate::domain::route::RouteAnswer::Found(Box::new(route)));
        let invite = h.take_one(carrier());
        h.from(carrier(), reply(&invite, "180 Ringing", "bob", ""));
        h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
        h.take(pbx())
    };
    assert_eq!(seen("+8613800001234"), seen("+8613800001235"));
}
