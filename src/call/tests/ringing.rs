//! The ring tone that an agent hears is made here, and it has its answer before the callee has
//! answered: in one law of G.711, whatever the callee speaks.

use super::harness::*;
use crate::call::config::CallConfig;
use crate::call::io::Input;
use crate::domain::cause::Cause;
use crate::domain::ring::RingTone;
use crate::domain::route::RouteAnswer;
use crate::domain::whisper::WhisperPolicy;
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, RemoteMedia, Report, Side};
use crate::rtp::sound::{Sound, Tone};

fn by_relay(config: &mut CallConfig) {
    config.ring = RingTone::Relay;
}

fn audio(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("m=audio")).unwrap_or_default()
}

fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A description in these payload types alone.
fn speaking(host: &str, port: u16, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn callee_speaking(formats: &str) -> String {
    speaking("198.51.100.77", 6_000, formats)
}

/// The orders that make or end what the caller hears, short.
fn heard_by_caller(h: &Harness) -> Vec<&'static str> {
    let orders = h.orders.iter().filter_map(|order| match order {
        Command::Update { side: Side::A, .. } => Some("update"),
        Command::Play { side: Side::A, sound: Sound::Tone(Tone::Ring), .. } => Some("ring"),
        Command::Stop { side: Side::A, .. } => Some("stop"),
        Command::Bridge { .. } => Some("bridge"),
        Command::Play { .. }
        | Command::Update { .. }
        | Command::Stop { .. }
        | Command::Open { .. }
        | Command::Hold { .. }
        | Command::Keys { .. }
        | Command::Record { .. }
        | Command::Close { .. } => None,
    });
    orders.collect()
}

fn media(h: &Harness, wanted: Side) -> RemoteMedia {
    let mut updates = h.orders.iter().filter_map(|order| {
        let Command::Update { side, remote, .. } = order else { return None };
        (*side == wanted).then_some(*remote)
    });
    updates.next_back().expect("the side is known")
}

fn invited(h: &mut Harness, caller: Caller) -> Up {
    h.from(caller.peer, caller.invite());
    Up { caller, invite: h.take_one(carrier()) }
}

/// The callee rings: what the caller is told of that.
fn rings(h: &mut Harness, up: &mut Up) -> String {
    h.from(carrier(), up.reply("180 Ringing"));
    let ringing = h.take_one(up.caller.peer);
    assert_eq!(start(&ringing), "180 INVITE");
    up.caller.learn(&ringing);
    ringing
}

fn hang_up(h: &mut Harness, up: &Up, cseq: u32) {
    h.from(pbx(), up.caller.request("BYE", "bye", cseq));
    h.take(pbx());
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn the_caller_hears_our_tone_until_the_callee_answers_and_the_200_repeats_the_answer() {
    let mut h = Harness::with(by_relay);
    let mut up = invited(&mut h, Caller::agent());
    let ringing = rings(&mut h, &mut up);
    assert_eq!(audio(&ringing), "m=audio 20000 RTP/AVP 8 101", "one law, and keys");
    assert_eq!(heard_by_caller(&h), ["update", "ring"]);
    assert_eq!(media(&h, Side::A).payloads_to.0[..4], [Some(8), None, None, Some(101)]);
    h.from(carrier(), up.reply("183 Session Progress"));
    assert!(h.take(pbx()).is_empty(), "it rings already");
    h.from(carrier(), up.reply("200 OK"));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer), body(&answer)), ("200 INVITE".into(), body(&ringing)));
    assert_eq!(heard_by_caller(&h), ["update", "ring", "update", "stop", "bridge"]);
    h.from(pbx(), up.caller.ack());
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(!h.has_sent(pbx()), "both are in line");
    hang_up(&mut h, &up, 2);
}

/// RFC 3261 §13.3.1.1: proxies on the way give an attempt up that they hear nothing of.
#[test]
fn a_caller_is_told_once_a_minute_that_it_still_rings() {
    let mut h = Harness::with(|config| config.ring_timeout = ms(200_000));
    let mut up = invited(&mut h, Caller::agent());
    let ringing = rings(&mut h, &mut up);
    for _ in 0..2 {
        h.advance(ms(59_999));
        assert!(h.take(pbx()).is_empty());
        h.advance(ms(1));
        assert_eq!(h.take_one(pbx()), ringing);
    }
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    h.from(pbx(), up.caller.ack());
    h.take(carrier());
    h.advance(ms(120_000));
    assert!(h.take(pbx()).is_empty(), "it rings no more");
    hang_up(&mut h, &up, 2);
}

#[test]
fn a_caller_that_confirms_what_it_is_told_gets_a_new_number_each_minute_and_no_other_answer() {
    let mut h = Harness::with(|config| {
        by_relay(config);
        config.ring_timeout = ms(200_000);
    });
    let caller = Caller { extra: "Require: 100rel\r\n".into(), ..Caller::agent() };
    let mut up = invited(&mut h, caller);
    let mut told = rings(&mut h, &mut up);
    assert_eq!(audio(&told), "m=audio 20000 RTP/AVP 8 101");
    let number = |text: &str| header(text, "RSeq").parse::<u32>().expect("a number");
    for cseq in 2..4 {
        let rack = format!("RAck: {} 1 INVITE\r\n", number(&told));
        h.from(pbx(), up.caller.with("PRACK", &format!("p{cseq}"), cseq, &rack, ""));
        assert_eq!(h.lines(pbx()), ["200 PRACK"]);
        h.advance(ms(60_000));
        let again = h.take_one(pbx());
        assert_eq!((start(&again), number(&again)), ("180 INVITE".into(), number(&told) + 1));
        assert_eq!(audio(&again), "", "that was said before");
        told = again;
    }
}

#[test]
fn a_caller_whose_attempt_is_lost_on_the_way_for_a_minute_hears_that_it_goes_on() {
    let mut h = Harness::with(|config| config.ring_timeout = ms(200_000));
    let up = invited(&mut h, Caller::agent());
    h.from(carrier(), up.reply("100 Trying"));
    h.advance(ms(61_000));
    assert_eq!(h.lines(pbx()), ["183 INVITE"], "100 would not count");
}

/// RFC 3261 §13.3.1.
#[test]
fn an_attempt_ends_when_the_time_is_over_that_the_caller_gives_it() {
    let mut h = Harness::new();
    let caller = Caller { extra: "Expires: 10\r\n".into(), ..Caller::agent() };
    let mut up = invited(&mut h, caller);
    rings(&mut h, &mut up);
    h.advance(ms(9_999));
    assert!(h.take(pbx()).is_empty());
    h.advance(ms(1));
    assert_eq!(h.lines(pbx()), ["487 INVITE"]);
    h.from(pbx(), up.caller.with("ACK", "a1", 1, "", ""));
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), up.reply("487 Request Terminated"));
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
    h.check_nothing_is_left_after(2 * 64 * T1);
    let mut h = Harness::new();
    let caller = Caller { extra: "Expires: 10\r\n".into(), ..Caller::agent() };
    let mut up = invited(&mut h, caller);
    rings(&mut h, &mut up);
    h.from(carrier(), up.reply("200 OK"));
    h.take(pbx());
    h.from(pbx(), up.caller.ack());
    h.advance(ms(20_000));
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty(), "who has answered has come in time");
}

#[test]
fn it_rings_until_a_callee_that_is_told_who_calls_accepts_even_one_that_never_rang() {
    for rang in [true, false] {
        let mut h = Harness::with(|config| {
            by_relay(config);
            config.whisper.policy = WhisperPolicy::ByPurpose;
        });
        let mut up = invited(&mut h, Caller::agent());
        let ringing = if rang {
            let ringing = rings(&mut h, &mut up);
            h.from(carrier(), up.reply("200 OK"));
            ringing
        } else {
            h.from(carrier(), up.reply("200 OK"));
            h.take_one(pbx())
        };
        assert_eq!(audio(&ringing), "m=audio 20000 RTP/AVP 8 101");
        assert_eq!(heard_by_caller(&h), ["update", "ring"]);
        assert!(!h.has_sent(pbx()), "to the caller it rings");
        let session = h.orders.first().expect("ports were opened").session();
        let key = Key::of_sign('1').expect("a key");
        h.input(Input::Media(Report::Key { session, side: Side::B, key }));
        let answer = h.take_one(pbx());
        assert_eq!((start(&answer), body(&answer)), ("200 INVITE".into(), body(&ringing)));
        assert_eq!(heard_by_caller(&h), ["update", "ring", "update", "stop", "bridge"]);
        up.caller.learn(&answer);
        h.from(pbx(), up.caller.ack());
        h.take(carrier());
        hang_up(&mut h, &up, 2);
    }
}

#[test]
fn a_caller_that_demands_100rel_confirms_the_answer_before_it_is_told_of_the_callees() {
    for callee_is_faster in [false, true] {
        let mut h = Harness::with(by_relay);
        let caller = Caller { extra: "Require: 100rel\r\n".into(), ..Caller::agent() };
        let mut up = invited(&mut h, caller);
        let ringing = rings(&mut h, &mut up);
        assert_eq!(audio(&ringing), "m=audio 20000 RTP/AVP 8 101");
        if callee_is_faster {
            h.from(carrier(), up.reply("200 OK"));
            assert_eq!(h.lines(carrier()), ["ACK"]);
            assert!(!h.has_sent(pbx()), "RFC 3262 §3: the 200 waits for the PRACK");
        }
        let rack = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq"));
        h.from(pbx(), up.caller.with("PRACK", "p2", 2, &rack, ""));
        if !callee_is_faster {
            assert_eq!(h.lines(pbx()), ["200 PRACK"]);
            h.from(carrier(), up.reply("200 OK"));
            h.take(carrier());
        }
        let answer = h.take(pbx()).pop().expect("an answer");
        assert_eq!((start(&answer), body(&answer)), ("200 INVITE".into(), ""), "all was said");
        assert_eq!(heard_by_caller(&h), ["update", "ring", "update", "stop", "bridge"]);
        h.from(pbx(), up.caller.ack());
        assert!(!h.has_sent(pbx()));
        hang_up(&mut h, &up, 9);
    }
}

#[test]
fn a_caller_on_hold_while_it_rings_is_followed() {
    let mut h = Harness::with(by_relay);
    let caller = Caller { extra: "Require: 100rel\r\n".into(), ..Caller::agent() };
    let mut up = invited(&mut h, caller);
    let ringing = rings(&mut h, &mut up);
    let hold = format!("{}a=inactive\r\n", sdp("192.0.2.20", 4_100));
    h.from(pbx(), up.caller.with("UPDATE", "u2", 2, "", &hold));
    assert_eq!(h.lines(pbx()), ["500 UPDATE"], "our answer is not confirmed");
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq"));
    h.from(pbx(), up.caller.with("PRACK", "p3", 3, &rack, ""));
    h.from(pbx(), up.caller.with("UPDATE", "u4", 4, "", &hold));
    assert_eq!(h.lines(pbx()), ["200 PRACK", "200 UPDATE"]);
    let now = media(&h, Side::A);
    assert_eq!((now.receives, now.rtp.port()), (false, 4_100));
}

#[test]
fn who_cannot_hear_it_or_is_no_agent_hears_its_own_phone() {
    let held = format!("{}a=sendonly\r\n", sdp("192.0.2.20", 4_000));
    let wide = speaking("192.0.2.20", 4_000, "9 101");
    for offer in ["", &held, &wide] {
        let mut h = Harness::with(by_relay);
        let mut up = invited(&mut h, Caller { body: offer.to_owned(), ..Caller::agent() });
        assert_eq!(audio(&rings(&mut h, &mut up)), "", "{offer}");
        assert!(heard_by_caller(&h).is_empty());
    }
    let mut h = Harness::with(by_relay);
    h.store = || Some(RouteAnswer::Found(Box::new(desk_route())));
    let caller = Caller::at(carrier(), "13800001234", "c");
    h.from(carrier(), caller.invite());
    let invite = h.take_one(pbx());
    h.from(pbx(), reply(&invite, "180 Ringing", "desk", ""));
    let ringing = h.take_one(carrier());
    assert_eq!((start(&ringing), audio(&ringing)), ("180 INVITE".into(), ""));
}

#[test]
fn a_callee_that_speaks_the_other_law_is_understood_and_may_hold_the_call() {
    let mut h = Harness::with(by_relay);
    let offer = speaking("192.0.2.20", 4_000, "8 0 9 101");
    let mut up = invited(&mut h, Caller { body: offer, ..Caller::agent() });
    assert_eq!(audio(&up.invite), "m=audio 20002 RTP/AVP 8 0 101", "nothing that A was refused");
    rings(&mut h, &mut up);
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &callee_speaking("0 101")));
    let answer = h.take_one(pbx());
    assert_eq!(audio(&answer), "m=audio 20000 RTP/AVP 8 101");
    assert_eq!(media(&h, Side::A).payloads_to.0[..4], [Some(8), None, None, Some(101)]);
    assert_eq!(media(&h, Side::A).payloads_from.0[..4], [Some(8), None, None, Some(101)]);
    assert_eq!(media(&h, Side::B).payloads_to.0[..4], [None, Some(0), None, Some(101)]);
    assert_eq!(media(&h, Side::B).payloads_from.0[..4], [None, Some(0), None, Some(101)]);
    h.from(pbx(), up.caller.ack());
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(!h.has_sent(pbx()) && !h.has_sent(carrier()), "both are in line");
    let again = |direction: &str, cseq: u32| {
        let body = format!("{}a={direction}\r\n", callee_speaking("0 101"));
        let head = callee_request(&up.invite, "INVITE", "bob", cseq);
        let rest = format!(
            "Contact: <sip:callee@198.51.100.77:5070>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        head.replace("Content-Length: 0\r\n\r\n", &rest)
    };
    h.from(carrier(), again("sendrecv", 1));
    assert_eq!(audio(&h.take_one(carrier())), "m=audio 20002 RTP/AVP 0 101");
    h.from(carrier(), callee_request(&up.invite, "ACK", "bob", 1));
    assert!(!h.has_sent(pbx()), "nothing has changed for the caller");
    h.from(carrier(), again("sendonly", 2));
    let told = h.take_one(pbx());
    assert_eq!(audio(&told), "m=audio 20000 RTP/AVP 8 0 101", "it may stay with its law");
    let heard = format!("{}a=recvonly\r\n", speaking("192.0.2.20", 4_000, "8 101"));
    h.from(pbx(), reply(&told, "200 OK", "", &heard));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    let lines: Vec<String> = h.lines(carrier());
    assert_eq!(lines.last().map(String::as_str), Some("200 INVITE"));
    assert_eq!(media(&h, Side::B).payloads_to.0[..4], [None, Some(0), None, Some(101)]);
}

#[test]
fn a_caller_is_not_asked_anew_only_because_its_callee_cannot_take_keys() {
    let mut h = Harness::with(by_relay);
    let mut up = invited(&mut h, Caller::agent());
    rings(&mut h, &mut up);
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &callee_speaking("8")));
    h.take(pbx());
    h.from(pbx(), up.caller.ack());
    assert!(h.take(pbx()).is_empty());
}
