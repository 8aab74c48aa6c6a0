//! The checklist of dialogs.

use super::{Dialog, EarlyDialogs, NoDialog, Opening, Order, State};
use crate::sip::header::HeaderId;
use crate::sip::limits::{EARLY_DIALOGS_MAX, ROUTE_SET_MAX};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::tests::{branch, call_id, invite_with, message, peer, tag};
use crate::sip::write::{Request, RequestHead, RequestWriter, ResponseWriter, new_buffer};

const SENT_BY: &str = "UDP 192.0.2.9:5060";

fn invite_of_ours() -> Message {
    let call_id = call_id(1);
    let head = RequestHead {
        method: Method::Invite,
        uri: b"sip:+8613800000002@carrier.example",
        sent_by: SENT_BY,
        branch: branch(1),
        max_forwards: 70,
        routes: &[],
        from: b"<sip:95588@relay.example>;tag=ours",
        to: b"<sip:+8613800000002@carrier.example>",
        call_id: call_id.as_bytes(),
        cseq: 41,
    };
    message(RequestWriter::start(&mut new_buffer(), &head).finish().bytes)
}

/// A peer's answer with a tag, a Contact and Record-Route values.
fn answer(invite: &Message, status: u16, seed: u64, contact: &str, routes: &[&str]) -> Message {
    let mut out = new_buffer();
    let mut writer = ResponseWriter::start(&mut out, invite, peer(), status, Some(&tag(seed)))
        .header("Contact", contact);
    for route in routes {
        writer = writer.header("Record-Route", route);
    }
    message(writer.finish())
}

fn read(request: Request) -> Message {
    message(request.bytes)
}

fn bye(dialog: &mut Dialog) -> Message {
    read(dialog.request(&mut new_buffer(), Method::Bye, SENT_BY, branch(8)).finish())
}

fn routes_of(message: &Message) -> Vec<&[u8]> {
    message.headers(HeaderId::Route).collect()
}

/// A request of the peer inside the dialog that [`invite_with`] opened.
fn inside(dialog: &Dialog, method: &str, cseq: u32) -> Message {
    let to = std::str::from_utf8(dialog.local_tag()).expect("ours").to_owned();
    let text = crate::sip::tests::request_with(method, "", "")
        .replace("CSeq: 10", &format!("CSeq: {cseq}"))
        .replace("user=phone>\r\n", &format!("user=phone>;tag={to}\r\n"));
    message(text)
}

#[test]
fn a_caller_sends_its_requests_along_the_reversed_record_route_to_the_contact() {
    let invite = invite_of_ours();
    let routes = ["<sip:p3;lr>, <sip:p2;lr>", "<sip:p1;lr>"];
    let success = answer(&invite, 200, 1, "\"B, b\" <sip:b@192.0.2.77:5080>", &routes);
    let mut dialog = Dialog::from_response(&invite, &success).expect("a dialog");
    assert_eq!(dialog.state(), State::Confirmed);
    let bye = bye(&mut dialog);
    assert_eq!(bye.request_uri_text(), b"sip:b@192.0.2.77:5080");
    assert_eq!(routes_of(&bye), [b"<sip:p1;lr>", b"<sip:p2;lr>", b"<sip:p3;lr>"]);
    assert_eq!((bye.cseq(), bye.call_id()), (42, invite.call_id()));
    assert_eq!((bye.from().raw, bye.to().raw), (invite.from().raw, success.to().raw));
}

#[test]
fn what_is_kept_of_an_invite_does_not_say_whom_it_was_sent_to() {
    let opening = Opening::of(&invite_of_ours()).expect("short values");
    for kept in opening.kept() {
        assert!(!kept.windows(11).any(|part| part == b"13800000002"), "{}", kept.escape_ascii());
    }
}

#[test]
fn ack_to_a_2xx_is_a_new_branch_with_the_dialogs_route_set_and_the_cseq_of_the_invite() {
    let invite = invite_of_ours();
    let success = answer(&invite, 200, 1, "<sip:b@h>", &["<sip:p1;lr>"]);
    let mut dialog = Dialog::from_response(&invite, &success).expect("a dialog");
    let _later = bye(&mut dialog);
    let ack = read(dialog.ack(&mut new_buffer(), SENT_BY, branch(3)).finish());
    assert_eq!((ack.method(), ack.cseq()), (Method::Ack, 41));
    assert_eq!(ack.top_via().branch, Some(branch(3).as_bytes()));
    assert_eq!(routes_of(&ack), [b"<sip:p1;lr>"]);
    assert_eq!((ack.request_uri_text(), ack.to().raw), (&b"sip:b@h"[..], success.to().raw));
}

#[test]
fn a_callee_sends_its_requests_along_the_record_route_as_it_came() {
    let invite =
        message(invite_with("Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n", ""));
    let mut dialog = Dialog::from_invite(&invite, &tag(1), State::Early).expect("a dialog");
    dialog.confirm(None).expect("nothing to read");
    let bye = bye(&mut dialog);
    assert_eq!(routes_of(&bye), [b"<sip:p1;lr>", b"<sip:p2;lr>"]);
    assert_eq!((bye.request_uri_text(), bye.cseq()), (&b"sip:7@192.0.2.1:5070"[..], 1));
    assert_eq!((bye.from().tag, bye.to().raw), (Some(tag(1).as_bytes()), invite.from().raw));
}

#[test]
fn a_strict_router_becomes_the_request_uri() {
    let invite = message(invite_with("Record-Route: <sip:strict>, <sip:p2;lr>\r\n", ""));
    let mut dialog = Dialog::from_invite(&invite, &tag(1), State::Confirmed).expect("a dialog");
    let bye = bye(&mut dialog);
    assert_eq!(bye.request_uri_text(), b"sip:strict");
    assert_eq!(routes_of(&bye), [&b"<sip:p2;lr>"[..], b"<sip:7@192.0.2.1:5070>"]);
}

#[test]
fn a_cseq_gap_is_not_an_error_and_a_lower_or_equal_one_is_old() {
    let invite = message(invite_with("", ""));
    let mut dialog = Dialog::from_invite(&invite, &tag(1), State::Confirmed).expect("a dialog");
    for (method, cseq, order) in [
        ("ACK", 10, Order::Next),
        ("INFO", 10, Order::Old),
        ("INFO", 9, Order::Old),
        ("INFO", 12, Order::Next),
        ("ACK", 10, Order::Next),
        ("BYE", 11, Order::Old),
        ("BYE", 2_000_000_000, Order::Next),
    ] {
        let request = inside(&dialog, method, cseq);
        assert!(dialog.matches_request(&request));
        assert_eq!(dialog.receive(&request), order, "{method} {cseq}");
    }
}

#[test]
fn the_first_request_of_a_callee_may_have_any_number() {
    let invite = invite_of_ours();
    let success = answer(&invite, 200, 1, "<sip:b@h>", &[]);
    let mut dialog = Dialog::from_response(&invite, &success).expect("a dialog");
    assert_eq!(dialog.receive(&inside(&dialog, "BYE", 0)), Order::Next);
}

#[test]
fn another_tag_or_call_id_is_another_dialog() {
    let invite = message(invite_with("", ""));
    let dialog = Dialog::from_invite(&invite, &tag(1), State::Confirmed).expect("a dialog");
    let bye = inside(&dialog, "BYE", 11);
    let text = std::str::from_utf8(bye.bytes()).expect("text").to_owned();
    for (from, to) in [("tag=a7", "tag=a8"), ("c1@", "c2@"), (tag(1).as_str(), tag(2).as_str())] {
        assert!(!dialog.matches_request(&message(text.replace(from, to))), "{from}");
    }
}

#[test]
fn several_early_dialogs_live_side_by_side_each_with_its_own_route_set() {
    let invite = invite_of_ours();
    let mut early = EarlyDialogs::new();
    for seed in [1, 2, 1] {
        let (contact, route) = (format!("<sip:b{seed}@h>"), format!("<sip:p{seed};lr>"));
        let ringing = answer(&invite, 180, seed, &contact, &[&route]);
        early.on_response(&invite, &ringing).expect("a dialog");
    }
    assert_eq!(early.len(), 2);
    let success = answer(&invite, 200, 2, "<sip:b2new@h>", &["<sip:p9;lr>"]);
    let dialog = early.on_response(&invite, &success).expect("the second dialog");
    assert_eq!((dialog.state(), dialog.remote_target()), (State::Confirmed, &b"sip:b2new@h"[..]));
    let mut winner = early.take(tag(2).as_bytes()).expect("the second dialog");
    assert_eq!(routes_of(&bye(&mut winner)), [b"<sip:p9;lr>"]);
    let left: Vec<_> = early.iter().map(Dialog::state).collect();
    assert_eq!(left, [State::Early]);
    let second = answer(&invite, 200, 3, "<sip:b3@h>", &[]);
    assert_eq!(
        early.on_response(&invite, &second).map(|dialog| dialog.state()),
        Ok(State::Confirmed)
    );
}

#[test]
fn forks_are_bounded() {
    let invite = invite_of_ours();
    let mut early = EarlyDialogs::new();
    for seed in 0..EARLY_DIALOGS_MAX as u64 {
        early.on_response(&invite, &answer(&invite, 180, seed, "<sip:b@h>", &[])).expect("room");
    }
    let one_more = answer(&invite, 180, 99, "<sip:b@h>", &[]);
    assert_eq!(early.on_response(&invite, &one_more).map(|_| ()), Err(NoDialog));
}

#[test]
fn what_cannot_be_called_opens_no_dialog() {
    let invite = invite_of_ours();
    for contact in ["*", "<sip:>", "<sip:a b@h>"] {
        let success = answer(&invite, 200, 1, contact, &[]);
        assert_eq!(Dialog::from_response(&invite, &success).err(), Some(NoDialog), "{contact}");
    }
    let long = format!("<sip:{}@h>", "b".repeat(2_000));
    let success = answer(&invite, 200, 1, &long, &[]);
    assert_eq!(Dialog::from_response(&invite, &success).err(), Some(NoDialog));
    let many = vec!["<sip:p;lr>"; ROUTE_SET_MAX + 1];
    let success = answer(&invite, 200, 1, "<sip:b@h>", &many);
    assert_eq!(Dialog::from_response(&invite, &success).err(), Some(NoDialog));
    assert!(
        Dialog::from_response(&invite, &answer(&invite, 200, 1, "<sip:b@h>", &many[1..])).is_ok()
    );
}

#[test]
fn headers_in_a_contact_never_reach_a_request_line() {
    let invite = invite_of_ours();
    let evil = "<sip:a?b@h;x=y?Route=%3Csip:evil.example%3E>";
    let success = answer(&invite, 200, 1, evil, &[]);
    let mut dialog = Dialog::from_response(&invite, &success).expect("a dialog");
    assert_eq!(bye(&mut dialog).request_uri_text(), b"sip:a?b@h;x=y");
}

#[test]
fn a_broken_contact_in_a_later_message_does_not_move_the_target() {
    let invite = invite_of_ours();
    let success = answer(&invite, 200, 1, "<sip:b@h>", &[]);
    let mut dialog = Dialog::from_response(&invite, &success).expect("a dialog");
    dialog.refresh_target(&answer(&invite, 200, 1, "<sip:>", &[]));
    assert_eq!(dialog.remote_target(), b"sip:b@h");
    dialog.refresh_target(&answer(&invite, 200, 1, "<sip:c@h>", &[]));
    assert_eq!(dialog.remote_target(), b"sip:c@h");
}
