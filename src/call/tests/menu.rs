//! A subscriber who calls X and reaches nobody, or types a star while the desk rings.

use super::harness::*;
use crate::call::config::CallConfig;
use crate::call::io::{Control, Input, Peer};
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::mark::Mark;
use crate::domain::menu::{MenuAnswer, MenuRequest, PastCall};
use crate::domain::purpose::Purpose;
use crate::domain::route::{CallerParty, Route, RouteAnswer};
use crate::prompt::{self, Clip, Voice};
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Report, Side};
use crate::rtp::sound::{Playlist, Sound};

const WITH_MENU: fn(&mut CallConfig) = |config| {
    config.menu.is_enabled = true;
    config.whisper.speaks_code = true;
};

fn desk() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(desk_route())))
}

fn no_desk() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(Route { targets: Vec::new(), ..desk_route() })))
}

fn with_menu() -> Harness {
    let mut h = Harness::with(WITH_MENU);
    h.store = desk;
    h
}

fn subscriber() -> Caller {
    Caller::at(carrier(), "13800001234", "s-call")
}

/// The subscriber calls, and the desk has our INVITE.
fn calls_desk(h: &mut Harness) -> Up {
    let caller = subscriber();
    h.from(carrier(), caller.invite());
    Up { caller, invite: h.take_one(pbx()) }
}

/// The desk answers so, and the subscriber is answered for the menu.
fn refused_by_desk(h: &mut Harness, status: &str) -> Up {
    let mut up = calls_desk(h);
    h.from(pbx(), reply(&up.invite, status, "desk", ""));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    answered(h, &mut up);
    up
}

fn answered(h: &mut Harness, up: &mut Up) {
    let answer = h.take_one(carrier());
    assert_eq!(start(&answer), "200 INVITE");
    assert!(answer.contains("m=audio 20000 RTP/AVP 8 101\r\n"), "{answer}");
    up.caller.learn(&answer);
    h.from(carrier(), up.caller.ack());
}

fn session(h: &Harness) -> crate::rtp::plane::SessionId {
    h.orders.last().expect("ports were opened").session()
}

fn types(h: &mut Harness, keys: &str) {
    let session = session(h);
    for sign in keys.chars() {
        let key = Key::of_sign(sign).expect("a key");
        h.input(Input::Media(Report::Key { session, side: Side::A, key }));
    }
}

/// The last that was said to the caller.
fn heard(h: &Harness) -> (u32, Playlist) {
    let said = |order: &Command| match order {
        Command::Play { side: Side::A, play, sound: Sound::Prompt(text), .. } => {
            Some((*play, *text))
        }
        Command::Play { .. }
        | Command::Open { .. }
        | Command::Update { .. }
        | Command::Bridge { .. }
        | Command::Hold { .. }
        | Command::Record { .. }
        | Command::Stop { .. }
        | Command::Keys { .. }
        | Command::Close { .. } => None,
    };
    h.orders.iter().rev().find_map(said).expect("something was said")
}

fn hears(h: &Harness, clips: &[Clip]) {
    assert_eq!(heard(h).1, prompt::sentences(&Voice::default(), clips));
}

/// What is being said comes to its end.
fn listens(h: &mut Harness) {
    let (play, session) = (heard(h).0, session(h));
    h.input(Input::Media(Report::PlayDone { session, side: Side::A, play, was_sent: true }));
}

/// The store answers the last question.
fn store_says(h: &mut Harness, answer: MenuAnswer) {
    let question = *h.menu_asked.last().expect("a question");
    h.input(Input::Menu { call: question.call, number: question.number, answer });
}

#[test]
fn a_subscriber_who_reaches_nobody_pauses_calls_and_is_sent_away() {
    let mut h = with_menu();
    refused_by_desk(&mut h, "486 Busy");
    hears(&h, &[Clip::NobodyThere, Clip::MenuOffer]);
    let keys = |order: &Command| {
        matches!(order, Command::Keys { side: Side::A, mode, .. }
        if *mode == KeyMode { report: true, pass: false, inband: false })
    };
    assert!(h.orders.iter().any(keys), "{:?}", h.orders);
    types(&mut h, "*");
    hears(&h, prompt::MENU);
    types(&mut h, "2");
    let question = h.menu_asked[0];
    assert_eq!((question.tenant, question.request), (TENANT, MenuRequest::Pause));
    assert_eq!(question.subscriber, desk_route().subscriber);
    store_says(&mut h, MenuAnswer::Done);
    hears(&h, &[Clip::Paused]);
    listens(&mut h);
    hears(&h, prompt::MENU);
    types(&mut h, "0");
    hears(&h, &[Clip::Goodbye]);
    listens(&mut h);
    h.confirm(carrier(), "BYE");
    let cdr = h.cdr();
    assert_eq!(
        (cdr.cause, cdr.ended_by, cdr.sip_status),
        (Cause::MenuFinished, EndedBy::Relay, 200)
    );
    assert_eq!((&cdr.reasons[..], &cdr.marks[..]), (&[Cause::Busy][..], &[Mark::Menu][..]));
    assert!(cdr.answered_at.is_some());
    h.check_nothing_is_left();
}

#[test]
fn a_star_while_the_desk_rings_gives_it_up_for_the_menu() {
    let mut h = with_menu();
    let mut up = calls_desk(&mut h);
    h.from(pbx(), reply(&up.invite, "180 Ringing", "desk", ""));
    up.caller.learn(&h.take_one(carrier()));
    let info = |cseq, sign: char| {
        let body = format!("Signal={sign}\r\nDuration=100\r\n");
        let head = format!(
            "Content-Type: application/dtmf-relay\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        up.caller
            .request("INFO", &format!("i{cseq}"), cseq)
            .replace("Content-Length: 0\r\n\r\n", &head)
    };
    let (other, star) = (info(2, '1'), info(3, '*'));
    h.from(carrier(), other);
    assert_eq!(h.lines(carrier()), ["200 INFO"]);
    assert!(h.take(pbx()).is_empty(), "other keys mean nothing");
    h.from(carrier(), star);
    let lines = h.take(carrier());
    assert_eq!(lines.iter().map(|it| start(it)).collect::<Vec<_>>(), ["200 INFO", "200 INVITE"]);
    h.from(carrier(), up.caller.ack());
    hears(&h, prompt::MENU);
    h.confirm(pbx(), "CANCEL");
    // The desk has answered at the same moment.
    h.from(pbx(), reply(&up.invite, "200 OK", "desk", &sdp("192.0.2.20", 6_000)));
    let sent = h.take(pbx());
    assert_eq!(sent.iter().map(|it| start(it)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    h.from(pbx(), reply(&sent[1], "200 OK", "", ""));
    h.from(carrier(), up.caller.request("BYE", "b", 9));
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CallerHangup, EndedBy::Caller));
    assert_eq!((&cdr.reasons[..], &cdr.marks[..]), (&[][..], &[Mark::Menu][..]));
    assert!(!h.orders.iter().any(|order| matches!(order, Command::Bridge { .. })));
    h.check_nothing_is_left();
}

#[test]
fn who_called_is_read_out_after_a_code_alone() {
    let mut h = with_menu();
    refused_by_desk(&mut h, "480 Nobody");
    types(&mut h, "*1123456#");
    assert!(matches!(h.menu_asked[..], [only] if matches!(only.request, MenuRequest::Check(_))));
    let call = PastCall { purpose: Purpose::Claim, days_ago: 1 };
    store_says(&mut h, MenuAnswer::Checked(Some(call)));
    assert_eq!(h.menu_asked[1].request, MenuRequest::Callers);
    store_says(&mut h, MenuAnswer::Callers(vec![call]));
    let caller = prompt::Caller { insurer: None, purpose: Purpose::Claim, days_ago: 1 };
    assert_eq!(heard(&h).1, prompt::callers(&Voice::default(), &[caller]));
    assert!(!format!("{:?}", h.menu_asked).contains("123456"));
    h.control(Control::TerminateAll);
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::Draining);
    h.check_nothing_is_left();
}

/// Time passes until a peer is told something for the first time.
fn until_told(h: &mut Harness, peer: Peer) {
    for _ in 0..2_000 {
        if h.has_sent(peer) {
            return;
        }
        h.advance(ms(100));
    }
}

#[test]
fn without_a_desk_and_without_its_answer_there_is_the_menu_too() {
    let mut h = with_menu();
    h.store = no_desk;
    let mut up = Up { caller: subscriber(), invite: String::new() };
    h.from(carrier(), up.caller.invite());
    answered(&mut h, &mut up);
    until_told(&mut h, carrier());
    h.confirm(carrier(), "BYE");
    assert_eq!((h.cdr().cause, &h.cdr().reasons[..]), (Cause::MenuFinished, &[Cause::NoRoute][..]));
    h.check_nothing_is_left();

    let mut h = with_menu();
    let mut up = calls_desk(&mut h);
    h.from(pbx(), reply(&up.invite, "180 Ringing", "desk", ""));
    h.take(carrier());
    until_told(&mut h, pbx());
    h.confirm(pbx(), "CANCEL");
    answered(&mut h, &mut up);
    h.from(pbx(), reply(&up.invite, "487 Gone", "desk", ""));
    h.from(carrier(), up.caller.bye());
    assert_eq!(h.cdr().reasons, [Cause::NoAnswer]);
    h.check_nothing_is_left();
}

#[test]
fn nobody_else_gets_the_menu() {
    // An agent.
    let mut h = Harness::with(WITH_MENU);
    let up = h.called();
    h.from(carrier(), up.reply("486 Busy"));
    assert_eq!(h.lines(pbx()), ["486 INVITE"]);
    // A stranger, a subscriber that cannot be spoken to, and one where there is no menu.
    let stranger: Store = || {
        let route = Route { caller: CallerParty::Stranger, ..desk_route() };
        Some(RouteAnswer::Found(Box::new(route)))
    };
    let mut h = Harness::with(WITH_MENU);
    h.store = stranger;
    h.from(carrier(), subscriber().invite());
    assert_eq!(h.lines(carrier()), ["404 INVITE"]);
    let wide = sdp("192.0.2.20", 4_000).replace("8 0 101", "9");
    for (mut h, body) in [(with_menu(), wide), (Harness::new(), subscriber().body)] {
        h.store = desk;
        h.from(carrier(), Caller { body, ..subscriber() }.invite());
        let invite = h.take_one(pbx());
        h.from(pbx(), reply(&invite, "486 Busy", "desk", ""));
        assert_eq!(h.lines(carrier()), ["486 INVITE"]);
    }
}

/// Where the caller is spoken to now.
fn spoken_to(h: &Harness) -> Option<std::net::SocketAddr> {
    h.orders.iter().rev().find_map(|order| match order {
        Command::Update { side: Side::A, remote, .. } => Some(remote.rtp),
        Command::Update { .. }
        | Command::Open { .. }
        | Command::Play { .. }
        | Command::Bridge { .. }
        | Command::Hold { .. }
        | Command::Record { .. }
        | Command::Stop { .. }
        | Command::Keys { .. }
        | Command::Close { .. } => None,
    })
}

#[test]
fn an_offer_in_the_menu_is_answered_and_what_it_says_is_followed() {
    let mut h = with_menu();
    let up = refused_by_desk(&mut h, "486 Busy");
    let moved = sdp("198.51.100.66", 9_000);
    h.from(carrier(), up.caller.with("INVITE", "r1", 2, "", &moved));
    let answer = h.take_one(carrier());
    assert!(start(&answer) == "200 INVITE" && answer.contains("m=audio 20000"), "{answer}");
    h.from(carrier(), up.caller.request("ACK", "r2", 2));
    assert_eq!(spoken_to(&h).map(|it| it.to_string()), Some("198.51.100.66:9000".into()));
    types(&mut h, "*");
    hears(&h, prompt::MENU);
    // No codec of ours: nothing changes.
    let g722 = moved.replace("8 0 101", "9").replace("9000", "9100");
    h.from(carrier(), up.caller.with("UPDATE", "u1", 3, "", &g722));
    assert_eq!(h.lines(carrier()), ["488 UPDATE"]);
    assert_eq!(spoken_to(&h).map(|it| it.port()), Some(9_000));
    // It asks for an offer, and answers that with its ACK.
    h.from(carrier(), up.caller.request("INVITE", "r3", 4));
    let offer = h.take_one(carrier());
    assert!(start(&offer) == "200 INVITE" && offer.contains("a=sendrecv"), "{offer}");
    h.from(carrier(), up.caller.with("ACK", "r4", 4, "", &sdp("198.51.100.66", 9_200)));
    assert_eq!(spoken_to(&h).map(|it| it.port()), Some(9_200));
    types(&mut h, "2");
    assert_eq!(h.menu_asked[0].request, MenuRequest::Pause);
    h.from(carrier(), up.caller.request("BYE", "b", 9));
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    assert!(h.take(pbx()).is_empty(), "nobody else hears of it");
    h.check_nothing_is_left();
}

#[test]
fn a_session_timer_runs_in_the_menu_too() {
    for is_refreshed in [false, true] {
        let mut h = with_menu();
        h.store = no_desk;
        let timer = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
        let caller = Caller { extra: timer.to_owned(), ..subscriber() };
        let mut up = Up { caller, invite: String::new() };
        h.from(carrier(), up.caller.invite());
        let answer = h.take_one(carrier());
        assert_eq!(header(&answer, "Session-Expires"), "90;refresher=uac");
        up.caller.learn(&answer);
        h.from(carrier(), up.caller.ack());
        h.advance(ms(50_000));
        if is_refreshed {
            h.from(carrier(), up.caller.with("UPDATE", "u1", 2, timer, ""));
            assert_eq!(h.lines(carrier()), ["200 UPDATE"]);
        }
        h.advance(ms(15_000));
        assert_eq!(h.has_sent(carrier()), !is_refreshed);
        if is_refreshed {
            h.from(carrier(), up.caller.request("BYE", "b", 3));
            h.take(carrier());
        } else {
            let bye = h.take(carrier()).swap_remove(0);
            assert_eq!(start(&bye), "BYE");
            h.from(carrier(), reply(&bye, "200 OK", "", ""));
            assert_eq!(h.cdr().cause, Cause::SessionExpired);
        }
        h.check_nothing_is_left();
    }
}

#[test]
fn a_store_that_is_silent_is_said_to_have_failed() {
    let mut h = with_menu();
    let up = refused_by_desk(&mut h, "486 Busy");
    types(&mut h, "*3");
    assert_eq!(h.menu_asked[0].request, MenuRequest::BlockLast);
    h.advance(ms(4_000));
    hears(&h, &[Clip::Failed]);
    store_says(&mut h, MenuAnswer::Done);
    hears(&h, &[Clip::Failed]);
    h.from(carrier(), up.caller.request("BYE", "b", 9));
    h.check_nothing_is_left();
}
