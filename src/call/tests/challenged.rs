//! Trunks that challenge our requests.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::cause::Cause;
use crate::sip::digest::{Account, Algorithm};
use std::collections::BTreeMap;
use std::sync::Arc;

const ACCOUNT: (&str, &str) = ("relay-1", "between us");

fn with_account(least: Algorithm, peers: &[Peer]) -> Harness {
    let mut h = Harness::new();
    let account = Account { user: ACCOUNT.0.into(), password: ACCOUNT.1.into() };
    let terms = TrunkTerms { account: Some((account, least)), ..TrunkTerms::default() };
    let terms: BTreeMap<_, _> = peers.iter().map(|peer| (peer.trunk, terms.clone())).collect();
    h.input(Input::Trunks(Arc::new(TrunkBook::new(terms, &TrunkBook::default()))));
    h
}

fn challenge(request: &str, status: &str, nonce: &str, more: &str) -> String {
    let name = if status.starts_with("401") { "WWW-Authenticate" } else { "Proxy-Authenticate" };
    let line = |algorithm| {
        format!("{name}: Digest realm=\"c\", nonce=\"{nonce}\", {algorithm}qop=\"auth\"{more}\r\n")
    };
    let lines = [line("algorithm=MD5, "), line("algorithm=SHA-256, ")].concat();
    reply_with(request, status, "proxy", &lines, "")
}

/// The parameters of credentials that stand for what is told apart here.
fn credentials(request: &str, name: &str) -> (String, String) {
    let value = headers(request, name).concat();
    let of = |key: &str| {
        let text = value.split(key).nth(1).unwrap_or_default();
        text.split([',', '"']).next().unwrap_or_default().to_owned()
    };
    assert_eq!(of("username=\""), ACCOUNT.0);
    assert_eq!(of("algorithm="), "SHA-256");
    (of("nonce=\""), of("nc="))
}

#[test]
fn a_challenged_invite_is_sent_again_as_the_same_call_with_the_strongest_algorithm() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let mut up = h.called();
    assert!(headers(&up.invite, "Authorization").is_empty());
    h.from(carrier(), challenge(&up.invite, "407 Proxy Authentication Required", "n1", ""));
    let [ack, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    assert_eq!([start(&ack), start(&again)], ["ACK", "INVITE"]);
    for same in ["Call-ID", "From", "To", "Contact", "Content-Type"] {
        assert_eq!(header(&again, same), header(&up.invite, same), "{same}");
    }
    assert_ne!(header(&again, "Via"), header(&up.invite, "Via"));
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    let (nonce, count) = credentials(&again, "Proxy-Authorization");
    assert_eq!((&*nonce, &*count), ("n1", "00000001"));
    assert!(!again.contains(ACCOUNT.1), "the password stays here");
    up.invite = again;
    h.from(carrier(), up.reply("200 OK"));
    let ack = h.take_one(carrier());
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    let proof = header(&up.invite, "Proxy-Authorization");
    assert_eq!(header(&ack, "Proxy-Authorization"), proof, "RFC 3261 \u{a7}13.2.2.4");
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    assert_eq!(h.core.counters().challenges_answered, 1);
}

/// A proxy that asks for credentials may drop an ACK without them: the call would end unconfirmed.
#[test]
fn each_ack_to_a_challenged_re_invite_carries_the_credentials_of_that() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let up = h.bridged();
    let hold = format!("{}a=sendonly\r\n", sdp("192.0.2.20", 4_000));
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &hold));
    let told = h.take_one(carrier());
    h.from(carrier(), challenge(&told, "401 Unauthorized", "n1", ""));
    let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    let proof = header(&again, "Authorization");
    assert!(!proof.is_empty());
    let taken = format!("{}a=recvonly\r\n", sdp("198.51.100.77", 6_000));
    for _ in 0..2 {
        h.from(carrier(), reply(&again, "200 OK", "", &taken));
        let ack = h.take_one(carrier());
        let wanted = ("ACK".to_owned(), "3 ACK".to_owned(), proof.clone());
        let sent = (start(&ack), header(&ack, "CSeq"), header(&ack, "Authorization"));
        assert_eq!(sent, wanted);
    }
}

#[test]
fn the_next_call_answers_the_same_nonce_without_being_asked() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let up = h.called();
    h.from(carrier(), challenge(&up.invite, "401 Unauthorized", "n1", ""));
    h.take(carrier());
    let second = Caller::at(pbx(), "8001", "second");
    h.from(pbx(), second.with("INVITE", "b1", 1, "", &second.body));
    let invite = h.take_one(carrier());
    assert_eq!(header(&invite, "CSeq"), "1 INVITE");
    let (nonce, count) = credentials(&invite, "Authorization");
    assert_eq!((&*nonce, &*count), ("n1", "00000002"));
    // The trunk has thrown its nonce away: one more question, one more answer, and then another.
    h.from(carrier(), challenge(&invite, "401 Unauthorized", "n2", ", stale=true"));
    let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    assert_eq!(credentials(&again, "Authorization"), ("n2".into(), "00000001".into()));
    h.from(carrier(), challenge(&again, "401 Unauthorized", "n3", ", stale=true"));
    let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    assert_eq!(header(&again, "CSeq"), "3 INVITE");
    h.from(carrier(), challenge(&again, "401 Unauthorized", "n4", ", stale=true"));
    assert_eq!(h.lines(carrier()), ["ACK"], "a trunk that is never content is given up");
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
}

#[test]
fn a_wrong_password_is_tried_once_and_then_the_next_trunk() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let up = h.called();
    h.from(carrier(), challenge(&up.invite, "401 Unauthorized", "n1", ""));
    let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    h.from(carrier(), challenge(&again, "401 Unauthorized", "n2", ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let next = h.take_one(second_carrier());
    h.from(second_carrier(), reply(&next, "486 Busy", "two", ""));
    assert_eq!(h.lines(pbx()), ["486 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::Busy);
    assert_eq!(h.core.counters().challenges_unanswered, 1);
    h.check_nothing_is_left();
}

#[test]
fn without_an_account_or_a_strong_algorithm_a_challenge_is_a_refusal() {
    let strong = challenge_of_md5_alone(with_account(Algorithm::Sha256, &[carrier()]));
    let other = challenge_of_md5_alone(with_account(Algorithm::Md5, &[second_carrier()]));
    assert_eq!((strong, other), (Cause::TrunkFailed, Cause::TrunkFailed));
}

fn challenge_of_md5_alone(mut h: Harness) -> Cause {
    let up = h.called();
    let line = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\", qop=\"auth\"\r\n";
    h.from(carrier(), reply_with(&up.invite, "401 Unauthorized", "p", line, ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    h.input(Input::Unreachable { peer: second_carrier().hop() });
    let cause = h.cdr().cause;
    h.check_nothing_is_left();
    cause
}

#[test]
fn a_bye_that_is_challenged_is_sent_again_on_either_leg() {
    let mut h = with_account(Algorithm::Md5, &[carrier(), pbx()]);
    let up = h.bridged();
    h.control(crate::call::io::Control::TerminateAll);
    for peer in [carrier(), pbx()] {
        let bye = h.take_one(peer);
        h.from(peer, challenge(&bye, "401 Unauthorized", "n1", ""));
        let again = h.take_one(peer);
        assert_eq!(start(&again), "BYE");
        assert_eq!(credentials(&again, "Authorization"), ("n1".into(), "00000001".into()));
        let number = |text: &str| header(text, "CSeq").split(' ').next().map(str::to_owned);
        assert!(number(&again) > number(&bye));
        h.from(peer, reply(&again, "200 OK", "", ""));
    }
    drop(up);
    h.check_nothing_is_left();
}

#[test]
fn an_invite_that_nobody_wants_any_more_is_not_sent_again() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let up = h.called();
    h.from(pbx(), up.caller.cancel());
    h.from(carrier(), up.reply("100 Trying"));
    assert_eq!(h.lines(carrier()), ["CANCEL"]);
    h.from(carrier(), challenge(&up.invite, "401 Unauthorized", "n1", ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
}

#[test]
fn a_proxy_and_the_server_behind_it_may_both_challenge_one_invite() {
    for proxy_first in [true, false] {
        let mut h = with_account(Algorithm::Md5, &[carrier()]);
        let up = h.called();
        let (first, second) = ("407 Proxy Authentication Required", "401 Unauthorized");
        let (first, second) = if proxy_first { (first, second) } else { (second, first) };
        h.from(carrier(), challenge(&up.invite, first, "n1", ""));
        let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
        h.from(carrier(), challenge(&again, second, "n2", ""));
        let [_, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
        let (proxy, server) = if proxy_first { ("n1", "n2") } else { ("n2", "n1") };
        let of = |name| credentials(&again, name).0;
        assert_eq!((&*of("Proxy-Authorization"), &*of("Authorization")), (proxy, server));
        assert_eq!(header(&again, "CSeq"), "3 INVITE");
        // The same question once more means that the answer was wrong.
        h.from(carrier(), challenge(&again, second, "n3", ""));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        assert_eq!(h.core.counters().challenges_answered, 2);
    }
}

#[test]
fn a_trunk_whose_challenge_cannot_be_answered_is_left_for_the_next_one() {
    for status in ["401 Unauthorized", "407 Proxy Authentication Required"] {
        let mut h = Harness::new();
        let up = h.called();
        h.from(carrier(), challenge(&up.invite, status, "n1", ""));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        let next = h.take_one(second_carrier());
        assert!(h.take(pbx()).is_empty());
        h.from(second_carrier(), challenge(&next, status, "n1", ""));
        assert_eq!(h.lines(pbx()), ["503 INVITE"], "there is no third one");
        h.check_nothing_is_left();
    }
}

#[test]
fn a_trunk_that_is_silent_to_the_answer_of_its_challenge_is_left_within_two_seconds() {
    let mut h = with_account(Algorithm::Md5, &[carrier()]);
    let up = h.called();
    h.advance(ms(1_500));
    h.take(carrier());
    h.from(carrier(), up.reply("100 Trying"));
    h.from(carrier(), challenge(&up.invite, "401 Unauthorized", "n1", ""));
    h.advance(ms(1_999));
    assert!(h.take(second_carrier()).is_empty());
    h.advance(ms(1));
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
    assert_eq!(h.core.counters().failovers, 1);
}
