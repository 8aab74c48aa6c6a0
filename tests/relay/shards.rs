//! Two shards: whatever arrives at the wrong one reaches the one it belongs to, and orders reach
//! both.

use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::domain::cause::Cause;
use maskline::relay::handle::{Talking, Termination};
use maskline::sip::ids::Tag;
use maskline::sip::steer::shard_of;

use crate::calls::{Bench, X};
use crate::peers::{Peer, header};
use crate::service::{settings, url};
use crate::support::database;

/// A bench with two shards. Its peers have one socket each, so that the system gives all that one
/// of them sends to the same shard, and half of it is at the wrong one.
async fn bench() -> Bench {
    let test = database().await;
    let mut config = settings(&url(&test));
    config.sip.shards = 2;
    config.sip.failover_timeout = Duration::from_secs(32);
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    Bench::on(test, running).await
}

/// A Call-ID whose attempt belongs to a shard.
fn call_of(shard: u16, n: u32) -> String {
    let belongs = |id: &String| {
        let message = format!("OPTIONS sip:x SIP/2.0\r\nCall-ID: {id}\r\n\r\n");
        shard_of(message.as_bytes(), 2) == shard
    };
    (0..).map(|try_| format!("call-{n}-{try_}")).find(belongs).expect("one of many")
}

/// The shard that has answered.
fn shard_in(answer: &str) -> u16 {
    let to = header(answer, "To");
    let tag = to.split("tag=").nth(1).expect("a tag");
    Tag::parse(tag.as_bytes()).expect("a tag of ours").shard().number()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_both_shards_live_although_one_socket_gets_all_that_a_peer_sends() {
    let bench = bench().await;
    for n in 0..4 {
        for shard in [0, 1] {
            let call = call_of(shard, n);
            let (_, answer) = bench.answered(&call);
            assert_eq!(shard_in(&answer), shard, "{answer}");
            bench.pbx.follow_up("BYE", 2, &answer, &call);
            bench.pbx.expect("SIP/2.0 200");
            let bye = bench.carrier.expect("BYE");
            bench.carrier.answer(&bye, "200 OK", "");
        }
    }
    assert!(bench.running.relay.readiness().sip_socket);
    let records = bench.records().await;
    assert_eq!(records.len(), 8);
    assert!(records.iter().all(|cdr| cdr.answered_at.is_some()), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_and_the_refusal_of_a_call_at_the_other_shard_find_it() {
    let bench = bench().await;
    for shard in [0, 1] {
        let call = call_of(shard, 0);
        let invite = bench.ringing(&call);
        bench.pbx.cancel("4821", X, &call);
        bench.pbx.expect("SIP/2.0 200");
        bench.pbx.expect("SIP/2.0 487");
        let cancel = bench.carrier.expect("CANCEL");
        bench.carrier.answer(&cancel, "200 OK", "");
        bench.carrier.answer(&invite, "487 Request Terminated", "");
        bench.carrier.expect("ACK");
    }
    let causes: Vec<_> = bench.records().await.iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::CallerCancelled, Cause::CallerCancelled]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_lists_reach_the_calls_of_both_shards() {
    let bench = bench().await;
    let relay = bench.running.relay.clone();
    for n in 0..2 {
        for shard in [0, 1] {
            bench.answered(&call_of(shard, n));
        }
    }
    let live = relay.live(bench.tenant);
    assert_eq!((live.len(), relay.live_count()), (4, 4));
    let asked: Vec<_> = live.iter().take(2).map(|it| relay.terminate(it.call)).collect();
    assert_eq!(asked, [Ok(Termination::Ordered), Ok(Termination::Ordered)]);
    for _ in 0..2 {
        let bye = bench.carrier.expect("BYE");
        bench.carrier.answer(&bye, "200 OK", "");
        let bye = bench.pbx.expect("BYE");
        bench.pbx.answer(&bye, "200 OK", "");
    }
    relay.binding_ended(bench.binding, Cause::BindingSuspended, Talking::Ends).expect("they run");
    for _ in 0..2 {
        let bye = bench.carrier.expect("BYE");
        bench.carrier.answer(&bye, "200 OK", "");
        let bye = bench.pbx.expect("BYE");
        bench.pbx.answer(&bye, "200 OK", "");
    }
    relay.drain().expect("they run");
    for shard in [0, 1] {
        bench.pbx.invite("4821", X, &call_of(shard, 9));
        bench.pbx.expect("SIP/2.0 503");
    }
    assert_eq!(bench.records().await.len(), 4, "what is refused while draining leaves none");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_shards_learn_at_once_that_nobody_is_there_whichever_the_system_tells() {
    let mut bench = bench().await;
    bench.carrier = Peer::new("127.0.0.1:0", bench.running.sip);
    for shard in [0, 1] {
        bench.pbx.invite("4821", X, &call_of(shard, 0));
        let refusal = bench.pbx.expect("SIP/2.0 503");
        assert_eq!(shard_in(&refusal), shard);
    }
}
