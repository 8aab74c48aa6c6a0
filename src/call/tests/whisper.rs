//! A call that is announced to the subscriber before it is bridged: what each side is told, in
//! every way that it can end.

use super::harness::*;
use crate::call::config::CallConfig;
use crate::call::io::{CallStatus, Control, Input};
use crate::domain::cause::Cause;
use crate::domain::cdr::{EndedBy, Whispered};
use crate::domain::purpose::Purpose;
use crate::domain::route::RouteAnswer;
use crate::domain::whisper::{OnSilence, WhisperPolicy, WhisperResult};
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Report, SessionId, Side};
use crate::rtp::sound::{Playlist, Sound, Tone};

pub(super) fn by_purpose(config: &mut CallConfig) {
    config.whisper.policy = WhisperPolicy::ByPurpose;
}

pub(super) fn announced_only(config: &mut CallConfig) {
    config.whisper.policy = WhisperPolicy::Announce;
}

/// The callee has answered and hears who calls; the caller hears it ring.
pub(super) fn listening(h: &mut Harness) -> Up {
    let up = h.ringing();
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(h.take(pbx()).is_empty(), "to the caller it rings");
    up
}

pub(super) fn session(h: &Harness) -> SessionId {
    h.orders.first().expect("ports were opened").session()
}

/// What the media plane was told to play to the callee, by number.
pub(super) fn played(h: &Harness) -> Vec<(u32, Playlist)> {
    let plays = h.orders.iter().filter_map(|order| {
        let Command::Play { side: Side::B, play, sound: Sound::Prompt(text), .. } = order else {
            return None;
        };
        Some((*play, *text))
    });
    plays.collect()
}

pub(super) fn is_bridged(h: &Harness) -> bool {
    h.orders.iter().any(|order| matches!(order, Command::Bridge { .. }))
}

/// What is being said ends.
pub(super) fn said(h: &mut Harness) {
    let (play, _) = *played(h).last().expect("something was said");
    let session = session(h);
    h.input(Input::Media(Report::PlayDone { session, side: Side::B, play, was_sent: true }));
}

pub(super) fn press(h: &mut Harness, side: Side, sign: char) {
    let (session, key) = (session(h), Key::of_sign(sign).expect("a key"));
    h.input(Input::Media(Report::Key { session, side, key }));
}

pub(super) fn whispered(h: &Harness) -> Whispered {
    *h.cdr().whisper.clone().expect("the callee was told something")
}

/// The final status that the caller was sent, and the callee's BYE, confirmed.
pub(super) fn end(h: &mut Harness, up: &Up) -> String {
    h.confirm(carrier(), "BYE");
    let refusal = h.take_one(pbx());
    h.from(up.caller.peer, up.caller.with("ACK", "a1", up.caller.cseq, "", ""));
    start(&refusal)
}

#[test]
fn the_caller_is_answered_only_when_the_callee_accepts() {
    let mut h = Harness::with(by_purpose);
    let mut up = listening(&mut h);
    assert_eq!((played(&h).len(), is_bridged(&h)), (1, false));
    h.advance(ms(4_000));
    press(&mut h, Side::B, '1');
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 INVITE");
    assert!(is_bridged(&h));
    up.caller.learn(&answer);
    h.from(up.caller.peer, up.caller.ack());
    h.advance(ms(1_000));
    h.from(up.caller.peer, up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    let cdr = h.cdr().clone();
    let waited = cdr.answered_at.zip(cdr.callee_answered_at);
    let waited = waited.map(|(at, before)| at.duration_since(before).expect("in order"));
    assert_eq!((waited, cdr.duration), (Some(ms(4_000)), ms(1_000)));
    let whispered = whispered(&h);
    assert_eq!((whispered.result, whispered.heard_at), (WhisperResult::Accepted, cdr.answered_at));
    let said = "zh-CN hello insurer agent digits purpose-unspecified key-accept ";
    assert!(whispered.prompt.starts_with(said), "{}", whispered.prompt);
    assert!(whispered.prompt_hash.is_some());
    h.check_nothing_is_left();
}

#[test]
fn the_media_plane_knows_nothing_of_the_caller_before() {
    let mut h = Harness::with(by_purpose);
    listening(&mut h);
    let caller_known = |h: &Harness| {
        let is_it = |order: &Command| matches!(order, Command::Update { side: Side::A, .. });
        h.orders.iter().any(is_it)
    };
    assert!(!caller_known(&h), "or it is sent reports");
    press(&mut h, Side::B, '1');
    assert!(caller_known(&h));
}

#[test]
fn what_is_only_announced_is_bridged_when_it_is_said() {
    let mut h = Harness::with(announced_only);
    let mut up = listening(&mut h);
    said(&mut h);
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 INVITE");
    up.caller.learn(&answer);
    h.from(up.caller.peer, up.caller.ack());
    h.from(carrier(), up.callee_bye());
    h.confirm(pbx(), "BYE");
    assert_eq!(whispered(&h).result, WhisperResult::Announced);
    h.check_nothing_is_left();
}

#[test]
fn each_no_is_confirmed_to_the_callee_and_ends_both_legs() {
    let ways = [
        ('2', WhisperResult::Later, Cause::WhisperLater, "480 INVITE"),
        ('3', WhisperResult::Refused, Cause::WhisperRefused, "603 INVITE"),
        ('8', WhisperResult::WrongPerson, Cause::WhisperRefused, "603 INVITE"),
        ('9', WhisperResult::Reported, Cause::WhisperRefused, "603 INVITE"),
    ];
    for (sign, result, cause, status) in ways {
        for config in [by_purpose, announced_only] {
            let mut h = Harness::with(config);
            let up = listening(&mut h);
            press(&mut h, Side::B, sign);
            assert_eq!(played(&h).len(), 2, "what was understood is said");
            assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
            press(&mut h, Side::B, '1');
            said(&mut h);
            assert_eq!(end(&mut h, &up), status);
            assert!(!is_bridged(&h));
            assert_eq!((h.cdr().cause, whispered(&h).result), (cause, result));
            assert_eq!((h.cdr().answered_at, h.cdr().sip_status), (None, cause.sip_status()));
            h.check_nothing_is_left();
        }
    }
}

#[test]
fn silence_is_asked_once_more_and_then_refused() {
    let mut h = Harness::with(by_purpose);
    let up = listening(&mut h);
    let first = played(&h)[0].1;
    said(&mut h);
    h.advance(ms(6_000));
    assert_eq!(played(&h).last().map(|(_, text)| *text), Some(first), "said once more");
    said(&mut h);
    h.advance(ms(6_000));
    assert_eq!(played(&h).len(), 3, "no choice was made");
    said(&mut h);
    assert_eq!(end(&mut h, &up), "480 INVITE");
    let seen = (h.cdr().cause, h.cdr().ended_by, whispered(&h).result);
    assert_eq!(seen, (Cause::WhisperTimeout, EndedBy::Relay, WhisperResult::TimedOut));
    h.check_nothing_is_left();
}

#[test]
fn silence_connects_where_the_platform_says_so() {
    let mut h = Harness::with(|config| {
        by_purpose(config);
        config.whisper.on_silence = OnSilence::Connect;
    });
    listening(&mut h);
    for _ in 0..2 {
        said(&mut h);
        h.advance(ms(6_000));
    }
    assert_eq!(start(&h.take(pbx())[0]), "200 INVITE");
    assert!(is_bridged(&h));
}

#[test]
fn a_media_plane_that_never_ends_a_speech_connects_nobody() {
    let mut h = Harness::with(announced_only);
    let up = listening(&mut h);
    h.advance(ms(61_000));
    assert_eq!(h.lines(pbx()), ["180 INVITE"], "it rings to the caller");
    h.advance(ms(29_000));
    assert_eq!(end(&mut h, &up), "480 INVITE");
    assert_eq!((whispered(&h).heard_at, h.cdr().ended_by), (None, EndedBy::Relay));
    h.check_nothing_is_left();
}

#[test]
fn a_callee_who_hangs_up_meanwhile_has_heard_it_or_not() {
    for heard in [false, true] {
        let mut h = Harness::with(by_purpose);
        let up = listening(&mut h);
        if heard {
            said(&mut h);
        }
        h.from(carrier(), up.callee_bye());
        assert_eq!(h.lines(carrier()), ["200 BYE"]);
        assert_eq!(h.lines(pbx()), ["480 INVITE"]);
        h.from(up.caller.peer, up.caller.with("ACK", "a1", up.caller.cseq, "", ""));
        let whispered = whispered(&h);
        assert_eq!((h.cdr().cause, whispered.result), (Cause::CalleeHangup, WhisperResult::HungUp));
        assert_eq!(whispered.heard_at.is_some(), heard);
        h.check_nothing_is_left();
    }
}

#[test]
fn a_callee_who_hangs_up_after_a_no_has_still_said_no() {
    let mut h = Harness::with(by_purpose);
    let up = listening(&mut h);
    press(&mut h, Side::B, '3');
    h.from(carrier(), up.callee_bye());
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    assert_eq!(h.lines(pbx()), ["603 INVITE"]);
    h.from(up.caller.peer, up.caller.with("ACK", "a1", up.caller.cseq, "", ""));
    let seen = (h.cdr().cause, whispered(&h).result);
    assert_eq!(seen, (Cause::WhisperRefused, WhisperResult::Refused));
    h.check_nothing_is_left();
}

#[test]
fn an_agent_who_gives_up_meanwhile_frees_the_callee_and_a_no_stays_a_no() {
    for (key, result) in [(None, WhisperResult::GivenUp), (Some('3'), WhisperResult::Refused)] {
        let mut h = Harness::with(by_purpose);
        let up = listening(&mut h);
        if let Some(key) = key {
            press(&mut h, Side::B, key);
        }
        h.from(up.caller.peer, Caller::agent().cancel());
        assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
        h.from(up.caller.peer, up.caller.with("ACK", "a1", up.caller.cseq, "", ""));
        h.confirm(carrier(), "BYE");
        assert_eq!((h.cdr().cause, whispered(&h).result), (Cause::CallerCancelled, result));
        h.check_nothing_is_left();
    }
}

#[test]
fn an_operator_or_an_unbind_ends_it_meanwhile() {
    type Order = fn(&Harness) -> Control;
    let terminate: Order = |h| Control::Terminate { call: h.statuses[0].call };
    let unbind: Order = |h| Control::BindingEnded {
        binding: BINDING,
        cause: Cause::BindingExpired,
        drop_calls: false,
        ordered_at: h.now.monotonic,
    };
    for (order, cause) in [(terminate, Cause::OperatorTerminated), (unbind, Cause::BindingExpired)]
    {
        let mut h = Harness::with(by_purpose);
        let up = listening(&mut h);
        h.advance(ms(1_000));
        let order = order(&h);
        h.control(order);
        assert_eq!(end(&mut h, &up), format!("{} INVITE", cause.sip_status()));
        assert_eq!((h.cdr().cause, whispered(&h).result), (cause, WhisperResult::GivenUp));
        h.check_nothing_is_left();
    }
}

#[test]
fn only_keys_of_the_callee_count_and_none_of_them_reaches_the_insurer() {
    let mut h = Harness::with(by_purpose);
    listening(&mut h);
    press(&mut h, Side::A, '1');
    press(&mut h, Side::B, '7');
    assert!(h.take(pbx()).is_empty() && !is_bridged(&h));
    press(&mut h, Side::B, '1');
    let modes: Vec<KeyMode> = h
        .orders
        .iter()
        .filter_map(|order| {
            if let Command::Keys { side: Side::B, mode, .. } = order { Some(*mode) } else { None }
        })
        .collect();
    let quiet = KeyMode { report: false, pass: false, inband: false };
    assert_eq!(modes, [KeyMode { report: true, ..quiet }, quiet]);
}

#[test]
fn a_key_in_an_info_counts_as_much() {
    let mut h = Harness::with(by_purpose);
    let up = listening(&mut h);
    let info = callee_request(&up.invite, "INFO", "bob", 7).replace(
        "Content-Length: 0\r\n\r\n",
        "Content-Type: application/dtmf\r\nContent-Length: 1\r\n\r\n1",
    );
    h.from(carrier(), info);
    assert_eq!(h.lines(carrier()), ["200 INFO"]);
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
}

#[test]
fn the_callee_is_offered_keys_although_the_caller_has_none() {
    let mut h = Harness::with(by_purpose);
    let mut caller = Caller::agent();
    caller.body = sdp("192.0.2.20", 4_000).replace("8 0 101", "8 0");
    h.from(caller.peer, caller.invite());
    let invite = h.take_one(carrier());
    assert!(invite.contains("telephone-event/8000"), "{invite}");
    let up = Up { caller, invite };
    h.from(carrier(), up.reply("200 OK"));
    let events: Vec<bool> = h
        .orders
        .iter()
        .filter_map(|order| {
            let Command::Update { side: Side::B, remote, .. } = order else { return None };
            Some(remote.payloads_from.0[crate::rtp::plane::EVENT_POSITION].is_some())
        })
        .collect();
    assert_eq!(events, [true]);
    press(&mut h, Side::B, '1');
    let answer = h.take(pbx()).pop().expect("the caller is answered");
    assert!(answer.starts_with("SIP/2.0 200") && !answer.contains("telephone-event"), "{answer}");
}

#[test]
fn a_callee_that_never_rang_rings_for_the_caller_while_it_listens() {
    let mut h = Harness::with(by_purpose);
    let up = h.called();
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(pbx()), ["180 INVITE"]);
    assert_eq!(h.statuses.last().map(|live| live.status), Some(CallStatus::Ringing));
}

#[test]
fn a_callee_may_move_while_it_listens() {
    let mut h = Harness::with(by_purpose);
    let up = listening(&mut h);
    let body = sdp("198.51.100.77", 6_002);
    let length =
        format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let offer = callee_request(&up.invite, "UPDATE", "bob", 9);
    h.from(carrier(), offer.replace("Content-Length: 0\r\n\r\n", &length));
    assert_eq!(h.lines(carrier()), ["200 UPDATE"]);
    let moved = h.orders.iter().any(|order| {
        matches!(order, Command::Update { side: Side::B, remote, .. } if remote.rtp.port() == 6_002)
    });
    assert!(moved && h.take(pbx()).is_empty());
}

#[test]
fn a_desk_is_not_told_who_calls() {
    let mut h = Harness::with(by_purpose);
    h.store = || Some(RouteAnswer::Found(Box::new(desk_route())));
    let caller = Caller::at(carrier(), "+8613800001234", "s-call@carrier");
    h.from(carrier(), caller.invite());
    let invite = h.take_one(pbx());
    h.from(pbx(), reply(&invite, "200 OK", "desk", &sdp("192.0.2.20", 4_000)));
    assert!(h.lines(carrier()).contains(&"200 INVITE".to_owned()));
    assert!(played(&h).is_empty() && is_bridged(&h));
}

#[test]
fn what_was_said_is_written_down_and_names_the_purpose() {
    let told = |purpose: Purpose| {
        let mut h = Harness::with(announced_only);
        let mut caller = Caller::agent();
        let code = purpose.code().unwrap_or_default();
        caller.body = sdp("192.0.2.20", 4_000);
        let invite = caller.invite().replacen("sip:95012345678@", &format!("sip:{X}*{code}@"), 1);
        h.from(caller.peer, invite);
        let invite = h.take_one(carrier());
        let up = Up { caller, invite };
        h.from(carrier(), up.reply("200 OK"));
        h.take(carrier());
        h.from(carrier(), up.callee_bye());
        whispered(&h).prompt
    };
    let (claim, survey) = (told(Purpose::Claim), told(Purpose::Survey));
    assert_eq!(&*claim, "zh-CN hello insurer agent digits purpose-claim connecting");
    assert_eq!(&*survey, "zh-CN hello insurer agent digits purpose-survey connecting");
}

#[test]
fn both_hear_a_beep_half_a_minute_before_the_longest_duration_ends() {
    for (longest, beeps) in [(ms(120_000), 2), (ms(50_000), 0)] {
        let mut h = Harness::with(|config| config.duration_max = longest);
        h.bridged();
        let beeped = |h: &Harness| {
            let is_beep = |order: &&Command| {
                matches!(order, Command::Play { sound: Sound::Tone(Tone::Warning), .. })
            };
            h.orders.iter().filter(is_beep).count()
        };
        h.advance(longest - ms(30_001));
        assert_eq!(beeped(&h), 0);
        h.advance(ms(30_000));
        assert_eq!((beeped(&h), h.cdrs.len()), (beeps, 0));
        h.advance(ms(1));
        h.confirm(pbx(), "BYE");
        h.confirm(carrier(), "BYE");
        assert_eq!((h.cdr().cause, h.cdr().duration), (Cause::MaxDuration, longest));
    }
}
