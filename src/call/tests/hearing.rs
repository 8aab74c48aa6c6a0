//! Whether a callee hears who calls, whatever the caller has described: the orders of the brain are
//! carried out by the media session that the media threads run, and the brain is told what that
//! tells.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::harness::*;
use super::renegotiate::{callee_ack, callee_offer};
use super::whisper::{announced_only, by_purpose, end, is_bridged, session, whispered};
use crate::call::config::CallConfig;
use crate::call::io::Input;
use crate::domain::cause::Cause;
use crate::domain::whisper::{OnSilence, WhisperResult};
use crate::prompt::{Clip, Voice};
use crate::rtp::plane::{Command, Side};
use crate::rtp::session::{FRAME_BYTES, Play, Session};
use crate::rtp::sound::Sounds;
use crate::rtp::time::Moment;

const SPOKEN_MAX: Moment = Moment::from_micros(60_000_000);

/// Each clip is a tenth of a second.
fn sounds() -> Sounds {
    let clip: Arc<[u8]> = vec![0x55; 800].into();
    let mut sounds = Sounds::default();
    for voice in Voice::ALL {
        for name in Clip::ALL {
            sounds.insert(name.id(voice), Arc::clone(&clip));
        }
    }
    sounds
}

/// The media of the call, as all orders so far have made it.
pub(super) fn media_of(h: &Harness) -> (Session, ChaCha20Rng) {
    let start = Moment::default();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut media = Session::open(start, Duration::from_secs(30), &mut rng);
    for order in &h.orders {
        match *order {
            Command::Update { side, remote, .. } => media.update(start, side, &remote),
            Command::Play { side, play, sound, until_key, .. } => {
                media.play(start, side, Play { play, sound, until_key }, &mut rng);
            }
            Command::Stop { side, .. } => media.stop(side),
            Command::Keys { side, mode, .. } => media.keys(side, mode),
            Command::Bridge { .. } => media.bridge(start, &mut rng),
            Command::Hold { .. } => media.hold(),
            Command::Open { .. } | Command::Record { .. } | Command::Close { .. } => {}
        }
    }
    (media, rng)
}

/// Plays what is to be played to B, to its end. The payload type of each frame that B is sent; the
/// brain hears of the end.
fn speak(h: &mut Harness) -> Vec<u8> {
    let ((mut media, mut rng), sounds) = (media_of(h), sounds());
    let mut frames = Vec::new();
    while !media.has_news()
        && let Some(at) = media.poll_timeout().filter(|at| *at < SPOKEN_MAX)
    {
        media.handle_timeout(at, &mut rng);
        let mut packet = [0; FRAME_BYTES];
        while media.poll_frame(at, Side::B, &sounds, &mut packet).is_some() {
            frames.push(packet[1] & 0x7f);
        }
    }
    let id = session(h);
    while let Some(news) = media.poll_news() {
        h.input(Input::Media(news.report(id)));
    }
    frames
}

/// An agent that describes itself so has called, and the callee has answered with this.
fn answered(config: fn(&mut CallConfig), agent: &str, callee: &str) -> (Harness, Up) {
    let mut h = Harness::with(config);
    let mut caller = Caller::agent();
    caller.body = agent.to_owned();
    h.from(caller.peer, caller.invite());
    let invite = h.take_one(carrier());
    let mut up = Up { caller, invite };
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", callee));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let ringing = h.take_one(pbx());
    assert_eq!(start(&ringing), "180 INVITE");
    up.caller.learn(&ringing);
    (h, up)
}

fn agent(attribute: &str) -> String {
    sdp("192.0.2.20", 4_000) + attribute
}

fn callee(attribute: &str) -> String {
    sdp("198.51.100.77", 6_000) + attribute
}

const G722: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 9 101\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";
const G722_TOO: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.77\r\ns=-\r\nc=IN IP4 198.51.100.77\r\n\
    t=0 0\r\nm=audio 6000 RTP/AVP 9 8 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";

#[test]
fn an_agent_that_only_listens_or_wants_nothing_cannot_keep_the_callee_from_hearing_who_calls() {
    for (attribute, told) in [("a=recvonly\r\n", "a=recvonly"), ("a=inactive\r\n", "a=inactive")] {
        let (mut h, mut up) = answered(announced_only, &agent(attribute), &callee(""));
        assert!(up.invite.contains("a=sendrecv"), "the callee is to hear us");
        assert!(speak(&mut h).len() > 10, "{attribute}: the callee hears who calls");
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), "200 INVITE");
        assert!(is_bridged(&h));
        up.caller.learn(&answer);
        h.from(up.caller.peer, up.caller.ack());
        let offer = h.take_one(carrier());
        assert!(start(&offer) == "INVITE" && offer.contains(told), "what the agent wants: {offer}");
    }
}

#[test]
fn an_agent_without_our_codecs_cannot_keep_the_callee_from_hearing_who_calls() {
    let (mut h, mut up) = answered(announced_only, G722, G722_TOO);
    let frames = speak(&mut h);
    assert!(frames.len() > 10 && frames.iter().all(|kind| *kind == 8), "{frames:?}");
    let answer = h.take_one(pbx());
    assert!(start(&answer) == "200 INVITE" && !answer.contains("PCMA"), "{answer}");
    up.caller.learn(&answer);
    h.from(up.caller.peer, up.caller.ack());
    let offer = h.take_one(carrier());
    assert!(offer.contains("G722") && !offer.contains("PCMA"), "one codec for both: {offer}");
}

#[test]
fn a_callee_who_cannot_hear_who_calls_is_not_connected_and_the_record_says_so() {
    fn connects_on_silence(config: &mut CallConfig) {
        by_purpose(config);
        config.whisper.on_silence = OnSilence::Connect;
    }
    for config in [announced_only, by_purpose, connects_on_silence] {
        for attribute in ["a=sendonly\r\n", "a=inactive\r\n"] {
            let (mut h, up) = answered(config, &agent(""), &callee(attribute));
            assert_eq!(speak(&mut h), [0; 0]);
            assert_eq!(end(&mut h, &up), "480 INVITE");
            let whispered = whispered(&h);
            assert_eq!((whispered.result, whispered.heard_at), (WhisperResult::TimedOut, None));
            assert_eq!((h.cdr().cause, is_bridged(&h)), (Cause::WhisperTimeout, false));
            h.check_nothing_is_left();
        }
    }
}

/// What the callee is told of an offer that it makes by an UPDATE while it listens.
fn offers(h: &mut Harness, up: &Up, cseq: u32, body: &str) -> String {
    h.from(carrier(), callee_offer(up, "UPDATE", cseq, body));
    assert!(h.take(pbx()).is_empty(), "to the caller it rings");
    h.take_one(carrier())
}

/// The callee has heard all of it, in this codec, and the caller is connected.
fn connected(h: &mut Harness, up: &mut Up) -> (String, u8) {
    let frames = speak(h);
    assert!(frames.len() > 10 && frames.iter().all(|kind| *kind == frames[0]), "{frames:?}");
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 INVITE");
    up.caller.learn(&answer);
    (answer, frames[0])
}

#[test]
fn a_callee_who_refreshes_its_session_while_it_listens_is_answered() {
    let more = callee("").replace("8 0 101", "9 8 0 101");
    let fewer = callee("").replace("8 0 101", "0 101");
    for (body, spoken) in [(callee(""), 8), (more, 8), (fewer, 0)] {
        let (mut h, mut up) = answered(announced_only, &agent(""), &callee(""));
        h.from(carrier(), callee_offer(&up, "INVITE", 5, &body));
        let answer = h.take_one(carrier());
        assert!(start(&answer) == "200 INVITE" && answer.contains("m=audio"), "{answer}");
        assert!(answer.contains("telephone-event"), "it has to type keys: {answer}");
        h.from(carrier(), callee_ack(&up, 5));
        assert!(h.take(pbx()).is_empty(), "to the caller it rings");
        assert_eq!(connected(&mut h, &mut up).1, spoken, "{body}");
        h.from(up.caller.peer, up.caller.ack());
        h.take(carrier());
        h.from(up.caller.peer, up.caller.bye());
        h.take(pbx());
        h.advance(ms(40_000));
        assert_eq!(h.cdr().cause, Cause::CallerHangup);
        h.check_nothing_is_left();
    }
}

#[test]
fn a_caller_that_has_asked_for_an_offer_keeps_no_callee_from_refreshing_its_session() {
    let (mut h, mut up) = answered(announced_only, "", &callee(""));
    let answer = offers(&mut h, &up, 5, &callee("").replace("8 0 101", "0 101"));
    assert_eq!(start(&answer), "200 UPDATE");
    // An offer of ours would be a second one that is open.
    let bare = callee_request(&up.invite, "INVITE", "bob", 6);
    h.from(carrier(), bare);
    assert_eq!(h.lines(carrier()), ["491 INVITE"]);
    let (offer, _) = connected(&mut h, &mut up);
    assert!(offer.contains("PCMA/8000"), "it was written before: {offer}");
    let only_a = sdp("192.0.2.20", 4_000).replace("8 0 101", "8 101");
    h.from(up.caller.peer, up.caller.with("ACK", "a2", 1, "", &only_a));
    assert!(is_bridged(&h) && h.cdrs.is_empty(), "each speaks its own law");
}

#[test]
fn a_callee_who_asks_for_an_offer_while_it_listens_gets_one_of_its_own() {
    let (mut h, mut up) = answered(announced_only, &agent("a=recvonly\r\n"), &callee(""));
    h.from(carrier(), callee_request(&up.invite, "INVITE", "bob", 5));
    let answer = h.take_one(carrier());
    assert!(start(&answer) == "200 INVITE" && answer.contains("a=sendrecv"), "{answer}");
    let body = callee("");
    let ack = callee_offer(&up, "ACK", 5, &body);
    h.from(carrier(), ack);
    assert!(h.take(carrier()).is_empty() && h.take(pbx()).is_empty());
    connected(&mut h, &mut up);
    h.from(up.caller.peer, up.caller.ack());
    let told = h.take_one(carrier());
    assert!(
        start(&told) == "INVITE" && told.contains("a=recvonly"),
        "what the agent wants: {told}"
    );
}

#[test]
fn a_callee_who_holds_while_it_should_listen_has_not_heard_who_calls() {
    let (mut h, up) = answered(announced_only, &agent(""), &callee(""));
    let answer = offers(&mut h, &up, 5, &callee("a=sendonly\r\n"));
    assert!(start(&answer) == "200 UPDATE" && answer.contains("a=recvonly"), "{answer}");
    assert_eq!(speak(&mut h), [0; 0]);
    assert_eq!(end(&mut h, &up), "480 INVITE");
    assert_eq!(whispered(&h).heard_at, None);
    h.check_nothing_is_left();
}

#[test]
fn a_callee_without_a_codec_of_the_caller_is_refused_that_and_listens_on() {
    let (mut h, mut up) = answered(announced_only, &agent(""), &callee(""));
    let answer = offers(&mut h, &up, 5, G722);
    assert_eq!(start(&answer), "488 UPDATE");
    connected(&mut h, &mut up);
}
