//! Calls whose purpose demands a recording: who is told of it, and what comes of one that cannot be
//! made.

use super::harness::*;
use super::renegotiate::callee_offer;
use super::whisper::{announced_only, is_bridged, listening, played, said, session};
use crate::call::config::CallConfig;
use crate::call::io::Input;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::mark::Mark;
use crate::domain::purpose::Purpose;
use crate::domain::recording::Retention;
use crate::domain::route::{Route, RouteAnswer};
use crate::prompt::{Clip, Voice};
use crate::rtp::plane::{Command, RecordAs, Report, SessionId};
use crate::rtp::sound::Step;

/// What was recorded of the calls, and whether it was before or after the bridge.
fn recorded(h: &Harness) -> Vec<(RecordAs, bool)> {
    let mut bridged = false;
    let mut found = Vec::new();
    for order in &h.orders {
        match order {
            Command::Bridge { .. } => bridged = true,
            Command::Record { recording, .. } => found.push((recording.as_ref().clone(), bridged)),
            Command::Open { .. }
            | Command::Update { .. }
            | Command::Hold { .. }
            | Command::Play { .. }
            | Command::Stop { .. }
            | Command::Keys { .. }
            | Command::Close { .. } => {}
        }
    }
    found
}

fn says_that_it_is_recorded(h: &Harness) -> bool {
    let says = |voice| Step::Clip(Clip::Recorded.id(voice));
    let (_, text) = *played(h).first().expect("something was said");
    Voice::ALL.into_iter().any(|voice| text.steps().contains(&says(voice)))
}

#[test]
fn a_call_is_recorded_from_the_bridge_on_where_its_purpose_is_and_the_callee_was_told() {
    let mut h = Harness::with(|config| {
        announced_only(config);
        config.recording.purposes = vec![Purpose::Unspecified];
    });
    listening(&mut h);
    assert!(says_that_it_is_recorded(&h));
    assert_eq!(recorded(&h), [], "not before it is bridged");
    said(&mut h);
    let found = recorded(&h);
    let [(recording, true)] = &found[..] else { panic!("one, after the bridge") };
    assert_eq!(SessionId(recording.call), session(&h));
    assert_eq!(recording.retention, Retention::FiveYears.code());
    assert_eq!((recording.recording, &*recording.key.key), (0x7ec, &[5; 32][..]));
}

#[test]
fn a_call_for_another_purpose_is_neither_recorded_nor_said_to_be() {
    let mut h = Harness::with(|config| {
        announced_only(config);
        config.recording.purposes = vec![Purpose::Claim];
    });
    listening(&mut h);
    assert!(!says_that_it_is_recorded(&h));
    said(&mut h);
    assert!(is_bridged(&h));
    assert_eq!(recorded(&h), []);
}

fn recording(config: &mut CallConfig) {
    announced_only(config);
    config.recording.purposes = vec![Purpose::Unspecified];
}

fn required(config: &mut CallConfig) {
    recording(config);
    config.recording.required = vec![Purpose::Unspecified];
}

/// A call that is bridged, and whose media plane says this of its recording.
fn bridged(config: fn(&mut CallConfig), begun: &[bool]) -> (Harness, Up) {
    let mut h = Harness::with(config);
    let mut up = listening(&mut h);
    said(&mut h);
    let answer = h.take_one(pbx());
    up.caller.learn(&answer);
    h.from(pbx(), up.caller.ack());
    let session = session(&h);
    for begun in begun.iter().copied() {
        h.input(Input::Media(Report::Recording { session, begun }));
    }
    (h, up)
}

#[test]
fn the_record_says_whether_a_call_that_was_said_to_be_recorded_is() {
    let of = [
        (&[true][..], vec![Mark::Recorded]),
        (&[false], vec![Mark::NotRecorded]),
        (&[true, false], vec![Mark::Recorded, Mark::NotRecorded]),
    ];
    for (told, marks) in of {
        let (mut h, up) = bridged(recording, told);
        h.from(carrier(), up.callee_bye());
        h.confirm(pbx(), "BYE");
        assert_eq!((&h.cdr().marks, h.cdr().cause), (&marks, Cause::CalleeHangup));
        h.check_nothing_is_left();
    }
}

#[test]
fn a_call_that_has_to_be_recorded_ends_where_its_recording_does() {
    for told in [&[false][..], &[true, false]] {
        let (mut h, _) = bridged(required, told);
        h.confirm(pbx(), "BYE");
        h.confirm(carrier(), "BYE");
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::NotRecorded, EndedBy::Relay));
        assert!(h.cdr().marks.contains(&Mark::NotRecorded));
        h.check_nothing_is_left();
    }
}

fn without_key() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(Route { recording: None, ..route() })))
}

#[test]
fn nobody_is_called_for_a_call_that_has_to_be_recorded_and_has_no_key() {
    let mut h = Harness::with(required);
    h.store = without_key;
    h.from(pbx(), Caller::agent().invite());
    assert_eq!(h.cdr().cause, Cause::NotRecorded);
    assert!(!h.has_sent(carrier()));

    let mut h = Harness::with(recording);
    h.store = without_key;
    let up = listening(&mut h);
    said(&mut h);
    assert!(is_bridged(&h));
    assert_eq!(recorded(&h), []);
    h.from(carrier(), up.callee_bye());
    h.take(pbx());
    h.advance(ms(60_000));
    assert_eq!(h.cdr().marks, [Mark::NotRecorded]);
}

/// What a peer can do that speaks G.722 rather than anything else, or nothing else.
fn wideband(text: &str, codecs: &str) -> String {
    assert!(text.contains(" 8 0 101\r\n"), "{text}");
    text.replace(" 8 0 101\r\n", &format!(" {codecs}\r\n"))
}

fn speaks_wideband(text: &str) -> bool {
    let line = text.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.expect("an audio line").split(' ').skip(2).any(|codec| codec == "9")
}

/// A recording that nothing can be written to is none: what cannot be written down is not spoken.
#[test]
fn a_recorded_call_speaks_only_what_can_be_written_down() {
    for (config, passes) in [(announced_only as fn(&mut CallConfig), true), (recording, false)] {
        let mut h = Harness::with(config);
        let mut caller = Caller::agent();
        caller.body = wideband(&caller.body, "9 8 0 101");
        h.from(pbx(), caller.invite());
        let told = h.take_one(carrier());
        assert_eq!(speaks_wideband(&told), passes, "{told}");
        // The agent offers nothing and waits for what it is offered.
        let mut h = Harness::with(config);
        let mut caller = Caller::agent();
        caller.body = String::new();
        h.from(pbx(), caller.invite());
        let told = h.take_one(carrier());
        assert_eq!(speaks_wideband(&told), passes, "{told}");
    }
    let mut h = Harness::with(recording);
    let mut caller = Caller::agent();
    caller.body = wideband(&caller.body, "9 101");
    h.from(pbx(), caller.invite());
    assert_eq!(h.cdr().cause, Cause::MediaUnacceptable);
    assert!(!h.has_sent(carrier()));
}

#[test]
fn neither_side_turns_a_recorded_call_to_what_cannot_be_written_down() {
    let (mut h, up) = bridged(required, &[true]);
    h.orders.clear();
    h.take(pbx());
    h.take(carrier());
    let offer = wideband(&up.caller.body, "9 101");
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &offer));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    let offer = wideband(&sdp("198.51.100.77", 6_000), "9 101");
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &offer));
    assert_eq!(h.lines(carrier()), ["488 INVITE"]);
    assert!(h.take(pbx()).is_empty(), "the far side is not even asked");
    assert_eq!(h.orders, []);
    // One that leaves a choice is taken for what can be written down.
    let offer = wideband(&up.caller.body, "9 8 0 101");
    h.from(pbx(), up.caller.with("INVITE", "r2", 3, "", &offer));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer).as_str(), speaks_wideband(&answer)), ("200 INVITE", false));
}
