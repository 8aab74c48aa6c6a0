//! The table with real messages: matching, CANCEL, limits, clean-up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ClientFailure, ClientId, Event, Output, Owner, ServerId, Transactions};
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::tests::{
    branch, call_id, epoch, invite_with, message, parse, peer, request_with, tag,
};
use crate::sip::transport::Hop;
use crate::sip::write::{Request, RequestHead, RequestWriter, ResponseWriter, new_buffer};

const OWNER: Owner = Owner(77);

/// A table, its clock, and everything it wanted sent.
struct Bench {
    table: Transactions,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with_max(super::TRANSACTIONS_MAX)
    }

    fn with_max(max: usize) -> Self {
        Self { table: Transactions::with_max(max), now: epoch() }
    }

    fn receive(&mut self, text: impl AsRef<[u8]>) -> Event {
        let message = message(text);
        let found = self.table.find(&message);
        self.table.receive(self.now, &message, found, peer())
    }

    fn request(&mut self, text: impl AsRef<[u8]>) -> (ServerId, Message) {
        let message = message(&text);
        let event = self.receive(text);
        let Event::Request { server } = event else {
            panic!("a new request, not {event:?}");
        };
        (server, message)
    }

    fn respond(&mut self, server: ServerId, request: &Message, status: u16) {
        let mut out = new_buffer();
        let writer = ResponseWriter::start(&mut out, request, peer(), status, Some(&tag(1)));
        self.table.respond(self.now, server, status, writer.finish());
    }

    fn send(&mut self, request: Request) -> ClientId {
        self.table.request(self.now, request, peer(), OWNER).expect("room in the table")
    }

    /// Everything that was to be sent, read back; other outputs are left out.
    fn sent(&mut self) -> Vec<Message> {
        let read = |bytes: Bytes| parse(&bytes).expect("what we send is well formed");
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Transmit { to, bytes } => {
                    assert_eq!(to.address, peer());
                    Some(read(bytes))
                }
                Output::ClientFailed { .. } | Output::AckMissing { .. } => None,
            })
            .collect()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.table.poll_output()).collect()
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.table.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.table.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn assert_empty_after_linger(&mut self) {
        self.pass(Duration::from_secs(64));
        assert!(self.table.is_empty(), "{} left", self.table.len());
        assert_eq!(self.table.poll_timeout(), None);
    }
}

fn ours(method: Method, seed: u64) -> Request {
    let call_id = call_id(seed);
    let head = RequestHead {
        method,
        uri: b"sip:+8613800000002@carrier.example",
        sent_by: "UDP 192.0.2.9:5060",
        branch: branch(seed),
        max_forwards: 70,
        routes: &[(*b"<sip:edge.example;lr>").into()],
        from: b"<sip:95588@relay.example>;tag=ours",
        to: b"<sip:+8613800000002@carrier.example>",
        call_id: call_id.as_bytes(),
        cseq: 1,
    };
    RequestWriter::start(&mut new_buffer(), &head).finish()
}

/// The answer of a peer to a request of ours.
fn answer_to(request: &Bytes, status: u16) -> Bytes {
    let request = message(request);
    let tag = (status > 100).then(|| tag(9));
    ResponseWriter::start(&mut new_buffer(), &request, peer(), status, tag.as_ref()).finish()
}

#[test]
fn a_retransmitted_invite_gets_the_last_answer_again_and_reaches_the_core_once() {
    let mut bench = Bench::new();
    let (server, invite) = bench.request(invite_with("", ""));
    bench.respond(server, &invite, 100);
    bench.respond(server, &invite, 180);
    assert_eq!(bench.sent().len(), 2);
    assert!(matches!(bench.receive(invite_with("", "")), Event::Absorbed));
    assert_eq!(bench.sent()[0].status(), Some(180));
    bench.respond(server, &invite, 486);
    bench.sent();
    assert!(matches!(bench.receive(invite_with("", "")), Event::Absorbed));
    assert_eq!(bench.sent()[0].status(), Some(486));
    let ack = request_with("ACK", "", "").replace("user=phone>\r\n", "user=phone>;tag=x\r\n");
    assert!(matches!(bench.receive(&ack), Event::Absorbed));
    bench.pass(Duration::from_secs(1));
    assert!(bench.sent().is_empty(), "the refusal is repeated no more");
    bench.assert_empty_after_linger();
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_refusal_without_an_ack_is_reported_and_gone() {
    let mut bench = Bench::new();
    let (server, invite) = bench.request(invite_with("", ""));
    bench.table.set_owner(server, OWNER);
    bench.respond(server, &invite, 404);
    bench.pass(Duration::from_secs(33));
    let outputs = bench.outputs();
    assert_eq!(outputs.len(), 1 + 10 + 1);
    assert!(matches!(
        outputs.last(),
        Some(Output::AckMissing { server: missing, owner: OWNER }) if *missing == server
    ));
    assert!(bench.table.is_empty());
}

#[test]
fn an_ack_to_a_2xx_reaches_the_core_with_its_own_branch_or_with_that_of_the_invite() {
    let mut bench = Bench::new();
    let (server, invite) = bench.request(invite_with("", ""));
    bench.respond(server, &invite, 200);
    for text in [
        request_with("ACK", "", "").replace("z9hG4bKabc", "z9hG4bKnew"),
        request_with("ACK", "", ""),
    ] {
        assert!(matches!(bench.receive(text), Event::Ack));
    }
    bench.respond(server, &invite, 200);
    assert_eq!(bench.sent().len(), 2, "the core repeats its 2xx through the transaction");
    bench.assert_empty_after_linger();
}

#[test]
fn a_via_branch_of_only_the_magic_cookie_does_not_collide_with_another_transaction() {
    let mut bench = Bench::new();
    let bare = |call: &str, via: &str| {
        request_with("OPTIONS", "", "").replace("branch=z9hG4bKabc", via).replace("c1@", call)
    };
    for via in ["branch=z9hG4bK", "branch=1", "x"] {
        let first = bare(&format!("1{via}@"), via);
        let (server, request) = bench.request(&first);
        let _second = bench.request(bare(&format!("2{via}@"), via));
        bench.respond(server, &request, 200);
        bench.sent();
        assert!(matches!(bench.receive(&first), Event::Absorbed));
        let again = bench.sent();
        assert_eq!((again.len(), again[0].call_id()), (1, request.call_id()));
    }
}

#[test]
fn the_ack_of_an_rfc_2543_peer_finds_its_invite() {
    let mut bench = Bench::new();
    let old = |text: String| text.replace(":5066;branch=z9hG4bKabc;rport", ":5070");
    let (server, invite) = bench.request(old(invite_with("", "")));
    bench.respond(server, &invite, 486);
    let ack = old(request_with("ACK", "", "")).replace("user=phone>\r\n", "user=phone>;tag=x\r\n");
    assert!(matches!(bench.receive(ack), Event::Absorbed));
    bench.sent();
    bench.pass(Duration::from_secs(4));
    assert!(bench.sent().is_empty());
}

#[test]
fn the_same_branch_from_another_sent_by_or_with_another_method_is_another_transaction() {
    let mut bench = Bench::new();
    let _first = bench.request(request_with("OPTIONS", "", ""));
    let elsewhere = request_with("OPTIONS", "", "").replace("pbx.example:5066", "b:5066");
    let _other = bench.request(elsewhere.replace("c1@", "c2@"));
    let _info =
        bench.request(request_with("INFO", "", "").replace("phone>\r\n", "phone>;tag=t\r\n"));
    let odd = bench.receive(request_with("NEW", "", ""));
    assert!(matches!(odd, Event::Request { .. }));
    assert!(matches!(bench.receive(request_with("NEWER", "", "")), Event::Request { .. }));
}

#[test]
fn a_merged_request_is_told_from_a_repeat_and_from_a_new_attempt() {
    let mut bench = Bench::new();
    let by_other_path =
        |number: u32| invite_with("", "").replace("z9hG4bKabc", &format!("z9hG4bKpath{number}"));
    let (server, invite) = bench.request(invite_with("", ""));
    assert!(matches!(bench.receive(by_other_path(1)), Event::Merged { .. }));
    bench.respond(server, &invite, 503);
    let Event::Merged { server: merged } = bench.receive(by_other_path(2)) else {
        panic!("path 1 still runs");
    };
    bench.respond(merged, &message(by_other_path(2)), 482);
    let next = by_other_path(3).replace("CSeq: 10", "CSeq: 11");
    assert!(matches!(bench.receive(next), Event::Request { .. }));
}

#[test]
fn what_was_found_for_one_message_is_not_taken_for_another() {
    let mut bench = Bench::new();
    let (server, _invite) = bench.request(invite_with("", ""));
    let repeat = message(invite_with("", ""));
    let bye = message(request_with("BYE", "", "").replace("z9hG4bKabc", "z9hG4bKbye"));
    let [of_repeat, of_bye] = [&repeat, &bye].map(|message| bench.table.find(message));
    assert!(of_repeat.is_repeat() && !of_bye.is_repeat());
    let event = bench.table.receive(bench.now, &repeat, of_repeat, peer());
    assert!(matches!(event, Event::Absorbed));
    let of_bye_too = bench.table.find(&bye);
    bench.table.find(&repeat);
    let event = bench.table.receive(bench.now, &bye, of_bye_too, peer());
    assert!(matches!(event, Event::Request { server: new } if new != server));
    assert!(bench.table.find(&bye).is_repeat(), "it lies at its own key");
}

#[test]
fn a_cancel_finds_its_invite_and_its_owner() {
    let mut bench = Bench::new();
    let (server, _invite) = bench.request(invite_with("", ""));
    bench.table.set_owner(server, OWNER);
    let cancel = request_with("CANCEL", "", "");
    let Event::Cancel { server: own, invite } = bench.receive(&cancel) else {
        panic!("a CANCEL");
    };
    assert_eq!(invite, Some((server, OWNER)));
    bench.respond(own, &message(&cancel), 200);
    assert_eq!(bench.sent()[0].status(), Some(200));
    assert!(matches!(bench.receive(request_with("CANCEL", "", "")), Event::Absorbed));
    assert_eq!(bench.sent()[0].status(), Some(200), "a repeat is answered again");
    let stray = request_with("CANCEL", "", "").replace("z9hG4bKabc", "z9hG4bKother");
    assert!(matches!(bench.receive(stray), Event::Cancel { invite: None, .. }));
}

#[test]
fn outbound_requests_are_retransmitted_on_udp_although_the_layer_above_does_not_poll() {
    let mut bench = Bench::new();
    let client = bench.send(ours(Method::Bye, 1));
    bench.pass(Duration::from_secs(40));
    let mut outputs = bench.outputs();
    assert!(matches!(
        outputs.pop(),
        Some(Output::ClientFailed { client: failed, owner: OWNER, why: ClientFailure::Timeout })
            if failed == client
    ));
    assert_eq!(outputs.len(), 11);
    assert!(bench.table.is_empty());
}

#[test]
fn responses_reach_their_owner_and_repeats_of_a_refusal_do_not() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    let client = bench.send(invite.clone());
    for status in [100, 180, 486] {
        let event = bench.receive(answer_to(&invite.bytes, status));
        let Event::Response { client: of, owner: OWNER, .. } = event else {
            panic!("{status}: {event:?}");
        };
        assert_eq!(of, client);
    }
    assert!(matches!(bench.receive(answer_to(&invite.bytes, 486)), Event::Absorbed));
    bench.assert_empty_after_linger();
    assert!(matches!(bench.receive(answer_to(&invite.bytes, 486)), Event::Stray));
}

#[test]
fn ack_to_a_non_2xx_carries_the_route_set_and_the_top_via_branch_of_its_invite() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    bench.send(invite.clone());
    bench.receive(answer_to(&invite.bytes, 404));
    bench.receive(answer_to(&invite.bytes, 404));
    let sent = bench.sent();
    assert_eq!(sent.len(), 3, "the INVITE and an ACK for each refusal");
    let (invite, ack) = (&sent[0], &sent[1]);
    assert_eq!((ack.method(), ack.cseq()), (Method::Ack, 1));
    assert_eq!(ack.request_uri_text(), invite.request_uri_text());
    assert_eq!(ack.top_via().raw, invite.top_via().raw);
    assert_eq!(ack.from().raw, invite.from().raw);
    assert_eq!(ack.call_id(), invite.call_id());
    assert_eq!(ack.to().tag, Some(tag(9).as_bytes()));
    assert_eq!(ack.header(HeaderId::Route), Some(&b"<sip:edge.example;lr>"[..]));
    assert_eq!(sent[1].bytes(), sent[2].bytes());
}

#[test]
fn cancel_before_the_first_1xx_is_held_back_until_a_provisional_arrives() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    let client = bench.send(invite.clone());
    bench.table.cancel(bench.now, client);
    bench.table.cancel(bench.now, client);
    assert!(bench.sent().iter().all(|request| request.method() == Method::Invite));
    bench.receive(answer_to(&invite.bytes, 100));
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].method()), (1, Method::Cancel));
    assert!(matches!(bench.receive(answer_to(sent[0].bytes(), 200)), Event::Absorbed));
    assert!(matches!(bench.receive(answer_to(&invite.bytes, 487)), Event::Response { .. }));
    assert_eq!(bench.sent()[0].method(), Method::Ack);
    bench.assert_empty_after_linger();
}

#[test]
fn cancel_has_the_same_request_uri_branch_to_without_a_tag_and_route_as_its_invite() {
    let mut bench = Bench::new();
    let request = ours(Method::Invite, 1);
    let client = bench.send(request.clone());
    bench.receive(answer_to(&request.bytes, 180));
    bench.table.cancel(bench.now, client);
    let sent = bench.sent();
    let (invite, cancel) = (&sent[0], &sent[1]);
    assert_eq!(cancel.request_uri_text(), invite.request_uri_text());
    assert_eq!(cancel.top_via().raw, invite.top_via().raw);
    assert_eq!((cancel.to().raw, cancel.to().tag), (invite.to().raw, None));
    assert_eq!(cancel.header(HeaderId::Route), invite.header(HeaderId::Route));
    assert_eq!((cancel.cseq(), cancel.method_name()), (invite.cseq(), &b"CANCEL"[..]));
}

#[test]
fn a_final_response_before_any_1xx_makes_a_held_back_cancel_pointless() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    let client = bench.send(invite.clone());
    bench.table.cancel(bench.now, client);
    assert!(matches!(bench.receive(answer_to(&invite.bytes, 200)), Event::Response { .. }));
    assert!(matches!(bench.receive(answer_to(&invite.bytes, 200)), Event::Response { .. }));
    assert!(bench.sent().iter().all(|request| request.method() == Method::Invite));
    bench.table.cancel(bench.now, client);
    assert!(bench.sent().is_empty());
    bench.assert_empty_after_linger();
}

#[test]
fn an_invite_whose_cancel_is_ignored_fails_after_32_seconds() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    let client = bench.send(invite.clone());
    bench.receive(answer_to(&invite.bytes, 180));
    bench.table.cancel(bench.now, client);
    bench.pass(Duration::from_secs(32));
    let failed = |output: &&Output| matches!(output, Output::ClientFailed { .. });
    assert_eq!(bench.outputs().iter().filter(failed).count(), 1, "the CANCEL itself is silent");
    bench.assert_empty_after_linger();
}

#[test]
fn an_unreachable_peer_fails_what_it_has_not_answered_and_nothing_else() {
    let mut bench = Bench::new();
    let answered = ours(Method::Invite, 1);
    bench.send(answered.clone());
    bench.receive(answer_to(&answered.bytes, 100));
    let waiting = bench.send(ours(Method::Invite, 2));
    let other: SocketAddr = SocketAddr::from(([198, 51, 100, 7], 5060));
    let elsewhere = ours(Method::Invite, 3);
    bench.table.request(bench.now, elsewhere, other, OWNER).expect("room in the table");
    bench.outputs();
    let others_connection = Hop { owner: 7, ..peer().into() };
    bench.table.unreachable(bench.now, others_connection);
    assert!(bench.outputs().is_empty(), "it is somebody else's at that address");
    bench.table.unreachable(bench.now, peer());
    let outputs = bench.outputs();
    assert!(matches!(
        outputs.as_slice(),
        [Output::ClientFailed { client, why: ClientFailure::Unreachable, .. }] if *client == waiting
    ));
}

#[test]
fn who_says_that_a_peer_is_away_must_name_a_request_that_waits_there() {
    let mut bench = Bench::new();
    let answered = ours(Method::Invite, 1);
    bench.send(answered.clone());
    bench.receive(answer_to(&answered.bytes, 100));
    bench.send(ours(Method::Invite, 2));
    bench.send(ours(Method::Invite, 3));
    bench.send(ours(Method::Bye, 4));
    let elsewhere = Hop::from(SocketAddr::from(([198, 51, 100, 7], 5060)));
    bench.outputs();
    let mut tell = |to, n| bench.table.undelivered(bench.now, to, branch(n));
    assert!(!tell(peer().into(), 1), "it is there");
    assert!(!tell(peer().into(), 9), "that was never sent");
    assert!(!tell(elsewhere, 2), "that went somewhere else");
    assert!(tell(peer().into(), 2));
    assert!(!tell(peer().into(), 2), "once is enough");
    let failed = |output: &Output| matches!(output, Output::ClientFailed { .. });
    let outputs = bench.outputs();
    assert!(outputs.len() == 2 && outputs.iter().all(failed), "both can be asked for elsewhere");
    assert!(bench.table.undelivered(bench.now, peer().into(), branch(4)), "a BYE goes on alone");
    let outputs = bench.outputs();
    assert!(outputs.len() == 1 && outputs.iter().all(failed));
}

#[test]
fn a_response_with_a_second_via_or_a_foreign_branch_touches_nothing() {
    let mut bench = Bench::new();
    let invite = ours(Method::Invite, 1);
    bench.send(invite.clone());
    let answer = answer_to(&invite.bytes, 200);
    let text = std::str::from_utf8(&answer).expect("text");
    let two = text.replace("\r\nFrom:", "\r\nVia: SIP/2.0/UDP 192.0.2.255\r\nFrom:");
    assert!(matches!(bench.receive(two), Event::Absorbed));
    let foreign = text.replace(branch(1).as_str(), branch(2).as_str());
    assert!(matches!(bench.receive(foreign), Event::Stray));
    let bye = text.replace("1 INVITE", "1 BYE");
    assert!(matches!(bench.receive(bye), Event::Stray));
}

#[test]
fn a_full_table_refuses_attempts_first_and_our_own_requests_last() {
    let mut bench = Bench::with_max(8);
    let attempt = |number: u32| {
        request_with("OPTIONS", "", "")
            .replace("z9hG4bKabc", &format!("z9hG4bK{number}"))
            .replace("c1@", &format!("{number}@"))
    };
    for number in 0..6 {
        let _taken = bench.request(attempt(number));
    }
    assert!(matches!(bench.receive(attempt(6)), Event::Full));
    let bye = |number: u32| {
        attempt(number)
            .replace("OPTIONS", "BYE")
            .replace("user=phone>\r\n", "user=phone>;tag=t\r\n")
    };
    assert!(matches!(bench.receive(bye(7)), Event::Request { .. }));
    assert!(matches!(bench.receive(bye(8)), Event::Full), "the rest is for ours");
    bench.send(ours(Method::Bye, 1));
    let full = bench.table.request(bench.now, ours(Method::Bye, 2), peer(), OWNER);
    assert_eq!(full, Err(super::Full));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn an_id_of_a_transaction_that_is_gone_is_harmless() {
    let mut bench = Bench::new();
    let (server, request) = bench.request(request_with("OPTIONS", "", ""));
    bench.respond(server, &request, 200);
    bench.assert_empty_after_linger();
    let (reused, again) = bench.request(request_with("OPTIONS", "", ""));
    assert_ne!(server, reused, "the place is the same, the id is not");
    bench.sent();
    bench.respond(server, &again, 500);
    bench.table.set_owner(server, OWNER);
    assert!(bench.sent().is_empty());
    bench.respond(reused, &again, 200);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn every_successful_failed_timed_out_and_cancelled_transaction_is_gone_after_its_linger() {
    let mut bench = Bench::new();
    for seed in 0..200 {
        let invite = ours(Method::Invite, seed);
        let client = bench.send(invite.clone());
        match seed % 5 {
            0 => _ = bench.receive(answer_to(&invite.bytes, 200)),
            1 => _ = bench.receive(answer_to(&invite.bytes, 603)),
            2 => {
                bench.receive(answer_to(&invite.bytes, 180));
                bench.table.cancel(bench.now, client);
            }
            3 => bench.table.cancel(bench.now, client),
            _ => {}
        }
        let text = invite_with("", "")
            .replace("z9hG4bKabc", &format!("z9hG4bK{seed}"))
            .replace("c1@", &format!("{seed}@"));
        let (server, request) = bench.request(text);
        bench.respond(server, &request, if seed % 2 == 0 { 200 } else { 486 });
        bench.pass(Duration::from_millis(37));
    }
    assert!(bench.table.len() >= 400);
    bench.assert_empty_after_linger();
}

#[test]
fn messages_of_one_dialog_are_handled_in_arrival_order() {
    let mut bench = Bench::new();
    let numbers: Vec<_> = (11..20)
        .map(|number| {
            let text = request_with("INFO", "", "")
                .replace("CSeq: 10", &format!("CSeq: {number}"))
                .replace("z9hG4bKabc", &format!("z9hG4bK{number}"));
            bench.request(text).1.cseq()
        })
        .collect();
    assert!(numbers.is_sorted());
}

#[test]
fn a_layer_above_that_never_polls_costs_a_bounded_queue() {
    let mut bench = Bench::new();
    let (server, request) = bench.request(request_with("OPTIONS", "", ""));
    bench.respond(server, &request, 200);
    let text = request_with("OPTIONS", "", "");
    for _ in 0..super::OUTPUTS_MAX + 10 {
        bench.receive(&text);
    }
    assert_eq!(bench.outputs().len(), super::OUTPUTS_MAX);
    assert_eq!(bench.table.lost_transmits(), 11);
}

/// How long it takes to clean up after a few transactions while `others` go on.
fn clean_up_among(others: u32) -> Duration {
    let mut bench = Bench::new();
    let mut branch = 0;
    let mut next = |bench: &mut Bench| {
        branch += 1;
        bench.request(options(branch))
    };
    for _ in 0..others {
        next(&mut bench);
    }
    for _ in 0..FEW {
        let (server, request) = next(&mut bench);
        bench.respond(server, &request, 200);
    }
    bench.outputs();
    let start = epoch();
    bench.pass(crate::sip::timers::GIVE_UP + Duration::from_secs(1));
    let spent = epoch() - start;
    assert_eq!(bench.table.len(), others as usize);
    spent
}

const FEW: usize = 200;

fn options(branch: u32) -> String {
    format!(
        "OPTIONS sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKo{branch}\r\n\
         From: <sip:a@h>;tag=1\r\nTo: <sip:x@h>\r\nCall-ID: o{branch}\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
}

#[test]
fn clean_up_cost_of_one_transaction_does_not_grow_with_the_number_of_others() {
    let best = |others| (0..5).map(|_| clean_up_among(others)).min().expect("five rounds");
    let (alone, among_many) = (best(0), best(10_000));
    assert!(among_many < 20 * alone.max(Duration::from_micros(20)), "{alone:?} {among_many:?}");
}
