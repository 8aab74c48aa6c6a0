//! INVITEs without an offer: ours goes in the 2xx, and the answer comes with the ACK.

#[cfg(test)]
use super::harness::*;
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::route::RouteAnswer;
use crate::rtp::plane::{Command, Side};

fn desk() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(desk_route())))
}

fn audio(text: &str) -> Option<&str> {
    text.lines().find(|line| line.starts_with("m=audio"))
}

fn version(text: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with("o=")).expect("an o= line");
    line.split(' ').nth(2).and_then(|word| word.parse().ok()).expect("a version")
}

/// Which sides the media plane was told of since last looked at.
fn updated(h: &mut Harness) -> Vec<(Side, String)> {
    let orders = std::mem::take(&mut h.orders);
    let updates = orders.into_iter().filter_map(|order| {
        let Command::Update { side, remote, .. } = order else { return None };
        Some((side, remote.rtp.to_string()))
    });
    updates.collect()
}

/// An ACK that answers our offer.
fn ack(caller: &Caller, branch: &str, cseq: u32, body: &str) -> String {
    caller.with("ACK", branch, cseq, "", body)
}

/// A request of the callee with a body.
fn of_callee(up: &Up, method: &str, cseq: u32, body: &str) -> String {
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let head = callee_request(&up.invite, method, "bob", cseq);
    head.replace("Content-Length: 0\r\n\r\n", &format!("{kind}{length}"))
}

/// A caller without an offer, answered by the callee; our 200 with the offer is taken.
fn answered_late(h: &mut Harness, caller: Caller, callee: Peer) -> (Up, String) {
    let caller = Caller { body: String::new(), ..caller };
    h.from(caller.peer, caller.invite());
    let mut up = Up { caller, invite: h.take_one(callee) };
    h.from(callee, up.reply("200 OK"));
    assert_eq!(h.lines(callee), ["ACK"]);
    let answer = h.take_one(up.caller.peer);
    assert_eq!(start(&answer), "200 INVITE");
    up.caller.learn(&answer);
    (up, answer)
}

#[test]
fn an_invite_without_an_offer_gets_ours_in_the_200_and_answers_in_its_ack() {
    let subscriber = Caller::at(carrier(), "13800001234", "s-call");
    let rows = [(Caller::agent(), carrier(), found as Store), (subscriber, pbx(), desk as Store)];
    for (caller, callee, store) in rows {
        let mut h = Harness::new();
        h.store = store;
        let (up, offer) = answered_late(&mut h, caller, callee);
        assert_eq!(audio(&up.invite), Some("m=audio 20002 RTP/AVP 8 0 9 101"), "all we can");
        assert_eq!(audio(&offer), Some("m=audio 20000 RTP/AVP 8 0 101"), "what the callee can");
        assert_eq!(updated(&mut h), [(Side::B, "198.51.100.77:6000".into())]);
        let peer = up.caller.peer;
        h.from(peer, ack(&up.caller, "a2", 1, &sdp("192.0.2.20", 4_000)));
        assert_eq!(updated(&mut h), [(Side::A, "192.0.2.20:4000".into())]);
        assert!(h.take(peer).is_empty() && h.take(callee).is_empty(), "all in line");
        h.from(peer, up.caller.bye());
        assert_eq!(h.lines(peer), ["200 BYE"]);
        h.confirm(callee, "BYE");
        assert_eq!(h.cdr().cause, Cause::CallerHangup);
        h.check_nothing_is_left();
    }
}

#[test]
fn a_caller_that_takes_less_in_its_ack_has_the_callee_told() {
    let mut h = Harness::new();
    let (up, _) = answered_late(&mut h, Caller::agent(), carrier());
    let less = sdp("192.0.2.20", 4_000).replace("AVP 8 0 101", "AVP 0 101");
    h.from(pbx(), ack(&up.caller, "a2", 1, &format!("{less}a=recvonly\r\n")));
    let told = h.take_one(carrier());
    assert_eq!(
        (start(&told).as_str(), audio(&told)),
        ("INVITE", Some("m=audio 20002 RTP/AVP 0 101"))
    );
    assert!(told.contains("a=recvonly\r\n") && version(&told) == 2, "{told}");
    let answer = sdp("198.51.100.77", 6_000).replace("AVP 8 0 101", "AVP 0 101");
    h.from(carrier(), reply(&told, "200 OK", "", &answer));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn an_ack_without_a_usable_answer_ends_both_legs() {
    let unknown = sdp("192.0.2.20", 4_000).replace("AVP 8 0 101", "AVP 9");
    for body in ["", "v=0\r\nrubbish", unknown.as_str()] {
        let mut h = Harness::new();
        let (up, _) = answered_late(&mut h, Caller::agent(), carrier());
        h.from(pbx(), ack(&up.caller, "a2", 1, body));
        h.confirm(pbx(), "BYE");
        h.confirm(carrier(), "BYE");
        let cdr = h.cdr();
        assert_eq!((cdr.cause, cdr.ended_by), (Cause::MediaUnacceptable, EndedBy::Relay));
        h.check_nothing_is_left();
    }
}

#[test]
fn an_offer_in_a_200_is_repeated_until_its_ack_and_its_answer_counts_once() {
    let mut h = Harness::new();
    let (up, offer) = answered_late(&mut h, Caller::agent(), carrier());
    h.advance(ms(1_600));
    assert_eq!(h.take(pbx()), vec![offer; 2]);
    h.from(carrier(), of_callee(&up, "INVITE", 1, &sdp("198.51.100.78", 6_000)));
    assert_eq!(h.lines(carrier()), ["491 INVITE"], "an offer waits for its answer");
    updated(&mut h);
    for port in [4_000, 5_000] {
        h.from(pbx(), ack(&up.caller, "a2", 1, &sdp("192.0.2.20", port)));
    }
    assert_eq!(updated(&mut h), [(Side::A, "192.0.2.20:4000".into())]);
    h.advance(ms(9_000));
    assert!(h.take(pbx()).is_empty());
}

#[test]
fn a_re_invite_without_an_offer_is_offered_what_there_is_and_may_move_in_its_ack() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    let first = h.wire.iter().rev().find(|(_, text)| start(text) == "200 INVITE").cloned();
    let first = version(&first.expect("the answer").1);
    h.from(pbx(), up.caller.request("INVITE", "r1", 2));
    let offer = h.take_one(pbx());
    assert_eq!((start(&offer).as_str(), version(&offer)), ("200 INVITE", first));
    assert_eq!(audio(&offer), Some("m=audio 20000 RTP/AVP 8 0 101"));
    h.from(pbx(), ack(&up.caller, "r2", 2, &sdp("192.0.2.21", 4_000)));
    assert_eq!(updated(&mut h), [(Side::A, "192.0.2.21:4000".into())]);
    h.from(carrier(), of_callee(&up, "INVITE", 1, ""));
    let offer = h.take_one(carrier());
    assert_eq!(audio(&offer), Some("m=audio 20002 RTP/AVP 8 0 101"));
    h.from(carrier(), of_callee(&up, "ACK", 1, &sdp("198.51.100.78", 6_000)));
    assert_eq!(updated(&mut h), [(Side::B, "198.51.100.78:6000".into())]);
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty(), "nobody else is asked");
}

#[test]
fn a_hold_in_the_ack_of_a_re_invite_reaches_the_far_side_and_its_version_grows() {
    let mut h = Harness::new();
    let up = h.bridged();
    let before = version(&up.invite);
    h.from(pbx(), up.caller.request("INVITE", "r1", 2));
    h.take_one(pbx());
    let hold = format!("{}a=sendonly\r\n", sdp("192.0.2.20", 4_000));
    h.from(pbx(), ack(&up.caller, "r2", 2, &hold));
    let told = h.take_one(carrier());
    assert_eq!((start(&told).as_str(), version(&told)), ("INVITE", before + 1));
    assert!(told.contains("a=sendonly\r\n"), "{told}");
}

#[test]
fn refused_media_lines_keep_their_place_in_our_offer() {
    let mut h = Harness::new();
    let video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let body = sdp("192.0.2.20", 4_000).replace("m=audio", &format!("{video}m=audio"));
    let mut caller = Caller { body, ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let invite = h.take_one(carrier());
    assert!(!invite.contains("m=video"), "the callee hears nothing of it");
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    let answer = h.take_one(pbx());
    caller.learn(&answer);
    h.from(pbx(), caller.ack());
    h.from(pbx(), caller.request("INVITE", "r1", 2));
    for text in [answer, h.take_one(pbx())] {
        let kinds: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(kinds, ["m=video 0 RTP/AVP 96", "m=audio 20000 RTP/AVP 8 0 101"]);
    }
}

#[test]
fn a_caller_without_an_offer_that_hangs_up_before_its_ack_ends_both_legs() {
    let mut h = Harness::new();
    let (up, _) = answered_late(&mut h, Caller::agent(), carrier());
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.from(pbx(), ack(&up.caller, "a2", 1, &sdp("192.0.2.20", 4_000)));
    h.check_nothing_is_left();
}
