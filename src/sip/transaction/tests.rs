//! One table test for each state diagram in virtual time, and the checklist of transactions.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{self, Client};
use super::client_invite::{self, ClientInvite};
use super::server::{self, Server};
use super::server_invite::{self, ServerInvite};
use super::{Effects, Reliability, Verdict};
use crate::sip::tests::epoch;

const REQUEST: Bytes = Bytes::from_static(b"request");
const RINGING: Bytes = Bytes::from_static(b"180");
const OK: Bytes = Bytes::from_static(b"200");
const BUSY: Bytes = Bytes::from_static(b"486");
const ACK: Bytes = Bytes::from_static(b"ack");

/// What a test wants of every machine: jump to its next deadline and take what comes.
trait Timed {
    fn deadline_of(&self) -> Option<Instant>;
    fn time_out(&mut self, now: Instant) -> Effects;
    fn is_gone(&self) -> bool;
}

macro_rules! timed {
    ($($machine:ty = $input:expr;)+) => {$(
        impl Timed for $machine {
            fn deadline_of(&self) -> Option<Instant> {
                self.deadline()
            }
            fn time_out(&mut self, now: Instant) -> Effects {
                self.handle_input(now, $input)
            }
            fn is_gone(&self) -> bool {
                self.is_terminated()
            }
        }
    )+};
}

timed! {
    ServerInvite = server_invite::Input::Timeout;
    Server = server::Input::Timeout;
    ClientInvite = client_invite::Input::Timeout;
    Client = client::Input::Timeout;
}

/// Milliseconds of all repeats, when the machine was gone, and whether it failed.
fn run(machine: &mut dyn Timed, t0: Instant) -> (Vec<u128>, u128, Verdict) {
    let mut sent = Vec::new();
    let (mut now, mut verdict) = (t0, Verdict::Absorb);
    while let Some(deadline) = machine.deadline_of() {
        assert!(deadline > now, "time goes on");
        now = deadline;
        let effects = machine.time_out(now);
        verdict = effects.verdict;
        if effects.transmit.is_some() {
            sent.push((now - t0).as_millis());
        }
    }
    assert!(machine.is_gone());
    (sent, (now - t0).as_millis(), verdict)
}

fn sent(effects: &Effects) -> Option<&[u8]> {
    effects.transmit.as_deref()
}

fn delivered() -> Effects {
    Effects::verdict(Verdict::Deliver)
}

const G: [u128; 10] = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];

#[test]
fn an_invite_on_udp_is_repeated_at_doubling_intervals_until_timer_b() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    let a = vec![500, 1_500, 3_500, 7_500, 15_500, 31_500];
    assert_eq!(run(&mut invite, t0), (a, 32_000, Verdict::Fail));
}

#[test]
fn an_invite_on_a_reliable_transport_is_never_repeated() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Reliable);
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Fail));
}

#[test]
fn an_invite_that_rings_is_not_repeated_and_waits_without_an_end() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    assert_eq!(invite.handle_input(t0, client_invite::Input::Provisional), delivered());
    assert_eq!(invite.handle_input(t0, client_invite::Input::Provisional), delivered());
    assert_eq!(invite.deadline(), None);
    assert_eq!(invite.request(), Some(&REQUEST));
}

#[test]
fn a_cancelled_invite_is_given_up_after_32_seconds() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    invite.handle_input(t0, client_invite::Input::Provisional);
    invite.handle_input(t0, client_invite::Input::Cancelled);
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Fail));
}

#[test]
fn an_invite_withdrawn_before_any_response_is_not_repeated() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    invite.handle_input(t0, client_invite::Input::Cancelled);
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Fail));
}

#[test]
fn every_2xx_to_an_invite_reaches_the_core_until_timer_m() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    for _ in 0..3 {
        assert_eq!(invite.handle_input(t0, client_invite::Input::Success), delivered());
    }
    for late in [client_invite::Input::Provisional, client_invite::Input::Refusal(None)] {
        assert_eq!(invite.handle_input(t0, late), Effects::default());
    }
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Absorb));
}

#[test]
fn a_refused_invite_is_acked_again_for_each_repeat_until_timer_d() {
    for (reliability, end) in [(Reliability::Unreliable, 32_000), (Reliability::Reliable, 0)] {
        let t0 = epoch();
        let mut invite = ClientInvite::new(t0, REQUEST, reliability);
        let first = invite.handle_input(t0, client_invite::Input::Refusal(Some(ACK)));
        assert_eq!((sent(&first), first.verdict), (Some(&b"ack"[..]), Verdict::Deliver));
        if reliability == Reliability::Unreliable {
            let again = invite.handle_input(t0, client_invite::Input::Refusal(None));
            assert_eq!((sent(&again), again.verdict), (Some(&b"ack"[..]), Verdict::Absorb));
            assert_eq!(invite.handle_input(t0, client_invite::Input::Success), delivered());
        }
        assert_eq!(run(&mut invite, t0), (vec![], end, Verdict::Absorb));
    }
}

#[test]
fn an_unreachable_peer_ends_a_request_only_before_any_response() {
    let t0 = epoch();
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    let effects = invite.handle_input(t0, client_invite::Input::Unreachable);
    assert_eq!((effects.verdict, invite.is_terminated()), (Verdict::Fail, true));
    let mut invite = ClientInvite::new(t0, REQUEST, Reliability::Unreliable);
    invite.handle_input(t0, client_invite::Input::Provisional);
    let effects = invite.handle_input(t0, client_invite::Input::Unreachable);
    assert_eq!((effects, invite.is_terminated()), (Effects::default(), false));
    let mut bye = Client::new(t0, REQUEST, Reliability::Unreliable);
    let effects = bye.handle_input(t0, client::Input::Unreachable);
    assert_eq!((effects.verdict, bye.is_terminated()), (Verdict::Fail, true));
}

#[test]
fn another_request_on_udp_is_repeated_up_to_t2_until_timer_f() {
    let t0 = epoch();
    let mut bye = Client::new(t0, REQUEST, Reliability::Unreliable);
    assert_eq!(run(&mut bye, t0), (G.to_vec(), 32_000, Verdict::Fail));
    let mut bye = Client::new(t0, REQUEST, Reliability::Reliable);
    assert_eq!(run(&mut bye, t0), (vec![], 32_000, Verdict::Fail));
}

#[test]
fn after_a_provisional_response_another_request_is_repeated_each_t2() {
    let t0 = epoch();
    let mut bye = Client::new(t0, REQUEST, Reliability::Unreliable);
    assert_eq!(bye.handle_input(t0, client::Input::Provisional), delivered());
    let e = vec![500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500];
    assert_eq!(run(&mut bye, t0), (e, 32_000, Verdict::Fail));
}

#[test]
fn a_final_response_to_another_request_is_delivered_once_and_lingers_for_timer_k() {
    for (reliability, end) in [(Reliability::Unreliable, 5_000), (Reliability::Reliable, 0)] {
        let t0 = epoch();
        let mut bye = Client::new(t0, REQUEST, reliability);
        assert_eq!(bye.handle_input(t0, client::Input::Final), delivered());
        assert_eq!(bye.handle_input(t0, client::Input::Final), Effects::default());
        assert_eq!(run(&mut bye, t0), (vec![], end, Verdict::Absorb));
    }
}

#[test]
fn a_retransmitted_invite_gets_the_last_provisional_or_final_again() {
    let t0 = epoch();
    let mut invite = ServerInvite::new(Reliability::Unreliable);
    let again = server_invite::Input::Invite;
    assert_eq!(invite.handle_input(t0, again), Effects::default());
    invite.handle_input(t0, server_invite::Input::Provisional(RINGING));
    let again = invite.handle_input(t0, server_invite::Input::Invite);
    assert_eq!((sent(&again), again.verdict), (Some(&b"180"[..]), Verdict::Absorb));
    invite.handle_input(t0, server_invite::Input::Refusal(BUSY));
    let again = invite.handle_input(t0, server_invite::Input::Invite);
    assert_eq!((sent(&again), again.verdict), (Some(&b"486"[..]), Verdict::Absorb));
}

#[test]
fn a_refusal_on_udp_is_repeated_up_to_t2_until_timer_h() {
    let t0 = epoch();
    let mut invite = ServerInvite::new(Reliability::Unreliable);
    let first = invite.handle_input(t0, server_invite::Input::Refusal(BUSY));
    assert_eq!(sent(&first), Some(&b"486"[..]));
    assert_eq!(run(&mut invite, t0), (G.to_vec(), 32_000, Verdict::Fail));
}

#[test]
fn non_2xx_finals_are_never_retransmitted_on_tcp_or_tls() {
    let t0 = epoch();
    let mut invite = ServerInvite::new(Reliability::Reliable);
    invite.handle_input(t0, server_invite::Input::Refusal(BUSY));
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Fail));
}

#[test]
fn an_ack_ends_the_refusal_and_timer_i_is_zero_on_reliable_transports() {
    for (reliability, end) in [(Reliability::Unreliable, 5_000), (Reliability::Reliable, 0)] {
        let t0 = epoch();
        let mut invite = ServerInvite::new(reliability);
        invite.handle_input(t0, server_invite::Input::Refusal(BUSY));
        assert_eq!(invite.handle_input(t0, server_invite::Input::Ack), Effects::default());
        assert_eq!(run(&mut invite, t0), (vec![], end, Verdict::Absorb));
    }
}

#[test]
fn an_accepted_invite_absorbs_repeats_lets_acks_and_2xx_through_and_ends_with_timer_l() {
    let t0 = epoch();
    let mut invite = ServerInvite::new(Reliability::Unreliable);
    for _ in 0..3 {
        let effects = invite.handle_input(t0, server_invite::Input::Success(OK));
        assert_eq!(sent(&effects), Some(&b"200"[..]));
    }
    assert_eq!(invite.handle_input(t0, server_invite::Input::Invite), Effects::default());
    assert_eq!(invite.handle_input(t0, server_invite::Input::Ack), delivered());
    let late = invite.handle_input(t0, server_invite::Input::Refusal(BUSY));
    assert_eq!(late, Effects::default());
    assert_eq!(run(&mut invite, t0), (vec![], 32_000, Verdict::Absorb));
}

#[test]
fn another_request_of_a_peer_is_answered_again_until_timer_j_which_is_zero_on_tcp() {
    for (reliability, end) in [(Reliability::Unreliable, 32_000), (Reliability::Reliable, 0)] {
        let t0 = epoch();
        let mut options = Server::new(reliability);
        assert_eq!(options.handle_input(t0, server::Input::Request), Effects::default());
        options.handle_input(t0, server::Input::Provisional(RINGING));
        let again = options.handle_input(t0, server::Input::Request);
        assert_eq!(sent(&again), Some(&b"180"[..]));
        options.handle_input(t0, server::Input::Final(OK));
        if reliability == Reliability::Unreliable {
            let again = options.handle_input(t0, server::Input::Request);
            assert_eq!(sent(&again), Some(&b"200"[..]));
            let second = options.handle_input(t0, server::Input::Final(BUSY));
            assert_eq!(second, Effects::default());
        }
        assert_eq!(run(&mut options, t0), (vec![], end, Verdict::Absorb));
    }
}

#[test]
fn a_late_wake_up_repeats_once_and_not_for_every_missed_time() {
    let t0 = epoch();
    let mut bye = Client::new(t0, REQUEST, Reliability::Unreliable);
    let late = t0 + Duration::from_secs(20);
    assert!(bye.handle_input(late, client::Input::Timeout).transmit.is_some());
    assert_eq!(bye.handle_input(late, client::Input::Timeout), Effects::default());
}

#[test]
fn debug_of_what_a_machine_did_shows_no_text() {
    let text = format!("{:?}", Effects::transmit(&Bytes::from_static(b"sip:13800001234@c")));
    assert_eq!(text, "Effects(Absorb, 17 bytes)");
}
