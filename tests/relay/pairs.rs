//! Pairs that share one X, through the running service: each party reaches its own, in both
//! directions, and a route that was known is not used after a change on another node.

use maskline::app::Running;
use maskline::domain::cause::Cause;
use maskline::domain::id::{AgentId, BindingId, PoolId};
use maskline::domain::number::{RealNumber, VirtualNumber};
use maskline::store::agent::{AgentChange, NewAgent};
use maskline::store::binding::{
    BindOutcome, BindingMode, BindingTerm, BindingTerms, CallsUp, NewBinding, NumberChoice,
    PolicyRef, SubscriberChoice,
};

use crate::calls::Bench;
use crate::peers::{Peer, header};
use crate::service::{service, url};
use crate::support::{database, noon};

const SHARED: &str = "17000005678";
const UNKNOWN: &str = "17000009999";

/// Agent 4821 with the owner of +8613800000001, and 4822 with that of +8613800000002; 4823 has no
/// pair.
struct Pairs {
    bench: Bench,
    one: BindingId,
    two: BindingId,
}

impl Pairs {
    async fn on(bench: Bench) -> Self {
        let store = &bench.running.store;
        let mut platform = store.platform().await.expect("a transaction");
        let numbers = [VirtualNumber::parse(SHARED).expect("a number")];
        platform.import_numbers(noon(), PoolId::new(1, 1), &numbers).await.expect("imported");
        platform.commit().await.expect("committed");
        for nth in [2, 3] {
            let agent = NewAgent {
                id: AgentId::new(1, nth),
                employee_id: format!("482{nth}"),
                name: "Agent".to_owned(),
                licence: None,
                caller_numbers: vec![format!("482{nth}")],
                filing: "filed",
                group: None,
                allowed_purposes: None,
            };
            store.insert_agent(bench.tenant, agent, noon()).await.expect("an agent");
        }
        let one = bind(&bench, 1).await;
        let two = bind(&bench, 2).await;
        Self { bench, one, two }
    }

    /// Whom an extension reaches over the carrier.
    fn dial(&self, extension: &str, call: &str) -> String {
        reached(&self.bench.pbx, &self.bench.carrier, extension, call)
    }

    /// Whom a number of the public network reaches at the PBX.
    fn ring_in(&self, caller: &str, call: &str) -> String {
        reached(&self.bench.carrier, &self.bench.pbx, caller, call)
    }
}

async fn bind(bench: &Bench, nth: u16) -> BindingId {
    let real = RealNumber::parse(&format!("+861380000000{nth}")).expect("a number");
    let new = NewBinding {
        external_id: format!("pair {nth}"),
        mode: BindingMode::Axb { agent: AgentId::new(1, nth.into()) },
        term: BindingTerm::Long,
        policy: PolicyRef { reference: "P-1".to_owned(), product: None, ends_at: None },
        subscriber: SubscriberChoice::Number(real),
        number: NumberChoice::Exact(VirtualNumber::parse(SHARED).expect("a number")),
        agent_group: None,
        valid_from: None,
        valid_until: None,
        terms: BindingTerms::default(),
        duration_max: None,
        metadata: serde_json::Map::new(),
    };
    let mut transaction = bench.running.store.tenant(bench.tenant).await.expect("a transaction");
    let outcome = transaction.bind(noon(), new).await.expect("an answer");
    transaction.commit().await.expect("committed");
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    binding.id
}

/// The user that the callee is asked for, who is busy then.
fn reached(caller: &Peer, callee: &Peer, from: &str, call: &str) -> String {
    caller.invite(from, SHARED, call);
    let invite = callee.expect("INVITE");
    assert!(header(&invite, "From").contains(SHARED), "{invite}");
    callee.answer(&invite, "486 Busy Here", "");
    assert!(answer_to(caller, call).starts_with("SIP/2.0 486"));
    let user = invite.trim_start_matches("INVITE sip:").split('@').next();
    user.expect("a user").to_owned()
}

/// The answer that the caller gets where nobody is reached, without what names the call.
fn refused(caller: &Peer, from: &str, dialled: &str, call: &str) -> String {
    caller.invite(from, dialled, call);
    let answer = answer_to(caller, call);
    let names_call =
        |line: &&str| ["Via", "From", "To", "Call-ID"].iter().any(|name| line.starts_with(name));
    answer.lines().filter(|line| !names_call(line)).collect::<Vec<_>>().join("\n")
}

/// The last answer to this call; those to others may be repeated meanwhile.
fn answer_to(caller: &Peer, call: &str) -> String {
    loop {
        let answer = caller.expect("SIP/2.0");
        if header(&answer, "Call-ID") == call && !answer.starts_with("SIP/2.0 1") {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pairs_on_one_x_reach_each_other_and_nobody_else() {
    let pairs = Pairs::on(Bench::new().await).await;
    // Twice, so that the second time it is known.
    for round in ["first", "second"] {
        let call = |name: &str| format!("{name}-{round}");
        assert_eq!(pairs.dial("4821", &call("a1")), "+8613800000001");
        assert_eq!(pairs.dial("4822", &call("a2")), "+8613800000002");
        assert_eq!(pairs.ring_in("+8613800000001", &call("s1")), "4821");
        assert_eq!(pairs.ring_in("+8613800000002", &call("s2")), "4822");
    }
    let Bench { pbx, carrier, .. } = &pairs.bench;
    let unknown = refused(pbx, "4823", UNKNOWN, "unknown");
    assert!(unknown.starts_with("SIP/2.0 404"), "{unknown}");
    for extension in ["4823", "4899"] {
        assert_eq!(refused(pbx, extension, SHARED, extension), unknown);
    }
    let unknown = refused(carrier, "+8613800000009", UNKNOWN, "unknown-stranger");
    assert_eq!(refused(carrier, "+8613800000009", SHARED, "stranger"), unknown);
    let (one, two) = (Some(pairs.one), Some(pairs.two));
    let records = pairs.bench.records().await;
    let bindings: Vec<_> = records.iter().map(|cdr| cdr.binding).collect();
    assert_eq!(bindings[..8], [one, two, one, two, one, two, one, two]);
    let late: Vec<_> = records[8..].iter().map(|cdr| (cdr.binding, cdr.cause)).collect();
    assert_eq!(late[0], (None, Cause::NumberUnknown));
    assert!(late.iter().all(|it| *it == late[0]), "{late:?}");
}

/// The same on one node, and another one that changes things.
async fn two_nodes() -> (Pairs, Running) {
    let test = database().await;
    let owner = url(&test);
    let bench = Bench::on(test, service(&owner).await).await;
    (Pairs::on(bench).await, service(&owner).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_unbound_on_another_node_is_not_used_from_memory_and_the_other_pair_is() {
    let (pairs, there) = two_nodes().await;
    assert_eq!(pairs.dial("4821", "a1"), "+8613800000001");
    assert_eq!(pairs.dial("4822", "a2"), "+8613800000002");
    let Bench { pbx, carrier, tenant, .. } = &pairs.bench;
    // What rings ends when the other node is heard.
    pbx.invite("4821", SHARED, "ringing");
    let invite = carrier.expect("INVITE");
    carrier.answer(&invite, "180 Ringing", "");
    let mut tx = there.store.tenant(*tenant).await.expect("a transaction");
    tx.unbind(noon(), pairs.one, CallsUp::GoOn, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let cancel = carrier.expect("CANCEL");
    carrier.answer(&cancel, "200 OK", "");
    carrier.answer(&invite, "487 Request Terminated", "");
    assert!(answer_to(pbx, "ringing").starts_with("SIP/2.0 404"));
    let unknown = refused(pbx, "4823", UNKNOWN, "unknown");
    assert_eq!(refused(pbx, "4821", SHARED, "late"), unknown);
    refused(carrier, "+8613800000001", SHARED, "late-subscriber");
    assert_eq!(pairs.dial("4822", "a2-again"), "+8613800000002");
    assert_eq!(pairs.ring_in("+8613800000002", "s2"), "4822");
    there.stop(std::time::Duration::ZERO, Default::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_another_node_gives_to_another_agent_reaches_that_agents_subscriber() {
    let (pairs, there) = two_nodes().await;
    assert_eq!(pairs.dial("4821", "before"), "+8613800000001");
    let tenant = pairs.bench.tenant;
    for (agent, extensions) in [(1, vec!["4800"]), (2, vec!["4821"])] {
        let extensions = Some(extensions.into_iter().map(str::to_owned).collect());
        let change = AgentChange { caller_numbers: extensions, ..AgentChange::default() };
        let changed =
            there.store.update_agent(tenant, AgentId::new(1, agent), change, None, noon());
        assert!(changed.await.expect("changed").is_some());
    }
    // Until the change is heard, which is not long.
    let mut calls = (0..1_000).map(|nth| format!("call-{nth}"));
    let reached = calls.find(|call| pairs.dial("4821", call) == "+8613800000002");
    assert!(reached.is_some());
    assert_eq!(pairs.ring_in("+8613800000002", "s2"), "4821");
    assert_eq!(pairs.ring_in("+8613800000001", "s1"), "4800");
    there.stop(std::time::Duration::ZERO, Default::default()).await;
}
