//! Call intents through the running service: the attempts that come next use them up, though their
//! route was known, and on whichever node they come.

use std::collections::BTreeMap;
use std::time::Duration;

use maskline::domain::cdr::Cdr;
use maskline::domain::id::{AgentId, IntentId};
use maskline::domain::number::VirtualNumber;
use maskline::domain::purpose::Purpose;
use maskline::relay::now::now;
use maskline::store::Store;
use maskline::store::intent::{IntentEnd, NewIntent};

use crate::calls::{Bench, X};
use crate::peers::header;
use crate::service::{service, url};
use crate::support::database;

/// More than are needed until another node is heard.
const ATTEMPTS_MAX: usize = 1_000;

/// Says to this node what the next call of agent 4821 is for.
async fn say(bench: &Bench, node: &Store, nth: u128, purpose: Purpose) -> IntentId {
    let id = IntentId::from_u128(nth);
    let (binding, agent) = (bench.binding, AgentId::new(1, 1));
    let ttl = Duration::from_secs(3_600);
    let new = NewIntent { id, binding, agent, purpose, case_ref: None, ttl };
    let mut tx = node.tenant(bench.tenant).await.expect("a transaction");
    tx.insert_intent(now().wall, new).await.expect("an outcome").expect("there is room");
    tx.commit().await.expect("committed");
    id
}

/// The subscriber is busy.
fn attempt(bench: &Bench, call: &str) {
    bench.pbx.invite("4821", X, call);
    let invite = bench.carrier.expect("INVITE");
    bench.carrier.answer(&invite, "486 Busy Here", "");
    while header(&bench.pbx.expect("SIP/2.0 486"), "Call-ID") != call {}
}

/// How many records there are, which intents they name, and for what. Each such intent names its
/// call.
async fn announced(bench: Bench) -> (usize, BTreeMap<IntentId, Purpose>) {
    let (store, tenant) = (bench.test.store.clone(), bench.tenant);
    let records: Vec<Cdr> = bench.records().await;
    let mut tx = store.tenant(tenant).await.expect("a transaction");
    let mut announced = BTreeMap::new();
    for cdr in &records {
        let Some(id) = cdr.intent else { continue };
        let intent = tx.find_intent(id).await.expect("an answer").expect("it is there");
        let IntentEnd::Used { call, .. } = intent.end else { panic!("{:?}", intent.end) };
        assert_eq!(call, cdr.call);
        let before = announced.insert(id, cdr.purpose.expect("an agent's call has one"));
        assert_eq!(before, None, "used up twice");
    }
    (records.len(), announced)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_route_is_asked_for_again_as_long_as_intents_wait() {
    let bench = Bench::new().await;
    attempt(&bench, "known");
    let store = &bench.running.store;
    let one = say(&bench, store, 1, Purpose::Claim).await;
    let two = say(&bench, store, 2, Purpose::Survey).await;
    bench.running.relay.forget_routes(&VirtualNumber::parse(X).expect("a number"));
    for call in ["one", "two", "after"] {
        attempt(&bench, call);
    }
    let wanted = BTreeMap::from([(one, Purpose::Claim), (two, Purpose::Survey)]);
    assert_eq!(announced(bench).await, (4, wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_to_another_node_is_used_up_once_that_node_is_heard() {
    let test = database().await;
    let owner = url(&test);
    let bench = Bench::on(test, service(&owner).await).await;
    let there = service(&owner).await;
    attempt(&bench, "known");
    let id = say(&bench, &there.store, 1, Purpose::Claim).await;
    let is_used = async || {
        let mut tx = there.store.tenant(bench.tenant).await.expect("a transaction");
        let intent = tx.find_intent(id).await.expect("an answer").expect("it is there");
        intent.end != IntentEnd::Open
    };
    // Until it is heard, which is not long.
    for nth in 0.. {
        if is_used().await {
            break;
        }
        assert!(nth < ATTEMPTS_MAX, "it is not heard of");
        attempt(&bench, &format!("call-{nth}"));
    }
    attempt(&bench, "after");
    there.stop(Duration::ZERO, Default::default()).await;
    let wanted = BTreeMap::from([(id, Purpose::Claim)]);
    assert_eq!(announced(bench).await.1, wanted);
}
